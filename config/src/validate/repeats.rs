//! Repeats that are allowed and probably not meant: budgets that hold nothing back, and limits that leave no time.

use std::time::Duration;

use super::{Checks, merged::Requests};
use crate::{
    compile::Written,
    convert::{Setting, Spanned},
    diagnostic::{Code, Fault},
    duration::GepDuration,
    schema::{Match, Method, RetryBody, RouteRetry, RouteTimeouts, Rule, TimeoutsBody},
};

/// From here on a budget's floor alone carries more repeats than a failing service should get.
const HIGH_FLOOR: u32 = 10_000;

/// Of a TrafficPolicy.
pub(super) fn policy(timeouts: &Setting<TimeoutsBody>, retry: &Setting<RetryBody>, checks: &mut Checks<'_>) {
    let Setting::Set(retry) = retry else { return };
    budget(retry, checks);
    let Setting::Set(timeouts) = timeouts else { return };
    let (Setting::Set(attempts), Setting::Set(one), Setting::Set(all)) =
        (&retry.attempts, &timeouts.attempt, &timeouts.request)
    else {
        return;
    };
    let fault = room(attempts.value.0, (one, "attempt"), (all, "request"));
    fault.into_iter().for_each(|fault| checks.push(fault));
}

/// Of a route rule.
pub(super) fn rule(timeouts: &RouteTimeouts, retry: &RouteRetry, checks: &mut Checks<'_>) {
    let attempts = retry.attempts.as_ref().map_or(1, |attempts| attempts.value.0);
    if let (Some(one), Some(all)) = (&timeouts.backend_request, &timeouts.request) {
        let fault = room(attempts, (one, "backendRequest"), (all, "request"));
        fault.into_iter().for_each(|fault| checks.push(fault));
    }
}

fn budget(retry: &RetryBody, checks: &mut Checks<'_>) {
    let Some(budget) = &retry.budget.0 else { return };
    let percent = budget.percent.0.map_or(0.0, |percent| percent.0);
    let floor = budget.min_per_second.0.map_or(0, |floor| floor.0);
    let message = if percent >= 100.0 {
        "the budget lets every request be repeated, so a service that fails gets twice the load or more"
            .to_owned()
    } else if floor >= HIGH_FLOOR {
        format!("`minPerSecond: {floor}` lets a service that fails get that many repeats from each proxy")
    } else {
        return;
    };
    let fault = Fault::warning(Code::RetryBudget, budget.span, message);
    checks.push(fault.help("such as `{percent: 20, minPerSecond: 10}`, which is the default"));
}

type Limit<'a> = (&'a Spanned<GepDuration>, &'a str);

/// An attempt that runs into its limit must leave as much for another one, or repeating it is no use.
pub(super) fn room(attempts: u32, (one, one_name): Limit<'_>, (all, all_name): Limit<'_>) -> Option<Fault> {
    let (each, total) = (one.value.0, all.value.0);
    let fits = each.saturating_mul(2) <= total;
    // A limit above the total is a finding of its own.
    if attempts == 0 || each.is_zero() || total.is_zero() || fits || each > total {
        return None;
    }
    let left = total - each;
    let message = match left {
        Duration::ZERO => format!("an attempt that times out after {each:?} leaves no time for a repeat"),
        left => format!("an attempt that times out after {each:?} leaves only {left:?} for its repeat"),
    };
    let fault = Fault::warning(Code::RetryRoom, one.span, message)
        .related(all.span, format!("`{all_name}` ends the request after {total:?}"))
        .help(format!("make `{one_name}` at most {:?}, or `{all_name}` at least {:?}", total / 2, each * 2));
    Some(fault)
}

/// A condition that the retry law never lets count, because every request is one that must not be done twice.
pub(super) fn idle(requests: &Requests<'_>, written: &Written<'_>) -> Option<Fault> {
    if written.merged.idempotent || written.merged.attempts == 0 {
        return None;
    }
    let rule = requests.rule.map(|(_, rule)| rule);
    let codes = rule.and_then(|rule| Some((rule, rule.retry.as_ref()?.codes.first()?)));
    if let Some((_, code)) = codes.filter(|(rule, _)| takes_only_unsafe(rule)) {
        let message = "`codes` repeat nothing here: the rule takes no method that may be done twice";
        let fault = Fault::warning(Code::NoEffect, code.span, message);
        return Some(
            fault.help("a TrafficPolicy on the rule with `retry: {idempotent: true}` says that it may"),
        );
    }
    let condition = written.on?.on.iter().find(|on| on.value.is_grpc()).filter(|_| requests.grpc)?;
    let message = format!(
        "`{}` repeats nothing for {}: gRPC calls are POST, and what may have been done is not done again",
        condition.value.word(),
        requests.of()
    );
    let fault = Fault::warning(Code::NoEffect, condition.span, message);
    Some(fault.help("add `idempotent: true` if the calls may be done twice"))
}

/// Whether every match of the rule asks for a method that is not repeated by itself (RFC 9110 section 9.2.2).
fn takes_only_unsafe(rule: &Rule) -> bool {
    let is_unsafe = |one: &Match| {
        matches!(one, Match::Http(one) if one.method.is_some_and(|method| {
            matches!(method, Method::Post | Method::Patch | Method::Connect)
        }))
    };
    rule.matches.complete && !rule.matches.is_empty() && rule.matches.iter().all(is_unsafe)
}
