//! What becomes of connections that are passed on whole: the rules of ports and listeners of TCP and TLS.

use std::sync::Arc;

use outrigger_config::model::{Origin, RuleId, TrafficSettings};

use super::snapshot::Backend;
use crate::{
    route::ServerNames,
    telemetry::metrics::{ConnectionMetrics, InboundSecurity},
};

/// A rule: of a TCPRoute or TLSRoute, or the default of a Service port, of an inbound listener or of egress.
#[derive(Debug)]
pub struct ConnectionRule {
    /// The route rule; `None`: a default.
    pub id: Option<RuleId>,
    /// What its connections are counted under: `namespace/name:port`, `app` for an inbound listener without Service,
    /// `egress` for what means no Service.
    pub service: Arc<str>,
    /// `namespace/name/rule`, or `default`.
    pub route: Arc<str>,
    /// Where a route rule stands.
    pub origin: Option<Origin>,
    /// What is passed on is TLS between caller and endpoint: none is added, and a request in the clear is none of it.
    pub tls: bool,
    /// Settings of its connections.
    pub settings: Arc<TrafficSettings>,
    /// Backends with their shares.
    pub backends: Box<[ConnectionBackend]>,
    /// Sum of the weights.
    pub total_weight: u64,
    /// Counts how connections come; only an inbound listener's rule does, where the proxy has an identity.
    pub(crate) security: Option<Arc<InboundSecurity>>,
    /// What connections are counted on.
    pub metrics: Arc<ConnectionMetrics>,
}

/// One backend of a rule.
#[derive(Debug)]
pub struct ConnectionBackend {
    /// Its share of `ConnectionRule::total_weight`.
    pub weight: u32,
    /// The backend, or why there is none: then its share is reset.
    pub target: Result<Arc<Backend>, Arc<str>>,
}

/// A Service port whose connections are passed on whole.
#[derive(Debug)]
pub struct Opaque {
    /// Sends to the port's own endpoints with the Service's settings. Connections that no route takes are counted here.
    pub default_rule: Arc<ConnectionRule>,
    /// `None`: no route is attached and `default_rule` holds.
    pub routes: Option<ConnectionRoutes>,
}

impl Opaque {
    /// Every rule of its routes.
    pub(crate) fn routed(&self) -> impl Iterator<Item = &Arc<ConnectionRule>> {
        let (all, by_name) = match &self.routes {
            None => (None, None),
            Some(ConnectionRoutes::All(rule)) => (Some(rule), None),
            Some(ConnectionRoutes::ByName(names)) => (None, Some(names)),
        };
        all.into_iter().chain(by_name.into_iter().flat_map(ServerNames::rules))
    }
}

/// The routes of an opaque port.
#[derive(Debug)]
pub enum ConnectionRoutes {
    /// A TCPRoute: its first rule takes every connection.
    All(Arc<ConnectionRule>),
    /// TLSRoutes: the server name of the ClientHello decides, which has to be read first.
    ByName(ServerNames),
}
