//! Google's Maglev hashing: a table in which every endpoint has as many places as its weight says.
//!
//! Built when the endpoints change, read by one index. Each endpoint prefers the places of the table in an order of its own
//! that hangs on its address; in turns, each takes its next place that is free. An endpoint that comes or goes moves the keys that it
//! gets or had, and a few others. The order in which endpoints are listed means nothing.

use std::sync::Arc;

use super::{Endpoint, hash_on};

/// Places of the table: a prime, so that every step reaches all of them. Endpoints beyond this number get none.
const PLACES: usize = 65_537;
/// No endpoint yet.
const FREE: u32 = u32::MAX;

/// The table.
#[derive(Debug)]
pub(super) struct Maglev(Box<[u32]>);

/// An endpoint that takes its places.
struct Taker {
    index: u32,
    weight: u64,
    /// What its weight has earned it, in units of the largest weight.
    earned: u64,
    next: usize,
    step: usize,
}

impl Maglev {
    pub(super) fn new(endpoints: &[Arc<Endpoint>]) -> Self {
        let mut order: Vec<usize> = (0..endpoints.len()).collect();
        order.sort_by_key(|index| endpoints[*index].address);
        let largest = u64::from(endpoints.iter().map(|one| one.listed).max().unwrap_or(1).max(1));
        let mut takers: Vec<Taker> = order
            .into_iter()
            .map(|index| {
                let endpoint = &endpoints[index];
                Taker {
                    index: index as u32,
                    weight: u64::from(endpoint.listed.max(1)),
                    earned: 0,
                    next: (hash_on::place(endpoint.address, 0) % PLACES as u64) as usize,
                    step: (hash_on::place(endpoint.address, 1) % (PLACES as u64 - 1)) as usize + 1,
                }
            })
            .collect();
        let mut places = vec![FREE; if takers.is_empty() { 0 } else { PLACES }];
        let mut left = places.len();
        while left > 0 {
            for taker in &mut takers {
                taker.earned += taker.weight;
                if taker.earned < largest {
                    continue;
                }
                taker.earned -= largest;
                while places[taker.next] != FREE {
                    taker.next = (taker.next + taker.step) % PLACES;
                }
                places[taker.next] = taker.index;
                left -= 1;
                if left == 0 {
                    break;
                }
            }
        }
        Self(places.into())
    }

    /// The index of the first endpoint on from `key` that is `free`.
    pub(super) fn pick(&self, key: u64, free: impl Fn(usize) -> bool) -> Option<usize> {
        let start = (key % self.0.len().max(1) as u64) as usize;
        let (before, on) = self.0.split_at(start.min(self.0.len()));
        on.iter().chain(before).map(|index| *index as usize).find(|index| free(*index))
    }
}
