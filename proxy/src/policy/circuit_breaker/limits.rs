//! What one proxy may have open to one Service port: requests, connections, repeats. Shared by all workers, never over.
//!
//! A permit is taken by compare-exchange on a line of its own. Only at a limit does anybody touch the queue: who waits
//! stands in one of its two lines, for a request's permit or for a connection (one line for both would let a request
//! that waits to begin stand before one that waits to go on). A permit that becomes free goes to the first of its line,
//! and who comes later joins the line while there is one, so nobody starves. The counts outlive a reload; the limits
//! are set anew ([`Limits::set`]).
//!
//! A connection can serve who waits in more ways than by ending: one that has room for another request is offered to its
//! own worker's line ([`Limits::offer`]), and workers say how many idle ones they keep ([`IdleMark`]), so that one of them
//! can be asked to give one up. Which is done when is for `upstream/limited.rs` to say. Nothing here knows a socket.

mod permit;

pub(crate) use permit::{IdleMark, Permit, RetryPermit, Waiter};

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{
            AtomicU32, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    task::Waker,
};

use outrigger_config::model::ServiceLimits;
use parking_lot::Mutex;

use crate::{
    error::Failure,
    telemetry::metrics::{BreakerLimit, CircuitBreakerMetrics},
};

/// Stands for no limit.
const UNLIMITED: u32 = u32::MAX;

/// A limit, in the words of `circuitBreaker.limits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    Connections,
    PendingRequests,
    Requests,
    Retries,
}

impl Limit {
    /// Every limit, in the order of the reference.
    pub(crate) const ALL: [Self; 4] =
        [Limit::Connections, Limit::PendingRequests, Limit::Requests, Limit::Retries];

    /// What it is counted as.
    pub(crate) fn counted(self) -> BreakerLimit {
        match self {
            Limit::Connections => BreakerLimit::Connections,
            Limit::PendingRequests => BreakerLimit::PendingRequests,
            Limit::Requests => BreakerLimit::Requests,
            Limit::Retries => BreakerLimit::Retries,
        }
    }

    /// What the caller is told that it kept out.
    pub(crate) fn failure(self) -> Failure {
        match self {
            Limit::Connections => Failure::ConnectionLimit,
            Limit::PendingRequests => Failure::PendingLimit,
            // A request that may not be repeated has a failure of its own.
            Limit::Requests | Limit::Retries => Failure::RequestLimit,
        }
    }
}

/// What is counted, and can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Request,
    Connection,
}

/// Who waits: a worker, and a pool of its. A connection of that pool may serve it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Who {
    pub(crate) worker: usize,
    /// 0: no connection that others have used can serve it.
    pub(crate) pool: u64,
}

/// What a waiter gets.
#[derive(Debug)]
pub(crate) enum Grant {
    /// A permit.
    Permit(Permit),
    /// A connection of its own worker with room, which is kept for it under its number.
    Kept(u64),
}

/// What comes of getting into line.
#[derive(Debug)]
pub(crate) enum Turn {
    /// It was free by then.
    Now(Permit),
    /// When it is its turn.
    Later(Waiter),
}

/// The limits of one Service port, and what is taken of them.
#[derive(Debug)]
pub(crate) struct Limits {
    /// Names it in the pools; never 0.
    pub(crate) id: u64,
    requests: Counter,
    connections: Counter,
    retries: Counter,
    pending: AtomicU32,
    idle: Box<[Idle]>,
    queue: Mutex<Queue>,
    metrics: Arc<CircuitBreakerMetrics>,
}

/// One count with its limit, on cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Counter {
    held: AtomicU32,
    limit: AtomicU32,
    /// As many as stand in its line.
    waiting: AtomicU32,
}

/// Idle connections of one worker.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Idle(AtomicU32);

#[derive(Debug, Default)]
struct Queue {
    next: u64,
    lines: [VecDeque<Entry>; 2],
    /// Those that were served and have yet to look.
    served: Vec<(u64, Served)>,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    who: Who,
    waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Served {
    Permit,
    Kept,
}

impl Counter {
    fn new() -> Self {
        Self { held: AtomicU32::new(0), limit: AtomicU32::new(UNLIMITED), waiting: AtomicU32::new(0) }
    }

    fn take(&self) -> bool {
        let mut held = self.held.load(Relaxed);
        loop {
            if held >= self.limit.load(Relaxed) {
                // Read in one order with `waiting`: who gives back and who begins to wait cannot miss each other.
                let now = self.held.load(SeqCst);
                if now == held {
                    return false;
                }
                held = now;
                continue;
            }
            match self.held.compare_exchange_weak(held, held + 1, SeqCst, Relaxed) {
                Ok(_) => return true,
                Err(now) => held = now,
            }
        }
    }

    fn limit(&self) -> Option<u32> {
        Some(self.limit.load(Relaxed)).filter(|limit| *limit != UNLIMITED)
    }
}

/// Numbers limits, so that pools can tell them apart.
static NEXT: AtomicU64 = AtomicU64::new(1);

impl Limits {
    /// For so many workers; nothing is limited yet.
    pub(crate) fn new(workers: usize, metrics: &Arc<CircuitBreakerMetrics>) -> Arc<Self> {
        let made = Arc::new(Self {
            id: NEXT.fetch_add(1, Relaxed),
            requests: Counter::new(),
            connections: Counter::new(),
            retries: Counter::new(),
            pending: AtomicU32::new(UNLIMITED),
            idle: (0..workers).map(|_| Idle::default()).collect(),
            queue: Mutex::default(),
            metrics: metrics.clone(),
        });
        metrics.watch(Arc::downgrade(&made));
        made
    }

    /// Counts what a limit kept out, and says what its caller is told.
    pub(crate) fn refuse(&self, limit: Limit) -> Failure {
        self.metrics.refused(limit.counted());
        limit.failure()
    }

    /// Sets the limits. What is held above a lower one stays until it ends.
    pub(crate) fn set(self: &Arc<Self>, limits: &ServiceLimits) {
        let or_none = |limit: Option<u32>| limit.unwrap_or(UNLIMITED);
        self.pending.store(or_none(limits.pending_requests), SeqCst);
        self.retries.limit.store(or_none(limits.retries), SeqCst);
        self.requests.limit.store(or_none(limits.requests), SeqCst);
        self.connections.limit.store(or_none(limits.connections), SeqCst);
        self.serve(Wanted::Request);
        self.serve(Wanted::Connection);
    }

    /// Held permits and limit.
    pub(crate) fn usage(&self, limit: Limit) -> (u32, Option<u32>) {
        let of = |counter: &Counter| (counter.held.load(Relaxed), counter.limit());
        match limit {
            Limit::Requests => of(&self.requests),
            Limit::Connections => of(&self.connections),
            Limit::Retries => of(&self.retries),
            Limit::PendingRequests => {
                let waiting = self.requests.waiting.load(Relaxed) + self.connections.waiting.load(Relaxed);
                (waiting, Some(self.pending.load(Relaxed)).filter(|most| *most != UNLIMITED))
            }
        }
    }

    /// A permit to repeat, if one is free.
    pub(crate) fn retry(self: &Arc<Self>) -> Option<RetryPermit> {
        if self.retries.take() {
            return Some(RetryPermit(self.clone()));
        }
        self.refuse(Limit::Retries);
        None
    }

    /// A permit, if one is free and nobody waits for it.
    pub(crate) fn take(self: &Arc<Self>, wanted: Wanted) -> Option<Permit> {
        let counter = self.counter(wanted);
        let free = counter.waiting.load(SeqCst) == 0 && counter.take();
        free.then(|| Permit { limits: self.clone(), wanted })
    }

    /// Gets into line; to be asked when [`Limits::take`] gives nothing. The limit that keeps it out if the line is full.
    pub(crate) fn wait(self: &Arc<Self>, wanted: Wanted, who: Who) -> Result<Turn, Limit> {
        let counter = self.counter(wanted);
        let mut queue = self.queue.lock();
        // Something may have become free since the caller looked; whoever stands in line goes first.
        let mut woken = self.serve_line(&mut queue, wanted);
        let turn = if queue.lines[wanted as usize].is_empty() && counter.take() {
            Ok(Turn::Now(Permit { limits: self.clone(), wanted }))
        } else if let Some(limit) = self.is_full(&queue, wanted) {
            Err(limit)
        } else {
            let number = queue.next;
            queue.next += 1;
            queue.lines[wanted as usize].push_back(Entry { number, who, waker: None });
            counter.waiting.fetch_add(1, SeqCst);
            woken.extend(self.serve_line(&mut queue, wanted));
            Ok(Turn::Later(Waiter { limits: self.clone(), wanted, number, done: false }))
        };
        drop(queue);
        wake(woken);
        turn
    }

    /// The limit that lets nobody else wait. Where nothing is said of waiting, nobody waits to begin.
    fn is_full(&self, queue: &Queue, wanted: Wanted) -> Option<Limit> {
        let waiting: usize = queue.lines.iter().map(VecDeque::len).sum();
        match (self.pending.load(SeqCst), wanted) {
            (UNLIMITED, Wanted::Request) => Some(Limit::Requests),
            (UNLIMITED, Wanted::Connection) => None,
            (most, _) => (waiting >= most as usize).then_some(Limit::PendingRequests),
        }
    }

    /// How many wait for a connection.
    pub(crate) fn wait_for_connections(&self) -> u32 {
        self.connections.waiting.load(SeqCst)
    }

    /// Whether more connections are open than a limit that was lowered allows.
    pub(crate) fn too_many_connections(&self) -> bool {
        self.connections.held.load(Relaxed) > self.connections.limit.load(Relaxed)
    }

    /// Whether the first in line for a connection is somebody else.
    pub(crate) fn others_first(&self, who: Who) -> bool {
        let queue = self.queue.lock();
        queue.lines[Wanted::Connection as usize].front().is_some_and(|first| first.who != who)
    }

    /// Offers room on a connection of `who` to the first of its own that waits; its number, under which the room is to be
    /// kept before anything else happens on this thread.
    pub(crate) fn offer(&self, who: Who) -> Option<u64> {
        let mut queue = self.queue.lock();
        let line = &mut queue.lines[Wanted::Connection as usize];
        let at = line.iter().position(|entry| entry.who == who)?;
        let entry = line.remove(at)?;
        self.connections.waiting.fetch_sub(1, SeqCst);
        queue.served.push((entry.number, Served::Kept));
        drop(queue);
        wake(entry.waker);
        Some(entry.number)
    }

    /// The worker with the most idle connections, other than this one.
    pub(crate) fn most_idle(&self, except: usize) -> Option<usize> {
        let idle = self.idle.iter().map(|idle| idle.0.load(SeqCst)).enumerate();
        idle.filter(|(worker, count)| *worker != except && *count > 0)
            .max_by_key(|(_, count)| *count)
            .map(|(worker, _)| worker)
    }

    fn counter(&self, wanted: Wanted) -> &Counter {
        match wanted {
            Wanted::Request => &self.requests,
            Wanted::Connection => &self.connections,
        }
    }

    fn give_back(&self, wanted: Wanted) {
        let counter = self.counter(wanted);
        counter.held.fetch_sub(1, SeqCst);
        if counter.waiting.load(SeqCst) > 0 {
            self.serve(wanted);
        }
    }

    fn serve(&self, wanted: Wanted) {
        let woken = self.serve_line(&mut self.queue.lock(), wanted);
        wake(woken);
    }

    /// Gives what is free to those who stand first.
    fn serve_line(&self, queue: &mut Queue, wanted: Wanted) -> Vec<Waker> {
        let mut woken = Vec::new();
        let counter = self.counter(wanted);
        while !queue.lines[wanted as usize].is_empty() && counter.take() {
            let Some(entry) = queue.lines[wanted as usize].pop_front() else { break };
            counter.waiting.fetch_sub(1, SeqCst);
            queue.served.push((entry.number, Served::Permit));
            woken.extend(entry.waker);
        }
        woken
    }
}

fn wake(woken: impl IntoIterator<Item = Waker>) {
    woken.into_iter().for_each(Waker::wake);
}

#[cfg(test)]
mod tests;
