//! Limits on what a proxy has open to a Service: exact over all of its workers, and nobody starves while there is room.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, Response,
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use outrigger_tests::{
    backend::{Answer, Backend, Fault, Speaks},
    client::Client,
    mesh,
    proxy::Proxy,
    raw::RawClient,
    wait::{Gate, until},
};
use tokio::{net::TcpListener, task::JoinSet};

const WORKERS: usize = 4;

/// How long callers go on calling.
const TIME: Duration = Duration::from_secs(5);

/// A service that counts the requests that it works on, by itself.
#[derive(Clone, Default)]
struct Gauge {
    open: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Gauge {
    async fn work(self) -> Result<Response<Full<Bytes>>, hyper::Error> {
        self.most.fetch_max(self.open.fetch_add(1, SeqCst) + 1, SeqCst);
        // A little work, so that requests meet.
        let _ = tokio::time::timeout(Duration::from_millis(1), std::future::pending::<()>()).await;
        self.open.fetch_sub(1, SeqCst);
        Ok(Response::new(Full::new(Bytes::from_static(b"done"))))
    }

    async fn serve(&self, speaks: Speaks) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let gauge = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let (gauge, io) = (gauge.clone(), TokioIo::new(stream));
                tokio::spawn(async move {
                    let service = service_fn(move |_: Request<Incoming>| gauge.clone().work());
                    // A caller that goes away is none of this test's business.
                    match speaks {
                        Speaks::Http1 => {
                            let mut http = http1::Builder::new();
                            drop(http.timer(TokioTimer::new()).serve_connection(io, service).await);
                        }
                        Speaks::Http2 => {
                            let http = http2::Builder::new(TokioExecutor::new());
                            drop(http.serve_connection(io, service).await);
                        }
                    }
                });
            }
        });
        address
    }
}

fn policy(protocol: &str, address: SocketAddr, limits: &str) -> String {
    let body = format!("  timeouts: {{connect: 20s}}\n  circuitBreaker: {{limits: {{{limits}}}}}\n");
    mesh::pinned("web", &[&mesh::service("web", protocol, &[address]), &mesh::traffic("web", &body)])
}

fn start(policy: &str) -> Proxy {
    Proxy::with(policy, |options| options.workers = Some(WORKERS))
}

/// So many callers, on a few connections of HTTP/2, each calling one after the other until the time is over. How often
/// each was served.
async fn call(proxy: &Proxy, connections: usize, callers: usize) -> Vec<usize> {
    let mut clients = Vec::new();
    for _ in 0..connections {
        clients.push(Client::http2(proxy.outbound(0), "web").await);
    }
    let end = Instant::now() + TIME;
    let mut calling = JoinSet::new();
    for caller in 0..callers {
        let mut client = clients[caller % connections].share();
        calling.spawn(async move {
            let mut served = 0;
            while Instant::now() < end {
                let answer = client.get("/").await;
                assert_eq!(answer.status, 200, "{}", answer.text());
                served += 1;
            }
            served
        });
    }
    calling.join_all().await
}

/// Nothing is held, and nobody waits, when all is over.
async fn all_is_given_back(proxy: &Proxy) {
    let held = |limit: &'static str| async move {
        proxy.metrics().await.sum("outrigger_circuit_breaker_held", &[("limit", limit)])
    };
    until("every request's permit to be back", || async { (held("requests").await == 0.0).then_some(()) })
        .await;
    assert_eq!(held("pendingRequests").await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_requests_and_never_eleven_over_all_workers() {
    let gauge = Gauge::default();
    let address = gauge.serve(Speaks::Http1).await;
    let proxy = start(&policy("http1", address, "requests: 10, pendingRequests: 10000"));
    let served = call(&proxy, 8, 2000).await;
    assert_eq!(gauge.most.load(SeqCst), 10);
    assert!(served.iter().all(|times| *times > 0), "everybody was served");
    all_is_given_back(&proxy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_requests_and_never_eleven_over_http2() {
    let gauge = Gauge::default();
    let address = gauge.serve(Speaks::Http2).await;
    let proxy = start(&policy("http2", address, "requests: 10, pendingRequests: 10000"));
    let served = call(&proxy, 8, 2000).await;
    assert_eq!(gauge.most.load(SeqCst), 10);
    assert!(served.iter().all(|times| *times > 0), "everybody was served");
    all_is_given_back(&proxy).await;
}

/// One connection for all workers: it goes round, and each request is alone on it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_connection_serves_callers_of_all_workers() {
    let gauge = Gauge::default();
    let address = gauge.serve(Speaks::Http1).await;
    let proxy = start(&policy("http1", address, "connections: 1"));
    let served = call(&proxy, 8, 160).await;
    assert_eq!(gauge.most.load(SeqCst), 1);
    assert!(served.iter().all(|times| *times > 0), "everybody was served: {served:?}");
    all_is_given_back(&proxy).await;
}

/// The same over HTTP/2, where the connection is shared by the requests of one worker at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_http2_connection_serves_callers_of_all_workers() {
    let gauge = Gauge::default();
    let address = gauge.serve(Speaks::Http2).await;
    let proxy = start(&policy("http2", address, "connections: 1"));
    let served = call(&proxy, 8, 160).await;
    assert!(served.iter().all(|times| *times > 0), "everybody was served: {served:?}");
    let metrics = proxy.metrics().await;
    let most = metrics.sum("outrigger_upstream_connections_open", &[("service", "default/web:80")]);
    assert!(most <= 1.0, "{most}");
    all_is_given_back(&proxy).await;
}

/// Callers come one by one, each to another worker, so that the idle connection is always another worker's.
#[tokio::test]
async fn an_idle_connection_of_one_worker_starves_no_other() {
    for speaks in [Speaks::Http1, Speaks::Http2] {
        let service = Backend::at("127.0.0.1:0".parse().unwrap(), speaks, "web").await;
        service.answer(|_| Answer::text("ok"));
        let protocol = if speaks == Speaks::Http1 { "http1" } else { "http2" };
        let proxy = start(&policy(protocol, service.address(), "connections: 1"));
        let mut clients = Vec::new();
        for _ in 0..WORKERS {
            clients.push(Client::http1(proxy.outbound(0), "web").await);
        }
        let begun = Instant::now();
        for round in 0..20 {
            for client in &mut clients {
                assert_eq!(client.get("/").await.status, 200, "{speaks:?} round {round}");
            }
        }
        // Waiting for the connection to be given up by itself would take seconds each time.
        assert!(begun.elapsed() < Duration::from_secs(8), "{speaks:?}: {:?}", begun.elapsed());
        assert_eq!(service.open_connections(), 1);
    }
}

#[tokio::test]
async fn at_the_limit_requests_are_refused_or_wait_as_policy_says() {
    let service = Backend::http1("web").await;
    let gate = Gate::closed();
    let held = gate.clone();
    service.answer(move |_| Answer::text("ok").hold_for(&held));
    let proxy = start(&policy("http1", service.address(), "requests: 1"));
    let mut first = Client::http1(proxy.outbound(0), "web").await;
    let waiting = tokio::spawn(async move { first.get("/first").await.status });
    service.wait_requests(1).await;
    let refused = outrigger_tests::client::get(proxy.outbound(0), "/second").await;
    assert_eq!((refused.status.as_u16(), refused.header("x-outrigger-error")), (503, "request_limit"));
    assert_eq!(refused.header("x-outrigger-overloaded"), "true");

    let queued = policy("http1", service.address(), "requests: 1, pendingRequests: 1");
    proxy.reload(&queued).await;
    let mut second = Client::http1(proxy.outbound(0), "web").await;
    let second = tokio::spawn(async move { second.get("/second").await.status });
    proxy
        .wait_metrics("one to wait", |metrics| {
            metrics.sum("outrigger_circuit_breaker_held", &[("limit", "pendingRequests")]) == 1.0
        })
        .await;
    let refused = outrigger_tests::client::get(proxy.outbound(0), "/third").await;
    assert_eq!((refused.status.as_u16(), refused.header("x-outrigger-error")), (503, "pending_limit"));
    gate.open();
    assert!(waiting.await.unwrap() == 200 && second.await.unwrap() == 200);
    let metrics = proxy.metrics().await;
    for limit in ["requests", "pendingRequests"] {
        let labels = [("service", "default/web:80"), ("limit", limit)];
        assert_eq!(metrics.sum("outrigger_circuit_breaker_refused_total", &labels), 1.0, "{limit}");
    }
    assert_eq!(service.requests(), 2, "nothing that was refused was sent");
}

/// Who waits and goes away leaves the line; who waits too long hears why.
#[tokio::test]
async fn a_waiter_leaves_the_line_cleanly() {
    let service = Backend::http1("web").await;
    let gate = Gate::closed();
    let held = gate.clone();
    service.answer(move |_| Answer::text("ok").hold_for(&held));
    let body = "  timeouts: {connect: 50ms, request: 10s}\n  \
                circuitBreaker: {limits: {connections: 1, pendingRequests: 5}}\n";
    let service_of = mesh::service("web", "http1", &[service.address()]);
    let proxy = start(&mesh::pinned("web", &[&service_of, &mesh::traffic("web", body)]));
    let mut first = Client::http1(proxy.outbound(0), "web").await;
    let first = tokio::spawn(async move { first.get("/first").await.status });
    service.wait_requests(1).await;
    let late = outrigger_tests::client::get(proxy.outbound(0), "/late").await;
    assert_eq!((late.status.as_u16(), late.header("x-outrigger-error")), (503, "connection_limit"));
    for _ in 0..10 {
        let mut gone = RawClient::connect(proxy.outbound(0)).await;
        gone.send("GET /gone HTTP/1.1\r\nhost: web\r\n\r\n").await;
        gone.reset();
    }
    proxy
        .wait_metrics("nobody to wait", |metrics| {
            metrics.sum("outrigger_circuit_breaker_held", &[("limit", "pendingRequests")]) == 0.0
        })
        .await;
    gate.open();
    assert_eq!(first.await.unwrap(), 200);
    assert_eq!(outrigger_tests::client::get(proxy.outbound(0), "/after").await.status, 200);
    assert_eq!(service.requests_to("/gone"), 0);
}

/// A service that hangs takes up its own limits and nothing else.
#[tokio::test]
async fn a_slow_service_at_its_limits_does_not_disturb_calls_to_another() {
    let (slow, quick) = (Backend::http1("slow").await, Backend::http1("quick").await);
    slow.answer(|_| Answer::fail(Fault::Hang));
    quick.answer(|_| Answer::text("ok"));
    let limits = "  circuitBreaker: {limits: {connections: 5, requests: 5, pendingRequests: 20}}\n";
    let policy = mesh::outbound(&[
        &mesh::service("slow", "http1", &[slow.address()]),
        &mesh::service("quick", "http1", &[quick.address()]),
        &mesh::traffic("slow", limits),
    ]);
    let proxy = start(&policy);
    let mut stuck = JoinSet::new();
    for _ in 0..25 {
        let mut client = Client::http1(proxy.outbound(0), "slow").await;
        stuck.spawn(async move { client.send(client.request("GET", "/", "")).await.map(|_| ()) });
    }
    slow.wait_requests(5).await;
    proxy
        .wait_metrics("the line to be full", |metrics| {
            metrics.sum("outrigger_circuit_breaker_held", &[("limit", "pendingRequests")]) == 20.0
        })
        .await;
    let mut shed = Client::http1(proxy.outbound(0), "slow").await;
    assert_eq!(shed.get("/").await.header("x-outrigger-error"), "pending_limit");
    let mut client = Client::http1(proxy.outbound(0), "quick").await;
    let mut times = Vec::new();
    for _ in 0..200 {
        let begun = Instant::now();
        assert_eq!(client.get("/").await.status, 200);
        times.push(begun.elapsed());
    }
    times.sort();
    assert!(times[100] < Duration::from_millis(50), "{:?}", times[100]);
    assert_eq!(slow.requests(), 5);
}

/// A connection that is passed on whole counts as one, and one too many is reset.
#[tokio::test]
async fn connections_that_are_passed_on_whole_hold_permits() {
    let service = Backend::http1("db").await;
    service.answer(|_| Answer::text("ok"));
    let body = "  timeouts: {connect: 100ms}\n  circuitBreaker: {limits: {connections: 1}}\n";
    let of = mesh::service("db", "tcp", &[service.address()]);
    let proxy = start(&mesh::pinned("db", &[&of, &mesh::traffic("db", body)]));
    let mut first = Client::http1(proxy.outbound(0), "db").await;
    assert_eq!(first.get("/").await.status, 200);
    let mut second = Client::http1(proxy.outbound(0), "db").await;
    assert!(second.send(second.request("GET", "/", "")).await.is_err(), "reset");
    drop(first);
    service.wait_open_connections(0).await;
    let mut third = Client::http1(proxy.outbound(0), "db").await;
    assert_eq!(third.get("/").await.status, 200);
}

/// Requests that are on a repeat are counted; beyond the limit the failure is the answer.
#[tokio::test]
async fn repeats_are_limited() {
    let service = Backend::http1("web").await;
    service.answer(|_| Answer::status(503));
    let body =
        "  retry: {attempts: 2, backoff: {base: 1ms, max: 1ms}}\n  circuitBreaker: {limits: {retries: 0}}\n";
    let of = mesh::service("web", "http1", &[service.address()]);
    let proxy = start(&mesh::pinned("web", &[&of, &mesh::traffic("web", body)]));
    let mut client = Client::http1(proxy.outbound(0), "web").await;
    let answer = client.get("/").await;
    assert_eq!((answer.status.as_u16(), answer.header("x-outrigger-error")), (503, ""), "the service's own");
    assert_eq!(service.requests(), 1);
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.sum("outrigger_retries_denied_total", &[("reason", "limit")]), 1.0);
}
