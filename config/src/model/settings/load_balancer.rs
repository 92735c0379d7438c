//! Balancing.

/// How an endpoint is chosen.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancer {
    /// The rule.
    pub policy: Balance,
    /// With fewer of the endpoints usable, in percent, all of them are used. 50 by default; 0 is never.
    #[serde(skip_serializing_if = "is_half")]
    pub panic_below: f64,
}

fn is_half(percent: &f64) -> bool {
    *percent == LoadBalancer::default().panic_below
}

impl Default for LoadBalancer {
    fn default() -> Self {
        Self { policy: Balance::default(), panic_below: 50.0 }
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
}
