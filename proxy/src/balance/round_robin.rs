//! Smooth weighted round robin (nginx's): each pick adds every endpoint's weight to its credit, takes the one with the
//! most credit and charges it the sum. Shares are exact over a full round, and the picks of one endpoint are spread out.
//!
//! The state belongs to one worker. When the set changes, endpoints that stay keep their credit and new ones start at
//! a random one, so that neither churn nor the number of workers favours the first of the list.

use std::{net::SocketAddr, sync::Arc};

use super::{EndpointSet, EndpointState};
use crate::decide::Dice;

/// One worker's round robin state for one set.
#[derive(Debug, Default)]
pub struct Turn {
    version: Option<u64>,
    /// The sum of the weights that the credits are measured in.
    total: u64,
    credits: Vec<Credit>,
}

#[derive(Debug)]
struct Credit {
    state: Arc<EndpointState>,
    credit: i64,
}

impl Turn {
    /// The next index into `set`, which is not empty, passing over `tried` where there is another.
    pub(super) fn next(&mut self, set: &EndpointSet, tried: &[SocketAddr], dice: &mut Dice) -> usize {
        if self.version != Some(set.version()) {
            self.follow(set, dice);
        }
        let all_tried = set.endpoints().iter().all(|endpoint| tried.contains(&endpoint.address));
        let mut best: Option<usize> = None;
        let mut charged = 0;
        for (index, endpoint) in set.endpoints().iter().enumerate() {
            if !all_tried && tried.contains(&endpoint.address) {
                continue;
            }
            self.credits[index].credit += i64::from(endpoint.weight);
            charged += i64::from(endpoint.weight);
            if best.is_none_or(|best| self.credits[index].credit > self.credits[best].credit) {
                best = Some(index);
            }
        }
        let best = best.unwrap_or(0);
        self.credits[best].credit -= charged;
        best
    }

    fn follow(&mut self, set: &EndpointSet, dice: &mut Dice) {
        let old: foldhash::HashMap<*const EndpointState, i64> =
            self.credits.iter().map(|credit| (Arc::as_ptr(&credit.state), credit.credit)).collect();
        let total = set.total_weight();
        self.credits = set
            .endpoints()
            .iter()
            .map(|endpoint| Credit {
                state: endpoint.state.clone(),
                credit: match old.get(&Arc::as_ptr(&endpoint.state)) {
                    Some(credit) => scaled(*credit, self.total, total),
                    None => dice.below(total) as i64,
                },
            })
            .collect();
        (self.version, self.total) = (Some(set.version()), total);
    }
}

/// A credit in the measure of other weights: those of a slow start are a hundred times those that are listed.
fn scaled(credit: i64, from: u64, to: u64) -> i64 {
    (i128::from(credit) * i128::from(to) / i128::from(from.max(1))) as i64
}
