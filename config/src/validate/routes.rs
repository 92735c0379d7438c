//! Routes as a whole: what they attach to, and the names of their rules.

use std::collections::HashMap;

use super::{Checks, counts, rules, session};
use crate::{
    diagnostic::{Code, Fault},
    model::ObjectName,
    objects::Object,
    references,
    schema::{ParentRef, Route},
    yaml::Span,
};

pub(super) fn check(checks: &mut Checks<'_>) {
    let objects = checks.objects;
    for route in &objects.routes {
        parents(route, checks);
        names(route, checks);
        session::names(&route.body, checks);
        counts::check(route, checks);
        for hostname in route.body.spec.hostnames.iter().take(1) {
            let message = "`hostnames` are ignored: the Service's own hosts decide what reaches it";
            let fault = Fault::warning(Code::NoEffect, hostname.span, message);
            checks.push(fault.help("for a host outside the mesh, write a MeshService with `hosts`"));
        }
        for rule in route.body.spec.rules.iter() {
            rules::check(route, rule, checks);
        }
    }
}

fn parents(route: &Object<Route>, checks: &mut Checks<'_>) {
    let parents = &route.body.spec.parent_refs;
    if parents.is_empty() && parents.complete {
        let message = "the route has no `parentRefs`, so it holds for nothing";
        let fault = Fault::warning(Code::NoEffect, route.span, message);
        checks.push(fault.help("add `parentRefs: [{group: \"\", kind: Service, name: <service>}]`"));
    }
    for parent in parents.iter() {
        match references::parent_service(parent, &route.name.namespace) {
            Some(service) => attached(&service, parent, checks),
            None => foreign(route, parent, checks),
        }
    }
}

/// A parent that is a Service.
fn attached(service: &ObjectName, parent: &ParentRef, checks: &mut Checks<'_>) {
    let Some(entry) = checks.service(service, parent.name.span) else { return };
    if let Some(what) = entry.no_parent() {
        let message = format!("`{service}` is {what}, to which no route can attach");
        let fault = Fault::error(Code::WrongReference, parent.name.span, message);
        checks.push(fault.related(entry.span, format!("`{service}` stands here")));
    }
    if let Some(port) = &parent.port {
        checks.port(&entry, port.value.port(), port.span);
    }
    if let Some(section) = &parent.section_name
        && entry.complete
        && !entry.ports.iter().any(|port| port.name == &*section.value.0)
    {
        let message = format!("`{service}` has no port named `{}`", section.value.0);
        let names: Vec<&str> =
            entry.ports.iter().map(|port| port.name).filter(|name| !name.is_empty()).collect();
        let fault = Fault::error(Code::UnknownReference, section.span, message)
            .related(entry.span, format!("`{service}` stands here"))
            .maybe_help(crate::suggest::help(&section.value.0, &names));
        checks.push(fault);
    }
}

/// A parent that is no Service: a gateway's, or a slip.
fn foreign(route: &Object<Route>, parent: &ParentRef, checks: &mut Checks<'_>) {
    let kind = parent.kind.as_ref().map_or("Gateway", |kind| &kind.0);
    let namespace = parent.namespace.as_ref().map_or(&route.name.namespace, |namespace| &namespace.0);
    let name = ObjectName { namespace: namespace.clone(), name: parent.name.value.0.clone() };
    let named = checks.services.get(&name).is_some();
    let right = if kind == "MeshService" { "group: outrigger.dev" } else { "group: \"\"" };
    let fault = if matches!(kind, "Service" | "MeshService") {
        let message = format!("a parentRef of kind {kind} needs `{right}`");
        Fault::error(Code::WrongReference, parent.name.span, message)
            .help(format!("write `{{{right}, kind: {kind}, name: {}}}`", name.name))
    } else if parent.kind.is_none() && named {
        let message = "a parentRef without `kind` means a Gateway, not a Service";
        Fault::error(Code::WrongReference, parent.name.span, message)
            .help(format!("write `{{group: \"\", kind: Service, name: {}}}`", name.name))
    } else {
        let message = format!("skipped: a parent of kind {kind} is no concern of a sidecar");
        Fault::note(Code::Skipped, parent.name.span, message)
    };
    checks.push(fault);
}

fn names(route: &Object<Route>, checks: &mut Checks<'_>) {
    let mut seen: HashMap<&str, Span> = HashMap::new();
    for name in route.body.spec.rules.iter().filter_map(|rule| rule.name.as_ref()) {
        if let Some(first) = seen.insert(&name.value.0, name.span) {
            let message = format!("the rule name `{}` is written twice", name.value.0);
            checks.push(Fault::error(Code::Conflict, name.span, message).related(first, "first here"));
        }
    }
}
