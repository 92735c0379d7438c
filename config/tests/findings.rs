//! What `check` says about bad policy files: one file of `findings/` per kind of fault, with its whole output as a
//! snapshot, and the properties that hold for any file.

use std::{fs, path::PathBuf};

use outrigger_config::{Checked, Severity, SourceFile, check};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/findings")
}

fn checked(name: &str) -> Checked {
    let path = format!("{name}.yaml");
    let text = fs::read(folder().join(&path)).unwrap();
    check(vec![SourceFile { path, text }])
}

fn names() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn each_fault_is_shown_with_its_place_and_its_remedy() {
    let names = names();
    assert!(names.len() >= 24);
    for name in names {
        let checked = checked(&name);
        let errors = checked.errors();
        assert_eq!(checked.policy.is_none(), errors > 0, "{name}");
        insta::assert_snapshot!(name, checked.render_text(false));
    }
}

#[test]
fn a_file_with_six_faults_reports_six() {
    let checked = checked("six_faults");
    assert_eq!(checked.errors(), 6, "{}", checked.render_text(false));
}

#[test]
fn the_text_shows_twenty_errors_and_json_shows_all() {
    let checked = checked("more_than_twenty");
    assert!(checked.errors() > 20);
    let text = checked.render_text(false);
    assert_eq!(text.matches(": error[").count(), 20);
    assert!(text.contains(&format!("and {} more errors", checked.errors() - 20)), "{text}");
    let json = checked.to_json();
    assert_eq!(json["errors"], checked.errors());
    assert_eq!(json["findings"].as_array().unwrap().len(), checked.findings.len());
}

#[test]
fn json_names_every_part_of_a_finding() {
    let checked = checked("duplicate_key");
    insta::assert_json_snapshot!("json", checked.to_json());
}

#[test]
fn color_changes_nothing_but_color() {
    for name in ["six_faults", "shadowed_rule", "bad_regex"] {
        let checked = checked(name);
        let mut plain = String::new();
        let colored = checked.render_text(true);
        let mut rest = colored.as_str();
        while let Some(at) = rest.find('\x1b') {
            plain.push_str(&rest[..at]);
            rest = &rest[at..];
            rest = &rest[rest.find('m').unwrap() + 1..];
        }
        plain.push_str(rest);
        assert_eq!(plain, checked.render_text(false));
    }
}

#[test]
fn a_file_that_does_not_parse_leaves_one_finding_and_the_others_are_read() {
    let file = |path: &str, text: &str| SourceFile { path: path.to_owned(), text: text.into() };
    let broken = file("broken.yaml", "kind: [");
    let refers = "apiVersion: outrigger.dev/v1alpha1\nkind: Sidecar\nmetadata: {name: a}\n\
                  spec: {outbound: [{bind: \"127.0.0.1:1\", service: {name: b, port: 80}}], x: 1}\n";
    let checked = check(vec![broken, file("sidecar.yaml", refers)]);
    let shown: Vec<String> = checked.findings.iter().map(ToString::to_string).collect();
    assert_eq!(shown.len(), 2, "{shown:#?}");
    assert!(shown[0].starts_with("broken.yaml:"), "{shown:#?}");
    // `b` may stand in the file that could not be read, so its absence is no finding.
    assert!(shown[1].contains("unknown field `x`"), "{shown:#?}");
}

#[test]
fn no_file_is_no_finding() {
    let checked = check(Vec::new());
    assert!(checked.policy.is_some() && checked.findings.is_empty());
    assert_eq!(checked.render_text(false), "");
}

#[test]
fn every_error_points_into_its_file() {
    for name in names() {
        let text = fs::read(folder().join(format!("{name}.yaml"))).unwrap();
        let lines = String::from_utf8_lossy(&text).lines().count().max(1) as u32;
        for finding in checked(&name).findings {
            assert!((1..=lines + 1).contains(&finding.line()), "{finding}");
            assert!(finding.column() >= 1, "{finding}");
            assert!(finding.severity() != Severity::Error || !finding.message().is_empty(), "{finding}");
        }
    }
}
