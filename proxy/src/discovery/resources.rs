//! What a proxy has of its policy, resource by resource, as a control plane told it; and the whole that is built of it.
//!
//! A policy is whole when everything that it points at is there. Until then nothing of it is used, however much has come:
//! no request runs with half a policy. Plain data: no I/O.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use outrigger_config::{
    model::{
        BackendTarget, Destination, Endpoints, Fallback, MeshConfig, Resources, ServicePort, TrafficSettings,
        Workload,
    },
    wire::{Any, DecodeError, MESH_CONFIG, Resource, ResourceType, Travels},
};

use super::prepare::Came;

/// One resource with its version.
#[derive(Clone, Debug, PartialEq)]
struct One<T> {
    version: String,
    value: Arc<T>,
}

/// Resources by name.
type ByName<T> = BTreeMap<String, One<T>>;

/// Every resource that a proxy has.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Held {
    mesh: ByName<MeshConfig>,
    endpoints: ByName<Endpoints>,
    destinations: ByName<Destination>,
    workload: ByName<Workload>,
}

/// One resource as it was before something else came in its place.
#[derive(Debug)]
pub(super) struct Former {
    pub(super) kind: ResourceType,
    pub(super) name: String,
    was: Option<Resource>,
}

impl Held {
    /// Takes a resource in, and gives back what it replaces.
    ///
    /// # Errors
    /// What is wrong with it; then nothing has changed.
    pub(super) fn put(&mut self, kind: ResourceType, resource: &Resource) -> Result<Former, DecodeError> {
        let former = Former { kind, name: resource.name.clone(), was: self.get(kind, &resource.name) };
        match kind {
            ResourceType::MeshConfig => put(&mut self.mesh, resource)?,
            ResourceType::Endpoints => put(&mut self.endpoints, resource)?,
            ResourceType::Destination => put(&mut self.destinations, resource)?,
            ResourceType::Workload => put(&mut self.workload, resource)?,
        }
        Ok(former)
    }

    /// Puts a former resource back.
    pub(super) fn restore(&mut self, former: &Former) {
        let back = former.was.as_ref().and_then(|was| self.put(former.kind, was).ok());
        if back.is_none() {
            self.remove(former.kind, &former.name);
        }
    }

    /// Takes a resource out.
    pub(super) fn remove(&mut self, kind: ResourceType, name: &str) {
        match kind {
            ResourceType::MeshConfig => drop(self.mesh.remove(name)),
            ResourceType::Endpoints => drop(self.endpoints.remove(name)),
            ResourceType::Destination => drop(self.destinations.remove(name)),
            ResourceType::Workload => drop(self.workload.remove(name)),
        }
    }

    /// Names and versions of one type.
    pub(super) fn versions(&self, kind: ResourceType) -> BTreeMap<String, String> {
        match kind {
            ResourceType::MeshConfig => versions(&self.mesh),
            ResourceType::Endpoints => versions(&self.endpoints),
            ResourceType::Destination => versions(&self.destinations),
            ResourceType::Workload => versions(&self.workload),
        }
    }

    fn get(&self, kind: ResourceType, name: &str) -> Option<Resource> {
        match kind {
            ResourceType::MeshConfig => get(&self.mesh, name),
            ResourceType::Endpoints => get(&self.endpoints, name),
            ResourceType::Destination => get(&self.destinations, name),
            ResourceType::Workload => get(&self.workload, name),
        }
    }

    /// Everything, as it travels.
    pub(super) fn all(&self) -> impl Iterator<Item = (ResourceType, Resource)> + '_ {
        ResourceType::ALL.into_iter().flat_map(move |kind| {
            let names: Vec<String> = self.versions(kind).into_keys().collect();
            names.into_iter().filter_map(move |name| Some((kind, self.get(kind, &name)?)))
        })
    }

    /// The whole policy of a Sidecar; `None` while something is missing. What was refused may be missing: its share of the
    /// requests is answered as that of a backend that does not exist.
    pub(super) fn whole(&self, sidecar: &str, refused: &BTreeSet<&str>) -> Option<Resources> {
        let destinations: Vec<_> = self.destinations.values().map(|one| one.value.clone()).collect();
        let workload = self.workload.get(sidecar)?.value.as_ref().clone();
        let mesh = self.mesh.get(MESH_CONFIG)?.value.as_ref().clone();
        let missing = |port: &ServicePort| {
            let name = port.service.to_string();
            let held = self.destinations.get(&name).map(|one| &one.value);
            let there = held.is_some_and(|held| held.ports.iter().any(|one| one.port == port.port));
            !there && !refused.contains(name.as_str())
        };
        let pinned = workload.outbound.iter().filter_map(|listener| listener.service.as_ref());
        let pointed = destinations.iter().flat_map(|one| points_at(one));
        if pinned.chain(pointed).any(missing) {
            return None;
        }
        let endpoints = self.endpoints.values().map(|one| one.value.clone()).collect();
        Some(Resources { mesh, workload, destinations, endpoints })
    }

    /// The destination of a name.
    pub(super) fn destination(&self, name: &str) -> Option<&Arc<Destination>> {
        self.destinations.get(name).map(|one| &one.value)
    }

    /// Resources of these names, to be judged; endpoints cannot be wrong.
    pub(super) fn of_names(&self, kind: ResourceType, names: &[&str]) -> Option<Came> {
        let first = names.first()?;
        match kind {
            ResourceType::Endpoints => None,
            ResourceType::MeshConfig => self.mesh.get(*first).map(|one| Came::MeshConfig(one.value.clone())),
            ResourceType::Workload => self.workload.get(*first).map(|one| Came::Workload(one.value.clone())),
            ResourceType::Destination => {
                let found = names.iter().filter_map(|name| self.destination(name));
                Some(Came::Destinations(found.cloned().collect()))
            }
        }
    }
}

fn put<T: Travels>(into: &mut ByName<T>, resource: &Resource) -> Result<(), DecodeError> {
    let fail = |reason: &str| DecodeError {
        kind: T::TYPE,
        resource: resource.name.clone(),
        field: String::new(),
        reason: reason.to_owned(),
    };
    let Some(any) = &resource.resource else { return Err(fail("it is empty")) };
    if any.type_url != T::TYPE.type_url() {
        return Err(fail(&format!("its type is `{}`", any.type_url)));
    }
    let value = Arc::new(T::decode(&resource.name, &any.value)?);
    into.insert(resource.name.clone(), One { version: resource.version.clone(), value });
    Ok(())
}

fn get<T: Travels>(from: &ByName<T>, name: &str) -> Option<Resource> {
    let one = from.get(name)?;
    let value = one.value.encode();
    Some(Resource {
        version: one.version.clone(),
        resource: Some(Any { type_url: T::TYPE.type_url().to_owned(), value }),
        name: name.to_owned(),
        aliases: Vec::new(),
        ttl: None,
    })
}

fn versions<T>(of: &ByName<T>) -> BTreeMap<String, String> {
    of.iter().map(|(name, one)| (name.clone(), one.version.clone())).collect()
}

/// Every Service port that a destination sends to.
fn points_at(destination: &Destination) -> impl Iterator<Item = &ServicePort> {
    destination.ports.iter().flat_map(|port| {
        let rules = port.routes.iter().flatten();
        let of_rules = rules.flat_map(|rule| {
            let backends = rule.backends.iter();
            let mirrors = rule.mirrors.iter().chain(rule.backends.iter().flat_map(|one| &one.mirrors));
            let targets = backends.map(|one| &one.target).chain(mirrors.map(|one| &one.target));
            targets.filter_map(target).chain(fallback(&rule.settings))
        });
        let connections = port.connections.iter().flatten();
        let of_connections =
            connections.flat_map(|rule| &rule.backends).filter_map(|one| target(&one.target));
        of_rules.chain(of_connections).chain(fallback(&port.settings))
    })
}

fn target(target: &BackendTarget) -> Option<&ServicePort> {
    match target {
        BackendTarget::Service(port) => Some(port),
        BackendTarget::Invalid { .. } => None,
    }
}

fn fallback(settings: &TrafficSettings) -> Option<&ServicePort> {
    match &settings.circuit_breaker.fallback {
        Some(Fallback::Service(port)) => Some(port),
        Some(Fallback::StaleFor(_) | Fallback::Response(_)) | None => None,
    }
}
