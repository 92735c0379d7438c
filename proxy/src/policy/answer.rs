//! The way of an answer through the policy: its hygiene, what rules change in it, and what rides on it until its end.

use http::{HeaderMap, Response};
use outrigger_config::model::Limits;

use super::{
    Pinned,
    attempts::Instead,
    deadline::Deadline,
    fallback::{self, Stage},
    headers::{self, Known},
    session,
    target::Held,
};
use crate::{
    body::{AnswerBody, Finish, UpstreamBody},
    exchange::Exchange,
    request::strict::Checked,
    telemetry::metrics::FallbackKind,
};

/// What an answer needs of its request.
pub(super) struct After<'a> {
    pub(super) deadline: Deadline,
    pub(super) limits: &'a Limits,
    pub(super) fallback: Option<Stage<'a>>,
    pub(super) instead: Option<Instead>,
    pub(super) request: &'a HeaderMap,
}

/// The answer, on which record, deadline and the endpoint's place ride until its end.
pub(super) fn pass_on(
    mut exchange: Exchange,
    pinned: &Pinned<'_>,
    checked: &Checked,
    (answer, held): (Response<UpstreamBody>, Held),
    after: After<'_>,
) -> Response<AnswerBody> {
    let (mut head, body) = answer.into_parts();
    exchange.answered(&head);
    let body_unread = checked.expect_continue && !exchange.flow.request_done.get();
    let known = Known { sidecar: held.sidecar, body_unread };
    let told = match headers::on_answer(&mut head, pinned.forward, checked, known) {
        Ok(told) => told,
        Err(failure) => return exchange.refuse(failure),
    };
    let keep = match after.instead {
        None => {
            // Kept is what any caller may get: no session of this one.
            let keep = after.fallback.and_then(|stage| stage.keep(&exchange, after.request, &head));
            session::on_answer(&mut head, pinned, held.addr, exchange.worker().id);
            keep
        }
        Some(Instead(failure)) => {
            fallback::mark(&mut head.headers, FallbackKind::Service);
            exchange.record.fell_back(FallbackKind::Service, failure);
            None
        }
    };
    exchange.record.answered(head.status, &head.headers);
    let finish = Finish {
        record: exchange.record,
        deadline: after.deadline,
        flow: exchange.flow,
        trailer_bytes: after.limits.trailer_bytes,
        grpc: checked.grpc && told.grpc,
        trailers_lost: told.trailers_lost,
        keep,
        held,
        _permit: exchange.permit,
    };
    Response::from_parts(head, AnswerBody::upstream(body, Box::new(finish)))
}
