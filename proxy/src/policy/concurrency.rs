//! How many requests an app works on at once: held by the proxy before it, with a limit that finds its own value.
//!
//! The limit is [`gradient`]'s, what it is told [`latencies`]' measures. A request that is let in holds a [`Permit`] until
//! its answer has ended or is dropped; permits are taken by compare-exchange, so there are never more than the limit,
//! however many workers there are. Where the limit falls, nobody who is in is thrown out.
//!
//! What is measured is the time to the answer's head, so a long stream says no more than a short answer. Failures are not
//! measured, since an app that fails fast is not a fast one; a request that was given up before it was answered counts
//! where it had taken longer than it should.

mod gradient;
mod latencies;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderName, StatusCode, response};
use outrigger_config::model;
use parking_lot::Mutex;

use crate::{
    error::Failure,
    exchange::Exchange,
    policy::rate_limit::Counted,
    runtime::{BuildError, snapshot::Rule},
    telemetry::metrics::{ConcurrencyMetrics, PriorityClass},
};
use gradient::{Bounds, Gradient, Window};
use latencies::Latencies;

/// Of a larger body the caller's own pace is most of what would be measured.
const SMALL: u64 = 64 * 1024;

/// The limit of one port.
#[derive(Debug)]
pub(crate) struct Concurrency {
    pub(crate) source: model::Concurrency,
    pub(crate) level: Arc<Level>,
    bounds: Bounds,
    classes: Option<Classes>,
}

/// What is known of an app's load; it outlives reloads.
#[derive(Debug)]
pub(crate) struct Level {
    /// Whose load it is.
    pub(crate) of: Counted,
    pub(crate) metrics: Arc<ConcurrencyMetrics>,
    latencies: Latencies,
    gradient: Mutex<Gradient>,
    /// The clock's zero.
    start: Instant,
    /// When the open window began, in nanoseconds.
    window: AtomicU64,
}

#[derive(Debug)]
struct Classes {
    header: HeaderName,
    high: Box<[Box<[u8]>]>,
    low: Box<[Box<[u8]>]>,
}

/// A request's place; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Permit {
    level: Arc<Level>,
    taken: Instant,
    answered: bool,
}

impl Concurrency {
    /// The limit of a policy, on what is known of the app already.
    pub(crate) fn new(source: &model::Concurrency, level: Arc<Level>) -> Result<Self, BuildError> {
        let classes = source.priority.as_ref().map(Classes::new).transpose()?;
        let bounds = bounds(source);
        level.metrics.clamp(|limit| bounds.clamp(limit));
        Ok(Self { source: source.clone(), level, bounds, classes })
    }

    /// Takes a place for a request.
    fn admit(&self, headers: &HeaderMap, now: Instant) -> Result<Permit, PriorityClass> {
        self.level.close_window(self.bounds, now);
        let class = self.classes.as_ref().map(|classes| classes.of(headers));
        match self.level.metrics.enter(|limit| room(limit, class)) {
            true => Ok(Permit { level: self.level.clone(), taken: now, answered: false }),
            false => Err(class.unwrap_or(PriorityClass::Default)),
        }
    }
}

fn bounds(source: &model::Concurrency) -> Bounds {
    Bounds { least: source.min_limit, most: source.max_limit }
}

/// How much of the limit a class may fill: what is left is for those above it. Everybody has at least one place.
fn room(limit: u32, class: Option<PriorityClass>) -> u32 {
    ((u64::from(limit) * u64::from(share_percent(class)) / 100) as u32).max(1)
}

/// The same in percent; without classes all requests may fill the whole limit.
pub(crate) fn share_percent(class: Option<PriorityClass>) -> u32 {
    match class {
        None | Some(PriorityClass::High) => 100,
        Some(PriorityClass::Default) => 90,
        Some(PriorityClass::Low) => 75,
    }
}

impl Classes {
    fn new(priority: &model::Priority) -> Result<Self, BuildError> {
        let words = |words: &[Arc<str>]| {
            words.iter().map(|word| word.as_bytes().into()).collect::<Box<[Box<[u8]>]>>()
        };
        let header = HeaderName::from_bytes(priority.header.as_bytes());
        let header = header.map_err(|_| BuildError::HeaderName((*priority.header).into()))?;
        Ok(Self { header, high: words(&priority.high), low: words(&priority.low) })
    }

    fn of(&self, headers: &HeaderMap) -> PriorityClass {
        let Some(value) = headers.get(&self.header) else { return PriorityClass::Default };
        let is = |words: &[Box<[u8]>]| words.iter().any(|word| **word == *value.as_bytes());
        match (is(&self.high), is(&self.low)) {
            (true, _) => PriorityClass::High,
            (false, true) => PriorityClass::Low,
            (false, false) => PriorityClass::Default,
        }
    }
}

impl Level {
    /// An app of which nothing is known.
    pub(crate) fn new(
        source: &model::Concurrency,
        of: Counted,
        metrics: Arc<ConcurrencyMetrics>,
    ) -> Arc<Self> {
        let gradient = Gradient::new(bounds(source));
        metrics.set_limit(bounds(source).clamp(0));
        Arc::new(Self {
            metrics,
            latencies: Latencies::new(),
            of,
            gradient: Mutex::new(gradient),
            start: Instant::now(),
            window: AtomicU64::new(0),
        })
    }

    /// Ends the open window where it says enough, and moves the limit. One worker does it; the others do not wait for it.
    fn close_window(&self, bounds: Bounds, now: Instant) {
        let now = now.saturating_duration_since(self.start);
        let open = || now.saturating_sub(Duration::from_nanos(self.window.load(Relaxed)));
        if !gradient::is_enough(open(), self.latencies.count()) {
            return;
        }
        let Some(mut gradient) = self.gradient.try_lock() else { return };
        // Another worker may just have done it.
        if !gradient::is_enough(open(), self.latencies.count()) {
            return;
        }
        self.window.store(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        let peak = self.metrics.take_peak();
        if let Some(median) = self.latencies.take_median() {
            let limit = gradient.update(Window { median, peak, ended: now }, bounds);
            self.metrics.set_limit(limit);
            self.metrics.set_baseline(gradient.base().unwrap_or(Duration::ZERO));
        }
    }
}

impl Permit {
    /// The answer's head is there.
    pub(crate) fn answered(&mut self, head: &response::Parts, request_bytes: u64) {
        if !self.answered && tells_the_pace(head) && request_bytes <= SMALL {
            self.level.latencies.add(self.taken.elapsed());
        }
        self.answered = true;
    }
}

/// Whether an answer took what the app takes: one that was refused for want of room, or failed, did not.
fn tells_the_pace(head: &response::Parts) -> bool {
    let unwilling = |code: &[u8]| matches!(code, b"4" | b"8" | b"13" | b"14");
    let refused = head.headers.get("grpc-status").is_some_and(|code| unwilling(code.as_bytes()));
    !head.status.is_server_error() && head.status != StatusCode::TOO_MANY_REQUESTS && !refused
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.level.metrics.leave();
        let took = self.taken.elapsed();
        let base = self.level.metrics.baseline();
        // Nobody waited for the answer any more: it would have taken at least this long.
        if !self.answered && !base.is_zero() && took > base * 2 {
            self.level.latencies.add(took);
        }
    }
}

/// The stage: takes a place before the app, where its rule has a limit.
pub(crate) fn admit(exchange: &mut Exchange, rule: &Rule, headers: &HeaderMap) -> Result<(), Failure> {
    let Some(concurrency) = &rule.concurrency else { return Ok(()) };
    match concurrency.admit(headers, exchange.started.into_std()) {
        Ok(permit) => exchange.permit = Some(permit),
        Err(class) => {
            concurrency.level.metrics.refused(exchange.worker().id, class);
            return Err(Failure::ConcurrencyLimit);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Metrics;

    fn concurrency(least: u32, most: u32) -> Concurrency {
        let priority =
            model::Priority { header: "x-class".into(), high: vec!["a".into()], low: vec!["z".into()] };
        let source = model::Concurrency { min_limit: least, max_limit: most, priority: Some(priority) };
        let metrics = Metrics::new(1).concurrency("app");
        Concurrency::new(&source, Level::new(&source, Counted::App(([127, 0, 0, 1], 80).into()), metrics))
            .unwrap()
    }

    fn class(value: Option<&str>) -> HeaderMap {
        value.map(|value| (HeaderName::from_static("x-class"), value.parse().unwrap())).into_iter().collect()
    }

    /// Takes places until one is refused.
    fn fill(limit: &Concurrency, value: Option<&str>) -> Vec<Permit> {
        let headers = class(value);
        std::iter::from_fn(|| limit.admit(&headers, Instant::now()).ok()).collect()
    }

    #[test]
    fn each_class_leaves_room_for_those_above_it() {
        let limit = concurrency(20, 20);
        let low = fill(&limit, Some("z"));
        let most = fill(&limit, None);
        let high = fill(&limit, Some("a"));
        assert_eq!((low.len(), most.len(), high.len()), (15, 3, 2));
        assert_eq!(limit.admit(&class(Some("other")), Instant::now()).err(), Some(PriorityClass::Default));
        drop(low);
        assert_eq!(limit.level.metrics.in_flight(), 5);
        assert_eq!(fill(&limit, Some("z")).len(), 10);
        drop((most, high));
        assert_eq!(limit.level.metrics.in_flight(), 0);
        assert_eq!([None, Some(PriorityClass::Low)].map(|class| room(1, class)), [1, 1]);
    }

    #[test]
    fn workers_that_come_at_once_get_exactly_the_limit() {
        let limit = concurrency(100, 100);
        let taken: usize = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4).map(|_| scope.spawn(|| fill(&limit, Some("a")))).collect();
            let taken: Vec<_> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
            taken.iter().map(Vec::len).sum()
        });
        assert_eq!(taken, 100);
        assert_eq!(limit.level.metrics.in_flight(), 0);
    }

    #[test]
    fn new_bounds_hold_at_once_and_what_is_known_stays() {
        let wide = concurrency(10, 1000);
        let open = fill(&wide, Some("a"));
        assert_eq!(open.len(), 10, "the least");
        let source = model::Concurrency { min_limit: 1, max_limit: 4, priority: None };
        let narrow = Concurrency::new(&source, wide.level.clone()).unwrap();
        assert!(narrow.admit(&HeaderMap::new(), Instant::now()).is_err(), "ten are in");
        drop(open);
        assert_eq!(fill(&narrow, None).len(), 4);
    }

    #[test]
    fn only_what_tells_the_pace_is_measured() {
        let limit = concurrency(10, 10);
        let measured = |status: u16, grpc: Option<&'static str>, bytes| {
            let mut permit = limit.admit(&HeaderMap::new(), Instant::now()).unwrap();
            let mut answer = http::Response::builder().status(status);
            answer = grpc.iter().fold(answer, |answer, code| answer.header("grpc-status", *code));
            let before = limit.level.latencies.count();
            permit.answered(&answer.body(()).unwrap().into_parts().0, bytes);
            limit.level.latencies.count() - before
        };
        for (status, grpc, bytes, counts) in [
            (200, None, 0, 1),
            (404, None, 9, 1),
            (500, None, 0, 0),
            (503, None, 0, 0),
            (429, None, 0, 0),
            (200, Some("0"), 0, 1),
            (200, Some("5"), 0, 1),
            (200, Some("14"), 0, 0),
            (200, None, 1 << 20, 0),
        ] {
            assert_eq!(measured(status, grpc, bytes), counts, "{status} {grpc:?} {bytes}");
        }
    }

    #[test]
    fn a_request_that_was_given_up_counts_where_it_took_too_long() {
        let limit = concurrency(10, 10);
        let long_ago = Instant::now() - Duration::from_secs(3);
        drop(limit.admit(&HeaderMap::new(), long_ago).unwrap());
        assert_eq!(limit.level.latencies.count(), 0, "nothing to compare it with");
        limit.level.metrics.set_baseline(Duration::from_secs(1));
        drop(limit.admit(&HeaderMap::new(), Instant::now()).unwrap());
        drop(limit.admit(&HeaderMap::new(), long_ago).unwrap());
        assert_eq!(limit.level.latencies.count(), 1);
    }
}
