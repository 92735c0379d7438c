//! Matches that can never be chosen, because an earlier rule has the same ones.
//!
//! The Gateway API prefers the more specific match, so a match hides only its equals: of two equal ones on one port the
//! older route wins, then the earlier rule.

use std::collections::HashMap;

use super::Checks;
use crate::{
    compile::{everything, headers, query, target},
    diagnostic::{Code, Fault},
    model::{HeaderMatch, ObjectName, PathMatch, QueryMatch, RouteKind},
    objects::Object,
    references,
    schema::{Match, ParentRef, Route, Rule},
    yaml::Span,
};

/// A match in a form in which equal conditions are equal values.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Conditions {
    path: PathMatch,
    headers: Vec<HeaderMatch>,
    query: Vec<QueryMatch>,
    method: Option<&'static str>,
}

/// What a match competes for: a port of a Service (or all), as one namespace's routes serve it.
type Arena = (ObjectName, Option<u16>, std::sync::Arc<str>);

pub(super) fn check(checks: &mut Checks<'_>) {
    let objects = checks.objects;
    let mut first: HashMap<(Arena, Conditions), (Span, String)> = HashMap::new();
    for route in objects.routes.iter().filter(|route| !route.body.kind.is_opaque()) {
        let arenas = arenas(route);
        for (index, rule) in route.body.spec.rules.iter().enumerate() {
            let shown = rule.name.as_ref().map_or_else(|| index.to_string(), |name| name.value.0.to_string());
            let shown = format!("`{}/{shown}`", route.name);
            let mut hidden: Vec<(Span, (Span, String))> = Vec::new();
            let own = own_matches(route.body.kind, rule);
            for (conditions, span) in &own {
                let mut winners: Vec<Option<(Span, String)>> = Vec::new();
                for arena in &arenas {
                    let key = (arena.clone(), conditions.clone());
                    winners.push(first.get(&key).cloned());
                    first.entry(key).or_insert_with(|| (*span, shown.clone()));
                }
                // Hidden only if it is on every port on which it could hold.
                if let Some(winner) = winners.iter().cloned().collect::<Option<Vec<_>>>() {
                    hidden.extend(winner.into_iter().next().map(|winner| (*span, winner)));
                }
            }
            report(rule, hidden, own.len(), checks);
        }
    }
}

fn arenas(route: &Object<Route>) -> Vec<Arena> {
    let arena = |parent: &ParentRef| {
        let service = references::parent_service(parent, &route.name.namespace)?;
        // A port by name and by number may be one port; to tell them apart here only misses a warning.
        let port = parent.port.as_ref().map(|port| port.value.port());
        let named = parent.section_name.is_some();
        (!named).then(|| (service, port, route.name.namespace.clone()))
    };
    route.body.spec.parent_refs.iter().filter_map(arena).collect()
}

fn own_matches(kind: RouteKind, rule: &Rule) -> Vec<(Conditions, Span)> {
    if rule.matches.is_empty() && rule.matches.complete {
        let all = Conditions { path: everything(kind), headers: Vec::new(), query: Vec::new(), method: None };
        return vec![(all, rule.span)];
    }
    rule.matches.iter().map(|one| (conditions(one), one.span())).collect()
}

fn conditions(one: &Match) -> Conditions {
    let mut headers = headers(one);
    headers.sort_by(|a, b| a.name.cmp(&b.name));
    let (mut query, method) = match one {
        Match::Http(one) => (query(one), one.method.map(|method| method.word())),
        Match::Grpc(_) => (Vec::new(), None),
    };
    query.sort_by(|a, b| a.name.cmp(&b.name));
    Conditions { path: target(one), headers, query, method }
}

fn report(rule: &Rule, hidden: Vec<(Span, (Span, String))>, of: usize, checks: &mut Checks<'_>) {
    if hidden.len() == of && rule.matches.complete {
        let Some((_, (by, name))) = hidden.into_iter().next() else { return };
        let place = rule.name.as_ref().map_or(rule.span, |name| name.span);
        let message = format!("the rule never matches: {name} takes all its requests first");
        let fault = Fault::warning(Code::Shadowed, place, message).related(by, "this match hides it");
        return checks.push(fault.help("remove one of the two, or add a condition"));
    }
    for (span, (by, name)) in hidden {
        let message = format!("the match is never chosen: {name} takes its requests first");
        checks.push(Fault::warning(Code::Shadowed, span, message).related(by, "this match hides it"));
    }
}
