//! Reading of YAML: places, what plain scalars mean, and that no input breaks it.

use proptest::prelude::*;

use super::*;
use crate::{SourceFile, check};

fn roots(text: &str) -> Vec<Node> {
    let mut faults = Vec::new();
    let documents = read(0, text, &mut faults);
    assert!(faults.is_empty(), "{faults:?}");
    documents.roots
}

#[test]
fn every_value_knows_its_place() {
    let text = "a: 1\nb:\n  - x: é\n    y: [2, \"z\"]\n---\nc: |\n  long\n";
    let roots = roots(text);
    assert_eq!(roots.len(), 2);
    let place = |key: &str, node: &Node| {
        let span = node.get(key).unwrap().span;
        (span.line, span.column, text[span.start as usize..span.end as usize].to_owned())
    };
    assert_eq!(place("a", &roots[0]), (1, 4, "1".to_owned()));
    let Value::Seq(items) = &roots[0].get("b").unwrap().value else { unreachable!() };
    assert_eq!(place("x", &items[0]), (3, 8, "é".to_owned()));
    let Value::Seq(inner) = &items[0].get("y").unwrap().value else { unreachable!() };
    assert_eq!((inner[1].span.line, inner[1].span.column), (4, 12));
    assert_eq!(field_path(&roots[0], &inner[1].span), "b[0].y[1]");
    assert_eq!(field_path(&roots[0], &items[0].span), "b[0]");
    assert_eq!(pattern_of("b[0].y[12].z"), "b[].y[].z");
    assert_eq!(roots[1].get("c").unwrap().scalar(), Some(("long\n", ScalarKind::String)));
}

#[test]
fn plain_scalars_are_what_readers_agree_on() {
    for (text, kind) in [
        ("~", ScalarKind::Null),
        ("true", ScalarKind::Bool(true)),
        ("off", ScalarKind::LooseBool(false)),
        ("Yes", ScalarKind::LooseBool(true)),
        ("0", ScalarKind::Integer),
        ("-12", ScalarKind::Integer),
        ("010", ScalarKind::LooseInteger),
        ("0x1F", ScalarKind::LooseInteger),
        ("1_000", ScalarKind::LooseInteger),
        ("1.5", ScalarKind::Float),
        ("1e3", ScalarKind::Float),
        (".5", ScalarKind::Float),
        (".inf", ScalarKind::Float),
        ("5s", ScalarKind::String),
        ("1.2.3", ScalarKind::String),
        ("10.0.0.1", ScalarKind::String),
        ("5xx", ScalarKind::String),
        ("y", ScalarKind::String),
        ("-", ScalarKind::String),
        ("0b", ScalarKind::String),
    ] {
        assert_eq!(scalar::resolve(text), kind, "{text}");
    }
}

#[test]
fn aliases_copy_and_keep_the_place_of_what_they_copy() {
    let roots = roots("a: &x {p: 80}\nb: *x\n");
    assert_eq!(
        roots[0].get("b").unwrap().get("p").unwrap().span,
        roots[0].get("a").unwrap().get("p").unwrap().span
    );
}

#[test]
fn many_keys_are_not_quadratic_and_duplicates_are_found_among_them() {
    let mut text: String = (0..20_000).map(|n| format!("k{n}: v\n")).collect();
    text.push_str("k19999: w\nk3: w\n");
    let mut faults = Vec::new();
    read(0, &text, &mut faults);
    let lines: Vec<u32> = faults.iter().map(|fault| fault.related[0].0.line).collect();
    assert_eq!(lines, [20_000, 4]);
}

#[test]
fn a_bomb_of_aliases_and_a_pit_of_nesting_cost_their_file_only() {
    let mut bomb = "a0: &a0 [x]\n".to_owned();
    for n in 1..60 {
        bomb.push_str(&format!("a{n}: &a{n} [*a{}, *a{}]\n", n - 1, n - 1));
    }
    for text in [bomb, "- ".repeat(10_000), "[".repeat(10_000), "{a: ".repeat(10_000)] {
        let mut faults = Vec::new();
        let documents = read(0, &text, &mut faults);
        assert!(!documents.complete && documents.roots.is_empty());
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].code, Code::Budget);
    }
}

/// Text in which the things that policy files are made of occur often.
fn policy_like() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "apiVersion: outrigger.dev/v1alpha1\n",
        "kind: MeshService\n",
        "kind: HTTPRoute\n",
        "apiVersion: gateway.networking.k8s.io/v1\n",
        "metadata: {name: a}\n",
        "spec:\n",
        "  rules:\n",
        "  - matches: [{path: {type: RegularExpression, value: '(é[a'}}]\n",
        "    backendRefs: [{name: a, port: 80, weight: 0}]\n",
        "  parentRefs: [{group: '', kind: Service, name: a}]\n",
        "  ports: [{port: 80}]\n",
        "  endpoints: [{address: '127.0.0.1:1'}]\n",
        "---\n",
        "&a ",
        "*a ",
        "- ",
        ": ",
        "\t",
        "é",
        "\u{feff}",
        "'",
        "\"",
        "{",
        "]",
        "|\n",
        "? ",
        "!x ",
        "\r\n",
        "null",
        "010",
    ]);
    prop::collection::vec(words, 0..24).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn any_bytes_are_checked_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let checked = check(vec![SourceFile { path: "x".to_owned(), text: bytes }]);
        checked.render_text(true);
        checked.to_json();
    }

    #[test]
    fn any_policy_like_text_is_checked_without_a_panic(text in policy_like()) {
        let checked = check(vec![SourceFile { path: "x".to_owned(), text: text.into_bytes() }]);
        checked.render_text(false);
        if let Some(policy) = &checked.policy {
            let _ = policy.compile(None);
        }
    }
}

#[test]
fn a_hundred_thousand_faults_do_not_cost_their_square() {
    let mut text =
        "apiVersion: outrigger.dev/v1alpha1\nkind: MeshService\nmetadata: {name: a}\nspec:\n".to_owned();
    text.push_str("  ports: [{port: 80}]\n");
    (0..50_000).for_each(|n| text.push_str(&format!("  k{n}: v\n")));
    text.push_str("  endpoints:\n");
    (0..50_000).for_each(|_| text.push_str("  - {adress: x, dns: 5}\n"));
    let checked = check(vec![SourceFile { path: "x".to_owned(), text: text.into_bytes() }]);
    assert!(checked.errors() > 100_000);
    assert_eq!(checked.findings[0].field(), "spec.k0");
}
