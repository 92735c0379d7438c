//! HTTP/2 downstream by hyper's server, upstream by `hyper::client::conn::http2` over one connection.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use hyper::body::Incoming;
use hyper::client::conn::http2::{self as client, SendRequest};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::local_exec::LocalExec;
use super::{CONNECTION_WINDOW, MAX_STREAMS, SEND_BUFFER, STREAM_WINDOW, accept, dial};

struct Upstream {
    address: SocketAddr,
    sender: RefCell<Option<SendRequest<Incoming>>>,
}

impl Upstream {
    async fn sender(&self) -> anyhow::Result<SendRequest<Incoming>> {
        let open = self.sender.borrow().as_ref().filter(|s| !s.is_closed()).cloned();
        if let Some(sender) = open {
            return Ok(sender);
        }
        let io = TokioIo::new(dial(self.address).await?);
        let (sender, connection) = client::Builder::new(LocalExec)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .handshake(io)
            .await?;
        tokio::task::spawn_local(connection);
        *self.sender.borrow_mut() = Some(sender.clone());
        Ok(sender)
    }
}

pub(super) async fn serve(listener: TcpListener, address: SocketAddr) -> anyhow::Result<()> {
    let upstream = Rc::new(Upstream { address, sender: RefCell::default() });
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

async fn forward(upstream: Rc<Upstream>, request: Request<Incoming>) -> anyhow::Result<Response<Incoming>> {
    let mut sender = upstream.sender().await?;
    sender.ready().await?;
    Ok(sender.send_request(request).await?)
}
