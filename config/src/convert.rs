//! From nodes to typed values: the combinators that every schema is made of.
//!
//! A conversion pushes a fault and goes on, so that one run shows everything that is wrong. Each type brings its JSON
//! Schema beside its conversion, in the same impl, so the two cannot drift. Nothing here knows a kind.

mod macros;
mod object;
mod text;
mod tls;
mod value;

pub(crate) use macros::{choice, object, parsed};
pub(crate) use object::{Fields, IGNORED, ObjectSchema, paragraphs};
pub(crate) use text::{
    Cidr, DnsTarget, HeaderName, HeaderValue, Host, Ip, Label, Problem, SocketAddress, Subdomain, Text,
    TextValue, Timestamp, is_label, is_subdomain,
};
pub(crate) use tls::{FilePath, ServerName};
pub(crate) use value::{
    Any, Bounded, Empty, Factor, Flag, List, OFF, Percent, Port, Setting, Spanned, Strict, TextMap,
};

use schemars::JsonSchema;

use crate::{
    diagnostic::{Code, DETAILED, Fault},
    suggest, unsupported,
    yaml::{self, Node, Span},
};

/// A type that a node can become.
pub(crate) trait FromNode: Sized + JsonSchema {
    /// Reads the node; `None` after a fault was pushed.
    fn from_node(node: &Node, cx: &mut Context<'_>) -> Option<Self>;

    /// What a missing field means; `None`: the field is required.
    fn absent() -> Option<Self> {
        None
    }

    /// What a field means whose value was refused; the fault is pushed already.
    fn refused() -> Option<Self> {
        Self::absent()
    }

    /// What an explicit null means: as in Kubernetes, the same as a missing field unless a type says otherwise.
    fn null(key: &str, node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let absent = Self::absent();
        if absent.is_none() {
            cx.error(Code::MissingField, node.span, format!("`{key}` is required and may not be null"));
        }
        absent
    }
}

/// What a conversion works with: where faults go, and which object it is, so that fields can be named.
pub(crate) struct Context<'a> {
    /// Faults so far.
    pub(crate) faults: &'a mut Vec<Fault>,
    kind: &'a str,
    root: &'a Node,
}

impl<'a> Context<'a> {
    /// For the object `root` of the kind.
    pub(crate) fn new(kind: &'a str, root: &'a Node, faults: &'a mut Vec<Fault>) -> Self {
        Self { faults, kind, root }
    }

    /// Pushes a fault without a remedy.
    pub(crate) fn error(&mut self, code: Code, span: Span, message: impl Into<String>) {
        self.faults.push(Fault::error(code, span, message));
    }

    /// Pushes a fault.
    pub(crate) fn push(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// The node is of another type than the one that is wanted.
    pub(crate) fn wrong_type(&mut self, node: &Node, wanted: &str, help: Option<String>) {
        let message = format!("expected {wanted}, found {}", node.describe());
        self.push(Fault::error(Code::WrongType, node.span, message).maybe_help(help));
    }

    /// Whether the field at the place, with what follows its path, is in the list of what comes later. Looked up only
    /// while a person could read the findings: finding a path walks the whole object.
    fn is_unsupported(&self, place: &Span, rest: &str) -> bool {
        let path = || yaml::pattern_of(&yaml::field_path(self.root, place)) + rest;
        self.faults.len() < DETAILED && unsupported::is(self.kind, &path())
    }

    /// What stands at the place is not supported: yet, or at all.
    fn not_supported(&mut self, span: Span, word: &str, (what, help): (String, String)) {
        let (message, help) = match unsupported::instead(word) {
            Some(instead) => (format!("{what} is not supported"), instead.to_owned()),
            None => (format!("{what} is not supported yet"), help),
        };
        self.push(Fault::error(Code::NotSupported, span, message).help(help));
    }

    /// The key is none of the fields: one that comes later, or a slip.
    pub(crate) fn unknown_field(&mut self, key: &str, span: Span, known: &[&str]) {
        if self.is_unsupported(&span, "") {
            let help = "remove it; this version would not enforce it";
            return self.not_supported(span, key, (format!("`{key}`"), help.to_owned()));
        }
        let help = match key {
            "<<" => Some("merge keys are not read here; write the fields out".to_owned()),
            _ => suggest::help(key, known),
        };
        self.push(Fault::error(Code::UnknownField, span, format!("unknown field `{key}`")).maybe_help(help));
    }

    /// The text is none of the allowed values: one that comes later, or a slip.
    pub(crate) fn unknown_value(&mut self, node: &Node, text: &str, known: &[&str]) {
        if self.is_unsupported(&node.span, &format!("={text}")) {
            let help = format!("supported now: {}", suggest::list(known));
            return self.not_supported(node.span, text, (format!("the value `{text}`"), help));
        }
        let near = suggest::nearest(text, known.iter().copied());
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("allowed: {}", suggest::list(known)),
        };
        let message = format!("`{text}` is not an allowed value");
        self.push(Fault::error(Code::UnknownValue, node.span, message).help(help));
    }
}
