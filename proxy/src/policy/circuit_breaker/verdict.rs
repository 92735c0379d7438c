//! What attempts say about the health of their Service. Pure.
//!
//! A failure is what the Service, or the way to it, is to blame for. gRPC codes are read as Envoy reads them, by the HTTP
//! status that they come closest to: those of 500 and more are failures, but for UNIMPLEMENTED, which says more about
//! the caller.

use http::{HeaderMap, Response, StatusCode};

use super::Verdict;
use crate::{
    error::Failure,
    upstream::attempt::{AttemptError, Class},
};

/// What an attempt says when its answer's head is there, or when it has failed. `None`: a gRPC answer whose code comes
/// behind its messages.
pub(crate) fn of_attempt<B>(result: &Result<Response<B>, AttemptError>, grpc: bool) -> Option<Verdict> {
    match result {
        Err(error) => Some(of_error(*error)),
        Ok(answer) => of_answer(answer.status(), answer.headers(), grpc),
    }
}

/// What the head of an answer says.
pub(crate) fn of_answer(status: StatusCode, headers: &HeaderMap, grpc: bool) -> Option<Verdict> {
    if status.is_server_error() {
        return Some(Verdict::Failure);
    }
    match (grpc, headers.get("grpc-status")) {
        (false, _) => Some(Verdict::Success),
        (true, code) => code.map(|code| of_grpc(code.as_bytes())),
    }
}

/// What a `grpc-status` says: UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE and DATA_LOSS are failures, and so is what is
/// no code at all. RESOURCE_EXHAUSTED is not, as 429 is not.
pub(crate) fn of_grpc(code: &[u8]) -> Verdict {
    let code = std::str::from_utf8(code).ok().and_then(|code| code.parse::<u32>().ok());
    match code {
        None | Some(2 | 4 | 13..=15) => Verdict::Failure,
        // The caller gave up.
        Some(1) => Verdict::Nothing,
        Some(_) => Verdict::Success,
    }
}

fn of_error(error: AttemptError) -> Verdict {
    match (error.class, error.failure) {
        // Time that ran out while the Service was to answer.
        (_, Failure::RequestTimeout | Failure::StreamIdle) => Verdict::Failure,
        // A pooled connection that the endpoint had closed: as good as none, and the next one tells more.
        (Class::Unsent, _) => Verdict::Nothing,
        (Class::Limit | Class::Caller, _) => Verdict::Nothing,
        // It does not know the protocol that the caller wants, which its caller is to blame for.
        (_, Failure::UpgradeUnsupported) => Verdict::Nothing,
        (Class::Connect | Class::Refused | Class::Reset | Class::Timeout | Class::Protocol, _) => {
            Verdict::Failure
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, grpc_status: Option<&str>) -> Result<Response<()>, AttemptError> {
        let answer = Response::builder().status(status);
        let answer = match grpc_status {
            Some(code) => answer.header("grpc-status", code),
            None => answer,
        };
        Ok(answer.body(()).unwrap())
    }

    #[test]
    fn statuses_from_500_are_failures_and_callers_mistakes_are_not() {
        for (status, verdict) in [
            (200, Verdict::Success),
            (404, Verdict::Success),
            (429, Verdict::Success),
            (500, Verdict::Failure),
            (503, Verdict::Failure),
        ] {
            assert_eq!(of_attempt(&answer(status, None), false), Some(verdict), "{status}");
        }
    }

    #[test]
    fn a_grpc_answer_tells_in_its_code_when_that_comes() {
        assert_eq!(of_attempt(&answer(200, None), true), None);
        assert_eq!(of_attempt(&answer(503, None), true), Some(Verdict::Failure));
        let failures = (0..=16)
            .filter(|code| of_attempt(&answer(200, Some(&code.to_string())), true) == Some(Verdict::Failure));
        assert_eq!(failures.collect::<Vec<_>>(), [2, 4, 13, 14, 15]);
        assert_eq!(of_attempt(&answer(200, Some("1")), true), Some(Verdict::Nothing));
        assert_eq!(of_grpc(b"rubbish"), Verdict::Failure);
    }

    #[test]
    fn what_the_service_is_not_to_blame_for_says_nothing() {
        let failed = |failure, class| {
            of_attempt::<()>(&Err(AttemptError::new(failure, class)), false).expect("an error tells at once")
        };
        assert_eq!(failed(Failure::ConnectFailed, Class::Connect), Verdict::Failure);
        assert_eq!(failed(Failure::UpstreamReset, Class::Reset), Verdict::Failure);
        assert_eq!(failed(Failure::UpstreamReset, Class::Refused), Verdict::Failure);
        assert_eq!(failed(Failure::AttemptTimeout, Class::Timeout), Verdict::Failure);
        assert_eq!(failed(Failure::RequestTimeout, Class::Caller), Verdict::Failure);
        assert_eq!(failed(Failure::UpstreamReset, Class::Unsent), Verdict::Nothing);
        assert_eq!(failed(Failure::DownstreamGone, Class::Caller), Verdict::Nothing);
        assert_eq!(failed(Failure::ConnectionLimit, Class::Limit), Verdict::Nothing);
    }
}
