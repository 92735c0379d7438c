//! `Sidecar`: where a local proxy listens, which app stands behind it, and who it is.

use super::{IdentityBody, Metadata, ServiceRef};
use crate::convert::{
    Any, Flag, List, Port, SocketAddress, Spanned, Strict, Subdomain, Text, choice, object,
};

object! {
    /// One proxy for local use: its listeners and the app behind it.
    ///
    /// `outrigger proxy -f FILE` becomes the Sidecar of the file; where files hold several, `--sidecar NAMESPACE/NAME`
    /// chooses. All other objects of the files are the mesh as that proxy sees it.
    pub(crate) struct Sidecar {
        /// Name and namespace. The namespace is that of the caller for everything the app asks for: short names of
        /// Services, and which routes hold.
        metadata("metadata"): Metadata,
        /// What the proxy does.
        spec("spec"): SidecarSpec,
    }
    ignored { "apiVersion": Any, "kind": Any, "status": Any, }
}

impl SidecarSpec {
    /// The service account of an app that names none.
    pub(crate) const SERVICE_ACCOUNT: &str = "default";
}

object! {
    /// What the proxy does.
    pub(crate) struct SidecarSpec {
        /// The service account of the app: the last part of its identity; `default` unless set. Where it is set, the certificate
        /// of `identity` must be for `spiffe://<trust domain>/ns/<namespace>/sa/<serviceAccount>`.
        service_account("serviceAccount"): Option<Subdomain>,
        /// The zone in which it stands: endpoints of the same `zone` are near, for `loadBalancer.locality`.
        zone("zone"): Option<Text>,
        /// Listeners for requests to the app, each with a port of its own (OR149).
        inbound("inbound"): List<Inbound>,
        /// Listeners for requests of the app, each with a port of its own (OR149).
        outbound("outbound"): List<Outbound>,
        /// Who the proxy is to others of the mesh. Unless set it speaks no mutual TLS: it calls in plaintext, and is called
        /// in plaintext.
        identity("identity"): Option<IdentityBody>,
        /// The admin API; `127.0.0.1:15000` unless set.
        admin("admin"): Option<Admin>,
    }
}

object! {
    /// A listener in front of the app.
    pub(crate) struct Inbound {
        /// Where to listen; port 0 is any free port. A port that is taken ends the start, or keeps a reload from being
        /// taken up.
        bind("bind"): Spanned<SocketAddress>,
        /// Where the app listens; not an address of this Sidecar (OR149). While nothing listens there, requests are
        /// answered 503 `connect_failed`. Required, but for listeners that are `intercepted`.
        app("app"): Option<Spanned<SocketAddress>>,
        /// What the app speaks. Callers may speak HTTP/1 or HTTP/2 in any case, but for `tcp`; `auto` is `tcp` where the
        /// Service's port is one of TCP or TLS. Where the listener is `intercepted`, it is what ports speak that `ports` does
        /// not list, and `auto` is told by their first bytes.
        protocol("protocol"): Strict<InboundProtocolWord> = InboundProtocolWord::Auto.word(),
        /// The Service that this port serves. What of its policy binds at the callee (`timeouts.request`) then holds here,
        /// and it names the requests in metrics and logs.
        service("service"): Option<ServiceRef>,
        /// Takes the connections that `outrigger intercept` redirects, on every port of the app: each goes on to the address and
        /// port that its caller dialled. One that was not redirected is refused (508 `loop`). `app` and `service` are then
        /// not written (OR151), but in `ports`.
        intercepted("intercepted"): Option<Flag> = false,
        /// What is known of the app's ports; only where the listener is `intercepted` (OR151).
        ports("ports"): List<InterceptedPort>,
    }
}

object! {
    /// A port of the app behind an intercepted listener.
    pub(crate) struct InterceptedPort {
        /// The port that callers dial; each only once (OR126).
        port("port"): Spanned<Port>,
        /// Where the app listens, which must be a loopback address (OR149): what the proxy sends to another address of its own
        /// is redirected again. Unless set, the address that the caller dialled.
        app("app"): Option<Spanned<SocketAddress>>,
        /// What the app speaks. `auto` is what the Service's port says to speak; where neither says anything, the first bytes
        /// tell.
        protocol("protocol"): Strict<InboundProtocolWord> = InboundProtocolWord::Auto.word(),
        /// The Service that this port serves, as in `inbound`.
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
        /// Anything: connections are passed to the app as they are.
        Tcp = "tcp",
    }
}

object! {
    /// A listener for requests of the app.
    pub(crate) struct Outbound {
        /// Where to listen; port 0 is any free port.
        bind("bind"): Spanned<SocketAddress>,
        /// All requests go to this Service, whatever their Host; unless set, the request's authority decides.
        service("service"): Option<ServiceRef>,
        /// Takes the connections that `outrigger intercept` redirects: the address that the app dialled decides where they go,
        /// and only where no Service has it, the request's authority. The listener can be dialled as well. No use with
        /// `service` (OR151).
        intercepted("intercepted"): Option<Flag> = false,
        /// Allows a bind that other machines can reach. Without it such a bind is refused (OR150): whoever reaches the
        /// listener calls as this app does.
        allow_remote("allowRemote"): Option<Flag> = false,
    }
}

object! {
    /// The admin API.
    pub(crate) struct Admin {
        /// Where to listen; port 0 is any free port. A bind that other machines can reach is a warning (OR150): the API can
        /// stop the proxy.
        bind("bind"): Spanned<SocketAddress>,
    }
}
