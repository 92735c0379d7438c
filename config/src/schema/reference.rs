//! References from one object to another.

use crate::{
    convert::{Label, Port, Spanned, Subdomain, Text, choice, object},
    model::RouteKind,
};

object! {
    /// One port of one Service.
    pub(crate) struct ServiceRef {
        /// A v1 Service or a MeshService.
        name("name"): Spanned<Label>,
        /// Its namespace; the referring object's unless set.
        namespace("namespace"): Option<Label>,
        /// The Service's port, by number.
        port("port"): Spanned<Port>,
    }
}

object! {
    /// What a route attaches to. A parent of another kind is skipped with a note (OR119): routes of a Gateway are no
    /// concern of a sidecar.
    pub(crate) struct ParentRef {
        /// `""` for a Service, which must be written, `outrigger.dev` for a MeshService.
        group("group"): Option<Text> = "gateway.networking.k8s.io",
        /// `Service` or `MeshService`. A Service may be a MeshService of that name.
        kind("kind"): Option<Text> = "Gateway",
        /// Its namespace; the route's unless set.
        namespace("namespace"): Option<Label>,
        /// Its name.
        name("name"): Spanned<Subdomain>,
        /// The name of one port of the Service; all ports unless set.
        section_name("sectionName"): Option<Spanned<Subdomain>>,
        /// The number of one port of the Service; all ports unless set.
        port("port"): Option<Spanned<Port>>,
    }
}

choice! {
    /// The kind of object that a policy holds for.
    pub(crate) enum TargetKind {
        /// A v1 Service or a MeshService.
        Service = "Service",
        /// A route, or one rule of it.
        HTTPRoute = "HTTPRoute",
        /// A route, or one rule of it.
        GRPCRoute = "GRPCRoute",
        /// A route: of the policy, `timeouts.connect` and `timeouts.streamIdle` act on its connections.
        TLSRoute = "TLSRoute",
        /// A route: of the policy, `timeouts.connect` and `timeouts.streamIdle` act on its connections.
        TCPRoute = "TCPRoute",
    }
}

impl TargetKind {
    /// The kind of route that it is; `None`: a Service.
    pub(crate) fn route(self) -> Option<RouteKind> {
        match self {
            Self::Service => None,
            Self::HTTPRoute => Some(RouteKind::HTTPRoute),
            Self::GRPCRoute => Some(RouteKind::GRPCRoute),
            Self::TLSRoute => Some(RouteKind::TLSRoute),
            Self::TCPRoute => Some(RouteKind::TCPRoute),
        }
    }
}

object! {
    /// What a policy holds for. It stands in the policy's own namespace.
    pub(crate) struct TargetRef {
        /// The API group of the kind; that of `kind` unless set.
        group("group"): Option<Spanned<Text>>,
        /// The kind.
        kind("kind"): Spanned<TargetKind>,
        /// The name.
        name("name"): Spanned<Subdomain>,
        /// The name of one rule of the route; the whole route unless set.
        section_name("sectionName"): Option<Spanned<Text>>,
    }
}
