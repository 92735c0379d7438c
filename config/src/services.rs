//! Services and MeshServices under one roof: what references to them resolve against.

use std::collections::HashMap;

use crate::{
    model::{AppProtocol, ObjectName, RouteKind, ServicePort},
    objects::{Object, Objects},
    protocol,
    schema::{MeshService, Protocol, Service, ServiceType},
    suggest,
    yaml::Span,
};

/// The API group of our own kinds.
pub(crate) const OUR_GROUP: &str = "outrigger.dev";

/// The object behind a destination.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source<'a> {
    Mesh(&'a Object<MeshService>),
    Core(&'a Object<Service>),
}

/// A destination as references see it.
#[derive(Clone, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) name: &'a ObjectName,
    pub(crate) span: Span,
    pub(crate) source: Source<'a>,
    pub(crate) ports: Vec<EntryPort<'a>>,
    /// Whether all its ports could be read.
    pub(crate) complete: bool,
}

/// A port of a destination.
#[derive(Clone, Debug)]
pub(crate) struct EntryPort<'a> {
    pub(crate) number: u16,
    pub(crate) name: &'a str,
    /// What it says to speak; `None`: the kind of its routes decides.
    pub(crate) protocol: Option<AppProtocol>,
}

impl EntryPort<'_> {
    /// Whether routes of the kind can hold here: those of requests on ports of HTTP, those of connections on others.
    pub(crate) fn takes(&self, kind: RouteKind) -> bool {
        self.protocol.is_none_or(|protocol| protocol.is_opaque() == kind.is_opaque())
    }

    /// What it speaks where routes of the kind hold.
    pub(crate) fn speaks(&self, routes: Option<RouteKind>) -> AppProtocol {
        self.protocol.unwrap_or(match routes {
            None | Some(RouteKind::HTTPRoute | RouteKind::GRPCRoute) => AppProtocol::Http1,
            Some(RouteKind::TLSRoute) => AppProtocol::Tls,
            Some(RouteKind::TCPRoute) => AppProtocol::Tcp,
        })
    }
}

impl<'a> Entry<'a> {
    /// Why routes cannot attach to it, if so.
    pub(crate) fn no_parent(&self) -> Option<&'static str> {
        match self.source {
            Source::Core(service) if is_external(service) => Some("an ExternalName Service"),
            Source::Core(service) if is_headless(service) => Some("a headless Service"),
            _ => None,
        }
    }

    /// The numbers of its ports in words.
    pub(crate) fn ports_in_words(&self) -> String {
        let numbers: Vec<String> = self.ports.iter().map(|port| port.number.to_string()).collect();
        if numbers.is_empty() { "no port".to_owned() } else { numbers.join(", ") }
    }

    /// The port of this number.
    pub(crate) fn port(&self, number: u16) -> Option<&EntryPort<'a>> {
        self.ports.iter().find(|port| port.number == number)
    }

    /// Whether the port exists, or may exist.
    pub(crate) fn has_port(&self, number: u16) -> bool {
        !self.complete || self.ports.iter().any(|port| port.number == number)
    }
}

pub(crate) fn is_external(service: &Object<Service>) -> bool {
    service.body.spec.kind == Some(ServiceType::ExternalName)
}

fn is_headless(service: &Object<Service>) -> bool {
    use crate::schema::ClusterIp;
    service.body.spec.cluster_ip == Some(ClusterIp::Headless)
}

/// Every destination by name. A name that occurs twice is reported elsewhere; here the first wins.
pub(crate) struct Services<'a> {
    by_name: HashMap<&'a ObjectName, Entry<'a>>,
}

impl<'a> Services<'a> {
    /// Collects them.
    pub(crate) fn new(objects: &'a Objects) -> Self {
        let mut by_name = HashMap::new();
        let core = objects.services.iter().map(core_entry);
        for entry in objects.mesh_services.iter().map(mesh_entry).chain(core) {
            by_name.entry(entry.name).or_insert(entry);
        }
        Self { by_name }
    }

    /// The destination of the name.
    pub(crate) fn get(&self, name: &ObjectName) -> Option<&Entry<'a>> {
        self.by_name.get(name)
    }

    /// The MeshService that has the endpoints of this one: itself, or the one of which it is a subset.
    pub(crate) fn whole(&self, object: &'a Object<MeshService>) -> Option<&'a Object<MeshService>> {
        let Some(subset) = &object.body.spec.subset else { return Some(object) };
        let name = ObjectName::new(object.name.namespace.clone(), subset.of.name.value.0.clone());
        match self.get(&name)?.source {
            Source::Mesh(whole) if whole.body.spec.subset.is_none() => Some(whole),
            Source::Mesh(_) | Source::Core(_) => None,
        }
    }

    /// The port of that name.
    pub(crate) fn port(&self, name: &ServicePort) -> Option<&EntryPort<'a>> {
        self.get(&name.service)?.port(name.port)
    }

    /// Every destination, sorted by name.
    pub(crate) fn sorted(&self) -> Vec<&Entry<'a>> {
        let mut all: Vec<_> = self.by_name.values().collect();
        all.sort_by_key(|entry| entry.name);
        all
    }

    /// The destination with the most similar name: of the same namespace, or of the same name elsewhere.
    pub(crate) fn nearest(&self, name: &ObjectName) -> Option<&Entry<'a>> {
        let elsewhere = || self.sorted().into_iter().find(|entry| entry.name.name == name.name);
        let here = self.by_name.values().filter(|entry| entry.name.namespace == name.namespace);
        let near = suggest::nearest(&name.name, here.map(|entry| &*entry.name.name));
        match near {
            Some(near) => self.by_name.get(&ObjectName::new(name.namespace.clone(), near)),
            None => elsewhere(),
        }
    }
}

fn mesh_entry(object: &Object<MeshService>) -> Entry<'_> {
    let ports = object.body.spec.ports.iter().map(|port| EntryPort {
        number: port.port.value.port(),
        name: "",
        protocol: port.protocol.0.map(|protocol| match protocol {
            Protocol::Http1 => AppProtocol::Http1,
            Protocol::Http2 => AppProtocol::Http2,
            Protocol::Grpc => AppProtocol::Grpc,
            Protocol::Tcp => AppProtocol::Tcp,
        }),
    });
    Entry {
        name: &object.name,
        span: object.span,
        source: Source::Mesh(object),
        ports: ports.collect(),
        complete: object.body.spec.ports.complete,
    }
}

fn core_entry(object: &Object<Service>) -> Entry<'_> {
    let spec = &object.body.spec;
    let tcp = spec.ports.iter().filter(|port| port.is_tcp());
    let ports = tcp.map(|port| {
        let name = port.name.as_ref().map_or("", |name| &name.value.0);
        let written = port.app_protocol.as_ref().map(|word| protocol::of_word(&word.value.0));
        EntryPort {
            number: port.port.value.port(),
            name,
            protocol: written.or_else(|| protocol::of_name(name)),
        }
    });
    Entry {
        name: &object.name,
        span: object.span,
        source: Source::Core(object),
        ports: ports.collect(),
        complete: spec.ports.complete,
    }
}
