//! How much a route may hold beyond what the length of one list says: what the Kubernetes API server would not take is no
//! route here either.

use super::Checks;
use crate::{
    diagnostic::{Code, Fault},
    model::RouteKind,
    objects::Object,
    schema::{Route, Rule},
};

/// Matches of all rules together.
const MATCHES: usize = 128;

pub(super) fn check(route: &Object<Route>, checks: &mut Checks<'_>) {
    matches(route, checks);
    if route.body.kind.is_opaque() && !route.body.is_former {
        one_rule(route, checks);
        names(route, checks);
    }
}

/// A rule of an HTTPRoute without matches has one by default.
fn weight(kind: RouteKind, rule: &Rule) -> usize {
    rule.matches.len().max(usize::from(kind == RouteKind::HTTPRoute))
}

fn matches(route: &Object<Route>, checks: &mut Checks<'_>) {
    let mut sum = 0;
    let total: usize = route.body.spec.rules.iter().map(|rule| weight(route.body.kind, rule)).sum();
    for rule in route.body.spec.rules.iter() {
        let before = sum;
        sum += weight(route.body.kind, rule);
        if sum > MATCHES {
            let place = rule.matches.get(MATCHES - before).map_or(rule.span, |one| one.span());
            let message = format!("the rules have {total} matches together, at most {MATCHES} are allowed");
            let fault = Fault::error(Code::Range, place, message);
            return checks.push(fault.help("write some of the rules into another route of the same Service"));
        }
    }
}

/// The first takes every connection, so upstream has only that one; earlier versions had room for more.
fn one_rule(route: &Object<Route>, checks: &mut Checks<'_>) {
    let rules = &route.body.spec.rules;
    let kind = route.body.kind.word();
    if rules.is_empty() && rules.complete {
        let fault = Fault::error(Code::MissingField, route.span, format!("a {kind} has one rule"));
        return checks.push(fault.help("add `rules: [{backendRefs: [{name: <service>, port: <port>}]}]`"));
    }
    if let Some(second) = rules.get(1) {
        let place = second.name.as_ref().map_or(second.span, |name| name.span);
        let fault =
            Fault::error(Code::Range, place, format!("a {kind} has one rule, which takes every connection"));
        let fault = fault.related(rules[0].span, "the first rule");
        checks.push(fault.help("write its backends into the first rule, with weights"));
    }
    for rule in rules.iter().filter(|rule| rule.backend_refs.is_empty() && rule.backend_refs.complete) {
        let place = rule.name.as_ref().map_or(rule.span, |name| name.span);
        let fault = Fault::error(
            Code::MissingField,
            place,
            format!("a rule of a {kind} has at least one backendRef"),
        );
        checks.push(fault.help("add `backendRefs: [{name: <service>, port: <port>}]`"));
    }
}

/// `v1alpha2` let them be left out.
fn names(route: &Object<Route>, checks: &mut Checks<'_>) {
    let names = &route.body.spec.server_names;
    if route.body.kind == RouteKind::TLSRoute && names.is_empty() && names.complete {
        let fault = Fault::error(Code::MissingField, route.span, "a TLSRoute names at least one host");
        checks.push(fault.help("add `hostnames`, or write a TCPRoute, which takes every connection"));
    }
}
