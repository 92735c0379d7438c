//! Findings: what is wrong in policy files, where, and what to do about it.
//!
//! Checks push [`Fault`]s, which point at spans; when all checks are done, [`Sources`] turns them into [`Finding`]s
//! with file names, lines and field paths. A finding is data: showing it as text is `render`'s task.

mod code;
mod github;
mod render;
mod sarif;
mod sources;

pub use code::Code;
pub(crate) use github::commands;
pub(crate) use render::text;
pub(crate) use sarif::log;
pub(crate) use sources::Sources;

use std::fmt;

use crate::{model::Origin, yaml::Span};

/// Findings of which everything is worked out: field path, nearest name. Working it out walks objects and names, and
/// a file with more faults than this must not cost their square.
pub(crate) const DETAILED: usize = 1000;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The policy is not used.
    Error,
    /// The policy is used, and probably does not do what its author wanted.
    Warning,
    /// Something that was left out on purpose.
    Note,
}

impl Severity {
    /// The word in findings: `error`, `warning`, `note`.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}

/// One thing that is wrong in a policy file. Shown on one line as `file:line:col: error[OR1nn] field.path: message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub(crate) code: Code,
    pub(crate) severity: Severity,
    pub(crate) origin: Origin,
    pub(crate) field: String,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    pub(crate) related: Vec<Related>,
    pub(crate) span: Span,
}

/// A second place that belongs to a finding, such as the first of two duplicate keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Related {
    /// Where it stands.
    pub origin: Origin,
    /// What stands there.
    pub message: String,
    pub(crate) span: Span,
}

impl Finding {
    /// The stable code, such as `OR110`.
    pub fn code(&self) -> &'static str {
        self.code.as_str()
    }

    /// The kind of finding that the code stands for.
    pub fn kind(&self) -> Code {
        self.code
    }

    /// How bad it is.
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// The file as the user named it.
    pub fn file(&self) -> &str {
        &self.origin.file
    }

    /// Line, from 1.
    pub fn line(&self) -> u32 {
        self.origin.line
    }

    /// Column, from 1, in characters.
    pub fn column(&self) -> u32 {
        self.origin.column
    }

    /// Where it stands.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The field, such as `spec.rules[0].timeouts.request`; empty if the whole file or object is meant.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// What is wrong.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it.
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// Other places that belong to the finding.
    pub fn related(&self) -> &[Related] {
        &self.related
    }

    /// The finding as one JSON object; its keys are stable.
    pub fn to_json(&self) -> serde_json::Value {
        let related: Vec<_> = self
            .related
            .iter()
            .map(|related| {
                let Origin { file, line, column } = &related.origin;
                serde_json::json!({"file": file, "line": line, "column": column, "message": related.message})
            })
            .collect();
        serde_json::json!({
            "code": self.code(),
            "severity": self.severity.as_str(),
            "file": self.file(),
            "line": self.line(),
            "column": self.column(),
            "field": self.field,
            "message": self.message,
            "help": self.help,
            "related": related,
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}[{}] ", self.origin, self.severity.as_str(), self.code())?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}

/// A finding in the making: it points at a span, and its field path is not known yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) code: Code,
    pub(crate) severity: Severity,
    pub(crate) span: Span,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    pub(crate) related: Vec<(Span, String)>,
    /// A field below the place that the tree does not hold, such as the second of two equal keys.
    pub(crate) below: Option<Box<str>>,
}

impl Fault {
    /// Something that keeps the policy from being used.
    pub(crate) fn error(code: Code, span: Span, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code, severity: Severity::Error, span, message, help: None, related: Vec::new(), below: None }
    }

    /// Something that is probably not meant.
    pub(crate) fn warning(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, span, message) }
    }

    /// Something that a person should know.
    pub(crate) fn note(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Note, ..Self::error(code, span, message) }
    }

    /// Says what to do.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Says what to do, if something is known.
    pub(crate) fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help;
        self
    }

    /// Names a field that the tree does not hold.
    pub(crate) fn below(mut self, key: &str) -> Self {
        self.below = Some(key.into());
        self
    }

    /// Names a second place.
    pub(crate) fn related(mut self, span: Span, message: impl Into<String>) -> Self {
        self.related.push((span, message.into()));
        self
    }
}
