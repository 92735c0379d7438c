//! The running mesh of the demo: toy services, sidecars and the policy file, and what is done to them.

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::time::{Instant, sleep};

use super::{
    client::{Grpc, Http1},
    layout::{self, REPLICAS},
    policy::{PolicyFile, Without},
    scrape::Counted,
    service::{Knobs, Service},
    sidecar::Sidecar,
};

/// How long an edit may take until every sidecar has taken it up or refused it.
const EDIT: Duration = Duration::from_secs(5);

/// What is broken on purpose, to show that the demo would notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Sabotage {
    /// The policy has no retries.
    Retry,
    /// An edit of the policy restarts the sidecar of frontend, as a proxy without hot reload would be.
    Reload,
    /// The policy has no circuit breaker, and so no fallback.
    Breaker,
}

/// The mesh.
pub(super) struct Mesh {
    sidecars: Vec<Sidecar>,
    knobs: Vec<Arc<Knobs>>,
    policy: PolicyFile,
    sabotage: Option<Sabotage>,
}

impl Mesh {
    /// Starts everything; its files go to `folder`.
    ///
    /// # Errors
    /// When a port, a file or a sidecar is not to be had.
    pub(super) async fn start(folder: &Path, sabotage: Option<Sabotage>) -> Result<Self> {
        let mut services = Vec::new();
        let mut apps = Vec::new();
        for _ in REPLICAS {
            let service = Service::listen().await.context("cannot listen on 127.0.0.1")?;
            apps.push(service.address()?);
            services.push(service);
        }
        let replicas = layout::plan(&apps)?;
        let policy = PolicyFile::create(folder, &replicas, without(sabotage));
        let policy = policy.context("cannot write the policy file")?;
        let knobs =
            services.into_iter().zip(&replicas).map(|(service, replica)| service.serve(replica)).collect();
        let mut starting = tokio::task::JoinSet::new();
        for (index, replica) in replicas.into_iter().enumerate() {
            let path = policy.path().to_path_buf();
            starting
                .spawn(async move { Sidecar::start(&replica, &path).await.map(|sidecar| (index, sidecar)) });
        }
        let mut sidecars = starting.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
        sidecars.sort_by_key(|(index, _)| *index);
        let sidecars = sidecars.into_iter().map(|(_, sidecar)| sidecar).collect();
        Ok(Self { sidecars, knobs, policy, sabotage })
    }

    /// How the load reaches `frontend`.
    pub(super) fn frontend(&self) -> Http1 {
        Http1::new(self.sidecars[0].replica().inbound, "frontend")
    }

    /// How an app beside `frontend` reaches `ratings`.
    pub(super) fn ratings(&self) -> Grpc {
        Grpc::new(self.sidecars[0].replica().outbound, "ratings")
    }

    /// The policy file.
    pub(super) fn policy(&self) -> &PolicyFile {
        &self.policy
    }

    /// The sidecars.
    pub(super) fn sidecars(&self) -> &[Sidecar] {
        &self.sidecars
    }

    /// Everything that went through a sidecar, summed up; the generation is that of the sidecar of `frontend`.
    pub(super) fn counted(&self) -> Counted {
        let mut total = Counted::default();
        for sidecar in self.sidecars.iter().rev() {
            total += sidecar.counted();
        }
        // One bad edit is refused by each sidecar, and is one bad edit.
        total.rejections =
            self.sidecars.iter().map(|sidecar| sidecar.counted().rejections).max().unwrap_or(0);
        total
    }

    /// Reads the metrics of every sidecar.
    pub(super) async fn refresh(&mut self) {
        for sidecar in &mut self.sidecars {
            sidecar.refresh().await;
        }
    }

    /// The knobs of a replica.
    ///
    /// # Panics
    /// When there is no replica of that name: names here are constants.
    pub(super) fn knobs(&self, name: &str) -> &Knobs {
        &self.knobs[index_of(name)]
    }

    /// Turns every knob back.
    pub(super) fn behave(&self) {
        for knobs in &self.knobs {
            for knob in [&knobs.errors, &knobs.resets, &knobs.slow] {
                knob.store(0, Ordering::Relaxed);
            }
        }
    }

    /// The sidecar of a replica.
    ///
    /// # Panics
    /// As [`Mesh::knobs`].
    pub(super) fn sidecar(&mut self, name: &str) -> &mut Sidecar {
        &mut self.sidecars[index_of(name)]
    }

    /// Whether an edit kills the sidecar of `frontend`, and with it what it counted since the last look.
    pub(super) fn kills_on_edit(&self) -> bool {
        self.sabotage == Some(Sabotage::Reload)
    }

    /// Edits the weights and waits until every sidecar has taken the edit up. Gives what went wrong, in words.
    ///
    /// # Errors
    /// When the file cannot be written, or a sidecar cannot be restarted.
    pub(super) async fn edit_weights(&mut self, weights: (u32, u32)) -> Result<Option<String>> {
        self.refresh().await;
        let before: Vec<u64> = self.sidecars.iter().map(|sidecar| sidecar.counted().generation).collect();
        if !self.policy.set_weights(weights)? {
            return Ok(Some("there are no weights in the policy file any more".into()));
        }
        if self.kills_on_edit() {
            let frontend = &mut self.sidecars[0];
            frontend.kill().await?;
            frontend.restart().await?;
            return Ok(None);
        }
        Ok(self.wait_each("take up the edit", |index, counted| counted.generation > before[index]).await)
    }

    /// Misspells a field and waits until every sidecar has refused the edit. Gives the text to restore, and what went
    /// wrong, in words.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) async fn edit_badly(&mut self) -> Result<(String, Option<String>)> {
        self.refresh().await;
        let before: Vec<Counted> = self.sidecars.iter().map(Sidecar::counted).collect();
        let good = self.policy.misspell()?;
        let late = self
            .wait_each("refuse the bad edit", |i, counted| counted.rejections > before[i].rejections)
            .await;
        let changed = self
            .sidecars
            .iter()
            .zip(&before)
            .find(|(now, before)| now.counted().generation != before.generation);
        let changed = changed
            .map(|(sidecar, _)| format!("the sidecar of {} took up a bad edit", sidecar.replica().name));
        Ok((good, late.or(changed)))
    }

    /// Puts the policy file back as it was.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn restore(&mut self, text: String) -> Result<()> {
        self.policy.restore(text).context("cannot write the policy file")
    }

    /// What the sidecar of `frontend` has counted by now.
    pub(super) async fn frontend_counted(&mut self) -> Counted {
        let frontend = &mut self.sidecars[0];
        frontend.refresh().await;
        frontend.counted()
    }

    /// Makes every replica of reviews v2 fail.
    pub(super) fn outage(&self) {
        for name in ["reviews-v2-a", "reviews-v2-b"] {
            self.knobs(name).errors.store(100, Ordering::Relaxed);
        }
    }

    /// Waits until no circuit breaker of the sidecar of `frontend` is open; gives what it counted.
    pub(super) async fn recover(&mut self) -> Counted {
        let end = Instant::now() + EDIT;
        loop {
            let counted = self.frontend_counted().await;
            if counted.open == 0 || Instant::now() > end {
                return counted;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the sidecar of `frontend` has counted as many requests as the load made; gives what it counted.
    pub(super) async fn settle(&mut self, requests: u64) -> u64 {
        let end = Instant::now() + EDIT;
        loop {
            self.refresh().await;
            let counted = self.sidecars[0].counted().inbound;
            if counted == requests || Instant::now() > end {
                return counted;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends every sidecar gracefully.
    pub(super) async fn stop(self) {
        let stopping = self.sidecars.into_iter().map(Sidecar::stop);
        stopping.collect::<tokio::task::JoinSet<_>>().join_all().await;
    }

    async fn wait_each(&mut self, what: &str, holds: impl Fn(usize, Counted) -> bool) -> Option<String> {
        let end = Instant::now() + EDIT;
        loop {
            self.refresh().await;
            let missing =
                self.sidecars.iter().enumerate().find(|(index, sidecar)| !holds(*index, sidecar.counted()));
            let (_, sidecar) = missing?;
            if Instant::now() > end {
                return Some(format!("the sidecar of {} did not {what} in {EDIT:?}", sidecar.replica().name));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

fn index_of(name: &str) -> usize {
    REPLICAS.iter().position(|(replica, _)| *replica == name).expect("a replica of the demo")
}

/// What the policy leaves out to be broken so.
fn without(sabotage: Option<Sabotage>) -> Without {
    match sabotage {
        Some(Sabotage::Retry) => Without::Retries,
        Some(Sabotage::Breaker) => Without::Breakers,
        Some(Sabotage::Reload) | None => Without::Nothing,
    }
}
