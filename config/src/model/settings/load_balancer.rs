//! Balancing.

use std::{sync::Arc, time::Duration};

/// How an endpoint is chosen.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancer {
    /// The rule.
    pub policy: Balance,
    /// What is hashed; only where the rule hashes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash_on: Option<HashOn>,
    /// Endpoints of the proxy's own zone come first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locality: Option<Locality>,
    /// How long the share of an endpoint that comes into use grows; never zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<Duration>,
    /// With fewer of the endpoints usable, in percent, all of them are used. 50 by default; 0 is never.
    #[serde(skip_serializing_if = "is_half")]
    pub panic_below: f64,
}

fn is_half(percent: &f64) -> bool {
    *percent == LoadBalancer::default().panic_below
}

impl Default for LoadBalancer {
    fn default() -> Self {
        Self {
            policy: Balance::default(),
            hash_on: None,
            locality: None,
            slow_start: None,
            panic_below: 50.0,
        }
    }
}

/// The rule by which an endpoint is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Balance {
    /// Power of two choices by open requests over weight; the default.
    #[default]
    LeastRequest,
    /// Power of two choices by a peak-sensitive moving average of latency, times open requests.
    PeakEwma,
    /// Smooth weighted round robin.
    RoundRobin,
    /// By weight.
    Random,
    /// By hash, on a ring.
    RingHash,
    /// By hash, in a table.
    Maglev,
}

/// Endpoints of the proxy's own zone come first.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Locality {
    /// Percent of the zone's endpoints, by weight, that must be usable for all requests to stay in it.
    pub spill_below: f64,
}

impl Locality {
    /// `spillBelow` where none is written.
    pub const SPILL_BELOW: f64 = 70.0;
}

/// What of a request is hashed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum HashOn {
    /// A header; the name is valid and lower-cased.
    Header(Arc<str>),
    /// A cookie.
    Cookie(Arc<str>),
    /// A query parameter, percent-decoded.
    Query(Arc<str>),
    /// The caller's address.
    SourceIp,
}

impl std::fmt::Display for HashOn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header {name}"),
            Self::Cookie(name) => write!(f, "cookie {name}"),
            Self::Query(name) => write!(f, "query {name}"),
            Self::SourceIp => f.write_str("sourceIp"),
        }
    }
}

impl Balance {
    /// The rule as policy files have it.
    pub fn word(self) -> &'static str {
        match self {
            Self::LeastRequest => "leastRequest",
            Self::PeakEwma => "peakEwma",
            Self::RoundRobin => "roundRobin",
            Self::Random => "random",
            Self::RingHash => "ringHash",
            Self::Maglev => "maglev",
        }
    }

    /// Whether it hashes something of a request.
    pub fn hashes(self) -> bool {
        matches!(self, Self::RingHash | Self::Maglev)
    }
}
