//! Ports for programs that cannot be asked which one they got: child processes whose policy must name it.
//!
//! Inside one process nobody needs this: bind port 0 and ask.

use std::{
    collections::BTreeSet,
    net::{SocketAddr, TcpListener},
    sync::{Mutex, PoisonError},
};

/// Ports that a test of this process has.
static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// An address on loopback on which nothing listens, given once in this process. It is below the range that the kernel
/// gives to outgoing connections, so that only another process that asks for it could take it.
///
/// # Panics
/// When there is none left.
pub fn free() -> SocketAddr {
    // Processes that run side by side have neighbouring numbers, and begin far from each other.
    let base = 10_000 + u16::try_from(std::process::id() % 90 * 100).expect("below 9000");
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    (base..19_999)
        .chain(10_000..base)
        .filter(|port| taken.insert(*port))
        .map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
        .find(|address| TcpListener::bind(address).is_ok())
        .expect("thousands of ports are free")
}
