//! v1 `Service`, with every upstream field.

use std::{borrow::Cow, sync::Arc};

use schemars::{Schema, SchemaGenerator, json_schema};

use super::Metadata;
use crate::{
    convert::{
        Any, Bounded, Cidr, Context, Flag, FromNode, Host, Ip, Label, List, Port, Problem, Spanned, Text,
        TextMap, TextValue, choice, is_subdomain, object, parsed,
    },
    diagnostic::Code,
    yaml::{Node, ScalarKind},
};

object! {
    /// A Kubernetes Service: a destination whose endpoints stand in EndpointSlices.
    ///
    /// As a cluster has it: `kubectl get service,endpointslice -o yaml` is a policy file. Callers reach it by its cluster
    /// IP, and as `name` (from its own namespace), `name.namespace`, `name.namespace.svc` and
    /// `name.namespace.svc.cluster.local`.
    pub(crate) struct Service {
        /// Name and namespace. The name has no dots (OR120).
        metadata("metadata"): Metadata,
        /// The Service.
        spec("spec"): ServiceSpec,
    }
    ignored { "apiVersion": Any, "kind": Any, "status": Any, }
}

object! {
    /// The Service.
    pub(crate) struct ServiceSpec {
        /// The kind of Service; unless set, ClusterIP. No route can attach to an ExternalName or a headless Service
        /// (OR142).
        kind("type"): Option<ServiceType>,
        /// Its ports; those that are not TCP are left alone.
        ports("ports"): List<ServicePortBody>,
        /// The cluster IP, or `None` for a headless Service.
        cluster_ip("clusterIP"): Option<ClusterIp>,
        /// All cluster IPs.
        cluster_ips("clusterIPs"): List<ClusterIp>,
        /// The host that an ExternalName Service stands for: resolved, and each address is an endpoint.
        external_name("externalName"): Option<Spanned<Host>>,
    }
    ignored {
        "allocateLoadBalancerNodePorts": Flag,
        "externalIPs": List<Ip>,
        "externalTrafficPolicy": Text,
        "healthCheckNodePort": Bounded<0, 65535>,
        "internalTrafficPolicy": Text,
        "ipFamilies": List<Text>,
        "ipFamilyPolicy": Text,
        "loadBalancerClass": Text,
        "loadBalancerIP": Text,
        "loadBalancerSourceRanges": List<Cidr>,
        "publishNotReadyAddresses": Flag,
        "selector": TextMap,
        "sessionAffinity": Text,
        "sessionAffinityConfig": SessionAffinityConfig,
        "trafficDistribution": Text,
    }
}

choice! {
    /// The kind of Service.
    pub(crate) enum ServiceType {
        /// Reached by its cluster IP.
        ClusterIp = "ClusterIP",
        /// Also by a port of every node.
        NodePort = "NodePort",
        /// Also by a load balancer.
        LoadBalancer = "LoadBalancer",
        /// Another name for a host.
        ExternalName = "ExternalName",
    }
}

object! {
    /// A port of a Service.
    pub(crate) struct ServicePortBody {
        /// The name, by which EndpointSlices and routes refer to it. It may say what the port speaks: see `appProtocol`.
        name("name"): Option<Spanned<Label>>,
        /// The number that callers use.
        port("port"): Spanned<Port>,
        /// The transport; UDP and SCTP ports are left alone.
        transport("protocol"): Option<Transport> = Transport::Tcp.word(),
        /// What the endpoints speak, by the words of Kubernetes and Istio: `http`, `kubernetes.io/ws`: HTTP/1.1;
        /// `kubernetes.io/h2c`, `http2`, `h2c`, `grpc`, `grpc-web`: HTTP/2; `tls`, `https`, `kubernetes.io/wss`: TLS,
        /// passed on as it is; every other word: TCP, passed on as it is. Unless set, a port whose `name` is one of
        /// Istio's words, or begins with one and `-` (`tcp-db`, `grpc-api`), speaks that. Any other: TCP where a TCPRoute
        /// is attached to it, TLS where a TLSRoute is, gRPC where a GRPCRoute sends calls to it, else HTTP/1.1.
        app_protocol("appProtocol"): Option<Spanned<WireProtocol>>,
    }
    ignored {
        "nodePort": Bounded<0, 65535>,
        "targetPort": PortOrName,
    }
}

impl ServicePortBody {
    /// Whether the port takes TCP connections; others are left alone.
    pub(crate) fn is_tcp(&self) -> bool {
        matches!(self.transport, None | Some(Transport::Tcp))
    }
}

choice! {
    /// The transport of a port.
    pub(crate) enum Transport {
        /// TCP.
        Tcp = "TCP",
        /// UDP.
        Udp = "UDP",
        /// SCTP.
        Sctp = "SCTP",
    }
}

/// The application protocol of a port: an IANA service name, or a name with a domain before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WireProtocol(pub(crate) Arc<str>);

impl WireProtocol {
    fn parse(text: &str) -> Result<Self, Problem> {
        let name = text.rsplit_once('/').map_or(text, |(_, name)| name);
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let domain = text.rsplit_once('/').is_none_or(|(domain, _)| is_subdomain(domain));
        if domain && (1..=63).contains(&name.len()) && name.chars().all(plain) {
            return Ok(Self(text.into()));
        }
        let help = "such as `http`, `kubernetes.io/h2c`, `grpc`, `tls` or `postgresql`";
        Err(Problem::new(Code::Name, format!("`{text}` is not the name of a protocol"), help))
    }

    fn schema() -> Schema {
        json_schema!({"title": "name of a protocol, such as `kubernetes.io/h2c`", "type": "string", "minLength": 1})
    }
}

parsed!(WireProtocol);

object! {
    /// Session affinity of a Service.
    pub(crate) struct SessionAffinityConfig {}
    ignored { "clientIP": ClientIpConfig, }
}

object! {
    /// Session affinity by client address.
    pub(crate) struct ClientIpConfig {}
    ignored { "timeoutSeconds": Bounded<1, 86400>, }
}

/// A cluster IP, or `None` (a word) for a headless Service, or the empty text before one is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ClusterIp {
    Address(std::net::IpAddr),
    Headless,
    Unset,
}

impl ClusterIp {
    fn parse(text: &str) -> Result<Self, Problem> {
        match text {
            "None" => Ok(Self::Headless),
            "" => Ok(Self::Unset),
            _ => text.parse().map(Self::Address).map_err(|_| {
                let help = "an IP address, or `None` for a headless Service";
                Problem::new(Code::Address, format!("`{text}` is not an IP address"), help)
            }),
        }
    }

    fn schema() -> Schema {
        json_schema!({"title": "IP address, or the word `None`", "type": "string"})
    }
}

parsed!(ClusterIp);

/// A port by number or name.
#[derive(Clone, Debug)]
pub(crate) enum PortOrName {
    Number(#[allow(dead_code, reason = "EndpointSlices carry the resolved number")] Port),
    Name(#[allow(dead_code, reason = "EndpointSlices carry the resolved number")] Arc<str>),
}

impl FromNode for PortOrName {
    fn from_node(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        if matches!(node.scalar(), Some((_, ScalarKind::Integer | ScalarKind::LooseInteger))) {
            return Port::from_node(node, cx).map(Self::Number);
        }
        TextValue::read(node, cx).map(|text| Self::Name(text.into()))
    }
}

impl schemars::JsonSchema for PortOrName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "PortOrName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [{"type": "integer", "minimum": 1, "maximum": 65535}, {"type": "string"}]})
    }
}
