//! Outlier detection through a real proxy: endpoints that fail are left out, for longer each time, and come back one
//! request at a time.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use http::StatusCode;
use outrigger_tests::{
    backend::{Answer as Says, Backend, Fault},
    client::{self, Client},
    grpc::{self, GrpcClient, GrpcService},
    mesh::{self, Proxy, pinned, service, traffic},
    raw::RawClient,
    unreachable::Refuses,
    wait::{Gate, until, within},
};
use serde_json::Value;
use tokio::task::JoinSet;

/// Longer than any test.
const LONG: &str = "baseEjection: 300s";

fn policy(outliers: &str, endpoints: &[SocketAddr]) -> String {
    let own = format!("  outlierDetection: {outliers}\n  loadBalancer: {{policy: roundRobin}}\n");
    pinned("web", &[&service("web", "http1", endpoints), &traffic("web", &own)])
}

async fn good(name: &str) -> Backend {
    let backend = Backend::http1(name).await;
    backend.answer(|_| Says::text("ok"));
    backend
}

async fn bad(name: &str, says: Says) -> Backend {
    let backend = Backend::http1(name).await;
    backend.answer(move |_| says.clone());
    backend
}

fn addresses(backends: &[&Backend]) -> Vec<SocketAddr> {
    backends.iter().map(|backend| backend.address()).collect()
}

/// What the admin API says of one endpoint.
async fn view(proxy: &Proxy, address: SocketAddr) -> Value {
    let services = client::get(proxy.admin(), "/services").await.json();
    let endpoints = services[0]["ports"][0]["endpoints"].as_array().expect("endpoints").clone();
    let own = endpoints.into_iter().find(|endpoint| endpoint["address"] == address.to_string());
    own.expect("the endpoint is listed")
}

async fn state(proxy: &Proxy, address: SocketAddr) -> String {
    view(proxy, address).await["state"].as_str().expect("a word").to_owned()
}

async fn ejections(proxy: &Proxy, detector: &str) -> f64 {
    proxy.metrics().await.sum("outrigger_ejections_total", &[("detector", detector)])
}

/// Sends GETs one after the other until the endpoint is in this state.
async fn ask_until(proxy: &Proxy, address: SocketAddr, wanted: &str) {
    let mut client = Client::http1(proxy.outbound(0), "web").await;
    within(wanted, async {
        while state(proxy, address).await != wanted {
            client.get("/").await;
        }
    })
    .await;
}

/// Sends GETs until the endpoint has failed so often, and then none until it is on trial.
async fn on_trial(proxy: &Proxy, broken: &Backend, failures: usize) {
    let mut client = Client::http1(proxy.outbound(0), "web").await;
    while broken.requests() < failures {
        client.get("/").await;
    }
    let half_open = || async { (state(proxy, broken.address()).await == "half_open").then_some(()) };
    until("the trial", half_open).await;
}

async fn ask(proxy: &Proxy, count: usize) -> Vec<StatusCode> {
    let mut client = Client::http1(proxy.outbound(0), "web").await;
    let mut statuses = Vec::new();
    for _ in 0..count {
        statuses.push(client.get("/").await.status);
    }
    statuses
}

fn count(statuses: &[StatusCode], status: u16) -> usize {
    statuses.iter().filter(|one| one.as_u16() == status).count()
}

#[tokio::test]
async fn five_failures_in_a_row_eject_without_any_policy() {
    let (a, b, broken) = (good("a").await, good("b").await, bad("c", Says::status(500)).await);
    let web = service("web", "http1", &addresses(&[&a, &b, &broken]));
    let proxy = Proxy::start(&pinned("web", &[&web])).await;
    let statuses = ask(&proxy, 200).await;
    assert_eq!((count(&statuses, 500), broken.requests()), (5, 5), "exactly as many as it takes");
    let view = view(&proxy, broken.address()).await;
    assert_eq!(
        (view["state"].as_str(), view["ejected_by"].as_str()),
        (Some("ejected"), Some("consecutive5xx"))
    );
    let back = view["back_in_seconds"].as_f64().expect("a time");
    assert!(back > 0.0 && back <= 30.0, "{view}");
    assert_eq!(ejections(&proxy, "consecutive5xx").await, 1.0);
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.sum("outrigger_endpoints", &[("state", "ejected")]), 1.0);
    assert_eq!(metrics.sum("outrigger_endpoints", &[("state", "usable")]), 2.0);
    assert_eq!(metrics.sum("outrigger_endpoints_panic", &[]), 0.0);
    let table = client::get(proxy.admin(), "/services?o=table").await.text();
    assert!(table.contains("ejected (consecutive5xx), back in "), "{table}");
}

#[tokio::test]
async fn a_success_ends_a_run() {
    let (a, flaky) = (good("a").await, Backend::http1("b").await);
    flaky.answer(|seen| if seen.index % 5 == 4 { Says::text("ok") } else { Says::status(500) });
    let proxy = Proxy::start(&policy("{}", &addresses(&[&a, &flaky]))).await;
    let statuses = ask(&proxy, 100).await;
    assert_eq!((count(&statuses, 500), flaky.requests()), (40, 50));
}

#[tokio::test]
async fn each_detector_has_its_own_failures() {
    let only = |detector: &str, number: &str| {
        let others = ["consecutive5xx", "consecutiveGatewayErrors", "consecutiveLocalErrors"]
            .iter()
            .filter(|other| **other != detector)
            .map(|other| format!("{other}: null, "))
            .collect::<String>();
        format!("{{{others}{detector}: {number}, {LONG}}}")
    };
    let cases = [
        ("consecutive5xx", Says::status(500), true),
        ("consecutive5xx", Says::status(503), true),
        ("consecutive5xx", Says::status(499), false),
        // Without a detector of its own, no answer is a bad answer.
        ("consecutive5xx", Says::fail(Fault::Reset), true),
        ("consecutiveGatewayErrors", Says::status(502), true),
        ("consecutiveGatewayErrors", Says::status(500), false),
        ("consecutiveGatewayErrors", Says::fail(Fault::Close), true),
        ("consecutiveLocalErrors", Says::fail(Fault::Reset), true),
        ("consecutiveLocalErrors", Says::fail(Fault::Close), true),
        ("consecutiveLocalErrors", Says::text("half").then_fail(Fault::Reset), true),
        ("consecutiveLocalErrors", Says::status(503), false),
    ];
    for (detector, says, ejects) in cases {
        let (a, broken) = (good("a").await, bad("b", says.clone()).await);
        let proxy = Proxy::start(&policy(&only(detector, "3"), &addresses(&[&a, &broken]))).await;
        for _ in 0..20 {
            // An answer that breaks off breaks the caller's connection too.
            let mut client = Client::http1(proxy.outbound(0), "web").await;
            let request = client.request("POST", "/", "x");
            let _ = client.call(request).await;
        }
        let (requests, ejected) = if ejects { (3, 1.0) } else { (10, 0.0) };
        assert_eq!((broken.requests(), ejections(&proxy, "").await), (requests, 0.0), "{detector} {says:?}");
        let counted = proxy.metrics().await.sum("outrigger_ejections_total", &[]);
        assert_eq!(counted, ejected, "{detector} {says:?}");
    }
}

#[tokio::test]
async fn endpoints_that_cannot_be_reached_or_do_not_answer_are_local_errors() {
    let a = good("a").await;
    let refusing = Refuses::new();
    let proxy =
        Proxy::start(&policy("{consecutiveLocalErrors: 2}", &[a.address(), refusing.address()])).await;
    assert_eq!(count(&ask(&proxy, 40).await, 200), 40, "a connection that fails costs no request");
    assert_eq!(ejections(&proxy, "consecutiveLocalErrors").await, 1.0);
    let failed = proxy.metrics().await.sum("outrigger_upstream_connect_failures_total", &[]);
    assert_eq!(failed, 2.0);

    for limit in ["attempt", "request"] {
        let hangs = bad("b", Says::fail(Fault::Hang)).await;
        let own = format!("  timeouts: {{{limit}: 100ms}}\n");
        let own = format!(
            "{own}  outlierDetection: {{consecutiveLocalErrors: 2}}\n  loadBalancer: {{policy: roundRobin}}\n"
        );
        let web = service("web", "http1", &addresses(&[&a, &hangs]));
        let proxy = Proxy::start(&pinned("web", &[&web, &traffic("web", &own)])).await;
        let statuses = ask(&proxy, 20).await;
        assert_eq!((count(&statuses, 504), hangs.requests()), (2, 2), "{limit}");
        assert_eq!(ejections(&proxy, "consecutiveLocalErrors").await, 1.0);
    }
}

#[tokio::test]
async fn grpc_statuses_count_by_what_they_correspond_to() {
    // UNAVAILABLE, INTERNAL, INVALID_ARGUMENT.
    for (code, detector) in
        [("14", Some("consecutiveGatewayErrors")), ("13", Some("consecutive5xx")), ("3", None)]
    {
        let (a, b) = (GrpcService::start().await, GrpcService::start().await);
        let web = service("web", "grpc", &[a.address(), b.address()]);
        let own = "  outlierDetection: {consecutive5xx: 4, consecutiveGatewayErrors: 3}\n";
        let proxy = Proxy::start(&pinned("web", &[&web, &traffic("web", own)])).await;
        let mut client = GrpcClient::connect(proxy.outbound(0), "web").await;
        for _ in 0..30 {
            let mut call = client.open(grpc::FAIL, &[("x-fail", code)]).await;
            call.finish();
            call.end().await;
        }
        let metrics = proxy.metrics().await;
        let ejected = metrics.sum("outrigger_ejections_total", &[]);
        // Both fail; one of the two is always left.
        assert_eq!(ejected > 0.0, detector.is_some(), "{code}");
        if let Some(detector) = detector {
            assert_eq!(ejections(&proxy, detector).await, 1.0, "{code}");
        }
    }
}

#[tokio::test]
async fn null_switches_it_off() {
    for outliers in
        ["null", "{consecutive5xx: null, consecutiveGatewayErrors: null, consecutiveLocalErrors: null}"]
    {
        let (a, broken) = (good("a").await, bad("b", Says::status(503)).await);
        let proxy = Proxy::start(&policy(outliers, &addresses(&[&a, &broken]))).await;
        assert_eq!(count(&ask(&proxy, 40).await, 503), 20);
        assert_eq!(state(&proxy, broken.address()).await, "usable");
    }
}

#[tokio::test]
async fn no_more_are_ejected_than_may_be_and_the_last_one_never() {
    for (hosts, percent, most) in [(1, 100, 0), (2, 10, 1), (3, 100, 2), (6, 50, 3)] {
        let mut backends = Vec::new();
        for number in 0..hosts {
            backends.push(bad(&format!("b{number}"), Says::status(500)).await);
        }
        let outliers = format!("{{consecutive5xx: 2, maxEjectionPercent: {percent}, {LONG}}}");
        let own: Vec<_> = backends.iter().collect();
        let proxy = Proxy::start(&policy(&outliers, &addresses(&own))).await;
        assert_eq!(count(&ask(&proxy, 60).await, 500), 60);
        let out = || async {
            let metrics = proxy.metrics().await;
            {
                let in_state = |state| metrics.sum("outrigger_endpoints", &[("state", state)]);
                let out = in_state("ejected") + in_state("half_open");
                (out == f64::from(most)).then_some(metrics)
            }
        };
        let metrics = until("as many as may be are out", out).await;
        assert!(metrics.sum("outrigger_endpoints", &[("state", "usable")]) >= 1.0, "{hosts} {percent}");
        assert_eq!(ejections(&proxy, "consecutive5xx").await, f64::from(most), "{hosts} {percent}");
        assert!(metrics.sum("outrigger_ejections_withheld_total", &[]) > 0.0);
    }
}

#[tokio::test]
async fn rates_eject_those_that_stand_out() {
    let cases = [
        ("successRate", "successRate: {stdevFactor: 1.5, minHosts: 4, minRequests: 5}"),
        ("failurePercent", "failurePercent: {threshold: 60, minHosts: 4, minRequests: 5}"),
    ];
    for (detector, own) in cases {
        let (a, b, c, flaky) = (good("a").await, good("b").await, good("c").await, Backend::http1("d").await);
        // Never five in a row.
        flaky.answer(|seen| if seen.index % 4 == 0 { Says::text("ok") } else { Says::status(500) });
        let outliers = format!("{{interval: 1s, {LONG}, {own}}}");
        let proxy = Proxy::start(&policy(&outliers, &addresses(&[&a, &b, &c, &flaky]))).await;
        ask_until(&proxy, flaky.address(), "ejected").await;
        assert_eq!(ejections(&proxy, detector).await, 1.0);
        assert_eq!(view(&proxy, flaky.address()).await["ejected_by"], detector);
        assert_eq!(count(&ask(&proxy, 100).await, 200), 100);
    }
}

#[tokio::test]
async fn each_ejection_lasts_longer_until_a_request_succeeds() {
    let (a, broken) = (good("a").await, Backend::http1("b").await);
    let times: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let (noted, healed) = (times.clone(), Gate::closed());
    broken.answer(move |_| {
        noted.lock().expect("nobody panics while holding it").push(Instant::now());
        Says::status(500)
    });
    let base = Duration::from_millis(150);
    let outliers = "{consecutive5xx: 2, baseEjection: 150ms, maxEjection: 450ms, interval: 60s}";
    let proxy = Proxy::start(&policy(outliers, &addresses(&[&a, &broken]))).await;
    let mut client = Client::http1(proxy.outbound(0), "web").await;
    within("six failures", async {
        while times.lock().expect("nobody panics while holding it").len() < 6 {
            client.get("/").await;
        }
    })
    .await;
    let seen = times.lock().expect("nobody panics while holding it").clone();
    let gaps: Vec<Duration> = seen.windows(2).map(|pair| pair[1] - pair[0]).skip(1).collect();
    // The second failure ejects; then each probe comes when the longer time is over, and fails.
    for (gap, times) in gaps.iter().zip([1, 2, 3, 3]) {
        assert!(*gap >= base * times - Duration::from_millis(5), "{gaps:?}");
    }
    broken.answer(|_| Says::text("ok"));
    healed.open();
    ask_until(&proxy, broken.address(), "usable").await;
    let before = broken.requests();
    assert_eq!(count(&ask(&proxy, 20).await, 200), 20);
    assert_eq!(broken.requests() - before, 10, "it has its share again");
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.sum("outrigger_ejection_probes_total", &[("outcome", "passed")]), 1.0);
    assert!(metrics.sum("outrigger_ejection_probes_total", &[("outcome", "failed")]) >= 4.0);
}

#[tokio::test]
async fn an_endpoint_on_trial_has_one_request_at_a_time() {
    let (a, broken) = (good("a").await, Backend::http1("b").await);
    let gate = Gate::closed();
    let held = gate.clone();
    broken.answer(move |seen| match seen.index {
        0..2 => Says::status(500),
        _ => Says::text("back").hold_for(&held),
    });
    let outliers = "{consecutive5xx: 2, baseEjection: 100ms}";
    let two = policy(outliers, &addresses(&[&a, &broken]));
    let text = two.clone();
    let proxy = Proxy::with(&text, |options| outrigger_proxy::app::Options { workers: Some(2), ..options })
        .await
        .expect("it starts");
    on_trial(&proxy, &broken, 2).await;
    let to = proxy.outbound(0);
    let mut callers = JoinSet::new();
    callers.spawn(async move {
        let mut client = Client::http1(to, "web").await;
        // The endpoint may be on trial a moment before the workers know.
        loop {
            let answer = client.get("/").await;
            if answer.header("x-backend") != "a" {
                return answer;
            }
        }
    });
    broken.wait_requests(3).await;
    let before = a.requests();
    for _ in 0..39 {
        callers.spawn(async move { Client::http1(to, "web").await.get("/").await });
    }
    // All but the probe are answered, by the other one, while the probe is held.
    for _ in 0..39 {
        let answer = within("an answer", callers.join_next()).await.expect("it is there").expect("no panic");
        assert_eq!((answer.status.as_u16(), answer.header("x-backend")), (200, "a"));
    }
    assert_eq!((broken.requests(), a.requests() - before), (3, 39), "one probe, and no more");
    assert_eq!(count(&ask(&proxy, 10).await, 200), 10);
    assert_eq!((broken.requests(), state(&proxy, broken.address()).await.as_str()), (3, "half_open"));
    gate.open();
    let answer = within("the probe", callers.join_next()).await.expect("it is there").expect("no panic");
    assert_eq!(answer.text(), "back");
    ask_until(&proxy, broken.address(), "usable").await;
}

#[tokio::test]
async fn a_probe_whose_caller_goes_away_decides_nothing() {
    let (a, broken) = (good("a").await, Backend::http1("b").await);
    broken.answer(|seen| match seen.index {
        0..2 => Says::status(500),
        2 => Says::fail(Fault::Hang),
        _ => Says::text("back"),
    });
    let outliers = "{consecutive5xx: 2, baseEjection: 100ms, maxEjection: 100ms}";
    let proxy = Proxy::start(&policy(outliers, &addresses(&[&a, &broken]))).await;
    on_trial(&proxy, &broken, 2).await;
    let mut caller = RawClient::connect(proxy.outbound(0)).await;
    caller.send("GET / HTTP/1.1\r\nhost: web\r\n\r\n").await;
    broken.wait_requests(3).await;
    caller.reset();
    ask_until(&proxy, broken.address(), "usable").await;
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.sum("outrigger_ejection_probes_total", &[("outcome", "failed")]), 0.0);
    assert_eq!(metrics.sum("outrigger_ejections_total", &[]), 1.0);
}

#[tokio::test]
async fn ejections_outlive_reloads_and_go_with_the_policy() {
    let (a, b, broken) = (good("a").await, good("b").await, bad("c", Says::status(500)).await);
    let outliers = format!("{{consecutive5xx: 2, {LONG}}}");
    let proxy = Proxy::start(&policy(&outliers, &addresses(&[&a, &broken]))).await;
    ask_until(&proxy, broken.address(), "ejected").await;
    let before = broken.requests();
    // Another endpoint, other numbers.
    let outliers = format!("{{consecutive5xx: 7, {LONG}}}");
    proxy.reload(&policy(&outliers, &addresses(&[&a, &b, &broken]))).await;
    assert_eq!(count(&ask(&proxy, 20).await, 200), 20);
    assert_eq!((state(&proxy, broken.address()).await.as_str(), broken.requests()), ("ejected", before));
    proxy.reload(&policy("null", &addresses(&[&a, &b, &broken]))).await;
    let released = || async { (state(&proxy, broken.address()).await == "usable").then_some(()) };
    until("it is released", released).await;
    assert!(count(&ask(&proxy, 30).await, 500) >= 9);
}

#[tokio::test]
async fn an_ejected_endpoint_is_used_again_when_it_is_the_only_one_left() {
    let (a, broken) = (good("a").await, Backend::http1("b").await);
    broken.answer(|seen| if seen.index < 2 { Says::status(500) } else { Says::text("ok") });
    let outliers = format!("{{consecutive5xx: 2, {LONG}}}\n  # 0");
    let two = policy(&outliers, &addresses(&[&a, &broken]));
    let proxy = Proxy::start(&two).await;
    ask_until(&proxy, broken.address(), "ejected").await;
    proxy.reload(&policy(&outliers, &[broken.address()])).await;
    assert_eq!(count(&ask(&proxy, 10).await, 200), 10);
}

#[tokio::test]
async fn the_app_behind_an_inbound_listener_is_never_ejected() {
    let app = bad("app", Says::status(500)).await;
    let proxy = Proxy::start(&mesh::inbound(app.address(), "http1", &[])).await;
    let mut client = Client::http1(proxy.inbound(0), "web").await;
    for _ in 0..20 {
        assert_eq!(client.get("/").await.status, 500);
    }
    assert_eq!(app.requests(), 20);
    assert!(!proxy.metrics().await.has("outrigger_ejections_total"));
}

#[tokio::test]
async fn killing_three_of_ten_endpoints_under_load_is_not_seen() {
    let mut backends = Vec::new();
    for number in 0..10 {
        backends.push(good(&format!("b{number}")).await);
    }
    let own: Vec<_> = backends.iter().collect();
    let text = pinned(
        "web",
        &[
            &service("web", "http1", &addresses(&own)),
            &traffic("web", "  retry: {attempts: 2}\n  outlierDetection: {maxEjectionPercent: 50}\n"),
        ],
    );
    let proxy = Proxy::start(&text).await;
    let to = proxy.outbound(0);
    let mut callers = JoinSet::new();
    for _ in 0..8 {
        callers.spawn(async move {
            let mut client = Client::http1(to, "web").await;
            let mut failed = 0;
            for _ in 0..400 {
                failed += usize::from(client.get("/").await.status != 200);
            }
            failed
        });
    }
    let busy = || async { (backends.iter().map(Backend::requests).sum::<usize>() > 800).then_some(()) };
    until("the load is on", busy).await;
    for backend in &mut backends[..3] {
        backend.stop().await;
    }
    let failed: usize = callers.join_all().await.into_iter().sum();
    assert!(failed * 1000 < 3200, "{failed} of 3200 requests failed");
    assert_eq!(ejections(&proxy, "consecutiveLocalErrors").await, 3.0);
}

/// `examples/outlier-detection.yaml`.
#[tokio::test]
async fn the_example_ejects_what_fails() {
    let (a, b, broken) = (good("a").await, good("b").await, bad("c", Says::status(503)).await);
    let addresses = [
        ("127.0.0.1:9001", a.address()),
        ("127.0.0.1:9002", b.address()),
        ("127.0.0.1:9003", broken.address()),
    ];
    let proxy = Proxy::start(&mesh::example("outlier-detection.yaml", &addresses)).await;
    let mut client = Client::http1(proxy.outbound(0), "reviews").await;
    let mut failed = 0;
    for _ in 0..60 {
        failed += usize::from(client.get("/").await.status != 200);
    }
    assert_eq!((failed, broken.requests()), (2, 2));
    assert_eq!(view(&proxy, broken.address()).await["ejected_by"], "consecutiveGatewayErrors");
}

#[tokio::test]
async fn an_ejected_endpoint_stands_in_when_the_last_usable_one_fails() {
    let (mut a, broken) = (good("a").await, Backend::http1("b").await);
    broken.answer(|seen| if seen.index < 2 { Says::status(500) } else { Says::text("ok") });
    let outliers = format!("{{consecutive5xx: 2, {LONG}}}");
    let proxy = Proxy::start(&policy(&outliers, &addresses(&[&a, &broken]))).await;
    ask_until(&proxy, broken.address(), "ejected").await;
    let address = a.address();
    a.stop().await;
    // What is refused goes to the ejected one, which is well again, and takes the other's place before its time.
    let statuses = ask(&proxy, 60).await;
    assert_eq!(count(&statuses, 200), 60, "{statuses:?}");
    assert_eq!(state(&proxy, broken.address()).await, "usable");
    assert_eq!(state(&proxy, address).await, "ejected");
}
