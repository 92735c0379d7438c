//! What references mean: parents of routes and backends. One answer for both validation and compilation.

use std::sync::Arc;

use crate::{
    convert::{Label, Port, Spanned, Subdomain, Text},
    model::{AppProtocol, ObjectName, RouteKind, ServicePort},
    objects::Object,
    schema::{BackendRef, MirrorRef, ParentRef, Route, ServiceRef},
    services::{EntryPort, OUR_GROUP, Services, Source},
};

/// The Service that a parentRef names, unless it names something else.
pub(crate) fn parent_service(parent: &ParentRef, route_namespace: &Arc<str>) -> Option<ObjectName> {
    let group = parent.group.as_ref().map_or("gateway.networking.k8s.io", |group| &group.0);
    let kind = parent.kind.as_ref().map_or("Gateway", |kind| &kind.0);
    if !matches!((group, kind), ("", "Service") | (OUR_GROUP, "MeshService")) {
        return None;
    }
    let namespace = parent.namespace.as_ref().map_or_else(|| route_namespace.clone(), |n| n.0.clone());
    Some(ObjectName { namespace, name: parent.name.value.0.clone() })
}

/// The port that a reference means, from an object of the namespace.
pub(crate) fn service_port(reference: &ServiceRef, namespace: &Arc<str>) -> ServicePort {
    let namespace = reference.namespace.as_ref().map_or(namespace, |named| &named.0).clone();
    let service = ObjectName { namespace, name: reference.name.value.0.clone() };
    ServicePort { service, port: reference.port.value.port() }
}

/// Whether a route of the kind holds on this port of the Service that its parentRef names.
pub(crate) fn holds_on(kind: RouteKind, parent: &ParentRef, port: &EntryPort<'_>) -> bool {
    means(parent, port) && port.takes(kind)
}

/// Whether a parentRef means this port of its Service.
pub(crate) fn means(parent: &ParentRef, port: &EntryPort<'_>) -> bool {
    parent.port.as_ref().is_none_or(|number| number.value.port() == port.number)
        && parent.section_name.as_ref().is_none_or(|name| &*name.value.0 == port.name)
}

/// A reference to a backend, wherever it stands.
#[derive(Clone, Copy)]
pub(crate) struct Pointer<'a> {
    pub(crate) group: Option<&'a Text>,
    pub(crate) kind: Option<&'a Text>,
    pub(crate) name: &'a Spanned<Subdomain>,
    pub(crate) namespace: Option<&'a Label>,
    pub(crate) port: Option<&'a Spanned<Port>>,
}

macro_rules! pointer_from {
    ($($written:ty),*) => { $(
        impl<'a> From<&'a $written> for Pointer<'a> {
            fn from(written: &'a $written) -> Self {
                Self {
                    group: written.group.as_ref(),
                    kind: written.kind.as_ref(),
                    name: &written.name,
                    namespace: written.namespace.as_ref(),
                    port: written.port.as_ref(),
                }
            }
        }
    )* };
}

pointer_from!(BackendRef, MirrorRef);

/// What a backendRef resolves to.
pub(crate) enum Resolved {
    /// A port that exists.
    Port {
        /// Its Service.
        service: ObjectName,
        /// The port.
        port: u16,
    },
    /// Nothing.
    Nothing {
        /// The Service that was meant; `None` if the reference is of a kind that cannot be a backend.
        service: Option<ObjectName>,
        /// Why, in words.
        reason: String,
    },
}

/// Resolves a reference to a backend that stands in a route. A backend that cannot be spoken to as the route wants is none, as upstream has it.
pub(crate) fn backend_of<'a>(
    services: &Services<'_>,
    route: &Object<Route>,
    reference: impl Into<Pointer<'a>>,
) -> Resolved {
    let resolved = backend(services, reference.into(), &route.name.namespace);
    let Resolved::Port { service, port } = &resolved else { return resolved };
    let spoken = services.get(service).and_then(|entry| entry.port(*port)?.protocol);
    let reason = match (route.body.kind, spoken) {
        (RouteKind::GRPCRoute, Some(AppProtocol::Http1)) => "speaks HTTP/1.1, and gRPC needs HTTP/2",
        (RouteKind::GRPCRoute | RouteKind::HTTPRoute, Some(AppProtocol::Tls)) => {
            "speaks TLS, and requests are sent in the clear"
        }
        _ => return resolved,
    };
    let reason = format!("port {port} of `{service}` {reason}");
    Resolved::Nothing { service: Some(service.clone()), reason }
}

fn backend(services: &Services<'_>, reference: Pointer<'_>, route_namespace: &Arc<str>) -> Resolved {
    let group = reference.group.map_or("", |group| &group.0);
    let kind = reference.kind.map_or("Service", |kind| &kind.0);
    let nothing = |service: Option<ObjectName>, reason: String| Resolved::Nothing { service, reason };
    if !matches!((group, kind), ("", "Service") | (OUR_GROUP, "MeshService")) {
        let full = if group.is_empty() { kind.to_owned() } else { format!("{group}/{kind}") };
        return nothing(None, format!("{full} cannot be a backend"));
    }
    let namespace = reference.namespace.map_or_else(|| route_namespace.clone(), |n| n.0.clone());
    let service = ObjectName { namespace, name: reference.name.value.0.clone() };
    let entry =
        services.get(&service).filter(|entry| kind == "Service" || matches!(entry.source, Source::Mesh(_)));
    let Some(entry) = entry else {
        return nothing(Some(service.clone()), format!("there is no {kind} `{service}`"));
    };
    let port = match (reference.port, entry.ports.as_slice()) {
        (Some(port), _) => port.value.port(),
        (None, [only]) => only.number,
        (None, _) => return nothing(Some(service.clone()), format!("`{service}` has several ports")),
    };
    if !entry.ports.iter().any(|known| known.number == port) {
        return nothing(Some(service.clone()), format!("`{service}` has no port {port}"));
    }
    Resolved::Port { service, port }
}
