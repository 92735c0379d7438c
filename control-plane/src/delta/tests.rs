//! What a proxy is told, and that it always comes to have the world without being told anything twice.

use std::sync::Arc;

use outrigger_config::model::ObjectName;
use proptest::prelude::*;

use super::*;
use crate::world::tests::{POLICY, files, snapshot, world};

fn scope() -> Scope {
    Scope { sidecar: ObjectName::new("shop", "cart") }
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

/// What was told, shortly: names, and those that are gone with a minus.
fn told(delta: Option<Delta>) -> Vec<String> {
    let Some(delta) = delta else { return strings(&["nothing"]) };
    let gone = delta.removed.iter().map(|name| format!("-{name}"));
    delta.resources.iter().map(|entry| entry.name.to_string()).chain(gone).collect()
}

fn asked(subscribe: &[&str], seen: &Snapshot) -> Subscriptions {
    let mut asks = Subscriptions::new(ResourceType::Destination);
    asks.ask(strings(subscribe), &[], BTreeMap::new(), seen).unwrap();
    asks
}

#[test]
fn a_wildcard_gets_all_once_and_then_what_changes() {
    let seen = snapshot(POLICY, "shop/cart");
    for first in [&["*"][..], &[]] {
        let mut asks = asked(first, &seen);
        assert_eq!(told(asks.next(&scope(), &seen)), ["shop/cart", "shop/reviews"]);
        assert_eq!(told(asks.next(&scope(), &seen)), ["nothing"]);
        let changed = snapshot(
            &POLICY.replace("ports: [{port: 80}], endpoints", "ports: [{port: 81}], endpoints"),
            "shop/cart",
        );
        assert_eq!(told(asks.next(&scope(), &changed)), ["shop/reviews"]);
        let gone = snapshot(POLICY.rsplit_once("---").unwrap().0, "shop/cart");
        assert_eq!(told(asks.next(&scope(), &gone)), ["shop/reviews", "-shop/cart"]);
    }
}

#[test]
fn an_empty_world_is_told_once() {
    let empty = Snapshot::default();
    let mut asks = asked(&["*"], &empty);
    assert_eq!(asks.next(&scope(), &empty), Some(Delta::default()));
    assert_eq!(asks.next(&scope(), &empty), None);
}

#[test]
fn names_on_demand_are_answered_each_time_and_unknown_ones_by_removal() {
    let seen = snapshot(POLICY, "shop/cart");
    let mut asks = asked(&["host/reviews:80", "host/nobody:80"], &seen);
    let delta = asks.next(&scope(), &seen).unwrap();
    assert!(delta.by_name && delta.resources[0].aliases.contains(&"host/reviews:80".to_owned()));
    assert_eq!(told(Some(delta)), ["shop/reviews", "-host/nobody:80"]);
    assert_eq!(told(asks.next(&scope(), &seen)), ["nothing"]);
    asks.ask(strings(&["host/reviews:80", "host/nobody:80"]), &[], BTreeMap::new(), &seen).unwrap();
    assert_eq!(told(asks.next(&scope(), &seen)), ["shop/reviews", "-host/nobody:80"]);
    let more = POLICY.to_owned()
        + "---\napiVersion: outrigger.dev/v1alpha1\nkind: MeshService\nmetadata: {name: nobody, namespace: shop}\n\
           spec: {ports: [{port: 80}], endpoints: [{address: \"127.0.0.1:1\"}]}\n";
    assert_eq!(told(asks.next(&scope(), &snapshot(&more, "shop/cart"))), ["shop/nobody"]);
    asks.ask(Vec::new(), &strings(&["host/reviews:80"]), BTreeMap::new(), &seen).unwrap();
    assert_eq!(told(asks.next(&scope(), &seen)), ["-shop/nobody", "-host/nobody:80"]);
}

#[test]
fn two_names_of_one_destination_are_one_resource() {
    let seen = snapshot(POLICY, "shop/cart");
    let mut asks = asked(&["host/reviews:80", "host/reviews.shop:80", "shop/reviews"], &seen);
    assert_eq!(told(asks.next(&scope(), &seen)), ["shop/reviews"]);
    asks.ask(Vec::new(), &strings(&["shop/reviews"]), BTreeMap::new(), &seen).unwrap();
    assert_eq!(told(asks.next(&scope(), &seen)), ["nothing"]);
}

#[test]
fn after_a_reconnect_only_what_differs_is_told() {
    let seen = snapshot(POLICY, "shop/cart");
    let mut versions: BTreeMap<String, String> = seen
        .entries(ResourceType::Destination)
        .values()
        .map(|entry| (entry.name.to_string(), entry.version.to_string()))
        .collect();
    let mut asks = Subscriptions::new(ResourceType::Destination);
    asks.ask(strings(&["*"]), &[], versions.clone(), &seen).unwrap();
    assert_eq!(asks.next(&scope(), &seen), Some(Delta::default()), "all is as it was");
    versions.insert("shop/cart".into(), "old".into());
    versions.insert("shop/gone".into(), "old".into());
    let mut asks = Subscriptions::new(ResourceType::Destination);
    asks.ask(strings(&["*"]), &[], versions, &seen).unwrap();
    assert_eq!(told(asks.next(&scope(), &seen)), ["shop/cart", "-shop/gone"]);
}

#[test]
fn another_proxys_workload_is_not_there() {
    let seen = snapshot(POLICY, "shop/cart");
    let mut asks = Subscriptions::new(ResourceType::Workload);
    asks.ask(strings(&["shop/reviews", "shop/cart"]), &[], BTreeMap::new(), &seen).unwrap();
    assert_eq!(told(asks.next(&scope(), &seen)), ["shop/cart", "-shop/reviews"]);
}

#[test]
fn a_stream_asks_for_so_many_names_and_no_more() {
    let names: Vec<String> = (0..=MOST_NAMES).map(|at| format!("host/h{at}:80")).collect();
    let mut asks = Subscriptions::new(ResourceType::Destination);
    assert_eq!(asks.ask(names, &[], BTreeMap::new(), &Snapshot::default()), Err(TooMany));
}

/// A mesh of some of four Services, each on one of two ports.
fn mesh(services: &[Option<bool>]) -> Arc<Snapshot> {
    let mut text = POLICY.rsplit_once("---").unwrap().0.to_owned();
    for (at, service) in services.iter().enumerate() {
        let Some(other) = service else { continue };
        let port = if *other { 81 } else { 80 };
        text += &format!(
            "---\napiVersion: outrigger.dev/v1alpha1\nkind: MeshService\nmetadata: {{name: s{at}, namespace: shop}}\n\
             spec: {{ports: [{{port: {port}}}], endpoints: [{{address: \"127.0.0.1:1\"}}]}}\n"
        );
    }
    world(files(&[("policy.yaml", &text)])).snapshot(&scope()).unwrap().clone()
}

/// A proxy as the protocol wants it.
#[derive(Default)]
struct Proxy(BTreeMap<String, Arc<str>>);

impl Proxy {
    fn take(&mut self, delta: &Delta, asked_anew: bool) {
        for entry in &delta.resources {
            let before = self.0.insert(entry.name.to_string(), entry.version.clone());
            assert!(asked_anew || before.as_ref() != Some(&entry.version), "{} told twice", entry.name);
        }
        delta.removed.iter().for_each(|name| drop(self.0.remove(name)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_proxy_always_comes_to_have_the_world(
        worlds in proptest::collection::vec(proptest::collection::vec(proptest::option::of(any::<bool>()), 4), 1..6),
        reads in proptest::collection::vec(any::<(bool, bool)>(), 6),
    ) {
        let mut proxy = Proxy::default();
        let mut asks = asked(&["*"], &Snapshot::default());
        let mut last = Arc::new(Snapshot::default());
        for (services, (reads, reconnects)) in worlds.iter().zip(reads) {
            last = mesh(services);
            if reconnects {
                let versions = proxy.0.iter().map(|(name, version)| (name.clone(), version.to_string())).collect();
                asks = Subscriptions::new(ResourceType::Destination);
                asks.ask(strings(&["*"]), &[], versions, &last).unwrap();
            }
            // A proxy that is slow skips worlds, as one answer is outstanding at most.
            if reads && let Some(delta) = asks.next(&scope(), &last) {
                proxy.take(&delta, false);
            }
        }
        while let Some(delta) = asks.next(&scope(), &last) {
            proxy.take(&delta, false);
        }
        let all = last.entries(ResourceType::Destination).values();
        let wanted: BTreeMap<String, Arc<str>> = all.map(|entry| (entry.name.to_string(), entry.version.clone())).collect();
        prop_assert_eq!(proxy.0, wanted);
    }
}
