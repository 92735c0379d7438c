//! How callers of one Service come: with an identity, or in plaintext.
//!
//! An operator who wants to go from `Permissive` to `Strict` looks here for who would be left outside.

use std::sync::Arc;

use super::{
    super::shard::{Cells, PerWorker, Shared, label_values},
    Metrics,
};

label_values! {
    /// How a request, or a connection that is passed on whole, came in.
    Security {
        /// From a caller with an identity.
        Mtls = "mtls",
        /// From an anonymous one. The app's own TLS, which nobody looks into, is among these.
        Plaintext = "plaintext",
    }
}

/// Counters of one app behind an inbound listener. Every call names the worker that makes it.
#[derive(Debug)]
pub struct InboundSecurity {
    pub(super) service: Box<str>,
    counts: PerWorker<Cells<{ Security::ALL.len() }>>,
    refused: Shared,
}

impl InboundSecurity {
    fn new(workers: usize, service: Box<str>) -> Self {
        Self { service, counts: PerWorker::new(workers), refused: Shared::default() }
    }

    /// Counts a request, or a connection that is passed on whole.
    #[inline]
    pub(crate) fn came(&self, worker: usize, how: Security) {
        self.counts.of(worker).at(how as usize).add(1);
    }

    /// An anonymous caller is refused; from any thread.
    pub(crate) fn refused(&self) {
        self.refused.add(1);
    }

    pub(super) fn total(&self, how: Security) -> u64 {
        self.counts.sum(|cells| cells.at(how as usize).get()).unwrap_or(0)
    }

    pub(super) fn total_refused(&self) -> u64 {
        self.refused.get()
    }
}

impl Metrics {
    /// The handle of one app. `service` is `namespace/name:port`, or `app`.
    pub(crate) fn inbound_security(&self, service: &str) -> Arc<InboundSecurity> {
        let workers = self.counters.workers;
        let mut handles = self.counters.inbound_security.lock();
        handles.find_or_create(service.into(), |service| InboundSecurity::new(workers, service.clone()))
    }
}
