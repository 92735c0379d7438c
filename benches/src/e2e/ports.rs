//! Free ports of the loopback, picked once so that every configuration can name them.

use std::net::TcpListener;

use super::peers::Kind;

/// One port per door that a peer or the backend opens.
pub(super) struct Ports {
    pub(super) backend_http1: u16,
    pub(super) backend_http2: u16,
    pub(super) peer: [PeerPorts; Kind::ALL.len()],
}

/// The doors of one peer.
#[derive(Clone, Copy, Default)]
pub(super) struct PeerPorts {
    pub(super) http1: u16,
    pub(super) http2: u16,
    pub(super) admin: u16,
    /// Behind the doors, where a peer is two hops: one for each protocol.
    pub(super) inner: [u16; 2],
    /// Admin interface of the second process, where a peer is two.
    pub(super) inner_admin: u16,
}

impl Ports {
    /// All listeners are held until the last port is known, so that no port comes twice.
    pub(super) fn pick() -> anyhow::Result<Self> {
        let mut held = Vec::new();
        let mut next = || -> anyhow::Result<u16> {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let port = listener.local_addr()?.port();
            held.push(listener);
            Ok(port)
        };
        let mut peer = [PeerPorts::default(); Kind::ALL.len()];
        for ports in &mut peer {
            *ports = PeerPorts {
                http1: next()?,
                http2: next()?,
                admin: next()?,
                inner: [next()?, next()?],
                inner_admin: next()?,
            };
        }
        Ok(Ports { backend_http1: next()?, backend_http2: next()?, peer })
    }
}
