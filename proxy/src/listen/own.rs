//! The addresses on which this proxy takes the app's own calls: an attempt to one of them would come back for ever.
//!
//! Only outbound listeners count. A service may call itself through its inbound listener, whose way ends at the app.

use std::{net::SocketAddr, sync::Arc};

use arc_swap::ArcSwap;

/// The bound outbound addresses; changed by reloads, read by every attempt.
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
            let everywhere =
                own.ip().is_unspecified() && (addr.ip().is_loopback() || addr.ip().is_unspecified());
            own.port() == addr.port() && (own.ip() == addr.ip() || everywhere)
        })
    }
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
        assert!(!own.contains(addr("10.0.0.1:15002")));
    }
}
