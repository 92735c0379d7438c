//! Mesh-wide settings.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{MtlsMode, TrafficSettings};

/// The Mesh object, with defaults filled in.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct MeshConfig {
    /// `cluster.local` by default.
    pub trust_domain: Arc<str>,
    /// Whether mutual TLS is spoken at ports that say nothing of their own.
    pub mtls: MtlsMode,
    /// What happens to destinations that no Service names.
    pub egress: Egress,
    /// As `egress`, for requests in HTTP-proxy form (absolute URI): the mode that is written, `Deny` where none is.
    pub proxy_form_egress: Egress,
    /// Resource limits.
    pub limits: Limits,
    /// What a request to an unknown destination gets.
    pub defaults: Arc<TrafficSettings>,
    /// `None`: no access log.
    pub access_log: Option<AccessLog>,
    /// `None`: no traces, and trace headers pass untouched.
    pub tracing: Option<Tracing>,
}

/// Egress mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Egress {
    /// Sent to the authority's own address.
    Allow,
    /// As Allow, with a log line each.
    Log,
    /// 404 `no_service`.
    Deny,
}

/// Access log form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessLog {
    /// One JSON object a line, on standard output.
    Json,
}

/// Where spans go, and of which requests.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tracing {
    /// The OTLP/gRPC collector: `http://host:port`.
    pub otlp: Arc<str>,
    /// The share of traces that are recorded where the caller has not decided: 0 to 100.
    pub sample_percent: f64,
    /// The forms of trace context, in the order in which they are looked for; at least one, none twice.
    pub propagation: Vec<Propagation>,
    /// Attributes of the resource, beside or instead of the Sidecar's.
    pub resource: BTreeMap<Arc<str>, Arc<str>>,
}

impl Tracing {
    /// The share of traces where none is written.
    pub const SAMPLE_PERCENT: f64 = 1.0;
}

/// A form of trace context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Propagation {
    /// `traceparent` and `tracestate`.
    W3c,
    /// `b3`.
    B3,
    /// `x-b3-traceid` and its kin.
    B3Multi,
}

/// Limits of RELIABILITY section 2; the field names are those of `Mesh.spec.limits`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Bytes of a request head; 61440 by default, more is 431.
    pub header_bytes: u32,
    /// Fields of a request head; 100 by default.
    pub header_count: u32,
    /// Bytes of a request URI; 16384 by default, more is 414.
    pub uri_bytes: u32,
    /// Bytes of trailers; 16384 by default.
    pub trailer_bytes: u32,
    /// From the first byte of a head to its end, and from accept to the first complete head; 10 s by default.
    pub header_timeout: Duration,
    /// From the first byte of a connection whose protocol is not declared to what tells HTTP or TLS; 100 ms by default.
    pub detect_timeout: Duration,
    /// Open HTTP/2 streams per downstream connection; 250 by default.
    pub max_concurrent_streams: u32,
    /// A downstream connection without a request is closed after this; 1 h by default.
    pub connection_idle: Duration,
    /// An idle upstream HTTP/1 connection is kept this long at most; 3 s by default.
    pub pool_idle: Duration,
    /// Open downstream connections; `None`: min(50,000, nofile/2).
    pub max_connections: Option<u32>,
    /// Bytes of a request body kept for a repeat; 65536 by default.
    pub replay_bytes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes: 60 * 1024,
            header_count: 100,
            uri_bytes: 16 * 1024,
            trailer_bytes: 16 * 1024,
            header_timeout: Duration::from_secs(10),
            detect_timeout: Duration::from_millis(100),
            max_concurrent_streams: 250,
            connection_idle: Duration::from_secs(3600),
            pool_idle: Duration::from_secs(3),
            max_connections: None,
            replay_bytes: 64 * 1024,
        }
    }
}
