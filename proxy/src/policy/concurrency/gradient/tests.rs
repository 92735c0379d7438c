//! The controller before a simulated app: so many servers, a time for each request, a queue before them.

use std::collections::BinaryHeap;

use super::*;
use crate::decide::{Dice, Purpose};

const BOUNDS: Bounds = Bounds { least: 5, most: 1000 };

fn window(median: u64, peak: u32, ended: u64) -> Window {
    Window { median: Duration::from_micros(median), peak, ended: Duration::from_millis(ended) }
}

#[test]
fn without_load_it_stays_and_with_load_it_rises() {
    let mut gradient = Gradient::new(BOUNDS);
    assert_eq!(gradient.update(window(5000, 5, 50), BOUNDS), 20, "measured, and let go");
    assert_eq!(gradient.update(window(5000, 3, 100), BOUNDS), 20, "nobody needs more");
    assert_eq!(gradient.update(window(5000, 15, 200), BOUNDS), 24);
    assert_eq!(gradient.update(window(6000, 24, 300), BOUNDS), 29, "a quarter more is no sign of load");
    assert_eq!(gradient.base(), Some(Duration::from_millis(5)));
}

#[test]
fn it_falls_where_answers_take_longer_and_never_below_its_least() {
    let mut gradient = Gradient::new(BOUNDS);
    for at in 0..50 {
        gradient.update(window(10_000, 1000, at * 100), BOUNDS);
    }
    let high = gradient.update(window(10_000, 1000, 5_000), BOUNDS);
    assert!(high > 500, "{high}");
    let half = gradient.update(window(1_000_000, high, 5_100), BOUNDS);
    assert!((high / 2..=high / 2 + 40).contains(&half), "by half at most: {high} {half}");
    for at in 0..40 {
        gradient.update(window(1_000_000, half, 5_200 + at * 100), BOUNDS);
    }
    assert!(gradient.update(window(1_000_000, 9, 9_900), BOUNDS) <= 8);
    let tight = Bounds { least: 1, most: 1 };
    assert_eq!(gradient.update(window(1_000_000, 9, 9_950), tight), 1);
}

#[test]
fn short_answers_may_take_a_millisecond_longer() {
    let mut gradient = Gradient::new(BOUNDS);
    gradient.update(window(200, 20, 100), BOUNDS);
    assert_eq!(gradient.update(window(1100, 24, 200), BOUNDS), 24, "what the machine does to it");
    assert!(gradient.update(window(4000, 28, 300), BOUNDS) < 24);
}

#[test]
fn an_old_measurement_is_made_again_under_load() {
    let mut gradient = Gradient::new(BOUNDS);
    gradient.update(window(10_000, 20, 100), BOUNDS);
    // The app is slower for good.
    let mut limit = 0;
    for at in 2..300 {
        limit = gradient.update(window(40_000, 20, at * 100), BOUNDS);
    }
    assert!(limit <= 9, "{limit}");
    assert_eq!(gradient.update(window(40_000, 20, 30_200), BOUNDS), 5, "its least");
    assert_eq!(gradient.update(window(40_000, 20, 30_300), BOUNDS), 5, "what was open before has gone");
    gradient.update(window(38_000, 5, 30_400), BOUNDS);
    assert_eq!(gradient.base(), Some(Duration::from_millis(38)));
    let risen = (0..20).map(|at| gradient.update(window(40_000, 50, 30_500 + at * 100), BOUNDS)).last();
    assert!(risen > Some(50), "{risen:?}");
}

#[test]
fn without_load_an_old_measurement_needs_no_probe() {
    let mut gradient = Gradient::new(BOUNDS);
    gradient.update(window(10_000, 2, 100), BOUNDS);
    assert_eq!(gradient.update(window(20_000, 2, 40_000), BOUNDS), 20);
    assert_eq!(gradient.base(), Some(Duration::from_millis(20)));
}

#[test]
fn a_window_needs_time_and_measurements() {
    let enough = |millis, measured| is_enough(Duration::from_millis(millis), measured);
    assert!(!enough(99, 1000) && enough(100, 20) && !enough(900, 19));
    assert!(enough(1000, 5) && !enough(4000, 4) && enough(5000, 1) && !enough(60_000, 0));
}

/// An app with `servers`, each busy for `time` with a request, and a queue; times in microseconds.
struct App {
    servers: usize,
    /// When each server is free again.
    free: Vec<u64>,
    /// Requests that are open: when each will be answered, and how long that took.
    open: BinaryHeap<std::cmp::Reverse<(u64, u64)>>,
    dice: Dice,
}

impl App {
    fn new(servers: usize) -> Self {
        let dice = Dice::split(1, Purpose::Weight);
        Self { servers, free: vec![0; servers], open: BinaryHeap::new(), dice }
    }

    fn take(&mut self, now: u64, time: u64) {
        // Between half and one and a half of the time.
        let busy = time / 2 + self.dice.below(time);
        let server = (0..self.servers).min_by_key(|at| self.free[*at]).unwrap();
        let done = self.free[server].max(now) + busy;
        self.free[server] = done;
        self.open.push(std::cmp::Reverse((done, done - now)));
    }
}

/// What came of a second.
#[derive(Debug)]
struct Second {
    limit: u32,
    passed: u32,
    /// Of the median request, in microseconds.
    latency: u64,
}

/// Lets requests come evenly, `rate` a second, at an app whose `time` per request changes from second to second.
fn simulate(servers: usize, rate: u64, times: &[u64]) -> Vec<Second> {
    let (mut app, mut gradient) = (App::new(servers), Gradient::new(BOUNDS));
    let (mut limit, mut seconds) = (BOUNDS.least, Vec::new());
    let (mut measured, mut peak, mut since): (Vec<u64>, u32, u64) = (Vec::new(), 0, 0);
    let mut now = 0;
    for time in times {
        let (end, mut passed, mut latencies) = (now + 1_000_000, 0, Vec::new());
        while now < end {
            now += 1_000_000 / rate;
            while app.open.peek().is_some_and(|next| next.0.0 <= now) {
                let std::cmp::Reverse((_, took)) = app.open.pop().unwrap();
                measured.push(took);
                latencies.push(took);
            }
            if is_enough(Duration::from_micros(now - since), measured.len() as u32) {
                measured.sort_unstable();
                let median = Duration::from_micros(measured[measured.len() / 2]);
                limit = gradient.update(Window { median, peak, ended: Duration::from_micros(now) }, BOUNDS);
                (measured, peak, since) = (Vec::new(), 0, now);
            }
            if (app.open.len() as u32) < limit {
                app.take(now, *time);
                passed += 1;
                peak = peak.max(app.open.len() as u32);
            }
        }
        latencies.sort_unstable();
        seconds.push(Second { limit, passed, latency: latencies[latencies.len() / 2] });
    }
    seconds
}

/// Three times more than 50 servers of 10 ms can do: all of their work is used, and nobody waits long for it.
#[test]
fn overload_is_held_off_and_the_app_is_kept_busy() {
    let seconds = simulate(50, 15_000, &[10_000; 60]);
    for (at, second) in seconds.iter().enumerate().skip(5) {
        assert!((50..=110).contains(&second.limit) || at % 30 <= 1 || second.limit == 5, "{at}: {second:?}");
        assert!(second.latency <= 22_000, "{at}: {second:?}");
    }
    let passed: u32 = seconds[10..].iter().map(|second| second.passed).sum();
    assert!(passed > 50 * 4_700, "of 5,000 a second it does nearly all: {passed}");
}

#[test]
fn it_falls_with_a_slow_app_and_comes_back() {
    let times: Vec<u64> = [[10_000; 10], [100_000; 10], [10_000; 10]].concat();
    let seconds = simulate(50, 10_000, &times);
    let at = |second: usize| &seconds[second];
    assert!(at(9).limit >= 50, "{:?}", at(9));
    assert!(at(18).limit <= 25, "{:?}", at(18));
    assert!(at(29).limit >= 45 && at(29).passed >= 4_000, "{:?}", at(29));
}

#[test]
fn an_app_with_room_is_never_held_back() {
    let seconds = simulate(200, 5_000, &[20_000; 20]);
    let passed: u32 = seconds[5..].iter().map(|second| second.passed).sum();
    assert!(passed > 15 * 4_950, "{passed}");
}
