//! One attempt: a connection to the chosen endpoint, the request on it, and the answer's head.
//!
//! What went wrong is told apart by what is known about the request ([`Class`]), because that is what the retry law
//! asks. Nothing here repeats anything.

use std::{net::IpAddr, rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use outrigger_config::model::AppProtocol;

use super::{
    connect::{Connected, connect},
    far::{Far, FarIo},
    http1,
    http2::{self, extended},
    limited,
    pool::EndpointPool,
    security::Security,
};
use crate::{
    body::{Key, RequestBody, UpstreamBody},
    error::Failure,
    policy::circuit_breaker::Limits,
    request::{
        strict::Framing,
        switch::{Switch, Upgrade},
    },
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
    /// A limit of the Service kept it from a connection: nothing was sent, and nothing is to be tried again.
    Limit,
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
    /// The only place on an HTTP/2 connection.
    Alone(http2::Place),
    /// A connection that speaks nothing yet.
    Bare(Box<Connected>),
}

/// Takes a connection to the endpoint of `pool`, or makes one.
pub(crate) async fn open(
    worker: &Rc<Worker>,
    pool: &Rc<EndpointPool>,
    plan: Plan<'_>,
) -> Result<Opened, AttemptError> {
    match plan.switch {
        None => {}
        // What becomes of its connection is not for others to share.
        Some(switch) => return Box::pin(open_own(worker, pool, plan, switch)).await,
    }
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

async fn open_own(
    worker: &Rc<Worker>,
    pool: &Rc<EndpointPool>,
    plan: Plan<'_>,
    switch: &Switch,
) -> Result<Opened, AttemptError> {
    let permit = limited::permit(worker, plan).await?;
    match (switch, plan.protocol) {
        (Switch::Connect, _) => {
            connect(worker, pool.addr, plan, permit).await.map(Box::new).map(Opened::Bare)
        }
        (Switch::Upgrade(_), AppProtocol::Http1 | AppProtocol::Tcp | AppProtocol::Tls) => {
            http1::open(worker, pool, plan, permit).await.map(Opened::Http1)
        }
        // Between sidecars it has a connection of its own as it is, whatever requests are spoken in.
        (Switch::Upgrade(_), _) if plan.security.is_mesh() => {
            http1::open(worker, pool, plan, permit).await.map(Opened::Http1)
        }
        (Switch::Upgrade(_), AppProtocol::Http2 | AppProtocol::Grpc) => {
            http2::alone(worker, pool, plan, permit).await.map(Opened::Alone)
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
    /// The protocols that the caller would go on with.
    pub(crate) upgrade: Option<&'a Upgrade>,
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
        Opened::Alone(place) => match handover.upgrade {
            Some(upgrade) => Box::pin(extended::send(place, request, upgrade)).await,
            None => http2::send(place, request, handover).await,
        },
        Opened::Bare(connected) => Ok(tunnelled(*connected)),
    }
}

/// The answer to a CONNECT: there is a connection, and that is all.
fn tunnelled(connected: Connected) -> Response<UpstreamBody> {
    let Connected { stream, link, counted } = connected;
    let io = FarIo::Socket(stream);
    Response::new(UpstreamBody::switched(Far {
        io,
        said: Bytes::new(),
        link: Some(link),
        counted: Some(counted),
    }))
}

/// How an attempt is to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<'a> {
    /// Under whose name a new connection is counted.
    pub(crate) metrics: &'a Arc<BackendMetrics>,
    /// What the endpoint speaks.
    pub(crate) protocol: AppProtocol,
    /// What the connection is to become; `None`: it serves one request like any other.
    pub(crate) switch: Option<&'a Switch>,
    /// How the endpoint is spoken to.
    pub(crate) security: Security<'a>,
    /// The own address to call from; `None`: the kernel chooses.
    pub(crate) from: Option<IpAddr>,
    /// Limit for making a connection, TLS included; and for waiting until one may be made.
    pub(crate) connect: Option<Duration>,
    /// How many connections there may be, where that is limited.
    pub(crate) limits: Option<&'a Arc<Limits>>,
    /// What happens where there are as many.
    pub(crate) at_limit: AtLimit,
    /// The request may be sent twice, so a connection that turns out dead costs nothing but a repeat.
    pub(crate) repeatable: bool,
}

/// What happens to an attempt that finds as many connections as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtLimit {
    /// It waits for one.
    Wait,
    /// It fails.
    GiveUp,
}

impl<'a> Plan<'a> {
    /// The protocols that the caller would go on with.
    pub(crate) fn upgrade(&self) -> Option<&'a Upgrade> {
        match self.switch {
            Some(Switch::Upgrade(upgrade)) => Some(upgrade),
            Some(Switch::Connect) | None => None,
        }
    }
}
