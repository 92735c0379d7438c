//! HTTP/1 and gRPC clients of the toy services and of the load: plain, without retries, so that what they see is what
//! the sidecars gave them.

use std::{fmt, net::SocketAddr};

use bytes::{Buf, Bytes};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::net::TcpStream;

/// An answer, whole.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    /// The first value of a header, `""` where it is absent.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// A request that got no whole answer.
#[derive(Debug)]
pub(super) enum ClientError {
    /// Nothing listens, or the connection was refused.
    Connect(std::io::Error),
    /// The connection ended, or the peer spoke garbage.
    Http(hyper::Error),
    /// A gRPC status other than 0, as `grpc-status` had it.
    Grpc(String),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => write!(f, "cannot connect: {error}"),
            Self::Http(error) => write!(f, "{error}"),
            Self::Grpc(status) => write!(f, "grpc-status {status}"),
        }
    }
}

impl From<hyper::Error> for ClientError {
    fn from(error: hyper::Error) -> Self {
        Self::Http(error)
    }
}

/// HTTP/1.1 to one address, with one authority; connections are kept.
pub(super) struct Http1 {
    to: SocketAddr,
    authority: &'static str,
    idle: Mutex<Vec<http1::SendRequest<Full<Bytes>>>>,
}

impl Http1 {
    pub(super) fn new(to: SocketAddr, authority: &'static str) -> Self {
        Self { to, authority, idle: Mutex::default() }
    }

    /// GET `path`.
    pub(super) async fn get(&self, path: &str) -> Result<Answer, ClientError> {
        self.call("GET", path).await
    }

    /// A request without a body.
    pub(super) async fn call(&self, method: &str, path: &str) -> Result<Answer, ClientError> {
        let mut sender = self.connection().await?;
        let request = Request::builder().method(method).uri(path).header("host", self.authority);
        let request = request.body(Full::default()).expect("methods and paths here are constants");
        let response = sender.send_request(request).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        // The sender is ready again once its connection has seen the end of the answer.
        if sender.ready().await.is_ok() {
            self.idle.lock().push(sender);
        }
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    async fn connection(&self) -> Result<http1::SendRequest<Full<Bytes>>, ClientError> {
        while let Some(sender) = self.pop() {
            if sender.is_ready() {
                return Ok(sender);
            }
        }
        let stream = TcpStream::connect(self.to).await.map_err(ClientError::Connect)?;
        stream.set_nodelay(true).map_err(ClientError::Connect)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    fn pop(&self) -> Option<http1::SendRequest<Full<Bytes>>> {
        self.idle.lock().pop()
    }
}

/// gRPC to one address, with one authority, on one HTTP/2 connection that is made anew when it ends.
pub(super) struct Grpc {
    to: SocketAddr,
    authority: &'static str,
    connection: tokio::sync::Mutex<Option<http2::SendRequest<Full<Bytes>>>>,
}

impl Grpc {
    pub(super) fn new(to: SocketAddr, authority: &'static str) -> Self {
        Self { to, authority, connection: tokio::sync::Mutex::default() }
    }

    /// A unary call; gives the one message of the answer and the answer's headers.
    pub(super) async fn unary(
        &self,
        method: &str,
        message: &[u8],
    ) -> Result<(Bytes, HeaderMap), ClientError> {
        let (head, body) = self.open(method, message).await?.into_parts();
        let body = body.collect().await?;
        let status = body.trailers().and_then(|trailers| trailers.get("grpc-status"));
        let status = status.or(head.headers.get("grpc-status")).map(|status| status.as_bytes().to_vec());
        match status.as_deref() {
            Some(b"0") => {}
            Some(other) => return Err(ClientError::Grpc(String::from_utf8_lossy(other).into_owned())),
            None => return Err(ClientError::Grpc(format!("missing, HTTP {}", head.status))),
        }
        let mut message = body.to_bytes();
        // One message: 1 byte of flags, 4 bytes of length.
        message.advance(message.len().min(5));
        Ok((message, head.headers))
    }

    /// Opens a call with one message; the answer's body is still to come.
    pub(super) async fn open(&self, method: &str, message: &[u8]) -> Result<Response<Incoming>, ClientError> {
        let request = Request::post(format!("http://{}{method}", self.authority))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(super::service::grpc_message(message)))
            .expect("authorities and methods here are constants");
        let mut sender = self.sender().await?;
        sender.ready().await?;
        Ok(sender.send_request(request).await?)
    }

    async fn sender(&self) -> Result<http2::SendRequest<Full<Bytes>>, ClientError> {
        let mut connection = self.connection.lock().await;
        if let Some(sender) = connection.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let stream = TcpStream::connect(self.to).await.map_err(ClientError::Connect)?;
        stream.set_nodelay(true).map_err(ClientError::Connect)?;
        let (sender, task) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(task);
        *connection = Some(sender.clone());
        Ok(sender)
    }
}
