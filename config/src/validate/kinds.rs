//! One kind of route for each port of a Service: where several are attached, the Gateway API lets one of them hold
//! (GEP-1294), and the routes of the others do nothing there.
//!
//! Routes of different namespaces do not meet: those of a caller's own namespace replace the Service's.

use std::{collections::HashMap, sync::Arc};

use super::Checks;
use crate::{
    diagnostic::{Code, Fault},
    model::ObjectName,
    objects::Object,
    references,
    schema::{ParentRef, Route},
    services::Services,
    yaml::Span,
};

/// One port of a Service, as one namespace's routes serve it.
pub(super) type Arena<'a> = (ObjectName, u16, &'a Arc<str>);

/// The route that holds, and where it says what it attaches to.
type Holder<'a> = (&'a Object<Route>, Span);

pub(super) fn check(checks: &mut Checks<'_>) {
    let objects = checks.objects;
    let mut holders: HashMap<Arena<'_>, Holder<'_>> = HashMap::new();
    for (route, parent) in attached(&objects.routes) {
        for arena in arenas(&checks.services, route, parent) {
            let holder = holders.entry(arena).or_insert((route, parent.name.span));
            if route.body.kind < holder.0.body.kind {
                *holder = (route, parent.name.span);
            }
        }
    }
    for (route, parent) in attached(&objects.routes) {
        let arenas = arenas(&checks.services, route, parent);
        let lost: Vec<_> = arenas
            .iter()
            .filter_map(|arena| Some((arena, holders.get(arena)?)))
            .filter(|(_, (holder, _))| holder.body.kind != route.body.kind)
            .collect();
        if let Some(fault) = conflict(route, parent, &lost) {
            checks.push(fault);
        }
    }
}

/// Every route with each of its parents.
pub(super) fn attached(routes: &[Object<Route>]) -> impl Iterator<Item = (&Object<Route>, &ParentRef)> {
    routes.iter().flat_map(|route| route.body.spec.parent_refs.iter().map(move |parent| (route, parent)))
}

/// The ports on which a route holds by a parentRef, if no route of another kind does.
pub(super) fn arenas<'a>(
    services: &Services<'_>,
    route: &'a Object<Route>,
    parent: &ParentRef,
) -> Vec<Arena<'a>> {
    let namespace = &route.name.namespace;
    let entry = references::parent_service(parent, namespace).and_then(|service| services.get(&service));
    let ports = entry.iter().flat_map(|entry| entry.ports.iter().map(move |port| (entry, port)));
    ports
        .filter(|(_, port)| references::holds_on(route.body.kind, parent, port))
        .map(|(entry, port)| (entry.name.clone(), port.number, namespace))
        .collect()
}

fn conflict(route: &Object<Route>, parent: &ParentRef, lost: &[(&Arena<'_>, &Holder<'_>)]) -> Option<Fault> {
    let ((service, ..), (holder, span)) = lost.first()?;
    let ports: Vec<String> = lost.iter().map(|((_, port, _), _)| port.to_string()).collect();
    let word = if ports.len() == 1 { "port" } else { "ports" };
    let (kind, other) = (route.body.kind.word(), holder.body.kind.word());
    let message = format!(
        "the {kind} `{}` does not hold on {word} {} of `{service}`: the {other} `{}` is attached there",
        route.name,
        ports.join(", "),
        holder.name
    );
    let help = "a port has routes of one kind: GRPCRoutes before HTTPRoutes before TLSRoutes before TCPRoutes; give the \
                `parentRefs` other ports";
    let fault = Fault::warning(Code::Contended, parent.name.span, message);
    Some(fault.related(*span, format!("the {other} is attached here")).help(help))
}
