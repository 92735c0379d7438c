//! The way of the app's own calls, top-down.

use std::rc::Rc;

use http::{Request, Response, header::ORIGIN};
use hyper::body::{Body, Incoming};

use crate::{
    body::AnswerBody,
    decide::{self, Decision, Silent},
    egress,
    exchange::{Exchange, decision_head},
    listen::connection::Connection,
    policy::{self, Pinned},
    request::forwarded,
};

/// Serves one request of the app.
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

    // Decide: destination, rule, backend. Pure; `explain` asks the same function.
    let facts = exchange.facts();
    let dice = facts.dice;
    let asked = decision_head(&head, &checked);
    let decision = decide::decide(&snapshot, connection.listener.key, &asked, &facts, &mut Silent);
    let mesh = snapshot.mesh.clone();
    drop(snapshot);

    // Name the request, so that logs along its way can be joined, and count it under its rule.
    forwarded::ensure_request_id(&mut head.headers, (connection.worker.dice(), connection.worker.dice()));
    exchange.record.ruled(decision.rule(), &head.headers, dice);

    // cors: which origin asks, before policy changes the head. Its browser is told whoever makes the answer.
    let origin = decision.cors().and_then(|_| head.headers.get(ORIGIN).cloned());
    let told = |mut answer: Response<AnswerBody>| {
        if let Some(cors) = decision.cors() {
            cors.on_answer(origin.as_ref(), answer.headers_mut());
        }
        answer
    };

    // The policy stages, the attempts, the answer.
    let pinned = match &decision {
        Decision::Forward(forward) => Pinned::forward(forward, dice),
        Decision::Direct(direct) => match Box::pin(egress::pin(&exchange, direct, &checked, dice)).await {
            Ok(pinned) => pinned,
            Err(failure) => return exchange.refuse(failure),
        },
        Decision::Redirect(redirected) => return told(exchange.redirect(redirected, &head.uri, &checked)),
        Decision::Preflight(preflight) => return exchange.preflight(preflight, &head.headers),
        Decision::Refuse(refusal) => return told(exchange.refuse(refusal.failure)),
    };
    told(policy::run(exchange, pinned, (head, body), &checked, &mesh.limits).await)
}
