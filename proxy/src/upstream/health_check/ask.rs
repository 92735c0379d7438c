//! One check of one endpoint, on a connection of its own.

use std::{io, net::SocketAddr, pin::pin, sync::Arc};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request, StatusCode, Uri, header::HOST, uri::Scheme};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use outrigger_config::model::{AppProtocol, Check, Destination};
use tokio::net::TcpStream;

use super::grpc;
use crate::{
    balance::PinnedPeer,
    telemetry::metrics::CheckOutcome,
    upstream::{
        io::MeteredIo,
        mesh::{self, Told},
        security::{Means, Protection, Security},
        stream::Stream,
    },
};

/// How a server tells checks from requests.
pub(super) const USER_AGENT: &str = "outrigger-health-check";

/// What the endpoints of a Service port are asked.
#[derive(Debug)]
pub(crate) struct Question {
    check: Check,
    /// The authority of requests.
    authority: Box<str>,
    protocol: AppProtocol,
    protection: Protection,
}

/// Why a check failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failed {
    pub(super) outcome: CheckOutcome,
    /// For people.
    pub(super) reason: String,
}

impl Failed {
    pub(super) fn new(outcome: CheckOutcome, reason: impl Into<String>) -> Self {
        Self { outcome, reason: reason.into() }
    }

    pub(super) fn broken(error: &dyn std::fmt::Display) -> Self {
        Self::new(CheckOutcome::Broken, error.to_string())
    }
}

impl Question {
    /// The question of `check` to endpoints of `of` that are reached so.
    pub(super) fn new(
        of: &Destination,
        check: &Check,
        (protocol, protection): &(AppProtocol, Protection),
    ) -> Self {
        let written = match check {
            Check::Http { host, .. } => host.as_deref(),
            Check::Grpc { .. } | Check::Tcp => None,
        };
        let own = || format!("{}.{}", of.name.name, of.name.namespace);
        let served = of.tls.as_ref().map(|tls| tls.server_name.to_string());
        let authority = written.map(str::to_owned).or(served).unwrap_or_else(own).into();
        Self { check: check.clone(), authority, protocol: *protocol, protection: protection.clone() }
    }

    /// Asks; good is `Ok`.
    pub(super) async fn ask(
        &self,
        (address, peer): (SocketAddr, Option<Arc<PinnedPeer>>),
    ) -> Result<(), Failed> {
        let security = self.protection.of(peer.as_ref());
        let stream = self.connect(address, security).await?;
        match (&self.check, security.spoken(self.speaks())) {
            // Who is there has proved it by now, where it has an identity.
            (Check::Tcp, _) => Ok(()),
            (Check::Grpc { service }, _) => self.two(stream, security, Some(grpc::request(service))).await,
            (Check::Http { .. }, AppProtocol::Http2 | AppProtocol::Grpc) => {
                self.two(stream, security, None).await
            }
            (Check::Http { path, statuses, .. }, _) => passes(self.one(stream, path).await?, statuses),
        }
    }

    async fn connect(&self, address: SocketAddr, security: Security<'_>) -> Result<Stream, Failed> {
        let unconnected = |error: io::Error| Failed::new(CheckOutcome::ConnectFailed, error.to_string());
        let socket = TcpStream::connect(address).await.map_err(unconnected)?;
        socket.set_nodelay(true).map_err(unconnected)?;
        let (io, _) = MeteredIo::new(socket);
        let failed = |kind: &str, word: &str| Failed::new(CheckOutcome::TlsFailed, format!("{kind}: {word}"));
        match security {
            Means::Plain(_) => Ok(Stream::Plain(io)),
            Means::Outward(tls) => {
                let secured = tls.handshake(io, self.speaks()).await;
                secured.map(Stream::secured).map_err(|fault| failed("TLS", fault.as_str()))
            }
            Means::Mesh { own, peer } => {
                let protocol = mesh::protocol(None, self.speaks());
                let secured = mesh::handshake(io, address, (own, peer), protocol).await;
                secured.map(Stream::secured).map_err(|fault| failed("mutual TLS", fault.as_str()))
            }
        }
    }

    /// What is spoken on the connection.
    fn speaks(&self) -> AppProtocol {
        match &self.check {
            Check::Tcp => AppProtocol::Tcp,
            Check::Grpc { .. } => AppProtocol::Grpc,
            Check::Http { .. } => self.protocol,
        }
    }

    /// A GET on HTTP/1.1; gives the status.
    async fn one(&self, stream: Stream, path: &str) -> Result<StatusCode, Failed> {
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| Failed::broken(&error))?;
        let request = Request::get(path)
            .header(HOST, &*self.authority)
            .header("user-agent", USER_AGENT)
            .header("connection", "close")
            .body(Empty::<Bytes>::new())
            .map_err(|error| Failed::broken(&error))?;
        let answer = driven(sender.send_request(request), connection).await;
        answer.map(|answer| answer.status()).map_err(|error| Failed::broken(&error))
    }

    /// A GET, or a gRPC call with this message, on HTTP/2.
    async fn two(&self, stream: Stream, security: Security<'_>, call: Option<Bytes>) -> Result<(), Failed> {
        let (sender, connection) =
            h2::client::handshake(stream).await.map_err(|error| Failed::broken(&error))?;
        driven(self.exchange(sender, security, call), connection).await
    }

    async fn exchange(
        &self,
        sender: SendRequest<Bytes>,
        security: Security<'_>,
        call: Option<Bytes>,
    ) -> Result<(), Failed> {
        let broken = |error: h2::Error| Failed::broken(&error);
        let mut sender = sender.ready().await.map_err(broken)?;
        let path = match &self.check {
            Check::Http { path, .. } => path,
            Check::Grpc { .. } | Check::Tcp => grpc::PATH,
        };
        let mut request =
            self.head(path, &security.scheme(), call.is_some()).map_err(|error| Failed::broken(&error))?;
        if security.is_mesh() {
            // The app is asked in the version that it is declared to speak.
            let http1 = matches!((self.speaks(), &call), (AppProtocol::Http1, None));
            Told { version: http1.then_some("HTTP/1.1"), attempt: 0, left: None }
                .write(request.headers_mut());
        }
        let (answer, mut body) = sender.send_request(request, call.is_none()).map_err(broken)?;
        if let Some(message) = call {
            body.send_data(message, true).map_err(broken)?;
        }
        let (head, body) = answer.await.map_err(broken)?.into_parts();
        match &self.check {
            Check::Http { statuses, .. } => passes(head.status, statuses),
            Check::Grpc { .. } | Check::Tcp => grpc::judge(&head, body).await,
        }
    }

    fn head(&self, path: &str, scheme: &Scheme, grpc: bool) -> Result<Request<()>, http::Error> {
        let uri =
            Uri::builder().scheme(scheme.clone()).authority(&*self.authority).path_and_query(path).build()?;
        let mut headers = HeaderMap::new();
        headers.insert("user-agent", http::HeaderValue::from_static(USER_AGENT));
        if grpc {
            headers.insert("content-type", http::HeaderValue::from_static("application/grpc"));
            headers.insert("te", http::HeaderValue::from_static("trailers"));
        }
        let method = if grpc { Method::POST } else { Method::GET };
        let mut request = Request::builder().method(method).uri(uri).body(())?;
        *request.headers_mut() = headers;
        Ok(request)
    }
}

/// The outcome of an exchange while its connection is driven. A connection may end with the answer's last byte: then the
/// answer is there, or the error.
async fn driven<T>(exchange: impl Future<Output = T>, connection: impl Future) -> T {
    let mut exchange = pin!(exchange);
    tokio::select! {
        biased;
        outcome = &mut exchange => outcome,
        _ = connection => exchange.await,
    }
}

fn passes(status: StatusCode, statuses: &[(u16, u16)]) -> Result<(), Failed> {
    let code = status.as_u16();
    match statuses.iter().any(|(first, last)| (*first..=*last).contains(&code)) {
        true => Ok(()),
        false => Err(Failed::new(CheckOutcome::BadAnswer, format!("status {code}"))),
    }
}
