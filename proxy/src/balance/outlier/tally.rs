//! What attempts at one endpoint came to, counted by all workers at once.
//!
//! All of it stands on the cache lines that counting a request as open has just touched. A success writes only where
//! there is a run of failures to end, or where rates are judged.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use outrigger_config::model::OutlierDetection;

use crate::telemetry::metrics::Detector;

/// What one attempt says about its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// An answer below 500, or a gRPC status that is no fault of the endpoint; its end may be yet to come.
    Good,
    /// The answer has come to its end, or a connection that is passed on whole was made.
    Whole,
    /// An answer of 500 or more that is none of the gateway errors.
    ServerError,
    /// 502, 503 or 504.
    GatewayError,
    /// No whole answer: no connection, a time limit, a reset, bytes that are no HTTP.
    LocalError,
    /// The head of an answer whose worth shows later: a gRPC answer that may fail in its trailers.
    Begun,
    /// Nothing: the caller went away, or the endpoint declined before it began.
    Nothing,
}

impl Verdict {
    /// Of an HTTP status.
    pub fn of_status(status: u16) -> Self {
        match status {
            502..=504 => Self::GatewayError,
            500.. => Self::ServerError,
            _ => Self::Good,
        }
    }

    /// Of a gRPC status, by the HTTP status that it corresponds to; a code that is not defined is UNKNOWN.
    pub fn of_grpc(code: u8) -> Self {
        match code {
            // DEADLINE_EXCEEDED, UNAVAILABLE.
            4 | 14 => Self::GatewayError,
            // UNKNOWN, UNIMPLEMENTED, INTERNAL, DATA_LOSS.
            2 | 12 | 13 | 15 | 17.. => Self::ServerError,
            _ => Self::Good,
        }
    }
}

/// Where an endpoint stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It gets its share.
    #[default]
    InUse,
    /// A detector's number is reached: nobody picks it until it was judged.
    Suspect(Detector),
    /// It is out.
    Ejected,
    /// Its time is over: it may have one request at a time.
    HalfOpen,
    /// It has one, since this stamp (milliseconds of the endpoint's own clock).
    Probing(u32),
    /// It has one whose answer has begun at this stamp, and has said nothing yet.
    Begun(u32),
    /// The request has succeeded; it is about to be back.
    Passed,
    /// The request has failed; it is about to be out for longer.
    Failed,
}

impl Phase {
    fn pack(self) -> u64 {
        let word = |kind: u64, rest: u64| kind << 32 | rest;
        match self {
            Self::InUse => 0,
            Self::Suspect(detector) => word(1, detector as u64),
            Self::Ejected => word(2, 0),
            Self::HalfOpen => word(3, 0),
            Self::Probing(stamp) => word(4, u64::from(stamp)),
            Self::Passed => word(5, 0),
            Self::Failed => word(6, 0),
            Self::Begun(stamp) => word(7, u64::from(stamp)),
        }
    }

    fn unpack(word: u64) -> Self {
        let rest = word as u32;
        match word >> 32 {
            1 => Self::Suspect(Detector::ALL.get(rest as usize).copied().unwrap_or(Detector::Probe)),
            2 => Self::Ejected,
            3 => Self::HalfOpen,
            4 => Self::Probing(rest),
            5 => Self::Passed,
            6 => Self::Failed,
            7 => Self::Begun(rest),
            _ => Self::InUse,
        }
    }

    /// Whether it gets its share, or did until a moment ago.
    pub(crate) fn is_in_use(self) -> bool {
        matches!(self, Self::InUse | Self::Suspect(_))
    }

    /// Whether it is out, or on trial.
    pub(crate) fn is_out(self) -> bool {
        !self.is_in_use()
    }
}

/// Requests of one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) requests: u32,
    pub(crate) failures: u32,
}

/// The counters of one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    phase: AtomicU64,
    server_errors: AtomicU32,
    gateway_errors: AtomicU32,
    local_errors: AtomicU32,
    /// Requests of this interval in the upper half, failures in the lower.
    rate: AtomicU64,
}

impl Tally {
    pub(crate) fn phase(&self) -> Phase {
        Phase::unpack(self.phase.load(Relaxed))
    }

    /// From one phase to another; false if it was no longer there.
    pub(crate) fn advance(&self, from: Phase, to: Phase) -> bool {
        self.phase.compare_exchange(from.pack(), to.pack(), Relaxed, Relaxed).is_ok()
    }

    /// Counts an attempt of an endpoint in use. True if that makes it a suspect: somebody has to judge it.
    pub(crate) fn count(&self, verdict: Verdict, limits: &OutlierDetection) -> bool {
        let local = limits.consecutive_local_errors;
        let failed = match verdict {
            Verdict::Nothing | Verdict::Begun => return false,
            Verdict::Whole => {
                end_run(&self.local_errors);
                return false;
            }
            Verdict::Good => {
                end_run(&self.server_errors);
                end_run(&self.gateway_errors);
                None
            }
            Verdict::ServerError => {
                end_run(&self.gateway_errors);
                reached(&self.server_errors, limits.consecutive_5xx).then_some(Detector::Consecutive5xx)
            }
            Verdict::LocalError if local.is_some() => {
                reached(&self.local_errors, local).then_some(Detector::ConsecutiveLocalErrors)
            }
            // Both count, whichever is reached first.
            Verdict::GatewayError | Verdict::LocalError => {
                let server = reached(&self.server_errors, limits.consecutive_5xx);
                let gateway = reached(&self.gateway_errors, limits.consecutive_gateway_errors);
                match (gateway, server) {
                    (true, _) => Some(Detector::ConsecutiveGatewayErrors),
                    (_, true) => Some(Detector::Consecutive5xx),
                    _ => None,
                }
            }
        };
        if limits.judges_rates() {
            let failure = u64::from(verdict != Verdict::Good);
            self.rate.fetch_add(1 << 32 | failure, Relaxed);
        }
        failed.is_some_and(|detector| self.advance(Phase::InUse, Phase::Suspect(detector)))
    }

    /// Ends every run of failures.
    pub(crate) fn forget(&self) {
        [&self.server_errors, &self.gateway_errors, &self.local_errors].into_iter().for_each(end_run);
    }

    /// Takes the requests of an interval; the next one begins.
    pub(crate) fn take_rate(&self) -> Rate {
        let word = self.rate.swap(0, Relaxed);
        Rate { requests: (word >> 32) as u32, failures: word as u32 }
    }

    /// Failures in a row as they stand: 5xx, gateway errors, local errors.
    pub(crate) fn runs(&self) -> [u32; 3] {
        [&self.server_errors, &self.gateway_errors, &self.local_errors].map(|run| run.load(Relaxed))
    }
}

fn end_run(run: &AtomicU32) {
    if run.load(Relaxed) != 0 {
        run.store(0, Relaxed);
    }
}

/// Counts one more; whether the number is reached. A detector that is off counts nothing.
fn reached(run: &AtomicU32, most: Option<u32>) -> bool {
    most.is_some_and(|most| run.fetch_add(1, Relaxed).saturating_add(1) >= most)
}
