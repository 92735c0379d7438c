//! Serves HTTP/1 and HTTP/2 on a caller's connection with hyper, inside our limits.

use std::{
    cell::Cell,
    convert::Infallible,
    future::Future,
    io,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
};

use bytes::BytesMut;
use http::{Request, Response};
use hyper::{
    body::{Body, Incoming},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use outrigger_config::model::Limits;
use tokio::{io::AsyncReadExt, time::Instant};

use super::{
    answer::{self, Caller},
    connection::{CallerIo, Connection, End, Served, closing, drive},
    detect::{Detector, Verdict},
    guard::{Panicked, guard},
    header_watch::{HeaderWatch, Protocol},
    near::{Handover, Near},
    tcp, tls,
};
use crate::{
    body::AnswerBody,
    ctx::Side,
    error::Failure,
    inbound, outbound,
    request::forwarded::PeerAddress,
    telemetry::{metrics::ParseError, record::Arrival},
    upstream::io::Link,
    worker::Worker,
};

/// hyper's read buffer: heads between our limit and this get our 431, larger ones hyper's own.
const HEAD_BUFFER: usize = 96 * 1024;
/// Fields above our limit up to this get our 431.
const HEAD_FIELDS: usize = 160;
/// Flow-control windows towards callers (stream, connection).
const WINDOWS: (u32, u32) = (64 * 1024, 1024 * 1024);
/// The same towards proxies of the mesh, each of which brings many callers. The connection's is the largest there is: all
/// streams together cannot fill it, so a reader that pauses never stops its neighbours, and h2 allows half of it for
/// the overhead of small frames, a paused reader's messages of one byte among them.
const MESH_WINDOWS: (u32, u32) = (256 * 1024, (1 << 31) - 1);
/// Streams that a proxy of the mesh has reset before they were looked at: cancels of its callers, all streams at once.
const MESH_PENDING_RESETS: usize = 1024;

/// Serves one connection to its end.
pub(crate) async fn serve(worker: Rc<Worker>, mut incoming: tcp::Incoming) {
    let now = incoming.arrival.accepted;
    let listener = incoming.arrival.listener.clone();
    let until = now + worker.snapshot().mesh.limits.header_timeout;
    let detected = tokio::select! {
        biased;
        detected = detect(&mut incoming, &worker, until) => detected,
        // Nothing is open yet that could be finished.
        () = closing(&worker, &listener) => Err(io::ErrorKind::UnexpectedEof.into()),
    };
    if let Ok(Verdict::Tls) = &detected
        && (listener.side == Side::Outbound || tls::is_spoken(&worker, &incoming.arrival))
    {
        let dice = worker.dice();
        let Some(nobodys) = Box::pin(tcp::serve_hello(&worker, incoming, now, dice)).await else { return };
        incoming = nobodys;
    }
    serve_as(worker, incoming, detected, now).await;
}

/// Serves one connection of which is known what it speaks, to its end. Its first bytes came after `since`.
pub(crate) async fn serve_as(
    worker: Rc<Worker>,
    incoming: tcp::Incoming,
    detected: io::Result<Verdict>,
    since: Instant,
) {
    let tcp::Incoming { io, link, arrival, read } = incoming;
    let Arrival { listener, peer, authenticated, dialled, .. } = arrival;
    let limits = worker.snapshot().mesh.limits.clone();
    let spoke = detected.as_ref().ok().copied();
    let protocol = match spoke {
        Some(Verdict::Http2) => Protocol::Http2,
        _ => Protocol::Http1,
    };
    let watch = HeaderWatch::new(protocol, since.into_std()).into();
    let connection = Rc::new(Connection {
        worker,
        listener,
        peer,
        authenticated,
        dialled,
        watch,
        address: PeerAddress::new(peer.ip()),
        switched: Handover::default(),
        sending: Handover::default(),
        ending: Cell::new(false),
    });
    let end = match detected {
        Ok(verdict) => {
            let io = CallerIo::new(io, read, connection.clone());
            match verdict {
                Verdict::Http2 => serve_http2(io, &connection, &link, &limits).await,
                _ => serve_http1(io, &connection, &link, &limits).await,
            }
        }
        Err(error) if error.kind() == io::ErrorKind::TimedOut => End::HeaderTimeout,
        Err(_) => End::Reset,
    };
    report(&connection, &end, spoke);
}

/// Reads until the first bytes tell HTTP/2 from HTTP/1, within the header timeout.
async fn detect(incoming: &mut tcp::Incoming, worker: &Worker, until: Instant) -> io::Result<Verdict> {
    let timer = worker.deadlines.at(until);
    let mut detector = Detector::new();
    let mut prefix = BytesMut::with_capacity(4096);
    loop {
        let read = tokio::select! {
            biased;
            read = incoming.io.read_buf(&mut prefix) => read?,
            () = timer.expired() => return Err(io::ErrorKind::TimedOut.into()),
        };
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let from = prefix.len() - read;
        match detector.feed(&prefix[from..]) {
            Verdict::NeedMore => {}
            verdict => {
                incoming.read = prefix.freeze();
                return Ok(verdict);
            }
        }
    }
}

async fn answer(
    connection: Rc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Infallible> {
    connection.watch.borrow_mut().head_complete(request.body().size_hint().exact());
    let caller = Caller::of_request(&request);
    let side = connection.listener.side;
    // On the heap at once: hyper moves the future of a request several times before it is polled.
    let mut served = Box::pin(async {
        match side {
            Side::Inbound => inbound::serve(connection, request).await,
            Side::Outbound => outbound::serve(connection, request).await,
        }
    });
    Ok(guard(served.as_mut()).await.unwrap_or_else(|Panicked| {
        let (head, body) = answer::answer(Failure::Internal, caller).into_parts();
        Response::from_parts(head, AnswerBody::fixed((!body.is_empty()).then_some(body), None))
    }))
}

async fn serve_http1(io: CallerIo, connection: &Rc<Connection>, link: &Arc<Link>, limits: &Limits) -> End {
    let service = service_fn(|request| answer(connection.clone(), request));
    let mut served = http1::Builder::new()
        .half_close(true)
        .header_read_timeout(None)
        .auto_date_header(false)
        .max_headers(HEAD_FIELDS)
        .max_buf_size(HEAD_BUFFER)
        .serve_connection(TokioIo::new(io), service);
    let end = drive(Pin::new(&mut served), connection, link, limits).await;
    // Taken in any case: it holds the connection that holds it.
    let switched = connection.switched.take();
    if let (Some(waiting), End::Served(Ok(()))) = (switched, &end) {
        let parts = served.into_parts();
        let (io, unread) = parts.io.into_inner().into_parts();
        let said = if unread.is_empty() { parts.read_buf } else { [parts.read_buf, unread].concat().into() };
        Box::pin(waiting.join(Near::Socket(io), Some(link.clone()), said)).await;
    }
    end
}

async fn serve_http2(io: CallerIo, connection: &Rc<Connection>, link: &Arc<Link>, limits: &Limits) -> End {
    // Streams are tasks of their own and outlive this borrow.
    let shared = connection.clone();
    let service = service_fn(move |request| answer(shared.clone(), request));
    let mut builder = http2::Builder::new(StreamExec(connection.clone()));
    let windows = match connection.authenticated {
        None => WINDOWS,
        Some(_) => {
            // Counted over the life of the connection, which is that of the proxies: ordinary cancels must not end it.
            builder.max_local_error_reset_streams(None).max_pending_accept_reset_streams(MESH_PENDING_RESETS);
            MESH_WINDOWS
        }
    };
    let served = builder
        .auto_date_header(false)
        .enable_connect_protocol()
        .max_concurrent_streams(limits.max_concurrent_streams)
        .initial_stream_window_size(windows.0)
        .initial_connection_window_size(windows.1)
        .max_header_list_size(HEAD_BUFFER as u32)
        .max_send_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(io), service);
    drive(pin!(served), connection, link, limits).await
}

/// Spawns the tasks of HTTP/2 streams on the worker's own thread.
#[derive(Clone, Debug)]
struct StreamExec(Rc<Connection>);

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for StreamExec {
    fn execute(&self, future: F) {
        match self.0.sending.take() {
            None => drop(tokio::task::spawn_local(future)),
            Some(task) => task.spawn(future),
        }
    }
}

impl<I, S, B> Served for http1::Connection<I, S>
where
    S: hyper::service::HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin + 'static,
    B: http_body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I, S, B, E> Served for http2::Connection<I, S, E>
where
    S: hyper::service::HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    B: http_body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    E: hyper::rt::bounds::Http2ServerConnExec<S::Future, B>,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// One log line and one count for a connection that ended because its bytes could not be read.
fn report(connection: &Connection, end: &End, spoke: Option<Verdict>) {
    let Some(reason) = unreadable(end, spoke) else { return };
    connection.worker.metrics.parse_error(reason);
    tracing::info!(
        listener = %connection.listener.bound,
        peer = %connection.peer,
        reason = reason.as_str(),
        "connection closed: no request could be read"
    );
}

/// What was wrong with the caller's bytes, if that is what ended the connection.
fn unreadable(end: &End, spoke: Option<Verdict>) -> Option<ParseError> {
    let error = match end {
        End::Served(Err(error)) => error,
        End::HeaderTimeout => return Some(ParseError::HeaderTimeout),
        End::Served(Ok(())) | End::Reset => return None,
    };
    match spoke {
        Some(Verdict::Tls | Verdict::Unknown) => Some(ParseError::NotHttp),
        Some(Verdict::Http2) => broke_http2(error).then_some(ParseError::Http2),
        _ if error.is_parse_too_large() => Some(ParseError::HeadTooLarge),
        _ if error.is_parse() => Some(ParseError::Malformed),
        _ if error.is_incomplete_message() => Some(ParseError::Incomplete),
        _ => None,
    }
}

/// Whether we ended the connection for a breach of HTTP/2, and not the caller or the network.
fn broke_http2(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
    source.is_some_and(h2::Error::is_library)
}
