//! Makes one TCP connection to an endpoint within the connect timeout.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::net::TcpStream;

use super::{
    attempt::{AttemptError, Class, Plan},
    io::{Link, MeteredIo},
};
use crate::{error::Failure, telemetry::metrics::BackendMetrics, worker::Worker};

/// Counts one open connection under the Service that made it.
#[derive(Debug)]
pub(crate) struct Counted {
    metrics: Arc<BackendMetrics>,
    worker: usize,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.connection_closed(self.worker);
    }
}

/// Connects to `addr`; every failure is work that provably never started. What is returned last is to be held as long
/// as the connection lives.
pub(crate) async fn connect(
    worker: &Worker,
    addr: SocketAddr,
    plan: Plan<'_>,
) -> Result<(MeteredIo, Arc<Link>, Counted), AttemptError> {
    let connected = try_connect(worker, addr, plan.connect).await;
    match connected {
        Ok(stream) => {
            plan.metrics.connection_opened(worker.id);
            let (io, link) = MeteredIo::new(stream);
            Ok((io, link, Counted { metrics: plan.metrics.clone(), worker: worker.id }))
        }
        Err(failure) => {
            plan.metrics.connect_failed(worker.id);
            Err(AttemptError::new(failure, Class::Connect))
        }
    }
}

async fn try_connect(
    worker: &Worker,
    addr: SocketAddr,
    limit: Option<Duration>,
) -> Result<TcpStream, Failure> {
    let timer = limit.map(|limit| worker.deadlines.after(limit));
    let expired = async {
        match &timer {
            Some(timer) => timer.expired().await,
            None => std::future::pending().await,
        }
    };
    let connected = tokio::select! {
        biased;
        connected = TcpStream::connect(addr) => connected,
        () = expired => return Err(Failure::ConnectTimeout),
    };
    let stream = connected.map_err(|_| Failure::ConnectFailed)?;
    // Small heads must not wait for the peer's delayed acknowledgement; a socket that refuses is closed already.
    stream.set_nodelay(true).map_err(|_| Failure::ConnectFailed)?;
    Ok(stream)
}
