//! `ratings`: gRPC. `Get` answers at once, `Watch` goes on with one message after the other until the caller leaves.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use hyper::{
    body::{Body, Frame, Incoming},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::{Interval, interval};

use super::{Knobs, Service, grpc_message};

/// Unary.
pub(super) const GET: &str = "/demo.Ratings/Get";
/// Server streaming: a message each [`TICK`].
pub(in crate::demo) const WATCH: &str = "/demo.Ratings/Watch";
/// The pace of [`WATCH`].
const TICK: Duration = Duration::from_millis(200);

pub(super) async fn serve(service: Service, name: &'static str) {
    loop {
        let io = TokioIo::new(service.accept().await);
        let knobs = service.knobs.clone();
        let answer = service_fn(move |request: Request<Incoming>| {
            let knobs = knobs.clone();
            async move { Ok::<_, Infallible>(rate(&request, &knobs, name).await) }
        });
        // A connection that fails has a caller that sees it.
        tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(io, answer));
    }
}

async fn rate(request: &Request<Incoming>, knobs: &Arc<Knobs>, name: &'static str) -> Response<Stars> {
    knobs.pause().await;
    let watch = request.uri().path() == WATCH;
    let stars = match (watch, !watch && Knobs::strikes(&knobs.errors)) {
        (true, _) => Stars::Watch(interval(TICK)),
        (false, false) => Stars::Get,
        (false, true) => Stars::End,
    };
    let unavailable = matches!(stars, Stars::End);
    let mut response = Response::new(stars);
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert("x-replica", HeaderValue::from_static(name));
    if unavailable {
        // Trailers only: the status stands in the head.
        headers.insert("grpc-status", HeaderValue::from_static("14"));
    }
    response
}

/// The body of an answer.
enum Stars {
    /// One message, then the trailers.
    Get,
    /// Messages without end.
    Watch(Interval),
    /// The trailers of `Get`.
    Trailers,
    /// Nothing more.
    End,
}

impl Body for Stars {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Stars::Get => {
                *self = Stars::Trailers;
                Poll::Ready(Some(Ok(Frame::data(grpc_message(b"5")))))
            }
            Stars::Watch(ticks) => ticks.poll_tick(cx).map(|_| Some(Ok(Frame::data(grpc_message(b"5"))))),
            Stars::Trailers => {
                *self = Stars::End;
                let trailers = HeaderMap::from_iter([("grpc-status", "0")].map(|(name, value)| {
                    (http::HeaderName::from_static(name), HeaderValue::from_static(value))
                }));
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            Stars::End => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Stars::End)
    }
}
