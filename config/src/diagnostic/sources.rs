//! The policy files by index: their names and texts, and how spans become origins.

use std::{collections::HashSet, sync::Arc};

use super::{DETAILED, Fault, Finding, Related};
use crate::{
    model::Origin,
    yaml::{self, Node, Span},
};

/// Names and texts of the files that were read. The order is that of the indices in spans.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    files: Vec<(Arc<str>, Arc<str>)>,
}

impl Sources {
    /// No file: every place is nowhere.
    pub(crate) const fn none() -> Self {
        Self { files: Vec::new() }
    }

    /// Adds a file; its index is the number of files before it.
    pub(crate) fn add(&mut self, path: &str, text: &str) {
        self.files.push((path.into(), text.into()));
    }

    /// The names alone, for origins: a policy in force does not keep its files in memory.
    pub(crate) fn without_texts(&self) -> Self {
        let empty: Arc<str> = "".into();
        Self { files: self.files.iter().map(|(path, _)| (path.clone(), empty.clone())).collect() }
    }

    /// The place as a person reads it.
    pub(crate) fn origin(&self, span: &Span) -> Origin {
        let file = self.files.get(span.file as usize).map(|(path, _)| path.clone()).unwrap_or_default();
        Origin { file, line: span.line, column: span.column }
    }

    /// The span of the value at a place, as far as its text tells where it ends; that of a whole file where the place is
    /// not known.
    pub(crate) fn span(&self, at: &Origin) -> Span {
        let Origin { file: path, line, column } = at;
        let file = self.files.iter().position(|(known, _)| known == path).unwrap_or(usize::MAX);
        let mut span = Span { file: file as u32, line: *line, column: *column, start: 0, end: 0 };
        let Some((_, text)) = self.files.get(file) else { return span };
        let lines = text.split_inclusive('\n').take((*line as usize).saturating_sub(1));
        let from: usize = lines.map(str::len).sum();
        let rest = text.get(from..).unwrap_or_default();
        let Some((before, _)) = rest.char_indices().nth((*column as usize).saturating_sub(1)) else {
            return span;
        };
        let value = &rest[before..];
        let length = value.find([',', '}', ']', '\n', '#']).unwrap_or(value.len()).max(1);
        span.start = (from + before) as u32;
        span.end = span.start + length as u32;
        span
    }

    /// The line of the span without its end, and the byte range of the span in it, at least one column wide.
    pub(crate) fn line(&self, span: &Span) -> Option<(&str, std::ops::Range<usize>)> {
        let (_, text) = self.files.get(span.file as usize)?;
        let start = (span.start as usize).min(text.len());
        let before = text.get(..start)?;
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let line = text[line_start..line_end].trim_end_matches('\r');
        let from = (start - line_start).min(line.len());
        let to = (span.end as usize).saturating_sub(line_start).clamp(from, line.len());
        let trimmed = from + line.get(from..to)?.trim_end().len();
        Some((line, from..trimmed))
    }

    /// Makes findings of faults: sorted by place, without repetitions, with field paths.
    pub(crate) fn findings(&self, mut faults: Vec<Fault>, roots: &[Node]) -> Vec<Finding> {
        faults.sort_by_key(|fault| (fault.span.file, fault.span.start, fault.code));
        let mut seen = HashSet::new();
        faults.retain(|fault| seen.insert((fault.span, fault.code, fault.message.clone())));
        let detailed = |index: usize| if index < DETAILED { roots } else { &[] };
        faults.into_iter().enumerate().map(|(index, fault)| self.finding(fault, detailed(index))).collect()
    }

    fn finding(&self, fault: Fault, roots: &[Node]) -> Finding {
        // Roots are in the order of the files and of the text, so the one that holds the span is the last before it.
        let after = roots
            .partition_point(|root| (root.span.file, root.span.start) <= (fault.span.file, fault.span.start));
        let root = after.checked_sub(1).map(|at| &roots[at]).filter(|root| root.span.file == fault.span.file);
        let related = fault.related.into_iter().map(|(span, message)| {
            let origin = self.origin(&span);
            Related { origin, message, span }
        });
        let mut field = root.map(|root| yaml::field_path(root, &fault.span)).unwrap_or_default();
        if let Some(below) = &fault.below {
            let dot = if field.is_empty() { "" } else { "." };
            field = format!("{field}{dot}{below}");
        }
        Finding {
            code: fault.code,
            severity: fault.severity,
            origin: self.origin(&fault.span),
            field,
            message: fault.message,
            help: fault.help,
            related: related.collect(),
            span: fault.span,
        }
    }
}
