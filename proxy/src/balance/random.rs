//! Random by weight.

use super::EndpointSet;
use crate::decide::Dice;

/// An index into a set that is not empty.
pub(super) fn pick(set: &EndpointSet, dice: &mut Dice) -> usize {
    set.at(dice.below(set.total_weight()))
}
