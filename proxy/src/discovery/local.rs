//! Policy from files: read, checked, compiled; and again whenever they change.
//!
//! What it hands on is always whole and valid. Whatever is wrong with a change (a bad edit, a file that vanished, half a
//! file) is reported with file, line and column in the log, in a metric and in the status, and changes nothing.

mod read;

pub use read::{ReadError, read};

use std::{fmt, path::PathBuf, sync::Arc, time::SystemTime};

use outrigger_config::{
    CompileError, Finding, Severity, SourceFile,
    model::{ObjectName, Resources},
};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::watch::{Changes, Pace, Wake};
use crate::{
    runtime::status::{Rejection, Status},
    telemetry::metrics::Metrics,
};

/// Findings of one refused change that go to the log; all of them are in the status.
const LOGGED_FINDINGS: usize = 20;

/// A policy that cannot be used. Displayed, it is the report that `outrigger check` prints.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejected {
    text: String,
    lines: Vec<String>,
    findings: Vec<serde_json::Value>,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text.trim_end())
    }
}

impl std::error::Error for Rejected {}

impl Rejected {
    /// A reason that has no place in a file.
    fn whole(message: String) -> Self {
        Self { lines: vec![message.clone()], text: message, findings: Vec::new() }
    }

    fn report(&self, status: &Status, metrics: &Metrics) {
        metrics.config_rejected();
        for line in self.lines.iter().take(LOGGED_FINDINGS) {
            tracing::error!("{line}");
        }
        let more = self.lines.len().saturating_sub(LOGGED_FINDINGS);
        tracing::error!(more, "the change of the policy files is refused; the policy in use stays");
        let Self { text, findings, .. } = self.clone();
        status.set_rejection(Rejection { at: SystemTime::now(), text, findings });
    }
}

impl From<ReadError> for Rejected {
    fn from(error: ReadError) -> Self {
        Self::whole(error.to_string())
    }
}

impl From<CompileError> for Rejected {
    fn from(error: CompileError) -> Self {
        Self::whole(match &error {
            CompileError::SeveralSidecars(_) | CompileError::UnknownSidecar { .. } => {
                format!("{error} (--sidecar NAMESPACE/NAME)")
            }
            CompileError::NoSidecar => error.to_string(),
        })
    }
}

/// A policy on its way to the proxy.
#[derive(Debug)]
pub struct Change {
    /// The whole policy.
    pub resources: Resources,
    /// To be told whether it is in use now. A port that it wants may be taken: then the files hold something else than
    /// the proxy uses.
    pub in_use: oneshot::Sender<bool>,
}

/// Policy files and folders, and which Sidecar of them is meant.
#[derive(Debug)]
pub struct LocalSource {
    paths: Vec<PathBuf>,
    sidecar: Option<ObjectName>,
    pace: Pace,
    /// The contents that the policy in use was made of.
    in_use: Mutex<Option<u64>>,
}

impl LocalSource {
    /// The policy of `paths`. `sidecar` is needed where they hold several.
    pub fn new(paths: Vec<PathBuf>, sidecar: Option<ObjectName>) -> Self {
        Self { paths, sidecar, pace: Pace::default(), in_use: Mutex::new(None) }
    }

    /// Reads the policy now. Warnings go to the log.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn load(&self) -> Result<Resources, Rejected> {
        let read = read(&self.paths);
        let signature = read::signature(&read);
        let resources = compile(read?, self.sidecar.as_ref())?;
        *self.in_use.lock() = Some(signature);
        Ok(resources)
    }

    /// Follows the files until nobody receives any more: sends every policy that differs from the one in use. Must
    /// run on a runtime with threads for blocking work: a large policy takes a while to check.
    pub async fn watch(self, send: mpsc::Sender<Change>, status: Arc<Status>, metrics: Arc<Metrics>) {
        status.set_sources(self.paths.clone());
        let mut changes = Changes::new(&self.paths, self.pace);
        let in_use = *self.in_use.lock();
        let mut judge = Judge { in_use, judged: in_use };
        // What changed since the policy was loaded and before it was followed.
        changes.touch();
        let source = Arc::new(self);
        loop {
            let wake = tokio::select! {
                wake = changes.next() => wake,
                () = send.closed() => return,
            };
            changes.arm();
            let files = blocking(&source, |source| {
                let files = read(&source.paths);
                (read::signature(&files), files)
            });
            let Some((signature, files)) = files.await else { continue };
            match judge.look(wake, signature) {
                Verdict::Nothing => {}
                Verdict::Wait => changes.touch(),
                Verdict::TakenBack => {
                    tracing::info!("the policy files hold the policy in use again");
                    status.clear_rejection();
                }
                Verdict::Compile => {
                    let compiled = move |source: &Self| compile(files?, source.sidecar.as_ref());
                    match blocking(&source, compiled).await {
                        Some(Ok(resources)) => {
                            let (in_use, answer) = oneshot::channel();
                            if send.send(Change { resources, in_use }).await.is_err() {
                                return;
                            }
                            if answer.await.unwrap_or(false) {
                                judge.in_use = Some(signature);
                            } else {
                                // What stood in its way may go: the next look judges it anew.
                                judge.judged = None;
                            }
                        }
                        Some(Err(rejected)) => rejected.report(&status, &metrics),
                        None => Rejected::whole("internal error while checking the policy files".into())
                            .report(&status, &metrics),
                    }
                }
            }
        }
    }
}

/// Runs blocking work; `None` if it panicked, which the panic hook has reported.
async fn blocking<T: Send + 'static>(
    source: &Arc<LocalSource>,
    work: impl FnOnce(&LocalSource) -> T + Send + 'static,
) -> Option<T> {
    let source = source.clone();
    tokio::task::spawn_blocking(move || work(&source)).await.ok()
}

fn compile(files: Vec<SourceFile>, sidecar: Option<&ObjectName>) -> Result<Resources, Rejected> {
    let checked = outrigger_config::check(files);
    let Some(policy) = &checked.policy else {
        let errors = checked.findings.iter().filter(|finding| finding.severity() == Severity::Error);
        return Err(Rejected {
            lines: errors.map(Finding::to_string).collect(),
            text: checked.render_text(false),
            findings: checked.findings.iter().map(Finding::to_json).collect(),
        });
    };
    let resources = policy.compile(sidecar)?;
    for finding in checked.findings.iter().filter(|finding| finding.severity() == Severity::Warning) {
        tracing::warn!("{finding}");
    }
    Ok(resources)
}

/// What to do about contents that were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// They were judged before.
    Nothing,
    /// They differ, but may not be at rest.
    Wait,
    /// They are those of the policy in use, after something else.
    TakenBack,
    /// They are new.
    Compile,
}

/// Remembers which contents were judged, so that nothing is reported or applied twice.
#[derive(Debug)]
struct Judge {
    in_use: Option<u64>,
    judged: Option<u64>,
}

impl Judge {
    fn look(&mut self, wake: Wake, signature: u64) -> Verdict {
        if self.judged == Some(signature) {
            return Verdict::Nothing;
        }
        if wake == Wake::Poll {
            return Verdict::Wait;
        }
        self.judged = Some(signature);
        if self.in_use == Some(signature) { Verdict::TakenBack } else { Verdict::Compile }
    }
}

#[cfg(test)]
mod tests;
