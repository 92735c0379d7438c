//! What stands at this proxy: its listeners and, for inbound ones, the Service they serve.

use std::{net::SocketAddr, sync::Arc};

use super::{ObjectName, Origin, ServicePort, TrafficSettings};

/// One proxy's place in the mesh.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Workload {
    /// The Sidecar object; its namespace is the caller namespace of all outbound requests.
    pub name: ObjectName,
    /// The version of the app: the Sidecar's label `app.kubernetes.io/version`.
    pub version: Option<Arc<str>>,
    /// Where the Sidecar stands.
    pub origin: Origin,
    /// The service account, `default` unless set.
    pub service_account: Arc<str>,
    /// Listeners for requests to the app.
    pub inbound: Vec<InboundListener>,
    /// Listeners for requests of the app.
    pub outbound: Vec<OutboundListener>,
    /// The admin API; `127.0.0.1:15000` unless set.
    pub admin: SocketAddr,
}

/// A listener in front of the app.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct InboundListener {
    /// Where to listen. Port 0: any free port.
    pub bind: SocketAddr,
    /// Where the app listens.
    pub app: SocketAddr,
    /// What callers, and the app, speak.
    pub protocol: InboundProtocol,
    /// The Service that this port serves.
    pub service: Option<ServicePort>,
    /// The Service's settings; the mesh defaults where there is no Service. Only what a callee enforces counts.
    pub settings: Arc<TrafficSettings>,
    /// Where it was written.
    pub origin: Origin,
}

/// What an inbound listener expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum InboundProtocol {
    /// HTTP/1 or HTTP/2 by the caller's first bytes; the app gets the version that the caller spoke.
    Auto,
    /// Callers may speak either; the app gets HTTP/1.1.
    Http1,
    /// Callers may speak either; the app gets HTTP/2.
    Http2,
    /// As `Http2`.
    Grpc,
    /// Connections are passed to the app as they are.
    Tcp,
}

/// A listener for the app's own calls.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct OutboundListener {
    /// Where to listen. Port 0: any free port.
    pub bind: SocketAddr,
    /// All requests go to this Service; `None`: the request's authority decides.
    pub service: Option<ServicePort>,
    /// Where it was written.
    pub origin: Origin,
}
