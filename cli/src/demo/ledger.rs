//! What the load saw: every request's end, by the act of the demo and the policy under which it began.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use super::act::Act;

/// What the live view looks back on.
const RECENT: Duration = Duration::from_secs(5);
/// Failures that are kept with their reason.
const KEPT_FAILURES: usize = 5;

/// Under which policy a request began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Epoch {
    /// Every sidecar has taken up the demo's edit of this number.
    Edit(u32),
    /// An edit is on its way, or the file is the user's: not judged.
    Open,
}

/// One request's end.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The act in which it began.
    pub(super) act: Act,
    /// The policy under which it began.
    pub(super) epoch: Epoch,
    /// From when it was due to the end of its answer.
    pub(super) latency: Duration,
    /// The version that answered, or why none did.
    pub(super) result: Result<Version, String>,
}

/// A version of `reviews`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

/// Answers of both versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Split {
    pub(super) v1: u64,
    pub(super) v2: u64,
}

impl Split {
    /// All answers.
    pub(super) fn total(self) -> u64 {
        self.v1 + self.v2
    }

    /// The share of v1, 0 to 1; `None` before the first answer.
    pub(super) fn share(self) -> Option<f64> {
        (self.total() > 0).then(|| self.v1 as f64 / self.total() as f64)
    }

    fn count(&mut self, version: Version) {
        match version {
            Version::V1 => self.v1 += 1,
            Version::V2 => self.v2 += 1,
        }
    }
}

/// The latencies and the split of the last seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Recent {
    pub(super) p50: Duration,
    pub(super) p99: Duration,
    pub(super) split: Split,
}

/// All outcomes so far, summed up.
pub(super) struct Ledger {
    requests: u64,
    failures: HashMap<Act, u64>,
    kept: Vec<String>,
    splits: HashMap<u32, Split>,
    all: Histogram<u64>,
    recent: VecDeque<(Instant, Duration, Option<Version>)>,
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self {
            requests: 0,
            failures: HashMap::new(),
            kept: Vec::new(),
            splits: HashMap::new(),
            all: Histogram::new_with_max(60_000_000, 3)
                .expect("1 us to 60 s with three digits is a valid histogram"),
            recent: VecDeque::new(),
        }
    }

    /// Adds an outcome that came at `now`.
    pub(super) fn record(&mut self, now: Instant, outcome: Outcome) {
        self.requests += 1;
        self.all.saturating_record(u64::try_from(outcome.latency.as_micros()).unwrap_or(u64::MAX));
        let version = outcome.result.as_ref().ok().copied();
        self.recent.push_back((now, outcome.latency, version));
        while self.recent.front().is_some_and(|(then, ..)| now.duration_since(*then) > RECENT) {
            self.recent.pop_front();
        }
        match outcome.result {
            Ok(version) => {
                if let Epoch::Edit(edit) = outcome.epoch {
                    self.splits.entry(edit).or_default().count(version);
                }
            }
            Err(why) => {
                *self.failures.entry(outcome.act).or_default() += 1;
                if self.kept.len() < KEPT_FAILURES {
                    self.kept.push(format!("{}: {why}", outcome.act.name()));
                }
            }
        }
    }

    /// Requests that have ended.
    pub(super) fn requests(&self) -> u64 {
        self.requests
    }

    /// Requests that failed and began in an act for which `holds`.
    pub(super) fn failures(&self, holds: impl Fn(Act) -> bool) -> u64 {
        self.failures.iter().filter(|(act, _)| holds(**act)).map(|(_, count)| count).sum()
    }

    /// The first failures, in words.
    pub(super) fn kept_failures(&self) -> &[String] {
        &self.kept
    }

    /// The split of the answers to requests that began under the demo's edit of this number.
    pub(super) fn split(&self, edit: u32) -> Split {
        self.splits.get(&edit).copied().unwrap_or_default()
    }

    /// A quantile of all latencies.
    pub(super) fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.all.value_at_quantile(quantile))
    }

    /// The last seconds.
    pub(super) fn recent(&self) -> Recent {
        let mut recent = Recent::default();
        let mut latencies: Vec<Duration> = self.recent.iter().map(|(_, latency, _)| *latency).collect();
        latencies.sort_unstable();
        let at = |share: f64| {
            let index = (latencies.len() as f64 * share) as usize;
            latencies.get(index.min(latencies.len().saturating_sub(1))).copied().unwrap_or_default()
        };
        (recent.p50, recent.p99) = (at(0.5), at(0.99));
        self.recent
            .iter()
            .filter_map(|(.., version)| *version)
            .for_each(|version| recent.split.count(version));
        recent
    }
}
