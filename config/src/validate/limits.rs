//! What callees hold: rate limits and limits of concurrency, on targets whose requests they can see.

use std::time::Duration;

use super::Checks;
use crate::{
    convert::{HeaderName, Setting, Spanned},
    diagnostic::{Code, Fault},
    model::{AppProtocol, ObjectName},
    objects::Object,
    schema::{ConcurrencyBody, RateLimitBody, RateLimitBy, TargetKind, TrafficPolicy},
};

/// Of a TrafficPolicy.
pub(super) fn policy(policy: &Object<TrafficPolicy>, checks: &mut Checks<'_>) {
    let spec = &policy.body.spec;
    rate_limit(&spec.rate_limit, checks);
    concurrency(&spec.concurrency, checks);
    for target in spec.target_refs.iter().filter(|target| target.kind.value == TargetKind::Service) {
        let name = ObjectName::new(policy.name.namespace.clone(), target.name.value.0.clone());
        if !is_opaque(&name, checks) {
            continue;
        }
        for (word, span) in spec.blocks().of_callees(policy.span) {
            let message = format!("`{word}` has no effect: the ports of `{name}` pass connections on whole");
            let fault = Fault::warning(Code::NoEffect, span, message);
            checks.push(fault.related(target.name.span, "it counts requests, and nobody sees any here"));
        }
    }
}

/// Whether no port of a Service has requests.
fn is_opaque(service: &ObjectName, checks: &Checks<'_>) -> bool {
    let entry = checks.services.get(service).filter(|entry| entry.complete && !entry.ports.is_empty());
    entry
        .is_some_and(|entry| entry.ports.iter().all(|port| port.protocol.is_some_and(AppProtocol::is_opaque)))
}

/// Of a policy, or of the mesh's defaults.
pub(super) fn rate_limit(limit: &Setting<RateLimitBody>, checks: &mut Checks<'_>) {
    let Setting::Set(body) = limit else { return };
    let (least, most) = (Duration::from_secs(1), Duration::from_secs(24 * 3600));
    if !(least..=most).contains(&body.per.value.0) {
        let message = format!("{:?} is out of range", body.per.value.0);
        checks.push(Fault::error(Code::Range, body.per.span, message).help("allowed: 1s to 24h"));
    }
    if let Some(RateLimitBy::Header(name)) = &body.by.0 {
        header_arrives(name, checks);
    }
}

/// Of a policy, or of the mesh's defaults.
pub(super) fn concurrency(limit: &Setting<ConcurrencyBody>, checks: &mut Checks<'_>) {
    let Setting::Set(body) = limit else { return };
    if let Setting::Set(adaptive) = &body.adaptive
        && let (Some(least), Some(most)) = (&adaptive.min_limit.0, &adaptive.max_limit.0)
        && least.value.0 > most.value.0
    {
        let message = format!("`minLimit` ({}) is above `maxLimit` ({})", least.value.0, most.value.0);
        let fault = Fault::error(Code::Timeouts, least.span, message);
        checks.push(fault.related(most.span, "`maxLimit` is set here"));
    }
    let Setting::Set(priority) = &body.priority else { return };
    header_arrives(&priority.header, checks);
    for low in priority.low.iter() {
        if let Some(high) = priority.high.iter().find(|high| high.value == low.value) {
            let message = format!("`{}` means high priority already", low.value.0);
            let fault = Fault::warning(Code::NoEffect, low.span, message);
            checks.push(fault.related(high.span, "here"));
        }
    }
    if body.adaptive.is_unset() && !any_adaptive(checks) {
        let message = "`priority` has no effect: nothing limits how many requests are let in";
        let fault = Fault::warning(Code::NoEffect, priority.span, message);
        checks.push(fault.help("add `adaptive: {}`"));
    }
}

/// Whether any policy, or the mesh, has a limit that a priority could be for.
fn any_adaptive(checks: &Checks<'_>) -> bool {
    let objects = checks.objects;
    let policies = objects.policies.iter().map(|policy| &policy.body.spec.concurrency);
    let meshes = objects.meshes.iter().filter_map(|mesh| mesh.body.spec.defaults.as_ref());
    let mut all = policies.chain(meshes.map(|defaults| &defaults.concurrency));
    objects.unknown
        || all.any(|one| matches!(one, Setting::Set(body) if matches!(body.adaptive, Setting::Set(_))))
}

/// Headers that proxies keep to themselves are gone before policy looks at a request.
pub(super) fn header_arrives(header: &Spanned<HeaderName>, checks: &mut Checks<'_>) {
    if header.value.0.starts_with("x-outrigger-") {
        let message = format!("`{}` never arrives: proxies keep such headers to themselves", header.value.0);
        let fault = Fault::warning(Code::NoEffect, header.span, message);
        checks.push(fault.help("take a name that does not begin with `x-outrigger-`"));
    }
}
