//! How long answers took in one window: counts by size, sixteen to each doubling, that all workers add to without a lock.
//!
//! Not exact, and need not be: a median that is off by 3 % moves a limit less than the next window does. It forgets what
//! comes in the moment in which it is read and emptied.

use std::{
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

/// The shortest time that is told apart: 2^10 ns, about a microsecond.
const SHORTEST: u32 = 10;
/// Doublings from there on: beyond nine hours all are one.
const DOUBLINGS: u32 = 35;
/// Cells to a doubling, as a power of two.
const FINE: u32 = 4;
const CELLS: usize = (DOUBLINGS << FINE) as usize;

/// The counts of one window.
#[derive(Debug)]
pub(super) struct Latencies {
    cells: Box<[AtomicU32]>,
    count: AtomicU32,
}

impl Latencies {
    pub(super) fn new() -> Self {
        let cells = (0..CELLS).map(|_| AtomicU32::new(0)).collect();
        Self { cells, count: AtomicU32::new(0) }
    }

    /// Adds one.
    pub(super) fn add(&self, took: Duration) {
        self.cells[cell_of(took)].fetch_add(1, Relaxed);
        self.count.fetch_add(1, Relaxed);
    }

    /// How many there are.
    pub(super) fn count(&self) -> u32 {
        self.count.load(Relaxed)
    }

    /// The median, if there is one; from here on a new window.
    pub(super) fn take_median(&self) -> Option<Duration> {
        self.count.store(0, Relaxed);
        let counts: Vec<u32> = self.cells.iter().map(|cell| cell.swap(0, Relaxed)).collect();
        let total: u64 = counts.iter().map(|count| u64::from(*count)).sum();
        let mut before = 0;
        let at = counts.iter().position(|count| {
            before += u64::from(*count);
            before * 2 >= total && total > 0
        })?;
        Some(middle_of(at))
    }
}

fn cell_of(took: Duration) -> usize {
    let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1 << SHORTEST);
    let doubling = 63 - nanos.leading_zeros();
    let fine = (nanos >> (doubling - FINE)) & ((1 << FINE) - 1);
    let cell = u64::from((doubling - SHORTEST) << FINE) + fine;
    (cell as usize).min(CELLS - 1)
}

fn middle_of(cell: usize) -> Duration {
    let (doubling, fine) = ((cell >> FINE) as u32 + SHORTEST, (cell & ((1 << FINE) - 1)) as u64);
    let step = 1u64 << (doubling - FINE);
    Duration::from_nanos((1u64 << doubling) + fine * step + step / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_has_a_cell_near_it() {
        for nanos in (0..600).map(|at| 1.06f64.powi(at) as u64) {
            let took = Duration::from_nanos(nanos.max(1024));
            let found = middle_of(cell_of(Duration::from_nanos(nanos)));
            let off = found.as_secs_f64() / took.as_secs_f64();
            assert!(
                (0.96..1.04).contains(&off) || took > Duration::from_secs(9 * 3600),
                "{took:?} {found:?}"
            );
        }
        assert_eq!(cell_of(Duration::MAX), CELLS - 1);
    }

    #[test]
    fn the_median_is_that_of_one_window() {
        let latencies = Latencies::new();
        assert_eq!(latencies.take_median(), None);
        for millis in [1, 2, 3, 500, 900] {
            latencies.add(Duration::from_millis(millis));
        }
        assert_eq!(latencies.count(), 5);
        let median = latencies.take_median().unwrap().as_secs_f64();
        assert!((0.0028..0.0032).contains(&median), "{median}");
        assert_eq!((latencies.count(), latencies.take_median()), (0, None));
    }
}
