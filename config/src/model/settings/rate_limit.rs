//! `rateLimit`: how many requests a Service takes in a time.

use std::{sync::Arc, time::Duration};

use super::SettingOrigin;

/// One limit; the proxy before the service holds it.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct RateLimit {
    /// So many requests,
    pub requests: u32,
    /// in this time: 1 s to 24 h.
    pub per: Duration,
    /// So many at once after a pause.
    pub burst: u32,
    /// Whose requests are counted together.
    pub by: RateLimitBy,
    /// Who says so.
    pub origin: SettingOrigin,
}

/// Whose requests are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum RateLimitBy {
    /// All of them.
    Service,
    /// Those of one authenticated caller.
    Identity,
    /// Those from one address.
    SourceIp,
    /// Those with one value of a header, by its lower-cased name.
    Header(Arc<str>),
}
