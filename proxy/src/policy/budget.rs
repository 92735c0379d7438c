//! The retry budget: how many repeats the requests of one Service may cause. Pure: the caller passes `now`.
//!
//! Within any `ttl`, repeats are at most `percent` of the requests plus `min_per_second` for each second of it. Both are
//! counted in a ring of ten slots that covers `ttl`, so the workers share a budget without a lock and an idle budget costs
//! nothing. A withdrawal reserves first and looks then:
//! workers that race for the last one may both be refused, never both be served. This file must not decide whether
//! a repeat is allowed at all: that is the retry law's.

use std::time::{Duration, Instant};

use outrigger_config::model::RetryBudget;

use super::ring::{self, Ring};

/// The budget of one Service port, or of one rule that has its own.
#[derive(Debug)]
pub(crate) struct Budget {
    config: RetryBudget,
    start: std::sync::OnceLock<Instant>,
    slot: Duration,
    requests: Ring,
    repeats: Ring,
}

impl Budget {
    /// An empty budget. Its clock starts with the first `now` it is given.
    pub(crate) fn new(config: RetryBudget) -> Self {
        Self {
            config,
            start: std::sync::OnceLock::new(),
            slot: ring::slot_of(config.ttl),
            requests: Ring::default(),
            repeats: Ring::default(),
        }
    }

    /// What it was made from: a reload keeps a budget whose configuration is the same.
    pub(crate) fn config(&self) -> &RetryBudget {
        &self.config
    }

    /// Counts a first try.
    pub(crate) fn deposit(&self, now: Instant) {
        self.requests.add(self.number(now));
    }

    /// Takes one repeat if the budget allows it.
    pub(crate) fn withdraw(&self, now: Instant) -> bool {
        let number = self.number(now);
        self.repeats.add(number);
        let allowed = self.allowance(number);
        if self.repeats.sum(number) <= allowed {
            return true;
        }
        self.repeats.give_back(number);
        false
    }

    /// Repeats that the window ending in slot `number` may hold.
    fn allowance(&self, number: u32) -> u64 {
        let share = self.requests.sum(number) as f64 * self.config.percent / 100.0;
        let floor = f64::from(self.config.min_per_second) * self.config.ttl.as_secs_f64();
        (share + floor).floor() as u64
    }

    /// The slot that `now` falls into, from 1: 0 is the number of slots that were never used.
    fn number(&self, now: Instant) -> u32 {
        ring::number(*self.start.get_or_init(|| now), now, self.slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(percent: f64, min_per_second: u32, ttl: u64) -> Budget {
        Budget::new(RetryBudget { percent, min_per_second, ttl: Duration::from_secs(ttl) })
    }

    fn drain(budget: &Budget, now: Instant) -> usize {
        (0..10_000).take_while(|_| budget.withdraw(now)).count()
    }

    #[test]
    fn the_floor_is_there_without_any_request() {
        let now = Instant::now();
        let budget = budget(20.0, 10, 10);
        assert_eq!(drain(&budget, now), 100);
        assert!(!budget.withdraw(now));
    }

    #[test]
    fn requests_earn_their_share() {
        let now = Instant::now();
        let budget = budget(20.0, 0, 10);
        assert!(!budget.withdraw(now));
        for _ in 0..50 {
            budget.deposit(now);
        }
        assert_eq!(drain(&budget, now), 10);
    }

    #[test]
    fn a_share_of_nothing_is_nothing() {
        let now = Instant::now();
        let budget = budget(0.0, 0, 10);
        for _ in 0..1000 {
            budget.deposit(now);
        }
        assert!(!budget.withdraw(now));
    }

    #[test]
    fn what_is_older_than_the_ttl_counts_no_more() {
        let start = Instant::now();
        let budget = budget(50.0, 0, 10);
        for _ in 0..20 {
            budget.deposit(start);
        }
        assert_eq!(drain(&budget, start), 10);
        let later = start + Duration::from_secs(10);
        assert!(!budget.withdraw(later), "the requests are forgotten");
        budget.deposit(later);
        budget.deposit(later);
        assert_eq!(drain(&budget, later), 1, "and so are the repeats");
    }

    #[test]
    fn a_long_pause_and_a_clock_that_is_behind_do_no_harm() {
        let start = Instant::now();
        let budget = budget(100.0, 0, 1);
        budget.deposit(start + Duration::from_secs(3600));
        budget.deposit(start);
        assert!(budget.withdraw(start + Duration::from_secs(3600)));
        assert!(!budget.withdraw(start + Duration::from_secs(7200)));
    }

    #[test]
    fn workers_never_take_more_than_there_is() {
        let now = Instant::now();
        let budget = budget(0.0, 100, 10);
        let taken: usize = std::thread::scope(|scope| {
            let workers: Vec<_> =
                (0..4).map(|_| scope.spawn(|| (0..1000).filter(|_| budget.withdraw(now)).count())).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });
        assert!(taken <= 1000, "{taken}");
        let rest = drain(&budget, now);
        assert_eq!(taken + rest, 1000, "a refusal takes nothing");
    }
}
