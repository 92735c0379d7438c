//! The forms of findings for other tools, over every golden file: SARIF 2.1.0 against its own schema, and the workflow
//! commands of GitHub Actions.
//!
//! `sarif-2.1.0.json` is the OASIS schema as the crate `serde-sarif` 0.8.0 ships it.

use std::{fs, path::PathBuf};

use outrigger_config::{Checked, Severity, SourceFile, check};
use serde_json::Value;

fn tests() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// The findings of every golden file, with the file's name.
fn all() -> Vec<(String, Checked)> {
    let files = fs::read_dir(tests().join("findings")).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<_> = files
        .map(|path| {
            let name = format!("rules of/{}", path.file_name().unwrap().to_string_lossy());
            let file = SourceFile { path: name.clone(), text: fs::read(path).unwrap() };
            (name, check(vec![file]))
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(all.len() > 24);
    all
}

#[test]
fn sarif_keeps_to_its_schema_and_loses_nothing() {
    let mut schema: Value =
        serde_json::from_slice(&fs::read(tests().join("sarif-2.1.0.json")).unwrap()).unwrap();
    // The published pattern of `language`, which no log of ours has, is no valid expression: it ends with `]?$`.
    for definition in ["run", "toolComponent"] {
        let language = schema.pointer_mut(&format!("/definitions/{definition}/properties/language"));
        language.and_then(Value::as_object_mut).map(|language| language.remove("pattern"));
    }
    let validator = jsonschema::validator_for(&schema).unwrap();
    for (name, checked) in all() {
        let log = checked.to_sarif();
        let faults: Vec<String> = validator.iter_errors(&log).map(|fault| fault.to_string()).collect();
        assert!(faults.is_empty(), "{name}: {faults:?}\n{log:#}");
        let results = log["runs"][0]["results"].as_array().unwrap();
        assert_eq!(results.len(), checked.findings.len(), "{name}");
        for (result, finding) in results.iter().zip(&checked.findings) {
            let place = &result["locations"][0]["physicalLocation"];
            assert_eq!(place["artifactLocation"]["uri"], name.replace(' ', "%20"));
            assert_eq!(place["region"]["startLine"], finding.line().max(1), "{finding}");
            assert_eq!(place["region"]["startColumn"], finding.column().max(1), "{finding}");
            assert_eq!(result["level"], finding.severity().as_str());
            let rule =
                &log["runs"][0]["tool"]["driver"]["rules"][result["ruleIndex"].as_u64().unwrap() as usize];
            assert_eq!(rule["id"], finding.code());
            let text = result["message"]["text"].as_str().unwrap();
            assert!(text.contains(finding.message()) && text.contains(finding.help().unwrap_or_default()));
            let related = result["relatedLocations"].as_array().map_or(0, Vec::len);
            assert_eq!(related, finding.related().len());
        }
    }
    // The schema bites.
    let mut broken = all()[0].1.to_sarif();
    broken["runs"][0]["columnKind"] = "bytes".into();
    assert!(!validator.is_valid(&broken));
}

#[test]
fn github_commands_are_one_line_each() {
    for (name, checked) in all() {
        let text = checked.to_github();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), checked.findings.len(), "{name}\n{text}");
        for (line, finding) in lines.iter().zip(&checked.findings) {
            let level = match finding.severity() {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Note => "notice",
            };
            let begin = format!(
                "::{level} file={name},line={},col={},title={}::",
                finding.line(),
                finding.column(),
                finding.code()
            );
            let message = line.strip_prefix(&begin).unwrap_or_else(|| panic!("{begin}\n{line}"));
            let told = message.replace("%0A", "\n").replace("%0D", "\r").replace("%25", "%");
            assert!(told.contains(finding.message()), "{message}");
        }
    }
}

#[test]
fn what_would_end_a_command_is_escaped() {
    let text =
        b"apiVersion: outrigger.dev/v1alpha1\nkind: Mesh\nmetadata: {name: m}\nspec: {\"a%b\": 1}\n".to_vec();
    let checked = check(vec![SourceFile { path: "a,b:c.yaml".to_owned(), text }]);
    let text = checked.to_github();
    assert!(text.starts_with("::error file=a%2Cb%3Ac.yaml,line=4,"), "{text}");
    assert!(text.contains("a%25b"), "{text}");
}
