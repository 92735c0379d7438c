//! The tree that a document is read into: scalars, lists and mappings, each with its place in the file.
//!
//! Plain data, owned, without any reference to the parser.

use super::scalar::{self, ScalarKind};

/// A place in a file. Bytes count from 0 in the text without its byte-order mark; line and column from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Span {
    /// Index of the file.
    pub(crate) file: u32,
    /// First byte.
    pub(crate) start: u32,
    /// Byte after the last.
    pub(crate) end: u32,
    /// Line of the first byte.
    pub(crate) line: u32,
    /// Column of the first byte, in characters.
    pub(crate) column: u32,
}

impl Span {
    /// The very beginning of a file, for what concerns the whole file.
    pub(crate) fn start_of(file: u32) -> Self {
        Self { file, start: 0, end: 0, line: 1, column: 1 }
    }

    /// Whether `other` begins inside this span.
    pub(crate) fn holds(&self, other: &Span) -> bool {
        self.file == other.file && self.start <= other.start && other.start < self.end.max(self.start + 1)
    }
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Where the value stands.
    pub(crate) span: Span,
    /// The value.
    pub(crate) value: Value,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// A scalar as text; what it means depends on whether it was written plain.
    Scalar {
        /// The text, after escapes.
        text: Box<str>,
        /// Written without quotes, so that YAML may take it for a number, a boolean or null.
        plain: bool,
    },
    /// A list.
    Seq(Vec<Node>),
    /// A mapping, in the order of the file, without duplicate keys.
    Map(Vec<Entry>),
}

/// One entry of a mapping.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The key.
    pub(crate) key: Box<str>,
    /// Where the key stands.
    pub(crate) key_span: Span,
    /// The value.
    pub(crate) value: Node,
}

impl Node {
    /// What YAML takes the node for; `None` for lists and mappings.
    pub(crate) fn scalar(&self) -> Option<(&str, ScalarKind)> {
        match &self.value {
            Value::Scalar { text, plain: true } => Some((text, scalar::resolve(text))),
            Value::Scalar { text, plain: false } => Some((text, ScalarKind::String)),
            Value::Seq(_) | Value::Map(_) => None,
        }
    }

    /// Whether the value is null: absent, `~` or `null`.
    pub(crate) fn is_null(&self) -> bool {
        matches!(self.scalar(), Some((_, ScalarKind::Null)))
    }

    /// The value of a key, if this is a mapping that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| &*entry.key == key).map(|entry| &entry.value),
            Value::Scalar { .. } | Value::Seq(_) => None,
        }
    }

    /// The value of a key as text, if it is a string.
    pub(crate) fn text_of(&self, key: &str) -> Option<(&str, Span)> {
        let node = self.get(key)?;
        match node.scalar() {
            Some((text, ScalarKind::String)) => Some((text, node.span)),
            _ => None,
        }
    }

    /// The node in words, for "found ...".
    pub(crate) fn describe(&self) -> String {
        match (&self.value, self.scalar()) {
            (Value::Seq(_), _) => "a list".to_owned(),
            (Value::Map(_), _) => "a mapping".to_owned(),
            (Value::Scalar { text, .. }, kind) => {
                let shown: String = text.chars().take(40).collect();
                match kind.map(|(_, kind)| kind) {
                    Some(ScalarKind::Null) => "null".to_owned(),
                    Some(ScalarKind::Bool(_) | ScalarKind::LooseBool(_)) => format!("the boolean `{shown}`"),
                    Some(ScalarKind::Integer | ScalarKind::LooseInteger | ScalarKind::Float) => {
                        format!("the number `{shown}`")
                    }
                    Some(ScalarKind::String) | None => format!("the string `{shown}`"),
                }
            }
        }
    }

    /// How many nodes this tree has.
    pub(crate) fn size(&self) -> usize {
        1 + match &self.value {
            Value::Scalar { .. } => 0,
            Value::Seq(items) => items.iter().map(Node::size).sum(),
            Value::Map(entries) => entries.iter().map(|entry| 1 + entry.value.size()).sum(),
        }
    }
}
