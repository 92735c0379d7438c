//! From checked objects to the resources of one Sidecar: references resolved, precedence settled, defaults filled in.
//!
//! Nothing is checked again here: a policy that reaches this point has no error. What a warning told about (a host
//! claimed twice, a backend that does not exist) is settled the way the warning said.

mod connections;
mod cors;
mod destination;
mod endpoints;
mod matches;
mod mesh;
mod mirrors;
mod routes;
pub(crate) mod session;
mod settings;
mod targets;
mod tls;
mod written;

pub(crate) use destination::qualified;
pub(crate) use endpoints::{SERVICE_NAME, service_of};
pub(crate) use matches::{everything, headers, query, target};
pub(crate) use settings::{Layers, Written};
pub(crate) use tls::server_name;
pub(crate) use written::Limit;

use std::sync::Arc;

use crate::{
    diagnostic::Sources,
    model::{
        Destination, InboundListener, InboundProtocol, ObjectName, Origin, OutboundListener, Resources,
        ServicePort, TrafficSettings, Workload,
    },
    objects::{Object, Objects},
    schema::{InboundProtocolWord, ServiceRef, Sidecar, SidecarSpec},
    services::Services,
    yaml::Span,
};

/// Everything that one compilation looks things up in.
struct Scope<'a> {
    objects: &'a Objects,
    sources: &'a Sources,
    services: Services<'a>,
    layers: Layers<'a>,
    /// The namespace of the Sidecar: what it calls is seen from there.
    namespace: &'a Arc<str>,
}

impl Scope<'_> {
    fn origin(&self, span: &Span) -> Origin {
        self.sources.origin(span)
    }
}

/// The label that tells the version of an app (Kubernetes' recommended labels).
const VERSION: &str = "app.kubernetes.io/version";

/// The resources for one Sidecar.
pub(crate) fn resources(objects: &Objects, sources: &Sources, sidecar: &Object<Sidecar>) -> Resources {
    let scope = Scope {
        objects,
        sources,
        services: Services::new(objects),
        layers: Layers::new(objects, sources),
        namespace: &sidecar.name.namespace,
    };
    let destinations = destination::all(&scope);
    Resources {
        mesh: mesh::config(&scope),
        workload: workload(&scope, sidecar, &destinations),
        endpoints: endpoints::all(&scope),
        destinations,
    }
}

fn workload(scope: &Scope<'_>, sidecar: &Object<Sidecar>, destinations: &[Arc<Destination>]) -> Workload {
    let spec = &sidecar.body.spec;
    let port = |reference: &Option<ServiceRef>| {
        reference.as_ref().map(|reference| service_port(reference, &sidecar.name.namespace))
    };
    let inbound = spec.inbound.iter().map(|listener| {
        let service = port(&listener.service);
        InboundListener {
            bind: listener.bind.value.0,
            app: listener.app.value.0,
            protocol: match listener.protocol.0 {
                None | Some(InboundProtocolWord::Auto) if is_opaque(destinations, service.as_ref()) => {
                    InboundProtocol::Tcp
                }
                None | Some(InboundProtocolWord::Auto) => InboundProtocol::Auto,
                Some(InboundProtocolWord::Tcp) => InboundProtocol::Tcp,
                Some(InboundProtocolWord::Http1) => InboundProtocol::Http1,
                Some(InboundProtocolWord::Http2) => InboundProtocol::Http2,
                Some(InboundProtocolWord::Grpc) => InboundProtocol::Grpc,
            },
            settings: settings_of(scope, service.as_ref()),
            service,
            origin: scope.origin(&listener.bind.span),
        }
    });
    let outbound = spec.outbound.iter().map(|listener| OutboundListener {
        bind: listener.bind.value.0,
        service: port(&listener.service),
        origin: scope.origin(&listener.bind.span),
    });
    Workload {
        name: sidecar.name.clone(),
        version: sidecar.body.metadata.labels.get(VERSION).map(|version| version.value.clone()),
        origin: scope.origin(&sidecar.span),
        service_account: spec
            .service_account
            .as_ref()
            .map_or_else(|| SidecarSpec::SERVICE_ACCOUNT.into(), |name| name.0.clone()),
        inbound: inbound.collect(),
        outbound: outbound.collect(),
        admin: spec.admin.as_ref().map_or_else(|| ([127, 0, 0, 1], 15000).into(), |admin| admin.bind.value.0),
    }
}

/// Whether the port that a listener serves passes connections on whole.
fn is_opaque(destinations: &[Arc<Destination>], service: Option<&ServicePort>) -> bool {
    let Some(name) = service else { return false };
    let found = destinations.binary_search_by(|destination| destination.name.cmp(&name.service));
    let ports = found.iter().flat_map(|at| &destinations[*at].ports);
    ports.into_iter().any(|port| port.port == name.port && port.protocol.is_opaque())
}

fn settings_of(scope: &Scope<'_>, service: Option<&ServicePort>) -> Arc<TrafficSettings> {
    match service {
        Some(port) => scope.layers.service(&port.service),
        None => scope.layers.defaults(),
    }
}

fn service_port(reference: &ServiceRef, namespace: &Arc<str>) -> ServicePort {
    let namespace =
        reference.namespace.as_ref().map_or_else(|| namespace.clone(), |namespace| namespace.0.clone());
    ServicePort {
        service: ObjectName { namespace, name: reference.name.value.0.clone() },
        port: reference.port.value.port(),
    }
}
