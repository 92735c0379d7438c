//! Power of two choices: draw two endpoints by weight, take the less loaded one.
//!
//! Both draws follow the weights and load is compared relative to weight, the first draw winning ties: an idle set is
//! shared exactly by weight, and a busy one evens out relative to weight.

use std::time::Instant;

use super::{Endpoint, EndpointSet};
use crate::decide::Dice;

/// The one with fewer open requests over weight, of a set of two or more.
pub(super) fn least_request(set: &EndpointSet, dice: &mut Dice) -> usize {
    let load = |of: &Endpoint, by: &Endpoint| u64::from(of.state.open()) * u64::from(by.weight);
    two(set, dice, |a, b| load(b, a) < load(a, b))
}

/// The one with the smaller latency times queue, of a set of two or more.
pub(super) fn peak_ewma(set: &EndpointSet, now: Instant, dice: &mut Dice) -> usize {
    two(set, dice, |a, b| b.state.cost(b.listed, now) < a.state.cost(a.listed, now))
}

/// Draws two different indices, and takes the second if `second_is_better`.
fn two(set: &EndpointSet, dice: &mut Dice, second_is_better: impl Fn(&Endpoint, &Endpoint) -> bool) -> usize {
    let first = set.at(dice.below(set.total_weight()));
    let first_weight = u64::from(set.endpoints()[first].weight);
    // The rest of the weights, closed up where the first one stood.
    let mut rest = dice.below(set.total_weight() - first_weight);
    if rest >= set.before(first) {
        rest += first_weight;
    }
    let second = set.at(rest);
    if second_is_better(&set.endpoints()[first], &set.endpoints()[second]) { second } else { first }
}
