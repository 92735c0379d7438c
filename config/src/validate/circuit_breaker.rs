//! Circuit breakers: that they can open and close, and that a fallback is something.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use super::{Checks, filters};
use crate::{
    convert::{Setting, Spanned},
    diagnostic::{Code, Fault},
    duration::{GepDuration, format_duration},
    model::OpenTime,
    schema::{CircuitBreakerBody, FallbackBody, OpenBody, ResponseBody, TripBody},
    yaml::Span,
};

/// Bytes of a fixed answer.
const BODY: usize = 64 * 1024;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

pub(super) fn check(checks: &mut Checks<'_>) {
    let objects = checks.objects;
    let defaults = objects.meshes.iter().filter_map(|mesh| mesh.body.spec.defaults.as_ref());
    let policies = objects
        .policies
        .iter()
        .map(|policy| (&policy.body.spec.circuit_breaker, policy.name.namespace.clone()))
        .chain(defaults.map(|body| (&body.circuit_breaker, "default".into())));
    let bodies: Vec<(&CircuitBreakerBody, Arc<str>)> = policies
        .filter_map(|(setting, namespace)| match setting {
            Setting::Set(body) => Some((body, namespace)),
            Setting::Unset | Setting::Off => None,
        })
        .collect();
    let trips = objects.unknown || bodies.iter().any(|(body, _)| matches!(body.trip, Setting::Set(_)));
    for (body, namespace) in bodies {
        if let Setting::Set(trip) = &body.trip {
            tripping(trip, checks);
        }
        if let Some(open) = &body.open.0 {
            opening(open, checks);
        }
        if !trips {
            idle(body, checks);
        }
        if let Setting::Set(fallback) = &body.fallback {
            falling_back(fallback, &namespace, checks);
        }
    }
}

/// Nothing opens a breaker that no policy trips.
fn idle(body: &CircuitBreakerBody, checks: &mut Checks<'_>) {
    let open = body.open.0.as_ref().map(|open| ("open", open.span));
    let probe = body.probe.0.as_ref().map(|probe| ("probe", probe.span));
    for (word, span) in open.into_iter().chain(probe) {
        let message = format!("`{word}` has no effect without `trip`: nothing opens the breaker");
        checks.push(Fault::warning(Code::NoEffect, span, message).help("add `trip: {}` for its defaults"));
    }
}

fn tripping(trip: &TripBody, checks: &mut Checks<'_>) {
    if let Some(percent) = trip.failure_percent.0.as_ref().filter(|percent| percent.value.0 <= 0.0) {
        let message = "0 would open the breaker with the first failure of any number of attempts";
        let fault = Fault::error(Code::Range, percent.span, message);
        checks.push(fault.help("allowed: more than 0, and 100 at most"));
    }
    within(trip.window.0.as_ref(), SECOND..=SECOND * 600, checks);
}

fn opening(open: &OpenBody, checks: &mut Checks<'_>) {
    let (initial, max) = (open.initial.0.as_ref(), open.max.0.as_ref());
    within(initial, SECOND / 10..=HOUR, checks);
    within(max, SECOND / 10..=HOUR * 24, checks);
    match (initial, max) {
        (Some(initial), Some(max)) if initial.value.0 > max.value.0 => {
            let message =
                format!("`initial` ({:?}) is longer than `max` ({:?})", initial.value.0, max.value.0);
            let fault = Fault::error(Code::Timeouts, initial.span, message);
            checks.push(fault.related(max.span, "`max` is set here"));
        }
        (Some(initial), None) => longer_than_built_in(initial, checks),
        _ => {}
    }
}

/// It then never grows, which is easily overlooked.
fn longer_than_built_in(initial: &Spanned<GepDuration>, checks: &mut Checks<'_>) {
    let max = OpenTime::default().max;
    if initial.value.0 > max {
        let message = format!(
            "`initial` ({:?}) is longer than `max`, which is {} unless it is set",
            initial.value.0,
            format_duration(max)
        );
        checks.push(Fault::error(Code::Timeouts, initial.span, message).help("write a `max` beside it"));
    }
}

fn within(
    written: Option<&Spanned<GepDuration>>,
    allowed: RangeInclusive<Duration>,
    checks: &mut Checks<'_>,
) {
    let Some(written) = written.filter(|written| !allowed.contains(&written.value.0)) else { return };
    let message = format!("{:?} is out of range", written.value.0);
    let [least, most] = [allowed.start(), allowed.end()].map(|end| format_duration(*end));
    checks.push(Fault::error(Code::Range, written.span, message).help(format!("allowed: {least} to {most}")));
}

fn falling_back(body: &FallbackBody, namespace: &Arc<str>, checks: &mut Checks<'_>) {
    if let Some(zero) = body.stale_for.as_ref().filter(|time| time.value.0.is_zero()) {
        let message = "no answer is younger than that";
        checks.push(Fault::error(Code::Range, zero.span, message).help("such as `staleFor: 10m`"));
    }
    if let Some(service) = &body.service {
        checks.service_ref(service, namespace);
    }
    if let Some(response) = &body.response {
        fixed(response, checks);
    }
}

fn fixed(response: &ResponseBody, checks: &mut Checks<'_>) {
    let names: Vec<_> = response.headers.iter().map(|pair| &pair.name).collect();
    names.iter().for_each(|name| filters::free(name, checks));
    let Some(body) = &response.body else { return };
    if body.value.0.len() > BODY {
        let message = format!("the body has {} bytes, at most {BODY} are allowed", body.value.0.len());
        checks.push(Fault::error(Code::Range, body.span, message));
    }
    if matches!(response.status.value.0, 204 | 304) && !body.value.0.is_empty() {
        bodiless(response.status.value.0, (body.span, response.status.span), checks);
    }
}

fn bodiless(status: u32, (body, place): (Span, Span), checks: &mut Checks<'_>) {
    let message = format!("an answer of status {status} has no body");
    let fault = Fault::error(Code::Conflict, body, message).related(place, "the status");
    checks.push(fault.help("remove `body`, or write another status"));
}
