//! Limits on requests at once before a service, through a real proxy: never one more than the limit, whatever the workers
//! do; latency that stays bounded under overload; and who is let in then.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use http_body_util::BodyExt;
use outrigger_proxy::app::Options;
use outrigger_tests::{
    backend::{Answer, Backend},
    client::{self, Client},
    grpc::{BIDI, GrpcClient, GrpcService, UNARY},
    mesh::{self, Proxy},
    metrics::Metrics,
    raw::{RawBackend, RawClient, Reply},
    wait::{Gate, until},
};

/// The policy of a proxy before the app, which is the Service `web`, with this block.
fn policy(app: SocketAddr, protocol: &str, concurrency: &str) -> String {
    let service = mesh::service("web", protocol, &[app]);
    let traffic = mesh::traffic("web", &format!("  concurrency: {concurrency}\n"));
    let text = mesh::inbound(app, protocol, &[&service, &traffic]);
    let named = format!("protocol: {protocol}, service: {{name: web, port: 80}}}}");
    text.replacen(&format!("protocol: {protocol}}}"), &named, 1)
}

fn fixed(limit: u32) -> String {
    format!("{{adaptive: {{minLimit: {limit}, maxLimit: {limit}}}}}")
}

fn is(answer: &client::Answer) -> (u16, &str) {
    (answer.status.as_u16(), answer.header("x-outrigger-error"))
}

fn in_flight(metrics: &Metrics) -> f64 {
    metrics.sum("outrigger_concurrency_in_flight", &[("service", "default/web")])
}

async fn wait_in_flight(proxy: &Proxy, count: f64) {
    until(&format!("{count} requests to be in"), || async {
        (in_flight(&proxy.metrics().await) == count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_as_the_limit_are_in_whatever_the_workers_do() {
    let app = Backend::http1("web").await;
    let gate = Gate::closed();
    let held = gate.clone();
    app.answer(move |_| Answer::text("ok").hold_for(&held));
    let text = policy(app.address(), "http1", &fixed(10));
    let proxy = Proxy::with(&text, |options| Options { workers: Some(4), ..options }).await.unwrap();
    let callers: Vec<_> = (0..40)
        .map(|_| {
            let to = proxy.inbound(0);
            tokio::spawn(async move { Client::http1(to, "web").await.get("/").await })
        })
        .collect();
    until("thirty to be refused", || async {
        let metrics = proxy.metrics().await;
        (metrics.sum("outrigger_concurrency_refused_total", &[("priority", "default")]) == 30.0).then_some(())
    })
    .await;
    wait_in_flight(&proxy, 10.0).await;
    assert_eq!(app.requests(), 10);
    gate.open();
    let mut passed = 0;
    for caller in callers {
        let answer = caller.await.expect("no panic");
        match answer.status.as_u16() {
            200 => passed += 1,
            _ => {
                assert_eq!(is(&answer), (503, "concurrency_limit"));
                assert_eq!(answer.header("x-outrigger-overloaded"), "true");
            }
        }
    }
    assert_eq!(passed, 10);
    wait_in_flight(&proxy, 0.0).await;
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.sum("outrigger_requests_total", &[("code", "503"), ("flag", "UO")]), 30.0);
}

/// A place is held until the last byte of the answer, or until nobody wants it any more.
#[tokio::test]
async fn a_place_is_held_until_the_answer_has_ended() {
    let app = Backend::http1("web").await;
    let gate = Gate::closed();
    let held = gate.clone();
    app.answer(move |_| Answer::text("begun").then_wait(&held).then("done"));
    let proxy = Proxy::start(&policy(app.address(), "http1", &fixed(1))).await;
    let mut first = Client::http1(proxy.inbound(0), "web").await;
    let answer = first.send(first.request("GET", "/", "")).await.unwrap();
    let mut second = Client::http1(proxy.inbound(0), "web").await;
    assert_eq!(is(&second.get("/").await), (503, "concurrency_limit"), "the head alone frees nothing");
    gate.open();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "begundone");
    assert_eq!(second.get("/").await.status, 200);

    let never = Gate::closed();
    let held = never.clone();
    app.answer(move |_| Answer::text("begun").then_wait(&held));
    // By HTTP/2, where a caller can say that it wants no more.
    let mut leaving = Client::http2(proxy.inbound(0), "web").await;
    let answer = leaving.send(leaving.request("GET", "/", "")).await.unwrap();
    assert_eq!(in_flight(&proxy.metrics().await), 1.0);
    drop((answer, leaving));
    wait_in_flight(&proxy, 0.0).await;
}

#[tokio::test]
async fn a_grpc_stream_holds_its_place_and_others_get_code_14() {
    let service = GrpcService::start().await;
    let proxy = Proxy::start(&policy(service.address(), "grpc", &fixed(1))).await;
    let mut client = GrpcClient::connect(proxy.inbound(0), "web").await;
    let mut stream = client.open(BIDI, &[]).await;
    stream.send("hello").await;
    assert_eq!(stream.message().await.as_deref(), Some(&b"hello"[..]));
    let refused = client.call(UNARY, &["hello"]).await;
    assert_eq!((refused.status, refused.trailers_only), (Some(14), true));
    assert_eq!(refused.headers["x-outrigger-overloaded"], "true");
    stream.finish();
    assert_eq!(stream.end().await.status, Some(0));
    wait_in_flight(&proxy, 0.0).await;
    assert_eq!(client.call(UNARY, &["hello"]).await.status, Some(0));
}

#[tokio::test]
async fn a_tunnel_is_no_request_any_more() {
    let agrees = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    let app = RawBackend::start(Reply::EachHead(agrees.into())).await;
    let proxy = Proxy::start(&policy(app.address(), "http1", &fixed(1))).await;
    let ask = "GET / HTTP/1.1\r\nhost: web\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    let mut tunnels = Vec::new();
    for _ in 0..3 {
        let mut client = RawClient::connect(proxy.inbound(0)).await;
        client.send(ask).await;
        client.read_until("HTTP/1.1 101").await;
        tunnels.push(client);
        wait_in_flight(&proxy, 0.0).await;
    }
    assert_eq!(proxy.metrics().await.sum("outrigger_tunnels_open", &[]), 3.0);
}

#[tokio::test]
async fn a_reload_keeps_what_is_known_and_who_is_in() {
    let app = Backend::http1("web").await;
    let gate = Gate::closed();
    let held = gate.clone();
    app.answer(move |seen| match seen.path.as_str() {
        "/held" => Answer::text("ok").hold_for(&held),
        _ => Answer::text("ok"),
    });
    let proxy = Proxy::start(&policy(app.address(), "http1", "{adaptive: {minLimit: 2, maxLimit: 9}}")).await;
    let to = proxy.inbound(0);
    let waiting: Vec<_> = (0..2)
        .map(|_| tokio::spawn(async move { Client::http1(to, "web").await.get("/held").await }))
        .collect();
    wait_in_flight(&proxy, 2.0).await;
    proxy.reload(&policy(app.address(), "http1", &fixed(2))).await;
    let mut client = Client::http1(to, "web").await;
    assert_eq!(is(&client.get("/").await), (503, "concurrency_limit"), "two are still in");
    let page = client::get(proxy.admin(), "/services").await.json();
    let load = &page[0]["callee"]["concurrency"];
    assert_eq!((&load["limit"], &load["inFlight"], &load["refused"]), (&2.into(), &2.into(), &1.into()));
    let table = client::get(proxy.admin(), "/services?o=table").await.text();
    assert!(table.contains("default/web: 2 of 2 requests at once (2 to 2), 1 refused"), "{table}");
    proxy.reload(&policy(app.address(), "http1", "null")).await;
    assert_eq!(client.get("/").await.status, 200, "no limit any more");
    gate.open();
    for one in waiting {
        assert_eq!(one.await.expect("no panic").status, 200);
    }
}

/// An app with `servers`, each busy with a request for `busy`, and a queue without end.
fn app_with(app: &Backend, servers: usize, busy: Duration) {
    let free = Mutex::new(vec![Instant::now(); servers]);
    app.answer(move |_| {
        let now = Instant::now();
        let mut free = free.lock().expect("no test panics while it holds this");
        let first = free.iter_mut().min().expect("there are servers");
        *first = (*first).max(now) + busy;
        Answer::text("ok").delay(*first - now)
    });
}

/// What came of one request: whether it passed, and how long it took.
type Outcome = (bool, Duration);

/// Sends `count` requests, one each `pause` whatever comes of them, and waits for them all.
async fn load(
    proxy: &Proxy,
    count: usize,
    pause: Duration,
    class: fn(usize) -> &'static str,
) -> Vec<Outcome> {
    let client = Client::http2(proxy.inbound(0), "web").await;
    let outcomes = Arc::new(Mutex::new(vec![(false, Duration::ZERO); count]));
    let mut clock = tokio::time::interval(pause);
    let mut tasks = Vec::new();
    for at in 0..count {
        clock.tick().await;
        let (mut client, outcomes) = (client.share(), outcomes.clone());
        tasks.push(tokio::spawn(async move {
            let start = Instant::now();
            let mut request = client.request("GET", "/", "");
            request.headers_mut().insert("x-priority", class(at).parse().unwrap());
            let answer = client.call(request).await.unwrap();
            outcomes.lock().expect("no panic")[at] = (answer.status == 200, start.elapsed());
        }));
    }
    for task in tasks {
        task.await.expect("no panic");
    }
    Arc::into_inner(outcomes).expect("all tasks have ended").into_inner().expect("no panic")
}

/// How long the requests took that passed: nine in ten of them took less.
fn most(outcomes: &[Outcome]) -> Duration {
    let mut took: Vec<Duration> = outcomes.iter().filter(|one| one.0).map(|one| one.1).collect();
    took.sort();
    took[took.len() * 9 / 10]
}

/// Four servers of 40 ms do 100 requests a second, and 200 come: without a limit the queue grows for ever, with one who
/// is let in is answered soon, and the app has as much to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn latency_stays_bounded_under_overload() {
    let busy = Duration::from_millis(40);
    let mut taken = Vec::new();
    for concurrency in ["null", "{adaptive: {minLimit: 2, maxLimit: 1000}}"] {
        let app = Backend::http1("web").await;
        app_with(&app, 4, busy);
        let proxy = Proxy::start(&policy(app.address(), "http1", concurrency)).await;
        let outcomes = load(&proxy, 800, Duration::from_millis(5), |_| "").await;
        let last = &outcomes[400..];
        taken.push((most(last), outcomes.iter().filter(|one| one.0).count()));
        if concurrency != "null" {
            let limit = proxy.metrics().await.sum("outrigger_concurrency_limit", &[]);
            assert!((2.0..40.0).contains(&limit), "{limit}");
        }
    }
    let [(without, all), (with, some)] = taken[..] else { panic!("two runs") };
    assert_eq!(all, 800);
    assert!(without > Duration::from_secs(2), "the queue of the unlimited app: {without:?}");
    assert!(with < without / 4, "{with:?} against {without:?}");
    assert!(some > 200, "the app is kept busy: {some}");
}

/// Under three times the load that the app can take, what is critical gets through; what is least so gets least.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_critical_survives_overload() {
    let app = Backend::http1("web").await;
    app_with(&app, 10, Duration::from_millis(100));
    let block = "{adaptive: {minLimit: 10, maxLimit: 20}, priority: {header: x-priority, high: [critical], low: [batch]}}";
    let proxy = Proxy::start(&policy(app.address(), "http1", block)).await;
    // One in ten is critical, five are batch.
    let class =
        |at: usize| ["critical", "batch", "", "batch", "", "batch", "", "batch", "", "batch"][at % 10];
    let outcomes = load(&proxy, 900, Duration::from_millis(3), class).await;
    let passed = |name: &str| {
        let of_class = outcomes.iter().enumerate().filter(|(at, _)| class(*at) == name);
        let (passed, all) =
            of_class.fold((0, 0), |(passed, all), (_, one)| (passed + i32::from(one.0), all + 1));
        passed * 100 / all
    };
    let (critical, most, batch) = (passed("critical"), passed(""), passed("batch"));
    assert!(critical >= 85, "{critical} % of the critical, {most} % of most, {batch} % of batch");
    assert!(
        critical > most + 20 && most > batch,
        "{critical} % of the critical, {most} % of most, {batch} % of batch"
    );
    let metrics = proxy.metrics().await;
    let refused = |class| metrics.sum("outrigger_concurrency_refused_total", &[("priority", class)]);
    assert!(refused("low") > refused("default") && refused("default") > refused("high"));
}

/// `examples/concurrency.yaml`, with a service behind it.
#[tokio::test]
async fn the_example_does_what_it_says() {
    let app = Backend::http1("cart").await;
    let gate = Gate::closed();
    let held = gate.clone();
    app.answer(move |_| Answer::text("ok").hold_for(&held));
    let text = mesh::example("concurrency.yaml", &[("127.0.0.1:3000", app.address())]);
    let proxy = Proxy::start(&text.replacen("bind: \"127.0.0.1:8080\"", "bind: \"127.0.0.1:0\"", 1)).await;
    let to = proxy.inbound(0);
    let ask = move |class: &'static str| async move {
        let mut client = Client::http1(to, "cart").await;
        let mut request = client.request("GET", "/", "");
        request.headers_mut().insert("x-priority", class.parse().unwrap());
        client.call(request).await.unwrap()
    };
    // Four are let in until the app's pace is known; three quarters of them are for batch jobs.
    let batch: Vec<_> = (0..3).map(|_| tokio::spawn(ask("batch"))).collect();
    app.wait_requests(3).await;
    assert_eq!(is(&ask("batch").await), (503, "concurrency_limit"));
    let critical = tokio::spawn(ask("critical"));
    app.wait_requests(4).await;
    assert_eq!(is(&ask("critical").await), (503, "concurrency_limit"));
    gate.open();
    for one in batch.into_iter().chain([critical]) {
        assert_eq!(one.await.expect("no panic").status, 200);
    }
}
