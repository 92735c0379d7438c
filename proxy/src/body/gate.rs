//! Holds a request body back until the upstream has asked for it (RFC 9110 section 10.1.1, `Expect: 100-continue`).
//!
//! The caller's body is not polled before, so our own server sends no 100 of its own. The gate opens with the
//! upstream's 100, or after a second, for upstreams that know no such thing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use parking_lot::Mutex;

use crate::worker::deadline::Timer;

/// How long an upstream may take to say 100.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// The key to a gate, for whoever hears the upstream. hyper wants it to be `Send`, though it never leaves the worker.
#[derive(Clone, Debug, Default)]
pub(crate) struct Key(Arc<Lock>);

#[derive(Debug, Default)]
struct Lock {
    open: AtomicBool,
    waiting: Mutex<Option<Waker>>,
}

impl Key {
    /// Lets the body go.
    pub(crate) fn open(&self) {
        self.0.open.store(true, Relaxed);
        if let Some(waker) = self.0.waiting.lock().take() {
            waker.wake();
        }
    }
}

/// A closed gate.
#[derive(Debug)]
pub(crate) struct Gate {
    key: Key,
    timer: Timer,
}

impl Gate {
    /// A gate that opens with `key`, or with `timer`.
    pub(crate) fn new(key: Key, timer: Timer) -> Self {
        Self { key, timer }
    }

    /// Ready once it is open.
    pub(crate) fn poll_open(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.key.0.open.load(Relaxed) {
            return Poll::Ready(());
        }
        *self.key.0.waiting.lock() = Some(cx.waker().clone());
        self.timer.poll_expired(cx)
    }
}
