//! What a cell makes of how its endpoints are to be chosen from: zones, and shares that grow, with made-up time.

use std::{collections::BTreeMap, time::Duration};

use outrigger_config::model::{Balance, LoadBalancer, Locality, Origin};

use super::*;
use crate::{
    balance::{Ask, Balancer, Visit},
    decide::{Dice, Purpose},
};

fn address(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], 80))
}

/// An endpoint of this number, weight and zone.
fn endpoint(number: u8, weight: u32, zone: &str) -> model::Endpoint {
    model::Endpoint {
        address: model::EndpointAddress::Ip(address(number)),
        weight,
        zone: (!zone.is_empty()).then(|| zone.into()),
        labels: BTreeMap::new(),
        identity: None,
        origin: Origin { file: "policy.yaml".into(), line: 1, column: 1 },
    }
}

fn cell(how: &LoadBalancer, zone: Option<&str>, endpoints: &[model::Endpoint]) -> Arc<EndpointCell> {
    let cell = EndpointCell::default();
    cell.arrange(how, zone.map(Arc::from).as_ref());
    cell.replace(endpoints);
    Arc::new(cell)
}

/// How many of 2,000 requests each endpoint gets, with all that was `tried`.
fn shares(cell: &Arc<EndpointCell>, policy: Balance, tried: &[SocketAddr]) -> BTreeMap<SocketAddr, u32> {
    let balancer = Balancer::default();
    let mut counts = BTreeMap::new();
    for n in 0..2000 {
        let mut dice = Dice::split(n, Purpose::Endpoint { attempt: 0 });
        let key = policy.hashes().then(|| crate::decide::mix(n));
        let ask = Ask { tried, stay: None, key, now: Instant::now() };
        let visit: Visit = balancer.pick(cell, policy, ask, &mut dice).unwrap();
        *counts.entry(visit.address).or_default() += 1;
    }
    counts
}

fn near(spill_below: f64, policy: Balance) -> LoadBalancer {
    LoadBalancer {
        policy,
        locality: Some(Locality { spill_below }),
        panic_below: 0.0,
        ..LoadBalancer::default()
    }
}

fn put_out(cell: &EndpointCell, number: u8) {
    for endpoint in cell.load().all().iter().filter(|endpoint| endpoint.address == address(number)) {
        endpoint.state.standing.lock().health = Health::Unhealthy;
    }
    let mut source = cell.source.lock();
    cell.publish(&mut source, now());
}

fn all() -> Vec<model::Endpoint> {
    vec![endpoint(1, 1, "a"), endpoint(2, 1, "a"), endpoint(3, 1, "b"), endpoint(4, 2, "")]
}

const POLICIES: [Balance; 6] = [
    Balance::LeastRequest,
    Balance::PeakEwma,
    Balance::RoundRobin,
    Balance::Random,
    Balance::RingHash,
    Balance::Maglev,
];

#[test]
fn a_zone_that_is_well_keeps_its_requests() {
    for policy in POLICIES {
        let cell = cell(&near(70.0, policy), Some("a"), &all());
        let got = shares(&cell, policy, &[]);
        assert_eq!(got.keys().copied().collect::<Vec<_>>(), [address(1), address(2)], "{policy:?}");
        assert!(got.values().all(|count| (850..1150).contains(count)), "{policy:?} {got:?}");
        let tried = [address(1), address(2)];
        let got = shares(&cell, policy, &tried);
        assert_eq!(got.keys().copied().collect::<Vec<_>>(), [address(3), address(4)], "{policy:?}");
    }
}

#[test]
fn a_zone_that_is_not_well_spills_over_in_proportion() {
    for policy in POLICIES {
        let cell = cell(&near(100.0, policy), Some("a"), &all());
        put_out(&cell, 1);
        let got = shares(&cell, policy, &[]);
        let stays = got[&address(2)];
        assert!((880..1120).contains(&stays), "half of the zone is left, so half stays: {policy:?} {got:?}");
        assert!(got[&address(4)] > got[&address(3)] && !got.contains_key(&address(1)), "{policy:?} {got:?}");
        put_out(&cell, 2);
        assert!(!shares(&cell, policy, &[]).contains_key(&address(2)), "{policy:?}");
    }
}

#[test]
fn zones_make_no_difference_where_none_is_near() {
    for (how, zone) in [
        (near(70.0, Balance::Random), None),
        (near(70.0, Balance::Random), Some("c")),
        (LoadBalancer { policy: Balance::Random, ..LoadBalancer::default() }, Some("a")),
    ] {
        assert_eq!(shares(&cell(&how, zone, &all()), Balance::Random, &[]).len(), 4);
    }
    let only_near = cell(&near(70.0, Balance::Random), Some("a"), &all()[..2]);
    assert_eq!(shares(&only_near, Balance::Random, &[]).len(), 2);
}

fn slow(window: u64) -> LoadBalancer {
    let window = Duration::from_secs(window);
    LoadBalancer { slow_start: Some(window), panic_below: 0.0, ..LoadBalancer::default() }
}

/// The share of the second endpoint relative to the first, in percent.
fn second(cell: &EndpointCell) -> u32 {
    let set = cell.load();
    let weight = |number| set.endpoints().iter().find(|one| one.address == address(number)).unwrap().weight;
    weight(2) * 100 / weight(1)
}

/// Lets `seconds` pass, and does what the keeper does at each step that is due.
async fn pass(cell: &EndpointCell, seconds: u64) {
    let end = tokio::time::Instant::now() + Duration::from_secs(seconds);
    loop {
        let due = cell.source.lock().warms_at.map(tokio::time::Instant::from_std);
        let Some(due) = due.filter(|due| *due <= end) else { break };
        tokio::time::advance(due - tokio::time::Instant::now()).await;
        let mut source = cell.source.lock();
        cell.publish(&mut source, now());
    }
    tokio::time::advance(end - tokio::time::Instant::now()).await;
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_grows_into_its_share() {
    let one = [endpoint(1, 3, "")];
    let cell = cell(&slow(20), None, &one);
    cell.replace(&[endpoint(1, 3, ""), endpoint(2, 3, "")]);
    assert_eq!(second(&cell), 10);
    pass(&cell, 10).await;
    assert_eq!(second(&cell), 50);
    // Another change of the list does not begin it anew.
    cell.replace(&[endpoint(1, 3, ""), endpoint(2, 3, ""), endpoint(3, 3, "")]);
    assert_eq!(second(&cell), 50);
    pass(&cell, 9).await;
    assert!((90..100).contains(&second(&cell)), "{}", second(&cell));
    pass(&cell, 11).await;
    let weights: Vec<u32> = cell.load().endpoints().iter().map(|one| one.weight).collect();
    assert_eq!((weights, cell.source.lock().warms_at), (vec![3, 3, 3], None), "all warm: weights as listed");
}

#[tokio::test(start_paused = true)]
async fn those_that_begin_together_share_as_ever() {
    let both = [endpoint(1, 1, ""), endpoint(2, 1, "")];
    let cell = cell(&slow(20), None, &both);
    assert_eq!((second(&cell), cell.source.lock().warms_at), (100, None));
}

#[tokio::test(start_paused = true)]
async fn what_is_usable_again_grows_again() {
    let cell = cell(&slow(20), None, &[endpoint(1, 1, ""), endpoint(2, 1, "")]);
    put_out(&cell, 2);
    pass(&cell, 100).await;
    for endpoint in cell.load().all().iter() {
        endpoint.state.standing.lock().health = Health::Healthy;
    }
    cell.publish(&mut cell.source.lock(), now());
    assert_eq!(second(&cell), 10);
    let got = shares(&cell, Balance::RoundRobin, &[]);
    assert!((150..250).contains(&got[&address(2)]), "a tenth of the other's: {got:?}");
    pass(&cell, 21).await;
    assert_eq!(second(&cell), 100);
}

#[tokio::test(start_paused = true)]
async fn policies_that_hash_know_no_slow_start() {
    let how = LoadBalancer { policy: Balance::Maglev, ..slow(20) };
    let cell = cell(&how, None, &[endpoint(1, 1, "")]);
    cell.replace(&[endpoint(1, 1, ""), endpoint(2, 1, "")]);
    assert_eq!(second(&cell), 100);
}
