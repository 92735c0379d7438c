//! Routes: which rules hold on a port for this caller, and each rule with its references resolved.

use std::{collections::HashMap, sync::Arc};

use super::{Scope, connections, cors, matches, mirrors, session, targets};
use crate::{
    model::{
        Backend, BackendTarget, ConnectionRule, HeaderModifier, ObjectName, PathMatch, RouteKind, RouteMatch,
        RouteRule, RuleId, ServicePort,
    },
    objects::Object,
    references::{self, Pointer, Resolved},
    schema::{self, BackendRef, Filter, ParentRef, Route, Rule},
    services::{Entry, EntryPort},
};

/// A route and the reference by which it attaches.
type Attached<'a> = (usize, &'a ParentRef);

/// Which routes attach to which Service, the oldest first.
pub(super) struct Attachments<'a> {
    by_service: HashMap<ObjectName, Vec<Attached<'a>>>,
    /// The rank of the first rule of each route: a rule's rank grows with its route's youth.
    first_rank: Vec<u32>,
}

impl<'a> Attachments<'a> {
    /// Collects the attachments that this caller sees.
    pub(super) fn new(scope: &Scope<'a>) -> Self {
        let mut by_service: HashMap<ObjectName, Vec<Attached<'a>>> = HashMap::new();
        let mut first_rank = Vec::new();
        let mut rank = 0;
        for (index, route) in scope.objects.routes.iter().enumerate() {
            first_rank.push(rank);
            rank += route.body.spec.rules.len().max(1) as u32;
            for parent in route.body.spec.parent_refs.iter() {
                if let Some(service) = references::parent_service(parent, &route.name.namespace) {
                    by_service.entry(service).or_default().push((index, parent));
                }
            }
        }
        Self { by_service, first_rank }
    }

    /// The routes of a Service, ready to be asked port by port.
    pub(super) fn rules_of<'s>(&'s self, scope: &'s Scope<'a>, entry: &'s Entry<'a>) -> ServiceRules<'s, 'a> {
        let attached = self.by_service.get(entry.name).map_or(&[][..], |attached| attached);
        ServiceRules { scope, entry, attached, first_rank: &self.first_rank, made: HashMap::new() }
    }
}

/// What holds on one port of a Service.
#[derive(Default)]
pub(super) struct PortRules {
    /// The kind of the routes that hold.
    pub(super) kind: Option<RouteKind>,
    /// Their rules, if they take requests.
    pub(super) requests: Option<Vec<Arc<RouteRule>>>,
    /// Their rules, if they take connections.
    pub(super) connections: Option<Vec<Arc<ConnectionRule>>>,
}

/// The routes of one Service. A rule that holds on several ports is one value.
pub(super) struct ServiceRules<'s, 'a> {
    scope: &'s Scope<'a>,
    entry: &'s Entry<'a>,
    attached: &'s [Attached<'a>],
    first_rank: &'s [u32],
    made: HashMap<usize, Vec<Arc<RouteRule>>>,
}

impl ServiceRules<'_, '_> {
    /// The rules of one port. Routes of the caller's namespace replace those of the Service's own; of several kinds of
    /// routes one holds.
    pub(super) fn on_port(&mut self, port: &EntryPort<'_>) -> PortRules {
        let kind_of = |index: usize| self.scope.objects.routes[index].body.kind;
        let here: Vec<usize> = self
            .attached
            .iter()
            .filter(|(index, parent)| references::holds_on(kind_of(*index), parent, port))
            .map(|(index, _)| *index)
            .collect();
        let from = |namespace: &Arc<str>| -> Vec<usize> {
            let routes = &self.scope.objects.routes;
            here.iter().copied().filter(|index| routes[*index].name.namespace == *namespace).collect()
        };
        let mut chosen = from(self.scope.namespace);
        if chosen.is_empty() {
            chosen = from(&self.entry.name.namespace);
        }
        chosen.dedup();
        let Some(kind) = chosen.iter().map(|index| kind_of(*index)).min() else {
            return PortRules::default();
        };
        chosen.retain(|index| kind_of(*index) == kind);
        let mut rules = PortRules { kind: Some(kind), ..PortRules::default() };
        if kind.is_opaque() {
            let made = chosen.into_iter().flat_map(|index| {
                let route = &self.scope.objects.routes[index];
                connections::rules(self.scope, self.entry.name, route, self.first_rank[index])
            });
            rules.connections = Some(made.collect());
        } else {
            rules.requests = Some(chosen.into_iter().flat_map(|index| self.rules(index)).collect());
        }
        rules
    }

    fn rules(&mut self, index: usize) -> Vec<Arc<RouteRule>> {
        let (scope, entry, rank) = (self.scope, self.entry, self.first_rank[index]);
        let make = || {
            let route = &scope.objects.routes[index];
            let rules = &route.body.spec.rules;
            if rules.is_empty() {
                // Upstream: without rules, one that takes everything and has no backend.
                return vec![Arc::new(rule(scope, entry.name, (route, None), rank))];
            }
            let written = rules.iter().enumerate();
            let made =
                written.map(|(at, one)| rule(scope, entry.name, (route, Some((at, one))), rank + at as u32));
            made.map(Arc::new).collect()
        };
        self.made.entry(index).or_insert_with(make).clone()
    }
}

/// A route and one of its rules, with the rule's index.
type Place<'a> = (&'a Object<Route>, Option<(usize, &'a Rule)>);

fn rule(scope: &Scope<'_>, service: &ObjectName, (route, written): Place<'_>, rank: u32) -> RouteRule {
    let body = written.map(|(_, rule)| rule);
    let origin = scope.origin(body.map_or(&route.span, |rule| &rule.span));
    let everything = || RouteMatch {
        path: matches::everything(route.body.kind),
        headers: Vec::new(),
        query: Vec::new(),
        method: None,
        origin: origin.clone(),
    };
    let mut matches: Vec<RouteMatch> = body
        .iter()
        .flat_map(|rule| rule.matches.iter())
        .map(|written| matches::route_match(scope, written))
        .collect();
    if matches.is_empty() {
        matches.push(everything());
    }
    let filters = body.map_or(&[][..], |rule| &rule.filters);
    // A prefix is replaced only where `check` found that the rule has one match, and that it has one.
    let path = matches.first().map(|one| one.path.clone());
    let prefix = match &path {
        Some(PathMatch::Prefix(prefix)) => prefix,
        _ => "/",
    };
    let backends = body.map_or(&[][..], |rule| &rule.backend_refs);
    RouteRule {
        id: rule_id(route, written),
        rank,
        session: session::of(scope, body, &matches),
        matches,
        request_headers: modifiers(filters, |filter| filter.request_header_modifier.as_ref()),
        response_headers: modifiers(filters, |filter| filter.response_header_modifier.as_ref()),
        redirect: targets::redirect(filters, prefix),
        rewrite: targets::rewrite(filters, prefix),
        cors: cors::of(scope, filters),
        mirrors: mirrors::all(scope, route, filters),
        backends: backends.iter().map(|backend| resolve(scope, route, backend, prefix)).collect(),
        settings: scope.layers.rule(service, route, body),
        origin,
    }
}

fn modifiers(
    filters: &[Filter],
    pick: fn(&Filter) -> Option<&schema::HeaderModifier>,
) -> Vec<HeaderModifier> {
    let pairs = |list: &[schema::HeaderPair]| {
        list.iter().map(|pair| (pair.name.value.0.clone(), pair.value.0.clone())).collect()
    };
    filters
        .iter()
        .filter_map(pick)
        .map(|body| HeaderModifier {
            set: pairs(&body.set),
            add: pairs(&body.add),
            remove: body.remove.iter().map(|name| name.value.0.clone()).collect(),
        })
        .collect()
}

/// The name of a rule: its own, or its index.
pub(super) fn rule_id(route: &Object<Route>, written: Option<(usize, &Rule)>) -> RuleId {
    let (index, body) = written.map_or((0, None), |(index, rule)| (index, Some(rule)));
    let name = body.and_then(|rule| rule.name.as_ref()).map(|name| name.value.0.clone());
    RuleId {
        kind: route.body.kind,
        route: route.name.clone(),
        rule: name.unwrap_or_else(|| index.to_string().into()),
    }
}

fn resolve(scope: &Scope<'_>, route: &Object<Route>, written: &BackendRef, prefix: &str) -> Backend {
    Backend {
        weight: written.weight.as_ref().map_or(1, |weight| weight.value.0),
        target: target(scope, route, written),
        request_headers: modifiers(&written.filters, |filter| filter.request_header_modifier.as_ref()),
        response_headers: modifiers(&written.filters, |filter| filter.response_header_modifier.as_ref()),
        redirect: targets::redirect(&written.filters, prefix),
        rewrite: targets::rewrite(&written.filters, prefix),
        cors: cors::of(scope, &written.filters),
        mirrors: mirrors::all(scope, route, &written.filters),
        origin: scope.origin(&written.span),
    }
}

/// What a reference in a route points at.
pub(super) fn target<'w>(
    scope: &Scope<'_>,
    route: &Object<Route>,
    written: impl Into<Pointer<'w>>,
) -> BackendTarget {
    match references::backend_of(&scope.services, route, written) {
        Resolved::Port { service, port } => BackendTarget::Service(ServicePort { service, port }),
        Resolved::Nothing { reason, .. } => BackendTarget::Invalid { reason: reason.into() },
    }
}
