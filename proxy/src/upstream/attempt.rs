//! One attempt: a connection to the chosen endpoint, the request on it, and the answer's head.
//!
//! What went wrong is told apart by what is known about the request ([`Class`]), because that is what the retry law
//! asks. Nothing here repeats anything.

use std::{rc::Rc, sync::Arc, time::Duration};

use http::{Request, Response};
use outrigger_config::model::AppProtocol;

use super::{http1, http2, pool::EndpointPool, tls::Outward};
use crate::{
    body::{Key, RequestBody, UpstreamBody},
    error::Failure,
    request::strict::Framing,
    telemetry::metrics::BackendMetrics,
    worker::Worker,
};

/// Why an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AttemptError {
    /// What the caller is told if no other attempt follows.
    pub(crate) failure: Failure,
    /// What is known about the request.
    pub(crate) class: Class,
}

/// What is known about the request of a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// No connection was made: nothing was sent.
    Connect,
    /// The connection was made before and nothing was written since hand-over, or the peer said that it did not start.
    Unsent,
    /// As `Unsent`, said by the peer: REFUSED_STREAM, or GOAWAY below the stream.
    Refused,
    /// The connection ended before the answer's head: the peer may have worked on it.
    Reset,
    /// The answer's head did not come in time: the peer may still work on it.
    Timeout,
    /// The answer was not HTTP.
    Protocol,
    /// The caller's side broke: repeating is pointless.
    Caller,
}

impl AttemptError {
    pub(crate) fn new(failure: Failure, class: Class) -> Self {
        Self { failure, class }
    }
}

/// A connection that is ready for one request.
#[derive(Debug)]
pub(crate) enum Opened {
    /// A pooled HTTP/1 connection.
    Http1(http1::Lease),
    /// A place on a shared HTTP/2 connection.
    Http2(http2::Place),
}

/// Takes a connection to the endpoint of `pool`, or makes one.
pub(crate) async fn open(
    worker: &Rc<Worker>,
    pool: &Rc<EndpointPool>,
    plan: Plan<'_>,
) -> Result<Opened, AttemptError> {
    match plan.protocol {
        // A port that is passed on whole is called by requests too, in the caller's version: that was settled before.
        AppProtocol::Http1 | AppProtocol::Tcp | AppProtocol::Tls => {
            http1::checkout(worker, pool, plan).await.map(Opened::Http1)
        }
        AppProtocol::Http2 | AppProtocol::Grpc => {
            http2::checkout(worker, pool, plan).await.map(Opened::Http2)
        }
    }
}

/// What goes with a request that is handed over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handover<'a> {
    /// Opened when the upstream says 100.
    pub(crate) key: Option<&'a Key>,
    /// How the caller's body ends.
    pub(crate) framing: Framing,
}

/// Hands the request over and waits for the answer's head. The request's head is in protocol-neutral form: origin-form
/// path, `host` field, no hop-by-hop fields.
pub(crate) async fn send(
    opened: Opened,
    request: Request<RequestBody>,
    handover: Handover<'_>,
) -> Result<Response<UpstreamBody>, AttemptError> {
    match opened {
        Opened::Http1(lease) => http1::send(lease, request, handover).await,
        Opened::Http2(place) => http2::send(place, request, handover).await,
    }
}

/// How an attempt is to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<'a> {
    /// Under whose name a new connection is counted.
    pub(crate) metrics: &'a Arc<BackendMetrics>,
    /// What the endpoint speaks.
    pub(crate) protocol: AppProtocol,
    /// TLS to the endpoint; `None`: plaintext.
    pub(crate) tls: Option<&'a Outward>,
    /// Limit for making a connection, TLS included.
    pub(crate) connect: Option<Duration>,
    /// The request may be sent twice, so a connection that turns out dead costs nothing but a repeat.
    pub(crate) repeatable: bool,
}
