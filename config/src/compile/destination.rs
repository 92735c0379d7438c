//! Destinations: the hosts that each Service answers to, its ports and the rules that hold there.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{Scope, routes::Attachments, tls};
use crate::{
    model::{AppProtocol, BackendTarget, Destination, DestinationPort, ObjectName, RouteKind, ServicePort},
    schema::ClusterIp,
    services::{Entry, Source},
};

/// Every destination that has a port, sorted by name.
pub(super) fn all(scope: &Scope<'_>) -> Vec<Arc<Destination>> {
    let attachments = Attachments::new(scope);
    let entries: Vec<&Entry<'_>> =
        scope.services.sorted().into_iter().filter(|entry| !entry.ports.is_empty()).collect();
    let mut hosts = hosts(scope, &entries);
    let mut destinations: Vec<Destination> = entries
        .iter()
        .map(|entry| {
            let hosts = hosts.remove(entry.name).unwrap_or_default();
            destination(scope, &attachments, entry, hosts)
        })
        .collect();
    infer_grpc(scope, &mut destinations);
    destinations.into_iter().map(Arc::new).collect()
}

/// Ports of which the policy does not say what they speak, and to which a GRPCRoute sends calls, speak gRPC: Services of
/// clusters rarely say it.
fn infer_grpc(scope: &Scope<'_>, destinations: &mut [Destination]) {
    let mut called: HashSet<ServicePort> = HashSet::new();
    for rule in destinations.iter().flat_map(|of| &of.ports).flat_map(|port| port.routes.iter().flatten()) {
        let targets = rule.backends.iter().filter_map(|backend| match &backend.target {
            BackendTarget::Service(port) => Some(port.clone()),
            BackendTarget::Invalid { .. } => None,
        });
        if rule.id.kind == RouteKind::GRPCRoute {
            called.extend(targets);
        }
    }
    for ServicePort { service, port } in called {
        let declared = scope.services.get(&service).and_then(|entry| entry.port(port)?.protocol);
        let of = destinations.binary_search_by(|one| one.name.cmp(&service)).ok();
        let ports = of.map(|at| &mut destinations[at].ports).into_iter().flatten();
        for found in ports.filter(|one| declared.is_none() && one.port == port && !one.protocol.is_opaque()) {
            found.protocol = AppProtocol::Grpc;
            found.undeclared = false;
        }
    }
}

fn destination(
    scope: &Scope<'_>,
    attachments: &Attachments<'_>,
    entry: &Entry<'_>,
    hosts: Vec<Arc<str>>,
) -> Destination {
    let settings = scope.layers.service(entry.name);
    let mut rules = attachments.rules_of(scope, entry);
    let mut ports: Vec<DestinationPort> = entry
        .ports
        .iter()
        .map(|port| {
            let rules = rules.on_port(port);
            DestinationPort {
                port: port.number,
                protocol: port.speaks(rules.kind),
                undeclared: port.protocol.is_none() && rules.kind.is_none(),
                mtls: scope.modes.of(&ServicePort { service: entry.name.clone(), port: port.number }).mode,
                settings: settings.clone(),
                routes: rules.requests,
                connections: rules.connections,
            }
        })
        .collect();
    ports.sort_by_key(|port| port.port);
    Destination {
        name: entry.name.clone(),
        origin: scope.origin(&entry.span),
        hosts,
        cluster_ips: cluster_ips(entry),
        ports,
        tls: tls::outward(scope, entry),
    }
}

fn cluster_ips(entry: &Entry<'_>) -> Vec<std::net::IpAddr> {
    let Source::Core(service) = entry.source else { return Vec::new() };
    let spec = &service.body.spec;
    let mut addresses = Vec::new();
    for ip in spec.cluster_ip.iter().chain(spec.cluster_ips.iter()) {
        if let ClusterIp::Address(address) = ip
            && !addresses.contains(address)
        {
            addresses.push(*address);
        }
    }
    addresses
}

/// The hosts of each destination. A host that several claim goes to hosts that were written, the older object first,
/// then to names of the caller's namespace, then to qualified names.
fn hosts(scope: &Scope<'_>, entries: &[&Entry<'_>]) -> HashMap<ObjectName, Vec<Arc<str>>> {
    let mut taken: HashSet<Arc<str>> = HashSet::new();
    let mut result: HashMap<ObjectName, Vec<Arc<str>>> = HashMap::new();
    let mut claim = |name: &ObjectName, host: Arc<str>| {
        if taken.insert(host.clone()) {
            result.entry(name.clone()).or_default().push(host);
        }
    };
    let mut written: Vec<_> = entries
        .iter()
        .filter_map(|entry| match entry.source {
            Source::Mesh(object) => Some(object),
            Source::Core(_) => None,
        })
        .collect();
    written.sort_by(|a, b| a.age().cmp(&b.age()));
    for object in written {
        object.body.spec.hosts.iter().for_each(|host| claim(&object.name, host.value.0.clone()));
    }
    for entry in entries.iter().filter(|entry| entry.name.namespace == *scope.namespace) {
        claim(entry.name, entry.name.name.clone());
    }
    for entry in entries {
        qualified(entry.name).into_iter().for_each(|host| claim(entry.name, host));
    }
    result
}

/// The names by which any namespace reaches a Service.
pub(crate) fn qualified(name: &ObjectName) -> [Arc<str>; 3] {
    let ObjectName { namespace, name } = name;
    ["", ".svc", ".svc.cluster.local"].map(|suffix| format!("{name}.{namespace}{suffix}").into())
}
