//! `Sidecar`: where a local proxy listens, which app stands behind it, and who it is.

use super::{Metadata, ServiceRef};
use crate::convert::{Any, Flag, List, SocketAddress, Spanned, Strict, Subdomain, choice, object};

object! {
    /// One proxy for local use: its listeners, the app behind it, its identity.
    pub(crate) struct Sidecar {
        /// Name and namespace. The namespace is that of the caller for everything the app asks for.
        metadata("metadata"): Metadata,
        /// What the proxy does.
        spec("spec"): SidecarSpec,
    }
    ignored { "apiVersion": Any, "kind": Any, "status": Any, }
}

object! {
    /// What the proxy does.
    pub(crate) struct SidecarSpec {
        /// The service account of the app; `default` unless set.
        service_account("serviceAccount"): Option<Subdomain>,
        /// Listeners for requests to the app.
        inbound("inbound"): List<Inbound>,
        /// Listeners for requests of the app.
        outbound("outbound"): List<Outbound>,
        /// The admin API.
        admin("admin"): Option<Admin>,
    }
}

object! {
    /// A listener in front of the app.
    pub(crate) struct Inbound {
        /// Where to listen; port 0 is any free port.
        bind("bind"): Spanned<SocketAddress>,
        /// Where the app listens.
        app("app"): Spanned<SocketAddress>,
        /// What the app speaks; `auto`, whatever the caller speaks, unless set.
        protocol("protocol"): Strict<InboundProtocolWord>,
        /// The Service that this port serves, whose policy then holds here too.
        service("service"): Option<ServiceRef>,
    }
}

choice! {
    /// What an app speaks.
    pub(crate) enum InboundProtocolWord {
        /// The version that the caller speaks.
        Auto = "auto",
        /// HTTP/1.1.
        Http1 = "http1",
        /// HTTP/2 with prior knowledge.
        Http2 = "http2",
        /// gRPC.
        Grpc = "grpc",
    }
}

object! {
    /// A listener for requests of the app.
    pub(crate) struct Outbound {
        /// Where to listen; port 0 is any free port.
        bind("bind"): Spanned<SocketAddress>,
        /// All requests go to this Service; unless set, the request's authority decides.
        service("service"): Option<ServiceRef>,
        /// Allows a bind that other machines can reach.
        allow_remote("allowRemote"): Option<Flag>,
    }
}

object! {
    /// The admin API.
    pub(crate) struct Admin {
        /// Where to listen; `127.0.0.1:15000` unless set.
        bind("bind"): Spanned<SocketAddress>,
    }
}
