//! Reading the fields of a mapping, and the JSON Schema of an object.

use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value as Json, json};

use super::{Context, FromNode};
use crate::{
    diagnostic::{Code, Fault},
    duration, suggest,
    yaml::{Entry, Node, Span, Value},
};

/// The fields of one mapping while it is read.
pub(crate) struct Fields<'n> {
    entries: &'n [Entry],
    span: Span,
    /// Fields that unknown keys were probably meant to be: they are not reported as missing too.
    meant: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// Opens a mapping and reports the keys that are not known.
    pub(crate) fn open(node: &'n Node, known: &[&'static str], cx: &mut Context<'_>) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            let help = (!known.is_empty()).then(|| format!("its fields: {}", suggest::list(known)));
            cx.wrong_type(node, "a mapping", help);
            return None;
        };
        let mut meant = Vec::new();
        for entry in entries {
            if !known.contains(&&*entry.key) {
                cx.unknown_field(&entry.key, entry.key_span, known);
                meant.extend(suggest::nearest(&entry.key, known.iter().copied()));
            }
        }
        Some(Self { entries, span: node.span, meant })
    }

    /// Reads one field. `None` only if the field is required and missing or refused.
    pub(crate) fn take<T: FromNode>(&self, key: &str, cx: &mut Context<'_>) -> Option<T> {
        match self.entries.iter().find(|entry| &*entry.key == key) {
            Some(entry) if entry.value.is_null() => T::null(key, &entry.value, cx),
            Some(entry) => T::from_node(&entry.value, cx).or_else(T::refused),
            None => {
                let absent = T::absent();
                if absent.is_none() && !self.meant.contains(&key) {
                    cx.error(Code::MissingField, self.span, format!("the field `{key}` is missing"));
                }
                absent
            }
        }
    }

    /// Reports if not exactly one of the fields is set.
    pub(crate) fn exactly_one(&self, keys: &[&str], cx: &mut Context<'_>) {
        let mut set = self.entries.iter().filter(|e| keys.contains(&&*e.key) && !e.value.is_null());
        let words = suggest::list(keys);
        match (set.next(), set.next()) {
            (Some(_), None) => {}
            (Some(first), Some(second)) => {
                let message = format!("`{}` and `{}` cannot both be set", first.key, second.key);
                let fault = Fault::error(Code::OneOf, second.key_span, message)
                    .related(first.key_span, format!("`{}` is set here", first.key))
                    .help(format!("write exactly one of {words}"));
                cx.push(fault);
            }
            (None, _) => {
                // A field that is refused for another reason, such as one that comes later, may have been the one.
                // Such faults are the last ones, for the keys were looked at just before.
                let of_a_key = |fault: &Fault| self.entries.iter().any(|entry| entry.key_span == fault.span);
                if !cx.faults.iter().rev().take(self.entries.len()).any(of_a_key) {
                    let what = if keys.len() == 1 { words } else { format!("exactly one of {words}") };
                    cx.error(Code::OneOf, self.span, format!("{what} must be set"));
                }
            }
        }
    }
}

/// What the schema says of a field that is read and has no meaning here.
pub(crate) const IGNORED: &str = "Accepted; has no meaning to Outrigger.";

/// A doc comment as text: its lines joined, its paragraphs kept apart.
pub(crate) fn paragraphs(doc: &str) -> String {
    let lines: Vec<&str> = doc.lines().map(str::trim).collect();
    let paragraphs = lines.split(|line| line.is_empty()).filter(|lines| !lines.is_empty());
    paragraphs.map(|lines| lines.join(" ")).collect::<Vec<_>>().join("\n\n")
}

/// A value that holds where a field is missing, as a person would write it.
pub(crate) trait BuiltIn {
    /// The value in a policy file.
    fn shown(self) -> Json;
}

impl BuiltIn for u32 {
    fn shown(self) -> Json {
        self.into()
    }
}

impl BuiltIn for f64 {
    fn shown(self) -> Json {
        // `20`, not `20.0`.
        if self.fract() == 0.0 { (self as i64).into() } else { self.into() }
    }
}

impl BuiltIn for bool {
    fn shown(self) -> Json {
        self.into()
    }
}

impl BuiltIn for &str {
    fn shown(self) -> Json {
        self.into()
    }
}

impl BuiltIn for Duration {
    fn shown(self) -> Json {
        duration::format_duration(self).into()
    }
}

impl<const N: usize> BuiltIn for [&str; N] {
    fn shown(self) -> Json {
        self.to_vec().into()
    }
}

impl<T: BuiltIn> BuiltIn for Option<T> {
    fn shown(self) -> Json {
        self.map_or(Json::Null, BuiltIn::shown)
    }
}

/// The JSON Schema of an object in the making.
pub(crate) struct ObjectSchema {
    description: String,
    properties: Map<String, Json>,
    required: Vec<String>,
    exactly_one: Option<Json>,
}

impl ObjectSchema {
    /// With the words of a doc comment.
    pub(crate) fn new(description: &str) -> Self {
        let description = paragraphs(description);
        Self { description, properties: Map::new(), required: Vec::new(), exactly_one: None }
    }

    /// Adds a field; it is required unless its type knows what a missing one means.
    pub(crate) fn field<T: FromNode>(&mut self, generator: &mut SchemaGenerator, key: &str, doc: &str) {
        let mut schema = T::json_schema(generator);
        let mut text = paragraphs(doc);
        // An object that stands here itself says what it is after what the field says of it.
        let of_object = schema.get("description").filter(|_| schema.get("properties").is_some());
        if let Some(of_object) = of_object.and_then(Json::as_str).filter(|of_object| *of_object != text) {
            text = format!("{text}\n\n{of_object}");
        }
        if !text.is_empty() {
            schema.insert("description".to_owned(), text.into());
        }
        self.properties.insert(key.to_owned(), schema.into());
        if T::absent().is_none() {
            self.required.push(key.to_owned());
        }
    }

    /// Says what holds where a field is missing.
    pub(crate) fn built_in(&mut self, key: &str, value: impl BuiltIn) {
        if let Some(Json::Object(field)) = self.properties.get_mut(key) {
            field.insert("default".to_owned(), value.shown());
        }
    }

    /// Adds a field that is read and has no meaning here.
    pub(crate) fn ignored<T: JsonSchema>(&mut self, generator: &mut SchemaGenerator, key: &str) {
        let mut schema = Option::<T>::json_schema(generator);
        schema.insert("description".to_owned(), IGNORED.into());
        self.properties.insert(key.to_owned(), schema.into());
    }

    /// Says that exactly one of the fields must be set.
    pub(crate) fn exactly_one(&mut self, keys: &[&str]) {
        let set = |key: &&str| {
            let properties = Map::from_iter([((*key).to_owned(), json!({"not": {"type": "null"}}))]);
            json!({"required": [key], "properties": properties})
        };
        self.exactly_one = Some(keys.iter().map(set).collect());
    }

    /// The schema.
    pub(crate) fn build(self) -> Schema {
        let mut schema = schemars::json_schema!({
            "type": "object",
            "properties": self.properties,
            "additionalProperties": false,
        });
        if !self.description.is_empty() {
            schema.insert("description".to_owned(), self.description.into());
        }
        if !self.required.is_empty() {
            schema.insert("required".to_owned(), self.required.into());
        }
        if let Some(exactly_one) = self.exactly_one {
            schema.insert("oneOf".to_owned(), exactly_one);
        }
        schema
    }
}
