//! HTTP/2 to an endpoint, on the `h2` crate itself: the errors that say a stream never started are visible there, and a
//! request without a body costs no task.
//!
//! A worker shares one connection per endpoint up to the peer's stream limit and opens another beyond it. Requests that
//! arrive while the first connection is being made wait for it instead of making their own.

pub(super) mod extended;
mod shared;
mod upload;
mod windows;

pub(crate) use shared::Shared;

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::pin,
    rc::{Rc, Weak},
    sync::Arc,
    task::Poll,
};

use bytes::Bytes;
use h2::{
    PingPong, Reason,
    client::{Builder, SendRequest},
};
use http::{Request, Response, StatusCode, uri::Scheme};
use http_body::Body;
use tokio::time::Instant;

use super::{
    attempt::{AttemptError, Class, Handover, Plan},
    connect::{Connected, connect, within},
    io::Link,
    limited::{self, Others},
    pool::EndpointPool,
};
use crate::{
    body::{RequestBody, UpstreamBody},
    error::Failure,
    policy::circuit_breaker::{IdleMark, Limits, Permit},
    request::target,
    telemetry::metrics::Metrics,
    worker::Worker,
};
use upload::Upload;
use windows::{Reader, Windows};

/// What one stream may have under way: enough for a fast link, little enough for thousands of streams.
const STREAM_WINDOW: u32 = 256 * 1024;
/// What one connection may have under way: paused readers of a few dozen streams do not stop the others.
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The pool that shares it; none where it is one request's own.
    pool: RefCell<Weak<EndpointPool>>,
    /// Since when others have waited for it.
    pub(super) others: Others,
    /// Says that it is idle, where somebody may ask for it.
    mark: RefCell<Option<IdleMark>>,
    send: RefCell<SendRequest<Bytes>>,
    streams: Cell<usize>,
    ended: Cell<bool>,
    used: Cell<Instant>,
    metrics: Arc<Metrics>,
    generation: u64,
    /// Of a link between sidecars.
    windows: Option<Rc<Windows>>,
    link: Arc<Link>,
    /// What is written into `:scheme`.
    scheme: Scheme,
    /// Asks whether the peer is there; only where a stream is to speak another protocol.
    ping: RefCell<Option<PingPong>>,
}

impl Connection {
    /// Whether it has no stream.
    pub(super) fn is_idle(&self) -> bool {
        self.streams.get() == 0
    }

    /// The generation of our own certificate that was shown on it; 0 where none was.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Says that it is idle.
    pub(super) fn mark_idle(&self, limits: &Arc<Limits>, worker: usize) {
        *self.mark.borrow_mut() = Some(IdleMark::new(limits, worker));
    }

    /// What an attempt that failed comes to: a peer that does not take our certificate has served none of its streams.
    fn failed(&self, error: AttemptError) -> AttemptError {
        match self.link.is_refused() {
            true => AttemptError::new(Failure::TlsFailed, Class::Connect),
            false => error,
        }
    }
}

/// One stream's place on a connection.
#[derive(Debug)]
pub(crate) struct Place(Rc<Connection>, Reader);

impl Place {
    pub(super) fn take(connection: &Rc<Connection>) -> Self {
        connection.streams.set(connection.streams.get() + 1);
        connection.mark.take();
        connection.used.set(Instant::now());
        Self(connection.clone(), Reader::default())
    }

    /// So many bytes of its answer were taken: the window may open again, and further where that goes fast.
    #[inline]
    pub(crate) fn took(&self, bytes: usize) {
        if let Some(windows) = &self.0.windows {
            self.1.took(bytes, windows);
        }
    }

    /// Whether its connection has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.0.ended.get()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
        let pool = self.0.pool.borrow().upgrade();
        if let Some(pool) = pool.filter(|_| !self.0.ended.get()) {
            limited::stream_ended(&self.0, &pool);
        }
    }
}

/// A place on a connection to the endpoint, which is made if there is none with room.
pub(crate) async fn checkout(
    worker: &Rc<Worker>,
    pool: &Rc<EndpointPool>,
    plan: Plan<'_>,
) -> Result<Place, AttemptError> {
    // Seldom: not worth room in every request's future.
    if let Some(limits) = &pool.limits {
        return Box::pin(limited::http2(worker, pool, plan, limits)).await;
    }
    let until = plan.connect.map(|limit| Instant::now() + limit);
    loop {
        if let Some(place) = pool.http2.free(|_| true) {
            return Ok(place);
        }
        if !pool.http2.connection_is_made(until).await? {
            return Box::pin(connected(worker, pool, plan, None)).await;
        }
    }
}

/// A place on a new connection, which others will share.
pub(super) async fn connected(
    worker: &Rc<Worker>,
    pool: &Rc<EndpointPool>,
    plan: Plan<'_>,
    permit: Option<Permit>,
) -> Result<Place, AttemptError> {
    let _flight = pool.http2.takes_off();
    let connection = open(worker, pool, plan, permit).await?;
    let place = Place::take(&connection);
    if pool.limits.is_some() {
        *connection.pool.borrow_mut() = Rc::downgrade(pool);
    }
    // One that was begun before a rotation and made after it serves this request alone.
    if connection.generation == pool.generation() {
        pool.http2.add(connection);
    }
    Ok(place)
}

/// The only place on a connection that nobody else will use, once the peer has told its settings.
pub(crate) async fn alone(
    worker: &Rc<Worker>,
    pool: &Rc<EndpointPool>,
    plan: Plan<'_>,
    permit: Option<Permit>,
) -> Result<Place, AttemptError> {
    let place = Place::take(&open(worker, pool, plan, permit).await?);
    let late = AttemptError::new(Failure::ConnectTimeout, Class::Connect);
    within(worker, plan.connect, extended::settled(&place), late).await?;
    Ok(place)
}

async fn open(
    worker: &Rc<Worker>,
    pool: &Rc<EndpointPool>,
    plan: Plan<'_>,
    permit: Option<Permit>,
) -> Result<Rc<Connection>, AttemptError> {
    let generation = pool.generation();
    let Connected { stream, link, counted } = connect(worker, pool.addr, plan, permit).await?;
    let mut builder = Builder::new();
    builder.initial_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
    let windows = plan.security.is_mesh().then(Windows::new);
    if windows.is_some() {
        windows::settings(&mut builder);
    }
    let (send, mut driver) = builder
        .max_header_list_size(60 * 1024)
        .max_send_buffer_size(64 * 1024)
        // An upstream connection is shared by many callers: their ordinary cancels must not end it.
        .max_local_error_reset_streams(None)
        .max_concurrent_reset_streams(1024)
        .enable_push(false)
        .handshake(stream)
        .await
        .map_err(|_| AttemptError::new(Failure::ConnectFailed, Class::Connect))?;
    let connection = Rc::new(Connection {
        pool: RefCell::default(),
        others: Others::default(),
        mark: RefCell::default(),
        send: RefCell::new(send),
        streams: Cell::new(0),
        ended: Cell::new(false),
        used: Cell::new(Instant::now()),
        metrics: worker.metrics.clone(),
        generation,
        windows: windows.clone(),
        link,
        scheme: plan.security.scheme(),
        ping: RefCell::new(plan.switch.and_then(|_| driver.ping_pong())),
    });
    let ended = Rc::downgrade(&connection);
    tokio::task::spawn_local(async move {
        // Every stream hears of a connection error by itself; here it only ends the connection.
        match windows {
            None => drop(driver.await),
            Some(windows) => windows.drive(driver).await,
        }
        drop(counted);
        if let Some(connection) = ended.upgrade() {
            connection.ended.set(true);
            connection.mark.take();
        }
    });
    Ok(connection)
}

/// Sends one request and waits for the answer's head; what is left of the body goes on in a task of its own.
pub(crate) async fn send(
    place: Place,
    request: Request<RequestBody>,
    handover: Handover<'_>,
) -> Result<Response<UpstreamBody>, AttemptError> {
    let (mut head, body) = request.into_parts();
    // A header filter can write a Host that is no authority.
    target::for_http2(&mut head, &place.0.scheme)
        .map_err(|_| AttemptError::new(Failure::Internal, Class::Caller))?;
    let head = Request::from_parts(head, ());
    let mut sender = place.0.send.borrow().clone();
    if let Err(error) = poll_fn(|cx| sender.poll_ready(cx)).await {
        // The connection is going away and takes no new stream; those it has go on.
        place.0.ended.set(true);
        return Err(place.0.failed(not_started(&error)));
    }
    let end = body.is_end_stream();
    let (answer, stream) = sender.send_request(head, end).map_err(|error| {
        place.0.ended.set(true);
        place.0.failed(not_started(&error))
    })?;
    let mut upload = (!end).then(|| Upload::new(stream, body));
    let mut answer = pin!(answer);
    let answer = poll_fn(|cx| {
        if let Some(active) = &mut upload
            && let Poll::Ready(sent) = active.poll_send(cx)
        {
            upload = None;
            if sent.is_err() {
                return Poll::Ready(Err(AttemptError::new(Failure::DownstreamGone, Class::Caller)));
            }
        }
        while let Poll::Ready(Some(Ok(interim))) = answer.as_mut().poll_informational(cx) {
            match handover.key {
                Some(key) if interim.status() == StatusCode::CONTINUE => key.open(),
                _ => place.0.metrics.informational_dropped(),
            }
        }
        answer.as_mut().poll(cx).map_err(|error| place.0.failed(classify(&error)))
    })
    .await?;
    let rest = upload.map(|mut upload| {
        tokio::task::spawn_local(async move {
            // A body that broke off has reset the stream, which ends the answer too.
            let _ = poll_fn(|cx| upload.poll_send(cx)).await;
        })
        .abort_handle()
    });
    let (head, body) = answer.into_parts();
    Ok(Response::from_parts(head, UpstreamBody::http2(body, place, rest)))
}

/// An error before the stream was opened.
fn not_started(error: &h2::Error) -> AttemptError {
    let class = if error.is_go_away() && error.is_remote() { Class::Refused } else { Class::Unsent };
    AttemptError::new(Failure::UpstreamReset, class)
}

/// An error on an open stream. A GOAWAY reaches only the streams above its last id; a plain I/O error proves nothing.
fn classify(error: &h2::Error) -> AttemptError {
    let refused = error.is_remote() && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM));
    if refused {
        return AttemptError::new(Failure::UpstreamReset, Class::Refused);
    }
    let garbage = !error.is_remote() && !error.is_io() && error.reason().is_some();
    if garbage {
        return AttemptError::new(Failure::UpstreamProtocol, Class::Protocol);
    }
    AttemptError::new(Failure::UpstreamReset, Class::Reset)
}
