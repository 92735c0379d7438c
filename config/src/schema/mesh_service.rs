//! `MeshService`: a destination with its endpoints in one short object.

use super::Metadata;
use crate::convert::{
    Any, Bounded, DnsTarget, Host, List, Port, SocketAddress, Spanned, Strict, Text, TextMap, choice, object,
};

object! {
    /// A destination with its endpoints: for local use, and for hosts outside the cluster.
    pub(crate) struct MeshService {
        /// Name and namespace. The Service answers to `name`, `name.namespace` and the longer cluster names.
        metadata("metadata"): Metadata,
        /// The Service.
        spec("spec"): MeshServiceSpec,
    }
    ignored { "apiVersion": Any, "kind": Any, "status": Any, }
}

object! {
    /// The Service.
    pub(crate) struct MeshServiceSpec {
        /// Further hosts that it answers to.
        hosts("hosts"): List<Spanned<Host>>,
        /// Its ports, at least one.
        ports("ports"): List<MeshPort>,
        /// Its endpoints; each serves every port.
        endpoints("endpoints"): List<MeshEndpoint>,
    }
}

object! {
    /// A port of a MeshService.
    pub(crate) struct MeshPort {
        /// The number that callers use.
        port("port"): Spanned<Port>,
        /// What the endpoints speak; `http1` unless set.
        protocol("protocol"): Strict<Protocol>,
    }
}

choice! {
    /// What endpoints speak.
    pub(crate) enum Protocol {
        /// HTTP/1.1.
        Http1 = "http1",
        /// HTTP/2 with prior knowledge.
        Http2 = "http2",
        /// gRPC.
        Grpc = "grpc",
    }
}

object! {
    /// An endpoint: an address, or a name that is resolved and kept fresh.
    pub(crate) struct MeshEndpoint {
        /// IP address and port.
        address("address"): Option<Spanned<SocketAddress>>,
        /// Host name and port.
        dns("dns"): Option<DnsTarget>,
        /// Its share of the traffic relative to the others; 1 unless set.
        weight("weight"): Strict<Bounded<1, 65535>>,
        /// The zone it stands in.
        zone("zone"): Option<Text>,
        /// Its labels.
        labels("labels"): TextMap,
    }
    exactly_one ["address", "dns"]
}
