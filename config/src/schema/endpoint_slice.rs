//! discovery.k8s.io/v1 `EndpointSlice`, with every upstream field.

use super::{Metadata, Transport};
use crate::convert::{Any, Flag, List, Port, Spanned, Text, TextMap, choice, object};

object! {
    /// Endpoints of the Service that the label `kubernetes.io/service-name` names.
    ///
    /// A Service may have several slices; their endpoints are joined. A slice of a Service that is not there has no effect.
    pub(crate) struct EndpointSlice {
        /// Name, namespace and the label that binds it to its Service.
        metadata("metadata"): Metadata,
        /// What the addresses are.
        address_type("addressType"): AddressType,
        /// The endpoints.
        endpoints("endpoints"): List<SliceEndpoint>,
        /// The ports of each endpoint.
        ports("ports"): List<SlicePort>,
    }
    ignored { "apiVersion": Any, "kind": Any, }
}

choice! {
    /// What the addresses of a slice are.
    pub(crate) enum AddressType {
        /// IPv4 addresses.
        Ipv4 = "IPv4",
        /// IPv6 addresses.
        Ipv6 = "IPv6",
        /// Host names.
        Fqdn = "FQDN",
    }
}

object! {
    /// An endpoint of a slice.
    pub(crate) struct SliceEndpoint {
        /// Its addresses, of the slice's `addressType`. They are interchangeable: the first is used.
        addresses("addresses"): List<Spanned<Text>>,
        /// Whether it takes requests.
        conditions("conditions"): Option<Conditions>,
        /// The zone it stands in, for `loadBalancer.locality`.
        zone("zone"): Option<Text>,
    }
    ignored {
        "deprecatedTopology": TextMap,
        "hints": Hints,
        "hostname": Text,
        "nodeName": Text,
        "targetRef": TargetReference,
    }
}

object! {
    /// Whether an endpoint takes requests.
    pub(crate) struct Conditions {
        /// Whether it does; one that does not is no endpoint.
        ready("ready"): Option<Flag> = true,
    }
    ignored { "serving": Flag, "terminating": Flag, }
}

object! {
    /// Whom an endpoint is meant for.
    pub(crate) struct Hints {}
    ignored { "forZones": List<Any>, "forNodes": List<Any>, }
}

object! {
    /// The object behind an endpoint.
    pub(crate) struct TargetReference {}
    ignored {
        "apiVersion": Text,
        "fieldPath": Text,
        "kind": Text,
        "name": Text,
        "namespace": Text,
        "resourceVersion": Text,
        "uid": Text,
    }
}

object! {
    /// A port of every endpoint of a slice.
    pub(crate) struct SlicePort {
        /// The name of the Service's port that it stands behind; empty for its only one.
        name("name"): Option<Text>,
        /// The number that the endpoints listen on.
        port("port"): Option<Port>,
        /// The transport; as the Service's port has it.
        transport("protocol"): Option<Transport> = Transport::Tcp.word(),
    }
    ignored { "appProtocol": Text, }
}
