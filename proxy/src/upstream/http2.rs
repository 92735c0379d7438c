//! HTTP/2 to an endpoint, on the `h2` crate itself: the errors that say a stream never started are visible there, and a
//! request without a body costs no task.
//!
//! A worker shares one connection per endpoint up to the peer's stream limit and opens another beyond it. Requests that
//! arrive while the first connection is being made wait for it instead of making their own.

pub(super) mod extended;

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::{
    PingPong, Reason, SendStream,
    client::{Builder, SendRequest},
};
use http::{Request, Response, StatusCode, uri::Scheme};
use http_body::Body;
use tokio::{sync::Notify, time::Instant};

use super::{
    attempt::{AttemptError, Class, Handover, Plan},
    connect::{Connected, connect, within},
    io::Link,
    pool::EndpointPool,
};
use crate::{
    body::{RequestBody, UpstreamBody},
    error::Failure,
    request::target,
    telemetry::metrics::Metrics,
    worker::Worker,
};

/// What one stream may have under way: enough for a fast link, little enough for thousands of streams.
const STREAM_WINDOW: u32 = 256 * 1024;
/// What one connection may have under way: paused readers of a few dozen streams do not stop the others.
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;
/// A connection without streams is closed after this.
const IDLE: Duration = Duration::from_secs(300);

/// The HTTP/2 connections to one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    connections: RefCell<Vec<Rc<Connection>>>,
    connecting: Cell<bool>,
    made: Notify,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    send: RefCell<SendRequest<Bytes>>,
    streams: Cell<usize>,
    ended: Cell<bool>,
    used: Cell<Instant>,
    metrics: Arc<Metrics>,
    link: Arc<Link>,
    /// What is written into `:scheme`.
    scheme: Scheme,
    /// Asks whether the peer is there; only where a stream is to speak another protocol.
    ping: RefCell<Option<PingPong>>,
}

impl Connection {
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
pub(crate) struct Place(Rc<Connection>);

impl Place {
    fn take(connection: &Rc<Connection>) -> Self {
        connection.streams.set(connection.streams.get() + 1);
        connection.used.set(Instant::now());
        Self(connection.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
    }
}

impl Shared {
    fn free(&self) -> Option<Place> {
        let mut connections = self.connections.borrow_mut();
        connections.retain(|connection| !connection.ended.get());
        let free = connections.iter().find(|connection| {
            connection.streams.get() < connection.send.borrow().current_max_send_streams()
        });
        free.map(Place::take)
    }

    /// Whether no connection is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.connections.borrow().is_empty() && !self.connecting.get()
    }

    /// Lets go of connections that have had no stream for long; they end when nobody holds them.
    pub(crate) fn sweep(&self, now: Instant) {
        self.connections.borrow_mut().retain(|connection| {
            let idle = connection.streams.get() == 0 && now.duration_since(connection.used.get()) > IDLE;
            !connection.ended.get() && !idle
        });
    }
}

/// Ends the single flight, however it ends.
struct Flight<'a>(&'a Shared);

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.0.connecting.set(false);
        self.0.made.notify_waiters();
    }
}

/// A place on a connection to the endpoint, which is made if there is none with room.
pub(crate) async fn checkout(
    worker: &Rc<Worker>,
    pool: &Rc<EndpointPool>,
    plan: Plan<'_>,
) -> Result<Place, AttemptError> {
    let shared = &pool.http2;
    let deadline = plan.connect.map(|limit| Instant::now() + limit);
    loop {
        if let Some(place) = shared.free() {
            return Ok(place);
        }
        if !shared.connecting.get() {
            break;
        }
        let mut made = pin!(shared.made.notified());
        made.as_mut().enable();
        made.await;
        if deadline.is_some_and(|at| at <= Instant::now()) {
            return Err(AttemptError::new(Failure::ConnectTimeout, Class::Connect));
        }
    }
    shared.connecting.set(true);
    let _flight = Flight(shared);
    let connection = Box::pin(open(worker, pool, plan)).await?;
    let place = Place::take(&connection);
    shared.connections.borrow_mut().push(connection);
    Ok(place)
}

/// The only place on a connection that nobody else will use, once the peer has told its settings.
pub(crate) async fn alone(
    worker: &Rc<Worker>,
    pool: &Rc<EndpointPool>,
    plan: Plan<'_>,
) -> Result<Place, AttemptError> {
    let place = Place::take(&open(worker, pool, plan).await?);
    let late = AttemptError::new(Failure::ConnectTimeout, Class::Connect);
    within(worker, plan.connect, extended::settled(&place), late).await?;
    Ok(place)
}

async fn open(
    worker: &Rc<Worker>,
    pool: &Rc<EndpointPool>,
    plan: Plan<'_>,
) -> Result<Rc<Connection>, AttemptError> {
    let Connected { stream, link, counted } = connect(worker, pool.addr, plan).await?;
    let (send, mut driver) = Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
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
        send: RefCell::new(send),
        streams: Cell::new(0),
        ended: Cell::new(false),
        used: Cell::new(Instant::now()),
        metrics: worker.metrics.clone(),
        link,
        scheme: if plan.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP },
        ping: RefCell::new(plan.switch.and_then(|_| driver.ping_pong())),
    });
    let ended = Rc::downgrade(&connection);
    tokio::task::spawn_local(async move {
        // Every stream hears of a connection error by itself; here it only ends the connection.
        let _ = driver.await;
        drop(counted);
        if let Some(connection) = ended.upgrade() {
            connection.ended.set(true);
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
    let mut upload = (!end).then(|| Upload { stream, body, chunk: Bytes::new() });
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

/// The caller's body on its way onto the stream.
struct Upload {
    stream: SendStream<Bytes>,
    body: RequestBody,
    chunk: Bytes,
}

/// The caller's body broke off; the stream has been reset.
struct BrokenOff;

impl Upload {
    /// Ready when all is sent, or when the peer wants no more of it.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BrokenOff>> {
        loop {
            if !self.chunk.is_empty() {
                self.stream.reserve_capacity(self.chunk.len());
                let room = match ready!(self.stream.poll_capacity(cx)) {
                    Some(Ok(room)) => room,
                    // Reset or answered early: the answer says which.
                    Some(Err(_)) | None => return Poll::Ready(Ok(())),
                };
                let part = self.chunk.split_to(room.min(self.chunk.len()));
                let last = self.chunk.is_empty() && self.body.is_end_stream();
                if self.stream.send_data(part, last).is_err() || last {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            if let Poll::Ready(reset) = self.stream.poll_reset(cx) {
                // NO_ERROR: the peer has answered without the rest. Others: the answer carries the error.
                let _ = reset;
                return Poll::Ready(Ok(()));
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => {
                    let _ = self.stream.send_data(Bytes::new(), true);
                    return Poll::Ready(Ok(()));
                }
                Some(Err(_)) => {
                    self.stream.send_reset(Reason::CANCEL);
                    return Poll::Ready(Err(BrokenOff));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() && self.body.is_end_stream() => {
                        let _ = self.stream.send_data(data, true);
                        return Poll::Ready(Ok(()));
                    }
                    Ok(data) => self.chunk = data,
                    Err(frame) => {
                        if let Ok(fields) = frame.into_trailers() {
                            let _ = self.stream.send_trailers(fields);
                            return Poll::Ready(Ok(()));
                        }
                    }
                },
            }
        }
    }
}
