//! Findings as text: one line that editors and greps understand, then the source line with a caret, then the remedy.

use std::fmt::Write;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::{Finding, Severity, Sources};
use crate::yaml::Span;

/// Errors, and likewise warnings, that are shown; the rest is only counted. A person mends the first ones first.
const SHOWN: usize = 20;

/// All findings, errors first in the order of the files, at most [`SHOWN`] of each severity.
pub(crate) fn text(findings: &[Finding], sources: &Sources, color: bool) -> String {
    let mut out = String::new();
    for severity in [Severity::Error, Severity::Warning, Severity::Note] {
        let mut all = findings.iter().filter(|finding| finding.severity == severity);
        for finding in all.by_ref().take(SHOWN) {
            one(finding, sources, color, &mut out);
        }
        match all.count() {
            0 => {}
            1 => out.push_str(&format!("and 1 more {}\n\n", severity.as_str())),
            more => out.push_str(&format!("and {more} more {}s\n\n", severity.as_str())),
        }
    }
    out
}

fn one(finding: &Finding, sources: &Sources, color: bool, out: &mut String) {
    let paint = Paint { color };
    let level = match finding.severity {
        Severity::Error => "1;31",
        Severity::Warning => "1;33",
        Severity::Note => "1;36",
    };
    let tag = paint.with(level, &format!("{}[{}]", finding.severity.as_str(), finding.code()));
    let field = if finding.field.is_empty() { String::new() } else { format!("{}: ", finding.field) };
    let message = paint.with("1", &format!("{field}{}", finding.message));
    let _ = writeln!(out, "{}: {tag} {message}", finding.origin);
    snippet(&finding.span, sources, color, out);
    for related in &finding.related {
        let _ = writeln!(out, "  {} {}: {}", paint.with("1;36", "note:"), related.origin, related.message);
        snippet(&related.span, sources, color, out);
    }
    if let Some(help) = &finding.help {
        let _ = writeln!(out, "  {} {help}", paint.with("1;32", "help:"));
    }
    out.push('\n');
}

/// The source line of the span with its caret; nothing where the span stands for a whole file.
fn snippet(span: &Span, sources: &Sources, color: bool, out: &mut String) {
    if span.end == 0 {
        return;
    }
    let Some((line, range)) = sources.line(span) else { return };
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let source =
        Snippet::source(line).line_start(span.line as usize).annotation(AnnotationKind::Primary.span(range));
    let group = Group::with_level(Level::ERROR).element(source);
    out.push_str(renderer.render(&[group]).trim_end());
    out.push('\n');
}

struct Paint {
    color: bool,
}

impl Paint {
    fn with(&self, style: &str, text: &str) -> String {
        if self.color { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
