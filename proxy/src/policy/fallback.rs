//! What a request gets that its Service does not answer: the last good answer, a fixed one, or another Service's.
//!
//! It acts while the circuit breaker is open, at its limits, and when all attempts have failed as the breaker counts
//! failures. Whatever it gives says so in `x-outrigger-fallback`. A request that is to become a tunnel has none: nobody
//! could go on from there. What may be kept is in `fallback/kept.rs`, where it is kept in `fallback/store.rs`; which Service
//! is asked, and whether it may be, is for the attempts to say, which know what was sent.

mod kept;
mod store;

pub(crate) use kept::{Keeping, Question};
pub(crate) use store::Store;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header, request::Parts, response};
use outrigger_config::model;
use tokio::time::Instant;

use super::{
    attempts::{Attempted, Attempts},
    circuit_breaker::{self, Verdict},
    supply::Supply,
};
use crate::{
    body::AnswerBody,
    error::Failure,
    exchange::Exchange,
    request::strict::Checked,
    runtime::{
        BuildError,
        snapshot::{Backend, Rule},
    },
    telemetry::metrics::{FallbackKind, FallbackMetrics},
};

/// Says that, and how, an answer is not the Service's own.
const FALLBACK: HeaderName = HeaderName::from_static("x-outrigger-fallback");

/// The fallback of a rule.
#[derive(Debug)]
pub(crate) struct Fallback {
    pub(crate) way: Way,
    pub(crate) metrics: Arc<FallbackMetrics>,
}

/// Where a fallback's answers come from.
#[derive(Debug)]
pub(crate) enum Way {
    /// The last good answer, no older than this.
    Stale(Duration),
    /// One that policy has written.
    Response(Fixed),
    /// Another Service, or why there is none.
    Service(Result<Arc<Backend>, Arc<str>>),
}

impl Fallback {
    /// The other Service.
    pub(crate) fn service(&self) -> Option<&Arc<Backend>> {
        match &self.way {
            Way::Service(Ok(backend)) => Some(backend),
            Way::Service(Err(_)) | Way::Stale(_) | Way::Response(_) => None,
        }
    }
}

/// An answer that policy has written.
#[derive(Debug)]
pub(crate) struct Fixed {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Fixed {
    /// Compiles it.
    ///
    /// # Errors
    /// A header that cannot be written, or a status that is none.
    pub(crate) fn compile(from: &model::FixedResponse) -> Result<Self, BuildError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &from.headers {
            let bad_name = |_| BuildError::HeaderName((**name).into());
            let bad_value = |_| BuildError::HeaderValue((**value).into());
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(bad_name)?;
            headers.append(name, HeaderValue::from_str(value).map_err(bad_value)?);
        }
        let status = StatusCode::from_u16(from.status).map_err(|_| BuildError::Status(from.status))?;
        Ok(Self { status, headers, body: Bytes::copy_from_slice(from.body.as_bytes()) })
    }
}

/// The fallback of a request of the rule; one that is to become a tunnel has none.
pub(crate) fn is_for<'a>(rule: &'a Rule, checked: &Checked) -> Option<&'a Fallback> {
    rule.fallback.as_deref().filter(|_| checked.switch.is_none())
}

/// The fallback of one request.
pub(crate) struct Stage<'a> {
    fallback: &'a Fallback,
    /// What its last good answer is known by; `None`: none is kept.
    question: Option<Box<Question>>,
}

/// What a request comes to.
pub(crate) enum Settled {
    /// An answer that the fallback has made, and the failure that it stands for, if that is the proxy's own.
    Given(Given),
    /// Attempts, at its own Service or at another one.
    Attempted(Attempted),
}

/// An answer that a fallback has made.
pub(crate) struct Given {
    answer: Response<Bytes>,
    kind: FallbackKind,
    failure: Option<Failure>,
    made: u32,
    upstream: Option<SocketAddr>,
}

impl<'a> Stage<'a> {
    /// `None`: the rule has none, or it is not for such a request.
    pub(crate) fn of(rule: &'a Rule, head: &Parts, checked: &Checked) -> Option<Self> {
        let fallback = is_for(rule, checked)?;
        let question = match fallback.way {
            Way::Stale(_) => Question::of(rule, head, checked).map(Box::new),
            Way::Response(_) | Way::Service(_) => None,
        };
        Some(Self { fallback, question })
    }

    /// Puts something in the place of what the attempts came to, where they have failed.
    pub(crate) async fn settle(
        &self,
        exchange: &Exchange,
        attempts: &Attempts<'_>,
        attempted: Attempted,
        (head, supply): (&Parts, &mut Supply),
    ) -> Settled {
        let Some(failure) = failed(&attempted, attempts.checked) else {
            return Settled::Attempted(attempted);
        };
        let given = match &self.fallback.way {
            Way::Stale(age) => {
                let found = self.question.as_ref().and_then(|question| {
                    exchange.worker().stale.find(question, &head.headers, *age, Instant::now())
                });
                found.map(|answer| (answer, FallbackKind::Stale))
            }
            // What stands in the policy is no message of gRPC's.
            Way::Response(_) if exchange.caller.grpc => None,
            Way::Response(fixed) => Some((fixed.answer(), FallbackKind::Response)),
            Way::Service(Ok(backend)) if may_go_elsewhere(&attempted, attempts, supply) => {
                self.fallback.metrics.count(FallbackKind::Service);
                let elsewhere = attempts.elsewhere(backend, head, supply).await;
                return Settled::Attempted(elsewhere.instead_of(attempted, failure));
            }
            Way::Service(_) => None,
        };
        let Some((mut answer, kind)) = given else {
            self.fallback.metrics.count(FallbackKind::Nothing);
            return Settled::Attempted(attempted);
        };
        self.fallback.metrics.count(kind);
        mark(answer.headers_mut(), kind);
        let Attempted { made, upstream, .. } = attempted;
        Settled::Given(Given { answer, kind, failure, made, upstream })
    }

    /// Keeps the answer if it may be served again when the Service fails.
    pub(crate) fn keep(
        self,
        exchange: &Exchange,
        request: &HeaderMap,
        answer: &response::Parts,
    ) -> Option<Box<Keeping>> {
        let stale = &exchange.worker().stale;
        self.question.and_then(|question| Keeping::begin(*question, request, answer, stale)).map(Box::new)
    }
}

/// Another Service is asked only for what it could be sent as the first attempt of all: nothing was started, or the
/// request may be sent again; and its body is still whole.
fn may_go_elsewhere(attempted: &Attempted, attempts: &Attempts<'_>, supply: &Supply) -> bool {
    (!attempted.started || attempts.repeatable) && supply.whole()
}

impl Fixed {
    fn answer(&self) -> Response<Bytes> {
        let mut answer = Response::new(self.body.clone());
        *answer.status_mut() = self.status;
        *answer.headers_mut() = self.headers.clone();
        if !matches!(self.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(self.body.len()));
        }
        answer
    }
}

/// Says in an answer that it is not the Service's own.
pub(crate) fn mark(headers: &mut HeaderMap, kind: FallbackKind) {
    headers.insert(FALLBACK, HeaderValue::from_static(kind.as_str()));
}

/// Whether attempts have failed; of what, if the proxy says it.
fn failed(attempted: &Attempted, checked: &Checked) -> Option<Option<Failure>> {
    match &attempted.result {
        Ok((answer, _)) => {
            let verdict = circuit_breaker::of_answer(answer.status(), answer.headers(), checked.grpc);
            (verdict == Some(Verdict::Failure)).then_some(None)
        }
        Err(failure) => is_of_service(*failure).then_some(Some(*failure)),
    }
}

/// Whether the Service, the way to it or its circuit breaker is what a request has failed of.
fn is_of_service(failure: Failure) -> bool {
    match failure {
        Failure::NoEndpoint
        | Failure::ConnectFailed
        | Failure::ConnectTimeout
        | Failure::TlsFailed
        | Failure::AlpnMismatch
        | Failure::UpstreamReset
        | Failure::UpstreamProtocol
        | Failure::RequestTimeout
        | Failure::AttemptTimeout
        | Failure::StreamIdle
        | Failure::CircuitOpen
        | Failure::RequestLimit
        | Failure::ConnectionLimit
        | Failure::PendingLimit => true,
        Failure::BadRequest(_)
        | Failure::UriTooLong
        | Failure::HeaderTooLarge
        | Failure::TransferCoding
        | Failure::MethodNotAllowed
        | Failure::NoRoute
        | Failure::NoService
        | Failure::NoBackend
        | Failure::NoPolicy
        | Failure::UpstreamCut
        | Failure::UpgradeUnsupported
        | Failure::Overloaded
        | Failure::Loop
        | Failure::ConcurrencyLimit
        | Failure::RateLimited
        | Failure::NoIdentity
        | Failure::FaultInjected(_)
        | Failure::InvalidFault
        | Failure::NoClientHello
        | Failure::Drained
        | Failure::DownstreamGone
        | Failure::Internal => false,
    }
}

impl Given {
    /// Sends it.
    pub(crate) fn send(self, mut exchange: Exchange) -> Response<AnswerBody> {
        let (head, body) = self.answer.into_parts();
        let body = if exchange.caller.head { Bytes::new() } else { body };
        exchange.record.attempted(self.made, self.upstream);
        exchange.record.answered(head.status, &head.headers);
        exchange.record.fell_back(self.kind, self.failure);
        exchange.flow.bytes_out.set(body.len() as u64);
        exchange.record.complete();
        Response::from_parts(head, AnswerBody::fixed((!body.is_empty()).then_some(body), None))
    }
}

#[cfg(test)]
mod tests;
