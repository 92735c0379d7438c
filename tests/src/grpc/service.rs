//! The echo service.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::{Bytes, BytesMut};
use h2::{RecvStream, SendStream, server::SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use super::{BIDI, CLIENT_STREAM, Deframer, FAIL, HANG, SERVER_STREAM, UNARY, frame};

/// A running gRPC echo service. Dropping it closes its listener and its connections.
pub struct GrpcService {
    address: SocketAddr,
    calls: Arc<AtomicUsize>,
    accept: JoinHandle<()>,
}

impl GrpcService {
    /// Starts the service on a free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port on loopback");
        let address = listener.local_addr().expect("a bound socket has an address");
        let calls = Arc::new(AtomicUsize::new(0));
        let accept = tokio::spawn(accept(listener, calls.clone()));
        Self { address, calls, accept }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Calls so far.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Acquire)
    }
}

impl Drop for GrpcService {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

async fn accept(listener: TcpListener, calls: Arc<AtomicUsize>) {
    // The set ends with this task, and every connection with the set.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, calls.clone()));
    }
}

async fn serve(stream: TcpStream, calls: Arc<AtomicUsize>) {
    // A connection that fails here has a caller that is gone.
    let _ = stream.set_nodelay(true);
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    let mut streams = JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        calls.fetch_add(1, Ordering::AcqRel);
        streams.spawn(async move {
            // An error is a caller that gave up: what it wanted to know, it sees.
            let _ = answer(request, respond).await;
        });
    }
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Result<(), h2::Error> {
    let path = request.uri().path().to_owned();
    let head = Response::builder().header("content-type", "application/grpc");
    let fail = request.headers().get("x-fail").cloned().unwrap_or(HeaderValue::from_static("2"));
    let code = match path.as_str() {
        FAIL => Some(fail),
        UNARY | SERVER_STREAM | CLIENT_STREAM | BIDI | HANG => None,
        _ => Some(HeaderValue::from_static("12")),
    };
    if let Some(code) = code {
        let head = head.header("grpc-status", code).body(()).expect("a valid answer");
        respond.send_response(head, true)?;
        return Ok(());
    }
    // The metadata and the deadline that came go back, so that a test sees what the proxy passed on.
    let echoed = request.headers().get("x-echo").cloned().unwrap_or(HeaderValue::from_static(""));
    let timeout = request.headers().get("grpc-timeout").cloned().unwrap_or(HeaderValue::from_static(""));
    let head = head.header("x-echo", echoed).header("x-timeout", timeout).body(()).expect("a valid answer");
    let mut out = respond.send_response(head, false)?;
    let mut input = Input { body: request.into_body(), deframer: Deframer::default() };
    match path.as_str() {
        HANG => {
            // Until the caller resets the stream.
            std::future::poll_fn(|cx| out.poll_reset(cx)).await?;
            return Ok(());
        }
        SERVER_STREAM => {
            let message = input.message().await?.unwrap_or_default();
            for _ in 0..message.first().copied().unwrap_or(0) {
                send(&mut out, frame(&message)).await?;
            }
        }
        CLIENT_STREAM => {
            let mut all = BytesMut::new();
            while let Some(message) = input.message().await? {
                all.extend_from_slice(&message);
            }
            send(&mut out, frame(&all)).await?;
        }
        // Unary is a stream of one.
        _ => {
            while let Some(message) = input.message().await? {
                send(&mut out, frame(&message)).await?;
            }
        }
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    trailers.insert("x-trailer", HeaderValue::from_static("kept"));
    out.send_trailers(trailers)
}

struct Input {
    body: RecvStream,
    deframer: Deframer,
}

impl Input {
    async fn message(&mut self) -> Result<Option<Bytes>, h2::Error> {
        loop {
            if let Some(message) = self.deframer.next_message() {
                return Ok(Some(message));
            }
            let Some(data) = self.body.data().await.transpose()? else { return Ok(None) };
            self.deframer.push(&data);
            self.body.flow_control().release_capacity(data.len())?;
        }
    }
}

/// Sends as the window allows, so that a slow reader holds the sender back.
pub(super) async fn send(out: &mut SendStream<Bytes>, mut data: Bytes) -> Result<(), h2::Error> {
    while !data.is_empty() {
        out.reserve_capacity(data.len());
        match std::future::poll_fn(|cx| out.poll_capacity(cx)).await.transpose()? {
            None => return Ok(()),
            Some(room) => out.send_data(data.split_to(room.min(data.len())), false)?,
        }
    }
    Ok(())
}
