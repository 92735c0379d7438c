//! Reading the fields of a mapping, and the JSON Schema of an object.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value as Json, json};

use super::{Context, FromNode};
use crate::{
    diagnostic::{Code, Fault},
    suggest,
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
                    cx.error(Code::OneOf, self.span, format!("exactly one of {words} must be set"));
                }
            }
        }
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
        let description = description.trim().to_owned();
        Self { description, properties: Map::new(), required: Vec::new(), exactly_one: None }
    }

    /// Adds a field; it is required unless its type knows what a missing one means.
    pub(crate) fn field<T: FromNode>(&mut self, generator: &mut SchemaGenerator, key: &str, doc: &str) {
        let mut schema = T::json_schema(generator);
        if !doc.trim().is_empty() {
            schema.insert("description".to_owned(), doc.trim().into());
        }
        self.properties.insert(key.to_owned(), schema.into());
        if T::absent().is_none() {
            self.required.push(key.to_owned());
        }
    }

    /// Adds a field that is read and has no meaning here.
    pub(crate) fn ignored<T: JsonSchema>(&mut self, generator: &mut SchemaGenerator, key: &str) {
        let mut schema = Option::<T>::json_schema(generator);
        schema.insert("description".to_owned(), "Accepted; has no meaning to Outrigger.".into());
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
