//! Waiting with a bound: a condition that does not come true fails the test and says which one it was.
//!
//! The bound is generous, because it only ever ends a test that has failed; a test that passes waits no longer than
//! the thing it waits for.

use std::{future::Future, time::Duration};

use tokio::{sync::watch, time::Instant};

/// How long anything may take before the test fails.
pub const BOUND: Duration = Duration::from_secs(20);

/// How long [`until`] pauses between two looks at a condition that cannot notify.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Awaits `future`; panics naming `what` when it takes longer than [`BOUND`].
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(BOUND, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {BOUND:?} for {what}"),
    }
}

/// Asks `look` again and again until it gives a value; panics naming `what` after [`BOUND`].
pub async fn until<T, F>(what: &str, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let end = Instant::now() + BOUND;
    loop {
        if let Some(value) = look().await {
            return value;
        }
        assert!(Instant::now() < end, "waited {BOUND:?} for {what}");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// A gate that is closed until someone opens it; then it stays open. Clones are the same gate.
#[derive(Clone, Debug)]
pub struct Gate(watch::Sender<bool>);

impl Gate {
    /// A closed gate.
    pub fn closed() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Lets everybody through, now and later.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    /// Returns once the gate is open.
    pub async fn pass(&self) {
        // The sender lives in `self`, so the channel cannot be closed while this waits.
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}
