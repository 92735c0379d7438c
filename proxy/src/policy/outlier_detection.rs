//! What an attempt says about its endpoint: the one place where outcomes become verdicts.
//!
//! Only what the endpoint is to blame for counts. A caller that goes away, a deadline of the caller's own, a connection that
//! was closed while idle and a stream that was declined in order say nothing.

use std::time::Duration;

use http::{HeaderMap, Response, request::Parts};

use super::{attempts::Attempts, deadline};
use crate::{
    balance::Verdict,
    body::UpstreamBody,
    error::Failure,
    upstream::attempt::{AttemptError, Class},
};

/// The verdict of an answer's head or a failure before it. What a gRPC answer comes to may stand in its trailers.
pub(crate) fn verdict(result: &Result<Response<UpstreamBody>, AttemptError>, grpc: bool) -> Verdict {
    let error = match result {
        Err(error) => error,
        Ok(answer) if grpc && answer.status() == 200 => {
            return code(answer.headers()).map_or(Verdict::Begun, Verdict::of_grpc);
        }
        Ok(answer) => return Verdict::of_status(answer.status().as_u16()),
    };
    match error.class {
        Class::Connect | Class::Reset | Class::Timeout | Class::Protocol => Verdict::LocalError,
        Class::Unsent | Class::Refused | Class::Caller | Class::Limit => Verdict::Nothing,
    }
}

/// The verdict of one of the attempts of a request.
pub(super) fn of_attempt(
    result: &Result<Response<UpstreamBody>, AttemptError>,
    attempts: &Attempts<'_>,
    head: &Parts,
    elapsed: Duration,
) -> Verdict {
    let own = attempts.pinned.rule.settings.timeouts.request;
    match result {
        Err(error)
            if attempts.flow.request_done.get()
                && is_late(error, (own, deadline::asked(&head.headers, attempts.checked)), elapsed) =>
        {
            Verdict::LocalError
        }
        result => verdict(result, attempts.checked.grpc),
    }
}

/// The verdict of a gRPC answer's trailers; without a status there is none.
pub(crate) fn of_trailers(fields: &HeaderMap) -> Verdict {
    code(fields).map_or(Verdict::Nothing, Verdict::of_grpc)
}

fn code(fields: &HeaderMap) -> Option<u8> {
    fields.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// Whether an attempt that ended with the whole request's limit is the endpoint's fault: the limit is the policy's own, the
/// request had been sent, and most of the time was this attempt's.
fn is_late(
    error: &AttemptError,
    (own, asked): (Option<Duration>, Option<Duration>),
    elapsed: Duration,
) -> bool {
    let Some(own) = own else { return false };
    error.failure == Failure::RequestTimeout && asked.is_none_or(|asked| asked >= own) && elapsed * 2 >= own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_endpoint_is_to_blame_for_counts() {
        let failed = |failure, class| verdict(&Err(AttemptError::new(failure, class)), false);
        assert_eq!(failed(Failure::ConnectFailed, Class::Connect), Verdict::LocalError);
        assert_eq!(failed(Failure::AttemptTimeout, Class::Timeout), Verdict::LocalError);
        assert_eq!(failed(Failure::UpstreamReset, Class::Reset), Verdict::LocalError);
        assert_eq!(failed(Failure::UpstreamReset, Class::Unsent), Verdict::Nothing);
        assert_eq!(failed(Failure::UpstreamReset, Class::Refused), Verdict::Nothing);
        assert_eq!(failed(Failure::DownstreamGone, Class::Caller), Verdict::Nothing);
    }

    #[test]
    fn a_request_that_took_its_whole_time_is_late_unless_the_caller_was_in_a_hurry() {
        let second = Duration::from_secs(1);
        let error = AttemptError::new(Failure::RequestTimeout, Class::Caller);
        assert!(is_late(&error, (Some(second), None), second));
        assert!(is_late(&error, (Some(second), Some(second * 2)), second));
        assert!(!is_late(&error, (Some(second), Some(second / 2)), second / 2));
        assert!(!is_late(&error, (Some(second), None), second / 4), "a repeat that had little time left");
        assert!(!is_late(&error, (None, Some(second)), second));
        let gone = AttemptError::new(Failure::DownstreamGone, Class::Caller);
        assert!(!is_late(&gone, (Some(second), None), second));
    }
}
