//! One worker: a thread with its own runtime, connections, deadlines and view of the policy.
//!
//! Everything here is `Rc` and `Cell`: a request stays on the worker that owns its caller's connection, so nothing on
//! its way is shared with another thread but counters that are written by one.

pub(crate) mod deadline;

use std::{cell::Cell, io, net::SocketAddr, rc::Rc, sync::Arc, thread::JoinHandle, time::Duration};

use tokio::{
    runtime::LocalOptions,
    sync::{mpsc, watch},
    task::spawn_local,
    time::Instant,
};

use crate::{
    balance::Balancer,
    body::Kept,
    ctx::Side,
    drain::Signal,
    listen::{self, accept::Accepted, own::Own},
    policy::fallback,
    runtime::{Pinned, SnapshotCache, Store},
    telemetry::{
        access_log::{AccessLog, WorkerLog},
        metrics::{Metrics, RouteMetrics},
        trace::SpanQueue,
        trickle::Trickle,
    },
    upstream::{
        limited::{self, Mailbox, Peers},
        pool::Pool,
    },
};

/// How often idle connections are looked through.
const SWEEP: Duration = Duration::from_secs(1);

/// What a worker's requests share.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) id: usize,
    pub(crate) deadlines: Rc<deadline::Deadlines>,
    pub(crate) pool: Pool,
    pub(crate) peers: Peers,
    /// The last good answers, of all workers.
    pub(crate) stale: Arc<fallback::Store>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) drain: Signal,
    pub(crate) log: Rc<WorkerLog>,
    pub(crate) spans: SpanQueue,
    /// Log lines for callers that are not believed.
    pub(crate) refusals: Trickle,
    pub(crate) balancer: Balancer,
    /// What is kept of bodies that mirrors have yet to take.
    pub(crate) kept_for_mirrors: Kept,
    /// Count requests that were refused before a rule took them.
    unruled: [Arc<RouteMetrics>; 2],
    snapshots: SnapshotCache,
    own: Own,
    dice: Cell<u64>,
}

/// What a worker is made of; sent to its thread.
pub(crate) struct Parts {
    pub(crate) id: usize,
    pub(crate) store: Arc<Store>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) drain: Signal,
    pub(crate) log: AccessLog,
    pub(crate) spans: SpanQueue,
    pub(crate) own: Own,
    pub(crate) peers: Peers,
    pub(crate) mailbox: Mailbox,
    pub(crate) stale: Arc<fallback::Store>,
    pub(crate) connections: mpsc::UnboundedReceiver<Accepted>,
    pub(crate) seed: u64,
}

impl Worker {
    /// The policy that is in force now. Held only while a decision is made.
    pub(crate) fn snapshot(&self) -> Rc<Pinned> {
        self.snapshots.load()
    }

    /// Hears of every policy that comes in force from here on.
    pub(crate) fn policy_changes(&self) -> watch::Receiver<()> {
        self.snapshots.changes()
    }

    /// The series of requests that no rule has taken.
    pub(crate) fn unruled(&self, side: Side) -> &RouteMetrics {
        &self.unruled[side as usize]
    }

    /// Whether an attempt to `addr` would come back to the app's own calls: a loop.
    pub(crate) fn is_own(&self, addr: SocketAddr) -> bool {
        self.own.contains(addr)
    }

    /// A random number; one thread's sequence of SplitMix64 (Steele, Lea, Flood 2014), good enough to spread load.
    pub(crate) fn dice(&self) -> u64 {
        let state = self.dice.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.dice.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// How long an idle upstream connection is kept.
    pub(crate) fn pool_idle(&self) -> Duration {
        self.snapshot().mesh.limits.pool_idle
    }
}

/// Starts the worker's thread; it ends when every door to it is closed.
pub(crate) fn spawn(parts: Parts) -> io::Result<JoinHandle<()>> {
    let runtime = |id: usize| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .thread_name(format!("worker-{id}"))
            .build_local(LocalOptions::default())
    };
    std::thread::Builder::new().name(format!("worker-{}", parts.id)).spawn(move || match runtime(parts.id) {
        Ok(runtime) => {
            let log = runtime.block_on(run(parts));
            // Requests that are cut here are logged as they are dropped.
            drop(runtime);
            log.flush();
        }
        Err(error) => tracing::error!(worker = parts.id, %error, "no event loop for this worker"),
    })
}

/// Serves until every door is closed; gives the log, for what it may still hold.
async fn run(parts: Parts) -> Rc<WorkerLog> {
    let mut connections = parts.connections;
    let unruled = [Side::Inbound, Side::Outbound].map(|side| parts.metrics.route(side, "", ""));
    let worker = Rc::new(Worker {
        id: parts.id,
        deadlines: deadline::Deadlines::new(),
        pool: Pool::new(parts.id),
        peers: parts.peers,
        stale: parts.stale,
        metrics: parts.metrics,
        drain: parts.drain,
        log: parts.log.worker_handle(),
        spans: parts.spans,
        refusals: Trickle::new(Instant::now()),
        balancer: Balancer::default(),
        kept_for_mirrors: Kept::default(),
        unruled,
        snapshots: SnapshotCache::new(parts.store),
        own: parts.own,
        dice: Cell::new(parts.seed),
    });
    spawn_local(worker.deadlines.clone().run());
    spawn_local(sweep(worker.clone()));
    spawn_local(limited::give_up(worker.clone(), parts.mailbox));
    while let Some(accepted) = connections.recv().await {
        spawn_local(listen::serve(worker.clone(), accepted));
    }
    worker.log.clone()
}

async fn sweep(worker: Rc<Worker>) {
    let timer = worker.deadlines.after(SWEEP);
    loop {
        timer.expired().await;
        let generation = worker.snapshot().identity.as_ref().map_or(0, |own| own.generation());
        worker.pool.sweep(Instant::now(), worker.pool_idle(), generation);
        // One of the workers is enough.
        if worker.id == 0 {
            forget_idle_callers(&worker);
        }
        timer.reset(Instant::now() + SWEEP);
    }
}

/// Rate limits forget callers that have been away.
fn forget_idle_callers(worker: &Worker) {
    let now = Instant::now().into_std();
    let snapshot = worker.snapshot();
    let limits =
        snapshot.inbound.iter().flat_map(|listener| listener.apps()).flat_map(|app| &app.rule.rate_limits);
    limits.flat_map(|limits| limits.iter()).for_each(|limit| limit.forget_idle(now));
}
