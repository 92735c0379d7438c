//! The retry law, and the loop that keeps to it.
//!
//! [`judge`] is the pure core: what happened and what the policy says in, whether it may be repeated out. Work that
//! provably never started may be repeated for any method; anything else only for a method that is idempotent (RFC 9110
//! section 9.2.2) or a route that says so, and only for the conditions that the policy lists. A policy can narrow the
//! law and never widen it.

use std::time::Duration;

use http::Method;
use outrigger_config::model::{Backoff, Retry};

use crate::{
    telemetry::metrics::{RetryDenied, RetryReason},
    upstream::attempt::Class,
};

/// What an attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It failed before the answer's head.
    Failed(Class),
    /// It was answered with this status.
    Status(u16),
    /// It was answered with this gRPC code and nothing else.
    Grpc(u8),
}

/// What the law allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// Repeat, for this reason; `free` repeats do not count against the budget, since nothing was ever started.
    Repeat {
        /// What made it necessary.
        reason: RetryReason,
        /// See above.
        free: bool,
    },
    /// A repeat was wanted and is forbidden.
    Denied(RetryDenied),
    /// A good answer, or a failure that the policy does not list.
    Final,
}

/// Whether `outcome` of attempt number `made` (from 1) may be repeated.
pub(crate) fn judge(outcome: Outcome, retry: &Retry, repeatable: bool, made: u32) -> Judgement {
    let (reason, listed, started) = match outcome {
        Outcome::Failed(Class::Unsent) => (RetryReason::Unsent, true, false),
        Outcome::Failed(Class::Connect) => (RetryReason::ConnectFailure, true, false),
        Outcome::Failed(Class::Refused) => (RetryReason::RefusedStream, true, false),
        Outcome::Failed(Class::Reset) => (RetryReason::Reset, retry.on.reset, true),
        // The peer may still be working: an attempt's time limit counts as a gateway error, as its 504 would.
        Outcome::Failed(Class::Timeout) => {
            (RetryReason::GatewayError, listed_status(504, retry).is_some(), true)
        }
        Outcome::Failed(Class::Protocol) => {
            (RetryReason::GatewayError, listed_status(502, retry).is_some(), true)
        }
        Outcome::Failed(Class::Caller | Class::Limit) => return Judgement::Final,
        Outcome::Status(status) => match listed_status(status, retry) {
            Some(reason) => (reason, true, true),
            None => return Judgement::Final,
        },
        Outcome::Grpc(code) => (RetryReason::GrpcCode, retry.on.grpc_codes.contains(&code), true),
    };
    if !listed {
        return Judgement::Final;
    }
    if started && !repeatable {
        return Judgement::Denied(RetryDenied::Law);
    }
    // Without a policy, work that never started still gets one more try.
    let most = if started { retry.attempts } else { retry.attempts.max(1) };
    if made > most {
        return Judgement::Denied(RetryDenied::Attempts);
    }
    Judgement::Repeat { reason, free: !started && reason != RetryReason::RefusedStream }
}

fn listed_status(status: u16, retry: &Retry) -> Option<RetryReason> {
    let on = &retry.on;
    if on.statuses.contains(&status) {
        return Some(RetryReason::RetriableStatus);
    }
    match status {
        502..=504 if on.gateway_error => Some(RetryReason::GatewayError),
        500..=599 if on.server_error => Some(RetryReason::ServerError),
        _ => None,
    }
}

/// Whether a request may be sent again although it may have started.
pub(crate) fn is_repeatable(retry: &Retry, method: &Method) -> bool {
    retry.idempotent || is_idempotent(method)
}

/// Methods that may be repeated by their own definition.
pub(crate) fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE | Method::TRACE
    )
}

/// The pause before repeat number `repeat` (from 1): the least, and something uniform between 0 and `min(max, base * 2^(repeat-1))`.
pub(crate) fn pause(backoff: Backoff, repeat: u32, dice: u64) -> Duration {
    let doubled =
        backoff.base.saturating_mul(1_u32.checked_shl(repeat.saturating_sub(1)).unwrap_or(u32::MAX));
    let top = doubled.min(backoff.max);
    // 53 bits make an exact fraction in [0, 1).
    let fraction = (dice >> 11) as f64 / (1_u64 << 53) as f64;
    backoff.least + top.mul_f64(fraction)
}

/// Seconds of a `Retry-After` field; its date form is not worth a wait inside a request.
pub(crate) fn retry_after(value: &[u8]) -> Option<Duration> {
    let seconds: u64 = std::str::from_utf8(value).ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests;
