//! A ring on which every endpoint has many points: a key goes to the endpoint of the next point.
//!
//! Built when the endpoints change, read by a binary search. An endpoint's points hang on its address alone, and their number on its
//! weight relative to the least one: so one that comes or goes moves only the keys that it gets or had. The order in which
//! endpoints are listed means nothing.

use std::sync::Arc;

use super::{Endpoint, hash_on};

/// Points of an endpoint that has the least weight.
const POINTS: u64 = 512;
/// Points of a ring at most, 4 MiB; beyond it all endpoints have half of theirs, or a quarter, and so on.
const MOST: u64 = 1 << 18;

/// The ring, in order.
#[derive(Debug)]
pub(super) struct Ring(Box<[(u64, u32)]>);

impl Ring {
    pub(super) fn new(endpoints: &[Arc<Endpoint>]) -> Self {
        let least = u64::from(endpoints.iter().map(|one| one.listed).min().unwrap_or(1).max(1));
        let sum =
            |points: u64| -> u64 { endpoints.iter().map(|one| points * u64::from(one.listed) / least).sum() };
        let mut points = POINTS;
        while points > 1 && sum(points) > MOST {
            points /= 2;
        }
        // Weights that differ by more than a ring has room for do so no further.
        let most = if sum(points) > MOST { (MOST / endpoints.len().max(1) as u64).max(1) } else { MOST };
        let mut ring = Vec::new();
        for (index, endpoint) in endpoints.iter().enumerate() {
            let own = (points * u64::from(endpoint.listed) / least).min(most);
            ring.extend((0..own).map(|number| (hash_on::place(endpoint.address, number), index as u32)));
        }
        ring.sort_unstable();
        Self(ring.into())
    }

    /// The index of the first endpoint on from `key` that is `free`.
    pub(super) fn pick(&self, key: u64, free: impl Fn(usize) -> bool) -> Option<usize> {
        let start = self.0.partition_point(|(point, _)| *point < key);
        let (before, on) = self.0.split_at(start);
        on.iter().chain(before).map(|(_, index)| *index as usize).find(|index| free(*index))
    }
}
