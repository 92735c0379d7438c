//! The breaker of a Service: what opens it, what it lets through, what closes it, and what outlives a reload.

use std::time::Duration;

use outrigger_tests::{
    backend::{Answer, Backend, Fault},
    client::{self, Client},
    grpc::{FAIL, GrpcClient, GrpcService, UNARY},
    mesh::{self, Proxy},
    metrics::Metrics,
    raw::RawClient,
    unreachable::Refuses,
    wait::{Gate, until},
};

/// Opens after four failures, for 200 ms, and wants two good probes.
const TRIP: &str =
    "trip: {failurePercent: 50, minRequests: 4}, open: {initial: 200ms, max: 400ms}, probe: {requests: 2}";

fn policy(protocol: &str, address: std::net::SocketAddr, more: &str) -> String {
    let body = format!("  circuitBreaker: {{{TRIP}}}\n{more}");
    mesh::pinned("web", &[&mesh::service("web", protocol, &[address]), &mesh::traffic("web", &body)])
}

fn state(metrics: &Metrics) -> f64 {
    metrics.sum("outrigger_circuit_breaker_state", &[("service", "default/web:80")])
}

fn changes(metrics: &Metrics, to: &str) -> f64 {
    metrics.sum("outrigger_circuit_breaker_changes_total", &[("to", to)])
}

async fn caller(proxy: &Proxy) -> Client {
    Client::http1(proxy.outbound(0), "web").await
}

/// Waits until the breaker lets something through again, and gives what that came to.
async fn first_probe(client: &mut Client) -> client::Answer {
    for _ in 0..10_000 {
        let answer = client.get("/").await;
        if answer.header("x-outrigger-error") != "circuit_open" {
            return answer;
        }
        let _ = tokio::time::timeout(Duration::from_millis(2), std::future::pending::<()>()).await;
    }
    panic!("the breaker never lets a probe through");
}

#[tokio::test]
async fn a_failing_service_is_left_in_peace_and_tried_again() {
    let service = Backend::http1("web").await;
    service.answer(|_| Answer::status(500));
    let proxy = Proxy::start(&policy("http1", service.address(), "")).await;
    let mut client = caller(&proxy).await;
    for _ in 0..4 {
        assert_eq!(client.get("/").await.status, 500);
    }
    let refused = client.get("/").await;
    assert_eq!((refused.status.as_u16(), refused.header("x-outrigger-error")), (503, "circuit_open"));
    assert_eq!(refused.header("x-outrigger-overloaded"), "true");
    assert_eq!(service.requests(), 4);
    let metrics = proxy.metrics().await;
    assert_eq!((state(&metrics), changes(&metrics, "open")), (1.0, 1.0));
    let refused = metrics.sum("outrigger_circuit_breaker_refused_total", &[("limit", "open")]);
    assert_eq!((refused, metrics.sum("outrigger_retries_total", &[])), (1.0, 0.0));

    // The first probe fails: open again, for longer.
    assert_eq!(first_probe(&mut client).await.status, 500);
    assert_eq!(client.get("/").await.header("x-outrigger-error"), "circuit_open");
    assert_eq!(service.requests(), 5);
    service.answer(|_| Answer::text("ok"));
    assert_eq!(first_probe(&mut client).await.status, 200);
    assert_eq!(client.get("/").await.status, 200);
    let metrics = proxy.metrics().await;
    assert_eq!((state(&metrics), changes(&metrics, "closed")), (0.0, 1.0));
    assert!(changes(&metrics, "half_open") >= 2.0);
    // What failed before is forgotten.
    service.answer(|_| Answer::status(500));
    assert_eq!(client.get("/").await.status, 500);
    assert_eq!(client.get("/").await.status, 500);
}

#[tokio::test]
async fn exactly_the_probes_are_let_through() {
    let service = Backend::http1("web").await;
    service.answer(|_| Answer::status(500));
    let proxy = Proxy::start(&policy("http1", service.address(), "")).await;
    let mut client = caller(&proxy).await;
    for _ in 0..4 {
        client.get("/").await;
    }
    let gate = Gate::closed();
    let held = gate.clone();
    service.answer(move |_| Answer::text("ok").hold_for(&held));
    // Probes hang at the gate, so whoever is answered was refused.
    let mut probes = Vec::new();
    for probe in 1..=2 {
        let mut client = caller(&proxy).await;
        probes.push(tokio::spawn(async move { first_probe(&mut client).await.status }));
        service.wait_requests(4 + probe).await;
    }
    for _ in 0..50 {
        assert_eq!(client.get("/").await.header("x-outrigger-error"), "circuit_open");
    }
    assert_eq!(service.requests(), 6, "two probes and not one more");
    gate.open();
    for probe in probes {
        assert_eq!(probe.await.unwrap(), 200);
    }
    assert_eq!(client.get("/").await.status, 200);
}

#[tokio::test]
async fn a_caller_that_gives_up_counts_as_nothing_and_frees_its_probe() {
    let service = Backend::http1("web").await;
    service.answer(|_| Answer::fail(Fault::Hang));
    let proxy = Proxy::start(&policy("http1", service.address(), "")).await;
    for n in 1..=8 {
        let mut gone = RawClient::connect(proxy.outbound(0)).await;
        gone.send("GET / HTTP/1.1\r\nhost: web\r\n\r\n").await;
        service.wait_requests(n).await;
        gone.reset();
    }
    until("all to be gone", || async {
        let open = proxy.metrics().await.sum("outrigger_circuit_breaker_held", &[("limit", "requests")]);
        (open == 0.0).then_some(())
    })
    .await;
    assert_eq!(state(&proxy.metrics().await), 0.0);

    service.answer(|_| Answer::status(500));
    let mut client = caller(&proxy).await;
    for _ in 0..4 {
        client.get("/").await;
    }
    service.answer(|seen| if seen.path == "/" { Answer::text("ok") } else { Answer::fail(Fault::Hang) });
    // Both probes hang, and are given up: their places are free again.
    let before = service.requests();
    let mut probes = Vec::new();
    for probe in 1..=2 {
        let sent = until("a probe to be let through", || async {
            let mut gone = RawClient::connect(proxy.outbound(0)).await;
            gone.send("GET /hang HTTP/1.1\r\nhost: web\r\n\r\n").await;
            gone.is_silent_for(Duration::from_millis(50)).await.then_some(gone)
        });
        probes.push(sent.await);
        assert_eq!(service.requests(), before + probe);
    }
    assert_eq!(client.get("/").await.header("x-outrigger-error"), "circuit_open");
    probes.into_iter().for_each(RawClient::reset);
    assert_eq!(first_probe(&mut client).await.status, 200);
    assert_eq!(first_probe(&mut client).await.status, 200);
    until("the breaker to close", || async { (state(&proxy.metrics().await) == 0.0).then_some(()) }).await;
}

#[tokio::test]
async fn a_service_that_is_too_slow_trips_by_its_timeouts() {
    let service = Backend::http1("web").await;
    service.answer(|_| Answer::fail(Fault::Hang));
    let proxy = Proxy::start(&policy("http1", service.address(), "  timeouts: {attempt: 20ms}\n")).await;
    let mut client = caller(&proxy).await;
    for _ in 0..4 {
        assert_eq!(client.get("/").await.header("x-outrigger-error"), "attempt_timeout");
    }
    assert_eq!(client.get("/").await.header("x-outrigger-error"), "circuit_open");
    assert_eq!(service.requests(), 4);
}

#[tokio::test]
async fn a_service_that_is_not_there_trips_without_spending_retries() {
    let nowhere = Refuses::new();
    let more = "  retry: {attempts: 1, backoff: {base: 1ms, max: 1ms}}\n";
    let proxy = Proxy::start(&policy("http1", nowhere.address(), more)).await;
    let mut client = caller(&proxy).await;
    for _ in 0..2 {
        assert_eq!(client.get("/").await.header("x-outrigger-error"), "connect_failed");
    }
    let before = proxy.metrics().await;
    assert_eq!(state(&before), 1.0);
    for _ in 0..20 {
        assert_eq!(client.get("/").await.header("x-outrigger-error"), "circuit_open");
    }
    let after = proxy.metrics().await;
    for name in ["outrigger_retries_total", "outrigger_attempts_total"] {
        assert_eq!(after.sum(name, &[]), before.sum(name, &[]), "{name}");
    }
}

#[tokio::test]
async fn answers_that_break_off_are_failures() {
    let service = Backend::http1("web").await;
    service.answer(|_| Answer::text("half ").then_fail(Fault::Reset));
    let proxy = Proxy::start(&policy("http1", service.address(), "")).await;
    for _ in 0..4 {
        let mut client = caller(&proxy).await;
        let request = client.request("GET", "/", "");
        assert!(client.call(request).await.is_err());
    }
    let mut client = caller(&proxy).await;
    assert_eq!(client.get("/").await.header("x-outrigger-error"), "circuit_open");
}

#[tokio::test]
async fn state_survives_a_reload_that_changes_its_numbers() {
    let service = Backend::http1("web").await;
    service.answer(|_| Answer::status(500));
    let proxy = Proxy::start(&policy("http1", service.address(), "")).await;
    let mut client = caller(&proxy).await;
    for _ in 0..3 {
        assert_eq!(client.get("/").await.status, 500);
    }
    let longer =
        policy("http1", service.address(), "").replace("initial: 200ms, max: 400ms", "initial: 1h, max: 2h");
    proxy.reload(&longer).await;
    assert_eq!(client.get("/").await.status, 500, "the fourth");
    assert_eq!(client.get("/").await.header("x-outrigger-error"), "circuit_open");
    proxy.reload(&longer.replace("minRequests: 4", "minRequests: 40")).await;
    assert_eq!(client.get("/").await.header("x-outrigger-error"), "circuit_open", "open stays open");
    assert_eq!(service.requests(), 4);
    let without = mesh::pinned("web", &[&mesh::service("web", "http1", &[service.address()])]);
    proxy.reload(&without).await;
    assert_eq!(client.get("/").await.status, 500, "nothing is written any more");
}

#[tokio::test]
async fn grpc_codes_trip_and_are_told_as_grpc() {
    let service = GrpcService::start().await;
    let proxy = Proxy::start(&policy("grpc", service.address(), "")).await;
    let mut client = GrpcClient::connect(proxy.outbound(0), "web").await;
    // What says that the caller is wrong, or that the service has enough, is no failure.
    for code in ["3", "5", "8", "12"] {
        for _ in 0..4 {
            let mut call = client.open(FAIL, &[("x-fail", code)]).await;
            call.finish();
            assert_eq!(call.end().await.status, code.parse().ok());
        }
    }
    assert_eq!(state(&proxy.metrics().await), 0.0);
    for _ in 0..16 {
        let mut call = client.open(FAIL, &[("x-fail", "14")]).await;
        call.finish();
        assert_eq!(call.end().await.status, Some(14));
    }
    let calls = service.calls();
    let refused = client.call(UNARY, &["hello"]).await;
    assert_eq!((refused.status, refused.trailers_only), (Some(14), true));
    assert_eq!(refused.headers["x-outrigger-error"], "circuit_open");
    assert_eq!(service.calls(), calls);
    // A good answer tells in its messages; its trailers come later.
    until("two good probes", || async {
        let mut client = GrpcClient::connect(proxy.outbound(0), "web").await;
        let outcome = client.call(UNARY, &["hello"]).await;
        (outcome.status == Some(0) && state(&proxy.metrics().await) == 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_admin_api_shows_where_it_stands() {
    let service = Backend::http1("web").await;
    service.answer(|_| Answer::status(500));
    let policy = policy("http1", service.address(), "")
        .replace("initial: 200ms, max: 400ms", "initial: 1h, max: 2h")
        .replace("circuitBreaker: {", "circuitBreaker: {limits: {requests: 7}, ");
    let proxy = Proxy::start(&policy).await;
    let shown = || async {
        let services = client::get(proxy.admin(), "/services").await.json();
        services[0]["ports"][0]["circuit_breaker"].clone()
    };
    assert_eq!(shown().await["state"], "closed");
    let mut client = caller(&proxy).await;
    for _ in 0..4 {
        client.get("/").await;
    }
    let open = shown().await;
    assert_eq!(
        (&open["state"], &open["attempts"], &open["failures"]),
        (&"open".into(), &4.into(), &4.into())
    );
    assert!(open["open_for_ms"].as_u64().is_some_and(|left| left > 3_000_000), "{open}");
    assert_eq!(open["limits"]["requests"], serde_json::json!({"held": 0, "limit": 7}));
    let table = client::get(proxy.admin(), "/services?o=table").await.text();
    assert!(table.contains("BREAKER") && table.contains("open"), "{table}");
}

/// `examples/circuit-breaker.yaml`, with a service behind it that fails.
#[tokio::test]
async fn the_example_runs_as_it_stands() {
    let service = Backend::http1("reviews").await;
    service.answer(|_| Answer::text("good"));
    let proxy =
        Proxy::start(&mesh::example("circuit-breaker.yaml", &[("127.0.0.1:9001", service.address())])).await;
    let mut client = Client::http1(proxy.outbound(0), "reviews").await;
    assert_eq!(client.get("/").await.text(), "good");
    service.answer(|_| Answer::status(500));
    for _ in 0..10 {
        let answer = client.get("/").await;
        assert_eq!((answer.text().as_str(), answer.header("x-outrigger-fallback")), ("good", "stale"));
    }
    let sent = service.requests();
    assert!(sent < 11, "{sent}: the breaker is open");
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.sum("outrigger_circuit_breaker_state", &[("service", "shop/reviews:80")]), 1.0);
}
