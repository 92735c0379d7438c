//! The `RequestMirror` filter of routes: where copies of requests go, and how many of them.

use crate::convert::{Bounded, Label, Port, Spanned, Subdomain, Text, object};

object! {
    /// Sends copies of requests to another backend and throws its answers away. The caller never notices: whatever
    /// becomes of a copy, its request goes on as if there were none. All requests are copied unless `percent` or
    /// `fraction` says how many; both is an error (OR114).
    ///
    /// A mirror gets a request as the list of filters that it stands in leaves it, with the Host that it has then. Copies
    /// have the time limits of the Service that gets them, and are not repeated. A copy that falls 1 MiB behind is given
    /// up; of 256 that are open to one Service on one worker, the next is not sent. Upgrades and CONNECT are not copied.
    pub(crate) struct RequestMirror {
        /// Where the copies go, each to one endpoint.
        backend_ref("backendRef"): MirrorRef,
        /// The percentage of requests that is copied.
        percent("percent"): Option<Spanned<Bounded<0, 100>>>,
        /// The fraction of requests that is copied.
        fraction("fraction"): Option<Fraction>,
    }
}

object! {
    /// A Service or MeshService that gets copies.
    pub(crate) struct MirrorRef {
        /// `""` for a Service; `outrigger.dev` for a MeshService.
        group("group"): Option<Text> = "",
        /// `Service`, which may be a MeshService of that name, or `MeshService`.
        kind("kind"): Option<Text> = "Service",
        /// Its name. One that does not exist is a warning (OR143), and nothing is copied.
        name("name"): Spanned<Subdomain>,
        /// Its namespace; the route's unless set.
        namespace("namespace"): Option<Label>,
        /// Its port; a reference of kind MeshService to one with a single port may go without.
        port("port"): Option<Spanned<Port>>,
    }
}

object! {
    /// A part of a whole.
    pub(crate) struct Fraction {
        /// So many; at most `denominator` (OR116).
        numerator("numerator"): Spanned<Bounded<0, 2_147_483_647>>,
        /// Of so many.
        denominator("denominator"): Option<Spanned<Bounded<1, 2_147_483_647>>> = 100,
    }
}
