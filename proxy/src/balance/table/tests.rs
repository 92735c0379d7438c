//! Policies that hash: shares near the weights, keys that stay where they are, repeats that go on.

use std::collections::HashMap;

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{balance::EndpointState, decide::mix};

const BOTH: [Balance; 2] = [Balance::RingHash, Balance::Maglev];

fn address(number: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, (number >> 8) as u8, number as u8], 8080))
}

/// Endpoints of these numbers and weights.
fn endpoints(listed: &[(usize, u32)]) -> Vec<Arc<Endpoint>> {
    let one = |(number, weight): &(usize, u32)| {
        Arc::new(Endpoint {
            address: address(*number),
            weight: *weight,
            listed: *weight,
            warm: 100,
            zone: None,
            peer: None,
            state: Arc::<EndpointState>::default(),
            watch: None,
        })
    };
    listed.iter().map(one).collect()
}

/// Where each of `keys` keys leads.
fn led(policy: Balance, listed: &[(usize, u32)], keys: u64) -> Vec<SocketAddr> {
    let endpoints = endpoints(listed);
    let table = Table::new(policy, &endpoints).unwrap();
    (0..keys).map(|key| table.choose(mix(key), &endpoints, &[], |_| false).unwrap().address).collect()
}

fn counts(led: &[SocketAddr]) -> HashMap<SocketAddr, u64> {
    let mut counts = HashMap::new();
    led.iter().for_each(|address| *counts.entry(*address).or_default() += 1);
    counts
}

#[test]
fn shares_are_near_the_weights() {
    for (policy, slack) in [(Balance::RingHash, 0.20), (Balance::Maglev, 0.06)] {
        for weights in [vec![1; 3], vec![1; 20], vec![1, 2, 5], vec![100, 300, 50]] {
            let listed: Vec<(usize, u32)> = weights.iter().copied().enumerate().collect();
            let keys = 200_000;
            let counts = counts(&led(policy, &listed, keys));
            let total: u32 = weights.iter().sum();
            for (number, weight) in listed {
                let wanted = keys as f64 * f64::from(weight) / f64::from(total);
                let got = counts.get(&address(number)).copied().unwrap_or_default() as f64;
                assert!((got / wanted - 1.0).abs() < slack, "{policy:?} {weights:?}: {got} of {wanted}");
            }
        }
    }
}

#[test]
fn what_comes_or_goes_moves_its_own_keys() {
    let all: Vec<(usize, u32)> = (0..10).map(|number| (number, 1)).collect();
    let without: Vec<(usize, u32)> = all.iter().copied().filter(|(number, _)| *number != 4).collect();
    for (policy, others) in [(Balance::RingHash, 0.0), (Balance::Maglev, 0.04)] {
        let (before, after) = (led(policy, &all, 100_000), led(policy, &without, 100_000));
        let moved = before.iter().zip(&after).filter(|(one, other)| one != other);
        let (own, foreign): (Vec<_>, Vec<_>) = moved.partition(|(one, _)| **one == address(4));
        assert!((8_000..12_500).contains(&own.len()), "{policy:?}: {}", own.len());
        assert!(foreign.len() as f64 <= others * 100_000.0, "{policy:?}: {}", foreign.len());
        // What it had is shared out among all that are left.
        let heirs: std::collections::HashSet<_> = own.iter().map(|(_, heir)| **heir).collect();
        assert_eq!(heirs.len(), 9, "{policy:?}");
    }
}

#[test]
fn a_repeat_goes_on_to_another_that_is_always_the_same() {
    let listed = endpoints(&[(0, 1), (1, 1), (2, 1)]);
    for policy in BOTH {
        let table = Table::new(policy, &listed).unwrap();
        for key in (0..200).map(mix) {
            let mut tried = Vec::new();
            for _ in 0..3 {
                let next = table.choose(key, &listed, &tried, |_| false).unwrap().address;
                assert!(!tried.contains(&next));
                tried.push(next);
            }
            assert_eq!(
                table.choose(key, &listed, &tried, |_| false).unwrap().address,
                tried[0],
                "all tried: as at first"
            );
        }
    }
}

#[test]
fn weights_that_differ_beyond_all_measure_have_a_table_of_bounded_size() {
    let listed: Vec<(usize, u32)> = (0..1000).map(|n| (n, if n == 0 { 1 } else { 4_000_000_000 })).collect();
    for policy in BOTH {
        assert_eq!(led(policy, &listed, 1000).len(), 1000);
    }
    let many: Vec<(usize, u32)> = (0..5000).map(|number| (number, 1)).collect();
    let used = counts(&led(Balance::RingHash, &many, 100_000)).len();
    assert!(used > 4900, "{used}");
}

proptest! {
    #[test]
    fn the_order_of_the_list_means_nothing(weights in vec(1u32..=9, 1..8), seed in any::<u64>()) {
        let listed: Vec<(usize, u32)> = weights.iter().copied().enumerate().collect();
        let mut turned = listed.clone();
        turned.rotate_left(seed as usize % listed.len());
        for policy in BOTH {
            prop_assert_eq!(led(policy, &listed, 300), led(policy, &turned, 300));
        }
    }

    #[test]
    fn a_ring_moves_only_to_who_comes(weights in vec(1u32..=5, 2..8)) {
        // The newcomer is not the lightest: that would measure all others anew.
        let mut listed: Vec<(usize, u32)> = weights.iter().copied().enumerate().collect();
        let before = led(Balance::RingHash, &listed, 500);
        let least = *weights.iter().min().unwrap();
        listed.push((99, least));
        let after = led(Balance::RingHash, &listed, 500);
        for (one, other) in before.iter().zip(&after) {
            prop_assert!(one == other || *other == address(99));
        }
    }
}
