//! Policy from files: read, checked, compiled; and again whenever they change.
//!
//! What it hands on is always whole and valid. Whatever is wrong with a change (a bad edit, a file that vanished, half a
//! file) is reported with file, line and column in the log, in a metric and in the status, and changes nothing.

pub(super) mod named;

mod read;

pub use read::{ReadError, read};

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use outrigger_config::{
    Checked, CompileError, Finding, Severity, SourceFile,
    model::{ObjectName, Resources},
};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use self::named::Named;
use super::watch::{Changes, Pace, Wake};
use crate::{
    identity::Identity,
    pem::{Contents, Unusable},
    runtime::status::{Rejection, Status},
    telemetry::metrics::Metrics,
    upstream::tls::Connectors,
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

    /// Findings, an error among them.
    fn found(checked: &Checked) -> Self {
        let errors = checked.findings.iter().filter(|finding| finding.severity() == Severity::Error);
        Self {
            lines: errors.map(Finding::to_string).collect(),
            text: checked.render_text(false),
            findings: checked.findings.iter().map(Finding::to_json).collect(),
        }
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

/// A policy that can be used.
#[derive(Debug)]
pub struct Prepared {
    /// What it says.
    pub resources: Resources,
    /// What was made of the certificates and keys that it names.
    pub(crate) connectors: Connectors,
    /// Who the proxy is under it: the one that it is already where the policy says the same.
    pub(crate) identity: Option<Arc<Identity>>,
}

/// A policy on its way to the proxy.
#[derive(Debug)]
pub struct Change {
    /// The whole policy.
    pub policy: Prepared,
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
    in_use: Mutex<Option<Signature>>,
    named: Mutex<Named>,
}

/// Tells contents apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Signature {
    /// Those of the policy files.
    policy: u64,
    /// Those of the files that they name.
    named: u64,
}

/// What came of policy files.
struct Compiled {
    signature: Signature,
    result: Result<Prepared, Rejected>,
}

impl LocalSource {
    /// The policy of `paths`. `sidecar` is needed where they hold several.
    pub fn new(paths: Vec<PathBuf>, sidecar: Option<ObjectName>) -> Self {
        Self { paths, sidecar, pace: Pace::default(), in_use: Mutex::default(), named: Mutex::default() }
    }

    /// Reads the policy now. Warnings go to the log.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn load(&self) -> Result<Prepared, Rejected> {
        let Compiled { signature, result } = self.compile(read(&self.paths));
        let prepared = result?;
        *self.in_use.lock() = Some(signature);
        self.named.lock().take_up();
        Ok(prepared)
    }

    /// Checks and compiles what was read, and reads the files that it names.
    fn compile(&self, files: Result<Vec<SourceFile>, ReadError>) -> Compiled {
        let policy = read::signature(&files);
        let mut contents = Contents::read(&[]);
        let result = files.map_err(Rejected::from).and_then(|files| {
            let (resources, mut checked) = compile(files, self.sidecar.as_ref())?;
            let mut paths = named::paths(&resources);
            contents = Contents::read(&paths);
            let connectors = Connectors::read(&resources, |path| contents.of(path));
            let identity = self.identity(&resources).map_err(|(unusable, found)| {
                paths.extend(found.paths().map(Path::to_path_buf));
                contents.and(found);
                vec![unusable]
            });
            let used = identity.as_ref().ok().cloned().flatten();
            self.named.lock().judge(policy, paths, used);
            match (connectors, identity) {
                (Ok(connectors), Ok(identity)) => Ok(Prepared { resources, connectors, identity }),
                (connectors, identity) => {
                    let unusable = connectors.err().into_iter().chain(identity.err()).flatten();
                    for one in unusable {
                        checked.add_file_error(&one.origin, &one.field, &one.message, one.help);
                    }
                    Err(Rejected::found(&checked))
                }
            }
        });
        Compiled { signature: Signature { policy, named: contents.signature() }, result }
    }

    /// Who the proxy is under a policy. Whoever it is already goes on: its files may be on their way to the next rotation.
    fn identity(&self, resources: &Resources) -> Result<Option<Arc<Identity>>, (Unusable, Contents)> {
        let Some(source) = &resources.workload.identity else { return Ok(None) };
        let in_use = self.named.lock().identity().filter(|identity| identity.is(source));
        match in_use {
            Some(identity) => Ok(Some(identity)),
            None => Identity::read(source, SystemTime::now()).map(|made| Some(Arc::new(made))),
        }
    }

    /// The files as they are now, and what tells them from others.
    fn look(&self) -> (Signature, Result<Vec<SourceFile>, ReadError>) {
        let files = read(&self.paths);
        let policy = read::signature(&files);
        let named = self.named.lock().of(policy);
        (Signature { policy, named: Contents::read(&named).signature() }, files)
    }

    /// Follows the files until nobody receives any more: sends every policy that differs from the one in use. Must
    /// run on a runtime with threads for blocking work: a large policy takes a while to check.
    pub async fn watch(self, send: mpsc::Sender<Change>, status: Arc<Status>, metrics: Arc<Metrics>) {
        status.set_sources(self.paths.clone());
        let mut changes = Changes::new(&self.paths, self.pace);
        changes.also(self.named.lock().all());
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
            let Some((signature, files)) = blocking(&source, Self::look).await else { continue };
            match judge.look(wake, signature) {
                Verdict::Nothing => {}
                Verdict::Wait => changes.touch(),
                Verdict::TakenBack => {
                    tracing::info!("the policy files hold the policy in use again");
                    status.clear_rejection();
                }
                Verdict::Compile => {
                    let compiled = blocking(&source, move |source| source.compile(files)).await;
                    let Some(Compiled { signature, result }) = compiled else {
                        Rejected::whole("internal error while checking the policy files".into())
                            .report(&status, &metrics);
                        continue;
                    };
                    judge.judged = Some(signature);
                    changes.also(source.named.lock().all());
                    match result {
                        Ok(policy) => {
                            let (in_use, answer) = oneshot::channel();
                            if send.send(Change { policy, in_use }).await.is_err() {
                                return;
                            }
                            if answer.await.unwrap_or(false) {
                                judge.in_use = Some(signature);
                                source.named.lock().take_up();
                            } else {
                                // What stood in its way may go: the next look judges it anew.
                                judge.judged = None;
                            }
                        }
                        Err(rejected) => rejected.report(&status, &metrics),
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

fn compile(files: Vec<SourceFile>, sidecar: Option<&ObjectName>) -> Result<(Resources, Checked), Rejected> {
    let checked = outrigger_config::check(files);
    let Some(policy) = &checked.policy else { return Err(Rejected::found(&checked)) };
    let resources = policy.compile(sidecar)?;
    for finding in checked.findings.iter().filter(|finding| finding.severity() == Severity::Warning) {
        tracing::warn!("{finding}");
    }
    Ok((resources, checked))
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
    in_use: Option<Signature>,
    judged: Option<Signature>,
}

impl Judge {
    fn look(&mut self, wake: Wake, signature: Signature) -> Verdict {
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
