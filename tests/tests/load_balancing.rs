//! Endpoints by hash, by zone, by label, and the share of one that is new, through real proxies.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use outrigger_config::SourceFile;
use outrigger_proxy::explain::{Explainer, Question, Report};
use outrigger_tests::{
    backend::{Answer, Backend},
    client::{self, Client},
    mesh::{self, Proxy},
    wait::until,
};

/// A proxy's policy: in this zone, with these endpoints (address and the rest of each) and this `loadBalancer`.
fn policy(zone: &str, endpoints: &[(SocketAddr, &str)], balancer: &str, more: &str) -> String {
    let endpoints: Vec<String> =
        endpoints.iter().map(|(address, rest)| format!("{{address: \"{address}\"{rest}}}")).collect();
    let service = mesh::service("web", "http1", &[])
        .replace("endpoints: []", &format!("endpoints: [{}]", endpoints.join(", ")));
    let traffic = mesh::traffic("web", &format!("  loadBalancer: {{{balancer}}}\n{more}"));
    let sidecar = format!("metadata: {{name: test}}\nspec:\n  zone: {zone}\n");
    mesh::outbound(&[&service, &traffic]).replace("metadata: {name: test}\nspec:\n", &sidecar)
}

async fn backends(names: &[&str]) -> Vec<Backend> {
    let mut all = Vec::new();
    for name in names {
        all.push(Backend::http1(name).await);
    }
    all
}

fn plain(backends: &[Backend]) -> Vec<(SocketAddr, &'static str)> {
    backends.iter().map(|one| (one.address(), "")).collect()
}

async fn ask(client: &mut Client, path: &str, fields: &[(&'static str, &str)]) -> client::Answer {
    let mut request = client.request("GET", path, "");
    for (name, value) in fields {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    client.call(request).await.unwrap()
}

/// Who answers each of 60 users.
async fn users(proxy: &Proxy) -> Vec<String> {
    let mut client = Client::http1(proxy.outbound(0), "web").await;
    let mut all = Vec::new();
    for user in 0..60 {
        let answer = ask(&mut client, "/", &[("x-user", &format!("user-{user}"))]).await;
        all.push(answer.header("x-backend").to_owned());
    }
    all
}

/// How many of `count` requests each backend answers.
async fn shares(client: &mut Client, count: usize) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for _ in 0..count {
        let answer = client.get("/").await;
        assert_eq!(answer.status, 200);
        *shares.entry(answer.header("x-backend").to_owned()).or_default() += 1;
    }
    shares
}

#[tokio::test]
async fn one_user_is_one_endpoints_by_whatever_proxy() {
    let all = backends(&["a", "b", "c"]).await;
    for choice in ["ringHash", "maglev"] {
        let text = |endpoints: &[(SocketAddr, &str)]| {
            policy("a", endpoints, &format!("policy: {choice}, hashOn: {{header: X-User}}"), "")
        };
        let mut turned = plain(&all);
        turned.reverse();
        let (one, other) = (Proxy::start(&text(&plain(&all))).await, Proxy::start(&text(&turned)).await);
        let led = users(&one).await;
        assert_eq!(led, users(&one).await, "{choice}");
        assert_eq!(led, users(&other).await, "{choice}: the order of the list means nothing");
        assert_eq!(led.iter().collect::<BTreeSet<_>>().len(), 3, "{choice}: {led:?}");

        one.reload(&text(&plain(&all)[1..])).await;
        let after = users(&one).await;
        let moved = led.iter().zip(&after).filter(|(before, after)| before != after);
        let foreign = moved.clone().filter(|(before, _)| *before != "a").count();
        assert!(moved.count() > foreign && foreign <= if choice == "ringHash" { 0 } else { 6 }, "{choice}");

        // Without a user, any.
        let got = shares(&mut Client::http1(other.outbound(0), "web").await, 60).await;
        assert_eq!(got.len(), 3, "{choice}: {got:?}");
    }
}

#[tokio::test]
async fn what_is_hashed_may_be_a_cookie_a_parameter_or_the_caller() {
    let all = backends(&["a", "b", "c"]).await;
    for (on, path, field) in [
        ("cookie: id", "/", [("cookie", "x=1; id=7")]),
        ("query: id", "/?id=7&x=1", [("cookie", "none=1")]),
        ("sourceIp: {}", "/", [("cookie", "none=1")]),
    ] {
        let text = policy("a", &plain(&all), &format!("policy: maglev, hashOn: {{{on}}}"), "");
        let proxy = Proxy::start(&text).await;
        let mut led = BTreeSet::new();
        for _ in 0..20 {
            let mut client = Client::http2(proxy.outbound(0), "web").await;
            led.insert(ask(&mut client, path, &field).await.header("x-backend").to_owned());
        }
        assert_eq!(led.len(), 1, "{on}: {led:?}");
    }
}

#[tokio::test]
async fn a_repeat_goes_on_round_the_ring() {
    let all = backends(&["a", "b", "c"]).await;
    let retry = "  retry: {attempts: 3, on: [gateway-error], backoff: {base: 1ms, max: 1ms}, budget: {percent: 100, minPerSecond: 1000}}\n  outlierDetection: null\n";
    let proxy =
        Proxy::start(&policy("a", &plain(&all), "policy: ringHash, hashOn: {header: x-user}", retry)).await;
    let mut client = Client::http1(proxy.outbound(0), "web").await;
    let first = ask(&mut client, "/", &[("x-user", "u")]).await.header("x-backend").to_owned();
    let failing = all.iter().position(|one| one.name() == first).expect("one of them");
    all[failing].answer(|_| Answer::status(503));
    let mut next = BTreeSet::new();
    for _ in 0..10 {
        let answer = ask(&mut client, "/", &[("x-user", "u")]).await;
        assert_eq!(answer.status, 200);
        next.insert(answer.header("x-backend").to_owned());
    }
    assert!(next.len() == 1 && !next.contains(&first), "{first} and then {next:?}");
}

#[tokio::test]
async fn a_zone_keeps_its_requests_and_spills_over_where_it_is_not_well() {
    let mut all = backends(&["a1", "a2", "b1"]).await;
    let zones = [", zone: a", ", zone: a", ", zone: b"];
    let endpoints: Vec<_> = all.iter().zip(zones).map(|(one, zone)| (one.address(), zone)).collect();
    let outliers = "  outlierDetection: {consecutiveLocalErrors: 1, baseEjection: 10m, maxEjection: 10m, maxEjectionPercent: 50}\n";
    let balancer = "policy: roundRobin, locality: {prefer: zone, spillBelow: 100}, panicBelow: 0";
    let proxy = Proxy::start(&policy("a", &endpoints, balancer, outliers)).await;
    let mut client = Client::http1(proxy.outbound(0), "web").await;
    let got = shares(&mut client, 40).await;
    assert_eq!(got.into_iter().collect::<Vec<_>>(), [("a1".to_owned(), 20), ("a2".to_owned(), 20)]);

    all[0].stop().await;
    until("the dead endpoint to be ejected", || async {
        Client::http1(proxy.outbound(0), "web").await.get("/").await;
        let services = client::get(proxy.admin(), "/services").await.json();
        (services[0]["ports"][0]["near_percent"] == 50.0).then_some(())
    })
    .await;
    let got = shares(&mut client, 400).await;
    assert!((130..270).contains(&got["a2"]) && (130..270).contains(&got["b1"]) && got.len() == 2, "{got:?}");

    // Elsewhere the other zone comes first.
    let proxy = Proxy::start(&policy("b", &endpoints, "locality: {prefer: zone}", "")).await;
    let mut client = Client::http1(proxy.outbound(0), "web").await;
    assert_eq!(shares(&mut client, 20).await.into_keys().collect::<Vec<_>>(), ["b1"]);
}

#[tokio::test]
async fn a_new_endpoint_begins_with_a_tenth() {
    let all = backends(&["old", "new"]).await;
    let text =
        |count: usize| policy("a", &plain(&all[..count]), "policy: roundRobin, slowStart: {window: 1h}", "");
    let proxy = Proxy::start(&text(1)).await;
    proxy.reload(&text(2)).await;
    let services = client::get(proxy.admin(), "/services").await.json();
    let endpoints = services[0]["ports"][0]["endpoints"].as_array().unwrap().clone();
    let warm: Vec<_> =
        endpoints.iter().map(|one| (one["weight"].clone(), one["warm_percent"].clone())).collect();
    assert_eq!(warm, [(1.into(), serde_json::Value::Null), (1.into(), 10.into())]);
    let got = shares(&mut Client::http1(proxy.outbound(0), "web").await, 220).await;
    assert!((18..=22).contains(&got["new"]), "{got:?}");
    // Taking the policy back gives it its share at once.
    proxy.reload(&policy("a", &plain(&all), "policy: roundRobin", "")).await;
    let got = shares(&mut Client::http1(proxy.outbound(0), "web").await, 40).await;
    assert_eq!(got["new"], 20);
}

fn explained(text: &str, url: &str, fields: &[(&str, &str)]) -> Report {
    let file = SourceFile { path: "policy.yaml".to_owned(), text: text.as_bytes().to_vec() };
    let resources = outrigger_config::check(vec![file])
        .policy
        .expect("a valid policy")
        .compile(None)
        .expect("one Sidecar");
    let mut question = Question::new("GET", url).unwrap();
    fields.iter().for_each(|(name, value)| question.header(name, value).unwrap());
    Explainer::new(resources).unwrap().explain(&question).unwrap()
}

#[tokio::test]
async fn explain_tells_where_a_hash_leads() {
    let all = backends(&["a", "b", "c"]).await;
    let text =
        policy("a", &plain(&all), "policy: ringHash, hashOn: {header: x-user}, locality: {prefer: zone}", "");
    let proxy = Proxy::start(&text).await;
    let mut client = Client::http1(proxy.outbound(0), "web").await;
    for user in ["ann", "bob", "eve", "joe", "kim"] {
        let report = explained(&text, "http://web/", &[("x-user", user)]);
        let hashed = report.shares[0].hashed.as_ref().expect("it hashes");
        let answer = ask(&mut client, "/", &[("x-user", user)]).await;
        let backend = all.iter().find(|one| one.name() == answer.header("x-backend")).unwrap();
        assert_eq!(hashed.endpoint, Some(backend.address().to_string()), "{user}");
    }
    let shown = explained(&text, "http://web/", &[]).to_text(false);
    assert!(shown.contains("hash of header x-user: the request has none, so any endpoint"), "{shown}");
    assert!(shown.contains("locality: zone a first, while 70 % of it are usable"), "{shown}");
}

/// `examples/load-balancing.yaml` with these services.
#[tokio::test]
async fn the_example_chooses_by_hash_by_zone_and_by_label() {
    let all = backends(&["p1", "p2", "p3", "a-v1", "a-v2", "b-v1"]).await;
    let places = ["9001", "9002", "9003", "9004", "9005", "9006"].map(|port| format!("127.0.0.1:{port}"));
    let places: Vec<_> = places.iter().map(String::as_str).zip(all.iter().map(Backend::address)).collect();
    let proxy = Proxy::start(&mesh::example("load-balancing.yaml", &places)).await;

    let mut client = Client::http1(proxy.outbound(0), "pictures").await;
    let mut keepers = BTreeSet::new();
    for id in 0..30 {
        let path = format!("/?id={id}");
        let first = ask(&mut client, &path, &[]).await.header("x-backend").to_owned();
        assert_eq!(ask(&mut client, &path, &[]).await.header("x-backend"), first);
        keepers.insert(first);
    }
    assert_eq!(keepers.len(), 3, "{keepers:?}");

    let mut client = Client::http1(proxy.outbound(0), "stock").await;
    let got = shares(&mut client, 40).await;
    assert_eq!(got.keys().collect::<Vec<_>>(), ["a-v1", "a-v2"], "the zone's own: {got:?}");
    for _ in 0..10 {
        assert_eq!(ask(&mut client, "/", &[("x-tester", "yes")]).await.header("x-backend"), "a-v2");
    }
    // A subset answers to its own name, as any MeshService does.
    assert_eq!(Client::http1(proxy.outbound(0), "stock-v2").await.get("/").await.header("x-backend"), "a-v2");
}
