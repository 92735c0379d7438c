//! A seeded source of random choices: the same seed, the same cases.

use rand::{RngExt, SeedableRng, rngs::StdRng};

/// Random choices.
pub(crate) struct Luck(StdRng);

impl Luck {
    /// The choices of a seed, for one purpose.
    pub(crate) fn new(seed: u64, purpose: u64) -> Self {
        Self(StdRng::seed_from_u64(seed ^ purpose.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// True in so many cases of a hundred.
    pub(crate) fn chance(&mut self, percent: u32) -> bool {
        self.0.random_range(0..100) < percent
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn number(&mut self, low: usize, high: usize) -> usize {
        self.0.random_range(low..=high)
    }

    /// One of several.
    pub(crate) fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.number(0, of.len() - 1)]
    }

    /// As many as `low` to `high` things that `make` makes, by commas.
    pub(crate) fn list(
        &mut self,
        low: usize,
        high: usize,
        mut make: impl FnMut(&mut Self) -> String,
    ) -> String {
        let many = self.number(low, high);
        (0..many).map(|_| make(self)).collect::<Vec<_>>().join(", ")
    }

    /// What `make` makes, in so many cases of a hundred.
    pub(crate) fn perhaps(&mut self, percent: u32, make: impl FnOnce(&mut Self) -> String) -> String {
        if self.chance(percent) { make(self) } else { String::new() }
    }
}
