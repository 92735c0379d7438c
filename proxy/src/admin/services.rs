//! `/services`: every destination with the endpoints that it has at this moment and what they are doing.

pub(crate) mod callee;

use std::{collections::BTreeMap, fmt::Write as _, net::SocketAddr, sync::Arc, time::Instant};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use outrigger_config::model::{AppProtocol, DestinationPort};
use serde::Serialize;

pub use callee::{CalleeView, ConcurrencyView, RateLimitView};

use super::{answer, parameter};
use crate::{
    balance::{Endpoint, Health, Report, State},
    policy::circuit_breaker::{CircuitBreaker, Limit, Phase},
    runtime::snapshot::{Port, Service, Snapshot},
    telemetry::timestamp,
    upstream::security::{Means, Protection},
};

/// A destination.
#[derive(Clone, Debug, Serialize)]
pub struct ServiceView {
    /// `namespace/name`.
    pub name: String,
    /// The authorities it answers to.
    pub hosts: Vec<Arc<str>>,
    /// Its ports.
    pub ports: Vec<PortView>,
    /// What this proxy holds for it, where it stands behind this proxy and has limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callee: Option<CalleeView>,
}

impl ServiceView {
    /// What a destination of the snapshot, and its endpoints, are doing.
    pub(crate) fn of(snapshot: &Snapshot, service: &Service) -> Self {
        let now = Instant::now();
        let port = |(from, port): (&DestinationPort, &Arc<Port>)| {
            let set = port.backend.endpoints.load();
            PortView {
                port: from.port,
                protocol: from.protocol,
                circuit_breaker: port.backend.circuit_breaker.as_deref().map(BreakerView::of),
                panic: set.panics(),
                near_percent: set.near_percent(),
                endpoints: set
                    .all()
                    .iter()
                    .map(|endpoint| EndpointView::of(endpoint, &port.backend.protection, now))
                    .collect(),
            }
        };
        Self {
            name: service.source.name.to_string(),
            hosts: service.source.hosts.clone(),
            ports: service.source.ports.iter().zip(&service.ports).map(port).collect(),
            callee: callee::of(snapshot, &service.source.name),
        }
    }
}

/// A port of a destination.
#[derive(Clone, Debug, Serialize)]
pub struct PortView {
    /// Its number.
    pub port: u16,
    /// What its endpoints speak.
    pub protocol: AppProtocol,
    /// Too few endpoints are usable, so all are used.
    pub panic: bool,
    /// Percent of the requests that stay in the proxy's own zone, where that counts: see `loadBalancer.locality`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub near_percent: Option<f64>,
    /// Its circuit breaker, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<BreakerView>,
    /// Its endpoints; a name stands for each of its addresses.
    pub endpoints: Vec<EndpointView>,
}

/// A circuit breaker.
#[derive(Clone, Debug, Serialize)]
pub struct BreakerView {
    /// `closed`, `open` or `half_open`; `None`: nothing trips it.
    pub state: Option<&'static str>,
    /// How long it stays open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_for_ms: Option<u64>,
    /// Attempts that count.
    pub attempts: u64,
    /// Those of them that have failed.
    pub failures: u64,
    /// What is open or waits, by the words of `circuitBreaker.limits`.
    pub limits: BTreeMap<&'static str, UsageView>,
}

/// What is taken of a limit.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct UsageView {
    /// As much as this.
    pub held: u32,
    /// And no more than this; `None`: unlimited.
    pub limit: Option<u32>,
}

impl BreakerView {
    /// What a breaker shows of itself.
    pub(crate) fn of(breaker: &CircuitBreaker) -> Self {
        let shown = breaker.shown();
        let usage = |limit: Limit| {
            let (held, most) = breaker.limits().usage(limit);
            (limit.counted().as_str(), UsageView { held, limit: most })
        };
        Self {
            state: shown.phase.map(Phase::as_str),
            open_for_ms: shown.open_for.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
            attempts: shown.counts.0,
            failures: shown.counts.1,
            limits: Limit::ALL.into_iter().map(usage).collect(),
        }
    }
}

/// An endpoint.
#[derive(Clone, Debug, Serialize)]
pub struct EndpointView {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its share of the traffic, relative to the others', as policy lists it.
    pub weight: u32,
    /// Percent of that share that it has so far, while it grows: see `loadBalancer.slowStart`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warm_percent: Option<u32>,
    /// The zone it stands in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<Arc<str>>,
    /// Who it must be, where it speaks mutual TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// `mtls`, `tls` or `plaintext`: how it is spoken to.
    pub security: &'static str,
    /// Why in plaintext.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plaintext_because: Option<&'static str>,
    /// Requests that it is working on for this proxy, and connections that are passed on to it whole.
    pub requests_open: u64,
    /// Whether requests may go to it.
    pub state: State,
    /// What ejected it last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ejected_by: Option<&'static str>,
    /// Seconds until it may be tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub back_in_seconds: Option<f64>,
    /// By how many ejections its next one is lengthened.
    pub ejections: u32,
    /// Failures in a row so far.
    pub failures_in_a_row: RunsView,
    /// What active checks say of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthView>,
}

/// Failures in a row so far; each ends with the next success.
#[derive(Clone, Debug, Serialize)]
pub struct RunsView {
    /// Answers of 500 and more.
    #[serde(rename = "5xx")]
    pub server_errors: u32,
    /// Answers of 502, 503, 504.
    pub gateway_errors: u32,
    /// Failures without a whole answer.
    pub local_errors: u32,
}

/// What active checks say.
#[derive(Clone, Debug, Serialize)]
pub struct HealthView {
    /// Whether they pass.
    pub healthy: bool,
    /// When the last one ended.
    pub checked_at: String,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl EndpointView {
    pub(crate) fn of(endpoint: &Endpoint, protection: &Protection, now: Instant) -> Self {
        let (security, plaintext_because) = match protection.of(endpoint.peer.as_ref()) {
            Means::Mesh { .. } => ("mtls", None),
            Means::Outward(_) => ("tls", None),
            Means::Plain(why) => ("plaintext", Some(why.text())),
        };
        let Report { state, why, back_in, ejections, runs, health, last_check } = endpoint.report(now);
        let [server_errors, gateway_errors, local_errors] = runs;
        Self {
            address: endpoint.address,
            weight: endpoint.listed,
            warm_percent: (endpoint.warm < 100).then_some(endpoint.warm),
            zone: endpoint.zone.clone(),
            identity: endpoint.peer.as_ref().map(|peer| peer.identity().to_string()),
            security,
            plaintext_because,
            requests_open: u64::from(endpoint.state.open()),
            state,
            ejected_by: why.map(|why| why.as_str()),
            back_in_seconds: back_in.map(|time| time.as_secs_f64()),
            ejections,
            failures_in_a_row: RunsView { server_errors, gateway_errors, local_errors },
            health: last_check.map(|check| HealthView {
                healthy: health != Health::Unhealthy,
                checked_at: timestamp::text(check.at),
                failure: check.failure,
            }),
        }
    }

    /// Its state in a few words.
    fn told(&self, panic: bool) -> String {
        let reason = match self.state {
            State::Usable => None,
            State::Ejected | State::HalfOpen => self.ejected_by.map(str::to_owned),
            State::Unhealthy => self.health.as_ref().and_then(|health| health.failure.clone()),
        };
        let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
        let back = self.back_in_seconds.map(|left| format!(", back in {left:.0}s")).unwrap_or_default();
        let used = if panic && self.state != State::Usable { ", used: too few are usable" } else { "" };
        format!("{}{reason}{back}{used}", self.state.as_str())
    }
}

/// The answer in the form that `?o=` asks for.
pub(super) fn answer(services: &[ServiceView], query: &str) -> Response<Full<Bytes>> {
    match parameter(query, "o").as_deref() {
        None | Some("json") => answer::json(StatusCode::OK, &services),
        Some("table") => answer::text(StatusCode::OK, &table(services)),
        Some(_) => answer::error(StatusCode::BAD_REQUEST, "o is json or table"),
    }
}

fn table(services: &[ServiceView]) -> String {
    let mut rows = vec![
        ["SERVICE", "PORT", "PROTOCOL", "BREAKER", "ENDPOINT", "BY", "WEIGHT", "OPEN", "STATE"]
            .map(str::to_owned),
    ];
    for service in services {
        for port in &service.ports {
            let protocol = port.protocol.word();
            let breaker = port.circuit_breaker.as_ref().and_then(|breaker| breaker.state).unwrap_or("-");
            let row = |endpoint: [String; 5]| {
                let [address, by, weight, open, state] = endpoint;
                let (number, protocol) = (port.port.to_string(), protocol.to_owned());
                [service.name.clone(), number, protocol, breaker.to_owned(), address, by, weight, open, state]
            };
            if port.endpoints.is_empty() {
                rows.push(row(["none", "-", "-", "-", "-"].map(str::to_owned)));
            }
            rows.extend(port.endpoints.iter().map(|endpoint| {
                row([
                    endpoint.address.to_string(),
                    endpoint.security.to_owned(),
                    match endpoint.warm_percent {
                        None => endpoint.weight.to_string(),
                        Some(percent) => format!("{} ({percent}%)", endpoint.weight),
                    },
                    endpoint.requests_open.to_string(),
                    endpoint.told(port.panic),
                ])
            }));
        }
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: [usize; 9] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(text, "{cell:width$}  ");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    let held = services.iter().filter_map(|service| Some((&service.name, service.callee.as_ref()?)));
    for (at, (name, callee)) in held.enumerate() {
        if at == 0 {
            text.push('\n');
        }
        callee::lines(name, callee, &mut text);
    }
    text
}
