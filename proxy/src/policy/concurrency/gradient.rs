//! How many requests an app can work on at once, told from how long it takes to answer. Pure: windows of measurements in,
//! a limit out.
//!
//! The gradient controller of Envoy's `adaptive_concurrency` filter, which grew out of Netflix' concurrency-limits: every
//! window, `limit = limit * gradient + sqrt(limit)`, where the gradient is how much faster the app answers without load
//! than it did in this window, with a quarter of that time to spare. Additive increase with a fixed step, and Netflix'
//! Gradient2, were the other choices: the first needs to be told which latency is good, the second compares with a long
//! average, which a lasting overload drags along until nothing is shed any more.
//!
//! What the app takes without load is the fastest window of the last half minute. Where none has come near it for so
//! long and there is load, the limit goes down to its least for a window or two, and what is measured then counts: a
//! lasting overload is not mistaken for the app's own pace, and an app that became slower for good gets its room back. An
//! app of which nothing is known is measured like that first.

use std::time::Duration;

/// A fastest window older than this is measured again.
const PERIOD: Duration = Duration::from_secs(30);

/// The answer may take so much longer than without load: a quarter, and never less than [`NOISE`].
const TOLERATED: f64 = 1.25;

/// What a busy machine adds by itself.
const NOISE: Duration = Duration::from_millis(1);

/// A limit falls by half at most with one window.
const STEEPEST: f64 = 0.5;

/// The limit behind the first measurement, inside the bounds.
const FIRST: u32 = 20;

/// The bounds of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// At least 1.
    pub(super) least: u32,
    /// Not below `least`.
    pub(super) most: u32,
}

impl Bounds {
    /// The nearest limit inside.
    pub(super) fn clamp(self, limit: u32) -> u32 {
        limit.clamp(self.least.max(1), self.most.max(self.least.max(1)))
    }
}

/// What was measured in one window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Window {
    /// Half of the answers took longer.
    pub(super) median: Duration,
    /// The most requests that were open at once.
    pub(super) peak: u32,
    /// When it ended, by the limit's own clock.
    pub(super) ended: Duration,
}

/// Whether a window that is open for so long and has so many measurements says enough.
pub(super) fn is_enough(open: Duration, measured: u32) -> bool {
    match open.as_millis() {
        0..100 => false,
        100..1_000 => measured >= 20,
        1_000..5_000 => measured >= 5,
        _ => measured >= 1,
    }
}

/// The controller.
#[derive(Debug)]
pub(super) struct Gradient {
    limit: f64,
    /// What an answer takes without load, and when that was seen.
    base: Option<(Duration, Duration)>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The limit follows the gradient.
    Steady,
    /// The limit is at its least, but what was let in before is still open.
    Draining,
    /// The limit is at its least, and this window counts.
    Measuring,
}

impl Gradient {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { limit: f64::from(bounds.clamp(FIRST)), base: None, phase: Phase::Measuring }
    }

    /// What an answer takes without load, once it is known.
    pub(super) fn base(&self) -> Option<Duration> {
        self.base.map(|(latency, _)| latency)
    }

    /// The limit that holds from here on.
    pub(super) fn update(&mut self, window: Window, bounds: Bounds) -> u32 {
        let Window { median, ended, .. } = window;
        match self.phase {
            Phase::Draining => {
                self.phase = Phase::Measuring;
                return bounds.clamp(0);
            }
            Phase::Measuring => {
                self.base = Some((median, ended));
                self.phase = Phase::Steady;
            }
            Phase::Steady => {
                if self.is_stale(window, bounds) {
                    self.phase = Phase::Draining;
                    return bounds.clamp(0);
                }
                self.follow(window, bounds);
            }
        }
        bounds.clamp(self.limit as u32)
    }

    /// Takes the window for the fastest one where it is, or where there is no load. Whether the app has to be measured
    /// without load again.
    fn is_stale(&mut self, window: Window, bounds: Bounds) -> bool {
        let fresh = Some((window.median, window.ended));
        match self.base {
            None => self.base = fresh,
            Some((base, _)) if window.median <= base => self.base = fresh,
            Some((_, seen)) if window.ended.saturating_sub(seen) > PERIOD => {
                if f64::from(window.peak) * 2.0 >= self.limit && window.peak > bounds.least {
                    return true;
                }
                self.base = fresh;
            }
            Some(_) => {}
        }
        false
    }

    fn follow(&mut self, window: Window, bounds: Bounds) {
        let Some((base, _)) = self.base else { return };
        let tolerated = base.mul_f64(TOLERATED).max(base + NOISE);
        let median = window.median.max(Duration::from_nanos(1));
        let gradient = (tolerated.as_secs_f64() / median.as_secs_f64()).clamp(STEEPEST, 1.0);
        let next = self.limit * gradient + self.limit.sqrt();
        // Where the room is not used, nothing is learnt of what more would do.
        if next <= self.limit || f64::from(window.peak) * 2.0 >= self.limit {
            self.limit = next.clamp(f64::from(bounds.clamp(0)), f64::from(bounds.clamp(u32::MAX)));
        }
    }
}

#[cfg(test)]
mod tests;
