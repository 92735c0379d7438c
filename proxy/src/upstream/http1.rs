//! HTTP/1.1 to an endpoint: hyper's client on our own pooled connections.
//!
//! A connection is lent to one request at a time ([`Lease`]) and comes back when the answer's last byte was read and the
//! caller's body was sent whole; in any other case it is closed.

use std::{cell::Cell, rc::Rc, sync::Arc};

use http::{Request, Response, StatusCode, header::HeaderName, response};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{sync::oneshot, task::AbortHandle, time::Instant};

use super::{
    attempt::{AttemptError, Class, Handover, Plan},
    connect::{Connected, connect},
    far::{Far, FarIo},
    io::Link,
    limited::{self, Others},
    pool::EndpointPool,
};
use crate::{
    body::{RequestBody, UpstreamBody},
    error::Failure,
    policy::circuit_breaker::{IdleMark, Permit},
    request::{switch::Upgrade, target},
    worker::Worker,
};

/// Answer heads above hyper's buffer are refused by it; ours are allowed what requests are allowed.
const READ_BUFFER: usize = 96 * 1024;

static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// An idle connection.
#[derive(Debug)]
pub(crate) struct Idle {
    sender: SendRequest<RequestBody>,
    link: Arc<Link>,
    idle_since: Rc<Cell<Option<Instant>>>,
    task: AbortHandle,
    /// When it became idle.
    pub(crate) since: Instant,
    /// Since when others have waited for it.
    pub(super) others: Others,
    /// Says that it is idle, where somebody may ask for it.
    pub(super) mark: Option<IdleMark>,
}

impl Idle {
    /// Whether its connection has ended.
    pub(crate) fn is_gone(&self) -> bool {
        self.sender.is_closed()
    }

    /// Marks the closing that follows as ours.
    pub(crate) fn retire(&self) {
        self.idle_since.set(None);
    }
}

/// A connection that is lent to one request.
#[derive(Debug)]
pub(crate) struct Lease {
    sender: SendRequest<RequestBody>,
    link: Arc<Link>,
    pool: Rc<EndpointPool>,
    idle_since: Rc<Cell<Option<Instant>>>,
    task: Tied,
    others: Others,
    /// Brings the connection's bytes once it speaks HTTP no more; only where it was asked to.
    switched: Option<oneshot::Receiver<Far>>,
}

/// Ends the connection's task unless the connection was given back. Without this an answer that ends before the
/// caller's body would leave the task waiting for that body, and both connections open. It ends with a reset: a FIN alone
/// reads as a caller that still waits for its answer, and a proxy behind us would let its app work on.
#[derive(Debug)]
struct Tied {
    task: Option<AbortHandle>,
    link: Arc<Link>,
}

impl Drop for Tied {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            self.link.reset_on_close();
            task.abort();
        }
    }
}

impl Lease {
    /// Back to the pool.
    pub(crate) fn give_back(mut self) {
        let Some(task) = self.task.task.take() else { return };
        // A link between sidecars that is no other protocol's after all: dropped, it ends in order. Nobody shares it.
        if self.sender.is_closed() || self.pool.generation() != 0 {
            return;
        }
        let now = Instant::now();
        self.idle_since.set(Some(now));
        let (sender, link, idle_since, others) = (self.sender, self.link, self.idle_since, self.others);
        limited::put_back(
            &self.pool,
            Idle { sender, link, idle_since, task, since: now, others, mark: None },
        );
    }
}

/// The newest idle connection that is alive, or a new one.
pub(crate) async fn checkout(
    worker: &Rc<Worker>,
    pool: &Rc<EndpointPool>,
    plan: Plan<'_>,
) -> Result<Lease, AttemptError> {
    // Both seldom: not worth room in every request's future.
    if let Some(limits) = &pool.limits {
        return Box::pin(limited::http1(worker, pool, plan, limits)).await;
    }
    match pooled(worker, pool, plan).await {
        Some(lease) => Ok(lease),
        None => Box::pin(open(worker, pool, plan, None)).await,
    }
}

/// The newest idle connection that is alive.
pub(super) async fn pooled(worker: &Worker, pool: &Rc<EndpointPool>, plan: Plan<'_>) -> Option<Lease> {
    let keep = pool.idle_limit(worker.pool_idle());
    loop {
        let idle = pool.http1.borrow_mut().pop()?;
        if idle.since.elapsed() >= keep {
            // Older ones lie below: none of them is younger.
            idle.retire();
            pool.retire_all();
            return None;
        }
        if let Some(lease) = woken(idle, pool, plan).await {
            return Some(lease);
        }
    }
}

/// An idle connection for one request, if it is alive.
pub(super) async fn woken(mut idle: Idle, pool: &Rc<EndpointPool>, plan: Plan<'_>) -> Option<Lease> {
    idle.mark = None;
    let dead = if plan.repeatable { idle.link.looks_dead() } else { idle.link.is_dead() };
    if dead || idle.sender.is_closed() {
        pool.learn_close(idle.since.elapsed());
        return None;
    }
    // Ready at once but for the moment in which the connection's task has yet to see the last answer's end.
    if !idle.sender.is_ready() && idle.sender.ready().await.is_err() {
        return None;
    }
    idle.idle_since.set(None);
    Some(Lease {
        sender: idle.sender,
        link: idle.link.clone(),
        pool: pool.clone(),
        idle_since: idle.idle_since,
        task: Tied { task: Some(idle.task), link: idle.link },
        others: idle.others,
        switched: None,
    })
}

/// A new connection: where the pool has none, and for a request that would have all of it.
pub(crate) async fn open(
    worker: &Rc<Worker>,
    pool: &Rc<EndpointPool>,
    plan: Plan<'_>,
    permit: Option<Permit>,
) -> Result<Lease, AttemptError> {
    let Connected { stream, link, counted } = connect(worker, pool.addr, plan, permit).await?;
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(READ_BUFFER)
        .max_headers(100)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|_| AttemptError::new(Failure::ConnectFailed, Class::Connect))?;
    let idle_since = Rc::new(Cell::new(None::<Instant>));
    let (idle, learner) = (idle_since.clone(), Rc::downgrade(pool));
    let (give, switched) = plan.switch.map(|_| oneshot::channel()).unzip();
    let given = link.clone();
    let task = tokio::task::spawn_local(async move {
        let mut connection = connection;
        // A request on it hears of an error by itself.
        let _ = (&mut connection).await;
        match give {
            None => drop(counted),
            Some(give) => {
                let parts = connection.into_parts();
                let io = FarIo::Socket(parts.io.into_inner());
                // Nobody waits for it where the endpoint has gone on with HTTP.
                let _ =
                    give.send(Far { io, said: parts.read_buf, link: Some(given), counted: Some(counted) });
            }
        }
        // Still marked as idle: then it was the peer that ended it, not our pool.
        if let (Some(since), Some(pool)) = (idle.get(), learner.upgrade()) {
            pool.learn_close(since.elapsed());
        }
    });
    let task = Tied { task: Some(task.abort_handle()), link: link.clone() };
    Ok(Lease { sender, link, pool: pool.clone(), idle_since, task, others: Others::default(), switched })
}

/// Sends one request on the lent connection and waits for the answer's head.
pub(crate) async fn send(
    mut lease: Lease,
    request: Request<RequestBody>,
    handover: Handover<'_>,
) -> Result<Response<UpstreamBody>, AttemptError> {
    let (mut head, body) = request.into_parts();
    target::for_http1(&mut head, handover.framing);
    if let Some(upgrade) = handover.upgrade {
        upgrade.ask(&mut head.headers);
    }
    let mut request = Request::from_parts(head, body);
    if let Some(key) = handover.key.cloned() {
        hyper::ext::on_informational(&mut request, move |interim| {
            if interim.status() == StatusCode::CONTINUE {
                key.open();
            }
        });
    }
    let before = lease.link.written();
    let answer = match lease.sender.send_request(request).await {
        Ok(answer) => answer,
        Err(error) => {
            if lease.link.is_refused() {
                return Err(AttemptError::new(Failure::TlsFailed, Class::Connect));
            }
            let written = lease.link.written() != before;
            return Err(classify(&error, written));
        }
    };
    let (head, body) = answer.into_parts();
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        return Box::pin(switch(lease, head, handover.upgrade)).await;
    }
    if let Some(value) = head.headers.get(&KEEP_ALIVE)
        && let Some(seconds) = announced_timeout(value.as_bytes())
    {
        lease.pool.learn_announced(seconds);
    }
    Ok(Response::from_parts(head, UpstreamBody::http1(body, lease)))
}

/// The endpoint goes on with another protocol. One that nobody asked for would be somebody else's bytes.
async fn switch(
    mut lease: Lease,
    head: response::Parts,
    upgrade: Option<&Upgrade>,
) -> Result<Response<UpstreamBody>, AttemptError> {
    let agreed = upgrade.is_some_and(|upgrade| upgrade.agreed(&head).is_some());
    let Some(switched) = lease.switched.take().filter(|_| agreed) else {
        return Err(AttemptError::new(Failure::UpstreamProtocol, Class::Protocol));
    };
    let reset = |_| AttemptError::new(Failure::UpstreamReset, Class::Reset);
    let far = switched.await.map_err(reset)?;
    // The connection's task has ended by itself: there is nothing left to cut.
    lease.task.task = None;
    Ok(Response::from_parts(head, UpstreamBody::switched(far)))
}

/// `timeout=N` of a Keep-Alive field (RFC 2068 section 19.7.1.1), in seconds.
fn announced_timeout(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    text.split(',').find_map(|part| {
        let (name, number) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("timeout").then(|| number.trim().parse().ok())?
    })
}

fn classify(error: &hyper::Error, written: bool) -> AttemptError {
    if error.is_user() || error.is_body_write_aborted() {
        return AttemptError::new(Failure::DownstreamGone, Class::Caller);
    }
    if error.is_parse() || error.is_parse_too_large() {
        return AttemptError::new(Failure::UpstreamProtocol, Class::Protocol);
    }
    let class = if written { Class::Reset } else { Class::Unsent };
    AttemptError::new(Failure::UpstreamReset, class)
}

#[cfg(test)]
mod tests {
    use super::announced_timeout;

    #[test]
    fn keep_alive_timeouts_are_read_and_rubbish_is_not() {
        assert_eq!(announced_timeout(b"timeout=5, max=100"), Some(5));
        assert_eq!(announced_timeout(b"max=3, Timeout = 7"), Some(7));
        for rubbish in [&b"timeout"[..], b"timeout=", b"timeout=-1", b"\xff", b"max=3"] {
            assert_eq!(announced_timeout(rubbish), None);
        }
    }
}
