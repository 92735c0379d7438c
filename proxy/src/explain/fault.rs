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
            (report.timeouts, report.retry, report.fallback) = (None, None, None);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        explain::{Explainer, Question},
        runtime::fixture,
    };

    const POLICY: &str = r#"apiVersion: outrigger.dev/v1alpha1
kind: Sidecar
metadata: {name: web}
spec: {outbound: [{bind: "127.0.0.1:15001"}]}
---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {name: reviews}
spec: {ports: [{port: 80}], endpoints: [{address: "10.0.0.2:80"}]}
---
apiVersion: outrigger.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: reviews}
spec:
  targetRefs: [{kind: Service, name: reviews}]
  fault: {delay: {duration: 200ms, percent: 5}, abort: {status: 503, percent: 50}, header: x-fault}
"#;

    fn explain(change: impl FnOnce(&mut Question)) -> Report {
        let mut question = Question::new("GET", "http://reviews/").unwrap();
        change(&mut question);
        Explainer::new(fixture::resources(POLICY)).unwrap().explain(&question).unwrap()
    }

    #[test]
    fn without_dice_the_shares_are_told_and_nothing_is_refused() {
        let report = explain(|_| {});
        let text = report.to_text(false);
        assert!(!report.refuses());
        let place = "TrafficPolicy default/reviews on the Service  (policy.yaml:16:29)";
        assert!(
            text.contains(&format!("fault      delay       200ms for 5 % of the requests  {place}")),
            "{text}"
        );
        assert!(text.contains("abort       503 for 50 % of the requests  TrafficPolicy"), "{text}");
        assert!(text.contains("header      x-fault: asks for one, with a delay of 10s at most"), "{text}");
    }

    #[test]
    fn dice_tell_what_the_data_path_does() {
        let snapshot = fixture::snapshot(POLICY);
        let rule = &snapshot.ports().next().expect("a port").default_rule;
        let mut aborted = 0;
        for dice in 0..100 {
            let drawn = fault::take(rule, &mut HeaderMap::new(), dice).unwrap();
            let report = explain(|question| question.dice = Some(dice));
            assert_eq!(report.refuses(), drawn.abort.is_some());
            let told = report.fault.unwrap();
            assert_eq!(told.abort.unwrap().hit, Some(drawn.abort.is_some()));
            assert_eq!(told.delay.unwrap().hit, Some(drawn.delay.is_some()));
            aborted += usize::from(drawn.abort.is_some());
        }
        assert!((30..70).contains(&aborted), "{aborted}");
    }

    #[test]
    fn what_a_request_asks_for_is_told_and_the_header_is_gone() {
        let report = explain(|question| question.header("x-fault", "abort=grpc-7, delay=1m").unwrap());
        let told = report.fault.as_ref().and_then(|fault| fault.asked.clone());
        assert_eq!(told.as_deref(), Some("delay 10s, abort 403 (grpc 7)"));
        assert!(matches!(&report.outcome, Outcome::Refuse(it) if (it.status, it.flag) == (403, "FI")));
        let report = explain(|question| question.header("x-fault", "delay=1s").unwrap());
        let sent = report.shares[0].sent.as_ref().unwrap();
        assert!(sent.headers.iter().all(|(name, _)| name != "x-fault"), "{:?}", sent.headers);
        let report = explain(|question| question.header("x-fault", "soon").unwrap());
        assert!(matches!(&report.outcome, Outcome::Refuse(it) if it.reason == "invalid_fault"));
    }
}
