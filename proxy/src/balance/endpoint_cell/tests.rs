//! What attempts and checks make of the set that is chosen from: ejected, on trial, back, panic, churn; with made-up time.

use std::{sync::Arc, time::Duration};

use outrigger_config::model::{Balance, Endpoint as Listing, Origin, OutlierDetection, TrafficSettings};

use super::*;
use crate::{
    balance::{Ask, Balancer, Verdict, Visit},
    decide::{Dice, Purpose},
};

const SECOND: Duration = Duration::from_secs(1);

fn address(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], 80))
}

fn listings(count: u8) -> Vec<Listing> {
    let one = |number| Listing {
        address: model::EndpointAddress::Ip(address(number)),
        weight: 1,
        zone: None,
        labels: Default::default(),
        identity: None,
        origin: Origin { file: "policy.yaml".into(), line: 1, column: 1 },
    };
    (0..count).map(one).collect()
}

fn settings(max_ejection_percent: f64, panic_below: f64) -> TrafficSettings {
    let outlier_detection =
        OutlierDetection { consecutive_5xx: Some(1), max_ejection_percent, ..OutlierDetection::default() };
    let mut settings = TrafficSettings { outlier_detection, ..TrafficSettings::default() };
    settings.load_balancer.panic_below = panic_below;
    settings
}

struct Bench {
    cell: Arc<EndpointCell>,
    balancer: Balancer,
    now: Instant,
    dice: u64,
}

impl Bench {
    fn new(count: u8, settings: &TrafficSettings) -> Self {
        let cell = Arc::new(EndpointCell::default());
        cell.replace(&listings(count));
        cell.govern(settings, Bell::silent());
        Self { cell, balancer: Balancer::default(), now: Instant::now(), dice: 0 }
    }

    fn pick(&mut self) -> Option<Visit> {
        self.dice += 1;
        let ask = Ask { tried: &[], now: self.now, stay: None, key: None };
        let mut dice = Dice::split(self.dice, Purpose::Endpoint { attempt: 0 });
        self.balancer.pick(&self.cell, Balance::RoundRobin, ask, &mut dice)
    }

    /// The endpoints that are picked in some turns; all of them are done at once and say nothing.
    fn picked(&mut self) -> Vec<u8> {
        let mut picked: Vec<u8> = (0..30)
            .filter_map(|_| self.pick())
            .map(|visit| match visit.address.ip() {
                IpAddr::V4(ip) => ip.octets()[3],
                IpAddr::V6(_) => u8::MAX,
            })
            .collect();
        picked.sort_unstable();
        picked.dedup();
        picked
    }

    /// One attempt at this endpoint comes to this.
    fn attempt(&mut self, number: u8, verdict: Verdict) {
        loop {
            let visit = self.pick().expect("there is one");
            if visit.address == address(number) {
                return visit.tell(verdict);
            }
        }
    }

    fn attend(&self) -> Vec<(SocketAddr, Change)> {
        self.cell.attend(self.now).changes
    }
}

#[test]
fn a_suspect_is_passed_over_at_once_and_ejected_when_it_is_judged() {
    let mut bench = Bench::new(3, &settings(50.0, 0.0));
    bench.attempt(1, Verdict::ServerError);
    assert_eq!(bench.picked(), [0, 2], "before anybody has judged it");
    assert_eq!(bench.cell.load().len(), 3);
    let changes = bench.attend();
    assert!(
        matches!(changes[..], [(who, Change::Ejected(_, time))] if who == address(1) && time == SECOND * 30)
    );
    let set = bench.cell.load();
    assert_eq!((set.len(), set.all().len(), set.version()), (2, 3, bench.cell.version()));
    assert_eq!(bench.cell.attend(bench.now).next, Some(bench.now + SECOND * 30));
    assert_eq!(bench.picked(), [0, 2]);
}

#[test]
fn an_endpoint_that_was_ejected_is_passed_over_before_the_next_set_is_here() {
    let mut bench = Bench::new(3, &settings(50.0, 0.0));
    bench.attempt(1, Verdict::ServerError);
    let set = bench.cell.load();
    let tally = &set.all()[1].state.tally;
    assert!(tally.advance(tally.phase(), Phase::Ejected));
    assert_eq!((bench.cell.load().len(), bench.picked()), (3, vec![0, 2]));
}

#[test]
fn an_endpoint_on_trial_has_one_probe_and_its_verdict_decides() {
    let mut bench = Bench::new(2, &settings(50.0, 0.0));
    bench.attempt(0, Verdict::GatewayError);
    bench.attend();
    bench.now += SECOND * 30;
    assert!(matches!(bench.attend()[..], [(_, Change::HalfOpen)]));
    let probe = bench.pick().expect("the probe");
    assert_eq!(probe.address, address(0), "it comes first");
    assert_eq!(bench.picked(), [1], "and is the only one");
    bench.now += SECOND * 1000;
    assert_eq!(bench.picked(), [1], "however long it takes");
    drop(probe);
    assert!(bench.attend().is_empty());
    let probe = bench.pick().expect("another probe, since the first said nothing");
    assert_eq!(probe.address, address(0));
    probe.tell(Verdict::LocalError);
    // What it says after that is not asked for.
    probe.tell(Verdict::Whole);
    assert_eq!(bench.picked(), [1]);
    assert!(matches!(bench.attend()[..], [(_, Change::Ejected(_, time))] if time == SECOND * 60));
    bench.now += SECOND * 60;
    bench.attend();
    let probe = bench.pick().expect("a probe");
    probe.tell(Verdict::Good);
    assert!(matches!(bench.attend()[..], [(_, Change::Returned)]));
    assert_eq!(bench.picked(), [0, 1]);
}

#[test]
fn a_probe_that_has_begun_and_says_no_more_gives_way() {
    let mut bench = Bench::new(2, &settings(50.0, 0.0));
    bench.attempt(0, Verdict::GatewayError);
    bench.attend();
    bench.now += SECOND * 30;
    bench.attend();
    let silent = bench.pick().expect("a probe");
    silent.tell(Verdict::Begun);
    assert_eq!(bench.picked(), [1]);
    bench.now += SECOND * 31;
    let second = bench.pick().expect("another probe");
    assert_eq!(second.address, address(0));
    assert_eq!(bench.picked(), [1]);
    silent.moved();
    assert!(bench.attend().is_empty(), "its time was over");
    second.tell(Verdict::Begun);
    second.moved();
    assert!(matches!(bench.attend()[..], [(_, Change::Returned)]));
}

#[test]
fn many_workers_make_one_probe() {
    let mut bench = Bench::new(2, &settings(50.0, 0.0));
    bench.attempt(0, Verdict::GatewayError);
    bench.attend();
    bench.now += SECOND * 30;
    bench.attend();
    let (cell, now) = (&bench.cell, bench.now);
    let probes: usize = std::thread::scope(|scope| {
        let pick = || {
            let balancer = Balancer::default();
            let ask = Ask { tried: &[], now, stay: None, key: None };
            let all: Vec<Visit> = (0..1000)
                .filter_map(|n| {
                    let mut dice = Dice::split(n, Purpose::Endpoint { attempt: 0 });
                    balancer.pick(cell, Balance::Random, ask, &mut dice)
                })
                .collect();
            let probes = all.iter().filter(|visit| visit.address == address(0)).count();
            std::mem::forget(all);
            probes
        };
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(pick)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert_eq!(probes, 1);
}

#[test]
fn too_few_usable_endpoints_are_as_good_as_all() {
    let mut bench = Bench::new(4, &settings(100.0, 50.0));
    for number in 0..2 {
        bench.attempt(number, Verdict::ServerError);
    }
    assert!(!bench.cell.attend(bench.now).panic, "half of them is not below half");
    assert_eq!(bench.picked(), [2, 3]);
    bench.attempt(2, Verdict::ServerError);
    let found = bench.cell.attend(bench.now);
    assert!(found.panic && found.panicked && found.states == [1, 3, 0, 0]);
    assert!(!bench.cell.attend(bench.now).panicked, "it is told once");
    assert_eq!(bench.picked(), [0, 1, 2, 3]);
    // In a panic too, the first request after its time decides about an endpoint.
    bench.now += SECOND * 30;
    bench.attend();
    bench.attempt(1, Verdict::Good);
    assert!(bench.attend().contains(&(address(1), Change::Returned)));
    assert!(!bench.cell.load().panics());
}

#[test]
fn ejections_stay_with_endpoints_that_stay() {
    let mut bench = Bench::new(3, &settings(50.0, 0.0));
    bench.attempt(1, Verdict::ServerError);
    bench.attend();
    bench.cell.replace(&listings(5));
    assert_eq!((bench.cell.load().len(), bench.picked()), (4, vec![0, 2, 3, 4]));
    let other = OutlierDetection { consecutive_5xx: Some(9), ..settings(50.0, 0.0).outlier_detection };
    let other = TrafficSettings { outlier_detection: other, ..settings(50.0, 0.0) };
    bench.cell.govern(&other, Bell::silent());
    assert!(bench.attend().is_empty());
    assert_eq!(bench.picked(), [0, 2, 3, 4]);
    let off = TrafficSettings { outlier_detection: OutlierDetection::off(), ..settings(50.0, 0.0) };
    bench.cell.govern(&off, Bell::silent());
    assert!(matches!(bench.attend()[..], [(_, Change::Released)]));
    assert_eq!(bench.picked(), [0, 1, 2, 3, 4]);
}

#[test]
fn checks_count_while_they_are_the_cells_own() {
    let mut bench = Bench::new(3, &settings(50.0, 0.0));
    let check = |bench: &Bench, by, health| {
        let last = LastCheck { at: std::time::SystemTime::now(), failure: None };
        bench.cell.checked(by, address(0), health, last);
    };
    let first = bench.cell.begin_checks();
    check(&bench, first, Health::Unhealthy);
    assert_eq!(bench.picked(), [1, 2]);
    check(&bench, first, Health::Healthy);
    assert_eq!(bench.picked(), [0, 1, 2]);
    check(&bench, first, Health::Unhealthy);
    bench.cell.forget_checks();
    assert_eq!(bench.picked(), [0, 1, 2]);
    check(&bench, first, Health::Unhealthy);
    assert_eq!(bench.picked(), [0, 1, 2], "it comes too late");
    // An endpoint that is ejected and unhealthy must be both again.
    let second = bench.cell.begin_checks();
    bench.attempt(0, Verdict::ServerError);
    bench.attend();
    check(&bench, second, Health::Unhealthy);
    bench.now += SECOND * 30;
    bench.attend();
    assert_eq!(bench.picked(), [1, 2], "nobody tries what is unhealthy");
    check(&bench, second, Health::Healthy);
    bench.attempt(0, Verdict::Good);
    bench.attend();
    assert_eq!(bench.picked(), [0, 1, 2]);
}
