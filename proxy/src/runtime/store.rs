//! The current snapshot, and each worker's hold on it.
//!
//! A worker compares one version number per request and takes the new snapshot only when it has changed, so that a
//! request touches no reference count that workers share. An idle worker keeps the last one it used: at most one old
//! snapshot per worker, whose unchanged parts are those of the current one.

use std::{
    cell::RefCell,
    ops::Deref,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::snapshot::Snapshot;

/// Holds the current snapshot.
#[derive(Debug)]
pub struct Store {
    current: ArcSwap<Snapshot>,
    version: AtomicU64,
    /// For who waits for a change and decides nothing: tunnels.
    changed: watch::Sender<()>,
}

impl Store {
    /// Starts with a snapshot: there is no state without policy.
    pub fn new(first: Snapshot) -> Self {
        let (version, changed) = (AtomicU64::new(0), watch::Sender::new(()));
        Self { version, changed, current: ArcSwap::from_pointee(first) }
    }

    /// Makes `snapshot` the current one, for every request that is decided from now on.
    pub fn publish(&self, snapshot: Snapshot) {
        self.current.store(Arc::new(snapshot));
        self.version.fetch_add(1, Ordering::Release);
        self.changed.send_replace(());
    }

    /// The current snapshot; for everything but requests.
    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }
}

/// A snapshot that one worker holds: shared within the worker by a count that is not atomic.
#[derive(Debug)]
pub struct Pinned(Arc<Snapshot>);

impl Deref for Pinned {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.0
    }
}

/// One worker's hold on the current snapshot.
#[derive(Debug)]
pub struct SnapshotCache {
    store: Arc<Store>,
    held: RefCell<(u64, Rc<Pinned>)>,
}

impl SnapshotCache {
    /// A hold for the worker that calls this.
    pub fn new(store: Arc<Store>) -> Self {
        let version = store.version.load(Ordering::Acquire);
        let held = RefCell::new((version, Rc::new(Pinned(store.load()))));
        Self { store, held }
    }

    /// Hears of every snapshot that is published from here on.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.store.changed.subscribe()
    }

    /// The current snapshot. Load it once per request: two loads may differ.
    pub fn load(&self) -> Rc<Pinned> {
        // The version is read first: a snapshot that is published in between is taken now or at the next load.
        let version = self.store.version.load(Ordering::Acquire);
        let mut held = self.held.borrow_mut();
        if held.0 != version {
            *held = (version, Rc::new(Pinned(self.store.load())));
        }
        held.1.clone()
    }
}
