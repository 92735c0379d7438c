//! Holds the list of what is not supported yet: each row is refused, and no row may be added.

use super::{LIST, is};
use crate::{Code, SourceFile, check};

/// The rows when the list was first written. It only shrinks: lower this with each row that goes.
const ROWS: usize = 18;

#[test]
fn the_list_is_sorted_and_only_shrinks() {
    assert!(LIST.is_sorted());
    assert!(LIST.windows(2).all(|pair| pair[0] != pair[1]));
    assert_eq!(LIST.len(), ROWS);
    assert!(is("TrafficPolicy", "spec.hedge") && !is("TrafficPolicy", "spec.retry"));
}

#[test]
fn the_list_is_exactly_this() {
    let rows: Vec<String> = LIST.iter().map(|(kind, path)| format!("{kind} {path}")).collect();
    insta::assert_snapshot!(rows.join("\n"));
}

/// A document of the kind in which the field, or value, stands at its path and nowhere a fault hides it.
fn document(kind: &str, path: &str) -> String {
    let group = crate::schema::KNOWN.iter().find(|known| known.kind == kind).unwrap().api_version;
    let mut document =
        serde_json::json!({"apiVersion": group, "kind": kind, "metadata": {"name": "x"}, "spec": {}});
    if path.is_empty() {
        return document.to_string();
    }
    let (path, value) = path.split_once('=').map_or((path, None), |(path, value)| (path, Some(value)));
    let mut place = &mut document;
    for step in path.split('.') {
        let key = step.trim_end_matches("[]");
        place = &mut place[key];
        if step.ends_with("[]") {
            if place.is_null() {
                *place = serde_json::json!([{}]);
            }
            place = &mut place[0];
        }
    }
    *place = value.map_or(serde_json::json!({}), |value| value.into());
    document.to_string()
}

#[test]
fn every_row_is_refused_with_its_own_code_at_its_place() {
    for (kind, path) in LIST {
        let text = document(kind, path);
        let file = SourceFile { path: "x.yaml".to_owned(), text: text.clone().into() };
        let checked = check(vec![file]);
        let field = if path.is_empty() { "kind" } else { path.split('=').next().unwrap() };
        let found = checked.findings.iter().any(|finding| {
            finding.kind() == Code::NotSupported && crate::yaml::pattern_of(finding.field()) == field
        });
        assert!(found, "{kind} {path}: {text}\n{}", checked.render_text(false));
        assert!(checked.policy.is_none());
    }
}
