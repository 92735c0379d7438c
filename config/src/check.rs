//! `check`: policy files in; every finding at once, and the policy if there is no error, out.

use crate::{
    Code, Finding, Severity, SourceFile,
    diagnostic::{self, Sources},
    model::Origin,
    objects::Objects,
    policy::Policy,
    read, validate, yaml,
};

/// The outcome of [`check`].
#[derive(Debug)]
pub struct Checked {
    /// The policy; `None` if any finding is an error.
    pub policy: Option<Policy>,
    /// Everything that was found, by file and place.
    pub findings: Vec<Finding>,
    sources: Sources,
}

/// Reads, converts and validates policy files, in the order given. It never fails: what is wrong is a finding. A file
/// that cannot be read at all is one finding, and the others are still checked.
pub fn check(files: Vec<SourceFile>) -> Checked {
    let mut sources = Sources::default();
    let mut faults = Vec::new();
    let mut objects = Objects::default();
    let mut roots = Vec::new();
    for (file, source) in (0u32..).zip(&files) {
        match yaml::decode(file, &source.text) {
            Ok(text) => {
                sources.add(&source.path, text);
                let documents = yaml::read(file, text, &mut faults);
                objects.unknown |= !documents.complete;
                for root in documents.roots {
                    read::document(&root, &mut objects, &mut faults);
                    roots.push(root);
                }
            }
            Err(fault) => {
                sources.add(&source.path, &String::from_utf8_lossy(&source.text));
                objects.unknown = true;
                faults.push(fault);
            }
        }
    }
    objects.sort();
    validate::all(&objects, &mut faults);
    let findings = sources.findings(faults, &roots);
    let failed = findings.iter().any(|finding| finding.severity == Severity::Error);
    let policy = (!failed).then(|| Policy::new(objects, sources.without_texts()));
    Checked { policy, findings, sources }
}

impl Checked {
    /// Adds an error that only whoever reads the files that policy names can find, at the place that names one.
    pub fn add_file_error(&mut self, at: &Origin, field: &str, message: &str, help: &str) {
        let finding = Finding {
            code: Code::NamedFile,
            severity: Severity::Error,
            origin: at.clone(),
            field: field.to_owned(),
            message: message.to_owned(),
            help: Some(help.to_owned()),
            related: Vec::new(),
            span: self.sources.span(at),
        };
        self.findings.push(finding);
    }

    /// The number of errors.
    pub fn errors(&self) -> usize {
        self.count(Severity::Error)
    }

    /// The number of warnings.
    pub fn warnings(&self) -> usize {
        self.count(Severity::Warning)
    }

    fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// All findings as text with source lines, carets and remedies; at most 20 of each severity, the rest counted.
    /// Ends with an empty line unless there is nothing to say.
    pub fn render_text(&self, color: bool) -> String {
        diagnostic::text(&self.findings, &self.sources, color)
    }

    /// All findings, without a cap, as a SARIF 2.1.0 log.
    pub fn to_sarif(&self) -> serde_json::Value {
        diagnostic::log(&self.findings)
    }

    /// All findings, without a cap, as workflow commands of GitHub Actions, a line each.
    pub fn to_github(&self) -> String {
        diagnostic::commands(&self.findings)
    }

    /// All findings, without a cap: `{"errors": n, "warnings": n, "findings": [...]}`.
    pub fn to_json(&self) -> serde_json::Value {
        let findings: Vec<_> = self.findings.iter().map(Finding::to_json).collect();
        serde_json::json!({"errors": self.errors(), "warnings": self.warnings(), "findings": findings})
    }
}
