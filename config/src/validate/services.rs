//! Destinations and their endpoints: ports once each, addresses that can be reached, slices that bind to a Service.

use std::collections::HashMap;

use super::{Checks, subset, tls};
use crate::{
    compile::{SERVICE_NAME, service_of},
    convert::{List, Port, Spanned},
    diagnostic::{Code, Fault},
    model::ObjectName,
    objects::Object,
    schema::{AddressType, EndpointSlice, MeshService, Service},
    services::{Source, is_external},
    yaml::Span,
};

pub(super) fn check(checks: &mut Checks<'_>) {
    let objects = checks.objects;
    objects.mesh_services.iter().for_each(|object| mesh_service(object, checks));
    objects.slices.iter().for_each(|object| slice(object, checks));
    objects.services.iter().for_each(|object| service(object, checks));
    // Only a Sidecar makes these files all there is: in a cluster the slices are made by the cluster.
    if !objects.sidecars.is_empty() {
        without_slices(checks);
    }
}

fn mesh_service(object: &Object<MeshService>, checks: &mut Checks<'_>) {
    let spec = &object.body.spec;
    if spec.ports.is_empty() && spec.ports.complete {
        let fault = Fault::error(Code::MissingField, object.span, "the MeshService has no port");
        checks.push(fault.help("add one, such as `ports: [{port: 80, protocol: http1}]`"));
    }
    once_each(spec.ports.iter().map(|port| &port.port), checks);
    if !subset::check(object, checks) && spec.endpoints.is_empty() && spec.endpoints.complete {
        let message = "the MeshService has no endpoints: every request to it is answered 503";
        let fault = Fault::warning(Code::NoEndpoints, object.span, message);
        checks.push(fault.help("add one, such as `endpoints: [{address: \"127.0.0.1:9000\"}]`"));
    }
    tls::check(object, checks);
    let mut seen: HashMap<_, Span> = HashMap::new();
    for endpoint in spec.endpoints.iter() {
        let Some(address) = &endpoint.address else { continue };
        if address.value.0.port() == 0 || address.value.0.ip().is_unspecified() {
            let message = format!("`{}` is not an address that can be called", address.value.0);
            let fault = Fault::error(Code::Address, address.span, message);
            checks.push(fault.help("write the address and port on which the endpoint listens"));
        }
        if let Some(first) = seen.insert(address.value.0, address.span) {
            let message = format!("the endpoint `{}` is written twice", address.value.0);
            let fault = Fault::warning(Code::Contended, address.span, message).related(first, "first here");
            checks.push(fault.help("to give it a larger share, set its `weight`"));
        }
    }
}

/// Reports port numbers that are written twice.
fn once_each<'p>(ports: impl Iterator<Item = &'p Spanned<Port>>, checks: &mut Checks<'_>) {
    let mut seen: HashMap<u16, Span> = HashMap::new();
    for port in ports {
        if let Some(first) = seen.get(&port.value.port()) {
            let message = format!("the port {} is written twice", port.value.port());
            checks.push(Fault::error(Code::Conflict, port.span, message).related(*first, "first here"));
        } else {
            seen.insert(port.value.port(), port.span);
        }
    }
}

fn service(object: &Object<Service>, checks: &mut Checks<'_>) {
    let spec = &object.body.spec;
    let tcp = spec.ports.iter().filter(|port| port.is_tcp());
    once_each(tcp.map(|port| &port.port), checks);
    if is_external(object) {
        if spec.external_name.is_none() {
            let message = "an ExternalName Service needs `externalName`";
            checks.push(Fault::error(Code::MissingField, object.span, message));
        }
        return;
    }
    if spec.ports.is_empty() && spec.ports.complete {
        checks.push(Fault::error(Code::MissingField, object.span, "the Service has no port"));
    }
    port_names(&spec.ports, checks);
}

/// Upstream: of several ports each has a name of its own.
fn port_names(ports: &List<crate::schema::ServicePortBody>, checks: &mut Checks<'_>) {
    if ports.len() < 2 {
        return;
    }
    let mut seen: HashMap<&str, Span> = HashMap::new();
    for port in ports.iter() {
        let Some(name) = &port.name else {
            let message = "a port of a Service with several ports needs a `name`";
            checks.push(Fault::error(Code::MissingField, port.port.span, message));
            continue;
        };
        if let Some(first) = seen.insert(&name.value.0, name.span) {
            let message = format!("the port name `{}` is written twice", name.value.0);
            checks.push(Fault::error(Code::Conflict, name.span, message).related(first, "first here"));
        }
    }
}

fn slice(object: &Object<EndpointSlice>, checks: &mut Checks<'_>) {
    let Some(service) = service_of(object) else {
        let message = format!("the EndpointSlice has no label `{SERVICE_NAME}`, so it binds to no Service");
        let fault = Fault::warning(Code::NoEffect, object.span, message);
        return checks.push(fault.help(format!("add `labels: {{{SERVICE_NAME}: <service>}}`")));
    };
    let label = object.body.metadata.labels.get(SERVICE_NAME).map_or(object.span, |label| label.span);
    let is_core = checks.services.get(&service).is_some_and(|entry| matches!(entry.source, Source::Core(_)));
    if !is_core && !checks.objects.may_exist(&["Service"], &service) {
        let fault = checks.unknown_service(Fault::warning(Code::UnknownReference, label, ""), &service);
        let message = format!("there is no v1 Service `{service}`, so these endpoints are used by nothing");
        checks.push(Fault { message, ..fault });
    }
    for address in object.body.endpoints.iter().flat_map(|endpoint| endpoint.addresses.iter()) {
        let text = &address.value.0;
        let fits = match object.body.address_type {
            AddressType::Ipv4 => text.parse::<std::net::Ipv4Addr>().is_ok(),
            AddressType::Ipv6 => text.parse::<std::net::Ipv6Addr>().is_ok(),
            AddressType::Fqdn => crate::convert::is_subdomain(&text.to_ascii_lowercase()),
        };
        if !fits {
            let wanted = object.body.address_type.word();
            let message = format!("`{text}` is not an address of the slice's addressType {wanted}");
            let help = "an address stands alone; the port has a list of its own, `ports`";
            let fault = Fault::error(Code::Address, address.span, message);
            checks.push(if text.contains(':') && wanted == "IPv4" { fault.help(help) } else { fault });
        }
    }
}

fn without_slices(checks: &mut Checks<'_>) {
    let bound: std::collections::HashSet<ObjectName> =
        checks.objects.slices.iter().filter_map(service_of).collect();
    let objects = checks.objects;
    for object in objects.services.iter().filter(|object| !is_external(object)) {
        if !bound.contains(&object.name) && !objects.unknown {
            let message = "no EndpointSlice binds to the Service: every request to it is answered 503";
            let help = format!("add an EndpointSlice with the label `{SERVICE_NAME}: {}`", object.name.name);
            checks.push(Fault::warning(Code::NoEndpoints, object.span, message).help(help));
        }
    }
}
