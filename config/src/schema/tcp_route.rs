//! gateway.networking.k8s.io/v1 `TCPRoute` (v1alpha2 has the same fields), with every upstream field.

use super::{Metadata, ParentRef};
use crate::convert::{Any, Bounded, Label, List, Port, Spanned, Subdomain, Text, object};

object! {
    /// Sends the connections of the Services that it names as its parents to backends by weight.
    ///
    /// It holds on ports of TCP, of TLS, and on those that declare nothing, which are ports of TCP then. Each connection
    /// draws one backend, and goes to another of its endpoints where the first cannot be reached. A port has routes of one kind: TLSRoutes
    /// displace TCPRoutes there (OR147). Of several TCPRoutes on one port the oldest takes every connection (OR145).
    ///
    /// Objects of `v1alpha2` are read too, and may hold several rules, as they could.
    pub(crate) struct TCPRoute {
        /// Name and namespace. In the Service's own namespace it serves every caller; in another one it serves callers from
        /// there, and replaces the former for them.
        metadata("metadata"): Metadata,
        /// The route.
        spec("spec"): TCPRouteSpec,
    }
    ignored { "apiVersion": Any, "kind": Any, "status": Any, }
}

object! {
    /// The route.
    pub(crate) struct TCPRouteSpec {
        /// The Services whose connections it routes.
        parent_refs("parentRefs"): List<ParentRef, 32>,
        /// The rule, which takes every connection; exactly one (OR112, OR116). Of `v1alpha2` there may be more, of which the
        /// first does (OR145).
        rules("rules"): List<ConnectionRuleBody, 16>,
    }
    ignored { "useDefaultGateways": Text, }
}

object! {
    /// Where connections go.
    pub(crate) struct ConnectionRuleBody {
        /// The name by which logs and metrics refer to it; its number from 0 unless set.
        name("name"): Option<Spanned<Subdomain>>,
        /// Where connections go, by weight; at least one (OR112), but of earlier versions, where without one connections are
        /// reset. All weights 0 are refused (OR144).
        backend_refs("backendRefs"): List<ConnectionBackendRef, 16>,
    }
}

object! {
    /// Where a share of the connections goes. A backend that does not exist, or has no endpoint, gets its share too, and
    /// those connections are reset (OR143).
    pub(crate) struct ConnectionBackendRef {
        /// `""` for a Service, `outrigger.dev` for a MeshService.
        group("group"): Option<Text> = "",
        /// `Service` or `MeshService`. A Service may be a MeshService of that name.
        kind("kind"): Option<Text> = "Service",
        /// Its name.
        name("name"): Spanned<Subdomain>,
        /// Its namespace; the route's unless set.
        namespace("namespace"): Option<Label>,
        /// Its port; a MeshService with one port may go without.
        port("port"): Option<Spanned<Port>>,
        /// Its share relative to the others; 0 is none.
        weight("weight"): Option<Spanned<Bounded<0, 1_000_000>>> = 1,
    }
}
