//! Requests whose connection has become something else: from the answer that agrees to it, to the end of the tunnel.
//!
//! The answer goes out first, by the HTTP server; then the server gives the caller's connection back ([`Waiting::join`]
//! for HTTP/1) or its stream (HTTP/2), and the bytes of both sides are joined. Record, metrics and the endpoint's place
//! live as long as the tunnel. What the bytes mean is nobody's business here.

use std::{rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode, Version,
    header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE},
    request, response,
};

use crate::{
    body::{AnswerBody, Flow, UpstreamBody},
    error::Failure,
    exchange::Exchange,
    listen::near::{Near, StreamTask},
    policy::{
        Pinned,
        headers::{self, Known},
        mtls::{self, Anonymous},
        session,
        target::Held,
    },
    request::{strict::Checked, switch::Switch, websocket},
    telemetry::{
        metrics::{RouteMetrics, TunnelKind},
        record::Record,
    },
    tunnel::{End, Leg, Peer, Tunnel},
    upstream::{far::Far, io::Link},
    worker::Worker,
};

/// What a tunnel needs beside the two sides.
pub(crate) struct Opening {
    /// What the request takes up until the tunnel has ended.
    pub(crate) held: Held,
    /// The key that the endpoint's answer must fit.
    pub(crate) nonce: Option<Box<HeaderValue>>,
}

/// Gives the request the key that a WebSocket endpoint of HTTP/1.1 wants, where its caller speaks HTTP/2 and has none.
pub(crate) fn nonce(
    head: &mut request::Parts,
    checked: &Checked,
    worker: &Worker,
) -> Option<Box<HeaderValue>> {
    let Some(Switch::Upgrade(upgrade)) = checked.switch.as_deref() else { return None };
    if checked.version != Version::HTTP_2 || !upgrade.is_websocket() {
        return None;
    }
    let key = websocket::key((worker.dice(), worker.dice()));
    head.headers.insert(websocket::KEY, key.clone());
    Some(Box::new(key))
}

/// Whether an answer is [`answer`]'s: an agreement, or what the caller would take for one. To a caller of HTTP/2 every
/// success opens the tunnel, so an endpoint that answers as if nothing had been asked cannot be passed on.
pub(crate) fn concerns(exchange: &Exchange, answer: &Response<UpstreamBody>) -> bool {
    answer.body().is_switched() || exchange.upgrade.is_some() && answer.status().is_success()
}

/// The answer that opens the tunnel; it begins once the caller's server has written it.
pub(crate) fn answer(
    mut exchange: Exchange,
    pinned: &Pinned<'_>,
    checked: &Checked,
    answer: Response<UpstreamBody>,
    opening: Opening,
) -> Response<AnswerBody> {
    let (mut head, mut body) = answer.into_parts();
    // A tunnel is no request any more: its place before the app is free from here on.
    exchange.answered(&head);
    drop(exchange.permit.take());
    let (Some(far), Some(switch)) = (body.take_switched(), checked.switch.as_deref()) else {
        return exchange.refuse(Failure::UpgradeUnsupported);
    };
    // A peer that goes on before it has the whole request means something else than the caller.
    if !exchange.flow.request_done.get() {
        return exchange.refuse(Failure::UpstreamProtocol);
    }
    if let Err(failure) = form(&mut head, pinned, checked, &opening) {
        return exchange.refuse(failure);
    }
    session::on_answer(&mut head, pinned, opening.held.addr, exchange.worker().id);
    exchange.record.answered(head.status, &head.headers);
    let timeouts = &pinned.rule.settings.timeouts;
    let (connection, worker) = (exchange.connection.clone(), exchange.worker().clone());
    let waiting = Waiting {
        far,
        record: exchange.record,
        flow: exchange.flow,
        // Only where a person wrote it down: who waits for a message may wait for long.
        idle: timeouts.stream_idle.filter(|_| timeouts.stream_idle_set),
        _held: opening.held,
        _counted: OpenTunnel::new(&pinned.rule.metrics, worker.id, kind(switch)),
        worker,
        caller: Anonymous::of_connection(&connection),
    };
    match exchange.upgrade {
        None => connection.switched.set(waiting),
        Some(upgrade) => {
            let task = StreamTask::new();
            connection.sending.set(task.clone());
            tokio::task::spawn_local(async move {
                // The stream may have ended before the answer: then nobody is there any more.
                if let Ok(upgraded) = upgrade.await {
                    Box::pin(waiting.join_stream(Near::stream(upgraded, &task), &task)).await;
                }
            });
        }
    }
    Response::from_parts(head, AnswerBody::fixed(None, None))
}

fn kind(switch: &Switch) -> TunnelKind {
    match switch {
        Switch::Connect => TunnelKind::Connect,
        Switch::Upgrade(upgrade) if upgrade.is_websocket() => TunnelKind::WebSocket,
        Switch::Upgrade(_) => TunnelKind::Upgrade,
    }
}

/// Brings an agreement into the form of the caller's version.
fn form(
    head: &mut response::Parts,
    pinned: &Pinned<'_>,
    checked: &Checked,
    opening: &Opening,
) -> Result<(), Failure> {
    let agreed = head.headers.get(UPGRADE).cloned();
    // Neither has a body to tell the length of.
    head.headers.remove(CONTENT_LENGTH);
    head.headers.remove(TRANSFER_ENCODING);
    let known = Known { sidecar: opening.held.sidecar, body_unread: false };
    headers::on_answer(head, pinned.forward, checked, known)?;
    if let Some(key) = opening.nonce.as_deref() {
        let accepted = head.headers.remove(websocket::ACCEPT);
        if accepted != Some(websocket::accept(key)) {
            return Err(Failure::UpstreamProtocol);
        }
    }
    if checked.version == Version::HTTP_2 {
        head.status = StatusCode::OK;
    } else if let Some(agreed) = agreed {
        head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        head.headers.insert(UPGRADE, agreed);
    }
    Ok(())
}

/// A tunnel whose caller's side is still the HTTP server's.
#[derive(Debug)]
pub(crate) struct Waiting {
    far: Box<Far>,
    record: Record,
    flow: Rc<Flow>,
    idle: Option<Duration>,
    worker: Rc<Worker>,
    caller: Option<Anonymous>,
    _held: Held,
    _counted: OpenTunnel,
}

impl Waiting {
    /// Joins both sides until the tunnel's end. `said` is what the caller has sent already, behind its request.
    pub(crate) async fn join(self, near: Near, link: Option<Arc<Link>>, said: Bytes) {
        let Far { io, said: answered, link: far_link, counted } = *self.far;
        let tunnel = Tunnel::new(Leg::new(near, link), Leg::new(io, far_link));
        let flow = self.flow;
        let moved = |peer, bytes| {
            let sum = match peer {
                Peer::Caller => &flow.bytes_in,
                Peer::Upstream => &flow.bytes_out,
            };
            sum.set(sum.get() + bytes);
        };
        let tunnel = tunnel.after(said).answered(answered);
        let end = tokio::select! {
            biased;
            end = tunnel.run(self.idle, &self.worker.deadlines, moved) => Some(end),
            () = mtls::refuses(&self.worker, self.caller) => None,
        };
        drop(counted);
        let Some(end) = end else { return self.record.broke(Failure::NoIdentity) };
        match end {
            End::Closed(_) => self.record.complete(),
            End::Reset(Peer::Caller) => self.record.broke(Failure::DownstreamGone),
            End::Reset(Peer::Upstream) => self.record.broke(Failure::UpstreamCut),
            End::Idle => self.record.broke(Failure::StreamIdle),
        }
    }

    /// As [`Waiting::join`], for a caller's stream: one that the caller gives up ends the tunnel, also where nobody reads
    /// or writes.
    async fn join_stream(self, near: Near, task: &StreamTask) {
        tokio::select! {
            biased;
            () = self.join(near, None, Bytes::new()) => {}
            // Dropped with the tunnel, the record says that the caller is gone.
            () = task.failed() => {}
        }
    }
}

/// Counts a tunnel as open.
#[derive(Debug)]
struct OpenTunnel {
    metrics: Arc<RouteMetrics>,
    worker: usize,
}

impl OpenTunnel {
    fn new(metrics: &Arc<RouteMetrics>, worker: usize, kind: TunnelKind) -> Self {
        metrics.tunnel_opened(worker, kind);
        Self { metrics: metrics.clone(), worker }
    }
}

impl Drop for OpenTunnel {
    fn drop(&mut self) {
        self.metrics.tunnel_closed(self.worker);
    }
}
