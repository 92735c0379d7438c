//! The `h2` crate at both ends: what a link between two of our own proxies could cost.

use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{RecvStream, SendStream};
use http::{Request, Response};
use tokio::net::TcpListener;

use super::h2_client::{Upstream, send};
use super::{CONNECTION_WINDOW, MAX_STREAMS, SEND_BUFFER, STREAM_WINDOW, accept, dial};

pub(super) async fn serve(listener: TcpListener, address: SocketAddr) -> anyhow::Result<()> {
    drop(dial(address).await?);
    let upstream = Upstream::new(address);
    loop {
        let io = accept(&listener).await?;
        let upstream = upstream.clone();
        tokio::task::spawn_local(async move {
            let handshake = server::Builder::new()
                .initial_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_concurrent_streams(MAX_STREAMS)
                .max_send_buffer_size(SEND_BUFFER)
                .handshake::<_, Bytes>(io);
            let Ok(mut connection) = handshake.await else { return };
            while let Some(Ok((request, respond))) = connection.accept().await {
                let upstream = upstream.clone();
                tokio::task::spawn_local(async move {
                    let _ = forward(upstream, request, respond).await;
                });
            }
        });
    }
}

async fn forward(
    upstream: Rc<Upstream>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> anyhow::Result<()> {
    let mut sender = upstream.sender().await?;
    let (head, body) = request.into_parts();
    let ended = body.is_end_stream();
    let (answer, stream) = sender.send_request(Request::from_parts(head, ()), ended)?;
    if !ended {
        tokio::task::spawn_local(async move {
            let _ = pump(body, stream).await;
        });
    }
    let (head, body) = answer.await?.into_parts();
    let ended = body.is_end_stream();
    let stream = respond.send_response(Response::from_parts(head, ()), ended)?;
    if !ended {
        pump(body, stream).await?;
    }
    Ok(())
}

async fn pump(mut from: RecvStream, mut to: SendStream<Bytes>) -> Result<(), h2::Error> {
    while let Some(data) = from.data().await {
        let data = data?;
        let size = data.len();
        let last = from.is_end_stream();
        send(&mut to, data, last).await?;
        if last {
            return Ok(());
        }
        from.flow_control().release_capacity(size)?;
    }
    match from.trailers().await? {
        Some(trailers) => to.send_trailers(trailers),
        None => to.send_data(Bytes::new(), true),
    }
}
