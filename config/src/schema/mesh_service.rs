//! `MeshService`: a destination with its endpoints in one short object.

use super::Metadata;
use crate::{
    convert::{
        Any, Bounded, DnsTarget, FilePath, Host, List, Port, ServerName, SocketAddress, Spanned, Strict,
        Subdomain, Text, TextMap, choice, object,
    },
    spiffe::WorkloadId,
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
        /// Its endpoints; each serves every port, on its own port number. Without any, and without `subset`, requests are
        /// answered 503 `no_endpoint` (OR153).
        endpoints("endpoints"): List<MeshEndpoint>,
        /// Instead of endpoints (OR126): those of another MeshService with certain labels.
        subset("subset"): Option<SubsetBody>,
        /// TLS to its endpoints, which stand outside the mesh; unset: plaintext. Callers go on to speak plain HTTP: the proxy
        /// adds TLS, within `timeouts.connect`. An endpoint to which TLS cannot be had is never spoken to without it:
        /// requests are answered 503 `tls_failed`.
        tls("tls"): Option<TlsBody>,
    }
}

object! {
    /// A port of a MeshService.
    pub(crate) struct MeshPort {
        /// The number that callers use. A request without a port means 80, or the only port there is.
        port("port"): Spanned<Port>,
        /// What the endpoints speak, whatever the caller speaks. Unless set: TCP where a TCPRoute is attached to the port, TLS
        /// where a TLSRoute is, gRPC where a GRPCRoute sends calls to it, else HTTP/1.1.
        protocol("protocol"): Strict<Protocol>,
    }
}

object! {
    /// The endpoints of another MeshService that have certain labels: a version, a shard. A backendRef of group
    /// `outrigger.dev` and kind `MeshService` names the subset as any other.
    ///
    /// It is a MeshService of its own: it has its own ports and what they speak, and the load and the failures of its endpoints are counted
    /// for it alone. TLS and TrafficPolicies of the other MeshService hold for it where it has none of its own.
    pub(crate) struct SubsetBody {
        /// The MeshService that has the endpoints.
        of("of"): SubsetOf,
        /// Labels, at least one; an endpoint must have all of them. None that has is a warning (OR153).
        labels("labels"): TextMap,
    }
}

object! {
    /// A MeshService of the same namespace.
    pub(crate) struct SubsetOf {
        /// Its name. One that does not exist is an error (OR141), as is a v1 Service, or a subset (OR142).
        name("name"): Spanned<Subdomain>,
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
        /// Anything: connections are passed on as they are, to one endpoint each. With TLSRoutes attached, TLS that is
        /// routed by its server name.
        Tcp = "tcp",
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
        /// The zone it stands in, for `loadBalancer.locality`.
        zone("zone"): Option<Text>,
        /// Its labels, by which a subset may choose it.
        labels("labels"): TextMap,
        /// Who it is, of the mesh's trust domain (OR175). Callers that have an identity themselves then speak mutual TLS to
        /// it and refuse whoever else answers there; unset, they speak plaintext. Not beside `tls` (OR126).
        identity("identity"): Option<Spanned<WorkloadId>>,
    }
    exactly_one ["address", "dns"]
}

object! {
    /// TLS 1.2 or 1.3 from this proxy to the endpoints.
    pub(crate) struct TlsBody {
        /// Whether TLS is spoken, and whether the proxy shows a certificate of its own.
        mode("mode"): Spanned<TlsMode>,
        /// The name that the endpoints' certificates must be for, a host or an IP address; a host is also asked for (SNI).
        /// Unless set: the first of `hosts`, else the name of the `dns` endpoints, which then must all have the same one.
        server_name("serverName"): Option<Spanned<ServerName>>,
        /// A file with the certificates (PEM) of the authorities that are trusted; unless set, those that the system
        /// trusts. A relative path is taken from the folder of this policy file. The file is read by the proxy, and again
        /// whenever it changes; one that cannot be used refuses the change (OR160). So are the next two.
        trust_bundle("trustBundle"): Option<Spanned<FilePath>>,
        /// `Mutual`: a file with the proxy's own certificate and those between it and the root (PEM).
        certificate("certificate"): Option<Spanned<FilePath>>,
        /// `Mutual`: a file with the private key of `certificate` (PEM, not encrypted).
        private_key("privateKey"): Option<Spanned<FilePath>>,
    }
}

choice! {
    /// How TLS is spoken.
    pub(crate) enum TlsMode {
        /// Plaintext.
        Disabled = "Disabled",
        /// TLS; the endpoint shows a certificate.
        Simple = "Simple",
        /// TLS; both sides show a certificate.
        Mutual = "Mutual",
    }
}
