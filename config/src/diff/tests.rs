//! What is a difference, what is none, and how both are told.

use super::*;
use crate::{SourceFile, check};

const POLICY: &str = r#"apiVersion: outrigger.dev/v1alpha1
kind: Sidecar
metadata: {name: web, namespace: shop}
spec: {outbound: [{bind: "127.0.0.1:15001"}]}
---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {name: reviews, namespace: shop}
spec: {ports: [{port: 80}], endpoints: [{address: "10.0.0.1:80"}, {address: "10.0.0.2:80"}]}
---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {name: canary, namespace: shop}
spec: {ports: [{port: 80}], endpoints: [{address: "10.0.0.3:80"}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: reviews, namespace: shop}
spec:
  parentRefs: [{kind: Service, group: "", name: reviews}]
  rules:
  - name: api
    matches: [{path: {value: /api}}]
    backendRefs: [{name: reviews, port: 80, weight: 3}, {name: canary, port: 80, weight: 1}]
  - name: rest
    backendRefs: [{name: reviews, port: 80}]
"#;

fn policy(text: &str) -> Policy {
    let checked = check(vec![SourceFile { path: "policy.yaml".to_owned(), text: text.as_bytes().to_vec() }]);
    let shown = checked.render_text(false);
    checked.policy.unwrap_or_else(|| panic!("{shown}"))
}

/// The differences of the only Sidecar after an edit of the policy.
fn after(from: &str, to: &str) -> String {
    assert!(POLICY.contains(from), "the edit finds its place");
    let diffs = policy(POLICY).diff(&policy(&POLICY.replace(from, to)), None).unwrap();
    assert_eq!(diffs.len(), 1);
    diffs[0].to_string()
}

const NOTHING: &str = "Sidecar shop/web: nothing changes\n";

#[test]
fn what_changes_nothing_for_traffic_is_no_difference() {
    for (from, to) in [
        ("---\n", "---\n\n# moved down\n"),
        (
            "weight: 3}, {name: canary, port: 80, weight: 1}",
            "weight: 6}, {name: canary, port: 80, weight: 2}",
        ),
        (
            "weight: 3}, {name: canary, port: 80, weight: 1}",
            "weight: 3}, {kind: Service, name: canary, port: 80}",
        ),
        ("    matches: [{path: {value: /api}}]", "    matches: [{path: {type: PathPrefix, value: /api/}}]"),
        (
            "[{address: \"10.0.0.1:80\"}, {address: \"10.0.0.2:80\"}]",
            "[{address: \"10.0.0.2:80\"}, {address: \"10.0.0.1:80\"}]",
        ),
    ] {
        assert_eq!(after(from, to), NOTHING, "{from} -> {to}");
    }
}

#[test]
fn shares_matches_and_rules_are_told_with_their_rule() {
    assert_eq!(
        after("weight: 3}", "weight: 1}"),
        "Sidecar shop/web\n  ~ rule shop/reviews/api of shop/reviews:80    (policy.yaml:22:5)\n      \
         backends.shop/canary:80.share: 25% -> 50%\n      backends.shop/reviews:80.share: 75% -> 50%\n"
    );
    assert_eq!(
        after("value: /api", "value: /api/v2"),
        "Sidecar shop/web\n  ~ rule shop/reviews/api of shop/reviews:80    (policy.yaml:22:5)\n      \
         matches[0].path.prefix: /api -> /api/v2\n"
    );
    assert_eq!(
        after("  - name: rest\n    backendRefs: [{name: reviews, port: 80}]\n", ""),
        "Sidecar shop/web\n  - rule shop/reviews/rest of shop/reviews:80    (policy.yaml:25:5)\n      \
         backends.shop/reviews:80.share: 100%\n      matches[0].path.prefix: /\n"
    );
}

#[test]
fn a_mesh_wide_default_is_told_where_it_reaches() {
    let mesh = "---\napiVersion: outrigger.dev/v1alpha1\nkind: Mesh\nmetadata: {name: default}\n\
                spec: {defaults: {timeouts: {request: 1m30s}}}\n";
    let diffs = policy(POLICY).diff(&policy(&format!("{POLICY}{mesh}")), None).unwrap();
    let text = diffs[0].to_string();
    for subject in ["service shop/canary:80", "rule shop/reviews/api", "rule shop/reviews/rest", "mesh"] {
        assert!(text.contains(&format!("  ~ {subject}")), "{subject}\n{text}");
    }
    assert!(text.contains("settings.timeouts.request: unset -> 1m30s\n"), "{text}");
}

#[test]
fn endpoints_come_go_and_change() {
    let text = after("{address: \"10.0.0.2:80\"}]", "{address: \"10.0.0.9:80\"}]");
    assert!(text.contains("  + endpoint 10.0.0.9:80 of shop/reviews:80"), "{text}");
    assert!(text.contains("  - endpoint 10.0.0.2:80 of shop/reviews:80"), "{text}");
    let text = after("{address: \"10.0.0.3:80\"}", "{address: \"10.0.0.3:80\", weight: 5, zone: a}");
    assert!(text.contains("      weight: 1 -> 5\n      zone: unset -> a\n"), "{text}");
    let text = after("{address: \"10.0.0.3:80\"}", "{address: \"10.0.0.3:80\"}, {address: \"10.0.0.3:80\"}");
    assert!(text.contains("  + endpoint 10.0.0.3:80 of shop/canary:80 #2"), "{text}");
}

#[test]
fn modes_and_identities_are_told() {
    let endpoint = "{address: \"10.0.0.3:80\"}";
    let named = "{address: \"10.0.0.3:80\", identity: spiffe://cluster.local/ns/shop/sa/canary}";
    let text = after(endpoint, named);
    assert!(text.contains("      identity: unset -> spiffe://cluster.local/ns/shop/sa/canary\n"), "{text}");
    let files = "identity: {files: {certificate: c.pem, privateKey: k.pem, trustBundle: ca.pem}}";
    let text = after("15001\"}]}", &format!("15001\"}}], {files}}}"));
    assert!(text.contains("  ~ sidecar shop/web"), "{text}");
    assert!(text.contains("      identity.source.files.certificate.path: unset -> c.pem\n"), "{text}");
    assert!(text.contains("      identity.trustDomain: unset -> cluster.local\n"), "{text}");
    let mesh = "---\napiVersion: outrigger.dev/v1alpha1\nkind: Mesh\nmetadata: {name: default, namespace: shop}\n\
                spec: {mtls: {mode: Disabled, ports: [{service: {name: canary}, port: 80, mode: Strict}]}}\n";
    let text = policy(POLICY).diff(&policy(&format!("{POLICY}{mesh}")), None).unwrap()[0].to_string();
    assert!(text.contains("mesh\n      mtls: Permissive -> Disabled\n"), "{text}");
    assert!(text.contains("      mtls: Permissive -> Strict\n"), "{text}");
    assert_eq!(text.matches("mtls: Permissive -> Disabled").count(), 2, "{text}");
}

#[test]
fn the_first_route_of_a_port_says_that_the_rest_is_now_404() {
    let without = POLICY.split("---\napiVersion: gateway").next().unwrap();
    let text = policy(without).diff(&policy(POLICY), None).unwrap()[0].to_string();
    assert!(text.contains("requests that no rule matches: its own endpoints -> 404"), "{text}");
    assert!(!text.contains("order of rules"), "{text}");
}

#[test]
fn the_order_of_rules_counts_only_among_those_that_stay() {
    let rule = "  - name: rest\n    backendRefs: [{name: reviews, port: 80}]\n";
    let first = format!("  rules:\n{rule}");
    let moved = POLICY.replace(rule, "").replace("  rules:\n", &first);
    let text = policy(POLICY).diff(&policy(&moved), None).unwrap()[0].to_string();
    assert!(
        text.contains(
            "order of rules: shop/reviews/api, shop/reviews/rest -> shop/reviews/rest, shop/reviews/api"
        ),
        "{text}"
    );
    let added = POLICY.replace("  rules:\n", &first.replace("rest", "more"));
    let text = policy(POLICY).diff(&policy(&added), None).unwrap()[0].to_string();
    assert!(text.contains("  + rule shop/reviews/more") && !text.contains("order of rules"), "{text}");
}

#[test]
fn sidecars_that_come_or_go_are_one_change_each() {
    let other = POLICY.split("---\n").next().unwrap().replace("web", "cart").replace("15001", "15002");
    let both = policy(&format!("{POLICY}---\n{other}"));
    let diffs = policy(POLICY).diff(&both, None).unwrap();
    let told: Vec<_> = diffs.iter().map(|diff| (diff.sidecar.to_string(), diff.changes.len())).collect();
    assert_eq!(told, [("shop/cart".to_owned(), 1), ("shop/web".to_owned(), 0)]);
    assert_eq!(diffs[0].changes[0].kind, ChangeKind::Added);
    let back = both.diff(&policy(POLICY), Some(&ObjectName::new("shop", "cart"))).unwrap();
    assert_eq!((back.len(), back[0].changes[0].kind), (1, ChangeKind::Removed));
    let unknown = both.diff(&policy(POLICY), Some(&ObjectName::new("shop", "wep"))).unwrap_err();
    assert!(unknown.to_string().contains("no Sidecar `shop/wep` (did you mean `shop/web`?)"), "{unknown}");
}

#[test]
fn another_kind_of_route_and_other_calls_are_told() {
    let http = "kind: HTTPRoute\nmetadata: {name: reviews, namespace: shop}";
    let grpc = "kind: GRPCRoute\nmetadata: {name: reviews, namespace: shop}";
    let calls = POLICY
        .replace(http, grpc)
        .replace("[{path: {value: /api}}]", "[{method: {service: shop.v1.Reviews, method: Get}}]");
    let diff = |old: &str, new: &str| policy(old).diff(&policy(new), None).unwrap()[0].to_string();
    assert_eq!(
        diff(POLICY, &calls),
        "Sidecar shop/web
  ~ rule shop/reviews/api of shop/reviews:80    (policy.yaml:22:5)
      kind: HTTPRoute -> GRPCRoute
      matches[0].path.grpc.method.exact: unset -> Get
      matches[0].path.grpc.service.exact: unset -> shop.v1.Reviews
      matches[0].path.prefix: /api -> unset
  ~ rule shop/reviews/rest of shop/reviews:80    (policy.yaml:25:5)
      kind: HTTPRoute -> GRPCRoute
      matches[0].path.prefix: / -> unset
  ~ service shop/canary:80    (policy.yaml:13:18)
      protocol: http1 -> grpc
      undeclared: true -> false
  ~ service shop/reviews:80    (policy.yaml:8:18)
      protocol: http1 -> grpc
      requests that no rule matches: 404 -> UNIMPLEMENTED (12), or 404 if they are no calls
"
    );
    assert_eq!(
        diff(&calls, &calls.replace("method: Get", "type: RegularExpression, method: Get.*")),
        "Sidecar shop/web
  ~ rule shop/reviews/api of shop/reviews:80    (policy.yaml:22:5)
      matches[0].path.grpc.method.exact: Get -> unset
      matches[0].path.grpc.method.regex: unset -> Get.*
      matches[0].path.grpc.service.exact: shop.v1.Reviews -> unset
      matches[0].path.grpc.service.regex: unset -> shop.v1.Reviews
"
    );
}

#[test]
fn a_port_that_becomes_one_of_tcp_and_its_shares_are_told() {
    let route = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: TCPRoute\nmetadata: {name: canary, namespace: shop}\n\
                 spec:\n  parentRefs: [{group: \"\", kind: Service, name: canary}]\n  \
                 rules: [{backendRefs: [{name: canary, port: 80, weight: 4}, {name: reviews, port: 80}]}]\n";
    let diff = |old: &str, new: &str| policy(old).diff(&policy(new), None).unwrap()[0].to_string();
    let tcp = format!("{POLICY}{route}");
    assert_eq!(
        diff(POLICY, &tcp),
        "Sidecar shop/web
  + rule shop/canary/0 of shop/canary:80    (policy.yaml:33:11)
      backends.shop/canary:80.share: 80%
      backends.shop/reviews:80.share: 20%
  ~ service shop/canary:80    (policy.yaml:13:18)
      connections that no rule takes: unset -> reset
      protocol: http1 -> tcp
      requests that no rule matches: its own endpoints -> unset
      undeclared: true -> false
"
    );
    assert_eq!(
        diff(&tcp, &tcp.replace("weight: 4", "weight: 1")),
        "Sidecar shop/web
  ~ rule shop/canary/0 of shop/canary:80    (policy.yaml:33:11)
      backends.shop/canary:80.share: 80% -> 50%
      backends.shop/reviews:80.share: 20% -> 50%
"
    );
}
