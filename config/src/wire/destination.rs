//! Destinations, their ports, and TLS to them; and names and places, which every resource has.

use std::sync::Arc;

use super::{
    field::{Fault, Field, named, record, words},
    proto,
};
use crate::model::{
    AppProtocol, ClientIdentity, ConnectionRule, Destination, DestinationPort, FileRef, MtlsMode, ObjectName,
    Origin, OutwardTls, RouteRule, ServicePort,
};

record! {
    Origin { file, line, column };
    ObjectName { namespace, name };
    ServicePort { service, port };
    FileRef { path, origin };
    ClientIdentity { certificate, private_key };
    OutwardTls { server_name, trust_bundle, identity, origin };
    Destination { name, origin, hosts, cluster_ips, ports, tls } sound |of| {
        match of.ports.is_empty() || !of.ports.is_sorted_by(|a, b| a.port < b.port) {
            true => Err("its ports are not in order, or there is none"),
            false => Ok(()),
        }
    };
    DestinationPort { port, protocol, undeclared, mtls, settings, routes, connections };
}

words! {
    MtlsMode { Disabled, Permissive, Strict }
    AppProtocol { Http1, Http2, Grpc, Tcp, Tls }
}

impl Field<proto::RouteRules> for Vec<Arc<RouteRule>> {
    fn put(&self) -> proto::RouteRules {
        proto::RouteRules { rules: self.iter().map(Field::put).collect() }
    }

    fn take(wire: proto::RouteRules) -> Result<Self, Fault> {
        named("rules", wire.rules)
    }
}

impl Field<proto::ConnectionRules> for Vec<Arc<ConnectionRule>> {
    fn put(&self) -> proto::ConnectionRules {
        proto::ConnectionRules { rules: self.iter().map(Field::put).collect() }
    }

    fn take(wire: proto::ConnectionRules) -> Result<Self, Fault> {
        named("rules", wire.rules)
    }
}
