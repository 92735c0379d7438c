//! The rules of routes: matches that can be compared, backends that exist. Filters have files of their own.

use super::{Checks, calls, cors, filters, mirrors, path, regex, repeats, session, targets, timeouts};
use crate::{
    convert::{Spanned, Text},
    diagnostic::{Code, Fault},
    model::{AppProtocol, RouteKind},
    objects::Object,
    references::{self, Pointer, Resolved},
    schema::{BackendRef, FilterType, HeaderRule, HttpMatch, Match, PathType, Route, Rule, ValueType},
    yaml::Span,
};

pub(super) fn check(route: &Object<Route>, rule: &Rule, checks: &mut Checks<'_>) {
    rule.matches.iter().for_each(|one| conditions(one, checks));
    filters::check(&rule.filters, checks);
    let (what, fate) = unserved(route.body.kind);
    let lost = format!("this share of the {what}s {fate}");
    for backend in rule.backend_refs.iter() {
        filters::check(&backend.filters, checks);
        resolve(backend, route, &lost, checks);
    }
    targets::check(rule, checks);
    mirrors::check(rule, route, checks);
    cors::check(rule, checks);
    session::check(rule, checks);
    weights(route, rule, checks);
    if let Some(limits) = &rule.timeouts {
        timeouts::route(limits, checks);
        if let Some(retry) = &rule.retry {
            repeats::rule(limits, retry, checks);
        }
    }
}

fn conditions(one: &Match, checks: &mut Checks<'_>) {
    match one {
        Match::Http(one) => http(one, checks),
        Match::Grpc(one) => {
            one.method.iter().for_each(|rule| calls::check(rule, checks));
            headers(&one.headers, checks);
        }
    }
}

fn http(one: &HttpMatch, checks: &mut Checks<'_>) {
    if let Some((rule, value)) = one.path.as_ref().and_then(|rule| Some((rule, rule.value.as_ref()?))) {
        match rule.kind {
            Some(PathType::RegularExpression) => regex::check(value, checks),
            None | Some(PathType::Exact | PathType::PathPrefix) => path::check(value, checks),
        }
    }
    headers(&one.headers, checks);
    expressions(one.query.iter().map(|rule| (rule.kind, &rule.value)), checks);
    let query: Vec<(&str, Span)> =
        one.query.iter().map(|rule| (&*rule.name.value.0, rule.name.span)).collect();
    repeated("query parameter", &query, checks);
}

fn headers(rules: &[HeaderRule], checks: &mut Checks<'_>) {
    expressions(rules.iter().map(|rule| (rule.kind, &rule.value)), checks);
    let names: Vec<(&str, Span)> = rules.iter().map(|rule| (&*rule.name.value.0, rule.name.span)).collect();
    repeated("header", &names, checks);
}

fn expressions<'v>(
    values: impl Iterator<Item = (Option<ValueType>, &'v Spanned<Text>)>,
    checks: &mut Checks<'_>,
) {
    for (_, value) in values.filter(|(kind, _)| *kind == Some(ValueType::RegularExpression)) {
        regex::check(value, checks);
    }
}

/// Upstream: of several conditions on one name only the first counts.
fn repeated(what: &str, names: &[(&str, Span)], checks: &mut Checks<'_>) {
    for (index, (name, span)) in names.iter().enumerate() {
        if let Some((_, first)) = names[..index].iter().find(|(earlier, _)| earlier == name) {
            let message = format!("only the first condition on the {what} `{name}` counts");
            checks.push(Fault::warning(Code::NoEffect, *span, message).related(*first, "the first one"));
        }
    }
}

fn weights(route: &Object<Route>, rule: &Rule, checks: &mut Checks<'_>) {
    let kind = route.body.kind;
    let backends = &rule.backend_refs;
    if !backends.complete {
        return;
    }
    let redirects = rule.filters.iter().any(|filter| filter.kind.value == FilterType::RequestRedirect);
    let Some(first) = backends.first() else {
        // Of the others that is an error, which `counts` tells.
        let may = !kind.is_opaque() || route.body.is_former;
        if redirects || !rule.filters.complete || !may {
            return;
        }
        let (what, fate) = unserved(kind);
        let message = format!("the rule has no backendRefs: every {what} that it matches {fate}");
        let place = rule.name.as_ref().map_or(rule.span, |name| name.span);
        return checks.push(Fault::warning(Code::UnresolvedBackend, place, message));
    };
    let zero = |backend: &&BackendRef| backend.weight.as_ref().is_some_and(|weight| weight.value.0 == 0);
    if backends.iter().filter(zero).count() == backends.len() {
        let (what, fate) = unserved(kind);
        let message = format!("no backend has a weight above 0: every {what} {fate}");
        let place = first.weight.as_ref().map_or(first.span, |weight| weight.span);
        checks.push(Fault::error(Code::Weights, place, message).help("give at least one backend a weight"));
    }
}

/// What a rule takes, and what becomes of it without a backend.
fn unserved(kind: RouteKind) -> (&'static str, &'static str) {
    match kind {
        RouteKind::HTTPRoute => ("request", "is answered 500"),
        RouteKind::GRPCRoute => ("request", "is answered UNAVAILABLE (14)"),
        RouteKind::TLSRoute | RouteKind::TCPRoute => ("connection", "is reset"),
    }
}

/// Reports a reference that points at nothing; `so` says what becomes of the requests.
pub(super) fn resolve<'w>(
    written: impl Into<Pointer<'w>>,
    route: &Object<Route>,
    so: &str,
    checks: &mut Checks<'_>,
) {
    let backend = written.into();
    let is_service = backend.kind.is_none_or(|kind| &*kind.0 == "Service");
    if is_service && backend.port.is_none() {
        let message = "a backendRef of kind Service needs `port`";
        return checks.push(Fault::error(Code::MissingField, backend.name.span, message));
    }
    let Resolved::Nothing { service, reason } = references::backend_of(&checks.services, route, backend)
    else {
        return;
    };
    let message = format!("{reason}: {so}");
    let fault = |span| Fault::warning(Code::UnresolvedBackend, span, message.clone());
    let Some(service) = service else {
        return checks.push(fault(backend.name.span).help("kinds of backends: Service, MeshService"));
    };
    match checks.services.get(&service).cloned() {
        None if checks.service_may_exist(&service) => {}
        None => {
            let fault = checks.unknown_service(fault(backend.name.span), &service);
            checks.push(Fault { message, ..fault });
        }
        Some(entry) if !entry.complete => {}
        Some(entry) => {
            let place = backend.port.map_or(backend.name.span, |port| port.span);
            let known = backend.port.and_then(|port| entry.port(port.value.port()));
            let help = match known.map(|port| port.protocol) {
                Some(Some(AppProtocol::Tls)) => {
                    "name a port of HTTP, or attach a TLSRoute instead".to_owned()
                }
                Some(_) => {
                    "say of the port that it speaks gRPC, or nothing: then the route says it".to_owned()
                }
                None => format!("its ports: {}", entry.ports_in_words()),
            };
            let fault = fault(place).related(entry.span, format!("`{service}` stands here"));
            checks.push(fault.help(help));
        }
    }
}
