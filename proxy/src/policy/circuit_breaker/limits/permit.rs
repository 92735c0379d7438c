//! What is held of limits, and the places in line before them: each gives back, or leaves, when it is dropped.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering::SeqCst},
    task::{Context, Poll},
};

use super::{Grant, Limits, Served, Wanted};

/// One open request, or one connection.
#[derive(Debug)]
pub(crate) struct Permit {
    pub(super) limits: Arc<Limits>,
    pub(super) wanted: Wanted,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limits.give_back(self.wanted);
    }
}

/// One request that is on a repeat.
#[derive(Debug)]
pub(crate) struct RetryPermit(pub(super) Arc<Limits>);

impl Drop for RetryPermit {
    fn drop(&mut self) {
        self.0.retries.held.fetch_sub(1, SeqCst);
    }
}

/// A place in line. Dropped, it leaves the line; what it was given meanwhile goes to the next.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(super) limits: Arc<Limits>,
    pub(super) wanted: Wanted,
    pub(super) number: u64,
    pub(super) done: bool,
}

impl Waiter {
    /// Its number, under which a connection may be kept for it.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}

impl Future for Waiter {
    type Output = Grant;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Grant> {
        let limits = self.limits.clone();
        let mut queue = limits.queue.lock();
        if let Some(at) = queue.served.iter().position(|(number, _)| *number == self.number) {
            let (_, served) = queue.served.swap_remove(at);
            self.done = true;
            return Poll::Ready(match served {
                Served::Permit => Grant::Permit(Permit { limits: limits.clone(), wanted: self.wanted }),
                Served::Kept => Grant::Kept(self.number),
            });
        }
        let line = &mut queue.lines[self.wanted as usize];
        if let Ok(at) = line.binary_search_by_key(&self.number, |entry| entry.number) {
            let known = &mut line[at].waker;
            if !known.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
                *known = Some(cx.waker().clone());
            }
        }
        Poll::Pending
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let mut queue = self.limits.queue.lock();
        let line = &mut queue.lines[self.wanted as usize];
        if let Ok(at) = line.binary_search_by_key(&self.number, |entry| entry.number) {
            line.remove(at);
            self.limits.counter(self.wanted).waiting.fetch_sub(1, SeqCst);
            return;
        }
        let at = queue.served.iter().position(|(number, _)| *number == self.number);
        let served = at.map(|at| queue.served.swap_remove(at).1);
        drop(queue);
        if served == Some(Served::Permit) {
            self.limits.give_back(self.wanted);
        }
    }
}

/// Says that a worker keeps an idle connection.
#[derive(Debug)]
pub(crate) struct IdleMark {
    limits: Arc<Limits>,
    worker: usize,
}

impl IdleMark {
    /// `worker` keeps one more.
    pub(crate) fn new(limits: &Arc<Limits>, worker: usize) -> Self {
        limits.idle[worker].0.fetch_add(1, SeqCst);
        Self { limits: limits.clone(), worker }
    }
}

impl Drop for IdleMark {
    fn drop(&mut self) {
        self.limits.idle[self.worker].0.fetch_sub(1, SeqCst);
    }
}
