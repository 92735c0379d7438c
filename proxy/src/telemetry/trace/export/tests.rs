//! Who the spans are said to be of.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use outrigger_config::{SourceFile, check};

use super::*;

fn resource_of(sidecar: &str, tracing: &str) -> BTreeMap<String, String> {
    let text = format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: Sidecar\nmetadata: {sidecar}\nspec: {{outbound: [{{bind: \
         \"127.0.0.1:0\"}}]}}\n---\napiVersion: outrigger.dev/v1alpha1\nkind: Mesh\nmetadata: {{name: default}}\n\
         spec: {{telemetry: {{tracing: {{otlp: \"http://127.0.0.1:4317\"{tracing}}}}}}}\n"
    );
    let checked = check(vec![SourceFile { path: "policy.yaml".to_owned(), text: text.into() }]);
    let shown = checked.render_text(false);
    let resources = checked.policy.unwrap_or_else(|| panic!("{shown}")).compile(None).unwrap();
    let resource = resource(&resources.mesh, &resources.workload, "abc");
    let text = |field: KeyValue| match field.value.unwrap().value {
        Some(Value::StringValue(text)) => (field.key, text),
        other => panic!("{other:?}"),
    };
    let count = resource.attributes.len();
    let fields: BTreeMap<_, _> = resource.attributes.into_iter().map(text).collect();
    assert_eq!(fields.len(), count, "no key twice");
    fields
}

#[test]
fn the_sidecar_names_the_service() {
    let labels = "{name: cart, namespace: shop, labels: {app.kubernetes.io/version: 1.4.2}}";
    let fields = resource_of(labels, "");
    for (key, value) in [
        ("service.name", "cart"),
        ("service.namespace", "shop"),
        ("service.version", "1.4.2"),
        ("service.instance.id", "abc"),
        ("telemetry.sdk.name", "outrigger"),
        ("telemetry.sdk.language", "rust"),
        ("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
    ] {
        assert_eq!(fields[key], value, "{key}");
    }
    assert_eq!(fields.len(), 7);
}

#[test]
fn policy_adds_to_it_and_replaces() {
    let fields =
        resource_of("{name: cart}", ", resource: {service.name: web, deployment.environment.name: prod}");
    assert_eq!(fields["service.name"], "web");
    assert_eq!(fields["deployment.environment.name"], "prod");
    assert!(!fields.contains_key("service.version"));
}
