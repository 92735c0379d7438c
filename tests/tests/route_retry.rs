//! A rule's own `retry`: its statuses, its number of repeats, its least pause, and what it takes from the policies.

use std::time::{Duration, Instant};

use outrigger_tests::{
    backend::{Answer, Backend},
    client::Client,
    mesh::{self, Proxy},
};

const RULES: &str = "  - matches: [{path: {value: /codes}}]
    retry: {codes: [418, 503], attempts: 2}
    backendRefs: [{name: web, port: 80}]
  - matches: [{path: {value: /default}}]
    retry: {}
    backendRefs: [{name: web, port: 80}]
  - matches: [{path: {value: /never}}]
    retry: {attempts: 0}
    backendRefs: [{name: web, port: 80}]
  - matches: [{path: {value: /slow}}]
    retry: {codes: [504], attempts: 1}
    timeouts: {backendRequest: 60ms}
    backendRefs: [{name: web, port: 80}]
  - matches: [{path: {value: /paced}}]
    retry: {codes: [503], attempts: 2, backoff: 60ms}
    backendRefs: [{name: web, port: 80}]
";

/// A service that answers with the status that ends the path, and late where that is 504.
async fn backend() -> Backend {
    let backend = Backend::http1("b").await;
    backend.answer(|request| {
        let status = request.path.rsplit('/').next().and_then(|end| end.parse().ok());
        let answer = Answer::status(status.expect("a status ends the path"));
        if request.path.ends_with("504") { answer.delay(Duration::from_millis(300)) } else { answer }
    });
    backend
}

async fn before(backend: &Backend, policies: &[&str]) -> Proxy {
    let (service, route) = (mesh::service("web", "http1", &[backend.address()]), mesh::route("web", RULES));
    let documents: Vec<&str> =
        [service.as_str(), route.as_str()].into_iter().chain(policies.iter().copied()).collect();
    Proxy::start(&mesh::pinned("web", &documents)).await
}

/// How often the service saw a request.
async fn times(proxy: &Proxy, backend: &Backend, method: &str, path: &str) -> usize {
    let earlier = backend.requests();
    let mut client = Client::http1(proxy.outbound(0), "web").await;
    let request = client.request(method, path, "");
    client.call(request).await.expect("an answer");
    backend.requests() - earlier
}

#[tokio::test]
async fn a_rule_names_statuses_and_repeats() {
    let backend = backend().await;
    let proxy = before(&backend, &[]).await;
    for (method, path, seen) in [
        ("GET", "/codes/503", 3),
        ("GET", "/codes/418", 3),
        ("GET", "/codes/502", 1),
        ("GET", "/codes/200", 1),
        // Statuses never widen what may be done twice.
        ("POST", "/codes/503", 1),
        ("GET", "/default/503", 2),
        ("GET", "/default/500", 1),
        ("GET", "/never/503", 1),
        ("GET", "/slow/504", 2),
    ] {
        assert_eq!(times(&proxy, &backend, method, path).await, seen, "{method} {path}");
    }
}

#[tokio::test]
async fn what_a_rule_leaves_out_is_the_policies() {
    let backend = backend().await;
    let policy = mesh::traffic("web", "  retry: {attempts: 3, on: [5xx], idempotent: true}\n");
    let proxy = before(&backend, &[&policy]).await;
    for (method, path, seen) in [
        ("GET", "/codes/503", 3),
        ("GET", "/codes/500", 1),
        ("POST", "/codes/503", 3),
        ("GET", "/default/500", 4),
        ("GET", "/never/500", 1),
    ] {
        assert_eq!(times(&proxy, &backend, method, path).await, seen, "{method} {path}");
    }
}

#[tokio::test]
async fn no_repeat_comes_before_the_least_pause() {
    let backend = backend().await;
    let proxy = before(&backend, &[]).await;
    let started = Instant::now();
    assert_eq!(times(&proxy, &backend, "GET", "/paced/503").await, 3);
    assert!(started.elapsed() >= Duration::from_millis(120), "{:?}", started.elapsed());
}
