//! Destinations: a Service or MeshService with all routes and policies that hold for one caller namespace.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::{ConnectionRule, MtlsMode, ObjectName, Origin, OutwardTls, RouteRule, TrafficSettings};
use crate::spiffe::SpiffeId;

/// One port of one Service; shown as `namespace/name:port`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct ServicePort {
    /// The Service.
    pub service: ObjectName,
    /// Its port.
    pub port: u16,
}

impl std::fmt::Display for ServicePort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.service, self.port)
    }
}

/// A Service or MeshService, complete: a request never runs with half of its policy.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Destination {
    /// Canonical name.
    pub name: ObjectName,
    /// Where the object stands.
    pub origin: Origin,
    /// Every authority it answers to, lower-cased, without port and trailing dot. A host belongs to one destination
    /// of a [`super::Resources`]: conflicts are settled before.
    pub hosts: Vec<Arc<str>>,
    /// Cluster IPs; empty for a MeshService and for headless Services.
    pub cluster_ips: Vec<IpAddr>,
    /// Ports, sorted by number, at least one.
    pub ports: Vec<DestinationPort>,
    /// TLS to the endpoints of every port; `None`: plaintext.
    pub tls: Option<Arc<OutwardTls>>,
}

/// One port of a destination.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct DestinationPort {
    /// The Service's port number.
    pub port: u16,
    /// The protocol that its endpoints speak.
    pub protocol: AppProtocol,
    /// The policy does not say what they speak: who is redirected here, to whom no name tells what the port is for, may
    /// speak anything.
    pub undeclared: bool,
    /// Whether its endpoints are spoken to by mutual TLS, where they have an identity.
    pub mtls: MtlsMode,
    /// The settings of the Service itself, merged: what holds where no route rule says otherwise.
    pub settings: Arc<TrafficSettings>,
    /// The rules of all routes attached to this port, all of one kind. `None`: no route is attached, requests go to this port's own
    /// endpoints. `Some`: a request that no rule matches is answered 404.
    pub routes: Option<Vec<Arc<RouteRule>>>,
    /// The rules of the TCPRoutes or TLSRoutes attached to this port, by rank; only a port whose protocol is opaque has
    /// any, and it has no `routes`. `None`: no such route is attached, connections go to this port's own endpoints.
    /// `Some`: a connection that no rule takes is reset.
    pub connections: Option<Vec<Arc<ConnectionRule>>>,
}

/// The protocol that an endpoint speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AppProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// gRPC, which is HTTP/2 with trailers.
    Grpc,
    /// Bytes that are passed as they are.
    Tcp,
    /// TLS between the caller and the endpoint, passed as it is.
    Tls,
}

impl AppProtocol {
    /// Whether connections are passed on whole, and not request by request.
    pub fn is_opaque(self) -> bool {
        matches!(self, Self::Tcp | Self::Tls)
    }

    /// The protocol as people write it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

/// The endpoints behind one destination port.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Endpoints {
    /// Whose endpoints they are.
    pub service: ServicePort,
    /// In the order of the policy files.
    pub endpoints: Vec<Endpoint>,
}

/// One endpoint of a destination port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Endpoint {
    /// Where it listens.
    pub address: EndpointAddress,
    /// Its share of the traffic, relative to the others'; 1 unless set, never 0.
    pub weight: u32,
    /// The zone it stands in.
    pub zone: Option<Arc<str>>,
    /// Its labels.
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    /// Who it is: whoever else answers there is refused. `None`: it speaks no mutual TLS.
    pub identity: Option<SpiffeId>,
    /// Where it was written.
    pub origin: Origin,
}

/// How an endpoint is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EndpointAddress {
    /// A socket address.
    Ip(SocketAddr),
    /// A name that is resolved and kept fresh; each of its addresses is an endpoint.
    Dns {
        /// The name, lower-cased.
        host: Arc<str>,
        /// The port.
        port: u16,
    },
}
