//! `outrigger check`: every finding in policy files at once, for people or for machines.

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Result;
use outrigger_config::Checked;
use outrigger_control_plane::source;

use crate::exit;

/// Check policy files; all findings at once, with file, line, column and remedy.
///
/// Ends with 0 if there is no error (warnings may be there), with 1 if there is one, with 2 if a file cannot be read.
#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// Policy files and folders, checked together; `-` is standard input.
    #[arg(short, long = "file", value_name = "PATH", required = true, num_args = 1..)]
    files: Vec<PathBuf>,
    /// How findings are written.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// With source lines, carets and remedies.
    #[value(alias = "table")]
    Text,
    /// `{"errors": n, "warnings": n, "findings": [...]}`.
    Json,
    /// The same as YAML.
    Yaml,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// Workflow commands of GitHub Actions: findings at their lines of a pull request.
    Github,
}

impl Check {
    /// Prints the findings on standard output.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(crate) fn run(self) -> Result<ExitCode> {
        let checked = outrigger_config::check(source::read(&self.files)?);
        let report = match self.output {
            Output::Json => format!("{:#}\n", checked.to_json()),
            Output::Yaml => serde_yaml::to_string(&checked.to_json())?,
            Output::Sarif => format!("{:#}\n", checked.to_sarif()),
            Output::Github => checked.to_github(),
            Output::Text => {
                let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
                checked.render_text(colour) + &total(&checked)
            }
        };
        // `check | head` closes the pipe early; the exit code still tells.
        let _ = io::stdout().write_all(report.as_bytes());
        Ok(if checked.errors() == 0 { exit::FINE } else { exit::FINDINGS })
    }
}

/// `ok: 1 Sidecar, 2 MeshService, 1 warning`, or the number of errors.
fn total(checked: &Checked) -> String {
    let counted = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    let mut parts = Vec::new();
    if let Some(policy) = &checked.policy {
        parts.extend(policy.counts().iter().map(|(kind, n)| format!("{n} {kind}")));
    } else {
        parts.push(counted(checked.errors(), "error"));
    }
    if checked.warnings() > 0 {
        parts.push(counted(checked.warnings(), "warning"));
    }
    if parts.is_empty() {
        parts.push("no objects".to_owned());
    }
    let verdict = if checked.policy.is_some() { "ok" } else { "not ok" };
    format!("{verdict}: {}\n", parts.join(", "))
}
