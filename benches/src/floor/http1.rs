//! HTTP/1 both ways: hyper's server, hyper's connection-level client, and a last-in-first-out pool.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::{accept, dial};

type Sender = SendRequest<Incoming>;

struct Pool {
    upstream: SocketAddr,
    idle: RefCell<Vec<Sender>>,
}

impl Pool {
    async fn take(&self) -> anyhow::Result<Sender> {
        loop {
            let idle = self.idle.borrow_mut().pop();
            let Some(mut sender) = idle else { break };
            if sender.ready().await.is_ok() {
                return Ok(sender);
            }
        }
        let io = TokioIo::new(dial(self.upstream).await?);
        let (sender, connection) = handshake(io).await?;
        tokio::task::spawn_local(connection);
        Ok(sender)
    }
}

/// An answer's body that gives its connection back when it has been read to the end.
struct Pooled {
    body: Incoming,
    back: Option<(Sender, Rc<Pool>)>,
}

impl Pooled {
    fn give_back(&mut self) {
        if let Some((sender, pool)) = self.back.take() {
            pool.idle.borrow_mut().push(sender);
        }
    }
}

impl Body for Pooled {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let ended = match &polled {
            Poll::Ready(None) => true,
            Poll::Ready(Some(Ok(_))) => self.body.is_end_stream(),
            _ => false,
        };
        if ended {
            self.give_back();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

pub(super) async fn serve(listener: TcpListener, upstream: SocketAddr) -> anyhow::Result<()> {
    let pool = Rc::new(Pool { upstream, idle: RefCell::default() });
    loop {
        let io = TokioIo::new(accept(&listener).await?);
        let pool = pool.clone();
        tokio::task::spawn_local(async move {
            let service = service_fn(move |request| forward(pool.clone(), request));
            let _ = http1::Builder::new().auto_date_header(false).serve_connection(io, service).await;
        });
    }
}

async fn forward(pool: Rc<Pool>, request: Request<Incoming>) -> anyhow::Result<Response<Pooled>> {
    let mut sender = pool.take().await?;
    let (head, body) = sender.send_request(request).await?.into_parts();
    let mut body = Pooled { body, back: Some((sender, pool)) };
    if body.is_end_stream() {
        body.give_back();
    }
    Ok(Response::from_parts(head, body))
}
