//! What this proxy holds for the Service behind its inbound listeners: rate limits, as they stand.

use std::fmt::Write as _;

use outrigger_config::{
    format_duration,
    model::{ObjectName, RateLimitBy},
};
use serde::Serialize;

use crate::{
    policy::{concurrency::Concurrency, rate_limit::RateLimit},
    runtime::{inbound::App, snapshot::Snapshot},
    telemetry::metrics::{PriorityClass, RateLimitOutcome},
};

/// What the proxy before a service holds.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CalleeView {
    /// Its rate limits.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rate_limits: Vec<RateLimitView>,
    /// How many requests are let in at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<ConcurrencyView>,
}

/// How many requests are let in at once.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConcurrencyView {
    /// The limit as it stands.
    pub limit: u32,
    /// Requests that are in.
    pub in_flight: u32,
    /// It never falls below this.
    pub min_limit: u32,
    /// It never rises above this.
    pub max_limit: u32,
    /// What the app takes to answer without load, in milliseconds; absent until it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline_ms: Option<f64>,
    /// Requests that were not let in.
    pub refused: u64,
}

/// One rate limit.
#[derive(Clone, Debug, Serialize)]
pub struct RateLimitView {
    /// `namespace/name` of the TrafficPolicy, or `mesh`.
    pub policy: String,
    /// So many requests,
    pub requests: u32,
    /// in this time.
    pub per: String,
    /// So many at once.
    pub burst: u32,
    /// `identity`, `sourceIp`, `header NAME`; absent: all requests together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Callers that have a count of their own now.
    pub callers: u64,
    /// Requests that passed.
    pub allowed: u64,
    /// Requests that did not.
    pub refused: u64,
}

/// What is held for a Service; `None` where it does not stand behind this proxy, or has no limit.
pub(crate) fn of(snapshot: &Snapshot, service: &ObjectName) -> Option<CalleeView> {
    let behind = |app: &&App| app.service.as_ref().is_some_and(|port| port.service == *service);
    // Its listeners share the limits.
    let app = snapshot.inbound.iter().flat_map(|listener| listener.apps()).find(behind)?;
    let rate_limits: Vec<_> = app.rule.rate_limits.iter().flat_map(|limits| limits.iter()).collect();
    let concurrency = app.rule.concurrency.as_ref().map(|limit| concurrency(limit));
    if rate_limits.is_empty() && concurrency.is_none() {
        return None;
    }
    let rate_limits = rate_limits.into_iter().map(|limit| rate_limit(limit)).collect();
    Some(CalleeView { rate_limits, concurrency })
}

fn concurrency(limit: &Concurrency) -> ConcurrencyView {
    let load = &limit.level.metrics;
    ConcurrencyView {
        limit: load.limit(),
        in_flight: load.in_flight(),
        min_limit: limit.source.min_limit,
        max_limit: limit.source.max_limit,
        baseline_ms: Some(load.baseline().as_secs_f64() * 1000.0).filter(|millis| *millis > 0.0),
        refused: PriorityClass::ALL.iter().map(|class| load.total_refused(*class)).sum(),
    }
}

fn rate_limit(limit: &RateLimit) -> RateLimitView {
    let source = &limit.source;
    RateLimitView {
        policy: limit.key.policy.as_ref().map_or_else(|| "mesh".to_owned(), ToString::to_string),
        requests: source.requests,
        per: format_duration(source.per),
        burst: source.burst,
        by: match &source.by {
            RateLimitBy::Service => None,
            RateLimitBy::Identity => Some("identity".to_owned()),
            RateLimitBy::SourceIp => Some("sourceIp".to_owned()),
            RateLimitBy::Header(name) => Some(format!("header {name}")),
        },
        callers: limit.metrics.callers_now(),
        allowed: limit.metrics.total(RateLimitOutcome::Allowed),
        refused: limit.metrics.total(RateLimitOutcome::Refused),
    }
}

/// The same as lines of text, after the table of endpoints.
pub(super) fn lines(service: &str, callee: &CalleeView, text: &mut String) {
    for limit in &callee.rate_limits {
        let RateLimitView { policy, requests, per, burst, by, callers, allowed, refused } = limit;
        let by = by.as_ref().map(|by| format!(" by {by} ({callers} callers)")).unwrap_or_default();
        let _ = writeln!(
            text,
            "{service}: {requests} requests per {per}, {burst} at once{by}: {allowed} passed, {refused} refused ({policy})"
        );
    }
    if let Some(ConcurrencyView { limit, in_flight, min_limit, max_limit, refused, .. }) = &callee.concurrency
    {
        let _ = writeln!(
            text,
            "{service}: {in_flight} of {limit} requests at once ({min_limit} to {max_limit}), {refused} refused"
        );
    }
}
