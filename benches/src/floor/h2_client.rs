//! HTTP/2 downstream by hyper's server, upstream by the `h2` crate over one connection: no task per request, no channel
//! between request and connection, a body pump only where the request has a body.

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{RecvStream, SendStream};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::local_exec::LocalExec;
use super::{CONNECTION_WINDOW, MAX_STREAMS, SEND_BUFFER, STREAM_WINDOW, accept, dial};

pub(super) struct Upstream {
    address: SocketAddr,
    sender: RefCell<Option<SendRequest<Bytes>>>,
}

impl Upstream {
    pub(super) fn new(address: SocketAddr) -> Rc<Self> {
        Rc::new(Upstream { address, sender: RefCell::default() })
    }

    /// A sender with room for one more stream. A dead connection is replaced.
    pub(super) async fn sender(self: &Rc<Self>) -> anyhow::Result<SendRequest<Bytes>> {
        let open = self.sender.borrow().clone();
        if let Some(sender) = open {
            return Ok(sender.ready().await?);
        }
        let (sender, connection) = Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buffer_size(SEND_BUFFER)
            .enable_push(false)
            .handshake(dial(self.address).await?)
            .await?;
        *self.sender.borrow_mut() = Some(sender.clone());
        let upstream = Rc::downgrade(self);
        tokio::task::spawn_local(async move {
            let _ = connection.await;
            if let Some(upstream) = upstream.upgrade() {
                upstream.sender.take();
            }
        });
        Ok(sender.ready().await?)
    }
}

/// An answer's body. Flow control is given back when the downstream server takes the bytes, which it does only when it has room for them.
struct Answer {
    stream: RecvStream,
    data_done: bool,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.data_done {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    self.stream.flow_control().release_capacity(data.len())?;
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.data_done = true,
            }
        }
        let trailers = ready!(self.stream.poll_trailers(cx))?;
        Poll::Ready(trailers.map(|t| Ok(Frame::trailers(t))))
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

pub(super) async fn serve(listener: TcpListener, address: SocketAddr) -> anyhow::Result<()> {
    let upstream = Upstream::new(address);
    loop {
        let io = TokioIo::new(accept(&listener).await?);
        let upstream = upstream.clone();
        tokio::task::spawn_local(async move {
            let service = service_fn(move |request| forward(upstream.clone(), request));
            let _ = http2::Builder::new(LocalExec)
                .auto_date_header(false)
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_concurrent_streams(MAX_STREAMS)
                .max_send_buf_size(SEND_BUFFER)
                .serve_connection(io, service)
                .await;
        });
    }
}

async fn forward(upstream: Rc<Upstream>, request: Request<Incoming>) -> anyhow::Result<Response<Answer>> {
    let mut sender = upstream.sender().await?;
    let (head, body) = request.into_parts();
    let ended = body.is_end_stream();
    let (answer, stream) = sender.send_request(Request::from_parts(head, ()), ended)?;
    if !ended {
        tokio::task::spawn_local(pump(body, stream));
    }
    let answer = answer.await?;
    Ok(answer.map(|stream| Answer { stream, data_done: false }))
}

async fn pump(mut body: Incoming, mut stream: SendStream<Bytes>) {
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            stream.send_reset(h2::Reason::CANCEL);
            return;
        };
        let sent = match frame.into_data() {
            Ok(data) => {
                let last = body.is_end_stream();
                let sent = send(&mut stream, data, last).await;
                if last {
                    return;
                }
                sent
            }
            Err(frame) => match frame.into_trailers() {
                Ok(trailers) => {
                    let _ = stream.send_trailers(trailers);
                    return;
                }
                Err(_) => Ok(()),
            },
        };
        if sent.is_err() {
            return;
        }
    }
    let _ = stream.send_data(Bytes::new(), true);
}

/// Sends `data` piece by piece, as the peer's windows allow.
pub(super) async fn send(
    stream: &mut SendStream<Bytes>,
    mut data: Bytes,
    last: bool,
) -> Result<(), h2::Error> {
    if data.is_empty() {
        return if last { stream.send_data(data, true) } else { Ok(()) };
    }
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let room = match stream.capacity() {
            0 => match poll_fn(|cx| stream.poll_capacity(cx)).await {
                Some(room) => room?,
                None => return Err(h2::Reason::CANCEL.into()),
            },
            room => room,
        };
        let piece = data.split_to(room.min(data.len()));
        stream.send_data(piece, last && data.is_empty())?;
    }
    Ok(())
}
