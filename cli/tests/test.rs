//! `outrigger test` as a person runs it.

use std::process::{Command, Output};

const POLICY: &str = "examples/canary.yaml";
const CASES: &str = "examples/tests/canary.yaml";

fn test(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_outrigger"))
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .args([&["test"], arguments].concat())
        .output()
        .expect("the binary runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code(), text(stdout), text(stderr))
}

/// With these cases for the canary.
fn with(cases: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("cases.yaml");
    std::fs::write(&path, cases).expect("a temporary file is writable");
    test(&[&["-f", POLICY, &path.display().to_string()], arguments].concat())
}

#[test]
fn the_example_passes_and_takes_every_rule() {
    let (code, told, said) = test(&["--min-coverage", "100", "-f", POLICY, CASES]);
    assert_eq!(code, Some(0), "{told}{said}");
    assert!(
        told.contains("rules: 2 of 2 taken (100 %)\n") && told.ends_with("3 passed, 0 failed\n"),
        "{told}"
    );
    assert_eq!(test(&[CASES, "-f", POLICY]).0, Some(0));
}

#[test]
fn a_case_that_fails_shows_what_is_and_why() {
    let cases = "cases:\n- {name: wrong, request: {url: http://reviews/}, expect: {backend: shop/reviews:80, attempts: 2, \
                 headers: {x-a: b}}}\n";
    let (code, told, _) = with(cases, &[]);
    assert_eq!(code, Some(1));
    for part in [
        "FAILED wrong  (",
        "backend: expected shop/reviews:80, but it is shop/reviews:80 or shop/reviews-v2:80\n",
        "attempts: expected 2, but it is 0\n",
        "headers.x-a: expected b, but it is absent\n",
        "by rule shop/reviews/everyone (examples/canary.yaml:36:5)\n",
        "no case takes rule shop/reviews/testers  (examples/canary.yaml:33:7)\n",
        "0 passed, 1 failed\n",
    ] {
        assert!(told.contains(part), "{part}\n{told}");
    }
}

#[test]
fn too_few_rules_fail_where_more_are_wanted() {
    let cases =
        "cases:\n- {name: fine, request: {url: http://reviews/}, expect: {rule: shop/reviews/everyone}}\n";
    assert_eq!(with(cases, &["--min-coverage", "50"]).0, Some(0));
    let (code, told, _) = with(cases, &["--min-coverage", "51"]);
    assert!(code == Some(1) && told.contains("FAILED coverage: at least 51 %"), "{told}");
    let (code, told, _) = with(cases, &["-o", "json"]);
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((code, &told["passed"], &told["coverage"]["percent"]), (Some(0), &1.into(), &50.0.into()));
    let yaml = with(cases, &["-o", "yaml"]).1;
    let yaml: serde_json::Value = serde_yaml::from_str(&yaml).expect("YAML");
    assert_eq!((&yaml["passed"], &yaml["coverage"]), (&told["passed"], &told["coverage"]));
}

#[test]
fn cases_that_cannot_be_used_end_with_2_and_their_places() {
    let (code, told, said) = with("cases:\n- {name: a, request: {url: /}, expect: {stauts: 404}}\n", &[]);
    assert!(code == Some(2) && told.is_empty() && said.contains("did you mean `status`?"), "{said}");
    assert!(said.contains("cases.yaml:2:"), "{said}");
    let (code, _, said) =
        with("cases:\n- {name: a, request: {url: \"http://a b/\"}, expect: {status: 404}}\n", &[]);
    assert!(code == Some(2) && said.contains("case `a`") && said.contains("is not a URL"), "{said}");
    let (code, _, said) = test(&["-f", POLICY]);
    assert!(code == Some(2) && said.contains("a file of cases are needed"), "{said}");
}
