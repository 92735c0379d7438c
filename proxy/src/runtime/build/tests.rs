//! What a reload shares, what it carries over, and what it leaves alone when it fails.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use outrigger_config::model::{ObjectName, PathMatch};

use super::*;
use crate::runtime::snapshot::OutboundTarget;
use crate::runtime::{
    SnapshotCache, Store,
    fixture::{key, next, resources, snapshot},
};

const SIDECAR: &str = r#"
apiVersion: outrigger.dev/v1alpha1
kind: Sidecar
metadata: {name: web, namespace: shop}
spec:
  inbound: [{bind: "0.0.0.0:8080", app: "127.0.0.1:3000"}]
  outbound: [{bind: "127.0.0.1:15001"}, {bind: "127.0.0.1:0", service: {name: cart, port: 80}},
    {bind: "127.0.0.1:0", service: {name: reviews, port: 80}}]
"#;

/// Services of a name and their endpoints, routed to themselves by a rule for `/` of the first one.
fn policy(services: &[(&str, &str)]) -> String {
    let mut text = SIDECAR.to_owned();
    for (name, endpoints) in services {
        text += &format!(
            "---\napiVersion: outrigger.dev/v1alpha1\nkind: MeshService\nmetadata: {{name: {name}, namespace: shop}}\n\
             spec: {{ports: [{{port: 80}}], endpoints: {endpoints}}}\n\
             ---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n\
             metadata: {{name: {name}, namespace: shop}}\n\
             spec:\n  parentRefs: [{{kind: Service, group: \"\", name: {name}, port: 80}}]\n  \
             rules: [{{name: all, backendRefs: [{{name: {}, port: 80}}]}}]\n",
            services[0].0,
        );
    }
    text
}

fn with_policy(text: &str, target: &str, body: &str) -> String {
    format!(
        "{text}---\napiVersion: outrigger.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{name: p, namespace: shop}}\n\
         spec: {{targetRefs: [{target}], {body}}}\n"
    )
}

const TWO: [(&str, &str); 2] =
    [("cart", "[{address: \"10.0.0.1:80\"}, {address: \"10.0.0.2:80\"}]"), ("reviews", "[]")];

fn port<'a>(snapshot: &'a Snapshot, service: &str) -> &'a Arc<Port> {
    let service = ObjectName::new("shop", service);
    snapshot.port(&ServicePort { service, port: 80 }).unwrap()
}

#[test]
fn the_same_policy_again_shares_everything() {
    let first = snapshot(&policy(&TWO));
    let second = next(&policy(&TWO), &first);
    assert_eq!((first.generation, second.generation), (1, 2));
    assert!(first.services.iter().zip(&second.services).all(|(a, b)| Arc::ptr_eq(a, b)));
    assert!(Arc::ptr_eq(&first.inbound[0], &second.inbound[0]));
    assert!(Arc::ptr_eq(&first.mesh, &second.mesh));
    assert!(Arc::ptr_eq(&first.workload, &second.workload));
    assert!(Arc::ptr_eq(&first.egress_rule, &second.egress_rule));
}

#[test]
fn a_service_that_changes_takes_along_those_that_point_at_it_and_no_other() {
    let first = snapshot(&policy(&[TWO[1], TWO[0], ("third", "[]")]));
    // Only `third` has settings of its own now: its routes point at `reviews`, and nobody points at it.
    let changed = with_policy(
        &policy(&[TWO[1], TWO[0], ("third", "[]")]),
        "{kind: Service, name: third}",
        "timeouts: {request: 3s}",
    );
    let second = next(&changed, &first);
    let shared = |name| Arc::ptr_eq(port(&first, name), port(&second, name));
    assert!(shared("cart") && shared("reviews") && !shared("third"));
    // Now the one that all of them point at.
    let changed = with_policy(
        &policy(&[TWO[1], TWO[0], ("third", "[]")]),
        "{kind: Service, name: reviews}",
        "loadBalancer: {policy: random}",
    );
    let third = next(&changed, &first);
    for name in ["cart", "reviews", "third"] {
        let target = &port(&third, name).routes.as_ref().unwrap().rules()[0].backends[0].target;
        assert!(Arc::ptr_eq(target.as_ref().unwrap(), &port(&third, "reviews").backend), "{name}");
    }
}

#[test]
fn a_mirror_that_changes_is_the_new_one_at_the_next_request() {
    let mirror = "{type: RequestMirror, requestMirror: {backendRef: {name: reviews, port: 80}}}";
    let mirrored = policy(&TWO).replace("{name: all, ", &format!("{{name: all, filters: [{mirror}], "));
    let first = snapshot(&mirrored);
    let random = "loadBalancer: {policy: random}";
    let second = next(&with_policy(&mirrored, "{kind: Service, name: reviews}", random), &first);
    let rule = &port(&second, "cart").routes.as_ref().unwrap().rules()[0];
    let target = rule.mirrors[0].target.as_ref().unwrap();
    assert!(Arc::ptr_eq(&target.backend, &port(&second, "reviews").backend));
    assert!(!Arc::ptr_eq(&target.backend, &port(&first, "reviews").backend));
}

#[test]
fn load_and_budgets_outlive_a_reload() {
    let now = Instant::now();
    let first = snapshot(&policy(&TWO));
    let before = port(&first, "cart");
    let old = before.backend.endpoints.load();
    let open = old.endpoints()[1].state.begin();
    while before.default_rule.withdraw(now) {}
    let app = first.inbound[0].app.rule.backends[0].target.clone().unwrap();

    let changed = with_policy(
        &policy(&[(TWO[0].0, "[{address: \"10.0.0.2:80\", weight: 3}, {address: \"10.0.0.3:80\"}]"), TWO[1]])
            .replace("app: \"127.0.0.1:3000\"", "app: \"127.0.0.1:3000\", protocol: http2"),
        "{kind: Service, name: cart}",
        "timeouts: {request: 3s}",
    );
    let second = next(&changed, &first);
    let after = port(&second, "cart");
    assert!(!Arc::ptr_eq(&before.backend, &after.backend), "the settings are new");
    assert!(Arc::ptr_eq(&before.backend.endpoints, &after.backend.endpoints), "the cell is not");
    let new = after.backend.endpoints.load();
    assert!(Arc::ptr_eq(&old.endpoints()[1].state, &new.endpoints()[0].state));
    assert_eq!((new.endpoints()[0].state.open(), new.endpoints()[0].weight), (1, 3));
    assert_eq!(new.endpoints()[1].state.open(), 0);
    assert!(!after.default_rule.withdraw(now), "what is spent is spent");
    drop(open);
    assert_eq!(new.endpoints()[0].state.open(), 0);
    let app_after = second.inbound[0].app.rule.backends[0].target.clone().unwrap();
    assert!(!Arc::ptr_eq(&app, &app_after) && Arc::ptr_eq(&app.endpoints, &app_after.endpoints));
}

#[test]
fn rules_share_the_budget_of_their_service_unless_they_have_their_own() {
    let own = with_policy(
        &policy(&TWO),
        "{kind: HTTPRoute, name: cart, group: gateway.networking.k8s.io, sectionName: all}",
        "retry: {budget: {percent: 0, minPerSecond: 1, ttl: 1s}}",
    );
    let first = snapshot(&own);
    let rule =
        |snapshot: &Snapshot, name: &str| port(snapshot, name).routes.as_ref().unwrap().rules()[0].clone();
    assert!(Arc::ptr_eq(&rule(&first, "reviews").budget, &port(&first, "reviews").default_rule.budget));
    assert!(!Arc::ptr_eq(&rule(&first, "cart").budget, &port(&first, "cart").default_rule.budget));
    let second = next(
        &with_policy(&own, "{kind: Service, name: cart}", "timeouts: {connect: 3s}").replace(
            "metadata: {name: p, namespace: shop}\nspec: {targetRefs: [{kind: Service",
            "metadata: {name: q, namespace: shop}\nspec: {targetRefs: [{kind: Service",
        ),
        &first,
    );
    assert!(!Arc::ptr_eq(&rule(&first, "cart"), &rule(&second, "cart")));
    assert!(Arc::ptr_eq(&rule(&first, "cart").budget, &rule(&second, "cart").budget));
}

#[test]
fn a_failed_build_touches_nothing() {
    let metrics = Metrics::new(1);
    let first = snapshot(&policy(&TWO));
    let version = port(&first, "cart").backend.endpoints.version();
    let mut bad = resources(&policy(&[(TWO[0].0, "[]"), TWO[1]]));
    let mut destination = (*bad.destinations[1]).clone();
    let mut rule = (*destination.ports[0].routes.as_ref().unwrap()[0]).clone();
    rule.matches[0].path = PathMatch::Regex("(".into());
    destination.ports[0].routes = Some(vec![Arc::new(rule)]);
    bad.destinations[1] = Arc::new(destination);
    assert!(matches!(build(&bad, Some(&first), &metrics), Err(BuildError::Regex { .. })));
    assert_eq!(port(&first, "cart").backend.endpoints.version(), version);

    let mut lost = resources(&policy(&TWO));
    lost.destinations.clear();
    let error = build(&lost, None, &metrics).unwrap_err();
    assert_eq!(error.to_string(), "no Service port shop/cart:80");
}

#[test]
fn listeners_on_any_port_are_told_apart() {
    let snapshot = snapshot(&policy(&TWO));
    let pinned = |nth| {
        let key = ListenerKey { nth, ..key(Side::Outbound, "127.0.0.1:0") };
        match &snapshot.outbound(key).unwrap().target {
            OutboundTarget::Pinned(port) => port.name.to_string(),
            OutboundTarget::ByAuthority => panic!("pinned"),
        }
    };
    assert_eq!([pinned(0), pinned(1)], ["shop/cart:80", "shop/reviews:80"]);
    assert!(snapshot.outbound(key(Side::Inbound, "127.0.0.1:0")).is_none());
}

#[test]
fn a_service_that_goes_leaves_its_endpoints_to_the_requests_that_have_it() {
    let first = snapshot(&policy(&TWO));
    let gone = policy(&[("reviews", "[]")]).replace("{name: cart, port: 80}", "{name: reviews, port: 80}");
    let second = next(&gone, &first);
    assert!(second.service(&ObjectName::new("shop", "cart")).is_none());
    assert_eq!(port(&first, "cart").backend.endpoints.load().len(), 2);
}

#[test]
fn a_worker_sees_the_next_snapshot_at_its_next_load() {
    let store = Arc::new(Store::new(snapshot(&policy(&TWO))));
    let worker = SnapshotCache::new(store.clone());
    let held = worker.load();
    store.publish(next(&policy(&TWO), &store.load()));
    assert_eq!(held.generation, 1, "what a request holds stays");
    assert_eq!(worker.load().generation, 2);
    assert!(std::rc::Rc::ptr_eq(&worker.load(), &worker.load()));
}

#[test]
fn a_large_policy_is_built_in_time() {
    let names: Vec<String> = (0..200).map(|number| format!("s{number}")).collect();
    let mut services: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "[]")).collect();
    services.extend(TWO);
    let resources = resources(&policy(&services));
    let metrics = Metrics::new(1);
    let start = Instant::now();
    let first = build(&resources, None, &metrics).unwrap();
    let second = build(&resources, Some(&first), &metrics).unwrap();
    // Measured in `benches`; this bound only catches what is not linear.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(first.services.iter().zip(&second.services).all(|(a, b)| Arc::ptr_eq(a, b)));
}
