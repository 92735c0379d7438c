//! Golden pairs: a policy file, and the resources that one Sidecar gets of it.

use std::{fs, path::PathBuf};

use outrigger_config::{CompileError, Policy, SourceFile, check, model::ObjectName};
use serde_json::Value;

fn policy(text: &[u8]) -> Policy {
    let checked = check(vec![SourceFile { path: "policy.yaml".to_owned(), text: text.to_vec() }]);
    let shown = checked.render_text(false);
    checked.policy.unwrap_or_else(|| panic!("{shown}"))
}

fn golden(name: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/compile/{name}.yaml"));
    let resources = policy(&fs::read(path).unwrap()).compile(None).unwrap();
    insta::assert_json_snapshot!(name, short(serde_json::to_value(resources).unwrap()));
}

/// Places and durations on one line each, so that a snapshot can be read.
fn short(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            if let (Some(line), Some(column)) = (fields.get("line"), fields.get("column")) {
                return format!("{line}:{column}").into();
            }
            if let (Some(secs), Some(nanos)) = (fields.get("secs"), fields.get("nanos")) {
                let millis = secs.as_u64().unwrap() * 1000 + nanos.as_u64().unwrap() / 1_000_000;
                return format!("{millis}ms").into();
            }
            if let (Some(layer), Some(origin)) = (fields.get("layer"), fields.get("origin")) {
                let (layer, policy) = (layer.as_str().unwrap(), &fields["policy"]);
                let policy = policy["name"].as_str().map(|name| format!(" {name}")).unwrap_or_default();
                return format!("{layer}{policy} {}", short(origin.clone()).as_str().unwrap()).into();
            }
            fields.into_iter().map(|(key, value)| (key, short(value))).collect()
        }
        Value::Array(items) => items.into_iter().map(short).collect(),
        other => other,
    }
}

#[test]
fn every_field_arrives_in_the_model() {
    golden("everything");
}

#[test]
fn routes_of_the_callers_namespace_replace_those_of_the_service() {
    golden("consumer_routes");
}

#[test]
fn the_more_specific_leaf_wins_and_null_switches_off() {
    golden("precedence");
}

#[test]
fn a_port_has_routes_of_one_kind() {
    golden("route_kinds");
}

#[test]
fn a_port_that_grpc_routes_send_to_speaks_grpc() {
    golden("inferred_grpc");
}

#[test]
fn tls_has_a_name_and_files_beside_the_policy() {
    golden("tls_outside");
}

#[test]
fn a_host_has_one_owner() {
    golden("hosts");
}

#[test]
fn shares_that_resolve_to_nothing_say_why() {
    golden("unresolved");
}

#[test]
fn ports_of_tcp_and_tls_have_rules_for_connections() {
    golden("opaque");
}

#[test]
fn modes_hold_by_port_and_the_strictest_at_a_listener() {
    golden("mtls");
}

fn sidecars(names: &[&str]) -> Policy {
    let documents: Vec<String> = names
        .iter()
        .map(|name| {
            format!(
                "apiVersion: outrigger.dev/v1alpha1\nkind: Sidecar\nmetadata: {{name: {name}}}\n\
                 spec: {{outbound: [{{bind: \"127.0.0.1:15001\"}}]}}\n"
            )
        })
        .collect();
    policy(documents.join("---\n").as_bytes())
}

#[test]
fn the_sidecar_is_chosen_by_name_or_must_be_the_only_one() {
    assert_eq!(check(Vec::new()).policy.unwrap().compile(None), Err(CompileError::NoSidecar));
    let several = sidecars(&["web", "cart"]);
    let error = several.compile(None).unwrap_err();
    let words = "the policy files hold several Sidecars; choose one of `default/cart`, `default/web`";
    assert_eq!(error.to_string(), words);
    let error = several.compile(Some(&ObjectName::new("default", "crat"))).unwrap_err();
    let words = "the policy files hold no Sidecar `default/crat` (did you mean `default/cart`?); there are: \
                 `default/cart`, `default/web`";
    assert_eq!(error.to_string(), words);
    let chosen = several.compile(Some(&ObjectName::new("default", "web"))).unwrap();
    assert_eq!(&*chosen.workload.name.name, "web");
    assert_eq!(several.counts(), [("Sidecar", 2)]);
}

/// Reading, checking and compiling 10,000 routes over 1,000 Services stays linear: the bound is far above what a
/// debug build takes, and far below what anything quadratic would.
#[test]
fn ten_thousand_routes_are_read_in_one_go() {
    let mut text = String::from(
        "apiVersion: outrigger.dev/v1alpha1\nkind: Sidecar\nmetadata: {name: caller}\n\
         spec: {outbound: [{bind: \"127.0.0.1:15001\"}]}\n",
    );
    for service in 0..1000 {
        text.push_str(&format!(
            "---\napiVersion: outrigger.dev/v1alpha1\nkind: MeshService\nmetadata: {{name: s{service}}}\n\
             spec: {{ports: [{{port: 80}}], endpoints: [{{address: \"127.0.0.1:1\"}}]}}\n"
        ));
        for route in 0..10 {
            text.push_str(&format!(
                "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n\
                 metadata: {{name: r{service}-{route}}}\n\
                 spec: {{parentRefs: [{{group: \"\", kind: Service, name: s{service}}}], rules: [{{matches: \
                 [{{path: {{value: /r{route}}}}}], backendRefs: [{{name: s{service}, port: 80}}]}}]}}\n"
            ));
        }
    }
    let started = std::time::Instant::now();
    let resources = policy(text.as_bytes()).compile(None).unwrap();
    let rules: usize =
        resources.destinations.iter().map(|d| d.ports[0].routes.as_ref().map_or(0, Vec::len)).sum();
    assert_eq!((resources.destinations.len(), rules), (1000, 10_000));
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
    eprintln!("{} bytes in {:?}", text.len(), started.elapsed());
}
