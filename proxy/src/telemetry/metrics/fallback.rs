//! Counters of what requests got instead of their Service's answer.

use super::super::shard::{Shared, label_values};

label_values! {
    /// What a request got that its Service did not answer.
    FallbackKind {
        /// The last good answer.
        Stale = "stale",
        /// The answer that policy has written.
        Response = "response",
        /// The answer of another Service.
        Service = "service",
        /// Its failure: nothing was kept, or could be sent.
        Nothing = "none",
    }
}

/// Counters of one destination's fallbacks. They are touched only where the Service fails.
#[derive(Debug)]
pub struct FallbackMetrics {
    pub(super) service: Box<str>,
    given: [Shared; FallbackKind::ALL.len()],
}

impl FallbackMetrics {
    pub(super) fn new(service: Box<str>) -> Self {
        Self { service, given: Default::default() }
    }

    /// A request has got this.
    pub fn count(&self, kind: FallbackKind) {
        self.given[kind as usize].add(1);
    }

    pub(super) fn given(&self, kind: FallbackKind) -> u64 {
        self.given[kind as usize].get()
    }
}
