//! What the demo does to its mesh, one thing at a time, and what there is to see while it does.

use std::time::Duration;

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Act {
    Calm,
    Errors,
    Resets,
    Unavailable,
    Slow,
    Kill,
    Outage,
    Weights,
    BadEdit,
}

impl Act {
    /// The order in which the timer plays them.
    pub(super) const ALL: [Act; 9] = [
        Act::Calm,
        Act::Errors,
        Act::Resets,
        Act::Unavailable,
        Act::Slow,
        Act::Kill,
        Act::Outage,
        Act::Weights,
        Act::BadEdit,
    ];

    /// Its name, in the log of events and in failures.
    pub(super) fn name(self) -> &'static str {
        match self {
            Act::Calm => "calm",
            Act::Errors => "errors",
            Act::Resets => "resets",
            Act::Unavailable => "unavailable",
            Act::Slow => "slow",
            Act::Kill => "kill",
            Act::Outage => "outage",
            Act::Weights => "weights",
            Act::BadEdit => "bad edit",
        }
    }

    /// The key that starts it.
    pub(super) fn key(self) -> u8 {
        match self {
            Act::Calm => b'c',
            Act::Errors => b'e',
            Act::Resets => b'r',
            Act::Unavailable => b'u',
            Act::Slow => b's',
            Act::Kill => b'k',
            Act::Outage => b'o',
            Act::Weights => b'w',
            Act::BadEdit => b'b',
        }
    }

    /// What happens.
    pub(super) fn happens(self) -> &'static str {
        match self {
            Act::Calm => "Nothing is wrong.",
            Act::Errors => "reviews-v1-a answers 503 to half of its requests.",
            Act::Resets => "reviews-v1-b closes the connection on a third of its requests.",
            Act::Unavailable => "ratings-a answers UNAVAILABLE (gRPC 14) to half of its calls.",
            Act::Slow => "reviews-v1-a takes 2 seconds for every answer.",
            Act::Kill => "The sidecar of reviews-v1-b is killed (SIGKILL), and comes back.",
            Act::Outage => "Both replicas of reviews v2 answer 503 to everything, and recover.",
            Act::Weights => "The weights of reviews v1 and v2 are edited in the policy file.",
            Act::BadEdit => "The policy file is edited and a field is misspelled.",
        }
    }

    /// What to look at, and why it is so.
    pub(super) fn look_at(self) -> &'static str {
        match self {
            Act::Calm => "Latency: seven services' and sidecars' worth of hops.",
            Act::Errors => "Retries rise, success stays: each 503 is repeated on the other replica.",
            Act::Resets => "Retries rise, success stays: a GET may be repeated after a reset.",
            Act::Unavailable => "Retries rise: the policy says that ratings is idempotent.",
            Act::Slow => "p99 stays low: after 250 ms an attempt goes to the other replica.",
            Act::Kill => "Success stays: refused and broken connections move to the other replica.",
            Act::Outage => "v2's circuit breaker opens, v1 answers for it; probes close it again.",
            Act::Weights => "The split follows at once; no request fails, the gRPC stream stays open.",
            Act::BadEdit => "It is refused with file:line:col in the log; the policy before it stays.",
        }
    }

    /// Its share of an unattended run.
    pub(super) fn share(self) -> f64 {
        match self {
            Act::Calm => 0.08,
            Act::Weights => 0.22,
            Act::Kill | Act::Outage => 0.14,
            Act::Errors | Act::Resets | Act::Unavailable | Act::Slow | Act::BadEdit => 0.084,
        }
    }

    /// How long the timer plays it where somebody looks on.
    pub(super) fn attended(self) -> Duration {
        match self {
            Act::Weights => Duration::from_secs(12),
            _ => Duration::from_secs(8),
        }
    }

    /// Whether failures in it are failures of a reload, not of retries.
    pub(super) fn is_edit(self) -> bool {
        matches!(self, Act::Weights | Act::BadEdit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_are_the_whole() {
        let sum: f64 = Act::ALL.iter().map(|act| act.share()).sum();
        assert!((sum - 1.0).abs() < 0.001, "{sum}");
    }

    #[test]
    fn every_line_fits() {
        for act in Act::ALL {
            assert!(act.happens().len() <= 74 && act.look_at().len() <= 74, "{act:?}");
        }
    }
}
