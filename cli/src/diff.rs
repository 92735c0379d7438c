//! `outrigger diff`: what a change of policy means for traffic.

use std::{
    collections::BTreeSet,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    slice,
};

use anyhow::Result;
use outrigger_config::{ChangeKind, Policy, SidecarDiff, SourceFile, model::ObjectName};
use outrigger_control_plane::source;

use crate::{exit, explain, files, output::Output, proxy};

/// Show what changes for traffic between two policies: routes, shares, settings, endpoints, listeners.
///
/// What is compared is what each Sidecar is told, after defaults and precedence, not the text of the files; where neither
/// policy has a Sidecar, as in a cluster, what any caller of each namespace is told. Ends with 0 if nothing changes, with 1 if something does, with 2 if a policy cannot be used.
#[derive(Debug, clap::Args)]
pub(crate) struct Diff {
    /// The policy before: a file or a folder.
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The policy after: a file or a folder.
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// Only for this Sidecar [default: for every Sidecar of either policy].
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = proxy::object_name)]
    sidecar: Option<ObjectName>,
    /// How differences are written: a line each, `+` for what comes, `-` for what goes, `~` for what differs; as JSON
    /// `{"sidecars": [{"sidecar": {...}, "changes": [...]}]}`.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

impl Diff {
    /// Prints the differences on standard output.
    ///
    /// # Errors
    /// When a policy cannot be read, has errors, or holds no Sidecar that is meant.
    pub(crate) fn run(self) -> Result<ExitCode> {
        let (old, new) = self.policies()?;
        let diffs = old.diff(&new, self.sidecar.as_ref())?;
        let value = serde_json::json!({ "sidecars": diffs });
        let report =
            self.output.of(&value, || diffs.iter().map(told).collect::<String>() + &total(&diffs))?;
        // `diff | head` closes the pipe early; the exit code still tells.
        let _ = io::stdout().write_all(report.as_bytes());
        let same = diffs.iter().all(|diff| diff.changes.is_empty());
        Ok(if same { exit::FINE } else { exit::FINDINGS })
    }

    /// Both policies; where neither has a Sidecar, with one for any caller of each namespace.
    fn policies(&self) -> Result<(Policy, Policy)> {
        let paths = [&self.old, &self.new];
        let read = |path: &PathBuf| source::read(slice::from_ref(path));
        let (before, after) = (read(paths[0])?, read(paths[1])?);
        let check = |path: &PathBuf, files: &[SourceFile]| files::of(slice::from_ref(path), files.to_vec());
        let (old, new) = (check(paths[0], &before)?, check(paths[1], &after)?);
        if self.sidecar.is_some() || !old.sidecars().is_empty() || !new.sidecars().is_empty() {
            return Ok((old, new));
        }
        let namespaces: BTreeSet<_> = old.namespaces().into_iter().chain(new.namespaces()).collect();
        let callers: Vec<_> = namespaces.iter().map(|namespace| explain::caller(namespace)).collect();
        let both = |files: &[SourceFile]| [files, &callers].concat();
        Ok((check(paths[0], &both(&before))?, check(paths[1], &both(&after))?))
    }
}

/// The differences for one Sidecar, or for the callers for which it stands.
fn told(diff: &SidecarDiff) -> String {
    match &*diff.sidecar.name {
        explain::CALLER => diff.told_of(&format!("Callers in namespace {}", diff.sidecar.namespace)),
        _ => diff.to_string(),
    }
}

/// `3 changes: 1 added, 1 removed, 1 changed`.
fn total(diffs: &[SidecarDiff]) -> String {
    let count =
        |kind| diffs.iter().flat_map(|diff| &diff.changes).filter(|change| change.kind == kind).count();
    let counts = [ChangeKind::Added, ChangeKind::Removed, ChangeKind::Changed].map(count);
    let [added, removed, changed] = counts;
    match counts.iter().sum::<usize>() {
        0 => String::new(),
        n => {
            let word = if n == 1 { "change" } else { "changes" };
            format!("{n} {word}: {added} added, {removed} removed, {changed} changed\n")
        }
    }
}
