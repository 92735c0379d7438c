//! Which routes meet on which port: those of one namespace, attached to one port of one Service. Routes of different
//! namespaces do not meet: a caller's own replace the Service's.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    model::ObjectName,
    objects::Object,
    references,
    schema::{ParentRef, Route},
    services::Services,
};

/// A port of a Service, as one namespace's routes serve it.
pub(super) type Arena = (ObjectName, u16, Arc<str>);

/// A route by its number, and the reference by which it is there.
pub(super) type Attached<'a> = (usize, &'a ParentRef);

pub(super) type Arenas<'a> = BTreeMap<Arena, Vec<Attached<'a>>>;

/// What each route is attached to; only ports that are known.
pub(super) fn all<'a>(routes: &'a [Object<Route>], services: &Services<'_>) -> Arenas<'a> {
    let mut arenas = Arenas::new();
    for (number, route) in routes.iter().enumerate() {
        for parent in route.body.spec.parent_refs.iter() {
            let namespace = &route.name.namespace;
            let entry = references::parent_service(parent, namespace).and_then(|name| services.get(&name));
            let Some(entry) = entry.filter(|entry| entry.complete) else { continue };
            for port in entry.ports.iter().filter(|port| references::holds_on(route.body.kind, parent, port))
            {
                let arena = (entry.name.clone(), port.number, namespace.clone());
                let attached = arenas.entry(arena).or_default();
                if attached.last().is_none_or(|(last, _)| *last != number) {
                    attached.push((number, parent));
                }
            }
        }
    }
    arenas
}

/// The routes that hold among those attached to one port: those of one kind.
pub(super) fn holding(routes: &[Object<Route>], attached: &[Attached<'_>]) -> Vec<usize> {
    let kind = attached.iter().map(|(route, _)| routes[*route].body.kind).min();
    let of_kind = attached.iter().filter(|(route, _)| Some(routes[*route].body.kind) == kind);
    of_kind.map(|(route, _)| *route).collect()
}
