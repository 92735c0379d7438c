//! `outrigger test`: policy unit tests. Each case is explained by the code that the proxy runs, and compared.

mod coverage;
mod judge;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Result, bail};
use http::Version;
use outrigger_config::{Case, CaseRequest, model::ObjectName};
use outrigger_control_plane::source;
use outrigger_proxy::{
    decide::Form,
    explain::{Door, Explainer, Question},
};
use serde::Serialize;

use crate::{exit, files, output::Output, proxy};
use coverage::Coverage;
use judge::Difference;

/// Test a policy: requests, and what must become of each.
///
/// Nothing is sent: each request is explained as `outrigger explain` does. Ends with 0 if every case passes, with 1 if one
/// fails or too few rules are touched, and with 2 if the policy, the cases or the command line cannot be used.
#[derive(Debug, clap::Args)]
#[command(override_usage = "outrigger test [OPTIONS] -f <PATH>... <CASES>")]
pub(crate) struct Test {
    /// Policy files and folders; all of them are one policy.
    #[arg(short, long = "file", value_name = "PATH", required = true, num_args = 1..)]
    files: Vec<PathBuf>,
    /// Files of cases. Also one after the policy files: the last word is not taken for one.
    #[arg(value_name = "CASES")]
    cases: Vec<String>,
    /// Whose policy, where the files hold several Sidecars.
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = proxy::object_name)]
    sidecar: Option<ObjectName>,
    /// Fail unless the cases take at least this part of the rules.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    min_coverage: Option<u8>,
    /// How the outcome is written; as JSON `{"passed": n, "failed": n, "cases": [...], "coverage": {...}}`.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// What became of all cases.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    passed: usize,
    failed: usize,
    cases: Vec<CaseOutcome>,
    coverage: Coverage,
}

/// What became of one.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CaseOutcome {
    name: String,
    origin: String,
    passed: bool,
    /// The explanation in one sentence.
    explained: String,
    differences: Vec<Difference>,
}

impl Test {
    /// Runs the cases and prints what became of them.
    ///
    /// # Errors
    /// When policy or cases cannot be used.
    pub(crate) fn run(mut self) -> Result<ExitCode> {
        let given = std::mem::take(&mut self.cases);
        let paths = files::split_off(&mut self.files, given, 1);
        if self.files.is_empty() || paths.is_empty() {
            bail!("policy files and a file of cases are needed: outrigger test -f policy.yaml cases.yaml")
        }
        let paths: Vec<PathBuf> = paths.into_iter().map(PathBuf::from).collect();
        let read = outrigger_config::read_cases(&source::read(&paths)?);
        if read.failed() {
            bail!("the cases cannot be used\n\n{}", read.render_text(false).trim_end())
        }
        if read.cases.is_empty() {
            bail!("the files of cases have none")
        }
        let policy = files::policy(&self.files, None)?;
        let explainer = Explainer::new(policy.compile(self.sidecar.as_ref())?)?;
        let outcome = run(&explainer, &read.cases)?;
        let enough = self.min_coverage.is_none_or(|least| outcome.coverage.percent >= f64::from(least));
        let report = self.output.of(&outcome, || text(&outcome, self.min_coverage.filter(|_| !enough)))?;
        // `test | head` closes the pipe early; the exit code still tells.
        let _ = io::stdout().write_all(report.as_bytes());
        Ok(if outcome.failed == 0 && enough { exit::FINE } else { exit::FINDINGS })
    }
}

fn run(explainer: &Explainer, cases: &[Case]) -> Result<Outcome> {
    let mut coverage = Coverage::of(explainer.resources());
    let mut outcomes = Vec::new();
    for case in cases {
        let about =
            |error: &dyn std::fmt::Display| anyhow::anyhow!("{}: case `{}`: {error}", case.origin, case.name);
        let question = question(&case.request).map_err(|error| about(&error))?;
        let report = explainer.explain(&question).map_err(|error| about(&error))?;
        coverage.touch(&report);
        let differences = judge::differences(&report, &case.expect);
        outcomes.push(CaseOutcome {
            name: case.name.to_string(),
            origin: case.origin.to_string(),
            passed: differences.is_empty(),
            explained: report.summary,
            differences,
        });
    }
    coverage.conclude();
    let failed = outcomes.iter().filter(|one| !one.passed).count();
    Ok(Outcome { passed: outcomes.len() - failed, failed, cases: outcomes, coverage })
}

fn question(request: &CaseRequest) -> Result<Question> {
    let mut question = Question::new(&request.method, &request.url)?;
    for (name, value) in &request.headers {
        question.header(name, value)?;
    }
    question.version = request.version.map(|version| match version {
        "http1.0" => Version::HTTP_10,
        "http2" => Version::HTTP_2,
        _ => Version::HTTP_11,
    });
    question.form = if request.proxy_form { Form::Absolute } else { Form::Origin };
    question.door = match (request.listener, request.inbound) {
        (Some(bind), _) => Door::At(bind),
        (None, true) => Door::Inbound,
        (None, false) => Door::Outbound,
    };
    question.original_destination = request.destination;
    question.from.clone_from(&request.from);
    Ok(question)
}

fn text(outcome: &Outcome, wanted: Option<u8>) -> String {
    let mut out = String::new();
    for case in &outcome.cases {
        let word = if case.passed { "ok" } else { "FAILED" };
        out.push_str(&format!("{word:6} {}  ({})\n", case.name, case.origin));
        for Difference { field, expected, actual } in &case.differences {
            out.push_str(&format!("         {field}: expected {expected}, but it is {actual}\n"));
        }
        if !case.passed {
            out.push_str(&format!("         {}\n", case.explained));
        }
    }
    out.push_str(&outcome.coverage.to_text());
    if let Some(least) = wanted {
        out.push_str(&format!("FAILED coverage: at least {least} % of the rules are wanted\n"));
    }
    out.push_str(&format!("{} passed, {} failed\n", outcome.passed, outcome.failed));
    out
}
