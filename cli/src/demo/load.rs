//! The load: requests to `frontend` at a steady rate, whatever the answers do, as people would send them.
//!
//! A request is due at its time and its latency counts from there, so a mesh that stalls looks as slow as it is.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::{MissedTickBehavior, interval, timeout},
};

use super::{
    act::Act,
    client::Http1,
    ledger::{Epoch, Ledger, Outcome, Version},
};

/// A person would have gone away.
const PATIENCE: Duration = Duration::from_secs(10);

/// What goes on while requests are made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene {
    pub(super) act: Act,
    pub(super) epoch: Epoch,
}

/// A running load.
pub(super) struct Load {
    ledger: Arc<Mutex<Ledger>>,
    scene: Arc<Mutex<Scene>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Load {
    /// Starts `rate` requests a second to `frontend`.
    pub(super) fn start(frontend: Http1, rate: u32, scene: Scene) -> Self {
        let ledger = Arc::new(Mutex::new(Ledger::new()));
        let scene = Arc::new(Mutex::new(scene));
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(run(Arc::new(frontend), rate, ledger.clone(), scene.clone(), stopped));
        Self { ledger, scene, stop, task }
    }

    /// What was seen so far.
    pub(super) fn ledger(&self) -> parking_lot::MutexGuard<'_, Ledger> {
        self.ledger.lock()
    }

    /// Requests that begin from now on begin in this act.
    pub(super) fn set_act(&self, act: Act) {
        self.scene.lock().act = act;
    }

    /// Requests that begin from now on begin under this policy.
    pub(super) fn set_epoch(&self, epoch: Epoch) {
        self.scene.lock().epoch = epoch;
    }

    /// Begins no more requests and waits for those that are open.
    pub(super) async fn finish(&mut self) {
        self.stop.send_replace(true);
        // The task ends by itself; had it panicked, its requests would be missing from the ledger.
        let _ = (&mut self.task).await;
    }
}

async fn run(
    frontend: Arc<Http1>,
    rate: u32,
    ledger: Arc<Mutex<Ledger>>,
    scene: Arc<Mutex<Scene>>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut ticks = interval(Duration::from_secs(1) / rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut open = JoinSet::new();
    loop {
        let due = tokio::select! {
            due = ticks.tick() => due.into_std(),
            Some(_) = open.join_next() => continue,
            _ = stopped.changed() => break,
        };
        let (frontend, ledger, scene) = (frontend.clone(), ledger.clone(), *scene.lock());
        open.spawn(async move {
            let result = match timeout(PATIENCE, one(&frontend)).await {
                Ok(result) => result,
                Err(_) => Err(format!("no answer in {PATIENCE:?}")),
            };
            let now = Instant::now();
            let latency = now.duration_since(due);
            ledger.lock().record(now, Outcome { act: scene.act, epoch: scene.epoch, latency, result });
        });
    }
    open.join_all().await;
}

async fn one(frontend: &Http1) -> Result<Version, String> {
    let answer = frontend.get("/").await.map_err(|error| error.to_string())?;
    match (answer.status.as_u16(), answer.header("x-version")) {
        (200, "v1") => Ok(Version::V1),
        (200, "v2") => Ok(Version::V2),
        (status, _) => {
            let text = String::from_utf8_lossy(&answer.body);
            let reason = [answer.header("x-outrigger-error"), answer.header("x-reason"), text.trim()];
            let reason = reason.into_iter().find(|reason| !reason.is_empty()).unwrap_or("no reason given");
            Err(format!("{status} {reason}"))
        }
    }
}
