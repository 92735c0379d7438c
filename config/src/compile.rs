//! From checked objects to the resources of one Sidecar: references resolved, precedence settled, defaults filled in.
//!
//! Nothing is checked again here: a policy that reaches this point has no error. What a warning told about (a host
//! claimed twice, a backend that does not exist) is settled the way the warning said.

mod connections;
mod cors;
mod destination;
mod endpoints;
mod matches;
mod mesh;
mod mirrors;
mod mtls;
mod routes;
pub(crate) mod session;
mod settings;
mod targets;
mod tls;
mod workload;
mod written;

pub(crate) use destination::qualified;
pub(crate) use endpoints::{SERVICE_NAME, in_subset, service_of};
pub(crate) use matches::{everything, headers, query, target};
pub(crate) use mtls::{Mode, Modes, address, expected, listeners, named, trust_domain};
pub(crate) use settings::{Layers, Written};
pub(crate) use tls::server_name;
pub(crate) use written::Limit;

use std::sync::Arc;

use crate::{
    diagnostic::Sources,
    model::{Destination, Endpoints, MeshConfig, Origin, Resources},
    objects::{Object, Objects},
    schema::Sidecar,
    services::Services,
    yaml::Span,
};

/// Everything that one compilation looks things up in.
struct Scope<'a> {
    objects: &'a Objects,
    sources: &'a Sources,
    services: Services<'a>,
    layers: Layers<'a>,
    modes: Modes,
    /// The namespace of the Sidecar: what it calls is seen from there.
    namespace: &'a Arc<str>,
}

impl Scope<'_> {
    fn origin(&self, span: &Span) -> Origin {
        self.sources.origin(span)
    }
}

/// The resources for one Sidecar.
pub(crate) fn resources(objects: &Objects, sources: &Sources, sidecar: &Object<Sidecar>) -> Resources {
    Shared::new(objects, sources, &sidecar.name.namespace).resources(sidecar)
}

/// What all Sidecars of one namespace have alike.
pub(crate) struct Shared<'a> {
    scope: Scope<'a>,
    mesh: MeshConfig,
    destinations: Vec<Arc<Destination>>,
    endpoints: Vec<Arc<Endpoints>>,
}

impl<'a> Shared<'a> {
    /// Compiles it.
    pub(crate) fn new(objects: &'a Objects, sources: &'a Sources, namespace: &'a Arc<str>) -> Self {
        let services = Services::new(objects);
        let scope = Scope {
            objects,
            sources,
            modes: Modes::new(objects, &services),
            services,
            layers: Layers::new(objects, sources),
            namespace,
        };
        Self {
            mesh: mesh::config(&scope),
            destinations: destination::all(&scope),
            endpoints: endpoints::all(&scope),
            scope,
        }
    }

    /// The resources of one of these Sidecars.
    pub(crate) fn resources(&self, sidecar: &Object<Sidecar>) -> Resources {
        Resources {
            mesh: self.mesh.clone(),
            workload: workload::of(&self.scope, sidecar, &self.destinations),
            endpoints: self.endpoints.clone(),
            destinations: self.destinations.clone(),
        }
    }
}
