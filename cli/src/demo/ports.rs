//! Free ports for the demo's sidecars, which must be known before a sidecar starts because its policy names them.
//!
//! They are taken below the range from which the kernel gives ports to outgoing connections, so that the demo's own
//! traffic cannot take one between the choice and the start of the sidecar.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Result, bail};

/// Ports that are tried, from a random one on, wrapping around. Linux gives out 32768-60999 by default.
const RANGE: std::ops::Range<u16> = 20_000..30_000;

/// Chooses `count` different ports of loopback on which nothing listens.
///
/// # Errors
/// When there are not that many.
pub(super) fn free(count: usize) -> Result<Vec<u16>> {
    let start: u16 = rand::random_range(RANGE);
    let candidates = (start..RANGE.end).chain(RANGE.start..start);
    // All listeners are held until the last is found, so that no port is chosen twice.
    let held: Vec<(u16, TcpListener)> = candidates
        .filter_map(|port| Some((port, TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?)))
        .take(count)
        .collect();
    if held.len() < count {
        bail!(
            "the demo needs {count} free ports on 127.0.0.1 between 20000 and 29999 and found {}",
            held.len()
        );
    }
    Ok(held.into_iter().map(|(port, _)| port).collect())
}
