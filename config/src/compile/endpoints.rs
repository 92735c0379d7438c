//! Endpoints: those of MeshServices, and the ready ones of the EndpointSlices that a Service's label binds.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::Scope;
use crate::{
    convert::Spanned,
    model::{Endpoint, EndpointAddress, Endpoints, ObjectName, ServicePort},
    objects::Object,
    schema::{EndpointSlice, MeshEndpoint, MeshService, Service, SubsetBody, Transport},
    services::{Entry, EntryPort, Source, is_external},
};

/// The label by which a slice names its Service.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The endpoints of every destination port, sorted by service and port.
pub(super) fn all(scope: &Scope<'_>) -> Vec<Arc<Endpoints>> {
    let slices = slices_by_service(scope);
    let mut all = Vec::new();
    for entry in scope.services.sorted() {
        for port in &entry.ports {
            let service = ServicePort { service: entry.name.clone(), port: port.number };
            all.push(Arc::new(Endpoints { service, endpoints: of_port(scope, &slices, entry, port) }));
        }
    }
    all.sort_by(|a, b| a.service.cmp(&b.service));
    all
}

type Slices<'a> = HashMap<ObjectName, Vec<&'a Object<EndpointSlice>>>;

fn slices_by_service<'a>(scope: &Scope<'a>) -> Slices<'a> {
    let mut slices: Slices<'a> = HashMap::new();
    for slice in &scope.objects.slices {
        if let Some(service) = service_of(slice) {
            slices.entry(service).or_default().push(slice);
        }
    }
    slices
}

/// The Service that a slice belongs to.
pub(crate) fn service_of(slice: &Object<EndpointSlice>) -> Option<ObjectName> {
    let label = slice.body.metadata.labels.get(SERVICE_NAME)?;
    Some(ObjectName::new(slice.name.namespace.clone(), label.value.clone()))
}

fn of_port(scope: &Scope<'_>, slices: &Slices<'_>, entry: &Entry<'_>, port: &EntryPort<'_>) -> Vec<Endpoint> {
    match entry.source {
        Source::Mesh(object) => of_mesh_service(scope, object),
        Source::Core(object) if is_external(object) => of_external(scope, object, port),
        Source::Core(_) => {
            let slices = slices.get(entry.name).map_or(&[][..], |slices| slices);
            of_slices(scope, slices, port)
        }
    }
}

fn of_mesh_service(scope: &Scope<'_>, object: &Object<MeshService>) -> Vec<Endpoint> {
    let subset = object.body.spec.subset.as_ref();
    let Some(whole) = scope.services.whole(object) else { return Vec::new() };
    let written = whole.body.spec.endpoints.iter();
    let written = written.filter(|endpoint| subset.is_none_or(|subset| in_subset(endpoint, subset)));
    let endpoints = written.filter_map(|endpoint| {
        let address = match (&endpoint.address, &endpoint.dns) {
            (Some(address), _) => EndpointAddress::Ip(address.value.0),
            (None, Some(target)) => EndpointAddress::Dns { host: target.host.clone(), port: target.port },
            (None, None) => return None,
        };
        let labels = endpoint.labels.0.iter().map(|(name, value)| (name.clone(), value.value.clone()));
        Some(Endpoint {
            address,
            weight: endpoint.weight.0.map_or(1, |weight| weight.0),
            zone: endpoint.zone.as_ref().map(|zone| zone.0.clone()),
            labels: labels.collect(),
            identity: endpoint.identity.as_ref().map(|identity| identity.value.0.clone()),
            origin: scope.origin(&endpoint.span),
        })
    });
    endpoints.collect()
}

/// Whether an endpoint has all labels of a subset.
pub(crate) fn in_subset(endpoint: &MeshEndpoint, subset: &SubsetBody) -> bool {
    let mut wanted = subset.labels.0.iter();
    wanted.all(|(name, value)| endpoint.labels.get(name).is_some_and(|has| has.value == value.value))
}

/// An ExternalName Service is another name for a host.
fn of_external(scope: &Scope<'_>, object: &Object<Service>, port: &EntryPort<'_>) -> Vec<Endpoint> {
    let Some(host) = &object.body.spec.external_name else { return Vec::new() };
    vec![Endpoint {
        address: EndpointAddress::Dns { host: host.value.0.clone(), port: port.number },
        weight: 1,
        zone: None,
        labels: BTreeMap::new(),
        identity: None,
        origin: scope.origin(&host.span),
    }]
}

fn of_slices(scope: &Scope<'_>, slices: &[&Object<EndpointSlice>], port: &EntryPort<'_>) -> Vec<Endpoint> {
    let mut endpoints: Vec<Endpoint> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for slice in slices {
        let Some(number) = number_of(&slice.body, port.name) else { continue };
        for endpoint in slice.body.endpoints.iter() {
            let ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready);
            if ready.is_some_and(|ready| !ready.0) {
                continue;
            }
            // The addresses of one endpoint are interchangeable: upstream says to take the first.
            let Some(address) = endpoint.addresses.first().and_then(|text| address(text, number)) else {
                continue;
            };
            // While slices are rebuilt, one endpoint may stand in two of them.
            if seen.insert(address.clone()) {
                endpoints.push(Endpoint {
                    address,
                    weight: 1,
                    zone: endpoint.zone.as_ref().map(|zone| zone.0.clone()),
                    labels: BTreeMap::new(),
                    identity: None,
                    origin: scope.origin(&endpoint.span),
                });
            }
        }
    }
    endpoints
}

/// The number of the slice's port that has the Service port's name.
fn number_of(slice: &EndpointSlice, name: &str) -> Option<u16> {
    let named = |port: &&crate::schema::SlicePort| port.name.as_ref().map_or("", |name| &name.0) == name;
    let tcp = |port: &&crate::schema::SlicePort| matches!(port.transport, None | Some(Transport::Tcp));
    slice.ports.iter().filter(tcp).find(named)?.port.map(|port| port.port())
}

fn address(written: &Spanned<crate::convert::Text>, port: u16) -> Option<EndpointAddress> {
    let text = &written.value.0;
    match text.parse::<IpAddr>() {
        Ok(ip) => Some(EndpointAddress::Ip(SocketAddr::new(ip, port))),
        Err(_) => Some(EndpointAddress::Dns { host: text.to_ascii_lowercase().into(), port }),
    }
}
