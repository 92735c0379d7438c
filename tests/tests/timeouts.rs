//! Time limits where several things meet: attempts and endpoints, rules and Services, many callers of one connection, a
//! sidecar at either end.
//!
//! Limits are short and the bounds wide: a limit that comes early or never fails, one that a busy machine makes late
//! does not.

use std::time::{Duration, Instant};

use outrigger_tests::{
    backend::{Answer, Backend, Fault},
    client::{self, Client},
    mesh::{self, Proxy},
    unreachable::BlackHole,
};

/// A proxy that is pinned to the Service `web` with these endpoints and this policy.
async fn before(protocol: &str, endpoints: &[std::net::SocketAddr], policy: &str) -> Proxy {
    let service = mesh::service("web", protocol, endpoints);
    Proxy::start(&mesh::pinned("web", &[&service, &mesh::traffic("web", policy)])).await
}

fn refused(answer: &client::Answer) -> (u16, &str) {
    (answer.status.as_u16(), answer.header("x-outrigger-error"))
}

/// An attempt's limit ends the attempt; whether another follows is the retry law's.
#[tokio::test]
async fn an_attempt_limit_lets_another_endpoint_answer() {
    let (slow, fast) = (Backend::http1("slow").await, Backend::http1("fast").await);
    slow.answer(|_| Answer::fail(Fault::Hang));
    fast.answer(|_| Answer::text("ok"));
    let both = [slow.address(), fast.address()];
    let policy = "  timeouts: {attempt: 80ms}\n  retry: {attempts: 1, on: [gateway-error]}\n  \
                  loadBalancer: {policy: roundRobin}\n";
    let proxy = before("http1", &both, policy).await;
    let mut client = Client::http1(proxy.outbound(0), "web").await;
    for _ in 0..6 {
        assert_eq!(client.get("/").await.text(), "ok");
    }
    assert!(slow.requests() >= 2, "it was tried: {}", slow.requests());
    // A POST may have been worked on: it is never sent again.
    let posts: Vec<u16> = [client.post("/", "x").await, client.post("/", "x").await]
        .iter()
        .map(|answer| {
            if answer.status == 504 {
                assert_eq!(answer.header("x-outrigger-error"), "attempt_timeout");
            }
            answer.status.as_u16()
        })
        .collect();
    let sent = |backend: &Backend| backend.seen().iter().filter(|seen| seen.method == "POST").count();
    assert_eq!((sent(&slow) + sent(&fast), posts.contains(&504)), (2, true), "{posts:?}");
}

/// The whole has its limit, however many attempts fit into it.
#[tokio::test]
async fn the_request_limit_holds_for_all_attempts_together() {
    let backend = Backend::http1("b").await;
    backend.answer(|_| Answer::fail(Fault::Hang));
    let policy = "  timeouts: {request: 300ms, attempt: 100ms}\n  \
                  retry: {attempts: 20, on: [gateway-error], backoff: {base: 1ms, max: 1ms}}\n";
    let proxy = before("http1", &[backend.address()], policy).await;
    let start = Instant::now();
    let answer = Client::http1(proxy.outbound(0), "web").await.get("/").await;
    assert_eq!(refused(&answer), (504, "request_timeout"));
    assert!(start.elapsed() >= Duration::from_millis(300));
    assert!((2..=4).contains(&backend.requests()), "{} attempts of 100 ms", backend.requests());
}

/// A host that does not answer costs the connect timeout, and no request where there is another one.
#[tokio::test]
async fn a_black_hole_costs_the_connect_timeout() {
    let hole = BlackHole::new().await;
    for protocol in ["http1", "http2"] {
        let proxy = before(protocol, &[hole.address()], "  timeouts: {connect: 50ms}\n").await;
        let mut client = Client::http1(proxy.outbound(0), "web").await;
        let start = Instant::now();
        assert_eq!(refused(&client.post("/", "x").await), (503, "connect_timeout"));
        assert!((50..5_000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    }
    let backend = Backend::http1("b").await;
    backend.answer(|_| Answer::text("ok"));
    let policy = "  timeouts: {connect: 50ms}\n  loadBalancer: {policy: roundRobin}\n";
    let proxy = before("http1", &[hole.address(), backend.address()], policy).await;
    let mut client = Client::http1(proxy.outbound(0), "web").await;
    for _ in 0..4 {
        assert_eq!(client.post("/", "x").await.text(), "ok");
    }
}

/// The attempt's time begins when the connection is there.
#[tokio::test]
async fn many_requests_wait_for_one_connection_no_longer_than_its_limit() {
    let hole = BlackHole::new().await;
    let proxy = before("http2", &[hole.address()], "  timeouts: {connect: 100ms}\n  retry: null\n").await;
    let client = Client::http2(proxy.outbound(0), "web").await;
    let start = Instant::now();
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let mut client = client.share();
            tokio::spawn(async move { client.get("/").await })
        })
        .collect();
    for call in calls {
        let answer = call.await.expect("no panic");
        assert_eq!(refused(&answer), (503, "connect_timeout"));
    }
    assert!(start.elapsed() < Duration::from_secs(5), "one after the other: {:?}", start.elapsed());
}

/// `0s` and null switch a limit off, also one that a wider policy sets.
#[tokio::test]
async fn zero_switches_a_limit_off() {
    let backend = Backend::http1("b").await;
    backend.answer(|_| Answer::text("late").delay(Duration::from_millis(250)));
    let service = mesh::service("web", "http1", &[backend.address()]);
    let defaults = "apiVersion: outrigger.dev/v1alpha1\nkind: Mesh\nmetadata: {name: default}\nspec: \
                    {defaults: {timeouts: {request: 50ms, attempt: 50ms, streamIdle: 50ms}}}\n";
    let proxy = Proxy::start(&mesh::pinned("web", &[&service, defaults])).await;
    assert_eq!(Client::http1(proxy.outbound(0), "web").await.get("/").await.status, 504);
    for off in [
        "{request: 0s, attempt: 0s, streamIdle: 0s}",
        "{request: null, attempt: null, streamIdle: null}",
        "null",
    ] {
        let policy = mesh::traffic("web", &format!("  timeouts: {off}\n"));
        let proxy = Proxy::start(&mesh::pinned("web", &[&service, defaults, &policy])).await;
        assert_eq!(Client::http1(proxy.outbound(0), "web").await.get("/").await.text(), "late", "{off}");
    }
}

/// The rule's own limits stand above the Service's.
#[tokio::test]
async fn a_rule_has_its_own_limits() {
    let backend = Backend::http1("b").await;
    backend.answer(|_| Answer::text("late").delay(Duration::from_millis(200)));
    let service = mesh::service("web", "http1", &[backend.address()]);
    let route = mesh::route(
        "web",
        "  - matches: [{path: {value: /patient}}]\n    timeouts: {request: 0s}\n    backendRefs: [{name: web, port: 80}]\n  \
         - matches: [{path: {value: /attempt}}]\n    timeouts: {request: 10s, backendRequest: 40ms}\n    \
         backendRefs: [{name: web, port: 80}]\n  - backendRefs: [{name: web, port: 80}]\n",
    );
    let policy = mesh::traffic("web", "  timeouts: {request: 50ms}\n");
    let proxy = Proxy::start(&mesh::pinned("web", &[&service, &route, &policy])).await;
    let mut client = Client::http1(proxy.outbound(0), "web").await;
    assert_eq!(client.get("/patient").await.text(), "late");
    assert_eq!(refused(&client.get("/attempt").await), (504, "attempt_timeout"));
    assert_eq!(refused(&client.get("/").await), (504, "request_timeout"));
}

/// The callee keeps the request limit of its own Service.
#[tokio::test]
async fn the_callee_keeps_its_services_limit() {
    let backend = Backend::http1("b").await;
    backend.answer(|_| Answer::fail(Fault::Hang));
    let service = mesh::service("web", "http1", &[backend.address()]);
    let policy = mesh::traffic("web", "  timeouts: {request: 60ms}\n");
    let text = mesh::inbound(backend.address(), "http1", &[&service, &policy]);
    let named = text.replacen("protocol: http1}", "protocol: http1, service: {name: web, port: 80}}", 1);
    let proxy = Proxy::start(&named).await;
    assert_eq!(
        refused(&Client::http1(proxy.inbound(0), "web").await.get("/").await),
        (504, "request_timeout")
    );
}

/// What ended at the caller's sidecar ends at the service, through the sidecar before it.
#[tokio::test]
async fn an_end_is_told_along_the_whole_way() {
    for protocol in ["http1", "http2"] {
        let backend = Backend::http1("b").await;
        backend.answer(|_| Answer::fail(Fault::Hang));
        let callee = Proxy::start(&mesh::inbound(backend.address(), "http1", &[])).await;
        let caller = before(protocol, &[callee.inbound(0)], "  timeouts: {request: 60ms}\n").await;
        assert_eq!(Client::http1(caller.outbound(0), "web").await.get("/").await.status, 504);
        backend.wait_open_connections(0).await;
    }
}
