//! Faults that policy makes on purpose: a delay, an answer instead of the service's, or both. In the caller's proxy alone.
//!
//! What a request gets is drawn from its own dice, or asked for by itself where policy names a header for that
//! ([`Fault::draw`], pure: `explain` asks it too). It happens before the first attempt, so no endpoint is blamed, no
//! breaker opens and nothing is repeated for it.

use std::{future::poll_fn, task::Poll, time::Duration};

use http::{HeaderMap, HeaderName, StatusCode};
use outrigger_config::{
    model::{self, AbortWith},
    parse_duration,
};

use super::deadline::Deadline;
use crate::{
    decide::{Dice, Purpose},
    error::{Abort, Failure, grpc_of_http},
    exchange::Exchange,
    runtime::{BuildError, snapshot::Rule},
    telemetry::metrics::FaultKind,
};

/// Shares are drawn in parts per million.
const WHOLE: u64 = 1_000_000;

/// The faults of one rule, compiled.
#[derive(Debug)]
pub(crate) struct Fault {
    delay: Option<(u64, Duration)>,
    abort: Option<(u64, Abort)>,
    header: Option<HeaderName>,
    max_delay: Duration,
}

/// What one request gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Injected {
    pub(crate) delay: Option<Duration>,
    pub(crate) abort: Option<Abort>,
}

impl Fault {
    /// Compiles the faults of a policy; `None`: there are none.
    pub(crate) fn compile(from: &model::Fault) -> Result<Option<Box<Self>>, BuildError> {
        if from.is_none() {
            return Ok(None);
        }
        let name = |name: &str| {
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| BuildError::HeaderName(name.into()))
        };
        Ok(Some(Box::new(Self {
            delay: from.delay.map(|delay| (parts(delay.percent), delay.duration)),
            abort: from.abort.map(|abort| (parts(abort.percent), Abort::of(abort.with))),
            header: from.header.as_deref().map(name).transpose()?,
            max_delay: from.max_delay,
        })))
    }

    /// What a request gets. One that asks for a fault gets just that.
    pub(crate) fn draw(&self, headers: &HeaderMap, dice: u64) -> Result<Injected, Failure> {
        if let Some(name) = self.header.as_ref().filter(|name| headers.contains_key(*name)) {
            let mut asked = Injected::default();
            for value in headers.get_all(name) {
                let text = value.to_str().map_err(|_| Failure::InvalidFault)?;
                self.asked(text, &mut asked).ok_or(Failure::InvalidFault)?;
            }
            return Ok(asked);
        }
        let hit = |purpose, parts| Dice::split(dice, purpose).below(WHOLE) < parts;
        let delay = self.delay.filter(|(parts, _)| hit(Purpose::FaultDelay, *parts));
        let abort = self.abort.filter(|(parts, _)| hit(Purpose::FaultAbort, *parts));
        Ok(Injected { delay: delay.map(|(_, time)| time), abort: abort.map(|(_, with)| with) })
    }

    /// Reads `delay=200ms, abort=503`; `None`: it cannot be read.
    fn asked(&self, text: &str, asked: &mut Injected) -> Option<()> {
        for part in text.split(',') {
            match part.trim().split_once('=')? {
                ("delay", time) if asked.delay.is_none() => {
                    asked.delay = Some(parse_duration(time).ok()?.min(self.max_delay));
                }
                ("abort", with) if asked.abort.is_none() => asked.abort = Some(read_abort(with)?),
                _ => return None,
            }
        }
        Some(())
    }
}

fn read_abort(text: &str) -> Option<Abort> {
    match text.strip_prefix("grpc-") {
        Some(code) => code.parse().ok().filter(|code| (1..=16).contains(code)).map(AbortWith::GrpcStatus),
        None => text.parse().ok().filter(|status| (400..=599).contains(status)).map(AbortWith::Status),
    }
    .map(Abort::of)
}

fn parts(percent: f64) -> u64 {
    (percent * WHOLE as f64 / 100.0).round() as u64
}

impl Abort {
    /// The answer, with the form that callers of the other kind get.
    fn of(with: AbortWith) -> Self {
        match with {
            AbortWith::Status(status) => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
                Self { status, grpc: grpc_of_http(status) }
            }
            AbortWith::GrpcStatus(grpc) => Self { status: http_of_grpc(grpc), grpc },
        }
    }
}

/// The HTTP status for a gRPC code, as the gRPC gateways have it.
fn http_of_grpc(code: u8) -> StatusCode {
    match code {
        1 => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        3 | 9 | 11 => StatusCode::BAD_REQUEST,
        4 => StatusCode::GATEWAY_TIMEOUT,
        5 => StatusCode::NOT_FOUND,
        6 | 10 => StatusCode::CONFLICT,
        7 => StatusCode::FORBIDDEN,
        8 => StatusCode::TOO_MANY_REQUESTS,
        12 => StatusCode::NOT_IMPLEMENTED,
        14 => StatusCode::SERVICE_UNAVAILABLE,
        16 => StatusCode::UNAUTHORIZED,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Draws what a request of the rule gets, and takes off the header by which it may have asked.
pub(crate) fn take(rule: &Rule, headers: &mut HeaderMap, dice: u64) -> Result<Injected, Failure> {
    let Some(fault) = &rule.fault else { return Ok(Injected::default()) };
    let injected = fault.draw(headers, dice)?;
    if let Some(name) = &fault.header {
        headers.remove(name);
    }
    Ok(injected)
}

impl Injected {
    /// Makes it happen: the delay, no longer than the request may last, then the answer.
    pub(crate) async fn strike(
        self,
        exchange: &mut Exchange,
        rule: &Rule,
        deadline: &Deadline,
    ) -> Result<(), Failure> {
        let worker = exchange.worker().clone();
        if let Some(delay) = self.delay {
            exchange.record.delayed();
            rule.metrics.fault(worker.id, FaultKind::Delay);
            let timer = worker.deadlines.after(delay);
            let pause = poll_fn(|cx| match deadline.poll_passed(cx) {
                Poll::Ready(failure) => Poll::Ready(Err(failure)),
                Poll::Pending => timer.poll_expired(cx).map(Ok),
            });
            pause.await?;
        }
        match self.abort {
            None => Ok(()),
            Some(abort) => {
                rule.metrics.fault(worker.id, FaultKind::Abort);
                Err(Failure::FaultInjected(abort))
            }
        }
    }

    /// Whether the request goes on as if there were no faults.
    pub(crate) fn is_none(self) -> bool {
        self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(policy: model::Fault) -> Fault {
        *Fault::compile(&policy).unwrap().expect("there are faults")
    }

    fn some() -> Fault {
        compile(model::Fault {
            delay: Some(model::FaultDelay { percent: 25.0, duration: Duration::from_millis(200) }),
            abort: Some(model::FaultAbort { percent: 1.5, with: AbortWith::GrpcStatus(8) }),
            header: Some("x-fault".into()),
            max_delay: Duration::from_secs(1),
        })
    }

    #[test]
    fn nothing_compiles_to_nothing() {
        assert!(Fault::compile(&model::Fault::default()).unwrap().is_none());
    }

    #[test]
    fn each_fault_has_its_share_and_its_own_dice() {
        let (fault, headers) = (some(), HeaderMap::new());
        let mut counts = [0; 4];
        for dice in 0..100_000 {
            let got = fault.draw(&headers, dice).unwrap();
            assert_eq!(got, fault.draw(&headers, dice).unwrap(), "the same dice, the same fault");
            counts[usize::from(got.delay.is_some()) + 2 * usize::from(got.abort.is_some())] += 1;
        }
        let [_, delayed, aborted, both] = counts;
        assert!((24_500..25_500).contains(&(delayed + both)), "{counts:?}");
        assert!((1_350..1_650).contains(&(aborted + both)), "{counts:?}");
        assert!((300..450).contains(&both), "independent of each other: {counts:?}");
    }

    #[test]
    fn none_and_all_are_exact() {
        for (percent, hits) in [(0.0, 0), (100.0, 1000)] {
            let delay = Some(model::FaultDelay { percent, duration: Duration::from_secs(1) });
            let fault = compile(model::Fault { delay, ..model::Fault::default() });
            let drawn = (0..1000).filter(|dice| !fault.draw(&HeaderMap::new(), *dice).unwrap().is_none());
            assert_eq!(drawn.count(), hits);
        }
    }

    #[test]
    fn a_request_gets_what_it_asks_for_or_hears_that_it_cannot_be_read() {
        let fault = some();
        let ask = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("x-fault", value.parse().unwrap());
            }
            let answers: Vec<_> = (0..50).map(|dice| fault.draw(&headers, dice)).collect();
            assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "no dice: {values:?}");
            answers[0].map(|got| {
                (got.delay.map(|it| it.as_millis()), got.abort.map(|it| (it.status.as_u16(), it.grpc)))
            })
        };
        assert_eq!(ask(&["delay=50ms"]), Ok((Some(50), None)));
        assert_eq!(ask(&["abort=503"]), Ok((None, Some((503, 14)))));
        assert_eq!(
            ask(&[" abort=grpc-7 , delay=1m "]),
            Ok((Some(1000), Some((403, 7)))),
            "cut to the longest"
        );
        assert_eq!(ask(&["delay=1ms", "abort=404"]), Ok((Some(1), Some((404, 12)))));
        for bad in [
            "",
            "on",
            "delay=5",
            "abort=200",
            "abort=600",
            "abort=grpc-0",
            "abort=grpc-17",
            "delay=1s,delay=1s",
            "delay=1s;abort=503",
        ] {
            assert_eq!(ask(&[bad]), Err(Failure::InvalidFault), "{bad}");
        }
    }
}
