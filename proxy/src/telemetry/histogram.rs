//! A latency histogram with fixed bounds, one per worker, and the sum of several.
//!
//! The bounds are the same for every duration that the proxy reports, so that dashboards can add and compare them:
//! close together where a sidecar's own cost shows (0.1 ms), up to 60 s where timeouts lie.

use std::time::Duration;

use super::shard::{Cell, Cells};

/// Upper bounds in microseconds; what is above the last counts in `+Inf`.
pub(crate) const BOUNDS_US: [u64; 18] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// One worker's observations.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: Cells<{ BOUNDS_US.len() + 1 }>,
    nanoseconds: Cell,
}

impl Histogram {
    /// Counts one duration; only the owning worker may call this.
    #[inline]
    pub(crate) fn record(&self, elapsed: Duration) {
        let nanoseconds = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| bound * 1000 < nanoseconds);
        self.buckets.at(bucket).add(1);
        self.nanoseconds.add(nanoseconds);
    }
}

/// The sum of several workers' histograms.
#[derive(Debug, Default)]
pub(crate) struct Sum {
    buckets: [u64; BOUNDS_US.len() + 1],
    nanoseconds: u64,
}

impl Sum {
    /// Adds one worker's observations.
    pub(crate) fn add(&mut self, part: &Histogram) {
        for (index, total) in self.buckets.iter_mut().enumerate() {
            *total += part.buckets.at(index).get();
        }
        self.nanoseconds = self.nanoseconds.wrapping_add(part.nanoseconds.get());
    }

    /// How many durations were counted.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// As the Prometheus client has it; the encoder adds the `+Inf` bucket.
    pub(crate) fn proto(&self) -> prometheus::proto::Histogram {
        let mut below = 0;
        let buckets = BOUNDS_US.iter().zip(self.buckets).map(|(bound, count)| {
            below += count;
            let mut bucket = prometheus::proto::Bucket::default();
            bucket.set_upper_bound(Duration::from_micros(*bound).as_secs_f64());
            bucket.set_cumulative_count(below);
            bucket
        });
        let mut histogram = prometheus::proto::Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(self.count());
        histogram.set_sample_sum(Duration::from_nanos(self.nanoseconds).as_secs_f64());
        histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_inclusive_and_cumulative() {
        let part = Histogram::default();
        for micros in [0, 100, 101, 1_000, 60_000_000, 60_000_001] {
            part.record(Duration::from_micros(micros));
        }
        let mut sum = Sum::default();
        sum.add(&part);
        let proto = sum.proto();
        let cumulative: Vec<u64> = proto.get_bucket().iter().map(|b| b.cumulative_count()).collect();
        assert_eq!(cumulative[..4], [2, 3, 3, 4]);
        assert_eq!(cumulative[17], 5);
        assert_eq!(proto.get_sample_count(), 6);
    }

    #[test]
    fn bounds_rise() {
        assert!(BOUNDS_US.is_sorted());
    }
}
