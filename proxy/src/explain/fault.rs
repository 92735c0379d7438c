//! Faults that are made on purpose, and whether this request gets one.

use http::HeaderMap;
use outrigger_config::{
    format_duration,
    model::{self, AbortWith},
};

use super::{
    Outcome, Report, refusal,
    report::{Fault, FaultShare},
    settings::setting,
};
use crate::{
    error::Failure,
    listen::answer::Caller,
    policy::fault::{self, Injected},
    runtime::snapshot::Rule,
};

/// What the stage makes of a request.
pub(super) struct Struck {
    fault: Fault,
    drawn: Result<Injected, Failure>,
}

/// Runs the stage: the header by which a request may ask is taken off. `None`: the rule has no faults.
pub(super) fn strike(rule: &Rule, headers: &mut HeaderMap, dice: Option<u64>) -> Option<Struck> {
    rule.fault.as_ref()?;
    let policy = &rule.settings.fault;
    let asks = policy.header.as_deref().is_some_and(|name| headers.contains_key(name));
    let drawn = fault::take(rule, headers, dice.unwrap_or_default());
    let mut fault = told(rule);
    if asks {
        fault.asked = Some(asked(drawn));
    }
    let sure = |percent: f64| asks || dice.is_some() || percent == 0.0 || percent == 100.0;
    let gets = |hit: fn(&Injected) -> bool| drawn.as_ref().is_ok_and(hit);
    if let (Some(share), Some(delay)) = (&mut fault.delay, policy.delay) {
        share.hit = sure(delay.percent).then(|| gets(|got| got.delay.is_some()) && !asks);
    }
    if let (Some(share), Some(abort)) = (&mut fault.abort, policy.abort) {
        share.hit = sure(abort.percent).then(|| gets(|got| got.abort.is_some()) && !asks);
    }
    Some(Struck { fault, drawn })
}

impl Struck {
    /// Puts it into the report; a fault that is certain is the outcome.
    pub(super) fn tell(self, report: &mut Report, caller: Caller) {
        let certain = self.fault.asked.is_some()
            || self.fault.abort.as_ref().is_some_and(|share| share.hit == Some(true));
        let failure = match self.drawn {
            Err(failure) => Some(failure),
            Ok(Injected { abort: Some(with), .. }) if certain => Some(Failure::FaultInjected(with)),
            Ok(_) => None,
        };
        if let Some(failure) = failure {
            // Nothing of it is attempted.
            report.shares.clear();
            (report.timeouts, report.retry) = (None, None);
            report.outcome = Outcome::Refuse(refusal(failure, caller));
        }
        report.fault = Some(self.fault);
    }
}

fn told(rule: &Rule) -> Fault {
    let (policy, origins) = (&rule.settings.fault, &rule.settings.origins);
    let model::Fault { delay, abort, header, max_delay } = policy;
    Fault {
        delay: delay.map(|delay| FaultShare {
            what: setting(origins, "fault.delay.duration", Some(format_duration(delay.duration))),
            percent: setting(origins, "fault.delay.percent", Some(delay.percent)),
            hit: None,
        }),
        abort: abort.map(|abort| FaultShare {
            what: setting(
                origins,
                "fault.abort",
                Some(match abort.with {
                    AbortWith::Status(status) => status.to_string(),
                    AbortWith::GrpcStatus(code) => format!("grpc-{code}"),
                }),
            ),
            percent: setting(origins, "fault.abort.percent", Some(abort.percent)),
            hit: None,
        }),
        header: header.as_ref().map(|name| setting(origins, "fault.header", Some(name.to_string()))),
        max_delay: header
            .as_ref()
            .map(|_| setting(origins, "fault.maxDelay", Some(format_duration(*max_delay)))),
        asked: None,
    }
}

fn asked(drawn: Result<Injected, Failure>) -> String {
    let Ok(Injected { delay, abort }) = drawn else { return "what cannot be read".to_owned() };
    let delay = delay.map(|time| format!("delay {}", format_duration(time)));
    let abort = abort.map(|with| format!("abort {} (grpc {})", with.status.as_u16(), with.grpc));
    delay.into_iter().chain(abort).collect::<Vec<_>>().join(", ")
}
