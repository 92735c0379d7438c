//! `outrigger control-plane`: tells proxies their policy, from a folder of policy files, until a signal ends it.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, anyhow};
use outrigger_control_plane::app::{ControlPlane as Running, Options};
use outrigger_proxy::telemetry::logging::{self, LogFormat};
use tokio::signal::unix::{SignalKind, signal};

use crate::{exit, proxy::Format};

/// Tell proxies their policy, from a folder of policy files that may change at any time.
///
/// What is wrong with an object keeps no other from the mesh: it is left out and reported. Proxies ask by the name of their
/// Sidecar; they are not authenticated and the connection is plaintext, so serve it where only they reach it.
#[derive(Debug, clap::Args)]
pub(crate) struct ControlPlane {
    /// The folder of policy files; all of them are one policy.
    #[arg(short, long = "file", value_name = "FOLDER")]
    folder: PathBuf,
    /// Where discovery is served.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:15012")]
    bind: SocketAddr,
    /// Where /metrics and /ready are served.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:15014")]
    metrics: SocketAddr,
    /// error, warn, info, debug, trace, off; or target=level, by commas.
    #[arg(long, value_name = "LEVEL", default_value = logging::DEFAULT_LEVEL)]
    log_level: String,
    /// How the log on standard error is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    log_format: Format,
}

impl ControlPlane {
    /// Runs the control plane to its end.
    ///
    /// # Errors
    /// When it cannot start.
    pub(crate) fn run(self) -> Result<ExitCode> {
        logging::init(LogFormat::from(self.log_format), &self.log_level)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let options = Options { folder: self.folder, bind: self.bind, metrics: self.metrics };
        runtime.block_on(async {
            let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
            let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for Ctrl-C")?;
            let _running = Running::start(options).map_err(|error| anyhow!("{error}"))?;
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            // Proxies keep what they have and come back when another one is here.
            Ok::<_, anyhow::Error>(())
        })?;
        runtime.shutdown_background();
        Ok(exit::FINE)
    }
}
