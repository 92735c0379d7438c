//! Holds the converter and the JSON Schema equal: documents are changed in every place, and both must say the same.

use std::{collections::HashMap, fs, path::PathBuf};

use serde_json::{Value, json};

use super::{KINDS, json_schema};
use crate::{Code, Severity, diagnostic::Fault, objects::Objects, read, yaml};

/// The documents that are changed: together they have every field.
fn documents() -> Vec<Value> {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(here.join("tests/compile/everything.yaml")).unwrap();
    serde_yaml::from_multiple(&text).unwrap()
}

fn convert(document: &Value) -> Vec<Fault> {
    let mut faults = Vec::new();
    let text = serde_json::to_string_pretty(document).unwrap();
    let documents = yaml::read(0, &text, &mut faults);
    let mut objects = Objects::default();
    documents.roots.iter().for_each(|root| read::document(root, &mut objects, &mut faults));
    faults.retain(|fault| fault.severity == Severity::Error);
    faults
}

/// Faults in a value that has the right structure: names, addresses and the like, which a schema only hints at.
fn is_in_the_value(fault: &Fault) -> bool {
    matches!(fault.code, Code::Name | Code::Address | Code::Header | Code::Spiffe)
}

/// The pointers to every value below the root.
fn places(value: &Value, here: &str, all: &mut Vec<String>) {
    all.push(here.to_owned());
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| {
            let key = key.replace('~', "~0").replace('/', "~1");
            places(value, &format!("{here}/{key}"), all);
        }),
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(index, value)| places(value, &format!("{here}/{index}"), all));
        }
        _ => {}
    }
}

fn changes(document: &Value) -> Vec<(String, Value)> {
    let mut pointers = Vec::new();
    places(document, "", &mut pointers);
    let mut all = Vec::new();
    let others = [json!(null), json!("word"), json!(7), json!(1.5), json!(-1), json!(5_000_000_000u64)];
    let more =
        [json!(true), json!([]), json!({}), json!(["word"]), json!({"zzz": 1}), json!("1s"), json!("")];
    for pointer in pointers.iter().filter(|pointer| !matches!(pointer.as_str(), "" | "/kind" | "/apiVersion"))
    {
        for other in others.iter().chain(&more) {
            let mut changed = document.clone();
            *changed.pointer_mut(pointer).unwrap() = other.clone();
            all.push((format!("{pointer} = {other}"), changed));
        }
        let mut changed = document.clone();
        if let Some(fields) = changed.pointer_mut(pointer).and_then(Value::as_object_mut) {
            fields.insert("zzz".to_owned(), json!(1));
            all.push((format!("{pointer}/zzz added"), changed));
        }
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let mut changed = document.clone();
        if let Some(fields) = changed.pointer_mut(parent).and_then(Value::as_object_mut) {
            fields.remove(&key.replace("~1", "/").replace("~0", "~"));
            all.push((format!("{pointer} removed"), changed));
        }
    }
    all
}

#[test]
fn converter_and_schema_agree_on_every_change() {
    let mut validators = HashMap::new();
    let mut tried = 0;
    for document in documents() {
        let kind = document["kind"].as_str().unwrap().to_owned();
        let validator = validators
            .entry(kind.clone())
            .or_insert_with(|| jsonschema::validator_for(&json_schema(&kind).unwrap()).unwrap());
        assert!(convert(&document).is_empty() && validator.is_valid(&document), "{kind}");
        for (change, changed) in changes(&document) {
            let faults = convert(&changed);
            let valid = validator.is_valid(&changed);
            let shown = || format!("{kind}: {change}\n{faults:#?}");
            if faults.is_empty() {
                assert!(valid, "accepted, but not valid by the schema: {}", shown());
            }
            if faults.iter().any(|fault| !is_in_the_value(fault)) {
                assert!(!valid, "refused, but valid by the schema: {}", shown());
            }
            tried += 1;
        }
    }
    assert!(tried > 5000, "{tried}");
}

#[test]
fn every_kind_has_a_schema_and_no_other_word_has() {
    for kind in KINDS {
        let schema = json_schema(kind).unwrap();
        assert_eq!(schema["properties"]["kind"]["const"], *kind);
        assert!(schema["properties"]["metadata"]["description"].is_string());
        jsonschema::meta::validate(&schema).unwrap();
    }
    assert_eq!(json_schema("AuthorizationPolicy"), None);
    assert_eq!(json_schema("Deployment"), None);
}
