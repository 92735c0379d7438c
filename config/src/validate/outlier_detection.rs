//! `outlierDetection`: times that make sense by themselves and beside one another.

use std::time::Duration;

use super::Checks;
use crate::{
    convert::{Setting, Spanned},
    diagnostic::{Code, Fault},
    duration::{GepDuration, format_duration},
    schema::OutlierDetectionBody,
};

/// Shorter times would keep the proxy busy with nothing else.
const SHORTEST: Duration = Duration::from_millis(10);

pub(super) fn check(block: &Setting<OutlierDetectionBody>, checks: &mut Checks<'_>) {
    let Setting::Set(body) = block else { return };
    let (base, max) = (&body.base_ejection.0, &body.max_ejection.0);
    for written in [&body.interval.0, base].into_iter().flatten() {
        at_least(written, checks);
    }
    if let (Some(base), Some(max)) = (base, max)
        && base.value.0 > max.value.0
    {
        let [shown, shown_max] = [base, max].map(|time| format_duration(time.value.0));
        let message = format!("`baseEjection` ({shown}) is longer than `maxEjection` ({shown_max})");
        let fault =
            Fault::error(Code::Timeouts, base.span, message).related(max.span, "`maxEjection` is set here");
        checks.push(fault.help("make `maxEjection` at least as long"));
    }
}

fn at_least(written: &Spanned<GepDuration>, checks: &mut Checks<'_>) {
    if written.value.0 < SHORTEST {
        let message = format!("{} is out of range", format_duration(written.value.0));
        checks.push(Fault::error(Code::Range, written.span, message).help("allowed: 10ms and more"));
    }
}
