//! All objects of all files, typed, and how they are found by name.
//!
//! Holds what was read, also where it was read in part: what is missing is known to be missing, so that one fault
//! does not cause a row of others.

use std::collections::HashSet;

use crate::{
    convert::Timestamp,
    model::{ObjectName, RouteKind},
    schema::{EndpointSlice, Mesh, MeshService, Metadata, Route, Service, Sidecar, TrafficPolicy},
    yaml::Span,
};

/// An object with its name.
#[derive(Clone, Debug)]
pub(crate) struct Object<T> {
    /// Namespace and name.
    pub(crate) name: ObjectName,
    /// Where the name stands: the place of findings about the whole object.
    pub(crate) span: Span,
    /// When it was made, if it says so.
    created: Option<Timestamp>,
    /// The object.
    pub(crate) body: T,
}

impl<T> Object<T> {
    /// Names the object by its metadata.
    pub(crate) fn new(body: T, metadata: fn(&T) -> &Metadata) -> Self {
        let written = metadata(&body);
        let (name, span, created) = (name_of(written), written.name.span, written.created.clone());
        Self { name, span, created, body }
    }

    /// Sorts the older first: by creation time, those without one last, then by namespace and name.
    pub(crate) fn age(&self) -> (bool, Option<&Timestamp>, &ObjectName) {
        (self.created.is_none(), self.created.as_ref(), &self.name)
    }
}

/// The namespace and name of an object; `default` where it names no namespace.
fn name_of(metadata: &Metadata) -> ObjectName {
    let namespace =
        metadata.namespace.as_ref().map_or_else(|| Metadata::NAMESPACE.into(), |n| n.value.0.clone());
    ObjectName { namespace, name: metadata.name.value.0.clone() }
}

/// Every object that was read, by kind; routes and policies from the oldest to the youngest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Objects {
    pub(crate) sidecars: Vec<Object<Sidecar>>,
    pub(crate) mesh_services: Vec<Object<MeshService>>,
    pub(crate) services: Vec<Object<Service>>,
    pub(crate) slices: Vec<Object<EndpointSlice>>,
    /// Of all kinds.
    pub(crate) routes: Vec<Object<Route>>,
    pub(crate) policies: Vec<Object<TrafficPolicy>>,
    pub(crate) meshes: Vec<Object<Mesh>>,
    /// Objects that could not be read: they exist, and nothing else is known of them.
    pub(crate) broken: HashSet<(String, ObjectName)>,
    /// Whether something could not be read whose kind or name is not even known.
    pub(crate) unknown: bool,
}

impl Objects {
    /// Brings routes and policies into the order of precedence.
    pub(crate) fn sort(&mut self) {
        self.routes.sort_by(|a, b| a.age().cmp(&b.age()));
        self.policies.sort_by(|a, b| a.age().cmp(&b.age()));
    }

    /// The routes of one kind.
    pub(crate) fn routes_of(&self, kind: RouteKind) -> impl Iterator<Item = &Object<Route>> {
        self.routes.iter().filter(move |route| route.body.kind == kind)
    }

    /// Whether an object of the kind may exist although it was not read.
    pub(crate) fn may_exist(&self, kinds: &[&str], name: &ObjectName) -> bool {
        self.unknown || kinds.iter().any(|kind| self.broken.contains(&((*kind).to_owned(), name.clone())))
    }

    /// The number of objects of each kind of [`crate::KINDS`] that occurs.
    pub(crate) fn counts(&self) -> Vec<(&'static str, usize)> {
        let all = [
            ("Sidecar", self.sidecars.len()),
            ("MeshService", self.mesh_services.len()),
            ("TrafficPolicy", self.policies.len()),
            ("Mesh", self.meshes.len()),
            ("Service", self.services.len()),
            ("EndpointSlice", self.slices.len()),
            ("HTTPRoute", self.routes_of(RouteKind::HTTPRoute).count()),
            ("GRPCRoute", self.routes_of(RouteKind::GRPCRoute).count()),
            ("TLSRoute", self.routes_of(RouteKind::TLSRoute).count()),
            ("TCPRoute", self.routes_of(RouteKind::TCPRoute).count()),
        ];
        all.into_iter().filter(|(_, count)| *count > 0).collect()
    }
}
