//! Counters of one destination port's circuit breaker, and of what its requests got instead of an answer.

use std::sync::Weak;

use parking_lot::Mutex;

use super::super::shard::{Shared, label_values};
use crate::policy::circuit_breaker::{Limits, Phase};

label_values! {
    /// What kept an attempt from going out, in the words of `circuitBreaker`.
    BreakerLimit {
        /// The limit on connections.
        Connections = "connections",
        /// The limit on requests that wait.
        PendingRequests = "pendingRequests",
        /// The limit on open requests.
        Requests = "requests",
        /// The limit on requests that are on a repeat.
        Retries = "retries",
        /// The breaker was open, or half-open with all of its probes out.
        Open = "open",
    }
}

/// Counters of one circuit breaker. They are touched when something is refused or changes, and by a scrape.
#[derive(Debug)]
pub struct CircuitBreakerMetrics {
    pub(super) service: Box<str>,
    refused: [Shared; BreakerLimit::ALL.len()],
    changes: [Shared; Phase::ALL.len()],
    /// The phase and one more; 0 where there is no breaker.
    phase: Shared,
    limits: Mutex<Weak<Limits>>,
}

impl CircuitBreakerMetrics {
    pub(crate) fn new(service: Box<str>) -> Self {
        Self {
            service,
            refused: Default::default(),
            changes: Default::default(),
            phase: Shared::default(),
            limits: Mutex::default(),
        }
    }

    /// `namespace/name:port`.
    pub(crate) fn service(&self) -> &str {
        &self.service
    }

    /// An attempt, or a repeat, was kept back.
    pub(crate) fn refused(&self, by: BreakerLimit) {
        self.refused[by as usize].add(1);
    }

    /// The breaker has come to another phase.
    pub(crate) fn changed(&self, to: Phase) {
        self.changes[to as usize].add(1);
        self.stands(Some(to));
    }

    /// Where the breaker stands; `None`: there is none.
    pub(crate) fn stands(&self, phase: Option<Phase>) {
        self.phase.set(phase.map_or(0, |phase| phase as u64 + 1));
    }

    /// Whose usage a scrape shows.
    pub(crate) fn watch(&self, limits: Weak<Limits>) {
        *self.limits.lock() = limits;
    }

    pub(super) fn refusals(&self, by: BreakerLimit) -> u64 {
        self.refused[by as usize].get()
    }

    pub(super) fn changes(&self, to: Phase) -> u64 {
        self.changes[to as usize].get()
    }

    pub(super) fn phase(&self) -> Option<u64> {
        self.phase.get().checked_sub(1)
    }

    pub(super) fn limits(&self) -> Option<std::sync::Arc<Limits>> {
        self.limits.lock().upgrade()
    }
}
