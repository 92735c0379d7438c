//! A kind, or a part of it, as text for a terminal.

use outrigger_config::{FieldReference, KindReference, ObjectReference};
use serde_json::Value;

/// Columns of the text.
const WIDTH: usize = 100;

/// The kind from `path` on (all of it where the path is empty); `None` if it has no such field. Indices are left out of
/// paths or written, as findings write them.
pub(super) fn text(reference: &KindReference, path: &str) -> Option<String> {
    let wanted = plain(path);
    let below = |path: &str| {
        let path = plain(path);
        wanted.is_empty()
            || path == wanted
            || path.strip_prefix(&wanted).is_some_and(|rest| rest.starts_with('.'))
    };
    let mut out = format!(
        "{}{}{wanted}   ({})\n",
        reference.kind,
        if wanted.is_empty() { "" } else { "." },
        reference.api_version
    );
    if wanted.is_empty() {
        paragraphs(&reference.description, 0, &mut out);
    }
    let mut found = wanted.is_empty();
    for object in &reference.objects {
        let told: Vec<&FieldReference> = object.fields.iter().filter(|field| below(&field.path)).collect();
        if !object.path.is_empty() && below(&object.path) {
            about(object, &mut out);
        }
        for field in &told {
            line(field, &mut out);
        }
        found |= !told.is_empty();
    }
    rows(
        "Accepted, and without effect here:",
        reference.ignored.iter().map(String::as_str).filter(|row| below(row)),
        &mut out,
    );
    let later = reference.unsupported.iter().copied().filter(|row| below(row));
    let later: Vec<String> = later
        .map(|row| if row.is_empty() { "all of it".to_owned() } else { row.replace('=', ": ") })
        .collect();
    found |= !later.is_empty();
    rows("Not supported yet, and refused (OR118):", later.iter().map(String::as_str), &mut out);
    found.then_some(out)
}

/// A path without its indices.
fn plain(path: &str) -> String {
    let mut inside = false;
    let keep = |c: &char| {
        inside = *c == '[' || inside && *c != ']';
        !inside && *c != ']'
    };
    path.split('=').next().unwrap_or_default().chars().filter(keep).collect()
}

fn about(object: &ObjectReference, out: &mut String) {
    let mut text = object.description.clone();
    if let Some(same) = &object.same_as {
        text = format!("{text}\n\nIts fields are those of `{same}`.");
    }
    if !object.exactly_one.is_empty() {
        text = format!("{text}\n\nExactly one of {} must be set.", listed(&object.exactly_one));
    }
    let text = text.trim();
    if !text.is_empty() {
        out.push_str(&format!("\n  {}\n", object.path));
        wrapped(text, 6, out);
    }
}

fn line(field: &FieldReference, out: &mut String) {
    let mut form = field.form.replace('`', "");
    if field.nullable {
        form.push_str("; null is off");
    }
    if field.required {
        form.push_str("; required");
    }
    if let Some(default) = &field.default {
        form.push_str(&format!("; {} unless set", shown(default)));
    }
    out.push_str(&format!("\n  {}   {form}\n", field.path));
    wrapped(&field.description, 6, out);
    for (word, meaning) in &field.words {
        wrapped(&format!("{word}{}", explained(word, meaning)), 8, out);
    }
}

/// `: meaning`, unless the word says it all.
pub(super) fn explained(word: &str, meaning: &str) -> String {
    if meaning.trim_end_matches('.').eq_ignore_ascii_case(word) {
        String::new()
    } else {
        format!(": {meaning}")
    }
}

/// A default as a person would write it.
pub(super) fn shown(default: &Value) -> String {
    match default {
        Value::Null => "off".to_owned(),
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn listed(keys: &[String]) -> String {
    keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
}

fn rows<'a>(heading: &str, rows: impl Iterator<Item = &'a str>, out: &mut String) {
    let rows: Vec<&str> = rows.collect();
    if !rows.is_empty() {
        out.push_str(&format!("\n{heading}\n"));
        rows.iter().for_each(|row| out.push_str(&format!("  {row}\n")));
    }
}

fn paragraphs(text: &str, indent: usize, out: &mut String) {
    for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
        out.push('\n');
        wrapped(paragraph, indent, out);
    }
}

fn wrapped(text: &str, indent: usize, out: &mut String) {
    let mut column = 0;
    for word in text.split_whitespace() {
        if column > 0 && column + 1 + word.chars().count() > WIDTH {
            out.push('\n');
            column = 0;
        }
        if column == 0 {
            out.push_str(&" ".repeat(indent));
            column = indent;
        } else {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += word.chars().count();
    }
    out.push('\n');
}
