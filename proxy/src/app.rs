//! One proxy, from its options to its end: reads the policy, opens the listeners, starts the workers, follows reloads,
//! drains.
//!
//! The order of a start is the order of [`App::start`]: nothing is bound before the policy is good, nothing is accepted
//! before the workers stand, nothing is "ready" before all of it is true.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use outrigger_config::model::{ObjectName, Resources};

use crate::{
    bootstrap::Crew,
    ctx::Side,
    drain::{self, Cause, Schedule},
    runtime::BuildError,
};

/// How a proxy is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Policy files and folders.
    pub paths: Vec<PathBuf>,
    /// Which Sidecar of these files; needed where they hold several.
    pub sidecar: Option<ObjectName>,
    /// Worker threads; `None`: what the cgroup's CPU quota allows.
    pub workers: Option<usize>,
    /// How long a drain may take. 30 s is what Kubernetes grants by default.
    pub grace: Duration,
}

impl Options {
    /// The defaults for these policy files.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths, sidecar: None, workers: None, grace: Duration::from_secs(30) }
    }
}

/// Why a proxy did not start. Each is one clear report with its remedy.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The policy cannot be used; the text is the rendered report.
    #[error("{0}")]
    Policy(String),
    /// A listening address cannot be had.
    #[error("cannot listen on {addr} ({what}): {source}; {remedy}")]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// Which listener, as the policy names it.
        what: String,
        /// What the system said.
        source: std::io::Error,
        /// What helps.
        remedy: &'static str,
    },
    /// The resources cannot be compiled; policy files are checked before, so this is a bug or a foreign source.
    #[error("the policy cannot be compiled: {0}")]
    Build(#[from] BuildError),
    /// The system gives no thread or event loop.
    #[error(
        "cannot start a thread: {0}; the process or thread limit (ulimit -u, pids cgroup) may be reached"
    )]
    Thread(std::io::Error),
}

impl StartError {
    pub(crate) fn bind(addr: SocketAddr, what: &str, source: std::io::Error) -> Self {
        let remedy = match source.kind() {
            std::io::ErrorKind::AddrInUse => {
                "another process has this port; stop it, or give the listener another one"
            }
            std::io::ErrorKind::PermissionDenied => {
                "ports below 1024 need CAP_NET_BIND_SERVICE; choose a higher one"
            }
            std::io::ErrorKind::AddrNotAvailable => "this machine has no such address; bind one that it has",
            _ => "check the address of the listener in the policy",
        };
        Self::Bind { addr, what: what.to_owned(), source, remedy }
    }
}

/// A running proxy. Dropping it ends it at once; [`App::drain`] and [`App::wait`] end it in order.
#[derive(Debug)]
pub struct App {
    crew: Arc<Crew>,
    ended: Arc<Ended>,
    options: Options,
}

#[derive(Debug, Default)]
struct Ended {
    done: Mutex<bool>,
    changed: Condvar,
}

impl Ended {
    fn tell(&self) {
        *self.done.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }
}

impl App {
    /// Starts a proxy and returns when it serves.
    pub fn start(options: Options) -> Result<Self, StartError> {
        let resources = load(&options)?;
        let crew = Arc::new(Crew::start(&options, &resources)?);
        crew.listen()?;
        let ended = Arc::new(Ended::default());
        Ok(Self { crew, ended, options })
    }

    /// The bound address of inbound listener number `index`, in the policy's order.
    pub fn inbound(&self, index: usize) -> Option<SocketAddr> {
        self.crew.bound(Side::Inbound, index)
    }

    /// The bound address of outbound listener number `index`, in the policy's order.
    pub fn outbound(&self, index: usize) -> Option<SocketAddr> {
        self.crew.bound(Side::Outbound, index)
    }

    /// Begins to drain; [`App::wait`] tells when it is over.
    pub fn drain(&self, cause: Cause) {
        begin_drain(&self.crew, &self.ended, self.options.grace, cause);
    }

    /// Blocks until the proxy has ended.
    pub fn wait(&self) {
        let done = self.ended.done.lock().unwrap_or_else(PoisonError::into_inner);
        let _done =
            self.ended.changed.wait_while(done, |done| !*done).unwrap_or_else(PoisonError::into_inner);
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.crew.stop();
        self.ended.tell();
    }
}

fn load(options: &Options) -> Result<Resources, StartError> {
    let files = options
        .paths
        .iter()
        .map(|path| outrigger_config::SourceFile {
            path: path.display().to_string(),
            text: std::fs::read(path).unwrap_or_default(),
        })
        .collect();
    let checked = outrigger_config::check(files);
    let Some(policy) = &checked.policy else { return Err(StartError::Policy(checked.render_text(false))) };
    policy.compile(options.sidecar.as_ref()).map_err(|error| StartError::Policy(error.to_string()))
}

fn begin_drain(crew: &Arc<Crew>, ended: &Arc<Ended>, grace: Duration, cause: Cause) {
    let plan = drain::schedule(grace, cause);
    tracing::info!(?cause, grace = ?grace, "draining");
    let (crew, ended) = (crew.clone(), ended.clone());
    crew.clone().background().spawn(async move {
        run_drain(&crew, plan).await;
        tracing::info!("drained");
        crew.stop();
        ended.tell();
    });
}

async fn run_drain(crew: &Crew, plan: Schedule) {
    let start = tokio::time::Instant::now();
    let end = start + plan.end;
    tokio::time::sleep_until(start + plan.inbound).await;
    crew.close(Side::Inbound);
    let outbound_end = start + plan.outbound;
    let mut quiet_since = None;
    while tokio::time::Instant::now() < outbound_end {
        let now = tokio::time::Instant::now();
        let quiet = crew.connections(Side::Inbound) == 0 && crew.connections(Side::Outbound) == 0;
        quiet_since = if quiet { Some(quiet_since.unwrap_or(now)) } else { None };
        if quiet_since.is_some_and(|since| now.duration_since(since) >= drain::QUIET) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    crew.close(Side::Outbound);
    while tokio::time::Instant::now() < end
        && crew.connections(Side::Inbound) + crew.connections(Side::Outbound) > 0
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
