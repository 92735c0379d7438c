//! Repeats that are allowed and probably not meant: budgets that hold nothing back, and limits that leave no time.

use std::time::Duration;

use super::Checks;
use crate::{
    convert::{Setting, Spanned},
    diagnostic::{Code, Fault},
    duration::GepDuration,
    schema::{RetryBody, RouteRetry, RouteTimeouts, TimeoutsBody},
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
    room(attempts.value.0, (one, "attempt"), (all, "request"), checks);
}

/// Of a route rule.
pub(super) fn rule(timeouts: &RouteTimeouts, retry: &RouteRetry, checks: &mut Checks<'_>) {
    let attempts = retry.attempts.as_ref().map_or(1, |attempts| attempts.value.0);
    if let (Some(one), Some(all)) = (&timeouts.backend_request, &timeouts.request) {
        room(attempts, (one, "backendRequest"), (all, "request"), checks);
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
fn room(attempts: u32, (one, one_name): Limit<'_>, (all, all_name): Limit<'_>, checks: &mut Checks<'_>) {
    let (each, total) = (one.value.0, all.value.0);
    let fits = each.saturating_mul(2) <= total;
    // A limit above the total is an error of its own.
    if attempts == 0 || each.is_zero() || total.is_zero() || fits || each > total {
        return;
    }
    let left = total - each;
    let message = match left {
        Duration::ZERO => format!("an attempt that times out after {each:?} leaves no time for a repeat"),
        left => format!("an attempt that times out after {each:?} leaves only {left:?} for its repeat"),
    };
    let fault = Fault::warning(Code::RetryRoom, one.span, message)
        .related(all.span, format!("`{all_name}` ends the request after {total:?}"))
        .help(format!("make `{one_name}` at most {:?}, or `{all_name}` at least {:?}", total / 2, each * 2));
    checks.push(fault);
}
