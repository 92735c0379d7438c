//! `outrigger diff` as a person runs it: what it says, and how it ends.

use std::process::{Command, Output};

const POLICY: &str = "apiVersion: outrigger.dev/v1alpha1
kind: Sidecar
metadata: {name: web}
spec: {outbound: [{bind: \"127.0.0.1:15001\"}]}
---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {name: reviews}
spec: {ports: [{port: 80}], endpoints: [{address: \"127.0.0.1:8080\"}]}
";

/// `outrigger diff` of the policy and an edit of it.
fn diff(from: &str, to: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let paths =
        [("old.yaml", POLICY.to_owned()), ("new.yaml", POLICY.replace(from, to))].map(|(name, text)| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("a temporary file is writable");
            path
        });
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_outrigger"))
        .arg("diff")
        .args(&paths)
        .args(arguments)
        .output()
        .expect("the binary runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn no_difference_ends_with_0() {
    let (code, told, _) = diff("---\n", "---\n# a remark\n", &[]);
    assert_eq!((code, told.as_str()), (Some(0), "Sidecar default/web: nothing changes\n"));
}

#[test]
fn differences_end_with_1_and_are_counted() {
    let (code, told, _) = diff("127.0.0.1:8080\"}", "127.0.0.1:8081\"}", &[]);
    assert_eq!(code, Some(1));
    assert!(told.contains("  + endpoint 127.0.0.1:8081 of default/reviews:80    ("), "{told}");
    assert!(told.ends_with("2 changes: 1 added, 1 removed, 0 changed\n"), "{told}");
}

#[test]
fn the_json_form_has_everything() {
    let (code, told, _) =
        diff("port: 80}", "port: 80, protocol: http2}", &["-o", "json", "--sidecar", "web"]);
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON on standard output");
    let change = &told["sidecars"][0]["changes"][0];
    assert_eq!(code, Some(1));
    assert_eq!(change["subject"], "service default/reviews:80");
    assert_eq!(change["kind"], "changed");
    let field = serde_json::json!({"field": "protocol", "old": "http1", "new": "http2"});
    // A port that declares its protocol is no longer listened to for one.
    let undeclared = serde_json::json!({"field": "undeclared", "old": "true", "new": "false"});
    assert_eq!(change["fields"], serde_json::json!([field, undeclared]));
    let yaml = diff("port: 80}", "port: 80, protocol: http2}", &["-o", "yaml", "--sidecar", "web"]).1;
    let yaml: serde_json::Value = serde_yaml::from_str(&yaml).expect("YAML");
    assert_eq!(yaml["sidecars"][0]["changes"][0]["fields"], change["fields"]);
}

#[test]
fn without_a_sidecar_callers_of_each_namespace_stand_for_it() {
    let sidecar = POLICY.split_once("---\n").expect("two documents").0;
    let bare = |from: &str, to: &str| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let text = POLICY
            .replace(sidecar, "")
            .replace("---\n", "")
            .replace("name: reviews}", "name: reviews, namespace: shop}");
        let route = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: reviews, namespace: bank}\nspec:\n  \
                     parentRefs: [{group: \"\", kind: Service, name: reviews, namespace: shop}]\n  \
                     rules: [{backendRefs: [{name: reviews, namespace: shop, port: 80}]}]\n";
        let paths = [("old.yaml", text.clone() + route), ("new.yaml", (text + route).replace(from, to))];
        let paths = paths.map(|(name, text)| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("a temporary file is writable");
            path
        });
        let output = Command::new(env!("CARGO_BIN_EXE_outrigger")).arg("diff").args(&paths).output();
        let Output { status, stdout, stderr } = output.expect("the binary runs");
        (status.code(), String::from_utf8(stdout).expect("UTF-8"), String::from_utf8(stderr).expect("UTF-8"))
    };
    let (code, told, said) = bare("bank", "bank");
    assert_eq!(
        (code, &*told, &*said),
        (
            Some(0),
            "Callers in namespace bank: nothing changes\nCallers in namespace shop: nothing changes\n",
            ""
        )
    );
    // A route of the callers' own namespace is nothing to the others.
    let (code, told, said) = bare("rules: [{", "rules: [{timeouts: {request: 5s}, ");
    assert_eq!(code, Some(1), "{said}");
    assert!(
        told.starts_with("Callers in namespace bank\n  ~ rule bank/reviews/0 of shop/reviews:80"),
        "{told}"
    );
    assert!(told.contains("Callers in namespace shop: nothing changes\n"), "{told}");
}

#[test]
fn a_policy_that_cannot_be_used_ends_with_2_and_says_why() {
    let (code, told, said) = diff("port: 80}", "port: 80000}", &[]);
    assert_eq!((code, told.as_str()), (Some(2), ""));
    assert!(said.contains("new.yaml: this policy has errors") && said.contains("OR1"), "{said}");
    let (code, _, said) = diff("port: 80}", "port: 81}", &["--sidecar", "nobody"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("no Sidecar `default/nobody`"), "{said}");
}
