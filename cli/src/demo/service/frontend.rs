//! `frontend`: asks `reviews` by name, through its sidecar, and passes the answer on, good or bad.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;

use super::Service;
use crate::demo::client::Http1;

/// What `frontend` tells its caller about the request behind it.
const PASSED_ON: [&str; 3] = ["x-version", "x-replica", "x-outrigger-error"];

pub(super) async fn serve(service: Service, sidecar: SocketAddr) {
    let reviews = Arc::new(Http1::new(sidecar, "reviews"));
    loop {
        let io = TokioIo::new(service.accept().await);
        let reviews = reviews.clone();
        let answer = service_fn(move |_| {
            let reviews = reviews.clone();
            async move { Ok::<_, Infallible>(page(&reviews).await) }
        });
        // A connection that fails has a caller that sees it.
        tokio::spawn(http1::Builder::new().serve_connection(io, answer));
    }
}

async fn page(reviews: &Http1) -> Response<Full<Bytes>> {
    let answer = match reviews.get("/reviews/7").await {
        Ok(answer) => answer,
        Err(error) => {
            let mut response = Response::new(Full::from(format!("reviews: {error}\n")));
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            return response;
        }
    };
    let mut response = Response::new(Full::new(answer.body.clone()));
    *response.status_mut() = answer.status;
    for name in PASSED_ON {
        if let Some(value) = answer.headers.get(name) {
            // A prefix of its own: the sidecar drops `x-outrigger-*` of an app.
            let name = if name == "x-outrigger-error" { "x-reason" } else { name };
            response.headers_mut().insert(name, HeaderValue::clone(value));
        }
    }
    response
}
