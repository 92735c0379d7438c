//! How a Service that fails or is full is left in peace, and what its callers get meanwhile.

use std::{sync::Arc, time::Duration};

use crate::model::ServicePort;

/// The circuit breaker of a Service port, and the fallback of its requests. Nothing acts unless it is written.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CircuitBreaker {
    /// What one proxy may have open to the Service. Taken from the backend's own Service port, never of a rule.
    pub limits: ServiceLimits,
    /// When the Service is called no more, and how it is tried again; `None`: never. Taken as `limits` are.
    pub trip: Option<Trip>,
    /// What a request gets that cannot be answered; `None`: its failure.
    pub fallback: Option<Fallback>,
}

impl CircuitBreaker {
    /// Whether nothing is written.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the Service port has state of its own: limits, or a breaker.
    pub fn acts(&self) -> bool {
        self.trip.is_some() || self.limits != ServiceLimits::default()
    }
}

/// What one proxy may have open to one Service port, over all of its workers; `None` is unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceLimits {
    /// Connections to its endpoints, idle ones among them.
    pub connections: Option<u32>,
    /// Requests that wait for a connection, or for others to end. `None`: with `requests` nobody waits, with `connections`
    /// as many as come.
    pub pending_requests: Option<u32>,
    /// Open requests.
    pub requests: Option<u32>,
    /// Requests that are on a repeat.
    pub retries: Option<u32>,
}

/// When a breaker opens, for how long, and what closes it again.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Trip {
    /// It opens when so many percent of the attempts of the last `window` have failed. 50 by default.
    pub failure_percent: f64,
    /// 10 s by default; 1 s to 10 min.
    pub window: Duration,
    /// Attempts in `window` below which nothing is concluded. 20 by default.
    pub min_requests: u32,
    /// How long it stays open.
    pub open: OpenTime,
    /// Requests that are let through to try the Service; all must succeed. 3 by default; 1 to 100.
    pub probe_requests: u32,
}

impl Default for Trip {
    fn default() -> Self {
        Self {
            failure_percent: 50.0,
            window: Duration::from_secs(10),
            min_requests: 20,
            open: OpenTime::default(),
            probe_requests: 3,
        }
    }
}

/// How long a breaker stays open: `initial`, doubled with each probe that fails, up to `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct OpenTime {
    /// 5 s by default.
    pub initial: Duration,
    /// 60 s by default.
    pub max: Duration,
}

impl Default for OpenTime {
    fn default() -> Self {
        Self { initial: Duration::from_secs(5), max: Duration::from_secs(60) }
    }
}

/// What a request gets that the Service does not answer.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Fallback {
    /// The last good answer to the same request, no older than this.
    StaleFor(Duration),
    /// A fixed answer.
    Response(FixedResponse),
    /// The answer of another Service.
    Service(ServicePort),
}

/// An answer that is written in the policy.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct FixedResponse {
    /// Its status.
    pub status: u16,
    /// Its header fields, in order.
    pub headers: Vec<(Arc<str>, Arc<str>)>,
    /// Its body.
    pub body: Arc<str>,
}
