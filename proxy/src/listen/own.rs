//! The addresses on which this proxy takes the app's own calls, and those that only redirected connections may come to: an
//! attempt to one of them would come back for ever.
//!
//! Other inbound listeners do not count. A service may call itself through its inbound listener, whose way ends at the
//! app.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use arc_swap::ArcSwap;
use socket2::{Domain, Socket, Type};

/// The bound addresses; changed by reloads, read by every attempt.
#[derive(Clone, Debug, Default)]
pub(crate) struct Own(Arc<ArcSwap<Vec<SocketAddr>>>);

impl Own {
    /// Replaces the list.
    pub(crate) fn set(&self, addresses: Vec<SocketAddr>) {
        self.0.store(Arc::new(addresses));
    }

    /// Whether a connection to `addr` would arrive at one of them.
    pub(crate) fn contains(&self, addr: SocketAddr) -> bool {
        self.0.load().iter().any(|own| {
            own.port() == addr.port()
                && (own.ip() == addr.ip() || own.ip().is_unspecified() && is_here(addr.ip()))
        })
    }
}

/// Whether the address is one of this machine's. Asked only where the port is one of ours already.
fn is_here(ip: IpAddr) -> bool {
    if ip.is_loopback() || ip.is_unspecified() {
        return true;
    }
    // The kernel binds what it has; nothing is sent.
    let address = SocketAddr::new(ip, 0);
    Socket::new(Domain::for_address(address), Type::DGRAM, None)
        .is_ok_and(|socket| socket.bind(&address.into()).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_its_addresses_and_wildcards() {
        let addr = |text: &str| text.parse::<SocketAddr>().unwrap();
        let own = Own::default();
        assert!(!own.contains(addr("127.0.0.1:15001")));
        own.set(vec![addr("127.0.0.1:15001"), addr("0.0.0.0:15002")]);
        assert!(own.contains(addr("127.0.0.1:15001")));
        assert!(own.contains(addr("127.0.0.2:15002")));
        assert!(!own.contains(addr("127.0.0.2:15001")));
        // Of the range for documentation (RFC 5737): no machine has it.
        assert!(!own.contains(addr("192.0.2.1:15002")));
    }
}
