//! The connections of one worker, by endpoint.
//!
//! Each worker has its own pool: no lock, and a request never leaves its thread. HTTP/1 connections are taken newest
//! first, so that surplus ones grow old and go; how long a peer leaves them open is learned from `Keep-Alive` and from
//! closes that were seen. HTTP/2 connections are shared until the peer's stream limit.
//!
//! A link between sidecars was made with the certificate that this proxy had then. Once it has another one, new requests
//! go over new links, and old ones end with their last stream.

use std::{
    cell::{Cell, RefCell},
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{http1, http2, limited, security::Security};
use crate::policy::circuit_breaker::{IdleMark, Limits, Who};

/// Below this an idle connection is not worth keeping, and a learned time is not believed.
const SHORTEST_IDLE: Duration = Duration::from_millis(50);

/// At most this many idle HTTP/1 connections of one endpoint are kept by a worker.
const MOST_IDLE: usize = 1024;

/// A learned idle time grows again by this share each sweep, so that one early close is forgotten in minutes.
const FORGET: f64 = 1.02;

/// All endpoints that a worker talks to.
#[derive(Debug)]
pub(crate) struct Pool {
    worker: usize,
    /// How many pools of endpoints were made.
    made: Cell<u64>,
    endpoints: RefCell<foldhash::HashMap<Key, Rc<EndpointPool>>>,
}

/// An address, how it is spoken to there and the limits that its connections count under, by its id, 0 for none, and the own
/// address that is called from. What was proved, or shown, to one destination is worth nothing to another, and none
/// pays for another's connections; and what one's own address leads to may be the app or, for the app's own calls, the
/// inbound listener.
type Key = (SocketAddr, (u8, u64), u64, Option<IpAddr>);

/// The connections to one endpoint.
#[derive(Debug)]
pub(crate) struct EndpointPool {
    pub(crate) addr: SocketAddr,
    /// Its name among all pools.
    pub(super) who: Who,
    /// What its connections count under.
    pub(super) limits: Option<Arc<Limits>>,
    /// Room on connections that is kept for requests that have waited for it.
    pub(super) kept: limited::AllKept,
    pub(crate) http1: RefCell<Vec<http1::Idle>>,
    pub(crate) http2: http2::Shared,
    /// The generation of our own certificate that new links are made with; 0 where none is shown.
    generation: Cell<u64>,
    /// How long the peer seems to keep idle HTTP/1 connections; shorter than the configured limit, or unknown.
    learned: Cell<Option<Duration>>,
    used: Cell<Instant>,
}

impl Pool {
    /// The pools of a worker.
    pub(crate) fn new(worker: usize) -> Self {
        Self { worker, made: Cell::new(0), endpoints: RefCell::default() }
    }

    /// The pool of `addr` for what is spoken there, made on first use.
    pub(crate) fn endpoint(
        &self,
        addr: SocketAddr,
        security: Security<'_>,
        (from, limits): (Option<IpAddr>, Option<&Arc<Limits>>),
    ) -> Rc<EndpointPool> {
        let key = (addr, security.key(), limits.map_or(0, |limits| limits.id), from);
        let generation = security.generation();
        if let Some(known) = self.endpoints.borrow().get(&key) {
            known.renew(generation);
            return known.clone();
        }
        self.made.set(self.made.get() + 1);
        let made = Rc::new(EndpointPool {
            addr,
            who: Who { worker: self.worker, pool: self.made.get() },
            limits: limits.cloned(),
            kept: limited::AllKept::default(),
            http1: RefCell::new(Vec::new()),
            http2: http2::Shared::default(),
            generation: Cell::new(generation),
            learned: Cell::new(None),
            used: Cell::new(Instant::now()),
        });
        self.endpoints.borrow_mut().insert(key, made.clone());
        made
    }

    /// Closes what has been idle too long and forgets endpoints that nobody has used; called about once a second.
    /// `generation` is that of our own certificate, 0 without one.
    pub(crate) fn sweep(&self, now: Instant, limit: Duration, generation: u64) {
        self.endpoints.borrow_mut().retain(|_, pool| {
            if pool.generation.get() != 0 {
                pool.renew(generation);
            }
            let keep = pool.idle_limit(limit);
            let before = pool.http1.borrow().len();
            pool.http1.borrow_mut().retain(|idle| {
                let old = now.duration_since(idle.since) >= keep;
                if old {
                    idle.retire();
                }
                !old && !idle.is_gone()
            });
            if before > 0 {
                pool.used.set(now);
            }
            if let Some(learned) = pool.learned.get() {
                let grown = learned.mul_f64(FORGET);
                pool.learned.set((grown < limit).then_some(grown));
            }
            pool.http2.sweep(now);
            if let Some(limits) = &pool.limits {
                // The peer may allow more streams by now.
                limited::offer_room(pool, limits);
            }
            let busy = Rc::strong_count(pool) > 1 || !pool.http2.is_empty();
            busy || now.duration_since(pool.used.get()) < Duration::from_secs(60)
        });
    }
}

impl Pool {
    /// Closes one idle connection that counts under these limits; `false`: there is none.
    pub(super) fn give_up_one(&self, limits: &Arc<Limits>) -> bool {
        let endpoints = self.endpoints.borrow();
        let mut of_limits = endpoints
            .values()
            .filter(|pool| pool.limits.as_ref().is_some_and(|own| Arc::ptr_eq(own, limits)));
        of_limits.any(|pool| pool.give_up_one())
    }
}

impl EndpointPool {
    /// The generation of our own certificate that new links are made with; 0 where none is shown.
    pub(super) fn generation(&self) -> u64 {
        self.generation.get()
    }

    /// Our own certificate is of this generation: links on which an older one was shown get no more requests. Where links
    /// are limited, those that have requests stay at hand, for there may be no room for another one.
    #[inline]
    fn renew(&self, generation: u64) {
        if self.generation.get() == generation {
            return;
        }
        self.generation.set(generation);
        let limited = self.limits.is_some();
        self.http2.let_go_of(|link| link.generation() != generation && (!limited || link.is_idle()));
    }

    /// Keeps an HTTP/1 connection until somebody needs it.
    pub(super) fn keep(&self, mut idle: http1::Idle) {
        let mut kept = self.http1.borrow_mut();
        if kept.len() < MOST_IDLE {
            idle.mark = self.limits.as_ref().map(|limits| IdleMark::new(limits, self.who.worker));
            kept.push(idle);
        }
    }

    /// Closes the connection that has been idle for longest.
    fn give_up_one(&self) -> bool {
        let mut kept = self.http1.borrow_mut();
        kept.retain(|idle| !idle.is_gone());
        if kept.is_empty() {
            return self.http2.give_up_one();
        }
        kept.remove(0).retire();
        true
    }

    /// How long an idle HTTP/1 connection of this endpoint may be kept.
    pub(crate) fn idle_limit(&self, limit: Duration) -> Duration {
        self.learned.get().map_or(limit, |learned| learned.min(limit))
    }

    /// Closes every idle HTTP/1 connection.
    pub(crate) fn retire_all(&self) {
        for idle in self.http1.borrow_mut().drain(..) {
            idle.retire();
        }
    }

    /// The peer closed a connection that had been idle for `idle`: from now on ours go a little earlier.
    pub(crate) fn learn_close(&self, idle: Duration) {
        self.learn(idle.mul_f64(0.75));
    }

    /// The peer announced `Keep-Alive: timeout=`: one second less leaves room for a request under way.
    pub(crate) fn learn_announced(&self, seconds: u64) {
        self.learn(Duration::from_millis(seconds.saturating_mul(1000).saturating_sub(1000)));
    }

    fn learn(&self, keep: Duration) {
        let keep = keep.max(SHORTEST_IDLE);
        if self.learned.get().is_none_or(|known| keep < known) {
            self.learned.set(Some(keep));
        }
    }
}
