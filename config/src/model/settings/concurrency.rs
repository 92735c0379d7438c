//! `concurrency`: how many requests a Service works on at once.

use std::sync::Arc;

/// A limit that finds its own value; the proxy before the service holds it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Concurrency {
    /// It never falls below this; at least 1.
    pub min_limit: u32,
    /// It never rises above this; not below `min_limit`.
    pub max_limit: u32,
    /// Which requests are let in first; `None`: all alike.
    pub priority: Option<Priority>,
}

impl Concurrency {
    /// `min_limit` where none is written.
    pub const MIN_LIMIT: u32 = 10;
    /// `max_limit` where none is written.
    pub const MAX_LIMIT: u32 = 1000;
}

/// Which requests are let in first.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Priority {
    /// The request header that says it, lower-cased.
    pub header: Arc<str>,
    /// Values that mean high priority.
    pub high: Vec<Arc<str>>,
    /// Values that mean low priority.
    pub low: Vec<Arc<str>>,
}
