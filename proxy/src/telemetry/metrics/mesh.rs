//! Counters of handshakes between sidecars, by side and by what came of them.
//!
//! One handshake makes one connection, so any thread may count: no request does.

use super::{
    super::shard::{Shared, label_values},
    Metrics, PeerFault, TlsFault,
};
use crate::ctx::Side;

label_values! {
    /// What a caller does wrong that offers to speak mutual TLS, beside what both sides can.
    CallerFault {
        /// Its handshake, or the frame behind it, does not come in time.
        Timeout = "timeout",
        /// The frame before bytes that are passed on is none that is known here.
        Frame = "unknown_frame",
    }
}

/// Why a handshake between sidecars came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeshFault {
    /// The certificate of the peer is refused.
    Peer(PeerFault),
    /// A caller's handshake fails for something else.
    Caller(CallerFault),
    /// Anything else.
    Tls(TlsFault),
}

impl MeshFault {
    /// How many there are, those that have one word counted twice.
    pub(super) const COUNT: usize = TlsFault::ALL.len() + PeerFault::ALL.len() + CallerFault::ALL.len();

    /// Every fault, each word once.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let peers = PeerFault::ALL.iter().map(|fault| Self::from(*fault));
        let own = |fault: &Self| matches!(fault, Self::Peer(_));
        let callers = CallerFault::ALL.iter().map(|fault| Self::Caller(*fault));
        TlsFault::ALL.iter().map(|fault| Self::Tls(*fault)).chain(peers.filter(own)).chain(callers)
    }

    /// The fault as metrics and logs print it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Peer(fault) => fault.as_str(),
            Self::Caller(fault) => fault.as_str(),
            Self::Tls(fault) => fault.as_str(),
        }
    }

    /// Its cell.
    pub(super) fn index(self) -> usize {
        match self {
            Self::Tls(fault) => fault as usize,
            Self::Peer(fault) => TlsFault::ALL.len() + fault as usize,
            Self::Caller(fault) => TlsFault::ALL.len() + PeerFault::ALL.len() + fault as usize,
        }
    }
}

impl From<CallerFault> for MeshFault {
    fn from(fault: CallerFault) -> Self {
        Self::Caller(fault)
    }
}

impl From<TlsFault> for MeshFault {
    fn from(fault: TlsFault) -> Self {
        Self::Tls(fault)
    }
}

/// What a certificate has in common with those of hosts outside has one word, and so one series.
impl From<PeerFault> for MeshFault {
    fn from(fault: PeerFault) -> Self {
        match fault {
            PeerFault::Expired => Self::Tls(TlsFault::Expired),
            PeerFault::NotYetValid => Self::Tls(TlsFault::NotYetValid),
            other => Self::Peer(other),
        }
    }
}

/// The cells of one side: success, and then each fault.
#[derive(Debug)]
struct Outcomes([Shared; 1 + MeshFault::COUNT]);

impl Default for Outcomes {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Shared::default()))
    }
}

/// The cells.
#[derive(Debug, Default)]
pub(super) struct Handshakes([Outcomes; 2]);

impl Handshakes {
    /// Every series: side, result, count.
    pub(super) fn all(&self) -> impl Iterator<Item = (Side, &'static str, u64)> {
        [Side::Inbound, Side::Outbound].into_iter().zip(&self.0).flat_map(|(side, Outcomes(cells))| {
            let faults = MeshFault::all().map(|fault| (fault.as_str(), 1 + fault.index()));
            std::iter::once(("ok", 0)).chain(faults).map(move |(word, at)| (side, word, cells[at].get()))
        })
    }
}

impl Metrics {
    /// A handshake with another sidecar has ended.
    pub(crate) fn mesh_handshake(&self, side: Side, result: Result<(), MeshFault>) {
        let at = result.err().map_or(0, |fault| 1 + fault.index());
        self.counters.mesh_handshakes.0[side as usize].0[at].add(1);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_word_is_one_series() {
        let handshakes = Handshakes::default();
        let series: Vec<_> = handshakes.all().map(|(side, word, _)| (side, word)).collect();
        let distinct: HashSet<_> = series.iter().collect();
        assert_eq!(distinct.len(), series.len(), "{series:?}");
        for fault in PeerFault::ALL {
            assert_eq!(MeshFault::from(*fault).as_str(), fault.as_str());
        }
    }

    #[test]
    fn cells_are_those_of_their_words() {
        let metrics = Metrics::new(1);
        metrics.mesh_handshake(Side::Inbound, Ok(()));
        metrics.mesh_handshake(Side::Outbound, Err(PeerFault::Expired.into()));
        metrics.mesh_handshake(Side::Outbound, Err(PeerFault::IdentityMismatch.into()));
        let counted: Vec<_> =
            metrics.counters.mesh_handshakes.all().filter(|(.., count)| *count > 0).collect();
        assert_eq!(
            counted,
            [
                (Side::Inbound, "ok", 1),
                (Side::Outbound, "expired", 1),
                (Side::Outbound, "identity_mismatch", 1)
            ]
        );
    }
}
