//! Counters of what redirected connections turned out to speak, by the port that was dialled.
//!
//! A caller may dial any port, so only the first [`PORTS`] have series of their own, those that a mesh uses from its start on;
//! all others share one. Finding a port's cells takes no lock.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::{
    super::shard::{Shared, label_values},
    Metrics,
};
use crate::ctx::Side;

label_values! {
    /// What told the protocol of a connection of which nobody has declared it.
    Detected {
        /// A request line.
        Http1 = "http1",
        /// The preface of HTTP/2.
        Http2 = "http2",
        /// A ClientHello.
        Tls = "tls",
        /// Other first bytes.
        Other = "other",
        /// First bytes that might have become HTTP or TLS, and did not in time.
        Timeout = "timeout",
        /// The server spoke, ended, or could not be reached while the caller was silent.
        ServerFirst = "server_first",
        /// The caller ended without a byte.
        Closed = "closed",
    }
}

/// Ports that have series of their own, of both sides together.
const PORTS: usize = 64;

type Outcomes = [Shared; Detected::ALL.len()];

/// The cells.
#[derive(Debug)]
pub(super) struct Detections {
    /// Side and port of each place, plus one; 0 is free.
    keys: [AtomicU32; PORTS],
    counts: [Outcomes; PORTS],
    others: [Outcomes; 2],
}

impl Default for Detections {
    fn default() -> Self {
        Self {
            keys: std::array::from_fn(|_| AtomicU32::new(0)),
            counts: std::array::from_fn(|_| Outcomes::default()),
            others: Default::default(),
        }
    }
}

impl Detections {
    fn of(&self, side: Side, port: u16) -> &Outcomes {
        let wanted = (((side as u32) << 16) | u32::from(port)) + 1;
        let place = self.keys.iter().position(|key| {
            let known = match key.load(Relaxed) {
                0 => key.compare_exchange(0, wanted, Relaxed, Relaxed).unwrap_or_else(|taken| taken),
                known => known,
            };
            known == 0 || known == wanted
        });
        place.map_or(&self.others[side as usize], |place| &self.counts[place])
    }

    /// Every series: side, port, outcome, count.
    pub(super) fn all(&self) -> impl Iterator<Item = (Side, String, Detected, u64)> {
        let ports = self.keys.iter().zip(&self.counts).filter_map(|(key, counts)| {
            let key = key.load(Relaxed).checked_sub(1)?;
            let side = if key >> 16 == Side::Inbound as u32 { Side::Inbound } else { Side::Outbound };
            Some((side, (key & 0xffff).to_string(), counts))
        });
        let others = [Side::Inbound, Side::Outbound].into_iter().zip(&self.others);
        let others = others.map(|(side, counts)| (side, "other".to_owned(), counts));
        ports.chain(others).flat_map(|(side, port, counts)| {
            let outcomes = Detected::ALL.iter().zip(counts);
            outcomes.map(move |(outcome, count)| (side, port.clone(), *outcome, count.get()))
        })
    }
}

impl Metrics {
    /// It was found out what a connection to `port` speaks.
    pub(crate) fn detected(&self, side: Side, port: u16, outcome: Detected) {
        self.counters.detections.of(side, port)[outcome as usize].add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_ports_have_series_of_their_own() {
        let detections = Detections::default();
        for port in 1..=100 {
            detections.of(Side::Outbound, port)[Detected::Other as usize].add(1);
        }
        detections.of(Side::Inbound, 7)[Detected::Http1 as usize].add(1);
        detections.of(Side::Outbound, 5)[Detected::Other as usize].add(1);
        let touched: Vec<_> = detections.all().filter(|(.., count)| *count > 0).collect();
        assert_eq!(touched.len(), PORTS + 2);
        let find = |side, port: &str| {
            let found = touched.iter().find(|one| one.0 == side && one.1 == port);
            found.map(|(.., outcome, count)| (*outcome, *count))
        };
        assert_eq!(find(Side::Outbound, "5"), Some((Detected::Other, 2)));
        assert_eq!(find(Side::Outbound, "other"), Some((Detected::Other, 36)));
        assert_eq!(find(Side::Inbound, "other"), Some((Detected::Http1, 1)), "no place was left");
    }
}
