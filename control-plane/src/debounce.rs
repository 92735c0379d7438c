//! When a change that others may follow is taken up: after a pause, but not for ever later.
//!
//! Policy waits, because an edit is often several files; endpoints never do. A pure core: the clock is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// Waits for a pause in a row of changes.
#[derive(Debug)]
pub(crate) struct Debounce {
    quiet: Duration,
    most: Duration,
    row: Option<Row>,
}

/// Changes that wait.
#[derive(Clone, Copy, Debug)]
struct Row {
    first: Instant,
    last: Instant,
}

impl Debounce {
    /// Waits until nothing has changed for `quiet`, and no longer than `most` after the first change.
    pub(crate) fn new(quiet: Duration, most: Duration) -> Self {
        Self { quiet, most, row: None }
    }

    /// Something changed.
    pub(crate) fn note(&mut self, now: Instant) {
        let first = self.row.map_or(now, |row| row.first);
        self.row = Some(Row { first, last: now });
    }

    /// When what changed is to be taken up; `None`: nothing waits.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.row.map(|row| (row.last + self.quiet).min(row.first + self.most))
    }

    /// What waited is taken up.
    pub(crate) fn clear(&mut self) {
        self.row = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_a_pause_but_not_for_ever() {
        let millis = Duration::from_millis;
        let start = Instant::now();
        let mut debounce = Debounce::new(millis(100), millis(1000));
        assert_eq!(debounce.due(), None);
        debounce.note(start);
        assert_eq!(debounce.due(), Some(start + millis(100)));
        for after in (50..=1500).step_by(50) {
            debounce.note(start + millis(after));
        }
        assert_eq!(debounce.due(), Some(start + millis(1000)));
        debounce.clear();
        assert_eq!(debounce.due(), None);
    }
}
