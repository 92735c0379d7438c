//! Which mirrors of a rule and of its chosen backend get a copy of one request. Pure, and drawn once: a retry copies nothing.

use super::{Dice, Purpose, Recorder};
use crate::runtime::snapshot::{Mirror, MirrorTarget, Rule, WeightedBackend};

/// The Gateway API's limit for one list of filters.
const MOST: usize = 16;

/// One bit for each mirror that takes the request: the rule's from bit 0, the backend's from bit 16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mirrored(u32);

impl Mirrored {
    /// Draws for each mirror by itself.
    pub(super) fn draw<R: Recorder>(
        rule: &Rule,
        backend: &WeightedBackend,
        dice: u64,
        recorder: &mut R,
    ) -> Self {
        let mut bits = 0;
        for (first, mirrors) in [(0, &rule.mirrors), (MOST, &backend.mirrors)] {
            for (index, mirror) in mirrors.iter().enumerate().take(MOST) {
                let bit = (first + index) as u32;
                let share = mirror.share;
                let point = Dice::split(dice, Purpose::Mirror { index: bit }).below(share.denominator.into());
                let taken = mirror.target.is_ok() && point < u64::from(share.numerator);
                recorder.mirror(mirror, taken);
                bits |= u32::from(taken) << bit;
            }
        }
        Self(bits)
    }

    /// Those of the rule.
    pub(super) fn of_rule(self, rule: &Rule) -> Taken<'_> {
        Taken { bits: self.0, mirrors: &rule.mirrors }
    }

    /// Those of the chosen backend.
    pub(super) fn of_backend(self, backend: &WeightedBackend) -> Taken<'_> {
        Taken { bits: self.0 >> MOST, mirrors: &backend.mirrors }
    }
}

/// The mirrors of one list that get a copy.
#[derive(Clone, Copy, Debug)]
pub struct Taken<'a> {
    bits: u32,
    mirrors: &'a [Mirror],
}

impl<'a> Taken<'a> {
    /// In the order of the list.
    pub fn iter(self) -> impl Iterator<Item = &'a MirrorTarget> {
        let drawn = self.mirrors.iter().take(MOST).enumerate();
        let drawn = drawn.filter(move |(index, _)| self.bits >> index & 1 == 1);
        drawn.filter_map(|(_, mirror)| mirror.target.as_ref().ok())
    }
}
