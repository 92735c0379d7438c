//! Builds the rules of connections that are passed on whole.

use std::sync::Arc;

use outrigger_config::model::{
    self, AppProtocol, DestinationPort, InboundProtocol, RouteKind, TrafficSettings,
};

use super::Builder;
use crate::{
    ctx::Side,
    route::ServerNames,
    runtime::{
        inbound::Connections,
        opaque::{ConnectionBackend, ConnectionRoutes, ConnectionRule, Opaque},
        snapshot::{Backend, Port},
    },
    telemetry::metrics::InboundSecurity,
};

/// Every backend that the connection rules of a port point at.
pub(super) fn backends(port: &Port) -> impl Iterator<Item = &Arc<Backend>> {
    let rules = port.opaque.iter().flat_map(Opaque::routed);
    rules.flat_map(|rule| &rule.backends).filter_map(|backend| backend.target.as_ref().ok())
}

impl Builder<'_> {
    pub(super) fn opaque(&self, backend: &Arc<Backend>, from: &DestinationPort) -> Opaque {
        let tls = from.protocol == AppProtocol::Tls;
        let default_rule = ConnectionRule { tls, ..self.default_connections(Side::Outbound, backend) };
        let routes = from.connections.as_ref().and_then(|rules| {
            if rules.iter().any(|rule| rule.id.kind == RouteKind::TLSRoute) {
                let compiled = rules.iter().map(|rule| (self.connection_rule(&default_rule, rule), &**rule));
                return Some(ConnectionRoutes::ByName(ServerNames::build(compiled.collect())));
            }
            let first = rules.iter().min_by_key(|rule| rule.rank)?;
            Some(ConnectionRoutes::All(self.connection_rule(&default_rule, first)))
        });
        Opaque { default_rule: Arc::new(default_rule), routes }
    }

    /// What becomes of redirected connections to a port that says nothing. One with TLS of ours to its endpoints says enough:
    /// a TLS endpoint's own messages could not be told from a server that speaks first.
    pub(super) fn either(
        &self,
        backend: &Arc<Backend>,
        from: &DestinationPort,
    ) -> Option<Arc<ConnectionRule>> {
        let says_nothing = from.undeclared && backend.protection.outward.is_none();
        says_nothing.then(|| Arc::new(self.default_connections(Side::Outbound, backend)))
    }

    pub(super) fn app_connections(
        &self,
        protocol: InboundProtocol,
        backend: &Arc<Backend>,
        security: Option<Arc<InboundSecurity>>,
    ) -> Connections {
        let rule =
            || Arc::new(ConnectionRule { security, ..self.default_connections(Side::Inbound, backend) });
        match protocol {
            InboundProtocol::Tcp => Connections::Whole(rule()),
            InboundProtocol::Detect => Connections::Either(rule()),
            InboundProtocol::Auto
            | InboundProtocol::Http1
            | InboundProtocol::Http2
            | InboundProtocol::Grpc => Connections::Requests(rule()),
        }
    }

    fn connection_rule(&self, default: &ConnectionRule, from: &model::ConnectionRule) -> Arc<ConnectionRule> {
        let backends: Box<[_]> = from
            .backends
            .iter()
            .map(|backend| ConnectionBackend { weight: backend.weight, target: self.target(&backend.target) })
            .collect();
        let route: Arc<str> = from.id.to_string().into();
        Arc::new(ConnectionRule {
            id: Some(from.id.clone()),
            metrics: self.metrics.connections(Side::Outbound, &default.service, &route),
            service: default.service.clone(),
            route,
            origin: Some(from.origin.clone()),
            tls: default.tls,
            settings: from.settings.clone(),
            security: None,
            total_weight: backends.iter().map(|backend| u64::from(backend.weight)).sum(),
            backends,
        })
    }

    pub(super) fn egress_connections(&self, settings: &Arc<TrafficSettings>) -> Arc<ConnectionRule> {
        match self.previous {
            Some(previous) if previous.egress_connections.settings == *settings => {
                previous.egress_connections.clone()
            }
            _ => Arc::new(self.default_connections(Side::Outbound, &self.egress_backend(settings))),
        }
    }

    /// A rule without route: everything to one backend, with the backend's own settings.
    pub(super) fn default_connections(&self, side: Side, backend: &Arc<Backend>) -> ConnectionRule {
        ConnectionRule {
            id: None,
            service: backend.label.clone(),
            route: "default".into(),
            origin: None,
            tls: false,
            settings: backend.settings.clone(),
            backends: [ConnectionBackend { weight: 1, target: Ok(backend.clone()) }].into(),
            total_weight: 1,
            security: None,
            metrics: self.metrics.connections(side, &backend.label, "default"),
        }
    }
}
