//! The handles that count, found or made by their label values and forgotten when nobody uses them any more.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Weak},
};

use super::{
    BackendMetrics, CircuitBreakerMetrics, ConcurrencyMetrics, ConnectionMetrics, EndpointMetrics,
    FallbackMetrics, ListenerMetrics, Metrics, MirrorMetrics, RateLimitMetrics, RouteMetrics,
};
use crate::ctx::Side;

/// Handles by label values, as long as somebody uses them.
#[derive(Debug)]
pub(super) struct Handles<K, H> {
    pub(super) by_key: HashMap<K, Weak<H>>,
    sweep_at: usize,
}

impl<K: Hash + Eq, H> Handles<K, H> {
    pub(super) fn new() -> Self {
        Self { by_key: HashMap::new(), sweep_at: 64 }
    }

    pub(super) fn find_or_create(&mut self, key: K, create: impl FnOnce(&K) -> H) -> Arc<H> {
        if let Some(handle) = self.by_key.get(&key).and_then(Weak::upgrade) {
            return handle;
        }
        if self.by_key.len() >= self.sweep_at {
            self.by_key.retain(|_, handle| handle.strong_count() > 0);
            self.sweep_at = (self.by_key.len() * 2).max(64);
        }
        let handle = Arc::new(create(&key));
        self.by_key.insert(key, Arc::downgrade(&handle));
        handle
    }

    pub(super) fn alive(&self) -> Vec<Arc<H>> {
        self.by_key.values().filter_map(Weak::upgrade).collect()
    }
}

impl Metrics {
    /// The handle of one route, as seen on one side. `service` is `namespace/name:port`, `route` the rule's name.
    pub fn route(&self, side: Side, service: &str, route: &str) -> Arc<RouteMetrics> {
        let workers = self.counters.workers;
        let mut handles = self.counters.routes.lock();
        handles.find_or_create((side, service.into(), route.into()), |(side, service, route)| {
            RouteMetrics::new(workers, *side, service.clone(), route.clone())
        })
    }

    /// The handle of one rule for connections, as seen on one side; labels as for [`Metrics::route`].
    pub fn connections(&self, side: Side, service: &str, route: &str) -> Arc<ConnectionMetrics> {
        let workers = self.counters.workers;
        let mut handles = self.counters.connections.lock();
        handles.find_or_create((side, service.into(), route.into()), |(side, service, route)| {
            ConnectionMetrics::new(workers, *side, service.clone(), route.clone())
        })
    }

    /// The handle of one destination port, for its attempts and connections. `service` is `namespace/name:port`.
    pub fn backend(&self, service: &str) -> Arc<BackendMetrics> {
        let workers = self.counters.workers;
        let mut handles = self.counters.backends.lock();
        handles.find_or_create(service.into(), |service| BackendMetrics::new(workers, service.clone()))
    }

    /// The handle of one destination port, for the states of its endpoints. `service` is `namespace/name:port`.
    pub fn endpoints(&self, service: &str) -> Arc<EndpointMetrics> {
        let mut handles = self.counters.endpoints.lock();
        handles.find_or_create(service.into(), |service| EndpointMetrics::new(service.clone()))
    }

    /// How many workers there are.
    pub(crate) fn workers(&self) -> usize {
        self.counters.workers
    }

    /// The handle of one destination port's circuit breaker. `service` is `namespace/name:port`.
    pub(crate) fn circuit_breaker(&self, service: &str) -> Arc<CircuitBreakerMetrics> {
        let mut handles = self.counters.circuit_breakers.lock();
        handles.find_or_create(service.into(), |service| CircuitBreakerMetrics::new(service.clone()))
    }

    /// The handle of one destination's fallbacks. `service` is what its requests are counted under.
    pub(crate) fn fallback(&self, service: &str) -> Arc<FallbackMetrics> {
        let mut handles = self.counters.fallbacks.lock();
        handles.find_or_create(service.into(), |service| FallbackMetrics::new(service.clone()))
    }

    /// So many bytes of last good answers are kept.
    pub(crate) fn fallback_kept(&self, bytes: u64) {
        self.counters.fallback_kept.set(bytes);
    }

    /// The handle of one destination port as a mirror. `service` is `namespace/name:port`.
    pub fn mirror(&self, service: &str) -> Arc<MirrorMetrics> {
        let workers = self.counters.workers;
        let mut handles = self.counters.mirrors.lock();
        handles.find_or_create(service.into(), |service| MirrorMetrics::new(workers, service.clone()))
    }

    /// The handle of one rate limit. `service` is `namespace/name`, or the address of an app; `policy` is `namespace/name`, or `mesh`.
    pub fn rate_limit(&self, service: &str, policy: &str) -> Arc<RateLimitMetrics> {
        let workers = self.counters.workers;
        let mut handles = self.counters.rate_limits.lock();
        handles.find_or_create([service.into(), policy.into()], |[service, policy]| {
            RateLimitMetrics::new(workers, service.clone(), policy.clone())
        })
    }

    /// The load of one app; `service` is `namespace/name`, or its address.
    pub fn concurrency(&self, service: &str) -> Arc<ConcurrencyMetrics> {
        let workers = self.counters.workers;
        let mut handles = self.counters.concurrency.lock();
        handles.find_or_create(service.into(), |service| ConcurrencyMetrics::new(workers, service.clone()))
    }

    /// The handle of one listener, named by the address that the policy gives it. Listeners of one side that ask for the
    /// same address, which can only have port 0, share it.
    pub fn listener(&self, side: Side, bind: &str) -> Arc<ListenerMetrics> {
        let workers = self.counters.workers;
        let mut handles = self.counters.listeners.lock();
        handles.find_or_create((side, bind.into()), |(side, bind)| {
            ListenerMetrics::new(workers, *side, bind.clone())
        })
    }
}
