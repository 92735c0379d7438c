//! Faults that are made on purpose: delays within their range, and a header that can arrive.

use std::time::Duration;

use super::Checks;
use crate::{
    convert::{Setting, Spanned},
    diagnostic::{Code, Fault},
    duration::GepDuration,
    schema::FaultBody,
};

/// Longer than any caller waits.
const LONGEST: Duration = Duration::from_secs(3600);

pub(super) fn policy(fault: &Setting<FaultBody>, checks: &mut Checks<'_>) {
    let Setting::Set(body) = fault else { return };
    if let Setting::Set(delay) = &body.delay {
        range(&delay.duration, checks);
    }
    if let Some(longest) = &body.max_delay.0 {
        range(longest, checks);
        if body.header.is_unset() && body.delay.is_unset() && body.abort.is_unset() {
            let message = "`maxDelay` has no effect without `header`: nobody can ask for a fault";
            let fault = Fault::warning(Code::NoEffect, longest.span, message);
            checks.push(fault.help("add `header: x-fault`"));
        }
    }
    if let Setting::Set(header) = &body.header {
        super::limits::header_arrives(header, checks);
    }
}

fn range(written: &Spanned<GepDuration>, checks: &mut Checks<'_>) {
    if written.value.0.is_zero() || written.value.0 > LONGEST {
        let message = format!("{:?} is out of range", written.value.0);
        checks.push(Fault::error(Code::Range, written.span, message).help("allowed: 1ms to 1h"));
    }
}
