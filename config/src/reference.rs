//! The reference of the kinds as data: every field with its type, default and meaning, read off the JSON Schema.
//!
//! The schema is what the converters themselves declare, so the reference cannot tell another story than they do. How
//! it is shown is not decided here.

use serde_json::{Map, Value};

use crate::{
    convert::{IGNORED, OFF},
    json_schema,
    schema::KNOWN,
    unsupported,
};

/// What the reference says of one kind.
#[derive(Clone, Debug, PartialEq)]
pub struct KindReference {
    /// The kind.
    pub kind: &'static str,
    /// The group and version in which it is read.
    pub api_version: &'static str,
    /// What it is for; paragraphs are apart by an empty line. Empty for a kind that is not supported yet.
    pub description: String,
    /// Every object of it, the outer before the inner; none for a kind that is not supported yet.
    pub objects: Vec<ObjectReference>,
    /// Fields of the upstream schema that are accepted and have no effect, as paths.
    pub ignored: Vec<String>,
    /// Fields and values of the contract that are refused as not supported yet, as paths; a value after `=`.
    pub unsupported: Vec<&'static str>,
}

/// What the reference says of one mapping.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectReference {
    /// Its path, such as `spec.rules[].matches[]`; empty for the object itself.
    pub path: String,
    /// What it is.
    pub description: String,
    /// The path of an object that was described before and has the same fields.
    pub same_as: Option<String>,
    /// Its fields; none where `same_as` says where they are.
    pub fields: Vec<FieldReference>,
    /// Fields of which exactly one must be set.
    pub exactly_one: Vec<String>,
}

/// What the reference says of one field.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldReference {
    /// Its path, such as `spec.rules[].name`.
    pub path: String,
    /// Its type and range in words.
    pub form: String,
    /// Whether it must be written.
    pub required: bool,
    /// Whether null switches it off; else null is refused, or as good as a missing field.
    pub nullable: bool,
    /// What holds where it is missing, as it would be written; `null` for off.
    pub default: Option<Value>,
    /// What it does, and what happens at its limit.
    pub description: String,
    /// The allowed words with their meanings; empty where the value is not one of some words.
    pub words: Vec<(String, String)>,
}

/// The reference of a kind, supported or not; `None` for any other word.
pub fn reference(kind: &str) -> Option<KindReference> {
    let known = KNOWN.iter().find(|known| known.kind == kind)?;
    let mut reference = KindReference {
        kind: known.kind,
        api_version: known.api_version,
        description: String::new(),
        objects: Vec::new(),
        ignored: Vec::new(),
        unsupported: unsupported::of(known.kind).collect(),
    };
    if let Some(Value::Object(schema)) = json_schema(kind) {
        reference.description = text(&schema, "description");
        reference.object(String::new(), &schema, String::new());
        reference.say_once();
    }
    Some(reference)
}

/// Every kind that has a reference, in its order: those that are read, then those that are not supported yet.
pub fn referenced_kinds() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().map(|known| known.kind)
}

impl KindReference {
    fn object(&mut self, path: String, schema: &Map<String, Value>, description: String) {
        let Some(Value::Object(properties)) = schema.get("properties") else { return };
        let required: Vec<&str> = texts(schema.get("required"));
        let mut object = ObjectReference {
            path: path.clone(),
            description,
            same_as: None,
            fields: Vec::new(),
            exactly_one: exactly_one(schema),
        };
        let mut inner = Vec::new();
        for (key, field) in properties {
            let Value::Object(field) = field else { continue };
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            if path == "kind" || path == "apiVersion" {
                continue;
            }
            if field.get("description").and_then(Value::as_str) == Some(IGNORED) {
                self.ignored.push(path);
                continue;
            }
            let (read, below) = read(&path, field, required.contains(&key.as_str()));
            object.fields.push(read);
            inner.extend(below);
        }
        self.objects.push(object);
        for (path, schema, description) in inner {
            self.object(path, schema, description);
        }
    }
}

impl KindReference {
    /// Of objects with the same fields the outermost keeps them, the others name it.
    fn say_once(&mut self) {
        let depth = |path: &str| path.matches('.').count();
        let first = |object: &ObjectReference| {
            let alike = self.objects.iter().filter(|other| other.is_like(object));
            alike.min_by_key(|other| depth(&other.path)).map(|other| other.path.clone())
        };
        let firsts: Vec<Option<String>> = self.objects.iter().map(first).collect();
        let mut said: Vec<String> = Vec::new();
        for (object, first) in self.objects.iter_mut().zip(firsts) {
            if let Some(first) = first.filter(|first| *first != object.path) {
                object.same_as = Some(first);
                object.fields.clear();
                said.push(object.path.clone() + ".");
                said.push(object.path.clone() + "[]");
            }
        }
        let is_said = |path: &str| said.iter().any(|said| path.starts_with(said.as_str()));
        self.objects.retain(|object| !is_said(&object.path));
        self.ignored.retain(|path| !is_said(path));
    }
}

impl ObjectReference {
    /// Whether the other one has the same fields, apart from where they stand.
    fn is_like(&self, other: &Self) -> bool {
        let plain = |object: &Self| -> Vec<FieldReference> {
            let key = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
            object
                .fields
                .iter()
                .map(|field| FieldReference { path: key(&field.path), ..field.clone() })
                .collect()
        };
        self.fields.len() > 1 && plain(self) == plain(other)
    }
}

/// An object below a field: its path, schema and description.
type Below<'a> = Option<(String, &'a Map<String, Value>, String)>;

fn read<'a>(path: &str, schema: &'a Map<String, Value>, required: bool) -> (FieldReference, Below<'a>) {
    let whole = text(schema, "description");
    let (description, rest) = whole.split_once("\n\n").unwrap_or((&whole, ""));
    let (inner, nullable) = inner(schema);
    let mut form = Form::default();
    let below = form.read(path.to_owned(), inner);
    let described = |at: &Map<String, Value>| match text(at, "description") {
        own if own == whole => rest.to_owned(),
        own => own,
    };
    let below = below.map(|(path, schema)| (path, schema, described(schema)));
    let field = FieldReference {
        path: path.to_owned(),
        form: form.words,
        required,
        nullable,
        default: schema.get("default").cloned(),
        description: description.to_owned(),
        words: form.choice,
    };
    (field, below)
}

/// The schema without the null that switches off, and whether there was one.
fn inner(schema: &Map<String, Value>) -> (&Map<String, Value>, bool) {
    let Some(Value::Array(either)) = schema.get("anyOf") else { return (schema, false) };
    match either.as_slice() {
        [Value::Object(value), Value::Object(null)] if null.get("type") == Some(&"null".into()) => {
            (value, null.get("description") == Some(&OFF.into()))
        }
        _ => (schema, false),
    }
}

/// A type in words.
#[derive(Default)]
struct Form {
    words: String,
    choice: Vec<(String, String)>,
}

impl Form {
    /// Puts the type into words; the object below it, with its path, if there is one.
    fn read<'a>(
        &mut self,
        path: String,
        schema: &'a Map<String, Value>,
    ) -> Option<(String, &'a Map<String, Value>)> {
        if let Some(Value::Array(words)) = schema.get("enum") {
            let meanings = texts(schema.get("enumDescriptions"));
            let meanings = meanings.into_iter().chain(std::iter::repeat(""));
            let words = words.iter().filter_map(Value::as_str);
            self.choice =
                words.zip(meanings).map(|(word, meaning)| (word.to_owned(), meaning.to_owned())).collect();
            self.words.push_str("word");
            return None;
        }
        if let Some(Value::Array(either)) = schema.get("anyOf") {
            let words: Vec<String> = either.iter().filter_map(Value::as_object).map(alone).collect();
            self.words.push_str(&words.join(" or "));
            return None;
        }
        let types = match schema.get("type") {
            Some(Value::String(one)) => vec![one.as_str()],
            several => texts(several),
        };
        match types.iter().find(|word| **word != "null") {
            Some(&"array") => {
                let most = schema.get("maxItems").map(|most| format!("at most {most}, ")).unwrap_or_default();
                self.words.push_str(&format!("list, {most}of: "));
                let items = schema.get("items").and_then(Value::as_object)?;
                return self.read(format!("{path}[]"), items);
            }
            Some(&"object") if schema.contains_key("properties") => {
                self.words.push_str("object");
                return Some((path, schema));
            }
            _ => self.words.push_str(&scalar(schema, types.first().copied())),
        }
        None
    }
}

fn alone(schema: &Map<String, Value>) -> String {
    let mut form = Form::default();
    form.read(String::new(), schema);
    form.words
}

fn scalar(schema: &Map<String, Value>, kind: Option<&str>) -> String {
    let range = match (schema.get("minimum"), schema.get("maximum")) {
        (Some(least), Some(most)) => format!(" from {least} to {most}"),
        _ => String::new(),
    };
    match kind {
        Some("object") => "mapping of words to words".to_owned(),
        Some("boolean") => "`true` or `false`".to_owned(),
        Some("integer") => format!("whole number{range}"),
        Some("number") => format!("number{range}"),
        Some("string") => match schema.get("title").and_then(Value::as_str) {
            Some(title) => title.to_owned(),
            None => "text".to_owned(),
        },
        _ => "anything".to_owned(),
    }
}

fn exactly_one(schema: &Map<String, Value>) -> Vec<String> {
    let Some(Value::Array(ways)) = schema.get("oneOf") else { return Vec::new() };
    ways.iter().flat_map(|way| texts(way.get("required"))).map(str::to_owned).collect()
}

fn text(schema: &Map<String, Value>, key: &str) -> String {
    schema.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn texts(value: Option<&Value>) -> Vec<&str> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

#[cfg(test)]
mod tests;
