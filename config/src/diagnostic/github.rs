//! Findings as workflow commands of GitHub Actions, which shows them at their lines in a pull request.

use std::fmt::Write;

use super::{Finding, Severity};

/// One line a finding: `::error file=policy.yaml,line=3,col=5,title=OR110::spec.x: unknown field`.
pub(crate) fn commands(findings: &[Finding]) -> String {
    let mut out = String::new();
    for finding in findings {
        let level = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "notice",
        };
        let place = if finding.field.is_empty() { String::new() } else { format!("{}: ", finding.field) };
        let help = finding.help.as_deref().map(|help| format!("\nhelp: {help}")).unwrap_or_default();
        let message = escape(&format!("{place}{}{help}", finding.message));
        let file = escape(finding.file()).replace(':', "%3A").replace(',', "%2C");
        let _ = writeln!(
            out,
            "::{level} file={file},line={},col={},title={}::{message}",
            finding.line(),
            finding.column(),
            finding.code()
        );
    }
    out
}

/// What the runner takes back: a command is one line, and `%` begins an escape.
fn escape(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}
