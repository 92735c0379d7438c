//! Log lines whose rate a stranger chooses: at most so many in a second. Counters have the rest.

use std::{cell::Cell, time::Duration};

use tokio::time::Instant;

/// Lines of one kind that a worker writes in a second.
const MOST: u32 = 10;

/// Lets some lines of one kind through.
#[derive(Debug)]
pub(crate) struct Trickle {
    second: Cell<Instant>,
    lines: Cell<u32>,
}

impl Trickle {
    /// Nothing was written before `now`.
    pub(crate) fn new(now: Instant) -> Self {
        Self { second: Cell::new(now), lines: Cell::new(0) }
    }

    /// Whether one more line may be written.
    pub(crate) fn admits(&self, now: Instant) -> bool {
        if now.duration_since(self.second.get()) >= Duration::from_secs(1) {
            self.second.set(now);
            self.lines.set(0);
        }
        let lines = self.lines.get();
        self.lines.set(lines.saturating_add(1));
        lines < MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_lines_a_second() {
        let start = Instant::now();
        let trickle = Trickle::new(start);
        let admitted = |after: u64| {
            let now = start + Duration::from_millis(after);
            (0..100).filter(|_| trickle.admits(now)).count()
        };
        assert_eq!([admitted(0), admitted(999), admitted(1000), admitted(5000)], [10, 0, 10, 10]);
    }
}
