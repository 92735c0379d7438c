//! The circuit breaker of a Service port: limits on what this proxy has open to it, and the breaker that leaves a
//! failing Service in peace.
//!
//! It is asked once per attempt ([`CircuitBreaker::enter`]); what it gives ([`Entry`]) rides with the attempt and then
//! with its answer, and hears how both went. The cores are pure and in files of their own; here they meet the clock, the
//! metrics and the log. A Service port without limits and breaker has none of this, and costs its requests nothing.

mod breaker;
mod limits;
mod verdict;

pub(crate) use breaker::{Phase, Verdict};

pub(crate) use limits::{Grant, IdleMark, Limit, Limits, Permit, RetryPermit, Turn, Waiter, Wanted, Who};
pub(crate) use verdict::{of_answer, of_attempt, of_grpc};

use std::{sync::Arc, time::Duration};

use outrigger_config::model;
use tokio::time::Instant;

use crate::{
    error::Failure,
    telemetry::metrics::{BreakerLimit, CircuitBreakerMetrics},
};
use breaker::{Breaker, Ticket};

/// A worker's request, that waits for another one to end.
const NO_POOL: u64 = 0;

/// The circuit breaker of one Service port, as one policy has it.
#[derive(Debug)]
pub(crate) struct CircuitBreaker {
    settings: model::ServiceLimits,
    limits: Arc<Limits>,
    breaker: Option<Breaker>,
    metrics: Arc<CircuitBreakerMetrics>,
}

/// What a breaker shows of itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Shown {
    /// `None`: nothing trips it.
    pub(crate) phase: Option<Phase>,
    /// How long it stays open.
    pub(crate) open_for: Option<Duration>,
    /// Attempts and failures that are counted.
    pub(crate) counts: (u64, u64),
}

/// What comes of asking to make an attempt.
pub(crate) enum Entered {
    /// It may go out.
    In(Entry),
    /// As soon as another request has ended.
    Waits(Waiter),
    /// It does not go out.
    Refused(Failure),
}

impl CircuitBreaker {
    /// That of a Service port; with what `old` has counted. `None`: nothing is written.
    pub(crate) fn renew(
        old: Option<&Arc<Self>>,
        settings: &model::CircuitBreaker,
        workers: usize,
        metrics: impl FnOnce() -> Arc<CircuitBreakerMetrics>,
    ) -> Option<Arc<Self>> {
        if !settings.acts() {
            return None;
        }
        let metrics = old.map_or_else(metrics, |old| old.metrics.clone());
        let before = old.and_then(|old| old.breaker.as_ref());
        let breaker =
            settings.trip.map(|trip| before.map_or_else(|| Breaker::new(trip), |old| old.renewed(trip)));
        let limits = old.map_or_else(|| Limits::new(workers, &metrics), |old| old.limits.clone());
        Some(Arc::new(Self { settings: settings.limits, limits, breaker, metrics }))
    }

    /// The policy that it was made for is in force.
    pub(crate) fn take_up(&self) {
        self.limits.set(&self.settings);
        self.metrics.stands(self.breaker.as_ref().map(Breaker::phase));
    }

    /// What is open to the Service port.
    pub(crate) fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    /// What a person may see.
    pub(crate) fn shown(&self) -> Shown {
        let now = Instant::now().into_std();
        let breaker = self.breaker.as_ref();
        Shown {
            phase: breaker.map(Breaker::phase),
            open_for: breaker.and_then(|breaker| breaker.open_for(now)),
            counts: breaker.map_or((0, 0), |breaker| breaker.counts(now)),
        }
    }

    /// Whether the next attempt would find the breaker open.
    pub(crate) fn refuses(&self) -> bool {
        self.breaker.as_ref().is_some_and(|breaker| breaker.refuses(Instant::now().into_std()))
    }

    /// Asks for an attempt of a request of `worker`.
    pub(crate) fn enter(self: &Arc<Self>, worker: usize) -> Entered {
        if self.refuses() {
            return Entered::Refused(self.open());
        }
        if let Some(permit) = self.limits.take(Wanted::Request) {
            return self.admitted(permit).map_or_else(Entered::Refused, Entered::In);
        }
        match self.limits.wait(Wanted::Request, Who { worker, pool: NO_POOL }) {
            Ok(Turn::Now(permit)) => self.admitted(permit).map_or_else(Entered::Refused, Entered::In),
            Ok(Turn::Later(waiter)) => Entered::Waits(waiter),
            Err(limit) => Entered::Refused(self.limits.refuse(limit)),
        }
    }

    /// Asks for an attempt whose turn has come.
    pub(crate) fn served(self: &Arc<Self>, grant: Grant) -> Result<Entry, Failure> {
        match grant {
            Grant::Permit(permit) => self.admitted(permit),
            // Only who waits for a connection gets one.
            Grant::Kept(_) => Err(Failure::Internal),
        }
    }

    /// For who must not wait and is nobody's probe, such as a mirror: a permit, if all is well.
    pub(crate) fn pass(&self) -> Option<Permit> {
        let closed = self.breaker.as_ref().is_none_or(|breaker| breaker.phase() == Phase::Closed);
        if closed { self.limits.take(Wanted::Request) } else { None }
    }

    /// Asks for a connection that is passed on whole: it is no request.
    pub(crate) fn connect(self: &Arc<Self>) -> Result<Entry, Failure> {
        self.ticketed(None)
    }

    fn admitted(self: &Arc<Self>, permit: Permit) -> Result<Entry, Failure> {
        self.ticketed(Some(permit))
    }

    fn ticketed(self: &Arc<Self>, permit: Option<Permit>) -> Result<Entry, Failure> {
        let Some(breaker) = &self.breaker else {
            return Ok(Entry { of: self.clone(), ticket: None, told: Told::Nothing, _permit: permit });
        };
        let admission = breaker.admit(Instant::now().into_std());
        self.changed(admission.change);
        match admission.ticket {
            Some(ticket) => {
                Ok(Entry { of: self.clone(), ticket: Some(ticket), told: Told::Nothing, _permit: permit })
            }
            None => Err(self.open()),
        }
    }

    fn open(&self) -> Failure {
        self.metrics.refused(BreakerLimit::Open);
        Failure::CircuitOpen
    }

    /// Tells of a change.
    fn changed(&self, to: Option<Phase>) {
        let Some(to) = to else { return };
        self.metrics.changed(to);
        let service = self.metrics.service();
        match to {
            Phase::Open => {
                let (attempts, failures) = self.shown().counts;
                tracing::warn!(service, attempts, failures, "circuit breaker open");
            }
            Phase::HalfOpen => tracing::info!(service, "circuit breaker half-open: the Service is tried"),
            Phase::Closed => tracing::info!(service, "circuit breaker closed"),
        }
    }
}

/// One attempt that was let through. Dropped without a word, it says nothing of the Service: a probe's place is free
/// again.
#[derive(Debug)]
pub(crate) struct Entry {
    of: Arc<CircuitBreaker>,
    ticket: Option<Ticket>,
    told: Told,
    /// Counts the request as open.
    _permit: Option<Permit>,
}

/// What an entry has told its breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Success,
    All,
}

impl Entry {
    /// Tells what the attempt came to.
    pub(crate) fn conclude(&mut self, verdict: Verdict) {
        let (Some(ticket), Some(breaker)) = (self.ticket, &self.of.breaker) else { return };
        let now = Instant::now().into_std();
        let change = match (self.told, verdict) {
            (Told::Nothing, _) => breaker.conclude(ticket, verdict, now),
            (Told::Success, Verdict::Failure) => breaker.fail_late(ticket, now),
            (Told::Success, _) => return,
            (Told::All, _) => return,
        };
        self.told = if verdict == Verdict::Success { Told::Success } else { Told::All };
        self.of.changed(change);
    }

    /// Something good was heard, where nothing else was said yet.
    pub(crate) fn heard(&mut self) {
        if self.told == Told::Nothing {
            self.conclude(Verdict::Success);
        }
    }

    /// A time limit passed behind the head of the answer, which may be the caller's own slowness: it counts only where
    /// nothing good was heard yet.
    pub(crate) fn timed_out(&mut self) {
        if self.told == Told::Nothing {
            self.conclude(Verdict::Failure);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.told == Told::Nothing {
            self.conclude(Verdict::Nothing);
        }
    }
}
