//! The admin API: what the proxy is doing, for people and probes, and the few things that they may tell it.
//!
//! Served on the background runtime, so a worker that is busy never delays a probe and a probe never delays a request.
//! What changes something is POST only, and a browser may send it only from this API's own page: another page that is
//! open in the same browser must not be able to end the proxy.

mod answer;
pub mod certs;
mod config_dump;
mod page;
pub mod services;

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tower::{Service, ServiceBuilder};
use tower_http::{catch_panic::CatchPanicLayer, limit::RequestBodyLimitLayer, timeout::TimeoutLayer};

use self::{certs::CertsView, services::ServiceView};
use crate::{
    runtime::status::{Asked, Status},
    telemetry::{logging::LogLevel, metrics::Metrics},
};

/// An answer is made within this, or 504.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Nothing here needs a body.
const BODY_BYTES: usize = 64 * 1024;
/// A head must be complete within this; idle connections end with it too.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Open connections; more wait in the backlog, so probes cannot eat the data path's descriptors.
const CONNECTIONS: usize = 64;
/// Pause after `accept` failed, most likely for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the admin API reads and tells.
pub struct AdminState {
    /// The proxy's status.
    pub status: Arc<Status>,
    /// The proxy's metrics.
    pub metrics: Arc<Metrics>,
    /// The log's level; `None` where the log belongs to somebody else.
    pub log_level: Option<LogLevel>,
    /// The destinations as they are now; asked once per request to `/services`.
    pub services: Box<dyn Fn() -> Vec<ServiceView> + Send + Sync>,
    /// Who the proxy is now; asked once per request to `/certs`.
    pub certs: Box<dyn Fn() -> CertsView + Send + Sync>,
}

impl std::fmt::Debug for AdminState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdminState").field("status", &self.status).finish_non_exhaustive()
    }
}

/// The admin API's listener.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
}

impl Admin {
    /// Listens. Must be called on the runtime that will serve.
    ///
    /// # Errors
    /// If the address cannot be had.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await? })
    }

    /// Serves on a socket that is bound already and does not block. Must be called on the runtime that will serve.
    ///
    /// # Errors
    /// If the runtime cannot take the socket.
    pub fn new(socket: std::net::TcpListener) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::from_std(socket)? })
    }

    /// The address that it got.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until it is dropped.
    pub async fn serve(self, state: Arc<AdminState>) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(permit) = permits.clone().acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let serving = serve_connection(stream, state.clone());
                    tokio::spawn(async move {
                        serving.await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the admin API cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, state: Arc<AdminState>) {
    let mut server = hyper::server::conn::http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let connection = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service(state)));
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection to the admin API broke");
    }
}

/// The whole API as a service: limits around, [`answer`] inside.
fn service<B: http_body::Body + Send + 'static>(
    state: Arc<AdminState>,
) -> impl Service<
    Request<B>,
    Response = Response<impl http_body::Body<Data = Bytes, Error: Into<tower::BoxError>>>,
    Error = Infallible,
    Future: Send,
> + Clone {
    ServiceBuilder::new()
        .layer(CatchPanicLayer::new())
        .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, ANSWER_TIMEOUT))
        .layer(RequestBodyLimitLayer::new(BODY_BYTES))
        .service_fn(move |request: Request<_>| {
            let state = state.clone();
            async move { Ok::<_, Infallible>(respond(&state, request)) }
        })
}

/// What a path is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    Page,
    Ready,
    Live,
    Metrics,
    ConfigDump,
    Services,
    Certs,
    Logging,
    Drain,
    Quit,
}

/// Every path, what it is for, and what it does, in the words of the page.
const ROOMS: [(&str, Room, &str); 10] = [
    ("/", Room::Page, "this page"),
    ("/ready", Room::Ready, "200 when the proxy serves; 503 with the reason when it does not"),
    ("/live", Room::Live, "200 while the process works"),
    ("/metrics", Room::Metrics, "Prometheus metrics"),
    ("/config_dump", Room::ConfigDump, "the policy in use, and why the last change was refused"),
    ("/services", Room::Services, "destinations with their endpoints now; ?o=table for people"),
    ("/certs", Room::Certs, "who this proxy is to other sidecars, until when, and whom it believes"),
    ("/logging", Room::Logging, "POST ?level=info|debug|target=level: changes the log level; GET shows it"),
    ("/drain", Room::Drain, "POST: not ready from now on, then an orderly end"),
    ("/quit", Room::Quit, "POST: an orderly end at once"),
];

impl Room {
    /// The methods that it knows, as `allow` lists them.
    fn allow(self) -> &'static str {
        match self {
            Room::Drain | Room::Quit => "POST",
            Room::Logging => "GET, HEAD, POST",
            _ => "GET, HEAD",
        }
    }
}

fn respond<B>(state: &AdminState, request: Request<B>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let Some((_, room, _)) = ROOMS.iter().find(|(known, ..)| *known == path) else {
        let known: Vec<&str> = ROOMS.iter().map(|(path, ..)| *path).collect();
        return answer::error(StatusCode::NOT_FOUND, &format!("no such path; there is {}", known.join(", ")));
    };
    let method = request.method();
    if !room.allow().split(", ").any(|allowed| allowed == method.as_str()) {
        return answer::method_not_allowed(room.allow());
    }
    let posted = method == Method::POST;
    if posted && !is_own_page_or_no_browser(request.headers()) {
        return answer::error(
            StatusCode::FORBIDDEN,
            "a page of another origin must not tell this proxy anything",
        );
    }
    let query = request.uri().query().unwrap_or_default();
    match room {
        Room::Page => answer::html(page::render(state)),
        Room::Ready => match state.status.not_ready() {
            None => answer::text(StatusCode::OK, "ready\n"),
            Some(reason) => answer::text(StatusCode::SERVICE_UNAVAILABLE, &format!("not ready: {reason}\n")),
        },
        Room::Live => answer::text(StatusCode::OK, "live\n"),
        Room::Metrics => answer::typed(Metrics::CONTENT_TYPE, state.metrics.render()),
        Room::ConfigDump => answer::json(StatusCode::OK, &config_dump::dump(&state.status)),
        Room::Services => services::answer(&(state.services)(), query),
        Room::Certs => answer::json(StatusCode::OK, &(state.certs)()),
        Room::Logging if posted => set_level(state, query),
        Room::Logging => answer::json(StatusCode::OK, &serde_json::json!({"level": level(state)})),
        Room::Drain => end(&state.status, Asked::Drain),
        Room::Quit => end(&state.status, Asked::Quit),
    }
}

/// Browsers name the page that a POST comes from in `Origin`; other clients send none. The page must be this one, and
/// reached by address or as localhost: a foreign name may have been pointed here on purpose (DNS rebinding).
fn is_own_page_or_no_browser(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let text = |value: &http::HeaderValue| value.to_str().ok().map(str::to_owned);
    let (Some(origin), Some(host)) = (text(origin), headers.get(header::HOST).and_then(text)) else {
        return false;
    };
    let Ok(authority) = host.parse::<http::uri::Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    let unforgeable = name == "localhost" || name.parse::<std::net::IpAddr>().is_ok();
    unforgeable && origin.split_once("://").is_some_and(|(_, page)| page == host)
}

fn level(state: &AdminState) -> Option<String> {
    state.log_level.as_ref().map(LogLevel::get)
}

fn set_level(state: &AdminState, query: &str) -> Response<Full<Bytes>> {
    let Some(log_level) = &state.log_level else {
        return answer::error(StatusCode::CONFLICT, "the log of this process cannot be changed from here");
    };
    let Some(level) = parameter(query, "level") else {
        return answer::error(StatusCode::BAD_REQUEST, "say which level: /logging?level=debug");
    };
    match log_level.set(&level) {
        Ok(()) => {
            tracing::info!(level, "log level changed");
            answer::json(StatusCode::OK, &serde_json::json!({"level": log_level.get()}))
        }
        Err(error) => answer::error(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

fn end(status: &Status, what: Asked) -> Response<Full<Bytes>> {
    status.ask(what);
    answer::json(StatusCode::ACCEPTED, &serde_json::json!({"ending": true}))
}

/// The first parameter of that name in a query, percent-decoded.
fn parameter(query: &str, name: &str) -> Option<String> {
    let value = query.split('&').find_map(|pair| match pair.split_once('=') {
        Some((key, value)) => (key == name).then_some(value),
        None => (pair == name).then_some(""),
    })?;
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let code = tail.get(..2).and_then(|code| std::str::from_utf8(code).ok());
        let decoded = code.filter(|_| *first == b'%').and_then(|code| u8::from_str_radix(code, 16).ok());
        match decoded {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(if *first == b'+' { b' ' } else { *first });
                rest = tail;
            }
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests;
