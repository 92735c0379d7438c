//! Active health checks and the panic threshold, through a real proxy: what is asked, what it takes to be left out and to
//! come back, and what happens when too few are left.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use outrigger_tests::{
    backend::{Answer as Says, Backend, Fault, Speaks},
    client::{self, Client},
    mesh::{self, Proxy, pinned, service, traffic},
    metrics::Metrics,
    outside::{Authority, TlsFront},
    wait::until,
};

/// Checks that come fast, with a time limit that only what hangs can miss.
const FAST: &str = "interval: 20ms, timeout: 5s";

fn policy(checks: &str, endpoints: &[SocketAddr]) -> String {
    with("http1", checks, "policy: roundRobin", endpoints)
}

fn with(protocol: &str, checks: &str, balance: &str, endpoints: &[SocketAddr]) -> String {
    let own = format!("  healthCheck: {checks}\n  loadBalancer: {{{balance}}}\n  outlierDetection: null\n");
    pinned("web", &[&service("web", protocol, endpoints), &traffic("web", &own)])
}

/// A backend whose checks pass while its switch is on.
async fn switched(name: &str) -> (Backend, Arc<AtomicBool>) {
    let (backend, well) = (Backend::http1(name).await, Arc::new(AtomicBool::new(true)));
    let on = well.clone();
    backend.answer(move |seen| match &*seen.path {
        "/healthz" => Says::status(if on.load(Relaxed) { 204 } else { 503 }),
        _ => Says::text("ok"),
    });
    (backend, well)
}

async fn state(proxy: &Proxy, address: SocketAddr) -> serde_json::Value {
    let services = client::get(proxy.admin(), "/services").await.json();
    let endpoints = services[0]["ports"][0]["endpoints"].as_array().expect("endpoints").clone();
    let own = endpoints.into_iter().find(|endpoint| endpoint["address"] == address.to_string());
    own.expect("the endpoint is listed")
}

async fn until_state(proxy: &Proxy, address: SocketAddr, wanted: &str) {
    let look = || async { (state(proxy, address).await["state"] == wanted).then_some(()) };
    until(wanted, look).await;
}

async fn until_metrics(proxy: &Proxy, what: &str, holds: impl Fn(&Metrics) -> bool) -> Metrics {
    let look = || async {
        let metrics = proxy.metrics().await;
        holds(&metrics).then_some(metrics)
    };
    until(what, look).await
}

/// Asks one after the other; gives who answered, or the status of who did not.
async fn ask(proxy: &Proxy, count: usize) -> Vec<String> {
    let mut client = Client::http1(proxy.outbound(0), "web").await;
    let mut answers = Vec::new();
    for _ in 0..count {
        let answer = client.get("/").await;
        answers.push(match answer.status {
            StatusCode::OK => answer.header("x-backend").to_owned(),
            _ => answer.header("x-outrigger-error").to_owned(),
        });
    }
    answers
}

fn all(answers: &[String], wanted: &[&str]) -> bool {
    let mut got: Vec<&str> = answers.iter().map(String::as_str).collect();
    got.sort_unstable();
    got.dedup();
    got == wanted
}

#[tokio::test]
async fn an_unhealthy_endpoint_is_left_out_until_it_is_healthy_again() {
    let ((a, _), (b, well)) = (switched("a").await, switched("b").await);
    let proxy =
        Proxy::start(&policy(&format!("{{http: {{path: /healthz}}, {FAST}}}"), &[a.address(), b.address()]))
            .await;
    let answers = ask(&proxy, 20).await;
    assert!(all(&answers, &["a", "b"]), "{answers:?}");
    well.store(false, Relaxed);
    until_state(&proxy, b.address(), "unhealthy").await;
    let answers = ask(&proxy, 20).await;
    assert!(all(&answers, &["a"]), "{answers:?}");
    let view = state(&proxy, b.address()).await;
    assert_eq!(view["health"]["healthy"], false);
    assert_eq!(view["health"]["failure"], "status 503");
    let table = client::get(proxy.admin(), "/services?o=table").await.text();
    assert!(table.contains("unhealthy (status 503)"), "{table}");
    well.store(true, Relaxed);
    until_state(&proxy, b.address(), "usable").await;
    let answers = ask(&proxy, 20).await;
    assert!(all(&answers, &["a", "b"]), "{answers:?}");

    let check = a.seen().into_iter().find(|seen| seen.path == "/healthz").expect("a check");
    assert_eq!((&*check.method, &*check.authority), ("GET", "web.default"));
    assert_eq!(check.header("user-agent"), "outrigger-health-check");
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.sum("outrigger_attempts_total", &[]), 60.0, "checks are no traffic");
    assert_eq!(metrics.sum("outrigger_requests_total", &[]), 60.0);
    assert!(metrics.sum("outrigger_health_checks_total", &[("outcome", "passed")]) > 2.0);
    assert!(metrics.sum("outrigger_health_checks_total", &[("outcome", "bad_answer")]) >= 3.0);
    assert_eq!(metrics.sum("outrigger_health_changes_total", &[("to", "unhealthy")]), 1.0);
}

#[tokio::test]
async fn it_takes_as_many_checks_in_a_row_as_the_policy_says() {
    // The n-th check's answer, and what the endpoint is after it.
    const COURSE: &[u8] = b"+--+---+-++-";
    let (a, _) = switched("a").await;
    let b = Backend::http1("b").await;
    let checks: Arc<Mutex<usize>> = Arc::default();
    let counted = checks.clone();
    b.answer(move |seen| {
        if seen.path != "/healthz" {
            return Says::text("ok");
        }
        let mut checks = counted.lock().expect("nobody panics while holding it");
        *checks += 1;
        match COURSE.get(*checks - 1) {
            Some(b'+') | None => Says::status(200),
            Some(_) => Says::status(500),
        }
    });
    let own = format!(
        "{{http: {{path: /healthz}}, {FAST}, unhealthyInterval: 250ms, unhealthyAfter: 3, healthyAfter: 2}}"
    );
    let proxy = Proxy::start(&policy(&own, &[a.address(), b.address()])).await;
    let after = |checks: &Arc<Mutex<usize>>| *checks.lock().expect("nobody panics while holding it");
    // Each state shows between the check that makes it and the one that ends it.
    until_state(&proxy, b.address(), "unhealthy").await;
    assert!((7..=11).contains(&after(&checks)), "after the third in a row: {}", after(&checks));
    until_state(&proxy, b.address(), "usable").await;
    assert!(after(&checks) >= 11, "after the second in a row: {}", after(&checks));
    until_metrics(&proxy, "more checks", |metrics| {
        metrics.sum("outrigger_health_checks_total", &[("outcome", "passed")]) > 20.0
    })
    .await;
    let metrics = proxy.metrics().await;
    let changes = |to| metrics.sum("outrigger_health_changes_total", &[("to", to)]);
    assert_eq!((changes("healthy"), changes("unhealthy")), (3.0, 1.0), "two at first, one again");
}

#[tokio::test]
async fn the_first_check_decides_before_the_proxy_is_ready() {
    let ((a, _), (b, well)) = (switched("a").await, switched("b").await);
    well.store(false, Relaxed);
    let own = "{http: {path: /healthz}, interval: 1h}";
    let proxy = Proxy::start(&policy(own, &[a.address(), b.address()])).await;
    let answers = ask(&proxy, 20).await;
    assert!(all(&answers, &["a"]), "{answers:?}");
    assert_eq!((a.requests_to("/healthz"), b.requests_to("/healthz")), (1, 1));
}

#[tokio::test]
async fn what_passes_and_whom_it_is_said_to_is_the_policys() {
    let ((a, _), (b, well)) = (switched("a").await, switched("b").await);
    well.store(false, Relaxed);
    let own = format!(
        "{{http: {{path: \"/healthz?deep=1\", host: health.example.com, statuses: [\"503\", \"200-204\"]}}, {FAST}}}"
    );
    let endpoints = [a.address(), b.address()];
    let proxy = Proxy::start(&policy(&own.replace("/healthz?deep=1", "/healthz"), &endpoints)).await;
    let answers = ask(&proxy, 20).await;
    assert!(all(&answers, &["a", "b"]), "503 passes: {answers:?}");
    proxy.reload(&policy(&own, &endpoints)).await;
    let asked = || async {
        let seen = b.seen();
        seen.into_iter().find(|seen| seen.path == "/healthz?deep=1")
    };
    assert_eq!(until("the other path", asked).await.authority, "health.example.com");
}

#[tokio::test]
async fn ports_of_http2_are_asked_in_http2() {
    let (a, b) = (Backend::http2("a").await, Backend::http2("b").await);
    a.answer(|_| Says::text("ok"));
    b.answer(|seen| Says::status(if seen.path == "/healthz" { 404 } else { 200 }));
    let own = format!("{{http: {{path: /healthz}}, {FAST}}}");
    let proxy = Proxy::start(&with("http2", &own, "", &[a.address(), b.address()])).await;
    let answers = ask(&proxy, 20).await;
    assert!(all(&answers, &["a"]), "{answers:?}");
    let check = b.seen().into_iter().find(|seen| seen.path == "/healthz").expect("a check");
    assert_eq!((&*check.version, &*check.authority), ("HTTP/2.0", "web.default"));
}

/// A gRPC health service that says SERVING while its switch is on.
async fn grpc_health(name: &str) -> (Backend, Arc<AtomicBool>) {
    let (backend, well) = (Backend::http2(name).await, Arc::new(AtomicBool::new(true)));
    let on = well.clone();
    backend.answer(move |seen| {
        if seen.path != "/grpc.health.v1.Health/Check" {
            return Says::text("ok");
        }
        let status = if on.load(Relaxed) { 1 } else { 2 };
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().expect("a value"));
        Says::status(200)
            .header("content-type", "application/grpc")
            .then(Bytes::from(vec![0, 0, 0, 0, 2, 8, status]))
            .then_trailers(trailers)
    });
    (backend, well)
}

#[tokio::test]
async fn the_grpc_health_protocol_is_spoken() {
    let ((a, _), (b, well)) = (grpc_health("a").await, grpc_health("b").await);
    let own = format!("{{grpc: {{service: shop.Cart}}, {FAST}}}");
    let proxy = Proxy::start(&with("grpc", &own, "policy: roundRobin", &[a.address(), b.address()])).await;
    let answers = ask(&proxy, 20).await;
    assert!(all(&answers, &["a", "b"]), "{answers:?}");
    well.store(false, Relaxed);
    until_state(&proxy, b.address(), "unhealthy").await;
    assert_eq!(state(&proxy, b.address()).await["health"]["failure"], "NOT_SERVING");
    let check = b.seen().into_iter().find(|seen| seen.path.starts_with("/grpc.health")).expect("a check");
    assert_eq!((&*check.method, check.header("te")), ("POST", "trailers"));
    // Prefix, tag, length and name.
    assert_eq!(check.body_bytes, 5 + 2 + 9);
    well.store(true, Relaxed);
    until_state(&proxy, b.address(), "usable").await;
    // A server without the service says so in the head.
    b.answer(|_| Says::status(200).header("content-type", "application/grpc").header("grpc-status", "12"));
    until_state(&proxy, b.address(), "unhealthy").await;
    assert_eq!(state(&proxy, b.address()).await["health"]["failure"], "gRPC status 12");
}

#[tokio::test]
async fn a_connection_is_enough_where_the_policy_says_tcp() {
    let ((a, _), (mut b, _)) = (switched("a").await, switched("b").await);
    let own = format!("{{tcp: {{}}, {FAST}, unhealthyAfter: 2, healthyAfter: 2}}");
    let proxy = Proxy::start(&policy(&own, &[a.address(), b.address()])).await;
    until_metrics(&proxy, "checks", |metrics| {
        metrics.sum("outrigger_health_checks_total", &[("outcome", "passed")]) > 4.0
    })
    .await;
    assert_eq!(a.requests() + b.requests(), 0, "nothing is sent");
    let address = b.address();
    b.stop().await;
    until_state(&proxy, address, "unhealthy").await;
    let metrics = proxy.metrics().await;
    assert!(metrics.sum("outrigger_health_checks_total", &[("outcome", "connect_failed")]) >= 2.0);
    assert_eq!(metrics.sum("outrigger_upstream_connect_failures_total", &[]), 0.0);
    let _again = Backend::at(address, Speaks::Http1, "b").await;
    until_state(&proxy, address, "usable").await;
}

#[tokio::test]
async fn a_check_that_hangs_or_breaks_has_failed() {
    for (fault, outcome) in [(Fault::Hang, "timeout"), (Fault::Close, "broken"), (Fault::Reset, "broken")] {
        let ((a, _), b) = (switched("a").await, Backend::http1("b").await);
        b.answer(move |_| Says::fail(fault));
        let own = "{http: {path: /healthz}, interval: 20ms, timeout: 300ms}";
        let proxy = Proxy::start(&policy(own, &[a.address(), b.address()])).await;
        until_state(&proxy, b.address(), "unhealthy").await;
        let metrics = proxy.metrics().await;
        assert!(metrics.sum("outrigger_health_checks_total", &[("outcome", outcome)]) >= 1.0, "{fault:?}");
    }
}

#[tokio::test]
async fn checks_use_the_services_tls() {
    let (authority, folder) = (Authority::new("ca"), tempfile::tempdir().expect("a folder"));
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).expect("a file");
    let (backend, _) = switched("a").await;
    let front =
        TlsFront::start(backend.address(), &authority.issue(&["web.example.com"]), &["http/1.1"]).await;
    let tls = format!("{{mode: Simple, serverName: web.example.com, trustBundle: {}}}", ca.display());
    let web = service("web", "http1", &[front.address()]) + &format!("  tls: {tls}\n");
    let own = traffic("web", &format!("  healthCheck: {{http: {{path: /healthz}}, {FAST}}}\n"));
    let proxy = Proxy::start(&pinned("web", &[&web, &own])).await;
    until_metrics(&proxy, "checks", |metrics| {
        metrics.sum("outrigger_health_checks_total", &[("outcome", "passed")]) > 2.0
    })
    .await;
    assert_eq!(backend.last().authority, "web.example.com");
    // A certificate that is not good for the name is no endpoint to talk to.
    let wrong = web.replace("serverName: web.example.com", "serverName: other.example.com");
    proxy.reload(&pinned("web", &[&wrong, &own])).await;
    until_state(&proxy, front.address(), "unhealthy").await;
    assert_eq!(state(&proxy, front.address()).await["health"]["failure"], "TLS: name_mismatch");
}

#[tokio::test]
async fn when_too_few_are_usable_all_are_used() {
    let mut backends = Vec::new();
    for name in ["a", "b", "c", "d"] {
        backends.push(switched(name).await);
    }
    let endpoints: Vec<SocketAddr> = backends.iter().map(|(backend, _)| backend.address()).collect();
    let own = format!("{{http: {{path: /healthz}}, {FAST}}}");
    let proxy = Proxy::start(&with("http1", &own, "policy: roundRobin", &endpoints)).await;
    let unwell = async |count: f64| {
        until_metrics(&proxy, "unhealthy endpoints", |metrics| {
            metrics.sum("outrigger_endpoints", &[("state", "unhealthy")]) == count
        })
        .await
    };
    // Two of four are half: not below 50 %.
    backends[..2].iter().for_each(|(_, well)| well.store(false, Relaxed));
    assert_eq!(unwell(2.0).await.sum("outrigger_endpoints_panic", &[]), 0.0);
    let answers = ask(&proxy, 20).await;
    assert!(all(&answers, &["c", "d"]), "{answers:?}");
    backends[2].1.store(false, Relaxed);
    let metrics = unwell(3.0).await;
    assert_eq!(metrics.sum("outrigger_endpoints_panic", &[]), 1.0);
    assert_eq!(metrics.sum("outrigger_endpoints_panics_total", &[]), 1.0);
    let answers = ask(&proxy, 20).await;
    assert!(all(&answers, &["a", "b", "c", "d"]), "{answers:?}");
    let services = client::get(proxy.admin(), "/services").await.json();
    assert_eq!(services[0]["ports"][0]["panic"], true);
    let table = client::get(proxy.admin(), "/services?o=table").await.text();
    assert!(table.contains("used: too few are usable"), "{table}");
    backends[1].1.store(true, Relaxed);
    assert_eq!(unwell(2.0).await.sum("outrigger_endpoints_panic", &[]), 0.0);

    // Switched off: only what is usable, or nobody.
    proxy.reload(&with("http1", &own, "policy: roundRobin, panicBelow: 0", &endpoints)).await;
    backends.iter().for_each(|(_, well)| well.store(false, Relaxed));
    unwell(4.0).await;
    let answers = ask(&proxy, 5).await;
    assert!(all(&answers, &["no_endpoint"]), "{answers:?}");
    backends[3].1.store(true, Relaxed);
    unwell(3.0).await;
    let answers = ask(&proxy, 10).await;
    assert!(all(&answers, &["d"]), "{answers:?}");
}

#[tokio::test]
async fn checks_end_with_the_endpoint_and_with_the_policy() {
    let ((a, _), (b, well)) = (switched("a").await, switched("b").await);
    let own = format!("{{http: {{path: /healthz}}, {FAST}}}");
    let both = [a.address(), b.address()];
    let proxy = Proxy::start(&policy(&own, &both)).await;
    b.wait_requests(3).await;
    // An endpoint goes.
    proxy.reload(&policy(&own, &both[..1])).await;
    let rest = settled(&b, &a).await;
    assert_eq!(b.requests(), rest);
    // And comes again, unwell; then the policy has no checks.
    well.store(false, Relaxed);
    proxy.reload(&policy(&own, &both)).await;
    until_state(&proxy, b.address(), "unhealthy").await;
    proxy.reload(&policy("null", &both)).await;
    until_state(&proxy, b.address(), "usable").await;
    let (a_rest, b_rest) = (a.requests_to("/healthz"), b.requests_to("/healthz"));
    let answers = ask(&proxy, 100).await;
    assert!(all(&answers, &["a", "b"]), "{answers:?}");
    // One check each may have been on its way.
    assert!(a.requests_to("/healthz") <= a_rest + 1 && b.requests_to("/healthz") <= b_rest + 1);
    assert!(state(&proxy, b.address()).await["health"].is_null());
}

/// The requests of `quiet` once no check of it can be under way any more: `busy` has had some since.
async fn settled(quiet: &Backend, busy: &Backend) -> usize {
    busy.wait_requests(busy.requests() + 3).await;
    let rest = quiet.requests();
    busy.wait_requests(busy.requests() + 5).await;
    rest
}

#[tokio::test]
async fn a_check_that_passes_brings_no_ejected_endpoint_back() {
    let (a, b) = (switched("a").await.0, Backend::http1("b").await);
    b.answer(|seen| Says::status(if seen.path == "/healthz" { 200 } else { 500 }));
    let own = format!("  healthCheck: {{http: {{path: /healthz}}, {FAST}}}\n");
    let web = service("web", "http1", &[a.address(), b.address()]);
    let proxy = Proxy::start(&pinned("web", &[&web, &traffic("web", &own)])).await;
    let mut client = Client::http1(proxy.outbound(0), "web").await;
    while state(&proxy, b.address()).await["state"] == "usable" {
        client.get("/").await;
    }
    let checks = b.requests_to("/healthz");
    let checked = || async { (b.requests_to("/healthz") > checks + 5).then_some(()) };
    until("five more checks", checked).await;
    let view = state(&proxy, b.address()).await;
    assert_eq!((view["state"].as_str(), view["health"]["healthy"].as_bool()), (Some("ejected"), Some(true)));
}

/// `examples/health-checks.yaml`.
#[tokio::test]
async fn the_example_leaves_out_what_is_unwell() {
    let ((a, _), (b, _), (c, well)) = (switched("a").await, switched("b").await, switched("c").await);
    well.store(false, Relaxed);
    let addresses =
        [("127.0.0.1:9001", a.address()), ("127.0.0.1:9002", b.address()), ("127.0.0.1:9003", c.address())];
    let proxy = Proxy::start(&mesh::example("health-checks.yaml", &addresses)).await;
    let mut client = Client::http1(proxy.outbound(0), "reviews").await;
    for _ in 0..20 {
        assert_ne!(client.get("/").await.header("x-backend"), "c");
    }
    assert_eq!(state(&proxy, c.address()).await["state"], "unhealthy");
}
