//! One Sidecar: its listeners, what stands behind them, and what its ports speak.

use std::{net::SocketAddr, sync::Arc};

use super::{Scope, mtls};
use crate::{
    convert::Flag,
    model::{
        Destination, DestinationPort, InboundApp, InboundListener, InboundPort, InboundProtocol,
        OutboundListener, ServicePort, TrafficSettings, Workload,
    },
    objects::Object,
    references::service_port,
    schema::{Inbound, InboundProtocolWord, ServiceRef, Sidecar, SidecarSpec},
};

/// The label that tells the version of an app (Kubernetes' recommended labels).
const VERSION: &str = "app.kubernetes.io/version";

pub(super) fn of(
    scope: &Scope<'_>,
    sidecar: &Object<Sidecar>,
    destinations: &[Arc<Destination>],
) -> Workload {
    let spec = &sidecar.body.spec;
    let apps = Apps { scope, destinations, namespace: &sidecar.name.namespace };
    let outbound = spec.outbound.iter().map(|listener| OutboundListener {
        bind: listener.bind.value.0,
        service: apps.port(&listener.service),
        intercepted: is_set(listener.intercepted),
        origin: scope.origin(&listener.bind.span),
    });
    Workload {
        name: sidecar.name.clone(),
        version: sidecar.body.metadata.labels.get(VERSION).map(|version| version.value.clone()),
        origin: scope.origin(&sidecar.span),
        zone: spec.zone.as_ref().map(|zone| zone.0.clone()),
        service_account: spec
            .service_account
            .as_ref()
            .map_or_else(|| SidecarSpec::SERVICE_ACCOUNT.into(), |name| name.0.clone()),
        identity: mtls::identity(scope, sidecar),
        inbound: spec.inbound.iter().map(|listener| apps.listener(listener)).collect(),
        outbound: outbound.collect(),
        admin: spec.admin.as_ref().map_or_else(|| ([127, 0, 0, 1], 15000).into(), |admin| admin.bind.value.0),
    }
}

/// What apps are compiled with.
struct Apps<'a> {
    scope: &'a Scope<'a>,
    destinations: &'a [Arc<Destination>],
    namespace: &'a Arc<str>,
}

impl Apps<'_> {
    fn listener(&self, from: &Inbound) -> InboundListener {
        let intercepted = is_set(from.intercepted);
        let unsaid = if intercepted { InboundProtocol::Detect } else { InboundProtocol::Auto };
        let app = from.app.as_ref().map(|app| app.value.0).filter(|_| !intercepted);
        let mut ports: Vec<InboundPort> = from
            .ports
            .iter()
            .map(|port| InboundPort {
                port: port.port.value.port(),
                to: self.app(
                    port.app.as_ref().map(|app| app.value.0),
                    (port.protocol.0, InboundProtocol::Detect),
                    (&port.service, None),
                ),
                origin: self.scope.origin(&port.port.span),
            })
            .collect();
        ports.sort_by_key(|port| port.port);
        InboundListener {
            bind: from.bind.value.0,
            to: self.app(app, (from.protocol.0, unsaid), (&from.service, mtls::address(from))),
            ports,
            origin: self.scope.origin(&from.bind.span),
        }
    }

    /// `unsaid` is what the app speaks where neither the Sidecar nor the Service says anything; `bind` is where callers reach it,
    /// if that is one address.
    fn app(
        &self,
        app: Option<SocketAddr>,
        (word, unsaid): (Option<InboundProtocolWord>, InboundProtocol),
        (service, bind): (&Option<ServiceRef>, Option<SocketAddr>),
    ) -> InboundApp {
        let service = self.port(service);
        let protocol = match word.unwrap_or(InboundProtocolWord::Auto) {
            InboundProtocolWord::Auto => match service.as_ref().and_then(|name| self.destination(name)) {
                Some(port) if port.protocol.is_opaque() => InboundProtocol::Tcp,
                Some(port) if !port.undeclared => InboundProtocol::Auto,
                _ => unsaid,
            },
            InboundProtocolWord::Tcp => InboundProtocol::Tcp,
            InboundProtocolWord::Http1 => InboundProtocol::Http1,
            InboundProtocolWord::Http2 => InboundProtocol::Http2,
            InboundProtocolWord::Grpc => InboundProtocol::Grpc,
        };
        InboundApp {
            app,
            protocol,
            mtls: self.scope.modes.of_app(service.as_ref(), bind).mode,
            settings: self.settings(service.as_ref()),
            service,
        }
    }

    fn settings(&self, service: Option<&ServicePort>) -> Arc<TrafficSettings> {
        match service {
            Some(port) => self.scope.layers.service(&port.service),
            None => self.scope.layers.defaults(),
        }
    }

    fn port(&self, reference: &Option<ServiceRef>) -> Option<ServicePort> {
        Some(service_port(reference.as_ref()?, self.namespace))
    }

    /// The port of a Service that a listener serves.
    fn destination(&self, name: &ServicePort) -> Option<&DestinationPort> {
        let at = self.destinations.binary_search_by(|one| one.name.cmp(&name.service)).ok()?;
        self.destinations[at].ports.iter().find(|port| port.port == name.port)
    }
}

fn is_set(flag: Option<Flag>) -> bool {
    flag.is_some_and(|flag| flag.0)
}
