//! What stands at this proxy: its listeners and, for inbound ones, the Service they serve.

use std::{net::SocketAddr, sync::Arc};

use super::{Identity, MtlsMode, ObjectName, Origin, ServicePort, TrafficSettings};

/// One proxy's place in the mesh.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Workload {
    /// The Sidecar object; its namespace is the caller namespace of all outbound requests.
    pub name: ObjectName,
    /// The version of the app: the Sidecar's label `app.kubernetes.io/version`.
    pub version: Option<Arc<str>>,
    /// Where the Sidecar stands.
    pub origin: Origin,
    /// The zone in which the proxy stands.
    pub zone: Option<Arc<str>>,
    /// The service account, `default` unless set.
    pub service_account: Arc<str>,
    /// Listeners for requests to the app.
    pub inbound: Vec<InboundListener>,
    /// Listeners for requests of the app.
    pub outbound: Vec<OutboundListener>,
    /// Who the proxy is; `None`: it speaks no mutual TLS.
    pub identity: Option<Arc<Identity>>,
    /// The admin API; `127.0.0.1:15000` unless set.
    pub admin: SocketAddr,
}

/// A listener in front of the app.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct InboundListener {
    /// Where to listen. Port 0: any free port.
    pub bind: SocketAddr,
    /// What stands behind it; behind an intercepted one, at ports that `ports` does not list.
    #[serde(flatten)]
    pub to: InboundApp,
    /// What stands at single ports that a caller may have dialled, by port; only behind an intercepted listener.
    pub ports: Vec<InboundPort>,
    /// Where it was written.
    pub origin: Origin,
}

impl InboundListener {
    /// Whether it takes connections that are redirected, and no others.
    pub fn is_intercepted(&self) -> bool {
        self.to.app.is_none()
    }

    /// The Service behind it; behind an intercepted one, at the port that was dialled.
    pub fn service(&self, dialled: Option<u16>) -> Option<&ServicePort> {
        let listed = self.ports.iter().find(|port| Some(port.port) == dialled);
        listed.map_or(&self.to, |port| &port.to).service.as_ref()
    }

    /// Every app that has an address of its own, with the place where that was written.
    pub fn apps(&self) -> impl Iterator<Item = (SocketAddr, &Origin)> {
        let ports = self.ports.iter().map(|port| (&port.to, &port.origin));
        [(&self.to, &self.origin)].into_iter().chain(ports).filter_map(|(to, origin)| Some((to.app?, origin)))
    }
}

/// An app, or one port of it.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct InboundApp {
    /// Where it listens; `None`: at the address that the caller dialled.
    pub app: Option<SocketAddr>,
    /// What callers, and the app, speak.
    pub protocol: InboundProtocol,
    /// The Service that this port serves.
    pub service: Option<ServicePort>,
    /// Whether callers speak mutual TLS.
    pub mtls: MtlsMode,
    /// The Service's settings; the mesh defaults where there is no Service. Only what a callee enforces counts.
    pub settings: Arc<TrafficSettings>,
}

/// A port of the app behind an intercepted listener.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct InboundPort {
    /// The port that the caller dialled.
    pub port: u16,
    /// What stands there.
    #[serde(flatten)]
    pub to: InboundApp,
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
    /// As `Auto` where the first bytes are HTTP, and as `Tcp` where they are not.
    Detect,
}

/// A listener for the app's own calls.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct OutboundListener {
    /// Where to listen. Port 0: any free port.
    pub bind: SocketAddr,
    /// All requests go to this Service; `None`: the request's authority decides.
    pub service: Option<ServicePort>,
    /// Connections may be redirected to it: then the address that the caller dialled counts.
    pub intercepted: bool,
    /// Where it was written.
    pub origin: Origin,
}
