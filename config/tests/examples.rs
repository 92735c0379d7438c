//! Every file of `examples/` checks cleanly, and each of its documents is valid by the JSON Schema of its kind.

use std::{fs, path::PathBuf};

use outrigger_config::{SourceFile, check, json_schema};

fn examples() -> Vec<SourceFile> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(!files.is_empty());
    files
        .into_iter()
        .map(|path| SourceFile {
            text: fs::read(&path).unwrap(),
            path: path.file_name().unwrap().to_string_lossy().into_owned(),
        })
        .collect()
}

#[test]
fn every_example_is_clean_and_compiles() {
    for file in examples() {
        let name = file.path.clone();
        let checked = check(vec![file]);
        assert!(checked.findings.is_empty(), "{name}:\n{}", checked.render_text(false));
        let policy = checked.policy.unwrap();
        for sidecar in policy.sidecars() {
            policy.compile(Some(&sidecar)).unwrap();
        }
    }
}

#[test]
fn every_document_of_the_examples_is_valid_by_its_schema() {
    for file in examples() {
        let text = String::from_utf8(file.text).unwrap();
        let documents: Vec<serde_json::Value> = serde_yaml::from_multiple(&text).unwrap();
        for document in documents {
            let schema = json_schema(document["kind"].as_str().unwrap()).unwrap();
            let validator = jsonschema::validator_for(&schema).unwrap();
            let errors: Vec<String> =
                validator.iter_errors(&document).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{}: {errors:#?}", file.path);
        }
    }
}
