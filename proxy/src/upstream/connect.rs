//! Makes one TCP connection to an endpoint within the connect timeout.

use std::{net::SocketAddr, time::Duration};

use tokio::net::TcpStream;

use super::{
    attempt::{AttemptError, Class},
    io::{Link, MeteredIo},
};
use crate::{error::Failure, worker::Worker};

/// Connects to `addr`; both failures are work that provably never started.
pub(crate) async fn connect(
    worker: &Worker,
    addr: SocketAddr,
    limit: Option<Duration>,
) -> Result<(MeteredIo, std::sync::Arc<Link>), AttemptError> {
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
        () = expired => return Err(AttemptError::new(Failure::ConnectTimeout, Class::Connect)),
    };
    let stream = connected.map_err(|_| AttemptError::new(Failure::ConnectFailed, Class::Connect))?;
    // Small heads must not wait for the peer's delayed acknowledgement; a socket that refuses is closed already.
    stream.set_nodelay(true).map_err(|_| AttemptError::new(Failure::ConnectFailed, Class::Connect))?;
    Ok(MeteredIo::new(stream))
}
