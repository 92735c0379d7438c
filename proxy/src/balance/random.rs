//! Random by weight.

use std::sync::Arc;

use super::{Endpoint, EndpointSet};
use crate::decide::Dice;

/// An index into a set that is not empty.
pub(super) fn pick(set: &EndpointSet, dice: &mut Dice) -> usize {
    set.at(dice.below(set.total_weight()))
}

/// One of a set that is not empty.
pub(super) fn choose(set: &EndpointSet, dice: &mut Dice) -> Option<Arc<Endpoint>> {
    set.endpoints().get(pick(set, dice)).cloned()
}
