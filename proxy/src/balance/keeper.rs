//! Acts on what outlier detection and health checks find: one task on the background runtime for all endpoint cells.
//!
//! A request that makes an endpoint a suspect, or ends a probe, rings its cell's bell; the task then judges the cell and
//! publishes its endpoints anew. It also wakes when an ejection is over. It is told which cells there are with every
//! policy, and holds none of them alive. Must not be on a request's way.

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    sync::{Arc, Weak},
    time::Instant,
};

use tokio::{runtime::Handle, sync::mpsc};

use super::{Change, EndpointCell, State};
use crate::{
    runtime::snapshot::Snapshot,
    telemetry::metrics::{EndpointMetrics, Metrics},
};

/// Tells the keeper that a cell has to be looked at.
#[derive(Clone, Debug)]
pub(crate) struct Bell {
    cell: usize,
    send: mpsc::UnboundedSender<Told>,
}

impl Bell {
    /// One that nobody hears.
    #[cfg(test)]
    pub(super) fn silent() -> Self {
        Self { cell: 0, send: mpsc::unbounded_channel().0 }
    }

    /// Rings. Nobody listens where the proxy ends.
    pub(super) fn ring(&self) {
        let _ = self.send.send(Told::Look(self.cell));
    }
}

#[derive(Debug)]
enum Told {
    Follow(Vec<Kept>),
    Look(usize),
}

/// A cell that is kept.
#[derive(Debug)]
struct Kept {
    cell: Weak<EndpointCell>,
    service: Arc<str>,
    metrics: Arc<EndpointMetrics>,
}

/// Keeps the endpoint cells of the policy in use.
#[derive(Debug)]
pub(crate) struct Keeper {
    send: mpsc::UnboundedSender<Told>,
    metrics: Arc<Metrics>,
}

impl Keeper {
    /// Starts the task.
    pub(crate) fn start(background: &Handle, metrics: Arc<Metrics>) -> Self {
        let (send, told) = mpsc::unbounded_channel();
        background.spawn(keep(told));
        Self { send, metrics }
    }

    /// Keeps the cells of this policy as its settings say, and no others any more.
    pub(crate) fn follow(&self, snapshot: &Snapshot) {
        let kept = snapshot.ports().map(|port| {
            let (cell, label) = (&port.backend.endpoints, &port.backend.label);
            let bell = Bell { cell: key(cell), send: self.send.clone() };
            cell.govern(&port.backend.settings, bell);
            Kept {
                cell: Arc::downgrade(cell),
                service: label.clone(),
                metrics: self.metrics.endpoints(label),
            }
        });
        let _ = self.send.send(Told::Follow(kept.collect()));
    }
}

/// Names a cell: its address, which no other gets while it is kept.
fn key(cell: &Arc<EndpointCell>) -> usize {
    Arc::as_ptr(cell) as usize
}

/// What the task works with.
#[derive(Debug, Default)]
struct Rounds {
    cells: HashMap<usize, Kept>,
    /// When cells have to be looked at, and the same by cell.
    due: BTreeSet<(Instant, usize)>,
    due_of: HashMap<usize, Instant>,
}

async fn keep(mut told: mpsc::UnboundedReceiver<Told>) {
    let mut rounds = Rounds::default();
    loop {
        let next = rounds.due.first().copied();
        let sleep = async {
            match next {
                Some((at, _)) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            heard = told.recv() => match heard {
                None => return,
                Some(Told::Follow(kept)) => rounds.follow(kept),
                Some(Told::Look(cell)) => rounds.look(cell),
            },
            () = sleep => {
                if let Some((_, cell)) = next {
                    rounds.look(cell);
                }
            }
        }
    }
}

impl Rounds {
    fn follow(&mut self, kept: Vec<Kept>) {
        self.cells = kept.into_iter().map(|kept| (kept.cell.as_ptr() as usize, kept)).collect();
        self.due.clear();
        self.due_of.clear();
        let cells: Vec<usize> = self.cells.keys().copied().collect();
        cells.into_iter().for_each(|cell| self.look(cell));
    }

    fn look(&mut self, cell: usize) {
        if let Some(at) = self.due_of.remove(&cell) {
            self.due.remove(&(at, cell));
        }
        let Some(kept) = self.cells.get(&cell) else { return };
        let Some(endpoints) = kept.cell.upgrade() else { return };
        let found = endpoints.attend(tokio::time::Instant::now().into_std());
        for (address, change) in &found.changes {
            tell(&kept.service, *address, *change);
            kept.metrics.changed(*change);
        }
        kept.metrics.stand(found.states, found.panic);
        if found.panicked {
            tracing::warn!(service = &*kept.service, "too few endpoints are usable: all are used");
            kept.metrics.panicked();
        }
        if let Some(at) = found.next {
            self.due.insert((at, cell));
            self.due_of.insert(cell, at);
        }
    }
}

fn tell(service: &str, endpoint: SocketAddr, change: Change) {
    match change {
        Change::Ejected(why, time) => {
            tracing::warn!(service, %endpoint, reason = why.as_str(), ?time, "endpoint ejected");
        }
        Change::Withheld(why) => {
            tracing::warn!(service, %endpoint, reason = why.as_str(), "endpoint not ejected: too many are out");
        }
        Change::HalfOpen => tracing::info!(service, %endpoint, "ejected endpoint gets one request at a time"),
        Change::Returned => tracing::info!(service, %endpoint, "ejected endpoint is back in use"),
        Change::Released => {
            tracing::warn!(service, %endpoint, "ejected endpoint is used again: no other is left, or the policy says so");
        }
        Change::Forgiven => {}
    }
}

/// What a look at a cell has found and done.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) changes: Vec<(SocketAddr, Change)>,
    /// How many endpoints are in each state, by [`State`]'s number.
    pub(super) states: [usize; State::ALL.len()],
    pub(super) panic: bool,
    /// It panics since this look.
    pub(super) panicked: bool,
    /// When to look again, if nothing happens before.
    pub(super) next: Option<Instant>,
}
