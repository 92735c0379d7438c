//! One proxy, from its options to its end: reads the policy, opens the listeners, starts the workers, follows reloads,
//! drains.
//!
//! The order of a start is the order of [`App::start`]: nothing is bound before the policy is good, nothing is accepted
//! before the workers stand, nothing is "ready" before all of it is true.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use outrigger_config::model::ObjectName;
use tokio::sync::{mpsc, oneshot};

use crate::{
    bootstrap::Crew,
    ctx::Side,
    discovery::{
        client::{ControlPlane, Discovery},
        local::{Change, LocalSource, Prepared, Rejected},
    },
    drain::{self, Cause, Schedule},
    runtime::{
        BuildError,
        status::{Asked, Rejection, Status},
    },
    telemetry::logging::LogLevel,
};

/// The first look-up of DNS endpoints, and the first checks, may delay readiness by this much.
const FIRST_ANSWERS: Duration = Duration::from_secs(1);

/// How a proxy is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Policy files and folders.
    pub paths: Vec<PathBuf>,
    /// Where policy comes from instead; then `paths` count for nothing, and `sidecar` is needed.
    pub control_plane: Option<ControlPlane>,
    /// Which Sidecar of these files; needed where they hold several.
    pub sidecar: Option<ObjectName>,
    /// Worker threads; `None`: what the cgroup's CPU quota allows.
    pub workers: Option<usize>,
    /// How long a drain may take. 30 s is what Kubernetes grants by default.
    pub grace: Duration,
    /// The handle on the process's own log, for `POST /logging`; `None` where the log belongs to somebody else.
    pub log_level: Option<LogLevel>,
}

impl Options {
    /// The defaults for these policy files.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self {
            paths,
            control_plane: None,
            sidecar: None,
            workers: None,
            grace: Duration::from_secs(30),
            log_level: None,
        }
    }
}

/// Why a proxy did not start. Each is one clear report with its remedy.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The policy cannot be used; the text is the rendered report.
    #[error(transparent)]
    Policy(#[from] Rejected),
    /// A control plane cannot be asked with these options.
    #[error("--control-plane: {0}")]
    ControlPlane(String),
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
    /// A bug of ours; the panic hook has told where.
    #[error("internal error while taking up the policy; the process's log has a panic")]
    Panicked,
    /// The system gives no thread or event loop.
    #[error(
        "cannot start a thread: {0}; the process or thread limit (ulimit -u, pids cgroup) may be reached"
    )]
    Thread(std::io::Error),
}

impl StartError {
    /// As [`StartError::bind`], for a port that this proxy itself still has under the policy in use.
    pub(crate) fn bind_own(addr: SocketAddr, what: &str, source: std::io::Error) -> Self {
        let remedy = "this proxy itself has this port under the policy in use, and cannot give it up for one that may \
                      fail; choose another port, or restart";
        Self::Bind { addr, what: what.to_owned(), source, remedy }
    }

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
    /// Starts a proxy and returns when it serves. From a control plane that may take as long as it is away.
    pub fn start(options: Options) -> Result<Self, StartError> {
        let (source, policy, in_use) = Source::open(&options)?;
        let crew = Arc::new(Crew::start(&options, policy)?);
        crew.listen()?;
        if let Some(in_use) = in_use {
            // A client that has died has said so.
            let _ = in_use.send(true);
        }
        let ended = Arc::new(Ended::default());
        follow(&crew, source, &options);
        obey(&crew, &ended, options.grace);
        crew.await_endpoints(FIRST_ANSWERS);
        crew.status.set_ready();
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

    /// The bound address of the admin API.
    pub fn admin(&self) -> SocketAddr {
        self.crew.admin
    }

    /// What the admin API tells: readiness, listeners, policy.
    pub fn status(&self) -> &Arc<Status> {
        &self.crew.status
    }

    /// Begins to drain; [`App::wait`] tells when it is over. [`Cause::Interrupt`] during a drain means that no new
    /// caller is waited for any more.
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

/// Where policies after the first come from.
enum Source {
    Files(Box<LocalSource>),
    ControlPlane(Discovery),
}

impl Source {
    /// The source, its first policy, and who wants to know when that is in use.
    fn open(options: &Options) -> Result<(Self, Prepared, Option<oneshot::Sender<bool>>), StartError> {
        let Some(control_plane) = &options.control_plane else {
            let source = LocalSource::new(options.paths.clone(), options.sidecar.clone());
            let policy = source.load()?;
            return Ok((Self::Files(Box::new(source)), policy, None));
        };
        let Some(sidecar) = &options.sidecar else {
            return Err(StartError::ControlPlane(
                "say which Sidecar, by --sidecar NAMESPACE/NAME".to_owned(),
            ));
        };
        let mut discovery = Discovery::start(control_plane, sidecar)?;
        let Change { policy, in_use } = discovery.first().ok_or(StartError::Panicked)?;
        Ok((Self::ControlPlane(discovery), policy, Some(in_use)))
    }

    /// The policies after the first.
    fn follow(self, crew: &Crew, control_plane: Option<&ControlPlane>) -> mpsc::Receiver<Change> {
        let (status, metrics) = (crew.status.clone(), crew.metrics.clone());
        match self {
            Self::Files(source) => {
                let (send, receive) = mpsc::channel(1);
                crew.background().spawn(source.watch(send, status, metrics));
                receive
            }
            Self::ControlPlane(discovery) => {
                let addresses = control_plane.iter().flat_map(|one| &one.addresses);
                status.set_sources(addresses.map(PathBuf::from).collect());
                discovery.follow(status, metrics)
            }
        }
    }
}

/// Applies each good policy as it comes; a bad one has been reported by the source and changes nothing.
fn follow(crew: &Arc<Crew>, source: Source, options: &Options) {
    let mut receive = source.follow(crew, options.control_plane.as_ref());
    let crew = crew.clone();
    crew.clone().background().spawn(async move {
        while let Some(Change { policy, in_use }) = receive.recv().await {
            // A large policy takes a while, and probes of the admin API share this runtime's one thread.
            let taking = crew.clone();
            let applied = tokio::task::spawn_blocking(move || taking.apply(policy)).await;
            let applied = applied.unwrap_or(Err(StartError::Panicked));
            let is_applied = applied.is_ok();
            match applied {
                Ok(()) => crew.status.clear_rejection(),
                Err(error) => {
                    tracing::error!("policy not applied, the one in use stays: {error}");
                    crew.metrics.config_rejected();
                    let (at, text) = (SystemTime::now(), error.to_string());
                    crew.status.set_rejection(Rejection { at, text, findings: Vec::new() });
                }
            }
            // Last: whoever hears it may have something to add to the status.
            let _ = in_use.send(is_applied);
        }
    });
}

/// Acts on `POST /drain` and `POST /quit`.
fn obey(crew: &Arc<Crew>, ended: &Arc<Ended>, grace: Duration) {
    let (crew, ended) = (crew.clone(), ended.clone());
    crew.clone().background().spawn(async move {
        let mut before = None;
        loop {
            let asked = crew.status.asked_to_end(before).await;
            let cause = match asked {
                Asked::Drain => Cause::Terminate,
                Asked::Quit => Cause::Interrupt,
            };
            begin_drain(&crew, &ended, grace, cause);
            before = Some(asked);
        }
    });
}

fn begin_drain(crew: &Arc<Crew>, ended: &Arc<Ended>, grace: Duration, cause: Cause) {
    if !crew.status.set_draining() {
        if cause == Cause::Interrupt {
            crew.hurry.notify_one();
        }
        return;
    }
    let plan = drain::schedule(grace, cause);
    tracing::info!(?cause, grace = ?grace, "draining");
    let (crew, ended) = (crew.clone(), ended.clone());
    crew.clone().background().spawn(async move {
        run_drain(&crew, plan).await;
        crew.finish().await;
        tracing::info!("drained");
        crew.stop();
        ended.tell();
    });
}

async fn run_drain(crew: &Crew, plan: Schedule) {
    let start = tokio::time::Instant::now();
    let end = start + plan.end;
    tokio::select! {
        () = tokio::time::sleep_until(start + plan.inbound) => {}
        () = crew.hurry.notified() => {}
    }
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
