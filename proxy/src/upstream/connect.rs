//! Makes one connection to an endpoint, TLS included, within the connect timeout.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use outrigger_config::model::AppProtocol;
use tokio::net::{TcpSocket, TcpStream};

use super::{
    attempt::{AttemptError, Class, Plan},
    io::{Link, MeteredIo},
    mesh,
    security::Means,
    stream::Stream,
};
use crate::{
    ctx::Side,
    error::Failure,
    identity::MeshProtocol,
    policy::circuit_breaker::Permit,
    request::switch::Switch,
    telemetry::metrics::{AttemptOutcome, BackendMetrics, MeshFault, TlsFault},
    worker::Worker,
};

/// Counts one open connection under the Service that made it.
#[derive(Debug)]
pub(crate) struct Counted {
    metrics: Arc<BackendMetrics>,
    worker: usize,
    /// Where the number of connections is limited.
    _permit: Option<Permit>,
}

impl Counted {
    /// A connection that `worker` has made.
    fn new(metrics: &Arc<BackendMetrics>, worker: usize, permit: Option<Permit>) -> Self {
        metrics.connection_opened(worker);
        Self { metrics: metrics.clone(), worker, _permit: permit }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.connection_closed(self.worker);
    }
}

/// A connection that nothing was sent on yet.
#[derive(Debug)]
pub(crate) struct Connected {
    /// Its bytes.
    pub(crate) stream: Stream,
    /// What is known about it.
    pub(crate) link: Arc<Link>,
    /// To be held as long as it lives.
    pub(crate) counted: Counted,
}

/// Why there is no connection.
enum Unconnected {
    Timeout,
    Tcp,
    Tls(TlsFault),
    Mesh(MeshFault),
}

/// As what a failure to connect is counted.
pub(crate) fn outcome(failure: Failure) -> AttemptOutcome {
    match failure {
        Failure::ConnectTimeout => AttemptOutcome::ConnectTimeout,
        Failure::TlsFailed | Failure::AlpnMismatch => AttemptOutcome::TlsFailed,
        _ => AttemptOutcome::ConnectFailed,
    }
}

/// Connects to `addr`, with the permit that it takes where connections are limited; every failure is work that provably
/// never started.
pub(crate) async fn connect(
    worker: &Worker,
    addr: SocketAddr,
    plan: Plan<'_>,
    permit: Option<Permit>,
) -> Result<Connected, AttemptError> {
    let failure = match within(worker, plan.connect, dial(addr, plan), Unconnected::Timeout).await {
        Ok((stream, link)) => {
            if plan.security.is_mesh() {
                worker.metrics.mesh_handshake(Side::Outbound, Ok(()));
            }
            let counted = Counted::new(plan.metrics, worker.id, permit);
            return Ok(Connected { stream, link, counted });
        }
        Err(Unconnected::Timeout) => Failure::ConnectTimeout,
        Err(Unconnected::Tcp) => Failure::ConnectFailed,
        Err(Unconnected::Tls(fault)) => {
            plan.metrics.tls_failed(worker.id, fault);
            tracing::debug!(endpoint = %addr, reason = fault.as_str(), "TLS to an endpoint could not be had");
            fault.failure()
        }
        Err(Unconnected::Mesh(fault)) => {
            plan.metrics.tls_failed(worker.id, fault);
            worker.metrics.mesh_handshake(Side::Outbound, Err(fault));
            tracing::debug!(endpoint = %addr, reason = fault.as_str(), "mutual TLS with an endpoint could not be had");
            Failure::TlsFailed
        }
    };
    plan.metrics.connect_failed(worker.id);
    Err(AttemptError::new(failure, Class::Connect))
}

/// Runs a step of making a connection; it fails as `late` when the limit passes.
pub(super) async fn within<T, E>(
    worker: &Worker,
    limit: Option<Duration>,
    step: impl Future<Output = Result<T, E>>,
    late: E,
) -> Result<T, E> {
    let timer = limit.map(|limit| worker.deadlines.after(limit));
    let expired = async {
        match &timer {
            Some(timer) => timer.expired().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        result = step => result,
        () = expired => Err(late),
    }
}

async fn open(addr: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpStream> {
    let Some(from) = from else { return TcpStream::connect(addr).await };
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(SocketAddr::new(from, 0))?;
    socket.connect(addr).await
}

async fn dial(addr: SocketAddr, plan: Plan<'_>) -> Result<(Stream, Arc<Link>), Unconnected> {
    let socket = open(addr, plan.from).await.map_err(|_| Unconnected::Tcp)?;
    // Small heads must not wait for the peer's delayed acknowledgement; a socket that refuses is closed already.
    socket.set_nodelay(true).map_err(|_| Unconnected::Tcp)?;
    let (io, link) = MeteredIo::new(socket);
    let stream = match plan.security {
        Means::Plain(_) => Stream::Plain(io),
        Means::Mesh { own, peer } => {
            let protocol = mesh::protocol(plan.switch, plan.protocol);
            let tls = mesh::handshake(io, addr, (own, peer), protocol).await.map_err(Unconnected::Mesh)?;
            let mut stream = Stream::secured(tls);
            if protocol == MeshProtocol::Tcp {
                let begun = mesh::begin_bytes(&mut stream, addr.port()).await;
                let fault = || if link.is_refused() { TlsFault::Refused } else { TlsFault::Closed };
                begun.map_err(|_| Unconnected::Mesh(fault().into()))?;
            }
            stream
        }
        Means::Outward(tls) => {
            // What a tunnel carries is the caller's to say.
            let speaks = match plan.switch {
                Some(Switch::Connect) => AppProtocol::Tcp,
                Some(Switch::Upgrade(_)) | None => plan.protocol,
            };
            Stream::secured(tls.handshake(io, speaks).await.map_err(Unconnected::Tls)?)
        }
    };
    Ok((stream, link))
}
