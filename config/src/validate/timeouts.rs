//! Time limits that stand inside one another must also be shorter than one another.

use super::Checks;
use crate::{
    convert::{Setting, Spanned},
    diagnostic::{Code, Fault},
    duration::GepDuration,
    schema::{RouteTimeouts, TimeoutsBody},
};

/// Of a route rule.
pub(super) fn route(timeouts: &RouteTimeouts, checks: &mut Checks<'_>) {
    let inner = timeouts.backend_request.as_ref();
    let outer = timeouts.request.as_ref();
    if let (Some(inner), Some(outer)) = (inner, outer) {
        nested((inner, "backendRequest"), (outer, "request"), checks);
    }
}

/// Of a TrafficPolicy.
pub(super) fn policy(timeouts: &Setting<TimeoutsBody>, checks: &mut Checks<'_>) {
    let Setting::Set(body) = timeouts else { return };
    if let (Setting::Set(inner), Setting::Set(outer)) = (&body.attempt, &body.request) {
        nested((inner, "attempt"), (outer, "request"), checks);
    }
    if let (Setting::Set(inner), Setting::Set(outer)) = (&body.connect, &body.request) {
        nested((inner, "connect"), (outer, "request"), checks);
    }
}

/// A limit and the word for it.
pub(super) type Limit<'a> = (&'a Spanned<GepDuration>, &'a str);

/// Reports an inner limit that is longer than the one around it.
pub(super) fn nested(
    (inner, inner_name): Limit<'_>,
    (outer, outer_name): Limit<'_>,
    checks: &mut Checks<'_>,
) {
    if outer.value.0.is_zero() || inner.value.0 <= outer.value.0 {
        return;
    }
    let message = format!(
        "`{inner_name}` ({:?}) is longer than `{outer_name}` ({:?}), so it never expires",
        inner.value.0, outer.value.0
    );
    let fault = Fault::error(Code::Timeouts, inner.span, message)
        .related(outer.span, format!("`{outer_name}` is set here"))
        .help(format!("make `{inner_name}` shorter than `{outer_name}`, or `{outer_name}` longer"));
    checks.push(fault);
}
