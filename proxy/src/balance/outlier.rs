//! Outlier detection: which endpoints are left out for a while because of what attempts at them came to.
//!
//! Two pure cores. [`Tally`] counts what attempts came to, in a few atomics that all workers share, and says when a
//! detector's number is reached; [`judge`] decides about all endpoints of a cell at once: who is ejected and for how long,
//! who may be tried again, who is back. Neither has a clock or a lock. The keeper runs the second under the cell's writer
//! lock; requests only ever touch the first.
//!
//! An endpoint's phase is one word that changes by compare-exchange, so that each ejection and each probe is somebody's
//! alone: `InUse -> Suspect -> Ejected -> HalfOpen -> Probing (-> Begun) -> Passed | Failed`, and from there back into
//! use or out again for longer.

mod judge;
mod tally;

pub use judge::Change;
pub(super) use judge::{Case, Sentence, judge};
pub use tally::Verdict;
pub(super) use tally::{Phase, Tally};

#[cfg(test)]
mod tests;
