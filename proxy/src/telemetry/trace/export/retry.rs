//! What a failed try means, when the next one is due, and what is said about it. Pure: `now` and dice are passed.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::telemetry::metrics::Metrics;

/// The pause after the first failure doubles with each one, up to the longest; what is waited is anything up to it.
const BASE: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);
/// No more than one line about a failing collector in this time.
const QUIET: Duration = Duration::from_secs(60);

/// What to do with a batch that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It would fail again.
    Refused,
    /// It may go through later; not before the collector's own pause, where it asks for one.
    Again(Option<Duration>),
}

/// OTLP 1.x, "Failures": which codes are worth another try.
pub(super) fn verdict(status: &Status) -> Verdict {
    let asked = || {
        let delay = status.get_details_retry_info().map(|info| info.retry_delay);
        delay.map(|delay| delay.unwrap_or_default().min(LONGEST))
    };
    match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Verdict::Again(asked()),
        // Exhausted for now, if it says when to come again; else for good.
        Code::ResourceExhausted => match asked() {
            Some(delay) => Verdict::Again(Some(delay)),
            None => Verdict::Refused,
        },
        // What tonic says of a connection that broke.
        Code::Unknown if std::error::Error::source(status).is_some() => Verdict::Again(None),
        _ => Verdict::Refused,
    }
}

/// Pauses between tries, across batches: a collector that is away is not asked more often because more spans wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The pause before the next try: full jitter (`dice` is uniform), and never below what was asked for.
    pub(super) fn next(&mut self, asked: Option<Duration>, dice: u64) -> Duration {
        let most = BASE.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures += 1;
        let share = dice as f64 / u64::MAX as f64;
        most.mul_f64(share).max(asked.unwrap_or_default())
    }
}

/// Says that the collector fails, not too often, and that it works again.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    last: Option<Instant>,
    /// It was said, and not taken back yet.
    failing: bool,
}

impl Complaints {
    /// A try failed.
    pub(super) fn failed(&mut self, status: &Status, metrics: &Arc<Metrics>, now: Instant) {
        if self.is_due(now) {
            let dropped = metrics.spans_dropped_so_far();
            let code = status.code();
            tracing::warn!(
                ?code,
                message = status.message(),
                dropped,
                "spans cannot be sent to the collector"
            );
        }
    }

    /// A try went through.
    pub(super) fn well(&mut self) {
        if std::mem::take(&mut self.failing) {
            tracing::info!("spans reach the collector again");
        }
    }

    fn is_due(&mut self, now: Instant) -> bool {
        let due = self.last.is_none_or(|last| now.duration_since(last) >= QUIET);
        if due {
            self.last = Some(now);
            self.failing = true;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::*;

    #[test]
    fn verdicts() {
        let all = (0..=16).map(|code| Status::new(Code::from(code), ""));
        let again: Vec<Code> = all
            .filter(|status| verdict(status) == Verdict::Again(None))
            .map(|status| status.code())
            .collect();
        let retryable = [
            Code::Cancelled,
            Code::DeadlineExceeded,
            Code::Aborted,
            Code::OutOfRange,
            Code::Unavailable,
            Code::DataLoss,
        ];
        assert_eq!(again, retryable);
        let asking = |code, delay| {
            let details = ErrorDetails::with_retry_info(delay);
            verdict(&Status::with_error_details(code, "", details))
        };
        let three = Duration::from_secs(3);
        assert_eq!(asking(Code::ResourceExhausted, Some(three)), Verdict::Again(Some(three)));
        assert_eq!(asking(Code::Unavailable, Some(three)), Verdict::Again(Some(three)));
        assert_eq!(asking(Code::Unavailable, Some(Duration::from_secs(3600))), Verdict::Again(Some(LONGEST)));
        assert_eq!(asking(Code::InvalidArgument, Some(three)), Verdict::Refused);
    }

    #[test]
    fn pauses_grow_and_are_bounded() {
        let mut backoff = Backoff::default();
        let longest: Vec<u64> = (0..9).map(|_| backoff.next(None, u64::MAX).as_millis() as u64).collect();
        assert_eq!(longest, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
        assert_eq!(Backoff::default().next(None, 0), Duration::ZERO);
        let asked = Duration::from_secs(5);
        assert_eq!(Backoff::default().next(Some(asked), u64::MAX), asked);
        assert_eq!(Backoff { failures: u32::MAX - 1 }.next(None, u64::MAX), LONGEST);
    }

    #[tokio::test(start_paused = true)]
    async fn one_line_a_minute() {
        let mut complaints = Complaints::default();
        let start = Instant::now();
        let seconds = [0, 1, 30, 59, 60, 61, 119, 120];
        let due: Vec<u64> =
            seconds.into_iter().filter(|at| complaints.is_due(start + Duration::from_secs(*at))).collect();
        assert_eq!(due, [0, 60, 120]);
    }
}
