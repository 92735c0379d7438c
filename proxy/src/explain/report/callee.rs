//! What an explanation says of limits that the proxy before a service holds.

use serde::Serialize;

use super::Setting;

/// What the proxy before a service holds, for whoever calls.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Callee {
    /// That proxy is this one: the request comes in by it.
    pub here: bool,
    /// Rate limits; all of them count.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rate_limits: Vec<RateLimit>,
    /// How many requests are let in at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
}

/// A limit on requests at once.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Concurrency {
    /// It never falls below this.
    pub min_limit: Setting<u32>,
    /// It never rises above this.
    pub max_limit: Setting<u32>,
    /// `high`, `default` or `low`, by the header that policy names; absent: all requests are alike.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Setting<String>>,
    /// How much of the limit requests of this one's priority may fill.
    pub share_percent: u32,
}

/// One rate limit.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RateLimit {
    /// What it lets through: `100 requests per 1s, 50 at once`.
    pub limit: Setting<String>,
    /// With whose requests this one is counted.
    pub counted_with: String,
}
