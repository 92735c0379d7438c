//! Every metric of the proxy: one list of names, and the handles that count.
//!
//! A handle is found or made by its label values when a snapshot is built; a request only writes cells of its own
//! worker. Handles are held weakly here: what no snapshot and no open request uses any more disappears from the next
//! scrape, so reloads do not grow memory. No label value comes from a request.

mod backend;
mod circuit_breaker;
mod collect;
mod concurrency;
mod connection;
mod detection;
mod discovery;
mod endpoints;
mod fallback;
mod handles;
mod identity;
mod listener;
mod mesh;
mod mirror;
mod process;
mod rate_limit;
mod route;
mod security;
mod spans;

pub use backend::{AttemptOutcome, BackendMetrics, RetryDenied, RetryReason, TlsFault};
pub use circuit_breaker::{BreakerLimit, CircuitBreakerMetrics};
pub use concurrency::{ConcurrencyMetrics, PriorityClass};
pub use connection::{ConnectionMetrics, Direction};
pub use detection::Detected;
pub use endpoints::{CheckOutcome, Detector, EndpointMetrics, ProbeOutcome};
pub use fallback::{FallbackKind, FallbackMetrics};
pub use identity::{PeerFault, Rotation};
pub use listener::{ListenerMetrics, ParseError};
pub use mesh::{CallerFault, MeshFault};
pub use mirror::{MirrorMetrics, MirrorOutcome};
pub use rate_limit::{RateLimitMetrics, RateLimitOutcome};
pub use route::{FaultKind, RouteMetrics, SessionOutcome, TunnelKind};
pub use security::{InboundSecurity, Security};
pub use spans::SpansDropped;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use prometheus::{Encoder as _, Registry, TEXT_FORMAT, TextEncoder};

use super::shard::Shared;
use crate::ctx::Side;
use handles::Handles;

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Cumulative buckets, with sum and count.
    Histogram,
}

/// One metric: what stands in the list, and what a scrape may hold.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// Its labels, in the order in which handles give the values.
    pub labels: &'static [&'static str],
    /// What it says, in a sentence.
    pub help: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What bounds the number of its series.
    pub bound: &'static str,
}

macro_rules! families {
    ($($ident:ident: $kind:ident $name:literal $labels:expr, $help:literal, $bound:literal;)+) => {
        $(pub(crate) const $ident: Family =
            Family { name: $name, labels: &$labels, help: $help, kind: Kind::$kind, bound: $bound };)+
        /// Every metric of the proxy.
        pub const FAMILIES: &[Family] = &[$($ident,)+];
    };
}

families! {
    REQUESTS: Counter "outrigger_requests_total" ["side", "service", "route", "code", "flag"],
        "Requests that have ended, by the status that the caller got and the access-log flag.",
        "2 x routes x (53 codes x 18 flags, of which a handful occur)";
    REQUEST_DURATION: Histogram "outrigger_request_duration_seconds" ["side", "service", "route"],
        "From the complete request head to the last byte of the answer.", "2 x routes x 20";
    REQUESTS_OPEN: Gauge "outrigger_requests_open" ["side", "service", "route"],
        "Requests that have begun and not ended.", "2 x routes";
    TUNNELS: Counter "outrigger_tunnels_total" ["side", "service", "route", "kind"],
        "Requests whose connection became a tunnel: WebSocket, another upgrade, CONNECT.", "2 x routes x 3";
    TUNNELS_OPEN: Gauge "outrigger_tunnels_open" ["side", "service", "route"],
        "Tunnels that have begun and not ended; their requests are open too.", "2 x routes";
    RATE_LIMITED: Counter "outrigger_rate_limit_requests_total" ["service", "policy", "outcome"],
        "Requests by what a rate limit said of them; `service` without a port (or the app's address), `policy` is `mesh` for the defaults.",
        "limits x 3";
    RATE_LIMIT_CALLERS: Gauge "outrigger_rate_limit_callers" ["service", "policy"],
        "Callers that a rate limit counts apart now.", "limits";
    CONCURRENCY_LIMIT: Gauge "outrigger_concurrency_limit" ["service"],
        "How many requests the app behind this proxy may work on at once, as the limit stands.", "services";
    CONCURRENCY_IN_FLIGHT: Gauge "outrigger_concurrency_in_flight" ["service"],
        "Requests that count towards that limit.", "services";
    CONCURRENCY_BASELINE: Gauge "outrigger_concurrency_baseline_seconds" ["service"],
        "What the app takes to answer without load, as far as is known.", "services";
    CONCURRENCY_REFUSED: Counter "outrigger_concurrency_refused_total" ["service", "priority"],
        "Requests that were not let in because of that limit.", "services x 3";
    FAULTS: Counter "outrigger_faults_total" ["service", "route", "kind"],
        "Faults that policy has made on purpose: delays, and answers that no service made.", "routes x 2";
    SESSIONS: Counter "outrigger_sessions_total" ["side", "service", "route", "outcome"],
        "Requests of rules with session persistence that an endpoint has answered, by what became of the session.",
        "routes x 7";
    ATTEMPTS: Counter "outrigger_attempts_total" ["service", "outcome"],
        "Attempts to get an answer from an endpoint.", "services x 15";
    ATTEMPT_DURATION: Histogram "outrigger_attempt_duration_seconds" ["service"],
        "From an attempt's start to the answer's head or its failure.", "services x 20";
    RETRIES: Counter "outrigger_retries_total" ["service", "reason"],
        "Attempts after a request's first, by what made them necessary.", "services x 8";
    RETRIES_DENIED: Counter "outrigger_retries_denied_total" ["service", "reason"],
        "Failed attempts that were not repeated, by what forbade it.", "services x 8";
    BREAKER_STATE: Gauge "outrigger_circuit_breaker_state" ["service"],
        "Where the circuit breaker stands: 0 closed, 1 open, 2 half-open.", "services";
    BREAKER_CHANGES: Counter "outrigger_circuit_breaker_changes_total" ["service", "to"],
        "Changes of the circuit breaker, by what it came to.", "services x 3";
    BREAKER_REFUSED: Counter "outrigger_circuit_breaker_refused_total" ["service", "limit"],
        "Attempts, connections and repeats that the circuit breaker kept back, by the limit.", "services x 5";
    FALLBACKS: Counter "outrigger_fallbacks_total" ["service", "kind"],
        "Requests that their Service did not answer, by what they got instead.", "services x 4";
    FALLBACK_KEPT: Gauge "outrigger_fallback_kept_bytes" [],
        "Bytes of the last good answers that are kept for fallbacks.", "1";
    BREAKER_HELD: Gauge "outrigger_circuit_breaker_held" ["service", "limit"],
        "What is open or waits, of what the circuit breaker limits.", "services x 4";
    MIRRORED: Counter "outrigger_mirror_requests_total" ["service", "outcome"],
        "Copies of requests that were sent to a mirror and have ended.", "mirrors x 12";
    MIRRORED_OPEN: Gauge "outrigger_mirror_requests_open" ["service"],
        "Copies of requests that have begun and not ended.", "mirrors";
    ENDPOINTS: Gauge "outrigger_endpoints" ["service", "state"],
        "Endpoints by whether requests may go to them.", "services x 4";
    EJECTIONS: Counter "outrigger_ejections_total" ["service", "detector"],
        "Endpoints that outlier detection has ejected, by what ejected them.", "services x 6";
    EJECTIONS_WITHHELD: Counter "outrigger_ejections_withheld_total" ["service", "detector"],
        "Endpoints that were not ejected because too many others were out.", "services x 6";
    PROBES: Counter "outrigger_ejection_probes_total" ["service", "outcome"],
        "Requests that were to show that an ejected endpoint works again.", "services x 2";
    HEALTH_CHECKS: Counter "outrigger_health_checks_total" ["service", "outcome"],
        "Active checks of endpoints that have ended.", "services x 6";
    HEALTH_CHANGES: Counter "outrigger_health_changes_total" ["service", "to"],
        "Endpoints of which active checks say something else than before.", "services x 2";
    PANIC: Gauge "outrigger_endpoints_panic" ["service"],
        "1 while too few endpoints are usable, so that all of them are used.", "services";
    PANICS: Counter "outrigger_endpoints_panics_total" ["service"],
        "How often that has begun.", "services";
    UPSTREAM_CONNECTIONS: Counter "outrigger_upstream_connections_total" ["service"],
        "Connections opened to endpoints.", "services";
    UPSTREAM_CONNECTIONS_OPEN: Gauge "outrigger_upstream_connections_open" ["service"],
        "Open connections to endpoints.", "services";
    UPSTREAM_CONNECT_FAILURES: Counter "outrigger_upstream_connect_failures_total" ["service"],
        "Connections to endpoints that could not be made.", "services";
    UPSTREAM_TLS_FAILURES: Counter "outrigger_upstream_tls_failures_total" ["service", "reason"],
        "Connections to endpoints on which TLS could not be had, by what was wrong.", "services x 28";
    MESH_HANDSHAKES: Counter "outrigger_mesh_handshakes_total" ["side", "result"],
        "Handshakes of mutual TLS with other sidecars, by what came of them.", "2 x 31";
    DOWNSTREAM_CONNECTIONS: Counter "outrigger_downstream_connections_total" ["side", "listener"],
        "Connections accepted.", "listeners";
    DOWNSTREAM_CONNECTIONS_OPEN: Gauge "outrigger_downstream_connections_open" ["side", "listener"],
        "Open accepted connections.", "listeners";
    DOWNSTREAM_CONNECTIONS_REFUSED: Counter "outrigger_downstream_connections_refused_total" ["side", "listener"],
        "Connections closed at once because the limit was reached.", "listeners";
    TCP_CONNECTIONS: Counter "outrigger_tcp_connections_total" ["side", "service", "route", "flag"],
        "Connections passed on whole that have ended, by the access-log flag.",
        "2 x routes x 18 flags, of which a handful occur";
    TCP_CONNECTIONS_OPEN: Gauge "outrigger_tcp_connections_open" ["side", "service", "route"],
        "Connections passed on whole that have begun and not ended.", "2 x routes";
    TCP_CONNECTION_DURATION: Histogram "outrigger_tcp_connection_duration_seconds" ["side", "service", "route"],
        "From the accepted connection to its end.", "2 x routes x 20";
    TCP_BYTES: Counter "outrigger_tcp_bytes_total" ["side", "service", "route", "direction"],
        "Bytes of connections passed on whole, in from the caller and out to it.", "2 x routes x 2";
    DETECTIONS: Counter "outrigger_protocol_detections_total" ["side", "port", "outcome"],
        "Redirected connections of which nobody had declared what they speak, by the port that was dialled and what told it.",
        "(64 ports + 2) x 7";
    PARSE_ERRORS: Counter "outrigger_downstream_parse_errors_total" ["reason"],
        "Connections that ended because their bytes could not be read as HTTP.", "7";
    INBOUND_SECURITY: Counter "outrigger_inbound_security_total" ["service", "security"],
        "Requests and connections passed on whole that were let in, by whether their caller has shown who it is; where this proxy has an identity.",
        "services x 2";
    PLAINTEXT_REFUSED: Counter "outrigger_plaintext_refused_total" ["service"],
        "Requests and connections that were refused because their caller did not show who it is.", "services";
    INFORMATIONAL_DROPPED: Counter "outrigger_informational_dropped_total" [],
        "1xx answers that HTTP/1 could not carry on.", "1";
    TRAILERS_DROPPED: Counter "outrigger_trailers_dropped_total" [],
        "Trailers lost because an HTTP/1 caller had not been told of them.", "1";
    CONFIG_GENERATION: Gauge "outrigger_config_generation" [],
        "The number of the policy in use; rises by one with each change.", "1";
    CONFIG_REJECTIONS: Counter "outrigger_config_rejections_total" [],
        "Policy changes that were refused; the former policy stayed.", "1";
    CONFIG_LAST_SUCCESS: Gauge "outrigger_config_last_reload_success_timestamp_seconds" [],
        "When the policy in use was taken up, as Unix time.", "1";
    CONFIG_STALE: Gauge "outrigger_config_stale_seconds" [],
        "For how long the control plane has been away; 0 while it is there. Only of a proxy that has one.", "1";
    DISCOVERY_REFUSED: Counter "outrigger_discovery_refused_resources_total" ["type"],
        "Resources of the control plane that could not be used, by type; the former ones stayed.", "4";
    IDENTITY_NOT_AFTER: Gauge "outrigger_identity_not_after_seconds" [],
        "When this proxy's own certificate ends, as Unix time.", "1";
    IDENTITY_ROTATIONS: Counter "outrigger_identity_rotations_total" ["result"],
        "Certificates, keys and bundles that came after the first, by whether they are used; what is rejected changes nothing.", "2";
    DNS_RESOLUTIONS: Counter "outrigger_dns_resolutions_total" ["outcome"],
        "Look-ups of DNS endpoints.", "2";
    ACCESS_LOG_DROPPED: Counter "outrigger_access_log_dropped_total" [],
        "Access-log lines dropped because standard output was too slow.", "1";
    SPANS_EXPORTED: Counter "outrigger_spans_exported_total" [],
        "Spans that the collector has taken.", "1";
    SPANS_DROPPED: Counter "outrigger_spans_dropped_total" ["reason"],
        "Spans of sampled requests that no collector got, by what was in the way.", "5";
    SPANS_QUEUED: Gauge "outrigger_spans_queued" [],
        "Spans that wait to be sent, those of a batch that is tried again among them.", "1";
    BUILD_INFO: Gauge "outrigger_build_info" ["version"],
        "1, with the version of this binary.", "1";
    PROCESS_CPU: Counter "process_cpu_seconds_total" [],
        "User and system CPU time.", "1";
    PROCESS_RSS: Gauge "process_resident_memory_bytes" [],
        "Resident memory.", "1";
    PROCESS_FDS: Gauge "process_open_fds" [],
        "Open file descriptors.", "1";
    PROCESS_MAX_FDS: Gauge "process_max_fds" [],
        "The limit on open file descriptors.", "1";
    PROCESS_THREADS: Gauge "process_threads" [],
        "Threads of the process.", "1";
    PROCESS_START: Gauge "process_start_time_seconds" [],
        "When the process started, as Unix time.", "1";
}

/// Label values of a route handle.
type RouteKey = (Side, Box<str>, Box<str>);

/// All counters of one proxy.
#[derive(Debug)]
struct Counters {
    workers: usize,
    routes: Mutex<Handles<RouteKey, RouteMetrics>>,
    connections: Mutex<Handles<RouteKey, ConnectionMetrics>>,
    backends: Mutex<Handles<Box<str>, BackendMetrics>>,
    endpoints: Mutex<Handles<Box<str>, EndpointMetrics>>,
    fallbacks: Mutex<Handles<Box<str>, FallbackMetrics>>,
    fallback_kept: Shared,
    circuit_breakers: Mutex<Handles<Box<str>, CircuitBreakerMetrics>>,
    mirrors: Mutex<Handles<Box<str>, MirrorMetrics>>,
    rate_limits: Mutex<Handles<[Box<str>; 2], RateLimitMetrics>>,
    concurrency: Mutex<Handles<Box<str>, ConcurrencyMetrics>>,
    listeners: Mutex<Handles<(Side, Box<str>), ListenerMetrics>>,
    inbound_security: Mutex<Handles<Box<str>, InboundSecurity>>,
    detections: detection::Detections,
    mesh_handshakes: mesh::Handshakes,
    parse_errors: [Shared; ParseError::ALL.len()],
    informational_dropped: Shared,
    trailers_dropped: Shared,
    config_generation: Shared,
    config_rejections: Shared,
    config_last_success_ms: Shared,
    discovery: discovery::Discovery,
    dns_resolved: Shared,
    dns_failed: Shared,
    access_log_dropped: Shared,
    spans: spans::SpanCounts,
    identity: identity::IdentityCounts,
}

/// The proxy's metrics. Handles that are asked for twice with the same label values are the same handle.
#[derive(Debug)]
pub struct Metrics {
    counters: Arc<Counters>,
    registry: Registry,
}

impl Metrics {
    /// Metrics for `workers` workers, numbered from 0.
    pub fn new(workers: usize) -> Arc<Self> {
        let counters = Arc::new(Counters {
            workers,
            routes: Mutex::new(Handles::new()),
            connections: Mutex::new(Handles::new()),
            backends: Mutex::new(Handles::new()),
            endpoints: Mutex::new(Handles::new()),
            fallbacks: Mutex::new(Handles::new()),
            fallback_kept: Shared::default(),
            circuit_breakers: Mutex::new(Handles::new()),
            mirrors: Mutex::new(Handles::new()),
            rate_limits: Mutex::new(Handles::new()),
            concurrency: Mutex::new(Handles::new()),
            listeners: Mutex::new(Handles::new()),
            inbound_security: Mutex::new(Handles::new()),
            detections: detection::Detections::default(),
            mesh_handshakes: mesh::Handshakes::default(),
            parse_errors: Default::default(),
            informational_dropped: Shared::default(),
            trailers_dropped: Shared::default(),
            config_generation: Shared::default(),
            config_rejections: Shared::default(),
            config_last_success_ms: Shared::default(),
            discovery: discovery::Discovery::default(),
            dns_resolved: Shared::default(),
            dns_failed: Shared::default(),
            access_log_dropped: Shared::default(),
            spans: spans::SpanCounts::default(),
            identity: identity::IdentityCounts::default(),
        });
        let registry = Registry::new();
        let collector = Box::new(collect::Scrape::new(counters.clone()));
        registry.register(collector).expect("the list of families has no duplicate: a test says so");
        Arc::new(Self { counters, registry })
    }

    /// Connections that are open on all listeners of one side; a connection keeps the counters of a closed listener.
    pub fn downstream_open(&self, side: Side) -> u64 {
        let listeners = self.counters.listeners.lock().alive();
        let of_side = listeners.iter().filter(|listener| listener.side == side);
        of_side.filter_map(|listener| listener.connections_open()).sum()
    }

    /// A connection ended because its bytes could not be read.
    pub fn parse_error(&self, reason: ParseError) {
        self.counters.parse_errors[reason as usize].add(1);
    }

    /// A 1xx answer was dropped.
    pub fn informational_dropped(&self) {
        self.counters.informational_dropped.add(1);
    }

    /// Trailers were dropped.
    pub fn trailers_dropped(&self) {
        self.counters.trailers_dropped.add(1);
    }

    /// A policy was taken up.
    pub fn config_applied(&self, generation: u64, now: SystemTime) {
        self.counters.config_generation.set(generation);
        let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let milliseconds = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
        self.counters.config_last_success_ms.set(milliseconds);
    }

    /// A policy was refused.
    pub fn config_rejected(&self) {
        self.counters.config_rejections.add(1);
    }

    /// A DNS endpoint was looked up.
    pub fn dns_resolved(&self) {
        self.counters.dns_resolved.add(1);
    }

    /// The look-up of a DNS endpoint failed.
    pub fn dns_failed(&self) {
        self.counters.dns_failed.add(1);
    }

    /// `lines` of the access log were dropped.
    pub fn access_log_dropped(&self, lines: u64) {
        self.counters.access_log_dropped.add(lines);
    }

    /// All metrics in the text format of Prometheus.
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        // Writing to memory cannot fail, and empty families, the encoder's other complaint, are left out before.
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics could not be encoded");
        }
        String::from_utf8(text).unwrap_or_default()
    }

    /// The content type of [`Metrics::render`].
    pub const CONTENT_TYPE: &'static str = TEXT_FORMAT;
}

#[cfg(test)]
mod tests;
