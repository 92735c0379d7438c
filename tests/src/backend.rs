//! A service behind the proxy: an HTTP/1.1 or HTTP/2 server that answers what it saw, or whatever a test tells it.
//!
//! Every answer comes from one function of the request's head ([`Backend::answer`]), which a test may replace while
//! requests run. The default answer is JSON: `{backend, method, path, authority, version, headers, bodyBytes}`.
//! Every request that came is kept ([`Backend::seen`]), so that a test can count what the proxy really sent.

mod answer;
mod wire;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

pub use answer::{Answer, AnswerBody, Fault};
use wire::{Kill, Wire};

use crate::wait::within;

/// What a backend speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

/// A request as a backend saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// How many requests came before this one.
    pub index: usize,
    /// How many connections came before the one that it came on.
    pub connection: usize,
    /// `GET`.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Host header or `:authority`.
    pub authority: String,
    /// `HTTP/1.1`.
    pub version: String,
    /// The headers.
    pub headers: HeaderMap,
    /// Bytes of the body; 0 until it was read to its end.
    pub body_bytes: u64,
    /// The trailers; empty until the body was read to its end.
    pub trailers: HeaderMap,
    /// Whether the body was read to its end.
    pub complete: bool,
}

impl Seen {
    /// The first value of a header, `""` where it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

type Handler = Arc<dyn Fn(&Seen) -> Answer + Send + Sync>;

struct Shared {
    name: String,
    handler: Mutex<Handler>,
    seen: Mutex<Vec<Seen>>,
    /// Requests are counted and not kept.
    forgets: AtomicBool,
    counts: watch::Sender<Counts>,
    /// Bumped to make all open connections end: gracefully, or by a reset.
    end: watch::Sender<End>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    requests: usize,
    connections: usize,
    open: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct End {
    graceful: u32,
    reset: u32,
}

/// A running backend. Dropping it closes its listener and all of its connections.
pub struct Backend {
    address: SocketAddr,
    shared: Arc<Shared>,
    accept: JoinHandle<()>,
}

impl Backend {
    /// An HTTP/1.1 backend on a free port; its answers bear `x-backend: NAME`.
    pub async fn http1(name: &str) -> Self {
        Self::at("127.0.0.1:0".parse().expect("an address"), Speaks::Http1, name).await
    }

    /// An HTTP/2 backend on a free port; its answers bear `x-backend: NAME`.
    pub async fn http2(name: &str) -> Self {
        Self::at("127.0.0.1:0".parse().expect("an address"), Speaks::Http2, name).await
    }

    /// A backend on a given address: one that comes back where another was.
    ///
    /// # Panics
    /// When the address is taken.
    pub async fn at(address: SocketAddr, speaks: Speaks, name: &str) -> Self {
        let listener = TcpListener::bind(address)
            .await
            .unwrap_or_else(|error| panic!("backend {name} cannot listen on {address}: {error}"));
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            handler: Mutex::new(Arc::new(|_| Answer::describe())),
            seen: Mutex::default(),
            forgets: AtomicBool::new(false),
            counts: watch::Sender::default(),
            end: watch::Sender::default(),
        });
        let accept = tokio::spawn(accept(listener, speaks, shared.clone()));
        Self { address, shared, accept }
    }

    /// Its name, which its answers bear as `x-backend`.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on every request is answered by `handler`, which sees the head (the body is yet to come).
    pub fn answer(&self, handler: impl Fn(&Seen) -> Answer + Send + Sync + 'static) {
        *self.shared.handler.lock().expect("no test panics while it holds this") = Arc::new(handler);
    }

    /// From now on requests are counted and no longer kept: for tests that measure memory.
    pub fn forget(&self) {
        self.shared.forgets.store(true, Ordering::Relaxed);
    }

    /// Every request so far, in order of arrival.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().expect("no test panics while it holds this").clone()
    }

    /// The newest request.
    ///
    /// # Panics
    /// When there was none.
    pub fn last(&self) -> Seen {
        self.seen().pop().unwrap_or_else(|| panic!("backend {} saw no request", self.shared.name))
    }

    /// Requests so far.
    pub fn requests(&self) -> usize {
        self.shared.counts.borrow().requests
    }

    /// Requests so far whose path, without query, is `path`.
    pub fn requests_to(&self, path: &str) -> usize {
        self.seen().iter().filter(|seen| seen.path.split('?').next() == Some(path)).count()
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.counts.borrow().connections
    }

    /// Connections that are open now.
    pub fn open_connections(&self) -> usize {
        self.shared.counts.borrow().open
    }

    /// Waits until at least `n` requests have come.
    pub async fn wait_requests(&self, n: usize) {
        self.wait(&format!("{n} requests"), |counts| counts.requests >= n).await;
    }

    /// Waits until exactly `n` connections are open.
    pub async fn wait_open_connections(&self, n: usize) {
        self.wait(&format!("{n} open connections"), |counts| counts.open == n).await;
    }

    async fn wait(&self, what: &str, holds: impl Fn(&Counts) -> bool) {
        let mut counts = self.shared.counts.subscribe();
        let what = format!("{what} at backend {} (it has {:?})", self.shared.name, *counts.borrow());
        let _ = within(&what, counts.wait_for(holds)).await;
    }

    /// Ends every open connection as a server that shuts down does: GOAWAY, or `connection: close` on the answer.
    pub fn go_away(&self) {
        self.shared.end.send_modify(|end| end.graceful += 1);
    }

    /// Resets every open connection.
    pub fn reset_all(&self) {
        self.shared.end.send_modify(|end| end.reset += 1);
    }

    /// Closes the listener and resets what is open: from now on connections to [`Backend::address`] are refused.
    pub async fn stop(&mut self) {
        self.accept.abort();
        // The listener is gone once the task has ended; how it ended does not matter.
        let _ = (&mut self.accept).await;
        self.reset_all();
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.accept.abort();
        self.reset_all();
    }
}

async fn accept(listener: TcpListener, speaks: Speaks, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let connection = shared.counts.borrow().connections;
        shared.counts.send_modify(|counts| {
            counts.connections += 1;
            counts.open += 1;
        });
        let shared = shared.clone();
        tokio::spawn(async move {
            serve((stream, connection), speaks, shared.clone()).await;
            shared.counts.send_modify(|counts| counts.open -= 1);
        });
    }
}

/// Serves one connection until it ends, or until the test or an answer kills it.
async fn serve((stream, connection): (TcpStream, usize), speaks: Speaks, shared: Arc<Shared>) {
    // A socket whose peer is already gone refuses the option; serving then ends by itself.
    let _ = stream.set_nodelay(true);
    let kill = Kill::default();
    let io = TokioIo::new(Wire::new(stream, kill.clone()));
    let mut end = shared.end.subscribe();
    let before = *end.borrow_and_update();
    let mut graceful = end.clone();
    let service = service_fn({
        let kill = kill.clone();
        move |request| respond(request, connection, shared.clone(), kill.clone())
    });
    let reset_all = async {
        // The sender lives in `shared`, which the service holds.
        let _ = end.wait_for(|end| end.reset != before.reset).await;
    };
    let go_away = async {
        let _ = graceful.wait_for(|end| end.graceful != before.graceful).await;
    };
    let resets = async {
        tokio::select! {
            () = reset_all => kill.reset(),
            () = kill.killed() => {}
        }
    };
    macro_rules! drive {
        ($connection:expr) => {{
            let mut connection = std::pin::pin!($connection);
            let mut resets = std::pin::pin!(resets);
            tokio::select! {
                _ = &mut connection => {}
                () = &mut resets => {}
                () = go_away => {
                    connection.as_mut().graceful_shutdown();
                    tokio::select! { _ = &mut connection => {} () = &mut resets => {} }
                }
            }
        }};
    }
    match speaks {
        Speaks::Http1 => {
            let mut http = http1::Builder::new();
            drive!(http.timer(TokioTimer::new()).serve_connection(io, service).with_upgrades())
        }
        Speaks::Http2 => {
            let mut http = http2::Builder::new(TokioExecutor::new());
            drive!(http.timer(TokioTimer::new()).max_concurrent_streams(1000).serve_connection(io, service))
        }
    }
}

async fn respond(
    request: Request<Incoming>,
    connection: usize,
    shared: Arc<Shared>,
    kill: Kill,
) -> Result<Response<AnswerBody>, h2::Error> {
    let (head, body) = request.into_parts();
    let seen = note(&head, connection, &shared);
    let handler = shared.handler.lock().expect("no test panics while it holds this").clone();
    let answer = handler(&seen);
    answer.hold().await;
    if let Some(fault) = answer.fault() {
        return Err(fault.strike(&kill).await);
    }
    let (body_bytes, rest) =
        if answer.reads_body() { (read(body, &shared, seen.index).await, None) } else { (0, Some(body)) };
    let mut response = answer.build(&shared.name, &Seen { body_bytes, ..seen }, rest, kill);
    response.headers_mut().insert("x-backend", shared.name.parse().expect("a name that a header can carry"));
    Ok(response)
}

fn note(head: &http::request::Parts, connection: usize, shared: &Shared) -> Seen {
    let host = head.headers.get("host").and_then(|host| host.to_str().ok());
    let authority = head.uri.authority().map(|authority| authority.as_str()).or(host);
    let mut all = shared.seen.lock().expect("no test panics while it holds this");
    let seen = Seen {
        index: shared.counts.borrow().requests,
        connection,
        method: head.method.to_string(),
        path: head.uri.path_and_query().map_or("*", |path| path.as_str()).to_owned(),
        authority: authority.unwrap_or_default().to_owned(),
        version: format!("{:?}", head.version),
        headers: head.headers.clone(),
        body_bytes: 0,
        trailers: HeaderMap::new(),
        complete: false,
    };
    if !shared.forgets.load(Ordering::Relaxed) {
        all.push(seen.clone());
    }
    shared.counts.send_modify(|counts| counts.requests += 1);
    seen
}

/// Reads the body to its end and notes its length and trailers; a body that is cut off stays incomplete.
async fn read(mut body: Incoming, shared: &Shared, index: usize) -> u64 {
    let mut bytes = 0;
    let mut trailers = HeaderMap::new();
    while let Some(frame) = body.frame().await {
        match frame.map(|frame| frame.into_data().map_err(|frame| frame.into_trailers())) {
            Ok(Ok(data)) => bytes += Bytes::len(&data) as u64,
            Ok(Err(Ok(fields))) => trailers = fields,
            Ok(Err(Err(_))) => {}
            Err(_) => return bytes,
        }
    }
    let mut all = shared.seen.lock().expect("no test panics while it holds this");
    if let Some(seen) = all.get_mut(index) {
        (seen.body_bytes, seen.trailers, seen.complete) = (bytes, trailers, true);
    }
    bytes
}

#[cfg(test)]
mod tests;
