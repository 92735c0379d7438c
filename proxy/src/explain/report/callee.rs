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
