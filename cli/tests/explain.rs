//! `outrigger explain` as a person runs it: its answer, its forms, its exit codes. What it explains is tested beside its code,
//! and that it is what a proxy does in `explain_property.rs`.

use std::process::{Command, Output};

/// A canary by header and by weight.
const CANARY: &str = "examples/canary.yaml";
/// A TCPRoute with two backends.
const CONNECTIONS: &str = "examples/tcp.yaml";

/// Runs it where the examples are.
fn outrigger(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_outrigger"))
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .args(arguments)
        .output()
        .expect("the binary runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code(), text(stdout), text(stderr))
}

fn explain(arguments: &[&str]) -> (Option<i32>, String, String) {
    outrigger(&[&["explain", "-f", CANARY], arguments].concat())
}

fn json(arguments: &[&str]) -> serde_json::Value {
    let (_, told, said) = explain(&[&["-o", "json"], arguments].concat());
    serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}{said}"))
}

#[test]
fn the_answer_is_the_first_line_and_0_lets_the_request_through() {
    let (code, told, _) = explain(&["GET", "http://reviews/"]);
    let first = "GET http://reviews/ goes to shop/reviews:80 (90 %) or shop/reviews-v2:80 (10 %), by rule \
                 shop/reviews/everyone (examples/canary.yaml:36:5)\n";
    assert!(code == Some(0) && told.starts_with(first), "{told}");
    let (code, told, _) = explain(&["-H", "X-Tester: yes", "GET", "http://reviews/"]);
    let first = "GET http://reviews/ goes to shop/reviews-v2:80, by rule shop/reviews/testers";
    assert!(code == Some(0) && told.starts_with(first), "{told}");
}

#[test]
fn a_refusal_ends_with_1() {
    let (code, told, _) = explain(&["CONNECT", "elsewhere:443"]);
    assert!(code == Some(1) && told.starts_with("CONNECT elsewhere:443 is refused: 404"), "{told}");
    let (code, told, _) = explain(&["CONNECT", "reviews:80"]);
    let first = "CONNECT reviews:80 goes to shop/reviews:80; a tunnel, which no route can match\n";
    assert!(code == Some(0) && told.starts_with(first), "{told}");
    let (code, told, _) = explain(&["--proxy-form", "GET", "http://reveiws/"]);
    assert_eq!(code, Some(1));
    assert!(
        told.contains("is refused: 404 no_service [NR]") && told.contains("did you mean `reviews`"),
        "{told}"
    );
}

#[test]
fn words_stand_before_or_after_the_files() {
    let expected = explain(&["GET", "http://reviews/"]);
    assert_eq!(outrigger(&["explain", "GET", "http://reviews/", "-f", CANARY]), expected);
    assert_eq!(outrigger(&["explain", "-f", CANARY, "-o", "text", "GET", "reviews"]).0, Some(0));
}

#[test]
fn the_json_form_has_everything_and_the_yaml_form_is_the_same() {
    let report = json(&["--dice", "0x7", "GET", "http://reviews/a?b"]);
    assert_eq!(report["outcome"]["kind"], "forward");
    assert_eq!(report["request"]["dice"], "0x0000000000000007");
    assert_eq!(report["rule"]["name"], "shop/reviews/everyone");
    assert_eq!(report["shares"][0]["percent"], 90.0);
    assert_eq!(report["shares"][0]["sent"]["path"], "/a?b");
    assert_eq!(report["candidates"][0]["miss"]["what"], "header x-tester");
    assert_eq!(report["timeouts"]["connect"]["layer"], "builtIn");
    let (code, yaml, _) = explain(&["-o", "yaml", "--dice", "7", "GET", "http://reviews/a?b"]);
    assert_eq!(code, Some(0));
    let same: serde_json::Value = serde_yaml::from_str(&yaml).expect("YAML");
    assert_eq!(same, report);
}

#[test]
fn an_identity_chooses_the_sidecar_or_is_refused() {
    let report = json(&["--from", "spiffe://cluster.local/ns/shop/sa/default", "GET", "http://reviews/"]);
    let effect = report["request"]["from"]["effect"].as_str().unwrap();
    assert!(effect.starts_with("this Sidecar's own"), "{effect}");
    let (code, _, said) =
        explain(&["--from", "spiffe://cluster.local/ns/bank/sa/pay", "GET", "http://reviews/"]);
    assert_eq!(code, Some(2));
    assert!(
        said.contains("requests of an app come from shop/web (spiffe://cluster.local/ns/shop/sa/default)"),
        "{said}"
    );
    let (code, _, said) = explain(&["--from", "cart", "GET", "http://reviews/"]);
    assert!(code == Some(2) && said.contains("is not a SPIFFE ID"), "{said}");
}

#[test]
fn a_namespace_stands_for_its_callers_where_there_is_no_sidecar() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("reviews.yaml");
    let text = "{apiVersion: outrigger.dev/v1alpha1, kind: MeshService, metadata: {name: reviews, namespace: shop}, \
                spec: {ports: [{port: 80}], endpoints: [{address: \"127.0.0.1:1\"}]}}\n";
    std::fs::write(&path, text).expect("a temporary file is writable");
    let path = path.display().to_string();
    let ask =
        |more: &[&str]| outrigger(&[&["explain", "-f", &path], more, &["GET", "http://reviews/"]].concat());
    let (code, _, said) = ask(&[]);
    assert!(code == Some(2) && said.contains("--namespace NAME"), "{said}");
    let (code, told, _) = ask(&["--namespace", "shop", "-o", "text"]);
    assert!(code == Some(0) && told.starts_with("GET http://reviews/ goes to shop/reviews:80"), "{told}");
    let (_, told, _) = ask(&["--namespace", "bank", "-o", "text"]);
    assert!(told.contains("did you mean `reviews.shop`?"), "{told}");
}

#[test]
fn a_connection_is_one_word_before_or_after_the_files() {
    let ask = |arguments: &[&str]| outrigger(&[&["explain"], arguments].concat());
    let expected = ask(&["-f", CONNECTIONS, "tcp://database:5432"]);
    let (code, told, said) = &expected;
    let first = "tcp://database:5432 is passed on to shop/database:5432 (90 %) or shop/database-next:5432 (10 %), by \
                 rule shop/database/migration (examples/tcp.yaml:32:5)\n";
    assert!(*code == Some(0) && told.starts_with(first), "{told}{said}");
    assert_eq!(ask(&["tcp://database:5432", "-f", CONNECTIONS]), expected);
    let (_, told, _) = ask(&["-f", CONNECTIONS, "-o", "json", "--dice", "3", "tcp://database:5432"]);
    let report: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(report["connection"]["dice"], "0x0000000000000003");
    assert_eq!(report["shares"].as_array().map(Vec::len), Some(2));
    let (_, yaml, _) = ask(&["-f", CONNECTIONS, "-o", "yaml", "--dice", "3", "tcp://database:5432"]);
    assert_eq!(serde_yaml::from_str::<serde_json::Value>(&yaml).expect("YAML"), report);
    let (code, told, _) = ask(&["-f", CANARY, "tls://nobody.example.com"]);
    assert!(code == Some(0) && told.contains("leaves the mesh, to nobody.example.com:443"), "{told}");
}

#[test]
fn what_cannot_be_asked_ends_with_2_and_says_why() {
    for (arguments, why) in [
        (&["GET"][..], "METHOD and URL are needed"),
        (&["G T", "http://reviews/"], "is not a method"),
        (&["GET", "http://re views/"], "is not a URL"),
        (&["GET", "https://reviews/"], "only http is read here"),
        (&["-H", "nonsense", "GET", "http://reviews/"], "NAME: VALUE"),
        (&["tcp://reviews"], "a port is missing"),
        (&["--http2", "tcp://reviews:80"], "no version of HTTP"),
        (&["--dice", "0xg", "GET", "http://reviews/"], "2^64"),
        (&["--listener", "127.0.0.1:1", "GET", "http://reviews/"], "no listener on 127.0.0.1:1"),
        (&["--inbound", "GET", "http://reviews/"], "no inbound listener"),
        (&["--sidecar", "shop/wbe", "GET", "http://reviews/"], "did you mean `shop/web`?"),
    ] {
        let (code, told, said) = explain(arguments);
        assert!(code == Some(2) && told.is_empty() && said.contains(why), "{arguments:?}: {said}");
    }
    let (code, _, said) = outrigger(&["explain", "-f", "GET", "http://reviews/"]);
    assert!(code == Some(2) && said.contains("policy files, METHOD and URL are needed"), "{said}");
}

/// What the README shows is what the commands print.
#[test]
fn the_output_in_the_readme_is_real() {
    let readme =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).expect("a README");
    for command in ["explain", "test"] {
        let (_, shown) = readme.split_once(&format!("$ outrigger {command} ")).expect("the README shows it");
        let (rest, shown) = shown.split_once('\n').expect("with its output");
        let (shown, _) = shown.split_once("```").expect("in a block");
        let arguments: Vec<&str> = std::iter::once(command).chain(rest.split_whitespace()).collect();
        let (code, told, said) = outrigger(&arguments);
        assert_eq!((code, told.trim_end()), (Some(0), shown.trim_end()), "{said}");
    }
}
