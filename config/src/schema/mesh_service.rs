//! `MeshService`: a destination with its endpoints in one short object.

use super::Metadata;
use crate::convert::{
    Any, Bounded, DnsTarget, Host, List, Port, SocketAddress, Spanned, Strict, Text, TextMap, choice, object,
};

object! {
    /// A destination with its endpoints: for local use, and for hosts outside the cluster.
    ///
    /// It is everything that a Service and its EndpointSlices are, in one short object. References of kind Service find
    /// it too; a Service of the same name is an error (OR140).
    pub(crate) struct MeshService {
        /// Name and namespace. Callers reach it as `name` (from its own namespace), `name.namespace`,
        /// `name.namespace.svc` and `name.namespace.svc.cluster.local`.
        metadata("metadata"): Metadata,
        /// The Service.
        spec("spec"): MeshServiceSpec,
    }
    ignored { "apiVersion": Any, "kind": Any, "status": Any, }
}

object! {
    /// The Service.
    pub(crate) struct MeshServiceSpec {
        /// Further hosts that it answers to, each exactly. A host that another MeshService claims too belongs to the older
        /// of them (OR148).
        hosts("hosts"): List<Spanned<Host>>,
        /// Its ports, at least one, each number once.
        ports("ports"): List<MeshPort>,
        /// Its endpoints; each serves every port, on its own port number. Without any, requests are answered 503
        /// `no_endpoint` (OR153).
        endpoints("endpoints"): List<MeshEndpoint>,
    }
}

object! {
    /// A port of a MeshService.
    pub(crate) struct MeshPort {
        /// The number that callers use. A request without a port means 80, or the only port there is.
        port("port"): Spanned<Port>,
        /// What the endpoints speak, whatever the caller speaks.
        protocol("protocol"): Strict<Protocol> = Protocol::Http1.word(),
    }
}

choice! {
    /// What endpoints speak.
    pub(crate) enum Protocol {
        /// HTTP/1.1.
        Http1 = "http1",
        /// HTTP/2 with prior knowledge.
        Http2 = "http2",
        /// gRPC, which is HTTP/2 with trailers.
        Grpc = "grpc",
    }
}

object! {
    /// An endpoint: an address, or a name that is resolved and kept fresh.
    pub(crate) struct MeshEndpoint {
        /// IP address and port.
        address("address"): Option<Spanned<SocketAddress>>,
        /// Host name and port. It is resolved when the policy is taken up and again when its time to live is over, and each
        /// address is an endpoint; a failed look-up keeps the last answers.
        dns("dns"): Option<DnsTarget>,
        /// Its share of the traffic relative to the others.
        weight("weight"): Strict<Bounded<1, 65535>> = 1,
        /// The zone it stands in. Shown; it does not change where requests go.
        zone("zone"): Option<Text>,
        /// Its labels. Shown; they do not change where requests go.
        labels("labels"): TextMap,
    }
    exactly_one ["address", "dns"]
}
