//! Counters of the endpoints of one destination port: ejections, probes, active checks, and how many are in which state.
//!
//! All of it is counted by the background runtime, never by a request.

use super::super::shard::{Shared, label_values};
use crate::balance::{Change, Health, State};

label_values! {
    /// What ejects an endpoint.
    Detector {
        /// Answers of 500 and more in a row.
        Consecutive5xx = "consecutive5xx",
        /// Answers of 502, 503, 504 in a row.
        ConsecutiveGatewayErrors = "consecutiveGatewayErrors",
        /// Failures without a whole answer in a row.
        ConsecutiveLocalErrors = "consecutiveLocalErrors",
        /// Successes far rarer than the others'.
        SuccessRate = "successRate",
        /// Failures too frequent.
        FailurePercent = "failurePercent",
        /// The request that was to show that it works again.
        Probe = "probe",
    }
}

label_values! {
    /// What came of the request that was to show that an ejected endpoint works again.
    ProbeOutcome {
        /// It succeeded: the endpoint is back.
        Passed = "passed",
        /// It failed: the endpoint is out for longer.
        Failed = "failed",
    }
}

label_values! {
    /// What came of an active check.
    CheckOutcome {
        /// The endpoint is well.
        Passed = "passed",
        /// The connection could not be made.
        ConnectFailed = "connect_failed",
        /// TLS could not be had.
        TlsFailed = "tls_failed",
        /// It took too long.
        Timeout = "timeout",
        /// The answer says that it is not well.
        BadAnswer = "bad_answer",
        /// The connection broke, or carried something else than the protocol.
        Broken = "broken",
    }
}

/// Counters of the endpoints of one destination port.
#[derive(Debug)]
pub struct EndpointMetrics {
    pub(super) service: Box<str>,
    pub(super) ejections: [Shared; Detector::ALL.len()],
    pub(super) withheld: [Shared; Detector::ALL.len()],
    pub(super) probes: [Shared; ProbeOutcome::ALL.len()],
    pub(super) states: [Shared; State::ALL.len()],
    pub(super) panic: Shared,
    pub(super) panics: Shared,
    pub(super) checks: [Shared; CheckOutcome::ALL.len()],
    pub(super) healthy: Shared,
    pub(super) unhealthy: Shared,
}

impl EndpointMetrics {
    pub(super) fn new(service: Box<str>) -> Self {
        Self {
            service,
            ejections: Default::default(),
            withheld: Default::default(),
            probes: Default::default(),
            states: Default::default(),
            panic: Shared::default(),
            panics: Shared::default(),
            checks: Default::default(),
            healthy: Shared::default(),
            unhealthy: Shared::default(),
        }
    }

    /// Something was decided about an endpoint.
    pub fn changed(&self, change: Change) {
        match change {
            Change::Ejected(why, _) => {
                self.ejections[why as usize].add(1);
                if why == Detector::Probe {
                    self.probes[ProbeOutcome::Failed as usize].add(1);
                }
            }
            Change::Withheld(why) => self.withheld[why as usize].add(1),
            Change::Returned => self.probes[ProbeOutcome::Passed as usize].add(1),
            Change::HalfOpen | Change::Released | Change::Forgiven => {}
        }
    }

    /// So many endpoints are in each state; `panic`: all of them are used nevertheless.
    pub fn stand(&self, states: [usize; State::ALL.len()], panic: bool) {
        for (gauge, count) in self.states.iter().zip(states) {
            gauge.set(count as u64);
        }
        self.panic.set(u64::from(panic));
    }

    /// An active check has ended.
    pub fn checked(&self, outcome: CheckOutcome) {
        self.checks[outcome as usize].add(1);
    }

    /// Active checks say something else of an endpoint than before.
    pub fn turned(&self, health: Health) {
        match health {
            Health::Healthy => self.healthy.add(1),
            Health::Unhealthy => self.unhealthy.add(1),
            Health::Unknown => {}
        }
    }

    /// From now on all endpoints are used, whatever their state.
    pub fn panicked(&self) {
        self.panics.add(1);
    }
}
