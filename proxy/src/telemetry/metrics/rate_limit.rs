//! Counters of one rate limit: requests by what it said of them, and how many callers it tells apart.

use super::super::shard::{Cells, PerWorker, Shared, label_values};

label_values! {
    /// What a rate limit says of a request.
    RateLimitOutcome {
        /// It passes.
        Allowed = "allowed",
        /// It does not.
        Refused = "refused",
        /// It is counted with others, since there are too many callers to tell apart; it passes or does not besides.
        Overflow = "overflow",
    }
}

/// Counters of one rate limit. Every call that counts names the worker that makes it.
#[derive(Debug)]
pub struct RateLimitMetrics {
    pub(super) service: Box<str>,
    pub(super) policy: Box<str>,
    counts: PerWorker<Cells<{ RateLimitOutcome::ALL.len() }>>,
    callers: Shared,
}

impl RateLimitMetrics {
    pub(super) fn new(workers: usize, service: Box<str>, policy: Box<str>) -> Self {
        Self { service, policy, counts: PerWorker::new(workers), callers: Shared::default() }
    }

    /// Counts a request.
    #[inline]
    pub fn count(&self, worker: usize, outcome: RateLimitOutcome) {
        self.counts.of(worker).at(outcome as usize).add(1);
    }

    /// How many callers have a count of their own.
    pub fn callers(&self, count: u64) {
        self.callers.set(count);
    }

    /// Requests so far.
    pub fn total(&self, outcome: RateLimitOutcome) -> u64 {
        self.counts.sum(|cells| cells.at(outcome as usize).get()).unwrap_or(0)
    }

    /// Callers that have a count of their own.
    pub fn callers_now(&self) -> u64 {
        self.callers.get()
    }
}
