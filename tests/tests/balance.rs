//! Who gets which share of the requests, through a real proxy: weights under each way of choosing, endpoints that come
//! and go with a policy edit, endpoints by name.

use std::{collections::BTreeMap, net::SocketAddr};

use http::StatusCode;
use outrigger_tests::{
    backend::Backend,
    client::Client,
    mesh::{self, Proxy},
};

/// A Service `web` with these endpoints and weights, and this way of choosing.
fn policy(endpoints: &[(SocketAddr, u32)], choice: &str) -> String {
    let endpoints: Vec<String> = endpoints
        .iter()
        .map(|(address, weight)| format!("{{address: \"{address}\", weight: {weight}}}"))
        .collect();
    let service = mesh::service("web", "http1", &[])
        .replace("endpoints: []", &format!("endpoints: [{}]", endpoints.join(", ")));
    let traffic = mesh::traffic("web", &format!("  loadBalancer: {{policy: {choice}}}\n"));
    mesh::pinned("web", &[&service, &traffic])
}

/// Asks `count` times, one after the other; gives how many answers came from whom.
async fn shares(proxy: &Proxy, count: usize) -> BTreeMap<String, usize> {
    let mut client = Client::http1(proxy.outbound(0), "web").await;
    let mut shares = BTreeMap::new();
    for _ in 0..count {
        let answer = client.get("/").await;
        assert_eq!(answer.status, StatusCode::OK);
        *shares.entry(answer.header("x-backend").to_owned()).or_default() += 1;
    }
    shares
}

async fn three() -> [Backend; 3] {
    [Backend::http1("a").await, Backend::http1("b").await, Backend::http1("c").await]
}

#[tokio::test]
async fn shares_follow_the_weights() {
    let [a, b, c] = three().await;
    let endpoints = [(a.address(), 1), (b.address(), 2), (c.address(), 5)];
    // Round robin is exact but for where it starts; chance stays within five standard deviations of 100, 200, 500.
    for (choice, slack) in [("roundRobin", 8), ("random", 71)] {
        let proxy = Proxy::start(&policy(&endpoints, choice)).await;
        let shares = shares(&proxy, 800).await;
        for (name, share) in [("a", 100usize), ("b", 200), ("c", 500)] {
            let got = shares.get(name).copied().unwrap_or(0);
            assert!(got.abs_diff(share) <= slack, "{choice}: {shares:?}");
        }
    }
}

#[tokio::test]
async fn nobody_is_left_out_by_the_default_choice() {
    let [a, b, c] = three().await;
    for choice in ["leastRequest", "peakEwma"] {
        let endpoints = [(a.address(), 1), (b.address(), 1), (c.address(), 1)];
        let proxy = Proxy::start(&policy(&endpoints, choice)).await;
        let shares = shares(&proxy, 300).await;
        assert_eq!(shares.len(), 3, "{choice}: {shares:?}");
        // Latency is what peakEwma goes by, and that is the machine's; least request among idle ones is chance.
        let least = if choice == "leastRequest" { 50 } else { 1 };
        assert!(shares.values().all(|share| *share >= least), "{choice}: {shares:?}");
    }
}

#[tokio::test]
async fn a_busy_endpoint_gets_less() {
    use outrigger_tests::{backend::Answer, wait::Gate};
    let [a, b, _] = three().await;
    let gate = Gate::closed();
    let held = gate.clone();
    // `a` keeps what it has; `b` answers at once.
    a.answer(move |seen| match &*seen.path {
        "/slow" => Answer::text("late").hold_for(&held),
        _ => Answer::text("ok"),
    });
    b.answer(|_| Answer::text("ok"));
    let proxy = Proxy::start(&policy(&[(a.address(), 1), (b.address(), 1)], "leastRequest")).await;
    let mut slow = Vec::new();
    while a.requests_to("/slow") < 1 {
        let before = a.requests() + b.requests();
        let mut client = Client::http1(proxy.outbound(0), "web").await;
        slow.push(tokio::spawn(async move { client.get("/slow").await.status }));
        let came = || async { (a.requests() + b.requests() > before).then_some(()) };
        outrigger_tests::wait::until("the request", came).await;
        assert!(slow.len() < 200, "`a` is hardly ever chosen");
    }
    let shares = shares(&proxy, 100).await;
    assert!(shares.get("a").copied().unwrap_or(0) <= 10, "{shares:?}");
    gate.open();
    for answer in slow {
        assert_eq!(answer.await.expect("no panic"), StatusCode::OK);
    }
}

#[tokio::test]
async fn endpoints_come_and_go_with_the_policy() {
    let [a, b, c] = three().await;
    let two = policy(&[(a.address(), 1), (b.address(), 1)], "roundRobin");
    let proxy = Proxy::start(&two).await;
    let names = |shares: BTreeMap<String, usize>| shares.into_keys().collect::<Vec<_>>();
    assert_eq!(names(shares(&proxy, 20).await), ["a", "b"]);
    proxy.reload(&policy(&[(b.address(), 1), (c.address(), 1)], "roundRobin")).await;
    assert_eq!(names(shares(&proxy, 20).await), ["b", "c"]);
    proxy.reload(&policy(&[(b.address(), 1)], "roundRobin")).await;
    assert_eq!(names(shares(&proxy, 20).await), ["b"]);
    proxy.reload(&two).await;
    let back = shares(&proxy, 20).await;
    assert_eq!((back["a"], back["b"]), (10, 10));
}

#[tokio::test]
async fn an_endpoint_by_name_is_one_like_the_others() {
    let (named, numbered) = (Backend::http1("named").await, Backend::http1("numbered").await);
    let endpoints = format!(
        "endpoints: [{{dns: \"localhost:{}\"}}, {{address: \"{}\"}}]",
        named.address().port(),
        numbered.address()
    );
    let service = mesh::service("web", "http1", &[]).replace("endpoints: []", &endpoints);
    let traffic = mesh::traffic("web", "  loadBalancer: {policy: roundRobin}\n");
    let proxy = Proxy::start(&mesh::pinned("web", &[&service, &traffic])).await;
    // `localhost` may also be ::1, where nobody listens: those attempts move on, and no caller sees them.
    let shares = shares(&proxy, 40).await;
    assert!(shares["named"] >= 10 && shares["numbered"] >= 10, "{shares:?}");
}
