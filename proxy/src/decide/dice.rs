//! Randomness of one request, all of it split from one number.
//!
//! Each purpose has its own stream, so a retry keeps its choice of backend, and a decision that is repeated with the
//! same number comes out the same. SplitMix64: a few instructions, and good enough for shares and jitter; never for secrets.

/// What a choice is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Which backend of a rule.
    Weight,
    /// Whether a mirror gets a copy.
    Mirror {
        /// Which of the rule's, from 0, or of the backend's, from 16.
        index: u32,
    },
    /// Whether it is delayed on purpose.
    FaultDelay,
    /// Whether it is aborted on purpose.
    FaultAbort,
    /// Which endpoint, for the attempt of this number.
    Endpoint {
        /// The attempt, from 0.
        attempt: u32,
    },
    /// How long to pause before the attempt of this number.
    Backoff {
        /// The attempt, from 1.
        attempt: u32,
    },
    /// What makes a session's token differ from the next.
    Session,
}

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The stream of a request's `dice` for one purpose.
    pub fn split(dice: u64, purpose: Purpose) -> Self {
        let salt = match purpose {
            Purpose::Weight => 1 << 32,
            Purpose::Endpoint { attempt } => 2 << 32 | u64::from(attempt),
            Purpose::Backoff { attempt } => 3 << 32 | u64::from(attempt),
            Purpose::Session => 5 << 32,
            Purpose::Mirror { index } => 4 << 32 | u64::from(index),
            Purpose::FaultDelay => 5 << 32,
            Purpose::FaultAbort => 6 << 32,
        };
        Self(mix(dice) ^ mix(salt))
    }

    /// The next 64 bits.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`; 0 for a bound of 0. The bias is at most `bound / 2^64`.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.roll()) * u128::from(bound)) >> 64) as u64
    }

    /// The index of one of `weights`, each as often as its share of their sum, `total`; `None` where that is 0.
    pub fn share(&mut self, mut weights: impl Iterator<Item = u32>, total: u64) -> Option<usize> {
        if total == 0 {
            return None;
        }
        let mut point = self.below(total);
        weights.position(|weight| {
            let hit = point < u64::from(weight);
            point = point.saturating_sub(u64::from(weight));
            hit
        })
    }
}

/// Spreads what differs over all bits; no two numbers come to the same.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_differ_by_purpose() {
        let roll = |purpose| Dice::split(7, purpose).roll();
        assert_eq!(roll(Purpose::Weight), roll(Purpose::Weight));
        assert_ne!(roll(Purpose::Weight), roll(Purpose::Endpoint { attempt: 0 }));
        assert_ne!(roll(Purpose::Endpoint { attempt: 1 }), roll(Purpose::Endpoint { attempt: 0 }));
        assert_ne!(roll(Purpose::Endpoint { attempt: 1 }), roll(Purpose::Backoff { attempt: 1 }));
        assert_ne!(roll(Purpose::Mirror { index: 1 }), roll(Purpose::Backoff { attempt: 1 }));
    }

    #[test]
    fn consecutive_dice_give_even_shares() {
        let mut counts = [0u32; 4];
        for dice in 0..40_000 {
            counts[Dice::split(dice, Purpose::Weight).below(4) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (9_600..10_400).contains(count)), "{counts:?}");
        assert_eq!(Dice::split(1, Purpose::Weight).below(0), 0);
    }
}
