//! One app's load: the places that are taken and how many there are, which are the very numbers that requests are let in
//! by, and how many were not.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::super::shard::{Cells, PerWorker, label_values};

label_values! {
    /// How urgent a request is.
    PriorityClass {
        /// It may fill the whole limit.
        High = "high",
        /// As most are.
        Default = "default",
        /// It is the first to be refused.
        Low = "low",
    }
}

/// The load of one app.
#[derive(Debug)]
pub struct ConcurrencyMetrics {
    pub(super) service: Box<str>,
    limit: AtomicU32,
    in_flight: AtomicU32,
    /// The most that were taken at once since it was asked last.
    peak: AtomicU32,
    baseline_nanos: AtomicU64,
    refused: PerWorker<Cells<{ PriorityClass::ALL.len() }>>,
}

impl ConcurrencyMetrics {
    pub(super) fn new(workers: usize, service: Box<str>) -> Self {
        Self {
            service,
            limit: AtomicU32::new(1),
            in_flight: AtomicU32::new(0),
            peak: AtomicU32::new(0),
            baseline_nanos: AtomicU64::new(0),
            refused: PerWorker::new(workers),
        }
    }

    /// Takes a place if fewer are taken than `room` makes of the limit.
    pub(crate) fn enter(&self, room: impl Fn(u32) -> u32) -> bool {
        let room = room(self.limit.load(Relaxed));
        let more = |taken: u32| (taken < room).then_some(taken + 1);
        let Ok(before) = self.in_flight.fetch_update(Relaxed, Relaxed, more) else { return false };
        if self.peak.load(Relaxed) <= before {
            self.peak.fetch_max(before + 1, Relaxed);
        }
        true
    }

    /// Gives a place back.
    pub(crate) fn leave(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    /// The limit from here on.
    pub(crate) fn set_limit(&self, limit: u32) {
        self.limit.store(limit, Relaxed);
    }

    /// Brings the limit inside other bounds.
    pub(crate) fn clamp(&self, inside: impl Fn(u32) -> u32) {
        self.limit.store(inside(self.limit.load(Relaxed)), Relaxed);
    }

    /// The most places that were taken at once since the last call, or are taken now.
    pub(crate) fn take_peak(&self) -> u32 {
        let now = self.in_flight();
        self.peak.swap(now, Relaxed).max(now)
    }

    /// What an answer takes without load.
    pub(crate) fn set_baseline(&self, latency: Duration) {
        self.baseline_nanos.store(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// Counts a request that was not let in.
    pub(crate) fn refused(&self, worker: usize, class: PriorityClass) {
        self.refused.of(worker).at(class as usize).add(1);
    }

    /// The limit as it stands.
    pub fn limit(&self) -> u32 {
        self.limit.load(Relaxed)
    }

    /// Requests that are in.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// What an answer takes without load; 0 until it is known.
    pub fn baseline(&self) -> Duration {
        Duration::from_nanos(self.baseline_nanos.load(Relaxed))
    }

    /// Requests of a class that were not let in.
    pub fn total_refused(&self, class: PriorityClass) -> u64 {
        self.refused.sum(|cells| cells.at(class as usize).get()).unwrap_or(0)
    }
}
