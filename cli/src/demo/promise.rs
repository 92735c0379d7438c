//! What the demo promises, and whether it held: evidence in, verdicts out.

use std::time::Duration;

use super::ledger::Split;

/// The longest p99 that the demo takes. One replica answers after 2 s for a while, and an attempt may take 250 ms.
const P99: Duration = Duration::from_secs(1);
/// Fewer answers than this under one policy say nothing about a split.
const ENOUGH: u64 = 30;

/// What was seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    /// Requests that ended.
    pub(super) requests: u64,
    /// Those that failed while a replica was made to fail.
    pub(super) fault_failures: u64,
    /// Those that failed while the policy was edited.
    pub(super) edit_failures: u64,
    /// The first failures, in words.
    pub(super) failures: Vec<String>,
    /// Whether a replica was made to fail at all.
    pub(super) faults_played: bool,
    /// Attempts that the sidecars repeated.
    pub(super) retries: u64,
    /// p99 of all requests.
    pub(super) p99: Duration,
    /// For each edit of the weights: v1 and v2, and what came of it.
    pub(super) splits: Vec<((u32, u32), Split)>,
    /// What went wrong with edits that are valid.
    pub(super) late: Vec<String>,
    /// Misspelled edits that were made.
    pub(super) bad_edits: u32,
    /// What went wrong with them.
    pub(super) accepted: Vec<String>,
    /// Why the gRPC stream ended, if it has.
    pub(super) stream_ended: Option<String>,
    /// What came of the outage of a whole version; `None`: there was none.
    pub(super) outage: Option<Outage>,
    /// Requests that the sidecar of `frontend` counted; `None` where one was killed with its counters.
    pub(super) counted: Option<u64>,
}

/// What was seen of the outage of a whole version, in the metrics of the sidecar of `frontend`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outage {
    /// How often a circuit breaker has opened.
    pub(super) opened: u64,
    /// Requests that the other version has answered.
    pub(super) fell_back: u64,
    /// Whether all circuit breakers have closed again.
    pub(super) closed: bool,
    /// Requests that failed meanwhile.
    pub(super) failures: u64,
}

/// One promise and how it fared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// The word for it.
    pub(super) name: &'static str,
    /// What was promised.
    pub(super) promise: &'static str,
    /// `None`: it held. Else what broke it.
    pub(super) broken: Option<String>,
}

/// All promises, in a fixed order.
pub(super) fn judge(evidence: &Evidence) -> Vec<Verdict> {
    [
        ("retry", "a replica that fails costs no request", retry(evidence)),
        ("latency", "a replica that is slow does not make p99 slow", latency(evidence)),
        ("breaker", "a version that is down is left in peace, and costs nothing", breaker(evidence)),
        ("reload", "a policy edit loses no request and no stream", reload(evidence)),
        ("split", "the versions get the shares that the policy says", split(evidence)),
        ("bad-edit", "a bad edit is refused and the policy before it stays", bad_edit(evidence)),
        ("metrics", "the sidecars count what really happened", metrics(evidence)),
    ]
    .into_iter()
    .map(|(name, promise, broken)| Verdict { name, promise, broken })
    .collect()
}

fn retry(evidence: &Evidence) -> Option<String> {
    if evidence.fault_failures > 0 {
        let first = evidence.failures.first().map(String::as_str).unwrap_or_default();
        return Some(format!(
            "{} of {} requests failed; {first}",
            evidence.fault_failures, evidence.requests
        ));
    }
    if evidence.requests == 0 {
        return Some("no request was made".into());
    }
    (evidence.faults_played && evidence.retries == 0).then(|| "no sidecar repeated anything".into())
}

fn breaker(evidence: &Evidence) -> Option<String> {
    let outage = evidence.outage?;
    if outage.failures > 0 {
        return Some(format!("{} requests failed while reviews v2 was down", outage.failures));
    }
    if outage.opened == 0 {
        return Some("no circuit breaker opened while reviews v2 was down".into());
    }
    if outage.fell_back == 0 {
        return Some("reviews v1 answered nothing for v2 while that was down".into());
    }
    (!outage.closed).then(|| "the circuit breaker of reviews v2 did not close again".into())
}

fn latency(evidence: &Evidence) -> Option<String> {
    (evidence.p99 > P99).then(|| format!("p99 was {:?}, the bound is {P99:?}", evidence.p99))
}

fn reload(evidence: &Evidence) -> Option<String> {
    if evidence.edit_failures > 0 {
        let count = evidence.edit_failures;
        return Some(format!("{count} requests failed while the policy was edited"));
    }
    if let Some(why) = &evidence.stream_ended {
        return Some(format!("the gRPC stream ended: {why}"));
    }
    evidence.late.first().cloned()
}

fn split(evidence: &Evidence) -> Option<String> {
    evidence.splits.iter().find_map(|((v1, v2), split)| {
        let (share, expected) = (split.share()?, f64::from(*v1) / f64::from((v1 + v2).max(1)));
        // Four and a half standard deviations: one run in 100,000 goes beyond by chance.
        let spread = 4.5 * (expected * (1.0 - expected) / split.total() as f64).sqrt() + 0.01;
        (split.total() >= ENOUGH && (share - expected).abs() > spread)
            .then(|| format!("v1 got {:.0} % where the weights were {v1} and {v2}", share * 100.0))
    })
}

fn bad_edit(evidence: &Evidence) -> Option<String> {
    evidence.accepted.first().cloned()
}

fn metrics(evidence: &Evidence) -> Option<String> {
    let counted = evidence.counted?;
    (counted != evidence.requests)
        .then(|| format!("the sidecar of frontend counted {counted}, the load made {}", evidence.requests))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTAGE: Outage = Outage { opened: 2, fell_back: 9, closed: true, failures: 0 };

    fn good() -> Evidence {
        Evidence {
            requests: 1000,
            faults_played: true,
            retries: 50,
            p99: Duration::from_millis(300),
            splits: vec![((90, 10), Split { v1: 893, v2: 107 }), ((50, 50), Split { v1: 10, v2: 1 })],
            bad_edits: 1,
            outage: Some(OUTAGE),
            counted: Some(1000),
            ..Evidence::default()
        }
    }

    fn broken(evidence: &Evidence) -> Vec<&'static str> {
        judge(evidence)
            .iter()
            .filter(|verdict| verdict.broken.is_some())
            .map(|verdict| verdict.name)
            .collect()
    }

    #[test]
    fn each_promise_can_break() {
        assert_eq!(broken(&good()), Vec::<&str>::new());
        assert_eq!(broken(&Evidence { fault_failures: 1, ..good() }), ["retry"]);
        assert_eq!(broken(&Evidence { retries: 0, ..good() }), ["retry"]);
        assert_eq!(broken(&Evidence { p99: Duration::from_secs(2), ..good() }), ["latency"]);
        for outage in [
            Outage { failures: 1, ..OUTAGE },
            Outage { opened: 0, ..OUTAGE },
            Outage { fell_back: 0, ..OUTAGE },
            Outage { closed: false, ..OUTAGE },
        ] {
            assert_eq!(broken(&Evidence { outage: Some(outage), ..good() }), ["breaker"]);
        }
        assert_eq!(broken(&Evidence { edit_failures: 1, ..good() }), ["reload"]);
        assert_eq!(broken(&Evidence { stream_ended: Some("x".into()), ..good() }), ["reload"]);
        assert_eq!(broken(&Evidence { late: vec!["x".into()], ..good() }), ["reload"]);
        let splits = vec![((50, 50), Split { v1: 90, v2: 10 })];
        assert_eq!(broken(&Evidence { splits, ..good() }), ["split"]);
        assert_eq!(broken(&Evidence { accepted: vec!["x".into()], ..good() }), ["bad-edit"]);
        assert_eq!(broken(&Evidence { counted: Some(999), ..good() }), ["metrics"]);
    }
}
