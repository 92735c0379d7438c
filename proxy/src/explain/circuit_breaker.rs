//! What a backend's circuit breaker and a rule's fallback are set to. Where a breaker stands is for `/services` to tell.

use outrigger_config::{
    format_duration,
    model::{Fallback, TrafficSettings},
};

use super::{report::Setting, settings::setting};
use crate::{
    policy::fallback,
    request::strict::Checked,
    runtime::snapshot::{Backend, Rule},
};

/// The limits of a backend, and what trips its breaker; none where nothing is written.
pub(super) fn of_backend(backend: &Backend) -> Vec<Setting<String>> {
    if backend.circuit_breaker.is_none() {
        return Vec::new();
    }
    let TrafficSettings { circuit_breaker: own, origins, .. } = &*backend.settings;
    let limits = [
        ("circuitBreaker.limits.connections", own.limits.connections, "connections"),
        ("circuitBreaker.limits.pendingRequests", own.limits.pending_requests, "requests that wait"),
        ("circuitBreaker.limits.requests", own.limits.requests, "open requests"),
        ("circuitBreaker.limits.retries", own.limits.retries, "requests on a repeat"),
    ];
    let written = limits.into_iter().filter_map(|(leaf, most, what)| Some((leaf, most?, what)));
    let limits =
        written.map(|(leaf, most, what)| setting(origins, leaf, Some(format!("at most {most} {what}"))));
    let trip = own.trip.map(|trip| {
        let [window, initial, max] = [trip.window, trip.open.initial, trip.open.max].map(format_duration);
        let text = format!(
            "opens when {} % of the attempts of the last {window} fail, from {} attempts on; for {initial}, then twice as \
             long each time, {max} at most; closes when {} probes succeed",
            trip.failure_percent, trip.min_requests, trip.probe_requests
        );
        setting(origins, "circuitBreaker.trip", Some(text))
    });
    limits.chain(trip).collect()
}

/// What a request of the rule gets that its Service does not answer.
pub(super) fn of_rule(rule: &Rule, checked: &Checked) -> Option<Setting<String>> {
    let TrafficSettings { circuit_breaker: own, origins, .. } = &*rule.settings;
    let written = own.fallback.as_ref().filter(|_| fallback::is_for(rule, checked).is_some())?;
    let text = match written {
        Fallback::StaleFor(_) if checked.grpc => "none: gRPC calls are not kept".to_owned(),
        Fallback::StaleFor(age) => {
            format!("the last good answer, if it is no older than {}", format_duration(*age))
        }
        Fallback::Response(_) if checked.grpc => "none: gRPC calls get no written answer".to_owned(),
        Fallback::Response(fixed) => format!("the written answer {}", fixed.status),
        Fallback::Service(port) => format!("the answer of {port}, where the retry law lets it be asked"),
    };
    Some(setting(origins, "circuitBreaker.fallback", Some(text)))
}
