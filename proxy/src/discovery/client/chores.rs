//! What a discovery client does beside listening: keep the policy for the next start, try again what could not be used,
//! and notice when a file changes that the policy names.

use std::{path::PathBuf, time::Duration};

use tokio::time::{Instant, sleep_until};

use crate::discovery::watch::{Changes, Pace};

/// The policy is kept no more often than this: endpoints may change a thousand times a second.
const KEEP: Duration = Duration::from_secs(1);
/// What stood in a policy's way, such as a port that is taken, may go.
const RETRY: Duration = Duration::from_secs(5);

/// Something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chore {
    /// Write the policy down.
    Keep,
    /// Try it again.
    Retry,
    /// A file may have changed.
    Files,
}

/// When there is something to do.
#[derive(Debug)]
pub(super) struct Chores {
    files: Changes,
    keep: Option<Instant>,
    retry: Option<Instant>,
}

impl Chores {
    /// Nothing to do.
    pub(super) fn new() -> Self {
        Self { files: Changes::new(&[], Pace::default()), keep: None, retry: None }
    }

    /// The policy in use is another, and names these files.
    pub(super) fn in_use(&mut self, files: Vec<PathBuf>) {
        self.files.also(files);
        self.retry = None;
        self.keep.get_or_insert_with(|| Instant::now() + KEEP);
    }

    /// A policy could not be used.
    pub(super) fn not_in_use(&mut self) {
        self.retry = Some(Instant::now() + RETRY);
    }

    /// Waits for something to do. May be dropped while it waits.
    pub(super) async fn next(&mut self) -> Chore {
        let keep = at(self.keep);
        let retry = at(self.retry);
        tokio::select! {
            () = keep => {
                self.keep = None;
                Chore::Keep
            }
            () = retry => {
                self.retry = None;
                Chore::Retry
            }
            _ = self.files.next() => {
                self.files.arm();
                Chore::Files
            }
        }
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
