//! Which traces are recorded where no caller has decided. Pure.

use super::propagation::TraceId;

/// The random part of a trace id: its last 56 bits (W3C Trace Context, level 2).
const RANDOM_BITS: u32 = 56;

/// Decides by the trace id alone, so that every proxy with the same share says the same of a trace, and one with a larger
/// share records all that one with a smaller share does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sampler {
    /// Random parts from here on are recorded.
    from: u64,
}

impl Sampler {
    /// Records this percentage of traces: 0 to 100.
    pub(crate) fn percent(percent: f64) -> Self {
        let share = (percent / 100.0).clamp(0.0, 1.0);
        // Both ends are exact: nothing from 2^56 on, everything from 0 on.
        Self { from: ((1.0 - share) * (1u64 << RANDOM_BITS) as f64) as u64 }
    }

    /// Whether the trace is recorded.
    pub(crate) fn samples(self, trace: TraceId) -> bool {
        let random = trace.get() as u64 & ((1 << RANDOM_BITS) - 1);
        random >= self.from
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_ends_are_exact() {
        for id in [1, u128::MAX, 0xff << 56, (1 << 56) - 1] {
            let trace = TraceId::new(id).unwrap();
            assert!(Sampler::percent(100.0).samples(trace), "{id:x}");
            assert!(!Sampler::percent(0.0).samples(trace), "{id:x}");
        }
    }

    #[test]
    fn shares_are_kept() {
        for percent in [0.1, 1.0, 25.0, 50.0, 99.0] {
            let sampler = Sampler::percent(percent);
            let sampled =
                (0..200_000).filter(|_| sampler.samples(TraceId::new(rand::random()).unwrap())).count();
            let share = sampled as f64 / 2000.0;
            assert!((share - percent).abs() < 0.6, "{percent}: {share}");
        }
    }

    proptest! {
        #[test]
        fn a_larger_share_records_all_that_a_smaller_does(id in 1u128.., a in 0.0..100.0, b in 0.0..100.0) {
            let trace = TraceId::new(id).unwrap();
            let (small, large) = (f64::min(a, b), f64::max(a, b));
            prop_assert!(!Sampler::percent(small).samples(trace) || Sampler::percent(large).samples(trace));
        }
    }
}
