//! What holds after precedence: limits and repeats that different objects write, and that do not fit together.
//!
//! Within one object a limit that can never expire is an error (`timeouts`); between objects it may be a default that
//! somebody narrowed, so it is a warning, with both places. Each place is told of once, however many rules it reaches.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use super::{Checks, repeats};
use crate::{
    compile::{Layers, Limit},
    convert::Spanned,
    diagnostic::{Code, Fault},
    duration::{self, GepDuration},
    model::{AppProtocol, ObjectName},
    objects::Object,
    references,
    schema::{Match, Route, Rule},
    yaml::Span,
};

/// Whose requests are looked at.
pub(super) struct Requests<'a> {
    pub(super) service: &'a ObjectName,
    /// The rule that takes them, if a route does.
    pub(super) rule: Option<(&'a Object<Route>, &'a Rule)>,
    /// Whether they are gRPC calls, all of them.
    pub(super) grpc: bool,
}

impl Requests<'_> {
    /// Whose they are, in words.
    pub(super) fn of(&self) -> String {
        let Some((route, rule)) = self.rule else { return format!("`{}`", self.service) };
        let index = || route.body.spec.rules.iter().position(|one| one.span == rule.span).unwrap_or(0);
        let name = rule.name.as_ref().map_or_else(|| index().to_string(), |name| name.value.0.to_string());
        format!("`{}/{name}`", route.name)
    }
}

/// What was found, by the place of the limit or condition that has no effect.
#[derive(Default)]
struct Found {
    /// Limits that never expire, each with those around it.
    longer: Vec<(Inner, Vec<Outer>)>,
    at: HashMap<Span, usize>,
    pairs: HashSet<(Span, Span)>,
    /// Places that were told of already, with what it was.
    told: HashSet<(Code, Span)>,
}

/// A limit and the word for it.
struct Inner {
    span: Span,
    name: &'static str,
    limit: Duration,
}

/// A shorter limit around it, and whose requests it ends.
struct Outer {
    span: Span,
    limit: Duration,
    of: String,
}

pub(super) fn check(checks: &mut Checks<'_>) {
    let objects = checks.objects;
    let layers = Layers::unplaced(objects);
    let mut found = Found::default();
    found.told.extend(checks.faults.iter().map(|fault| (fault.code, fault.span)));
    let services: Vec<(&ObjectName, bool)> = checks
        .services
        .sorted()
        .into_iter()
        // Connections that are passed on whole have limits of their own, which stand inside no other.
        .filter(|entry| !entry.ports.iter().all(|port| port.protocol.is_some_and(AppProtocol::is_opaque)))
        .map(|entry| (entry.name, entry.ports.iter().all(|port| port.protocol == Some(AppProtocol::Grpc))))
        .collect();
    for (service, grpc) in &services {
        one(&Requests { service, rule: None, grpc: *grpc }, &layers, &mut found, checks);
    }
    for route in objects.routes.iter().filter(|route| !route.body.kind.is_opaque()) {
        let mut parents: Vec<ObjectName> = Vec::new();
        for parent in route.body.spec.parent_refs.iter() {
            let service = references::parent_service(parent, &route.name.namespace);
            parents.extend(service.filter(|service| !parents.contains(service)));
        }
        for service in &parents {
            for rule in route.body.spec.rules.iter() {
                let calls = rule.matches.iter().any(|one| matches!(one, Match::Grpc(_)));
                let of_grpc = services.binary_search_by(|(name, _)| (*name).cmp(service));
                let grpc = calls || of_grpc.is_ok_and(|at| services[at].1);
                one(&Requests { service, rule: Some((route, rule)), grpc }, &layers, &mut found, checks);
            }
        }
    }
    found.longer.iter().for_each(|(inner, outers)| checks.push(longer(inner, outers)));
}

fn one<'a>(requests: &Requests<'a>, layers: &Layers<'a>, found: &mut Found, checks: &mut Checks<'_>) {
    let written = layers.written(requests.service, requests.rule);
    let limits = &written.limits;
    let all = positive(limits.request);
    let attempt = positive(limits.attempt);
    let attempt_name =
        if attempt.is_some_and(|(_, depth)| depth == 0) { "backendRequest" } else { "attempt" };
    let room = all.zip(attempt).and_then(|((all, _), (each, _))| {
        repeats::room(written.merged.attempts, (each, attempt_name), (all, "request"))
    });
    for fault in repeats::idle(requests, &written).into_iter().chain(room) {
        if found.told.insert((fault.code, fault.span)) {
            checks.push(fault);
        }
    }
    let Some((all, all_depth)) = all else { return };
    // A pause limit beside a total or behind it serves those rules whose total is off.
    let idle = positive(limits.stream_idle).filter(|(_, depth)| *depth < all_depth);
    let inner = [(attempt, attempt_name), (positive(limits.connect), "connect"), (idle, "streamIdle")];
    for (written, name) in inner.into_iter().filter_map(|(limit, name)| Some((limit?.0, name))) {
        let outer = || Outer { span: all.span, limit: all.value.0, of: requests.of() };
        // Both in one object is an error, and told already.
        if written.value.0 <= all.value.0 || found.told.contains(&(Code::Timeouts, written.span)) {
            continue;
        }
        let at = *found.at.entry(written.span).or_insert_with(|| {
            found.longer.push((Inner { span: written.span, name, limit: written.value.0 }, Vec::new()));
            found.longer.len() - 1
        });
        if found.pairs.insert((written.span, all.span)) {
            found.longer[at].1.push(outer());
        }
    }
}

/// A limit that is on, and how far from the rule it stands.
fn positive<'a>(limit: Limit<'a>) -> Option<(&'a Spanned<GepDuration>, usize)> {
    let said = limit?;
    said.value.filter(|written| written.value.0 > Duration::ZERO).map(|written| (written, said.depth))
}

/// Limits around one that are shown; the rest is counted.
const SHOWN: usize = 3;

fn longer(inner: &Inner, outers: &[Outer]) -> Fault {
    let name = inner.name;
    let shown = outers.first().map(|outer| (duration::format_duration(outer.limit), outer.of.clone()));
    let (short, of) = shown.unwrap_or_default();
    let others = match outers.len().saturating_sub(1) {
        0 => String::new(),
        1 => " (and for requests elsewhere)".to_owned(),
        n => format!(" (and for requests in {n} other places)"),
    };
    let message = format!(
        "`{name}` ({}) is longer than the `request` ({short}) that holds for {of}{others}, so it never expires there",
        duration::format_duration(inner.limit)
    );
    let mut fault = Fault::warning(Code::Timeouts, inner.span, message);
    for outer in outers.iter().take(SHOWN) {
        fault = fault
            .related(outer.span, format!("`request` is {} here", duration::format_duration(outer.limit)));
    }
    fault.help(format!("where `request` is shorter, write a shorter `{name}` beside it, or null"))
}
