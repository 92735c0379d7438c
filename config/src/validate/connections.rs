//! TCPRoutes and TLSRoutes that never take a connection, because another one takes it first.
//!
//! A rule has no condition but its route's server names, so of a route only the first rule is ever chosen, and of two
//! routes with one name on one port only the older.

use std::collections::HashMap;

use super::{
    Checks,
    kinds::{Arena, arenas},
};
use crate::{
    diagnostic::{Code, Fault},
    model::{RouteKind, ServerNameMatch},
    objects::Object,
    schema::Route,
    yaml::Span,
};

/// What routes compete for: a server name on a port; without one, all names.
type Claim<'a> = (RouteKind, Arena<'a>, Option<&'a ServerNameMatch>);

pub(super) fn check(checks: &mut Checks<'_>) {
    let objects = checks.objects;
    let mut first: HashMap<Claim<'_>, &Object<Route>> = HashMap::new();
    for route in objects.routes.iter().filter(|route| route.body.kind.is_opaque()) {
        later_rules(route, checks);
        let parents = route.body.spec.parent_refs.iter();
        let arenas: Vec<_> = parents.flat_map(|parent| arenas(&checks.services, route, parent)).collect();
        let mut hidden: Vec<(Span, &Object<Route>)> = Vec::new();
        let names = names(route);
        for (name, span) in &names {
            let winners: Vec<Option<&Object<Route>>> = arenas
                .iter()
                .map(|arena| {
                    let claim = (route.body.kind, arena.clone(), *name);
                    let holder = *first.entry(claim).or_insert(route);
                    (holder.name != route.name).then_some(holder)
                })
                .collect();
            // Hidden only if it is on every port on which it could hold.
            if let Some(Some(winner)) =
                winners.iter().copied().collect::<Option<Vec<_>>>().map(|all| all.first().copied())
            {
                hidden.push((*span, winner));
            }
        }
        report(route, names.len(), hidden, checks);
    }
}

fn names(route: &Object<Route>) -> Vec<(Option<&ServerNameMatch>, Span)> {
    let names = &route.body.spec.server_names;
    if names.is_empty() && names.complete {
        return vec![(None, route.span)];
    }
    names.iter().map(|name| (Some(&name.value.0), name.span)).collect()
}

fn later_rules(route: &Object<Route>, checks: &mut Checks<'_>) {
    let rules = &route.body.spec.rules;
    if !route.body.is_former {
        // That is an error, which `counts` tells.
        return;
    }
    for rule in rules.iter().skip(1) {
        let place = rule.name.as_ref().map_or(rule.span, |name| name.span);
        let message = "the rule never takes a connection: the route's first rule takes them all";
        let fault = Fault::warning(Code::Shadowed, place, message).related(rules[0].span, "the first rule");
        checks.push(fault.help("write its backends into the first rule, with weights"));
    }
}

fn report(route: &Object<Route>, of: usize, hidden: Vec<(Span, &Object<Route>)>, checks: &mut Checks<'_>) {
    if hidden.len() == of
        && let Some((_, winner)) = hidden.first()
    {
        let kind = route.body.kind.word();
        let message =
            format!("the route never takes a connection: the {kind} `{}` takes them first", winner.name);
        let fault = Fault::warning(Code::Shadowed, route.span, message);
        let fault = fault.related(winner.span, "the older one, or the first by name");
        return checks.push(fault.help("of several routes for one name on one port the older holds"));
    }
    for (span, winner) in hidden {
        let message =
            format!("the name has no effect: the TLSRoute `{}` takes its connections first", winner.name);
        let fault = Fault::warning(Code::Shadowed, span, message);
        checks.push(fault.related(winner.span, "the older one, or the first by name"));
    }
}
