//! The last step of building a snapshot: what is found by host or address, and the endpoints of every port.

use std::{net::SocketAddr, sync::Arc};

use outrigger_config::model::{self, EndpointAddress, ServicePort};

use crate::runtime::snapshot::{Host, Snapshot};

/// Fills the look-up maps.
pub(super) fn fill_maps(snapshot: &mut Snapshot, endpoints: &[Arc<model::Endpoints>]) {
    let mut hosts = foldhash::HashMap::default();
    let mut cluster_ips = foldhash::HashMap::default();
    for service in &snapshot.services {
        for host in &service.source.hosts {
            hosts.entry(host.clone()).or_insert_with(|| Host {
                service: service.clone(),
                default_port: service.default_port().cloned(),
            });
        }
        for (ip, port) in
            service.source.cluster_ips.iter().flat_map(|ip| service.ports.iter().map(move |port| (*ip, port)))
        {
            cluster_ips.entry(SocketAddr::new(ip, port.name.port)).or_insert_with(|| port.clone());
        }
    }
    let mut endpoint_addresses = foldhash::HashMap::default();
    for (port, endpoint) in endpoints
        .iter()
        .filter_map(|of| Some((snapshot.port(&of.service)?, of)))
        .flat_map(|(port, of)| of.endpoints.iter().map(move |endpoint| (port, endpoint)))
    {
        if let EndpointAddress::Ip(address) = endpoint.address {
            endpoint_addresses.entry(address).or_insert_with(|| port.clone());
        }
    }
    snapshot.hosts = hosts;
    snapshot.cluster_ips = cluster_ips;
    snapshot.endpoint_addresses = endpoint_addresses;
}

/// Hands every cell its endpoints, of which a port without any gets none, and every circuit breaker its limits.
pub(super) fn fill_cells(snapshot: &Snapshot, endpoints: &[Arc<model::Endpoints>]) {
    let listed: foldhash::HashMap<&ServicePort, &model::Endpoints> =
        endpoints.iter().map(|of| (&of.service, &**of)).collect();
    for port in snapshot.ports() {
        let endpoints = listed.get(&port.name).map_or(&[][..], |of| &of.endpoints);
        let how = &port.backend.settings.load_balancer;
        port.backend.endpoints.arrange(how, snapshot.workload.zone.as_ref());
        port.backend.endpoints.replace(endpoints);
        if let Some(breaker) = &port.backend.circuit_breaker {
            breaker.take_up();
        }
    }
}
