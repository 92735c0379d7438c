//! How to talk to a destination: TrafficPolicy bodies after precedence, defaults filled in, per leaf.

mod circuit_breaker;
mod concurrency;
mod fault;
mod health_check;
mod load_balancer;
mod outlier_detection;
mod rate_limit;
mod retry;
mod timeouts;

pub use circuit_breaker::{CircuitBreaker, Fallback, FixedResponse, OpenTime, ServiceLimits, Trip};
pub use concurrency::{Concurrency, Priority};
pub use fault::{AbortWith, Fault, FaultAbort, FaultDelay};
pub use health_check::{Check, HealthCheck};
pub use load_balancer::{Balance, HashOn, LoadBalancer, Locality};
pub use outlier_detection::{FailurePercent, OutlierDetection, SuccessRate};
pub use rate_limit::{RateLimit, RateLimitBy};
pub use retry::{Backoff, Retry, RetryBudget, RetryOn};
pub use timeouts::Timeouts;

use std::{borrow::Cow, collections::BTreeMap};

use super::{ObjectName, Origin};

/// The settings of one Service port or one route rule.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct TrafficSettings {
    /// Time limits.
    pub timeouts: Timeouts,
    /// When a failed attempt is repeated.
    pub retry: Retry,
    /// How an endpoint is chosen. Taken from the settings of the backend's own Service port, never of a rule.
    pub load_balancer: LoadBalancer,
    /// When a Service is called no more, and what its requests get then.
    #[serde(skip_serializing_if = "CircuitBreaker::is_none")]
    pub circuit_breaker: CircuitBreaker,
    /// What the proxy before the service lets through, each limit for itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rate_limits: Vec<RateLimit>,
    /// What the proxy before the service lets in at once; `None`: everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// What is done to requests on purpose.
    #[serde(skip_serializing_if = "Fault::is_none")]
    pub fault: Fault,
    /// Which endpoints are left out for a while because of what requests to them came to. As `load_balancer`, the
    /// Service port's own.
    #[serde(skip_serializing_if = "OutlierDetection::is_default")]
    pub outlier_detection: OutlierDetection,
    /// How endpoints are asked whether they are well; `None`: they are not. As `load_balancer`, the Service port's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// Where each of them was written, by its path in a TrafficPolicy, such as `timeouts.request`. What is missing here
    /// is built in.
    pub origins: SettingOrigins,
}

/// Where settings were written, by their path in a TrafficPolicy.
pub type SettingOrigins = BTreeMap<Cow<'static, str>, SettingOrigin>;

/// Where one setting was written.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SettingOrigin {
    /// What it was written on.
    pub layer: SettingLayer,
    /// The TrafficPolicy, where one says it.
    pub policy: Option<ObjectName>,
    /// The place.
    pub origin: Origin,
}

/// What a setting was written on, the most specific first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum SettingLayer {
    /// A field of the route rule itself.
    Rule,
    /// A TrafficPolicy on the rule.
    PolicyOnRule,
    /// A TrafficPolicy on the route.
    PolicyOnRoute,
    /// A TrafficPolicy on the Service.
    PolicyOnService,
    /// A TrafficPolicy on every Service of its namespace.
    PolicyOnNamespace,
    /// `Mesh.spec.defaults`.
    MeshDefaults,
}
