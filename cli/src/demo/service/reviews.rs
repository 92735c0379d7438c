//! `reviews`: asks `ratings` by name over gRPC, through its sidecar, and answers with its version and the stars.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;

use super::{Knobs, Service, ratings::GET};
use crate::demo::{client::Grpc, layout::Replica};

/// The connection ends without an answer: what a service that crashes looks like.
#[derive(Debug, thiserror::Error)]
#[error("the demo wants this connection to end")]
struct Crash;

pub(super) async fn serve(service: Service, replica: Replica) {
    let ratings = Arc::new(Grpc::new(replica.outbound, "ratings"));
    loop {
        let io = TokioIo::new(service.accept().await);
        let (ratings, knobs, replica) = (ratings.clone(), service.knobs.clone(), replica.clone());
        let answer = service_fn(move |_| {
            let (ratings, knobs, replica) = (ratings.clone(), knobs.clone(), replica.clone());
            async move { review(&ratings, &knobs, &replica).await }
        });
        // A connection that fails has a caller that sees it.
        tokio::spawn(http1::Builder::new().serve_connection(io, answer));
    }
}

async fn review(ratings: &Grpc, knobs: &Knobs, replica: &Replica) -> Result<Response<Full<Bytes>>, Crash> {
    if Knobs::strikes(&knobs.resets) {
        return Err(Crash);
    }
    knobs.pause().await;
    let version = replica.service.trim_start_matches("reviews-");
    let (status, text) = if Knobs::strikes(&knobs.errors) {
        (StatusCode::SERVICE_UNAVAILABLE, "out of order\n".to_owned())
    } else {
        match ratings.unary(GET, b"7").await {
            Ok((stars, _)) => (StatusCode::OK, format!("{} of 5 stars\n", String::from_utf8_lossy(&stars))),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("ratings: {error}\n")),
        }
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    for (name, value) in [("x-version", version), ("x-replica", replica.name)] {
        response.headers_mut().insert(name, value.parse().expect("names here are plain words"));
    }
    Ok(response)
}
