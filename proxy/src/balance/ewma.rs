//! What is kept of one endpoint: its load, which is open requests and a peak-sensitive moving average of latency, and what
//! attempts at it came to. Shared by all workers.
//!
//! It outlives reloads and endpoint changes: whoever is still there keeps it. A slower answer than the average replaces
//! the average at once; faster ones pull it down over [`DECAY`]; an endpoint that is not used fades, so that it is tried
//! again. This file must not choose endpoints.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{outlier::Tally, standing::Standing};

/// After this time without news a latency has faded to 37 %.
const DECAY: Duration = Duration::from_secs(10);

/// The cost of an endpoint that has requests open and has never answered: far above any real one, so that it gets one
/// request at a time until it is known.
const UNKNOWN: f64 = 1e15;

/// State of one endpoint address. On a cache line pair of its own, since every worker writes to it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct EndpointState {
    open: AtomicU32,
    /// Latency in nanoseconds as `f32` in the upper half, milliseconds since `born` in the lower. 0: never observed.
    latency: AtomicU64,
    born: OnceLock<Instant>,
    /// What attempts came to.
    pub(super) tally: Tally,
    /// Apart, and never touched by requests.
    pub(super) standing: Box<Mutex<Standing>>,
}

impl EndpointState {
    /// Requests that are open on this endpoint, over all workers.
    pub fn open(&self) -> u32 {
        self.open.load(Relaxed)
    }

    /// Counts a request as open until the guard is dropped.
    pub fn begin(self: &Arc<Self>) -> OpenRequest {
        self.open.fetch_add(1, Relaxed);
        OpenRequest { state: self.clone() }
    }

    /// Feeds the time from hand-over to the answer's head of one attempt.
    ///
    /// Times are kept in whole milliseconds, so of several answers in one millisecond only the first pulls the average
    /// down: a fair sample, and it bounds the writes to a shared word at a high rate. Peaks always count.
    pub fn observe(&self, rtt: Duration, now: Instant) {
        let rtt = (rtt.as_nanos() as f32).max(1.0);
        let stamp = self.stamp(now);
        let mut seen = self.latency.load(Relaxed);
        loop {
            let next = match unpack(seen) {
                None => rtt,
                Some((average, _)) if rtt >= average => rtt,
                Some((_, at)) if stamp <= at => return,
                Some((average, at)) => {
                    let keep = fade(stamp - at) as f32;
                    average * keep + rtt * (1.0 - keep)
                }
            };
            match self.latency.compare_exchange_weak(seen, pack(next, stamp), Relaxed, Relaxed) {
                Ok(_) => return,
                Err(other) => seen = other,
            }
        }
    }

    /// The average latency as it stands at `now`, in nanoseconds; `None` before the first answer.
    pub fn latency(&self, now: Instant) -> Option<f64> {
        let (average, at) = unpack(self.latency.load(Relaxed))?;
        Some(f64::from(average) * fade(self.stamp(now).saturating_sub(at)))
    }

    /// Latency times queue, the queue relative to `weight`. Lower is better.
    pub fn cost(&self, weight: u32, now: Instant) -> f64 {
        let open = self.open();
        match self.latency(now) {
            Some(latency) => latency * (1.0 + f64::from(open) / f64::from(weight.max(1))),
            None if open == 0 => 0.0,
            None => UNKNOWN + f64::from(open),
        }
    }

    /// Milliseconds of this endpoint's own clock.
    pub(super) fn stamp(&self, now: Instant) -> u32 {
        let since = now.saturating_duration_since(*self.born.get_or_init(|| now));
        u32::try_from(since.as_millis()).unwrap_or(u32::MAX)
    }
}

fn fade(millis: u32) -> f64 {
    (-f64::from(millis) / DECAY.as_millis() as f64).exp()
}

fn pack(nanos: f32, stamp: u32) -> u64 {
    u64::from(nanos.to_bits()) << 32 | u64::from(stamp)
}

fn unpack(word: u64) -> Option<(f32, u32)> {
    (word != 0).then(|| (f32::from_bits((word >> 32) as u32), word as u32))
}

/// A request that counts as open on an endpoint until this is dropped.
#[derive(Debug)]
pub struct OpenRequest {
    state: Arc<EndpointState>,
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.state.open.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_peak_counts_at_once_and_fades_slowly() {
        let state = EndpointState::default();
        let start = Instant::now();
        state.observe(MS * 10, start);
        state.observe(MS * 200, start);
        assert_eq!(state.latency(start).unwrap().round(), 200e6);
        state.observe(MS * 10, start + Duration::from_secs(1));
        let later = state.latency(start + Duration::from_secs(1)).unwrap();
        assert!(later > 180e6 && later < 183e6, "{later}");
        let idle = state.latency(start + Duration::from_secs(100)).unwrap();
        assert!(idle < 0.1e6, "an endpoint left alone is tried again: {idle}");
    }

    #[test]
    fn an_unknown_endpoint_gets_one_request_first() {
        let state = Arc::new(EndpointState::default());
        let now = Instant::now();
        assert_eq!(state.cost(1, now), 0.0);
        let open = state.begin();
        assert!(state.cost(1, now) > 1e12);
        drop(open);
        assert_eq!(state.open(), 0);
        state.observe(MS, now);
        assert_eq!(state.cost(1, now).round(), 1e6);
    }

    #[test]
    fn answers_out_of_order_do_no_harm() {
        let state = EndpointState::default();
        let start = Instant::now();
        state.observe(MS * 10, start + MS * 500);
        state.observe(MS, start);
        assert_eq!(state.latency(start + MS * 500).unwrap().round(), 10e6);
    }
}
