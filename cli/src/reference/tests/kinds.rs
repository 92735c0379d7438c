//! A page for each kind.

use std::fs;

use outrigger_config::{FieldReference, KindReference, ObjectReference, reference, referenced_kinds};
use outrigger_tests::examples::EXAMPLES;

use super::{
    super::kind::{self, shown},
    root,
};

pub(super) fn pages() -> Vec<(String, String)> {
    let kinds = referenced_kinds().filter_map(reference);
    kinds.map(|reference| (format!("{}.md", reference.kind), page(&reference))).collect()
}

fn page(reference: &KindReference) -> String {
    let mut page = format!("# {}\n\n`apiVersion: {}`\n\n", reference.kind, reference.api_version);
    if reference.objects.is_empty() {
        page.push_str(
            "Not supported yet: an object of this kind is refused ([OR118](findings.md#or118-the-field-value-or-kind-belongs-to-the-contract-but-is-not-enforced-yet)), for nothing would enforce it.\n",
        );
        return page;
    }
    page.push_str(&reference.description);
    page.push_str("\n\n");
    page.push_str(&example(reference.kind));
    page.push_str("## Fields\n\nFields of one mapping stand in one table; `[]` is each item of a list. A field without a default may be left out unless it is required.\n");
    reference.objects.iter().for_each(|one| page.push_str(&object(one)));
    page.push_str(&later(reference));
    if !reference.ignored.is_empty() {
        page.push_str("\n## Accepted, without effect\n\nFields of the upstream schema that have no meaning to a sidecar. They are accepted, so that objects of a cluster serve as they are; a field outside that schema is an error.\n\n");
        let paths: Vec<String> = reference.ignored.iter().map(|path| format!("`{path}`")).collect();
        page.push_str(&paths.join(", "));
        page.push('\n');
    }
    page
}

fn example(kind: &str) -> String {
    let Some(example) = EXAMPLES.iter().find(|example| example.kind == kind) else {
        panic!(
            "{kind} has no example: add one to tests/src/examples.rs, and a test to tests/tests/examples.rs"
        );
    };
    let mut text = format!("## Example\n\n{}\n", example.shows);
    for file in example.files {
        let path = root().join("examples").join(file);
        let yaml = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        text.push_str(&format!("\n`examples/{file}`:\n\n```yaml\n{}\n```\n", yaml.trim_end()));
    }
    let files: Vec<String> = example.files.iter().map(|file| format!("examples/{file}")).collect();
    text.push_str(&format!("\n```sh\noutrigger proxy -f {}\n", files.join(" ")));
    example.commands.iter().for_each(|command| text.push_str(&format!("{command}\n")));
    text.push_str(&format!("```\n\nA test runs it: `tests/tests/{}`.\n\n", example.test));
    text
}

fn object(object: &ObjectReference) -> String {
    let mut text = String::new();
    if !object.path.is_empty() {
        text.push_str(&format!("\n### `{}`\n", object.path));
    }
    if !object.description.is_empty() {
        text.push_str(&format!("\n{}\n", object.description));
    }
    if let Some(same) = &object.same_as {
        text.push_str(&format!("\nIts fields are those of `{same}`.\n"));
    }
    if !object.exactly_one.is_empty() {
        let keys: Vec<String> = object.exactly_one.iter().map(|key| format!("`{key}`")).collect();
        text.push_str(&format!("\nExactly one of {} must be set.\n", keys.join(", ")));
    }
    if !object.fields.is_empty() {
        text.push_str("\n| field | type | default | meaning |\n|---|---|---|---|\n");
        object.fields.iter().for_each(|one| text.push_str(&row(one)));
    }
    text
}

fn row(field: &FieldReference) -> String {
    let key = field.path.rsplit('.').next().unwrap_or_default();
    let mut form = field.form.clone();
    if field.nullable {
        form.push_str("; null is off");
    }
    let default = match &field.default {
        _ if field.required => "required".to_owned(),
        None => String::new(),
        Some(default) if default.is_null() => "off".to_owned(),
        Some(default) => format!("`{}`", shown(default)),
    };
    let mut meaning = field.description.clone();
    for (word, about) in &field.words {
        meaning.push_str(&format!("<br>`{word}`{}", kind::explained(word, about)));
    }
    let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
    format!("| `{key}` | {} | {default} | {} |\n", cell(&form), cell(&meaning))
}

fn later(reference: &KindReference) -> String {
    if reference.unsupported.is_empty() {
        return String::new();
    }
    let rows = reference.unsupported.iter().map(|row| match row.split_once('=') {
        Some((field, value)) => format!("- `{field}`: the value `{value}`\n"),
        None => format!("- `{row}`\n"),
    });
    let rows: String = rows.collect();
    format!("\n## Not supported yet\n\nRefused (OR118), for nothing would enforce them:\n\n{rows}")
}
