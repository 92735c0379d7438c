//! Detectors, the cap, the last endpoint, times that grow and shrink, trials: with made-up time.

use std::time::{Duration, Instant};

use outrigger_config::model::{FailurePercent, OutlierDetection, SuccessRate};
use proptest::{collection::vec, prelude::*};

use super::{
    judge::Judged,
    tally::{Phase, Rate, Tally, Verdict},
    *,
};
use crate::telemetry::metrics::Detector;

const SECOND: Duration = Duration::from_secs(1);

fn limits() -> OutlierDetection {
    OutlierDetection { max_ejection_percent: 100.0, ..OutlierDetection::default() }
}

/// Feeds `verdicts`; gives how many of them it took to become a suspect, and of what.
fn fed(verdicts: &[Verdict], limits: &OutlierDetection) -> Option<(usize, Detector)> {
    let tally = Tally::default();
    let at = verdicts.iter().position(|verdict| tally.count(*verdict, limits))?;
    match tally.phase() {
        Phase::Suspect(why) => Some((at + 1, why)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_detector_counts_its_own_failures_in_a_row() {
    use Verdict::{GatewayError, Good, LocalError, Nothing, ServerError, Whole};
    let limits = OutlierDetection {
        consecutive_5xx: Some(4),
        consecutive_gateway_errors: Some(3),
        consecutive_local_errors: Some(2),
        ..limits()
    };
    let cases: [(&[Verdict], _); 9] = [
        (&[ServerError; 4], Some((4, Detector::Consecutive5xx))),
        (&[GatewayError; 3], Some((3, Detector::ConsecutiveGatewayErrors))),
        (&[LocalError; 2], Some((2, Detector::ConsecutiveLocalErrors))),
        // Any 5xx counts as one, and ends a run of gateway errors.
        (&[GatewayError, GatewayError, ServerError, GatewayError], Some((4, Detector::Consecutive5xx))),
        (&[ServerError, ServerError, ServerError, Good, ServerError], None),
        (&[GatewayError, GatewayError, Good, GatewayError, GatewayError], None),
        // A head ends no run of answers that break off; an answer's end does.
        (&[LocalError, Good, LocalError], Some((3, Detector::ConsecutiveLocalErrors))),
        (&[LocalError, Good, Whole, LocalError], None),
        (&[ServerError, Nothing, LocalError, ServerError, Nothing, ServerError], None),
    ];
    for (verdicts, expected) in cases {
        assert_eq!(fed(verdicts, &limits), expected, "{verdicts:?}");
    }
}

#[test]
fn without_a_detector_of_their_own_local_errors_are_gateway_errors() {
    let mut limits = OutlierDetection { consecutive_local_errors: None, ..limits() };
    let mixed = [Verdict::LocalError, Verdict::GatewayError].repeat(3);
    assert_eq!(fed(&mixed, &limits), Some((5, Detector::ConsecutiveGatewayErrors)));
    limits.consecutive_gateway_errors = None;
    assert_eq!(fed(&mixed, &limits), Some((5, Detector::Consecutive5xx)));
    assert_eq!(fed(&mixed, &OutlierDetection::off()), None);
}

#[test]
fn grpc_statuses_count_as_the_http_statuses_that_they_correspond_to() {
    for (codes, verdict) in [
        (&[0, 1, 3, 5, 6, 7, 8, 9, 10, 11, 16][..], Verdict::Good),
        (&[4, 14], Verdict::GatewayError),
        (&[2, 12, 13, 15, 17, 255], Verdict::ServerError),
    ] {
        codes.iter().for_each(|code| assert_eq!(Verdict::of_grpc(*code), verdict, "{code}"));
    }
    assert_eq!(Verdict::of_status(501), Verdict::ServerError);
    assert_eq!(Verdict::of_status(503), Verdict::GatewayError);
    assert_eq!(Verdict::of_status(429), Verdict::Good);
}

#[test]
fn only_one_of_many_workers_makes_a_suspect() {
    let tally = Tally::default();
    let limits = limits();
    let suspects: usize = std::thread::scope(|scope| {
        let feed = || (0..1000).filter(|_| tally.count(Verdict::ServerError, &limits)).count();
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(feed)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert_eq!(suspects, 1);
    assert_eq!(tally.runs()[0], 4000, "nothing is lost");
}

fn case(phase: Phase) -> Case {
    Case { phase, sentence: Sentence::default(), healthy: true, rate: None }
}

fn suspect() -> Case {
    case(Phase::Suspect(Detector::Consecutive5xx))
}

fn changes(judged: &[Judged]) -> Vec<(usize, Change)> {
    judged.iter().map(|judged| (judged.index, judged.change)).collect()
}

fn out(cases: &[Case]) -> usize {
    cases.iter().filter(|case| case.phase.is_out()).count()
}

#[test]
fn the_share_that_is_out_is_capped_but_one_may_always_go() {
    for (hosts, percent, most) in
        [(10, 10.0, 1), (10, 35.0, 3), (3, 10.0, 1), (20, 10.0, 2), (5, 100.0, 4), (1, 100.0, 0)]
    {
        let limits = OutlierDetection { max_ejection_percent: percent, ..limits() };
        let mut cases = vec![suspect(); hosts];
        let judged = judge(&mut cases, &limits, Instant::now());
        assert_eq!(out(&cases), most, "{hosts} hosts, {percent} %");
        let withheld = judged.iter().filter(|one| matches!(one.change, Change::Withheld(_))).count();
        assert_eq!(withheld, hosts - most);
        assert!(cases.iter().all(|case| !matches!(case.phase, Phase::Suspect(_))));
    }
}

#[test]
fn the_last_usable_endpoint_is_never_ejected_and_released_if_it_would_be() {
    let unhealthy = Case { healthy: false, ..case(Phase::InUse) };
    let mut cases = vec![unhealthy, unhealthy, suspect()];
    judge(&mut cases, &limits(), Instant::now());
    assert_eq!(cases[2].phase, Phase::InUse);
    // The others have gone, or gone bad, after it was ejected.
    for phase in [Phase::Ejected, Phase::HalfOpen, Phase::Failed] {
        let mut cases = vec![case(phase), unhealthy];
        cases[0].sentence.due = Some(Instant::now() + SECOND * 30);
        let judged = judge(&mut cases, &limits(), Instant::now());
        assert_eq!(cases[0].phase, Phase::InUse, "{phase:?}");
        assert_eq!(changes(&judged).last(), Some(&(0, Change::Released)));
    }
}

#[test]
fn ejections_grow_longer_and_are_forgotten_again() {
    let limits = OutlierDetection { base_ejection: SECOND * 30, max_ejection: SECOND * 100, ..limits() };
    let mut now = Instant::now();
    let mut cases = vec![suspect(), case(Phase::InUse)];
    for expected in [30, 60, 90, 100, 100] {
        let judged = judge(&mut cases, &limits, now);
        let Change::Ejected(why, time) = judged[0].change else { panic!("{judged:?}") };
        assert_eq!(time, SECOND * expected);
        assert_eq!(why, if expected == 30 { Detector::Consecutive5xx } else { Detector::Probe });
        assert!(judge(&mut cases, &limits, now + time - SECOND).is_empty(), "not before its time");
        now += time;
        assert_eq!(changes(&judge(&mut cases, &limits, now)), [(0, Change::HalfOpen)]);
        cases[0].phase = Phase::Failed;
    }
    cases[0].phase = Phase::Passed;
    assert_eq!(changes(&judge(&mut cases, &limits, now)), [(0, Change::Returned)]);
    assert_eq!(cases[0].sentence.times, 5);
    // Each interval in use takes one off.
    for left in (0..5).rev() {
        assert!(judge(&mut cases, &limits, now + limits.interval - SECOND).is_empty());
        now += limits.interval;
        assert_eq!(changes(&judge(&mut cases, &limits, now)), [(0, Change::Forgiven)]);
        assert_eq!(cases[0].sentence.times, left);
    }
    assert!(judge(&mut cases, &limits, now + SECOND * 1000).is_empty());
}

#[test]
fn nothing_stays_ejected_where_nobody_judges() {
    let mut cases = vec![case(Phase::Ejected), case(Phase::HalfOpen), suspect(), case(Phase::InUse)];
    judge(&mut cases, &OutlierDetection::off(), Instant::now());
    assert!(cases.iter().all(|case| case.phase == Phase::InUse));
}

fn rated(rates: &[(u32, u32)]) -> Vec<Case> {
    let of = |(requests, failures)| Case { rate: Some(Rate { requests, failures }), ..case(Phase::InUse) };
    rates.iter().copied().map(of).collect()
}

/// Which endpoints are ejected for their rates, and by what.
fn ejected(rates: &[(u32, u32)], limits: &OutlierDetection) -> Vec<(usize, Detector)> {
    let judged = judge(&mut rated(rates), limits, Instant::now());
    let of = |judged: &Judged| match judged.change {
        Change::Ejected(why, _) => Some((judged.index, why)),
        _ => None,
    };
    judged.iter().filter_map(of).collect()
}

#[test]
fn a_success_rate_far_below_the_others_ejects() {
    let limits = OutlierDetection { success_rate: Some(SuccessRate::default()), ..limits() };
    let good = (100, 1);
    let why = Detector::SuccessRate;
    assert_eq!(ejected(&[good, good, (100, 40), good, good], &limits), [(2, why)]);
    assert_eq!(ejected(&[good, good, (100, 40), good], &limits), [], "too few endpoints");
    assert_eq!(ejected(&[good, good, (99, 40), good, good], &limits), [], "too few requests");
    assert_eq!(ejected(&[good, (100, 50), (100, 50), (100, 50), (100, 50)], &limits), [], "the mean is bad");
    assert_eq!(ejected(&[good; 6], &limits), []);
    let strict = SuccessRate { stdev_factor: 1.0, ..SuccessRate::default() };
    let limits = OutlierDetection { success_rate: Some(strict), ..limits };
    let many = [good, good, good, good, good, good, (100, 60), (100, 90)];
    assert_eq!(ejected(&many, &limits), [(7, why), (6, why)], "the worst first");
}

#[test]
fn a_failure_percentage_at_the_threshold_ejects() {
    let own = FailurePercent { threshold: 85.0, min_hosts: 2, min_requests: 20 };
    let limits = OutlierDetection { failure_percent: Some(own), ..limits() };
    let why = Detector::FailurePercent;
    assert_eq!(ejected(&[(20, 17), (20, 16), (20, 0)], &limits), [(0, why)]);
    assert_eq!(ejected(&[(20, 17), (19, 0)], &limits), [], "one endpoint with enough requests");
    assert_eq!(ejected(&[(20, 20), (20, 20), (20, 20)], &limits).len(), 2, "one is always left");
}

proptest! {
    #[test]
    fn the_cap_and_the_last_endpoint_hold_whatever_happens(
        endpoints in vec((0u8..7, any::<bool>(), 0u32..50), 1..20),
        percent in 0u32..=100,
        rounds in 1usize..4,
    ) {
        let phase = |kind| match kind {
            0 => Phase::Suspect(Detector::ConsecutiveLocalErrors),
            1 => Phase::Ejected,
            2 => Phase::HalfOpen,
            3 => Phase::Passed,
            4 => Phase::Failed,
            _ => Phase::InUse,
        };
        let mut cases: Vec<Case> = endpoints
            .iter()
            .map(|(kind, healthy, failures)| Case {
                healthy: *healthy,
                rate: Some(Rate { requests: 50, failures: *failures }),
                ..case(phase(*kind))
            })
            .collect();
        let rates = FailurePercent { threshold: 20.0, min_hosts: 1, min_requests: 1 };
        let limits = OutlierDetection {
            max_ejection_percent: f64::from(percent),
            failure_percent: Some(rates),
            ..OutlierDetection::default()
        };
        let now = Instant::now();
        for round in 0..rounds {
            let before = out(&cases);
            judge(&mut cases, &limits, now + SECOND * 60 * round as u32);
            let most = (cases.len() * percent as usize / 100).max(1);
            prop_assert!(out(&cases) <= most.max(before), "{} of {}", out(&cases), cases.len());
            let healthy = cases.iter().filter(|case| case.healthy).count();
            let usable = cases.iter().filter(|case| case.healthy && case.phase.is_in_use()).count();
            prop_assert!(usable > 0 || healthy == 0);
            prop_assert!(cases.iter().all(|case| !matches!(case.phase, Phase::Suspect(_) | Phase::Passed | Phase::Failed)));
        }
    }
}
