//! `outrigger proxy`: one sidecar, from its policy files, until a signal ends it.

use std::{net::TcpStream, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow};
use outrigger_config::model::ObjectName;
use outrigger_proxy::{
    app::{App, Options, StartError},
    discovery::client::ControlPlane,
    drain::Cause,
    telemetry::logging::{self, LogFormat},
};
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
};

use crate::exit;

/// How long the start looks for an app. It should be on this machine.
const LOOK_FOR_APP: Duration = Duration::from_millis(200);

/// Run a sidecar from policy files, or from a control plane. It takes up changes without losing a request.
///
/// SIGTERM and Ctrl-C drain it; a second signal ends it at once. Ends with 2 if it cannot start.
#[derive(Debug, clap::Args)]
pub(crate) struct Proxy {
    /// Policy files and folders; all of them are one policy.
    #[arg(short, long = "file", value_name = "PATH", num_args = 1.., required_unless_present = "control_plane")]
    files: Vec<PathBuf>,
    /// Take the policy from a control plane instead: http://HOST:PORT. Several times for several replicas.
    #[arg(long, value_name = "URL", conflicts_with = "files", requires = "sidecar")]
    control_plane: Vec<String>,
    /// Where the policy is kept, to start with it while every control plane is away.
    #[arg(long, value_name = "FOLDER", requires = "control_plane")]
    state_dir: Option<PathBuf>,
    /// Which Sidecar to be; needed where the files hold several, or the policy is a control plane's.
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = object_name)]
    sidecar: Option<ObjectName>,
    /// Worker threads [default: what the CPU quota of this container or machine allows].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
    /// How long requests that are open may take when the proxy ends.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = crate::duration::parse)]
    grace: Duration,
    /// error, warn, info, debug, trace, off; or target=level, by commas.
    #[arg(long, value_name = "LEVEL", default_value = logging::DEFAULT_LEVEL)]
    log_level: String,
    /// How the log on standard error is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    log_format: Format,
}

/// How a log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl From<Format> for LogFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Text => Self::Text,
            Format::Json => Self::Json,
        }
    }
}

impl Proxy {
    /// Runs the proxy to its end.
    ///
    /// # Errors
    /// When it cannot start.
    pub(crate) fn run(self) -> Result<ExitCode> {
        let log_level = logging::init(LogFormat::from(self.log_format), &self.log_level)?;
        let control_plane = match self.control_plane.as_slice() {
            [] => None,
            addresses => Some(ControlPlane { addresses: addresses.to_vec(), state: self.state_dir }),
        };
        let options = Options {
            control_plane,
            sidecar: self.sidecar,
            workers: self.workers.map(usize::from),
            grace: self.grace,
            log_level: Some(log_level),
            ..Options::new(self.files)
        };
        // Before the proxy is ready: whoever sees it ready may end it, and then it should drain.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut signals = Signals::watch(&runtime)?;
        let Some(app) = start(&runtime, &mut signals, options) else { return Ok(exit::FINE) };
        let app = app.map_err(|error| anyhow!("{error}"))?;
        warn_of_absent_apps(&app);
        runtime.block_on(until_end(Arc::new(app), signals));
        Ok(exit::FINE)
    }
}

/// Starts the proxy; `None`: a signal came first. Files are read at once, but a control plane may be away for long.
fn start(runtime: &Runtime, signals: &mut Signals, options: Options) -> Option<Result<App, StartError>> {
    if options.control_plane.is_none() {
        return Some(App::start(options));
    }
    let (send, started) = tokio::sync::oneshot::channel();
    std::thread::spawn(|| {
        // Nobody listens any more after a signal.
        let _ = send.send(App::start(options));
    });
    runtime.block_on(async {
        tokio::select! {
            started = started => Some(started.unwrap_or(Err(StartError::Panicked))),
            _ = signals.next() => None,
        }
    })
}

/// The signals that end the proxy.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn watch(runtime: &Runtime) -> Result<Self> {
        let _context = runtime.enter();
        let terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
        let interrupt = signal(SignalKind::interrupt()).context("cannot watch for Ctrl-C")?;
        Ok(Self { terminate, interrupt })
    }

    async fn next(&mut self) -> Cause {
        tokio::select! {
            _ = self.terminate.recv() => Cause::Terminate,
            _ = self.interrupt.recv() => Cause::Interrupt,
        }
    }
}

/// An app that is not there yet is no error: sidecars start before their apps. But a person should know.
fn warn_of_absent_apps(app: &App) {
    let Some(loaded) = app.status().loaded() else { return };
    let listeners = loaded.resources.workload.inbound.iter();
    let apps = listeners.flat_map(|listener| listener.apps().map(move |app| (listener.bind, app)));
    for (bind, (app, origin)) in apps {
        if let Err(error) = TcpStream::connect_timeout(&app, LOOK_FOR_APP) {
            tracing::warn!(
                "nothing listens on {app} ({error}), the app of the inbound listener on {bind} ({origin}); requests get \
                 503 until it is started there, or `app` names where it is",
            );
        }
    }
}

/// Returns when the proxy has drained, or at the second signal.
async fn until_end(app: Arc<App>, mut signals: Signals) {
    let waiting = app.clone();
    let (send, mut ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        waiting.wait();
        // Nobody listens any more after a second signal.
        let _ = send.send(());
    });
    tokio::select! {
        cause = signals.next() => app.drain(cause),
        _ = &mut ended => return,
    }
    tokio::select! {
        _ = signals.next() => tracing::warn!("second signal: ending at once"),
        _ = ended => {}
    }
}

pub(crate) fn object_name(text: &str) -> Result<ObjectName, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(ObjectName::new(namespace, name))
        }
        None if !text.is_empty() => Ok(ObjectName::new("default", text)),
        _ => Err("write NAMESPACE/NAME, such as shop/cart".to_owned()),
    }
}
