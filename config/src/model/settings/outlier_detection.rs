//! Outlier detection: which endpoints are left out for a while because of what requests to them came to.

use std::time::Duration;

/// Which endpoints are ejected, and for how long. Each detector is off where it is `None`; with all of them off nothing is.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OutlierDetection {
    /// Answers of 500 and more in a row. 5 by default.
    #[serde(rename = "consecutive5xx")]
    pub consecutive_5xx: Option<u32>,
    /// Answers of 502, 503, 504 in a row. 5 by default.
    pub consecutive_gateway_errors: Option<u32>,
    /// Failures without an answer in a row. 5 by default.
    pub consecutive_local_errors: Option<u32>,
    /// How often rates are judged, and how long an endpoint must be in use for an ejection to be forgotten. 10 s by default.
    pub interval: Duration,
    /// How long the first ejection lasts. 30 s by default.
    pub base_ejection: Duration,
    /// How long any lasts at most; never less than `base_ejection`. 300 s by default.
    pub max_ejection: Duration,
    /// How many of the endpoints may be out at once, in percent; one always may. 10 by default.
    pub max_ejection_percent: f64,
    /// Endpoints that succeed far less often than the others. Off by default.
    pub success_rate: Option<SuccessRate>,
    /// Endpoints that fail too often. Off by default.
    pub failure_percent: Option<FailurePercent>,
}

impl Default for OutlierDetection {
    fn default() -> Self {
        Self {
            consecutive_5xx: Some(5),
            consecutive_gateway_errors: Some(5),
            consecutive_local_errors: Some(5),
            interval: Duration::from_secs(10),
            base_ejection: Duration::from_secs(30),
            max_ejection: Duration::from_secs(300),
            max_ejection_percent: 10.0,
            success_rate: None,
            failure_percent: None,
        }
    }
}

impl OutlierDetection {
    /// Whether it is as where nobody has written anything.
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// No detector.
    pub fn off() -> Self {
        Self {
            consecutive_5xx: None,
            consecutive_gateway_errors: None,
            consecutive_local_errors: None,
            ..Self::default()
        }
    }

    /// Whether no detector is on.
    pub fn is_off(&self) -> bool {
        let runs = [self.consecutive_5xx, self.consecutive_gateway_errors, self.consecutive_local_errors];
        runs.iter().all(Option::is_none) && !self.judges_rates()
    }

    /// Whether some detector looks at what happened in an interval.
    pub fn judges_rates(&self) -> bool {
        self.success_rate.is_some() || self.failure_percent.is_some()
    }
}

/// Ejects endpoints whose share of successes is below the mean by so many standard deviations.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SuccessRate {
    /// 1.9 by default.
    pub stdev_factor: f64,
    /// Judged from so many endpoints on that had `min_requests`. 5 by default.
    pub min_hosts: u32,
    /// An endpoint with fewer in the interval is not looked at. 100 by default.
    pub min_requests: u32,
}

impl Default for SuccessRate {
    fn default() -> Self {
        Self { stdev_factor: 1.9, min_hosts: 5, min_requests: 100 }
    }
}

/// Ejects endpoints of whose requests so many fail.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FailurePercent {
    /// From here on, in percent. 85 by default.
    pub threshold: f64,
    /// Judged from so many endpoints on that had `min_requests`. 5 by default.
    pub min_hosts: u32,
    /// An endpoint with fewer in the interval is not looked at. 50 by default.
    pub min_requests: u32,
}

impl Default for FailurePercent {
    fn default() -> Self {
        Self { threshold: 85.0, min_hosts: 5, min_requests: 50 }
    }
}
