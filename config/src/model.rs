//! What a proxy is told: policy that is valid, defaulted and merged, in a form that has no impossible states.
//!
//! `compile` makes these values out of checked policy files; the proxy builds its `Snapshot` out of them and reads
//! nothing else. They are plain data: no I/O, no clock, no matcher that is already compiled. Every value that a person
//! wrote carries its [`Origin`], so that a decision can be explained in terms of the file that caused it.

mod connection;
mod cors;
mod destination;
mod mesh;
mod mtls;
mod precedence;
mod route;
mod session;
mod settings;
mod tls;
mod workload;

pub use connection::{ConnectionBackend, ConnectionRule, ServerNameMatch};
pub use cors::{Cors, HostPattern, Names, OriginPattern};
pub use destination::{
    AppProtocol, Destination, DestinationPort, Endpoint, EndpointAddress, Endpoints, ServicePort,
};
pub use mesh::{AccessLog, Egress, Limits, MeshConfig, Propagation, Tracing};
pub use mtls::{Identity, IdentityFiles, IdentitySource, MtlsMode};
pub use precedence::Precedence;
pub use route::{
    Backend, BackendTarget, CallMatch, HeaderMatch, HeaderModifier, Mirror, PathMatch, PathRewrite,
    QueryMatch, Redirect, Rewrite, RouteKind, RouteMatch, RouteRule, RuleId, Share, StringMatch,
};
pub use session::{SessionCarrier, SessionPersistence};
pub use settings::{
    AbortWith, Backoff, Balance, Check, CircuitBreaker, Concurrency, FailurePercent, Fallback, Fault,
    FaultAbort, FaultDelay, FixedResponse, HashOn, HealthCheck, LoadBalancer, Locality, OpenTime,
    OutlierDetection, Priority, RateLimit, RateLimitBy, Retry, RetryBudget, RetryOn, ServiceLimits,
    SettingLayer, SettingOrigin, SettingOrigins, SuccessRate, Timeouts, TrafficSettings, Trip,
};
pub use tls::{ClientIdentity, FileRef, OutwardTls};
pub use workload::{InboundApp, InboundListener, InboundPort, InboundProtocol, OutboundListener, Workload};

use std::{fmt, sync::Arc};

/// The place in a policy file where something was written. Lines and columns count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Origin {
    /// The file as the user named it.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// The namespace and name of an object; shown as `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct ObjectName {
    /// The namespace; objects that name none are in `default`.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

impl ObjectName {
    /// Names the object `name` of `namespace`.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Everything that one proxy needs: what `compile` gives for one Sidecar.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Resources {
    /// Mesh-wide settings.
    pub mesh: MeshConfig,
    /// The listeners of this proxy and the Services behind the inbound ones.
    pub workload: Workload,
    /// Every destination as the proxy's namespace sees it, sorted by name.
    pub destinations: Vec<Arc<Destination>>,
    /// The endpoints of every destination port, sorted by service.
    pub endpoints: Vec<Arc<Endpoints>>,
}
