//! References from one object to another.

use crate::convert::{Label, Port, Spanned, Subdomain, Text, choice, object};

object! {
    /// One port of one Service.
    pub(crate) struct ServiceRef {
        /// A v1 Service or a MeshService.
        name("name"): Spanned<Label>,
        /// Its namespace; the referring object's unless set.
        namespace("namespace"): Option<Label>,
        /// The Service's port.
        port("port"): Spanned<Port>,
    }
}

object! {
    /// What a route attaches to.
    pub(crate) struct ParentRef {
        /// `""` for a Service, `outrigger.dev` for a MeshService.
        group("group"): Option<Text>,
        /// `Service` or `MeshService`; routes of a Gateway are no concern of a sidecar.
        kind("kind"): Option<Text>,
        /// Its namespace; the route's unless set.
        namespace("namespace"): Option<Label>,
        /// Its name.
        name("name"): Spanned<Subdomain>,
        /// The name of one port of the Service.
        section_name("sectionName"): Option<Spanned<Subdomain>>,
        /// One port of the Service; all of them unless set.
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
    }
}

object! {
    /// What a policy holds for. It stands in the policy's own namespace.
    pub(crate) struct TargetRef {
        /// The API group of the kind; may be left out.
        group("group"): Option<Spanned<Text>>,
        /// The kind.
        kind("kind"): Spanned<TargetKind>,
        /// The name.
        name("name"): Spanned<Subdomain>,
        /// The name of one rule of the route.
        section_name("sectionName"): Option<Spanned<Text>>,
    }
}
