//! The address that a caller dialled, where a redirect of the kernel (`outrigger intercept`) brought its connection here.
//!
//! Asked once per connection, and only on listeners that the policy says are intercepted: a port forward that somebody
//! else put before another listener means nothing. Nothing here decides where a connection goes.

use std::net::SocketAddr;

use rustix::net::sockopt;
use tokio::net::TcpStream;

use super::Listener;
use crate::worker::Worker;

/// How a connection came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialled {
    /// Its caller dialled the listener itself, or the listener is not intercepted.
    Listener,
    /// Its caller dialled this address.
    Redirected(SocketAddr),
    /// Its caller dialled a listener of ours that leads back here.
    Loop,
}

impl Dialled {
    /// How the connection `stream` came to `listener`.
    pub(crate) fn of(worker: &Worker, listener: &Listener, stream: &TcpStream) -> Self {
        if !worker.snapshot().is_intercepted(listener.key) {
            return Self::Listener;
        }
        match original(stream) {
            None => Self::Listener,
            Some(address) if worker.is_own(address) => Self::Loop,
            Some(address) => Self::Redirected(address),
        }
    }

    /// The address that was dialled, where it is none of ours.
    pub(crate) fn original(self) -> Option<SocketAddr> {
        match self {
            Self::Redirected(address) => Some(address),
            Self::Listener | Self::Loop => None,
        }
    }
}

/// The original destination; `None`: the connection was not redirected, or the kernel does not track it.
fn original(stream: &TcpStream) -> Option<SocketAddr> {
    let local = canonical(stream.local_addr().ok()?);
    // A listener on `[::]` takes IPv4 too, and the kernel keeps that under IPv4.
    let original = match local {
        SocketAddr::V4(_) => sockopt::ip_original_dst(stream).ok()?.into(),
        SocketAddr::V6(_) => sockopt::ipv6_original_dst(stream).ok()?.into(),
    };
    (original != local).then_some(original)
}

/// An IPv4 address that came by an IPv6 socket as what it is.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_that_nothing_redirected_has_none() {
        for bind in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            let Ok(listener) = tokio::net::TcpListener::bind(bind).await else {
                assert_ne!(bind, "127.0.0.1:0");
                continue;
            };
            let mut to = listener.local_addr().unwrap();
            if to.ip().is_unspecified() {
                to.set_ip([127, 0, 0, 1].into());
            }
            let caller = TcpStream::connect(to).await.unwrap();
            let (accepted, peer) = listener.accept().await.unwrap();
            assert_eq!(original(&accepted), None, "{bind}");
            assert_eq!(canonical(peer), caller.local_addr().unwrap());
        }
    }
}
