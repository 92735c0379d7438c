//! The reference says what the code does: each default, written down, changes nothing; nothing is left undescribed.

use std::{fs, path::PathBuf};

use serde_json::Value;

use super::{FieldReference, reference, referenced_kinds};
use crate::{KINDS, SourceFile, check, unsupported};

/// Documents that together have every field.
fn documents() -> Vec<Value> {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(here.join("tests/compile/everything.yaml")).unwrap();
    serde_yaml::from_multiple(&text).unwrap()
}

/// What a policy means to every Sidecar of it, without the places of things; else what is wrong with it.
fn meaning(documents: &[Value]) -> Result<Value, Vec<String>> {
    let texts: Vec<String> = documents.iter().map(|one| serde_json::to_string_pretty(one).unwrap()).collect();
    let file = SourceFile { path: "x".to_owned(), text: texts.join("\n---\n").into() };
    let checked = check(vec![file]);
    let Some(policy) = checked.policy else {
        return Err(checked.findings.iter().map(|finding| finding.message().to_owned()).collect());
    };
    let compiled = policy.sidecars().into_iter().map(|name| policy.compile(Some(&name)).unwrap());
    let mut all: Value = compiled.map(|resources| serde_json::to_value(&resources).unwrap()).collect();
    without_places(&mut all);
    Ok(all)
}

fn without_places(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("origin");
            fields.remove("origins");
            // A `streamIdle` that is written binds gRPC streams too, and its description says so.
            fields.remove("stream_idle_set");
            fields.values_mut().for_each(without_places);
        }
        Value::Array(items) => items.iter_mut().for_each(without_places),
        _ => {}
    }
}

/// Every mapping of a document in which the field could stand.
fn owners<'a>(value: &'a mut Value, path: &str) -> Vec<&'a mut Value> {
    let Some((first, rest)) = path.split_once('.') else { return vec![value] };
    let Some(below) = value.get_mut(first.trim_end_matches("[]")) else { return Vec::new() };
    match below {
        Value::Array(items) => items.iter_mut().flat_map(|item| owners(item, rest)).collect(),
        Value::Null => Vec::new(),
        below => owners(below, rest),
    }
}

/// The documents with the field set, or left out, in one place of it; `None` if there are fewer places.
fn with(
    documents: &[Value],
    (kind, field): (&str, &FieldReference),
    place: usize,
    value: Option<&Value>,
) -> Option<Vec<Value>> {
    let key = field.path.rsplit('.').next().unwrap();
    let mut changed = documents.to_vec();
    let of_kind = changed.iter_mut().filter(|document| document["kind"] == kind);
    let all = of_kind.flat_map(|document| owners(document, &field.path));
    let fields = all.filter_map(Value::as_object_mut).nth(place)?;
    match value {
        Some(value) => fields.insert(key.to_owned(), value.clone()),
        None => fields.remove(key),
    };
    Some(changed)
}

#[test]
fn a_default_that_is_written_down_changes_nothing() {
    let documents = documents();
    let mut tried = 0;
    for kind in KINDS {
        let mut documents = documents.clone();
        if *kind == "TrafficPolicy" {
            // The built-in value is that of a mesh without defaults of its own.
            let mesh = documents.iter_mut().find(|one| one["kind"] == "Mesh").unwrap();
            mesh["spec"].as_object_mut().unwrap().remove("defaults");
        }
        let reference = reference(kind).unwrap();
        for field in reference.objects.iter().flat_map(|object| &object.fields) {
            // A parentRef without group or kind is taken for a slip where a Service has its name.
            let Some(default) = field.default.as_ref().filter(|_| !field.path.contains("parentRefs[]"))
            else {
                continue;
            };
            let mut fine = 0;
            for place in 0.. {
                let Some(without) = with(&documents, (kind, field), place, None) else { break };
                let written = with(&documents, (kind, field), place, Some(default)).unwrap();
                let (without, written) = (meaning(&without), meaning(&written));
                assert!(without == written, "{kind} {} = {default} is another policy", field.path);
                fine += u32::from(without.is_ok());
            }
            // Without these the documents are refused, in the same words.
            let needed = field.path == "metadata.namespace" || field.path.ends_with("allowRemote");
            assert!(fine > 0 || needed, "{kind} {}: no document is fine without it", field.path);
            tried += 1;
        }
    }
    assert!(tried > 30, "{tried}");
}

#[test]
fn another_value_than_the_default_would_be_noticed() {
    let documents = documents();
    for (kind, path, other) in [
        ("Mesh", "spec.limits.headerCount", Value::from(99)),
        ("MeshService", "spec.endpoints[].weight", Value::from(7)),
        ("Sidecar", "spec.serviceAccount", Value::from("somebody")),
    ] {
        let reference = reference(kind).unwrap();
        let field =
            reference.objects.iter().flat_map(|o| &o.fields).find(|field| field.path == path).unwrap();
        let without = with(&documents, (kind, field), 0, None).unwrap();
        let written = with(&documents, (kind, field), 0, Some(&other)).unwrap();
        assert!(meaning(&without) != meaning(&written), "{kind} {path}");
    }
}

#[test]
fn every_field_and_every_word_is_described() {
    for kind in KINDS {
        let reference = reference(kind).unwrap();
        assert!(reference.description.ends_with('.'), "{kind}");
        for object in &reference.objects {
            assert!(object.same_as.is_none() || object.fields.is_empty(), "{kind} {}", object.path);
            for field in &object.fields {
                assert!(field.description.ends_with('.'), "{kind} {}: {}", field.path, field.description);
                assert!(!field.form.is_empty(), "{kind} {}", field.path);
                for (word, meaning) in &field.words {
                    assert!(meaning.ends_with('.'), "{kind} {} {word}: {meaning}", field.path);
                }
            }
        }
    }
}

#[test]
fn what_is_not_supported_yet_is_in_it() {
    let mut rows = 0;
    for kind in referenced_kinds() {
        let reference = reference(kind).unwrap();
        rows += reference.unsupported.len();
        assert_eq!(reference.objects.is_empty(), reference.unsupported == [""], "{kind}");
    }
    assert_eq!(rows, unsupported::LIST.len());
    assert_eq!(reference("Deployment"), None);
}
