//! Addresses that lead nowhere: one that refuses, one that never answers.
//!
//! Each holds its port while it lives, so that no other socket of the test run can be given it.

use std::{net::SocketAddr, time::Duration};

use rustix::net::{AddressFamily, SocketType};
use tokio::net::TcpStream;

/// A port where every connection is refused.
pub struct Refuses {
    address: SocketAddr,
    _socket: rustix::fd::OwnedFd,
}

impl Refuses {
    /// A port on loopback.
    pub fn new() -> Self {
        let (socket, address) = bound();
        Self { address, _socket: socket }
    }

    /// The address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Default for Refuses {
    fn default() -> Self {
        Self::new()
    }
}

/// A port where connections are neither accepted nor refused: its listener's queue is full.
pub struct BlackHole {
    address: SocketAddr,
    _socket: rustix::fd::OwnedFd,
    _queue: Vec<TcpStream>,
}

impl BlackHole {
    /// A port on loopback.
    ///
    /// # Panics
    /// When its queue cannot be filled.
    pub async fn new() -> Self {
        let (socket, address) = bound();
        rustix::net::listen(&socket, 0).expect("a bound socket can listen");
        let mut queue = Vec::new();
        // The kernel drops what does not fit: the connection that does not come tells that the queue is full.
        while let Ok(Ok(stream)) =
            tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(address)).await
        {
            queue.push(stream);
            assert!(queue.len() < 100, "the queue of {address} does not fill");
        }
        Self { address, _socket: socket, _queue: queue }
    }

    /// The address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn bound() -> (rustix::fd::OwnedFd, SocketAddr) {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    rustix::net::bind(&socket, &any).expect("a free port on loopback");
    let address = rustix::net::getsockname(&socket).expect("a bound socket has an address");
    (socket, address.try_into().expect("an IPv4 address"))
}
