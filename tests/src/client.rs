//! HTTP/1 and HTTP/2 clients on one connection each, for talking to a proxy as an app or a peer would.
//!
//! They add nothing to a request: what the test writes is what goes out, so a missing Host stays missing.

use std::{
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{
    body::{Body, Frame, Incoming},
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, sync::mpsc};

use crate::wait::within;

/// What a request's body is made of.
pub type RequestBody = BoxBody<Bytes, std::io::Error>;

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its whole body.
    pub body: Bytes,
    /// Its trailers; empty where there are none.
    pub trailers: HeaderMap,
}

impl Answer {
    /// The body as text, with replacement characters where it is none.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in the answer {} {}", self.status, self.text()))
    }

    /// The first value of a header, `""` where it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Reads an answer to its end; an error where it is cut off.
    pub async fn read(response: Response<Incoming>) -> Result<Self, hyper::Error> {
        let (head, body) = response.into_parts();
        let body = body.collect().await?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        let mut bytes = body.aggregate();
        let body = bytes.copy_to_bytes(bytes.remaining());
        Ok(Self { status: head.status, headers: head.headers, body, trailers })
    }
}

/// One connection. Dropping it closes the connection.
pub struct Client {
    sender: Sender,
    authority: String,
}

enum Sender {
    Http1(http1::SendRequest<RequestBody>),
    Http2(http2::SendRequest<RequestBody>),
}

impl Client {
    /// Connects with HTTP/1.1; `authority` is the Host of requests built by [`Client::get`] and [`Client::post`].
    pub async fn http1(to: SocketAddr, authority: &str) -> Self {
        let (sender, connection) = http1::Builder::new()
            .preserve_header_case(true)
            .handshake(connect(to).await)
            .await
            .expect("an HTTP/1 handshake sends nothing");
        tokio::spawn(connection.with_upgrades());
        Self { sender: Sender::Http1(sender), authority: authority.to_owned() }
    }

    /// Connects with HTTP/2 prior knowledge; `authority` is the `:authority` of requests built by [`Client::get`] and
    /// [`Client::post`].
    pub async fn http2(to: SocketAddr, authority: &str) -> Self {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .handshake(connect(to).await)
            .await
            .unwrap_or_else(|error| panic!("no HTTP/2 at {to}: {error}"));
        tokio::spawn(connection);
        Self { sender: Sender::Http2(sender), authority: authority.to_owned() }
    }

    /// GET `path`, read to the end.
    ///
    /// # Panics
    /// When there is no whole answer.
    pub async fn get(&mut self, path: &str) -> Answer {
        let request = self.request("GET", path, Bytes::new());
        self.call(request).await.unwrap_or_else(|error| panic!("GET {path}: {error:?}"))
    }

    /// POST `body` to `path`, read to the end.
    ///
    /// # Panics
    /// When there is no whole answer.
    pub async fn post(&mut self, path: &str, body: impl Into<Bytes>) -> Answer {
        let request = self.request("POST", path, body.into());
        self.call(request).await.unwrap_or_else(|error| panic!("POST {path}: {error:?}"))
    }

    /// A request in this connection's version, with its authority; headers may be added before it is sent.
    pub fn request(&self, method: &str, path: &str, body: impl Into<Bytes>) -> Request<RequestBody> {
        let request = Request::builder().method(method);
        let request = match self.sender {
            Sender::Http1(_) => request.uri(path).header("host", &self.authority),
            Sender::Http2(_) => {
                let uri = Uri::builder().scheme("http").authority(self.authority.as_str());
                request.uri(uri.path_and_query(path).build().expect("a path and an authority make a URI"))
            }
        };
        request.body(full(body)).expect("the test wrote a valid request")
    }

    /// Sends a request and reads the answer to its end, bounded.
    pub async fn call<B>(&mut self, request: Request<B>) -> Result<Answer, hyper::Error>
    where
        B: Body<Data = Bytes, Error = std::io::Error> + Send + Sync + 'static,
    {
        within("an answer", async { Answer::read(self.send(request).await?).await }).await
    }

    /// Sends a request; the answer's body is still to be read.
    pub async fn send<B>(&mut self, request: Request<B>) -> Result<Response<Incoming>, hyper::Error>
    where
        B: Body<Data = Bytes, Error = std::io::Error> + Send + Sync + 'static,
    {
        let request = request.map(BodyExt::boxed);
        match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }

    /// A second handle on an HTTP/2 connection, for requests side by side.
    ///
    /// # Panics
    /// On HTTP/1, which carries one request at a time.
    pub fn share(&self) -> Self {
        match &self.sender {
            Sender::Http1(_) => panic!("HTTP/1 carries one request at a time"),
            Sender::Http2(sender) => {
                Self { sender: Sender::Http2(sender.clone()), authority: self.authority.clone() }
            }
        }
    }

    /// Whether the peer has closed the connection.
    pub fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => sender.is_closed(),
            Sender::Http2(sender) => sender.is_closed(),
        }
    }
}

/// GET on a connection of its own, HTTP/1.1, Host as the address.
///
/// # Panics
/// When there is no whole answer.
pub async fn get(to: SocketAddr, path: &str) -> Answer {
    Client::http1(to, &to.to_string()).await.get(path).await
}

/// POST without a body on a connection of its own, HTTP/1.1, Host as the address.
///
/// # Panics
/// When there is no whole answer.
pub async fn post(to: SocketAddr, path: &str) -> Answer {
    Client::http1(to, &to.to_string()).await.post(path, Bytes::new()).await
}

/// A body that a test feeds frame by frame; it ends when the sender is dropped.
pub fn fed() -> (mpsc::Sender<Frame<Bytes>>, Fed) {
    let (feed, frames) = mpsc::channel(1);
    (feed, Fed(frames))
}

/// See [`fed`].
pub struct Fed(mpsc::Receiver<Frame<Bytes>>);

impl Body for Fed {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

/// A body that is there at once.
pub fn full(bytes: impl Into<Bytes>) -> RequestBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

async fn connect(to: SocketAddr) -> TokioIo<TcpStream> {
    let stream = within("a connection", TcpStream::connect(to))
        .await
        .unwrap_or_else(|error| panic!("cannot connect to {to}: {error}"));
    stream.set_nodelay(true).expect("a connected socket takes TCP_NODELAY");
    TokioIo::new(stream)
}
