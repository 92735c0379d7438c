//! The way of requests to the app, top-down.

use std::rc::Rc;

use http::{Request, Response};
use hyper::body::{Body, Incoming};

use crate::{
    body::AnswerBody,
    decide::{self, Decision, Silent},
    egress,
    error::Failure,
    exchange::{Exchange, decision_head},
    listen::connection::Connection,
    policy::{self, Pinned, concurrency, mtls, rate_limit},
    request::forwarded,
};

/// Serves one request to the app.
pub(crate) async fn serve(connection: Rc<Connection>, request: Request<Incoming>) -> Response<AnswerBody> {
    let (mut head, body) = request.into_parts();

    // Pin the policy: everything about this request is decided by one snapshot, loaded once.
    let snapshot = connection.worker.snapshot();
    let mut exchange = Exchange::open(&connection, &head, &snapshot);

    // Refuse what two servers may read differently, before anything looks at it; bring the rest to one spelling.
    let checked = match exchange.check(&mut head, body.is_end_stream(), &snapshot) {
        Ok(checked) => checked,
        Err(failure) => return exchange.refuse(failure),
    };

    // Decide: the app behind this listener, with the settings that its Service enforces.
    let facts = exchange.facts();
    let dice = facts.dice;
    let asked = decision_head(&head, &checked);
    let decision = decide::decide(&snapshot, connection.listener.key, &asked, &facts, &mut Silent);
    let mesh = snapshot.mesh.clone();
    drop(snapshot);

    // Name the request and tell the app who called; count it under its Service.
    forwarded::ensure_request_id(&mut head.headers, (connection.worker.dice(), connection.worker.dice()));
    forwarded::tell_app(&mut head.headers, &connection.address, forwarded::Scheme::Http);
    mtls::tell_app(&mut head.headers, &connection);
    exchange.record.ruled(decision.rule(), &head.headers, dice);

    // mtls: whoever must show who it is and does not is refused before it costs anything.
    if let Err(failure) = mtls::admit(&connection, &decision) {
        return exchange.refuse(failure);
    }

    // rate limit: what the Service takes in a time, before anything is spent on the request.
    let told = match rate_limit::check(&exchange, decision.rule(), &head.headers) {
        Ok(told) => told,
        Err(refused) => return refused.answer(exchange),
    };

    // concurrency: a place before the app, held until the answer has ended.
    if let Err(failure) = concurrency::admit(&mut exchange, decision.rule(), &head.headers) {
        return exchange.refuse(failure);
    }

    // The policy stages, the one hop to the app, the answer.
    let pinned = match &decision {
        Decision::Forward(forward) => Pinned { last_hop: true, ..Pinned::forward(forward, dice) },
        Decision::Refuse(refusal) => return exchange.refuse(refusal.failure),
        // The app stands where the caller dialled it.
        Decision::Direct(direct) => match Box::pin(egress::pin(&exchange, direct, &checked, dice)).await {
            Ok(pinned) => pinned,
            Err(failure) => return exchange.refuse(failure),
        },
        // An inbound listener has no routes, and so no answer of a rule.
        Decision::Redirect(_) | Decision::Preflight(_) => return exchange.refuse(Failure::Internal),
    };
    told.tell(policy::run(exchange, pinned, (head, body), &checked, &mesh.limits).await)
}
