//! `healthCheck`: times that can be kept.

use std::time::Duration;

use super::Checks;
use crate::{
    convert::{Setting, Spanned},
    diagnostic::{Code, Fault},
    duration::{GepDuration, format_duration},
    schema::HealthCheckBody,
};

/// Shorter pauses would be an attack on the endpoints.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(1);

pub(super) fn check(block: &Setting<HealthCheckBody>, checks: &mut Checks<'_>) {
    let Setting::Set(body) = block else { return };
    for written in [&body.interval.0, &body.unhealthy_interval.0].into_iter().flatten() {
        at_least(written, SHORTEST_PAUSE, checks);
    }
    if let Some(written) = &body.timeout.0 {
        at_least(written, SHORTEST_TIMEOUT, checks);
    }
}

fn at_least(written: &Spanned<GepDuration>, shortest: Duration, checks: &mut Checks<'_>) {
    if written.value.0 < shortest {
        let message = format!("{} is out of range", format_duration(written.value.0));
        let help = format!("allowed: {} and more", format_duration(shortest));
        checks.push(Fault::error(Code::Range, written.span, message).help(help));
    }
}
