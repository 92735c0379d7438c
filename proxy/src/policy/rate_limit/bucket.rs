//! The generic cell rate algorithm: one number for each caller, and no timer. Pure: the caller passes `now`.
//!
//! A bucket is the time at which it will be full again (the theoretical arrival time of ITU-T I.371, annex A, and of RFC
//! 4115's kin). A request moves it on by one interval; one that would move it further than the burst ahead of now is
//! refused and moves nothing. The number is one atomic word that all workers share by compare-exchange, so in any window
//! of time no more pass than `burst` and one for each whole interval in it, whatever the workers do at once.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// How fast a bucket fills, and how much it holds, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    /// Between two requests. Rounded up: never more than policy allows.
    interval: u64,
    /// What a burst takes to flow back.
    capacity: u64,
}

/// What a bucket says to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It passes.
    Allowed {
        /// How many more would pass at once.
        left: u64,
        /// When the bucket is full again, if nobody comes.
        full_in: Duration,
    },
    /// It does not; it would after this time, if nobody comes first.
    Refused {
        /// Until then.
        again_in: Duration,
    },
}

impl Rate {
    /// `requests` in each `per`, `burst` of them at once. None of them is 0.
    pub(super) fn new(requests: u32, per: Duration, burst: u32) -> Self {
        let per = u64::try_from(per.as_nanos()).unwrap_or(u64::MAX);
        let interval = per.div_ceil(u64::from(requests).max(1)).max(1);
        // A century is as good as never, and leaves room for the clock.
        let capacity = interval.saturating_mul(u64::from(burst)).min(u64::MAX / 4);
        Self { interval, capacity }
    }

    /// What a bucket that is full again at `full_at` says, and where a request that passes leaves it.
    fn judge(self, full_at: u64, now: u64) -> Result<u64, Duration> {
        let next = full_at.max(now).saturating_add(self.interval);
        match (next - now).checked_sub(self.capacity) {
            None | Some(0) => Ok(next),
            Some(over) => Err(Duration::from_nanos(over)),
        }
    }
}

/// One bucket; full at first. Times are nanoseconds of its owner's clock.
#[derive(Debug, Default)]
pub(super) struct Bucket(AtomicU64);

/// A bucket that is being taken out of its map: whoever still holds it looks for the next one.
const DEAD: u64 = u64::MAX;

impl Bucket {
    /// Lets one request through if there is room; `None`: the bucket is dead.
    pub(super) fn take(&self, rate: Rate, now: u64) -> Option<Verdict> {
        let mut seen = self.0.load(Relaxed);
        loop {
            if seen == DEAD {
                return None;
            }
            let next = match rate.judge(seen, now) {
                Ok(next) => next,
                Err(again_in) => return Some(Verdict::Refused { again_in }),
            };
            match self.0.compare_exchange_weak(seen, next, Relaxed, Relaxed) {
                Ok(_) => {
                    let used = next - now;
                    let left = (rate.capacity - used) / rate.interval;
                    return Some(Verdict::Allowed { left, full_in: Duration::from_nanos(used) });
                }
                Err(current) => seen = current,
            }
        }
    }

    /// How long a request that came now would have to wait; `None`: not at all. Takes nothing.
    pub(super) fn wait(&self, rate: Rate, now: u64) -> Option<Duration> {
        match self.0.load(Relaxed) {
            DEAD => None,
            full_at => rate.judge(full_at, now).err(),
        }
    }

    /// Declares a bucket dead that is full, and so knows nothing that a new one would not.
    pub(super) fn retire(&self, now: u64) -> bool {
        let seen = self.0.load(Relaxed);
        seen == DEAD || seen <= now && self.0.compare_exchange(seen, DEAD, Relaxed, Relaxed).is_ok()
    }

    pub(super) fn is_dead(&self) -> bool {
        self.0.load(Relaxed) == DEAD
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn passes(bucket: &Bucket, rate: Rate, now: u64) -> bool {
        matches!(bucket.take(rate, now), Some(Verdict::Allowed { .. }))
    }

    #[test]
    fn a_burst_passes_and_then_one_each_interval() {
        let rate = Rate::new(10, Duration::from_secs(1), 3);
        let bucket = Bucket::default();
        let now = 5 * SECOND;
        let hundred = Duration::from_millis(100);
        assert_eq!(bucket.take(rate, now), Some(Verdict::Allowed { left: 2, full_in: hundred }));
        assert_eq!(bucket.take(rate, now), Some(Verdict::Allowed { left: 1, full_in: 2 * hundred }));
        assert_eq!(bucket.take(rate, now), Some(Verdict::Allowed { left: 0, full_in: 3 * hundred }));
        assert_eq!(bucket.take(rate, now), Some(Verdict::Refused { again_in: hundred }));
        assert_eq!(bucket.take(rate, now + SECOND / 20), Some(Verdict::Refused { again_in: hundred / 2 }));
        assert!(passes(&bucket, rate, now + SECOND / 10));
        assert!(!passes(&bucket, rate, now + SECOND / 10));
        assert_eq!(bucket.wait(rate, now + SECOND / 10), Some(hundred));
        // A pause fills it, and no more than that.
        assert_eq!((0..10).filter(|_| passes(&bucket, rate, 60 * SECOND)).count(), 3);
        // A clock that is behind frees nothing.
        assert!(!passes(&bucket, rate, now));
    }

    #[test]
    fn the_slowest_and_the_fastest_limits_do_not_overflow() {
        let day = Duration::from_secs(24 * 3600);
        let slow = Rate::new(1, day, 1_000_000);
        let bucket = Bucket::default();
        assert!((0..1_000_000).all(|_| passes(&bucket, slow, 0)) || slow.capacity == u64::MAX / 4);
        let fast = Rate::new(1_000_000, Duration::from_secs(1), 1);
        assert_eq!(fast.interval, 1000);
        assert!(passes(&Bucket::default(), fast, u64::MAX / 4));
    }

    #[test]
    fn a_bucket_retires_only_when_it_is_full() {
        let rate = Rate::new(1, Duration::from_secs(1), 1);
        let bucket = Bucket::default();
        assert!(passes(&bucket, rate, SECOND));
        assert!(!bucket.retire(2 * SECOND - 1));
        assert!(bucket.retire(2 * SECOND));
        assert!(bucket.is_dead());
        assert_eq!(bucket.take(rate, 9 * SECOND), None);
    }

    #[test]
    fn workers_that_come_at_once_get_exactly_the_burst() {
        let rate = Rate::new(1, Duration::from_secs(3600), 1000);
        let bucket = Bucket::default();
        let passed: usize = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..1000).filter(|_| passes(&bucket, rate, 7)).count()))
                .collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });
        assert_eq!(passed, 1000);
    }

    proptest! {
        /// Whatever comes whenever: in no window do more pass than policy allows, and what is refused was too much.
        #[test]
        fn no_window_has_more_than_the_burst_and_what_flows_back(
            requests in 1u32..50,
            per in 1u64..5,
            burst in 1u32..20,
            pauses in prop::collection::vec(prop_oneof![3 => Just(0u64), 5 => 0..SECOND / 10, 1 => 0..5 * SECOND], 1..300),
        ) {
            let rate = Rate::new(requests, Duration::from_secs(per), burst);
            let bucket = Bucket::default();
            let mut now = 0;
            let mut passed: Vec<u64> = Vec::new();
            for pause in pauses {
                now += pause;
                if passes(&bucket, rate, now) {
                    passed.push(now);
                    let flow = |since: u64| u128::from(now - since) * u128::from(requests) / u128::from(per * SECOND);
                    for (at, since) in passed.iter().enumerate() {
                        let count = (passed.len() - at) as u128;
                        prop_assert!(count <= u128::from(burst) + flow(*since), "{count} since {since}");
                    }
                } else {
                    // One more would have been too many in some window, but for the rounding of the interval.
                    let full = (0..passed.len()).any(|at| {
                        let fits = (now - passed[at]) / rate.interval + u64::from(burst);
                        (passed.len() - at) as u64 + 1 > fits
                    });
                    prop_assert!(full, "refused at {now}");
                }
            }
        }
    }
}
