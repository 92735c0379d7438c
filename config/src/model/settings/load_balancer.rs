//! Balancing.

/// How an endpoint is chosen.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct LoadBalancer {
    /// The rule.
    pub policy: Balance,
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
}
