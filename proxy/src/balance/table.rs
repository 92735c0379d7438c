//! What the policies that hash look a key up in; made when the endpoints change, never on a request's way.

use std::{net::SocketAddr, sync::Arc};

use outrigger_config::model::Balance;

use super::{Endpoint, maglev::Maglev, ring_hash::Ring};

/// A ring or a table over the endpoints of a set.
#[derive(Debug)]
pub(super) enum Table {
    Ring(Ring),
    Maglev(Maglev),
}

impl Table {
    /// For a policy that hashes, over some endpoints.
    pub(super) fn new(policy: Balance, endpoints: &[Arc<Endpoint>]) -> Option<Self> {
        match policy {
            _ if endpoints.is_empty() => None,
            Balance::RingHash => Some(Self::Ring(Ring::new(endpoints))),
            Balance::Maglev => Some(Self::Maglev(Maglev::new(endpoints))),
            Balance::LeastRequest | Balance::PeakEwma | Balance::RoundRobin | Balance::Random => None,
        }
    }

    /// The endpoint of a key: the first that was not tried and is not passed over; else one that was not tried; else any.
    pub(super) fn choose<'e>(
        &self,
        key: u64,
        endpoints: &'e [Arc<Endpoint>],
        tried: &[SocketAddr],
        passed_over: impl Fn(&Endpoint) -> bool,
    ) -> Option<&'e Arc<Endpoint>> {
        let untried = |index: usize| !tried.contains(&endpoints[index].address);
        let first = self.pick(key, |index| untried(index) && !passed_over(&endpoints[index]));
        let index = first.or_else(|| self.pick(key, untried)).or_else(|| self.pick(key, |_| true))?;
        endpoints.get(index)
    }

    fn pick(&self, key: u64, free: impl Fn(usize) -> bool) -> Option<usize> {
        match self {
            Self::Ring(ring) => ring.pick(key, free),
            Self::Maglev(table) => table.pick(key, free),
        }
    }
}

#[cfg(test)]
mod tests;
