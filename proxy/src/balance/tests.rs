//! Shares, repeats, load, and endpoints that come and go.

use std::time::Duration;

use outrigger_config::model::{self, Origin};
use proptest::{collection::vec, prelude::*};

use super::*;
use crate::decide::Purpose;

const ALL: [Balance; 4] = [Balance::LeastRequest, Balance::PeakEwma, Balance::RoundRobin, Balance::Random];

fn listed(address: model::EndpointAddress, weight: u32) -> model::Endpoint {
    model::Endpoint {
        address,
        weight,
        zone: None,
        labels: Default::default(),
        identity: None,
        origin: Origin { file: "policy.yaml".into(), line: 1, column: 1 },
    }
}

fn address(number: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, (number >> 8) as u8, number as u8], 80))
}

/// Endpoints 0, 1, 2, ... with these weights.
fn endpoints(weights: &[u32]) -> Vec<model::Endpoint> {
    let numbered = weights.iter().enumerate();
    numbered.map(|(n, weight)| listed(model::EndpointAddress::Ip(address(n)), *weight)).collect()
}

fn cell(weights: &[u32]) -> Arc<EndpointCell> {
    let cell = EndpointCell::default();
    cell.replace(&endpoints(weights));
    Arc::new(cell)
}

fn dice(n: u64) -> Dice {
    Dice::split(n, Purpose::Endpoint { attempt: 0 })
}

/// How often each endpoint is picked of `picks`, all of them done at once.
fn shares(cell: &Arc<EndpointCell>, policy: Balance, picks: u64) -> Vec<u64> {
    let balancer = Balancer::default();
    let now = Instant::now();
    let mut counts = vec![0; cell.load().len()];
    for n in 0..picks {
        let picked = balancer
            .pick(cell, policy, Ask { tried: &[], stay: None, key: None, now }, &mut dice(n))
            .unwrap();
        counts[cell.load().endpoints().iter().position(|one| one.address == picked.address).unwrap()] += 1;
    }
    counts
}

#[test]
fn one_and_none() {
    let ask = Ask { tried: &[address(0)], stay: None, key: None, now: Instant::now() };
    for policy in ALL {
        assert!(Balancer::default().pick(&cell(&[]), policy, ask, &mut dice(0)).is_none());
        let only = Balancer::default().pick(&cell(&[1]), policy, ask, &mut dice(0)).unwrap();
        assert_eq!(only.address, address(0), "tried, but there is no other");
    }
}

#[test]
fn round_robin_is_exact_and_spread_out() {
    assert_eq!(shares(&cell(&[5, 1, 1]), Balance::RoundRobin, 700), [500, 100, 100]);
    let cell = cell(&[1, 1, 1]);
    let balancer = Balancer::default();
    let ask = Ask { tried: &[], stay: None, key: None, now: Instant::now() };
    let order: Vec<_> = (0..6)
        .map(|n| balancer.pick(&cell, Balance::RoundRobin, ask, &mut dice(n)).unwrap().address)
        .collect();
    assert_eq!(order[..3], order[3..]);
    assert!(order[0] != order[1] && order[1] != order[2] && order[0] != order[2]);
}

#[test]
fn least_request_prefers_the_idle_relative_to_weight() {
    let cell = cell(&[1, 4]);
    let set = cell.load();
    let balancer = Balancer::default();
    let ask = Ask { tried: &[], stay: None, key: None, now: Instant::now() };
    let pick = |n| balancer.pick(&cell, Balance::LeastRequest, ask, &mut dice(n)).unwrap().address;
    let small = set.endpoints()[0].state.begin();
    assert!((0..100).all(|n| pick(n) == address(1)));
    let large: Vec<_> = (0..5).map(|_| set.endpoints()[1].state.begin()).collect();
    assert!((0..100).all(|n| pick(n) == address(0)), "5 of 4 is more than 1 of 1");
    drop((small, large));
    assert!((0..100).any(|n| pick(n) == address(0)) && (0..100).any(|n| pick(n) == address(1)));
}

#[test]
fn peak_ewma_leaves_the_slow_one_and_comes_back() {
    let cell = cell(&[1, 1]);
    let set = cell.load();
    let balancer = Balancer::default();
    let start = Instant::now();
    let pick = |n, now| {
        balancer
            .pick(&cell, Balance::PeakEwma, Ask { tried: &[], stay: None, key: None, now }, &mut dice(n))
            .unwrap()
            .address
    };
    set.endpoints()[0].state.observe(Duration::from_millis(1), start);
    set.endpoints()[1].state.observe(Duration::from_millis(50), start);
    assert!((0..100).all(|n| pick(n, start) == address(0)));
    let later = start + Duration::from_secs(60);
    set.endpoints()[0].state.observe(Duration::from_millis(1), later);
    assert!((0..100).all(|n| pick(n, later) == address(1)), "left alone for a minute, it is tried again");
}

#[test]
fn endpoints_that_stay_keep_their_load() {
    let cell = cell(&[1, 1, 1]);
    let before = cell.load();
    let version = cell.version();
    cell.replace(&endpoints(&[1, 1, 1]));
    assert_eq!(cell.version(), version, "the same list is no change");
    cell.replace(&endpoints(&[1, 2]));
    let after = cell.load();
    assert_eq!((cell.version(), after.len()), (version + 1, 2));
    assert!(Arc::ptr_eq(&before.endpoints()[0], &after.endpoints()[0]));
    assert!(Arc::ptr_eq(&before.endpoints()[1].state, &after.endpoints()[1].state));
    assert_eq!((before.endpoints()[1].weight, after.endpoints()[1].weight), (1, 2));
}

#[test]
fn names_bring_their_addresses() {
    let cell = EndpointCell::default();
    let name =
        |weight| listed(model::EndpointAddress::Dns { host: "reviews.internal".into(), port: 80 }, weight);
    let ip = |n: usize| address(n).ip();
    let show = || -> Vec<_> { cell.load().endpoints().iter().map(|one| (one.address, one.weight)).collect() };
    cell.set_dns("reviews.internal", 80, vec![ip(1)]);
    assert_eq!(show(), [], "a name that is not listed brings nothing");
    cell.replace(&[name(2), endpoints(&[3]).remove(0)]);
    assert_eq!(cell.dns_names(), [("reviews.internal".into(), 80)]);
    assert_eq!(show(), [(address(0), 3)]);
    cell.set_dns("reviews.internal", 80, vec![ip(2), ip(1), ip(2)]);
    assert_eq!(show(), [(address(1), 2), (address(2), 2), (address(0), 3)]);
    let version = cell.version();
    cell.set_dns("reviews.internal", 80, vec![ip(1), ip(2)]);
    assert_eq!(cell.version(), version, "another order is no change");
    cell.replace(&[name(1)]);
    assert_eq!(show(), [(address(1), 1), (address(2), 1)], "a name that stays keeps its addresses");
    cell.set_dns("reviews.internal", 80, vec![ip(0)]);
    cell.replace(&[name(1), endpoints(&[3]).remove(0)]);
    assert_eq!(show(), [(address(0), 4)], "an address that comes twice has both weights");
    cell.replace(&[]);
    assert_eq!((show(), cell.dns_names()), (vec![], vec![]));
}

#[test]
fn a_worker_forgets_cells_that_are_gone() {
    let balancer = Balancer::default();
    let ask = Ask { tried: &[], stay: None, key: None, now: Instant::now() };
    for n in 0..1_000 {
        let cell = cell(&[1, 2]);
        assert!(balancer.pick(&cell, Balance::RoundRobin, ask, &mut dice(n)).is_some());
    }
    assert!(balancer.known() <= 66, "{}", balancer.known());
}

#[test]
fn picks_while_the_set_changes_are_of_one_set_or_the_other() {
    let cell = cell(&[1, 1, 1]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..500 {
                cell.replace(&endpoints(if n % 2 == 0 { &[2, 1] } else { &[1, 1, 1] }));
            }
        });
        let balancer = Balancer::default();
        for n in 0..2_000 {
            for policy in ALL {
                let ask = Ask { tried: &[], stay: None, key: None, now: Instant::now() };
                assert!(balancer.pick(&cell, policy, ask, &mut dice(n)).is_some());
            }
        }
    });
    assert_eq!(cell.load().version(), cell.version());
}

proptest! {
    // Each case is 20,000 picks, 5,000 by each policy.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn idle_shares_follow_the_weights(weights in vec(1u32..=10, 1..12)) {
        let picks = 5_000;
        let total: u32 = weights.iter().sum();
        for policy in ALL {
            let counts = shares(&cell(&weights), policy, picks);
            for (count, weight) in counts.iter().zip(&weights) {
                let expected = picks as f64 * f64::from(*weight) / f64::from(total);
                // Six standard deviations of a binomial; round robin is off by a pick or so.
                let bound = 6.0 * expected.sqrt() + 2.0;
                prop_assert!((*count as f64 - expected).abs() < bound, "{:?} {:?} {:?}", policy, weights, counts);
            }
        }
    }
}

proptest! {
    #[test]
    fn busy_shares_follow_the_weights(weights in vec(1u32..=5, 2..8)) {
        let cell = cell(&weights);
        let balancer = Balancer::default();
        let ask = Ask { tried: &[], stay: None, key: None, now: Instant::now() };
        let total: u32 = weights.iter().sum();
        let open: Vec<_> = (0..u64::from(total) * 50)
            .map(|n| balancer.pick(&cell, Balance::LeastRequest, ask, &mut dice(n)).unwrap().state.begin())
            .collect();
        for (endpoint, weight) in cell.load().endpoints().iter().zip(&weights) {
            let (open, fair) = (endpoint.state.open(), weight * 50);
            prop_assert!(open.abs_diff(fair) <= fair / 4 + 5, "{} instead of {}: {:?}", open, fair, weights);
        }
        drop(open);
        prop_assert!(cell.load().endpoints().iter().all(|endpoint| endpoint.state.open() == 0));
    }

    #[test]
    fn what_was_tried_is_left_while_there_is_another(
        weights in vec(1u32..=10, 1..10),
        tried in vec(0usize..12, 0..10),
        seed in any::<u64>(),
    ) {
        let tried: Vec<_> = tried.into_iter().map(address).collect();
        let cell = cell(&weights);
        let others = cell.load().endpoints().iter().any(|one| !tried.contains(&one.address));
        let balancer = Balancer::default();
        for policy in ALL {
            for n in 0..20 {
                let ask = Ask { tried: &tried, stay: None, key: None, now: Instant::now() };
                let picked = balancer.pick(&cell, policy, ask, &mut dice(seed ^ n)).unwrap();
                prop_assert_eq!(tried.contains(&picked.address), !others);
            }
        }
    }

    #[test]
    fn picks_are_of_the_current_set(changes in vec(vec(1u32..=4, 0..6), 1..12), seed in any::<u64>()) {
        let cell = cell(&[]);
        let balancer = Balancer::default();
        for weights in changes {
            cell.replace(&endpoints(&weights));
            for policy in ALL {
                for n in 0..8 {
                    let ask = Ask { tried: &[], stay: None, key: None, now: Instant::now() };
                    let picked = balancer.pick(&cell, policy, ask, &mut dice(seed ^ n));
                    prop_assert_eq!(picked.is_some(), !weights.is_empty());
                    prop_assert!(picked.is_none_or(|one| (0..weights.len()).any(|n| one.address == address(n))));
                }
            }
        }
    }
}
