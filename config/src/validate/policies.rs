//! TrafficPolicies: targets that exist, blocks that act on such a target, one policy per target.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::{Checks, faults, health_check, limits, load_balancer, outlier_detection, repeats, timeouts};
use crate::{
    convert::Setting,
    diagnostic::{Code, Fault},
    model::{ObjectName, RouteKind},
    objects::Object,
    schema::{Condition, RetryBody, TargetKind, TargetRef, TrafficPolicy},
    suggest,
    yaml::Span,
};

pub(super) fn check(checks: &mut Checks<'_>) {
    let objects = checks.objects;
    for policy in &objects.policies {
        let spec = &policy.body.spec;
        let blocks = spec.blocks();
        let for_all = blocks.of_callers_are_absent() && !blocks.of_callees_are_absent();
        if spec.target_refs.is_empty() && spec.target_refs.complete && !for_all {
            let fault = Fault::error(Code::MissingField, policy.span, "the policy has no `targetRefs`");
            let help = match blocks.of_callees_are_absent() {
                true => "such as `targetRefs: [{kind: Service, name: reviews}]`",
                false => {
                    "without them a policy holds for its namespace, with `rateLimit` and `concurrency` alone"
                }
            };
            checks.push(fault.help(help));
        }
        for target in spec.target_refs.iter() {
            target_exists(policy, target, checks);
        }
        if spec.blocks().are_absent() {
            checks.push(Fault::warning(Code::NoEffect, policy.span, "the policy sets nothing"));
        }
        of_service_alone(policy, checks);
        of_requests_alone(policy, checks);
        timeouts::policy(&spec.timeouts, checks);
        load_balancer::check(&spec.load_balancer, checks);
        outlier_detection::check(&spec.outlier_detection, checks);
        health_check::check(&spec.health_check, checks);
        retry(&spec.retry, checks);
        repeats::policy(&spec.timeouts, &spec.retry, checks);
        faults::policy(&spec.fault, checks);
        limits::policy(policy, checks);
    }
    contended(checks);
    attempts(checks);
}

fn target_exists(policy: &Object<TrafficPolicy>, target: &TargetRef, checks: &mut Checks<'_>) {
    let name = ObjectName { namespace: policy.name.namespace.clone(), name: target.name.value.0.clone() };
    let (group, shown) = match target.kind.value.route() {
        None => ("", "\"\""),
        Some(_) => ("gateway.networking.k8s.io", "gateway.networking.k8s.io"),
    };
    if let Some(written) = target.group.as_ref().filter(|written| &*written.value.0 != group) {
        let message =
            format!("{} is not a kind of the group `{}`", target.kind.value.word(), written.value.0);
        let fault = Fault::error(Code::WrongReference, written.span, message);
        return checks.push(fault.help(format!("write `group: {shown}`, or leave it out")));
    }
    match target.kind.value.route() {
        None => {
            checks.service(&name, target.name.span);
            if let Some(section) = &target.section_name {
                let message = "`sectionName` names a rule of a route; a Service has none";
                let fault = Fault::error(Code::Misplaced, section.span, message);
                checks.push(fault.help("leave it out: the policy holds for all ports of the Service"));
            }
        }
        Some(kind) => route_exists(kind, &name, target, checks),
    }
}

fn route_exists(kind: RouteKind, name: &ObjectName, target: &TargetRef, checks: &mut Checks<'_>) {
    let word = kind.word();
    let Some(route) = checks.routes.get(&(kind, name)).copied() else {
        if !checks.objects.may_exist(&[word], name) {
            let message = format!("there is no {word} `{name}`");
            let fault = Fault::error(Code::UnknownReference, target.name.span, message);
            let of_kind = checks.objects.routes_of(kind);
            let here: Vec<_> = of_kind.filter(|route| route.name.namespace == name.namespace).collect();
            let near = suggest::nearest(&name.name, here.iter().map(|route| &*route.name.name));
            let near = near.and_then(|near| here.iter().find(|route| &*route.name.name == near));
            let fault = match near {
                Some(near) => fault
                    .related(near.span, format!("`{}` stands here", near.name))
                    .help(format!("did you mean `{}`?", near.name.name)),
                None => fault.help("a policy stands in the namespace of its target"),
            };
            checks.push(fault);
        }
        return;
    };
    let Some(section) = &target.section_name else { return };
    let rules = &route.body.spec.rules;
    let names: Vec<_> = rules.iter().filter_map(|rule| rule.name.as_ref()).collect();
    if !rules.complete || names.iter().any(|rule| rule.value.0 == section.value.0) {
        return;
    }
    let message = format!("the {word} `{name}` has no rule named `{}`", section.value.0);
    let words: Vec<&str> = names.iter().map(|rule| &*rule.value.0).collect();
    let near = suggest::nearest(&section.value.0, words.iter().copied());
    let place = names.iter().find(|rule| Some(&*rule.value.0) == near).map_or(route.span, |rule| rule.span);
    let help = suggest::help(&section.value.0, &words).unwrap_or("give the rule a `name`".to_owned());
    let fault = Fault::error(Code::UnknownReference, section.span, message)
        .related(place, near.map_or("the route".to_owned(), |near| format!("`{near}` stands here")))
        .help(help);
    checks.push(fault);
}

/// Blocks that act on the endpoints of a Service have no meaning on a route that leads there.
fn of_service_alone(policy: &Object<TrafficPolicy>, checks: &mut Checks<'_>) {
    let spec = &policy.body.spec;
    let route = spec.target_refs.iter().find(|target| target.kind.value != TargetKind::Service);
    let Some(route) = route else { return };
    for (word, span) in spec.blocks().of_service_alone(policy.span) {
        let message = format!("`{word}` cannot stand on a route: the Service that answers has its own");
        let fault = Fault::error(Code::Misplaced, span, message)
            .related(route.kind.span, "this target is a route")
            .help("write it into a TrafficPolicy whose target is the Service");
        checks.push(fault);
    }
}

/// A connection that is passed on whole is one piece: nothing of it is repeated, answered or limited by itself.
fn of_requests_alone(policy: &Object<TrafficPolicy>, checks: &mut Checks<'_>) {
    let spec = &policy.body.spec;
    let opaque = |target: &&TargetRef| target.kind.value.route().is_some_and(RouteKind::is_opaque);
    let Some(route) = spec.target_refs.iter().find(opaque) else { return };
    let kind = route.kind.value.word();
    let related = format!("this target is a {kind}");
    for (word, span) in spec.blocks().of_requests_alone(policy.span) {
        let message =
            format!("`{word}` cannot stand on a {kind}: it is for requests, and connections have none");
        let fault = Fault::error(Code::Misplaced, span, message).related(route.kind.span, related.clone());
        checks.push(fault.help("write it into a TrafficPolicy for routes of requests"));
    }
    let Setting::Set(limits) = &spec.timeouts else { return };
    for (word, limit) in [("request", &limits.request), ("attempt", &limits.attempt)] {
        if let Setting::Set(limit) = limit {
            let message = format!("`timeouts.{word}` has no effect on a {kind}: it is for requests");
            let fault = Fault::warning(Code::NoEffect, limit.span, message);
            let fault = fault.related(route.kind.span, related.clone());
            checks.push(fault.help("connections have `timeouts.connect` and `timeouts.streamIdle`"));
        }
    }
}

/// What a retry block says must be possible in itself.
pub(super) fn retry(retry: &Setting<RetryBody>, checks: &mut Checks<'_>) {
    let Setting::Set(body) = retry else { return };
    let by_status = body.on.iter().find(|on| on.value == Condition::RetriableStatus);
    match by_status {
        Some(on) if body.statuses.is_empty() && body.statuses.complete => {
            let message = "`retriable-status` means the statuses of `retry.statuses`, and there are none";
            let fault = Fault::error(Code::MissingField, on.span, message);
            checks.push(fault.help("such as `statuses: [429, 503]`"));
        }
        None if body.on.written && body.on.complete => {
            for status in body.statuses.iter().take(1) {
                let message = "`statuses` have no effect without `retriable-status` in `on`";
                let fault = Fault::warning(Code::NoEffect, status.span, message);
                checks.push(fault.help("add `retriable-status` to `on`"));
            }
        }
        _ => {}
    }
    let backoff = body.backoff.0.as_ref().and_then(|b| b.base.0.as_ref().zip(b.max.0.as_ref()));
    if let Some((base, max)) = backoff.filter(|(base, max)| base.value.0 > max.value.0) {
        let message = format!("`base` ({:?}) is longer than `max` ({:?})", base.value.0, max.value.0);
        let fault = Fault::error(Code::Timeouts, base.span, message);
        checks.push(fault.related(max.span, "`max` is set here"));
    }
    let ttl = body.budget.0.as_ref().and_then(|budget| budget.ttl.0.as_ref());
    if let Some(ttl) =
        ttl.filter(|ttl| !(Duration::from_secs(1)..=Duration::from_secs(60)).contains(&ttl.value.0))
    {
        let message = format!("{:?} is out of range", ttl.value.0);
        checks.push(Fault::error(Code::Range, ttl.span, message).help("allowed: 1s to 60s"));
    }
}

/// Warns of conditions that no attempt count ever uses.
fn attempts(checks: &mut Checks<'_>) {
    let objects = checks.objects;
    let defaults = objects.meshes.iter().filter_map(|mesh| mesh.body.spec.defaults.as_ref());
    let policies = objects.policies.iter().map(|policy| &policy.body.spec.retry);
    let blocks: Vec<_> = policies.chain(defaults.map(|body| &body.retry)).collect();
    let counted = |retry: &&Setting<RetryBody>| matches!(retry, Setting::Set(body) if matches!(&body.attempts, Setting::Set(n) if n.value.0 > 0));
    if objects.unknown || blocks.iter().any(counted) {
        return;
    }
    for retry in blocks {
        if let Setting::Set(body) = retry
            && let Some(on) = body.on.first()
            && matches!(body.attempts, Setting::Unset)
        {
            let message = "`retry.on` has no effect: `attempts` is 0 unless set";
            checks.push(Fault::warning(Code::NoEffect, on.span, message).help("add `attempts: 2`"));
        }
    }
}

/// What a policy holds for, as one of several may: a target, or without any its namespace.
type Claim<'a> = (ObjectName, &'a str, Option<&'a str>);

/// Two policies on one target: the older wins, field by field.
fn contended(checks: &mut Checks<'_>) {
    let objects = checks.objects;
    let mut first: HashMap<Claim<'_>, (&ObjectName, Span)> = HashMap::new();
    // Rate limits all count.
    let one_wins = |policy: &&Object<TrafficPolicy>| !policy.body.spec.blocks().are_rate_limit_alone();
    for policy in objects.policies.iter().filter(one_wins) {
        for (claim, place) in claims(policy) {
            if let Some((winner, span)) = first.get(&claim) {
                let message = format!(
                    "`{}` and `{winner}` hold for one target; where both set a field, `{winner}` wins",
                    policy.name
                );
                let fault = Fault::warning(Code::Contended, place, message)
                    .related(*span, format!("`{winner}` is the older one, or the first by name"))
                    .help("put the fields into one policy");
                checks.push(fault);
            } else {
                first.insert(claim, (&policy.name, place));
            }
        }
    }
}

fn claims(policy: &Object<TrafficPolicy>) -> Vec<(Claim<'_>, Span)> {
    let spec = &policy.body.spec;
    let named = |name: &Arc<str>| ObjectName::new(policy.name.namespace.clone(), name.clone());
    if spec.target_refs.is_empty() && spec.target_refs.complete && !spec.concurrency.is_unset() {
        return vec![((named(&"".into()), "", None), policy.span)];
    }
    let targets = spec.target_refs.iter().map(|target| {
        let section = target.section_name.as_ref().map(|section| &*section.value.0);
        ((named(&target.name.value.0), target.kind.value.word(), section), target.name.span)
    });
    targets.collect()
}
