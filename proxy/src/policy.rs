//! The policy stages of one request, in their order. Each is one file, named with the word that the YAML has.

mod answer;
pub(crate) mod attempts;
pub(crate) mod budget;
pub(crate) mod circuit_breaker;
pub(crate) mod concurrency;
pub(crate) mod cors;
pub(crate) mod deadline;
pub(crate) mod fallback;
pub(crate) mod fault;
pub(crate) mod headers;
pub(crate) mod mirror;
pub(crate) mod mtls;
pub(crate) mod outlier_detection;
mod pinned;
pub(crate) mod rate_limit;
pub(crate) mod replay;
pub(crate) mod retry;
mod ring;
pub(crate) mod session;
pub(crate) mod supply;
pub(crate) mod target;

pub(crate) use pinned::Pinned;

use std::net::IpAddr;

use http::{Response, request::Parts};
use hyper::body::Incoming;
use outrigger_config::model::Limits;

use crate::{
    balance::hash_on,
    body::{AnswerBody, Gate, Inlet, Key, PATIENCE},
    error::Failure,
    exchange::Exchange,
    policy::{
        answer::After, attempts::Attempts, deadline::Deadline, fallback::Settled, fault::Injected,
        mirror::Copies, supply::Supply,
    },
    request::strict::Checked,
    switched::{self, Opening},
};

/// Runs the stages.
// long: the order of all stages, written once.
pub(crate) async fn run(
    mut exchange: Exchange,
    mut pinned: Pinned<'_>,
    (mut head, body): (Parts, Incoming),
    checked: &Checked,
    limits: &Limits,
) -> Response<AnswerBody> {
    let (worker, settings) = (exchange.worker().clone(), &pinned.rule.settings);

    // The stages that change the head.
    let (injected, copies) = match on_head(&mut head, &mut pinned, exchange.connection.peer.ip()) {
        Ok(changed) => changed,
        Err(failure) => return exchange.refuse(failure),
    };
    // What an endpoint that speaks HTTP/1.1 needs to hear of an upgrade that HTTP/2 asked for.
    let nonce = switched::nonce(&mut head, checked, &worker);

    // deadline: the smaller of the policy's and the caller's; it runs until the answer has ended.
    let limit = deadline::limits(&settings.timeouts, deadline::asked(&head.headers, checked), checked);
    let deadline = Deadline::start(limit, &exchange.flow, &worker.deadlines, exchange.started);

    // Here a fault strikes: its delay counts, and nothing was sent yet.
    if !injected.is_none()
        && let Err(failure) = Box::pin(injected.strike(&mut exchange, pinned.rule, &deadline)).await
    {
        return exchange.refuse(failure);
    }

    // The body is held back where the caller waits to be asked for it.
    let key = checked.expect_continue.then(Key::default);
    let gate = key.clone().map(|key| Gate::new(key, worker.deadlines.after(PATIENCE)));
    let mut inlet = Inlet::new(body, exchange.flow.clone(), limits.trailer_bytes, gate);

    // mirror: copies go their own way from here; this request knows nothing of them.
    copies.send(&worker, checked, &mut inlet);

    // fallback: what the request asks for, as long as it can be told.
    let fallback = fallback::Stage::of(pinned.rule, &head, checked);

    // retry: attempts, each with an endpoint and a connection of its own.
    let attempts = Attempts {
        worker: &worker,
        pinned: &pinned,
        deadline: &deadline,
        flow: &exchange.flow,
        repeatable: retry::is_repeatable(&settings.retry, &head.method),
        checked,
        key,
        trace: &exchange.record.trace,
    };
    let mut supply = Supply::new(inlet, limits.replay_bytes);
    let mut attempted = attempts.run(&head, &mut supply).await;
    // fallback: something else, where they have failed.
    if let Some(stage) = &fallback {
        let settled = stage.settle(&exchange, &attempts, attempted, (&head, &mut supply));
        attempted = match Box::pin(settled).await {
            Settled::Attempted(attempted) => attempted,
            Settled::Given(given) => return given.send(exchange),
        };
    }
    exchange.record.attempted(attempted.made, attempted.upstream);
    match attempted.result {
        // HTTP ends here.
        Ok((answered, held)) if switched::concerns(&exchange, &answered) => {
            switched::answer(exchange, &pinned, checked, answered, Opening { held, nonce })
        }
        Ok(answered) => {
            let after =
                After { deadline, limits, fallback, instead: attempted.instead, request: &head.headers };
            answer::pass_on(exchange, &pinned, checked, answered, after)
        }
        Err(failure) => exchange.refuse(failure),
    }
}

/// The stages that read and change the head.
fn on_head(head: &mut Parts, pinned: &mut Pinned<'_>, peer: IpAddr) -> Result<(Injected, Copies), Failure> {
    // loadBalancer.hashOn: what the caller has sent, before policy changes it.
    let hash = |on| hash_on::key(on, &head.headers, head.uri.query(), peer);
    pinned.key = pinned.target.hash_on().and_then(hash);

    // fault: drawn before policy changes the head by which a request may ask for one.
    let injected = fault::take(pinned.rule, &mut head.headers, pinned.dice)?;

    // headers: what the rule and then its backend change, each with the target that it rewrites.
    let mut copies = Copies::default();
    headers::on_request(head, pinned.forward, &mut copies)?;
    Ok((injected, copies))
}
