//! `outrigger demo`: a whole mesh on this machine, under load, with things going wrong on purpose.
//!
//! Toy services run in this process, each behind a real sidecar of its own: a child process of this same binary. The
//! demo only reports what the load saw and what the sidecars counted; it knows no proxy internals.

mod act;
mod client;
mod layout;
mod ledger;
mod load;
mod mesh;
mod policy;
mod ports;
mod promise;
mod scrape;
mod screen;
mod service;
mod show;
mod sidecar;
mod stream;
mod view;

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, Result};

pub(crate) use mesh::Sabotage;

use self::{mesh::Mesh, show::Show};
use crate::exit;

/// A whole mesh on this machine: sidecars, toy services, load, and faults to watch it absorb.
#[derive(Debug, clap::Args)]
pub(crate) struct Demo {
    /// Run unattended for this long, then judge: exit code 0 only if every promise held. At least 10s.
    #[arg(long = "for", value_name = "TIME", value_parser = crate::duration::parse)]
    length: Option<Duration>,
    /// Break this on purpose; the demo must notice, and end with exit code 1.
    #[arg(long, value_enum)]
    sabotage: Option<Sabotage>,
    /// Requests a second to frontend.
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u32).range(10..=2000))]
    rate: u32,
    /// Keep the files (policy, the sidecars' logs) when the demo ends.
    #[arg(long)]
    keep: bool,
}

/// The shortest unattended run: less gives too few answers to judge.
const SHORTEST: Duration = Duration::from_secs(10);

impl Demo {
    /// Runs the demo; ends with the summary.
    ///
    /// # Errors
    /// When the mesh cannot be started.
    pub(crate) fn run(self) -> Result<ExitCode> {
        if self.length.is_some_and(|length| length < SHORTEST) {
            anyhow::bail!("`--for` is at least 10s: every fault needs its time");
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(self.play())
    }

    async fn play(self) -> Result<ExitCode> {
        let folder = tempfile::Builder::new().prefix("outrigger-demo-").tempdir();
        let mut folder = folder.context("cannot make a temporary folder")?;
        folder.disable_cleanup(self.keep);
        println!(
            "Starting {} sidecars; policy and logs: {}",
            layout::REPLICAS.len(),
            folder.path().display()
        );
        let mesh = Mesh::start(folder.path(), self.sabotage).await?;
        let held = Box::pin(Show::open(mesh, self.rate, self.length).run()).await?;
        if !held {
            folder.disable_cleanup(true);
        }
        if self.keep || !held {
            println!("Policy and logs are kept: {}", folder.path().display());
        }
        Ok(if held { exit::FINE } else { exit::FINDINGS })
    }
}
