//! Traces, through real proxies into a collector: what belongs under what, what spans say, and what a collector that
//! fails costs.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use http::HeaderMap;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use outrigger_proxy::drain::Cause;
use outrigger_tests::{
    backend::{Answer, Backend, Fault},
    client::{self, Client},
    collector::{Collector, Span, Takes},
    grpc::{FAIL, GrpcClient, GrpcService, UNARY},
    mesh::{self, Proxy},
    metrics::Metrics,
    raw::{RawBackend, RawClient, Reply},
    unreachable::{BlackHole, Refuses},
    wait::{Gate, until, within},
};
use tokio::{io::AsyncReadExt, net::TcpStream};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// Records everything that the caller has not decided.
const ALL: &str = ", samplePercent: 100";

/// A proxy that is pinned to the Service `web` with this backend.
async fn before(backend: &Backend, collector: &Collector, more: &str) -> Proxy {
    let service = mesh::service("web", "http1", &[backend.address()]);
    let mesh = mesh::traced(collector.address(), more);
    Proxy::start(&mesh::pinned("web", &[&service, &mesh])).await
}

/// GET `/` with these headers.
async fn get(to: std::net::SocketAddr, fields: &[(&str, &str)]) -> client::Answer {
    let mut client = Client::http1(to, "web").await;
    let mut request = client.request("GET", "/", "");
    for (name, value) in fields {
        let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
        request.headers_mut().append(name, value.parse().unwrap());
    }
    client.call(request).await.unwrap()
}

/// The span of this side and kind.
fn find<'a>(spans: &'a [Span], side: &str, kind: SpanKind) -> &'a Span {
    let is = |span: &&Span| span.kind == kind && span_side(span, spans) == side;
    let mut found = spans.iter().filter(is);
    let span = found.next().unwrap_or_else(|| panic!("no {kind:?} span of {side}: {spans:#?}"));
    assert!(found.next().is_none(), "one {kind:?} span of {side}: {spans:#?}");
    span
}

/// A client span's side is that of its server span.
fn span_side<'a>(span: &'a Span, spans: &'a [Span]) -> &'a str {
    match span.kind {
        SpanKind::Server => span.get("outrigger.side"),
        _ => spans.iter().find(|one| one.id == span.parent).map_or("", |server| server.get("outrigger.side")),
    }
}

/// The span under which the app's own spans would go, from the headers that it got.
fn context(headers: &HeaderMap, form: &str) -> (String, String) {
    let text = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    match form {
        "w3c" => (text("traceparent")[3..35].to_owned(), text("traceparent")[36..52].to_owned()),
        "b3" => (text("b3")[..32].to_owned(), text("b3")[33..49].to_owned()),
        _ => (text("x-b3-traceid"), text("x-b3-spanid")),
    }
}

/// App, outbound sidecar, inbound sidecar, app: each hop's spans are below those of the hop before, in every form.
#[tokio::test]
async fn a_trace_goes_through_two_sidecars() {
    let w3c = format!("00-{TRACE}-{CALLER}-01");
    let b3 = format!("{TRACE}-{CALLER}-1");
    for (form, fields) in [
        ("w3c", vec![("traceparent", &*w3c), ("tracestate", "vendor=a,other=b")]),
        ("b3", vec![("b3", &*b3)]),
        ("b3Multi", vec![("X-B3-TraceId", TRACE), ("X-B3-SpanId", CALLER), ("X-B3-Sampled", "1")]),
    ] {
        let app = Backend::http1("app").await;
        let collector = Collector::start().await;
        // The caller's decision holds, whatever the share.
        let mesh = mesh::traced(collector.address(), &format!(", samplePercent: 0, propagation: [{form}]"));
        let inbound = Proxy::start(&mesh::inbound(app.address(), "auto", &[&mesh])).await;
        let service = mesh::service("web", "http1", &[inbound.inbound(0)]);
        let rules = "  - {name: all, backendRefs: [{name: web, port: 80}]}\n";
        let route = mesh::route("web", rules);
        let outbound = Proxy::start(&mesh::pinned("web", &[&service, &route, &mesh])).await;

        assert_eq!(get(outbound.outbound(0), &fields).await.status, 200, "{form}");
        let spans = collector.wait(4).await;
        assert_eq!(spans.len(), 4, "{spans:#?}");
        assert!(spans.iter().all(|span| span.trace == TRACE && !span.failed), "{spans:#?}");
        let chain = [
            find(&spans, "outbound", SpanKind::Server),
            find(&spans, "outbound", SpanKind::Client),
            find(&spans, "inbound", SpanKind::Server),
            find(&spans, "inbound", SpanKind::Client),
        ];
        assert_eq!(chain[0].parent, CALLER, "{form}");
        for pair in chain.windows(2) {
            assert_eq!(pair[1].parent, pair[0].id, "{form}: {spans:#?}");
        }
        let seen = app.last();
        assert_eq!(context(&seen.headers, form), (TRACE.to_owned(), chain[3].id.clone()), "{form}");
        if form == "w3c" {
            assert_eq!(seen.header("tracestate"), "vendor=a,other=b");
            assert!(spans.iter().all(|span| span.state == "vendor=a,other=b"));
        }
        let names: Vec<&str> = chain.iter().map(|span| &*span.name).collect();
        assert_eq!(names, ["GET default/web/all", "GET default/web:80", "GET app", "GET app"]);
    }
}

#[tokio::test]
async fn spans_say_what_the_request_was_and_what_decided_it() {
    let app = Backend::http1("app").await;
    let collector = Collector::start().await;
    let service = mesh::service("web", "http1", &[app.address()]);
    let route = mesh::route("web", "  - {name: all, backendRefs: [{name: web, port: 80}]}\n");
    let more = ", samplePercent: 100, resource: {deployment.environment.name: test}";
    let mesh = mesh::traced(collector.address(), more);
    let proxy = Proxy::start(&mesh::pinned("web", &[&service, &route, &mesh])).await;
    let mut client = Client::http1(proxy.outbound(0), "web").await;
    let mut request = client.request("POST", "/cart/7?full=1", "12345");
    request.headers_mut().insert("user-agent", "a test".parse().unwrap());
    request.headers_mut().insert("x-request-id", "my-id".parse().unwrap());
    client.call(request).await.unwrap();

    let spans = collector.wait(2).await;
    let server = find(&spans, "outbound", SpanKind::Server);
    let peer_port = server.get("network.peer.port");
    assert!(peer_port.parse::<u16>().unwrap() > 0);
    let local_port = proxy.outbound(0).port().to_string();
    for (key, value) in [
        ("http.request.method", "POST"),
        ("http.route", "default/web/all"),
        ("http.response.status_code", "200"),
        ("http.request.body.size", "5"),
        ("url.scheme", "http"),
        ("url.path", "/cart/7"),
        ("url.query", "full=1"),
        ("server.address", "web"),
        ("server.port", "80"),
        ("client.address", "127.0.0.1"),
        ("network.protocol.version", "1.1"),
        ("network.local.port", &local_port),
        ("user_agent.original", "a test"),
        ("outrigger.service", "default/web:80"),
        ("outrigger.request_id", "my-id"),
        ("outrigger.attempts", "1"),
        ("error.type", ""),
    ] {
        assert_eq!(server.get(key), value, "{key}");
    }
    let origin = server.get("outrigger.rule.origin");
    let line = std::fs::read_to_string(proxy.policy()).unwrap();
    let line = line.lines().position(|line| line.contains("name: all")).unwrap() + 1;
    assert!(origin.contains(&format!("policy.yaml:{line}:")), "{origin}");
    let client = find(&spans, "outbound", SpanKind::Client);
    let port = app.address().port().to_string();
    for (key, value) in [
        ("http.request.method", "POST"),
        ("url.full", "http://web/cart/7?full=1"),
        ("server.address", "web"),
        ("network.peer.address", "127.0.0.1"),
        ("network.peer.port", &port),
        ("http.response.status_code", "200"),
        ("outrigger.backend", "default/web:80"),
        ("outrigger.outcome", "success"),
        ("http.request.resend_count", ""),
    ] {
        assert_eq!(client.get(key), value, "{key}");
    }
    for (key, value) in [
        ("service.name", "test"),
        ("service.namespace", "default"),
        ("telemetry.sdk.name", "outrigger"),
        ("deployment.environment.name", "test"),
    ] {
        assert_eq!(server.resource[key], value, "{key}");
    }
    assert!(server.began <= client.began && client.began <= client.ended && client.ended <= server.ended);
}

#[tokio::test]
async fn every_attempt_has_a_span() {
    let (bad, good) = (Backend::http1("bad").await, Backend::http1("good").await);
    bad.answer(|_| Answer::status(503));
    let refuses = Refuses::new();
    let collector = Collector::start().await;
    let mesh = mesh::traced(collector.address(), ALL);
    let retry = "  retry: {attempts: 3, on: [gateway-error, connect-failure], backoff: {base: 1ms, max: 1ms}}\n  \
                 loadBalancer: {policy: roundRobin}\n";
    let policy = mesh::traffic("web", retry);
    for (first, error, reason) in
        [(bad.address(), "503", "gateway-error"), (refuses.address(), "connect_failed", "connect-failure")]
    {
        let before = collector.spans().len();
        let service = mesh::service("web", "http1", &[first, good.address()]);
        let proxy = Proxy::start(&mesh::pinned("web", &[&service, &policy, &mesh])).await;
        // Round robin begins anywhere: of two requests one meets the bad endpoint first.
        for _ in 0..2 {
            assert_eq!(get(proxy.outbound(0), &[]).await.status, 200);
        }
        let spans = collector.wait(before + 5).await.split_off(before);
        let servers: Vec<&Span> = spans.iter().filter(|span| span.kind == SpanKind::Server).collect();
        assert_eq!((spans.len(), servers.len()), (5, 2), "{spans:#?}");
        let server = servers.iter().find(|span| span.get("outrigger.attempts") == "2").unwrap();
        let mut clients: Vec<&Span> = spans.iter().filter(|span| span.parent == server.id).collect();
        clients.sort_by_key(|span| span.began);
        let [failed, repeated] = &clients[..] else { panic!("{spans:#?}") };
        assert!(failed.failed && !repeated.failed && !server.failed);
        assert_eq!(failed.get("error.type"), error);
        assert_eq!(failed.get("http.request.resend_count"), "");
        assert_eq!(repeated.get("http.request.resend_count"), "1");
        assert_eq!(repeated.get("outrigger.retry.reason"), reason);
        assert!(failed.ended <= repeated.began, "one after the other");
        // The endpoint that was asked second got the second span's context.
        let seen = good.seen();
        let told: Vec<String> = seen.iter().map(|seen| context(&seen.headers, "w3c").1).collect();
        assert!(told.contains(&repeated.id), "{told:?}");
    }
}

/// One request, its answer as far as it came, and the error types of its server and client span.
async fn errors(collector: &Collector, call: impl AsyncFnOnce()) -> (String, Option<String>, Span) {
    let before = collector.spans().len();
    call().await;
    let spans = until("the request's spans", || async {
        let spans = collector.spans().split_off(before);
        spans.iter().any(|span| span.kind == SpanKind::Server).then_some(spans)
    })
    .await;
    let server = spans.iter().find(|span| span.kind == SpanKind::Server).unwrap();
    let client = spans.iter().find(|span| span.kind == SpanKind::Client);
    assert_eq!(server.failed, !server.get("error.type").is_empty(), "{server:#?}");
    let told = client.map(|client| client.get("error.type").to_owned());
    (server.get("error.type").to_owned(), told, server.clone())
}

#[tokio::test]
async fn failures_are_told_where_they_happened() {
    let app = Backend::http1("app").await;
    let collector = Collector::start().await;
    let proxy = before(&app, &collector, ALL).await;
    let to = proxy.outbound(0);
    let some = |text: &str| Some(text.to_owned());

    app.answer(|_| Answer::status(404));
    let (server, client, _) = errors(&collector, async || drop(get(to, &[]).await)).await;
    assert_eq!((&*server, client), ("", some("404")));

    app.answer(|_| Answer::status(500));
    let (server, client, span) = errors(&collector, async || drop(get(to, &[]).await)).await;
    assert_eq!((&*server, client, span.get("outrigger.reason")), ("500", some("500"), ""));

    app.answer(|_| Answer::fail(Fault::Reset));
    let call = async || {
        let mut client = Client::http1(to, "web").await;
        assert_eq!(client.post("/", "x").await.status, 503);
    };
    let (server, client, span) = errors(&collector, call).await;
    assert_eq!((&*server, client), ("upstream_reset", some("reset")));
    assert_eq!((span.get("outrigger.flag"), span.get("outrigger.reason")), ("UC", "upstream_reset"));

    // The answer's head has gone out, and then the body breaks off.
    app.answer(|_| Answer::text("").header("x", "y").then("part").then_fail(Fault::Reset));
    let call = async || {
        let mut client = Client::http1(to, "web").await;
        let request = client.request("GET", "/", "");
        assert!(client.call(request).await.is_err(), "an answer that is cut off");
    };
    let (server, client, span) = errors(&collector, call).await;
    assert_eq!((&*server, client), ("upstream_cut", some("upstream_cut")));
    assert_eq!(span.get("http.response.status_code"), "200");

    // The caller goes away before there is an answer.
    let gate = Gate::closed();
    let held = gate.clone();
    app.answer(move |_| Answer::text("late").hold_for(&held));
    let before = app.requests();
    let call = async || {
        let mut client = RawClient::connect(to).await;
        client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n").await;
        app.wait_requests(before + 1).await;
        client.reset();
    };
    let (server, client, span) = errors(&collector, call).await;
    assert_eq!((&*server, client), ("downstream_gone", some("cancelled")));
    assert_eq!(span.get("http.response.status_code"), "", "nobody got one");
    gate.open();
}

#[tokio::test]
async fn what_never_reached_a_service_has_a_server_span() {
    let collector = Collector::start().await;
    let mesh = mesh::traced(collector.address(), ALL);
    let proxy = Proxy::start(&mesh::outbound(&[&mesh, &mesh::service("web", "http1", &[])])).await;
    let to = proxy.outbound(0);
    let (server, client, span) = errors(&collector, async || drop(get(to, &[]).await)).await;
    assert_eq!((&*server, client), ("no_endpoint", None));
    assert_eq!(span.get("http.response.status_code"), "503");
    // A head that the strict check refuses is told too, with what can be believed of it.
    let (server, client, span) = errors(&collector, async || {
        let mut client = Client::http1(to, "web").await;
        let request = client.request("GET", "/a%00b", "");
        assert_eq!(client.call(request).await.unwrap().status, 400);
    })
    .await;
    assert_eq!((&*server, client, &*span.name), ("", None, "GET"));
    assert_eq!((span.get("http.response.status_code"), span.get("outrigger.flag")), ("400", "DPE"));
}

#[tokio::test]
async fn grpc_calls_have_the_words_of_rpc() {
    let service = GrpcService::start().await;
    let collector = Collector::start().await;
    let mesh = mesh::traced(collector.address(), ALL);
    let web = mesh::service("web", "grpc", &[service.address()]);
    let proxy = Proxy::start(&mesh::pinned("web", &[&web, &mesh])).await;
    let mut client = GrpcClient::connect(proxy.outbound(0), "web").await;
    client.call(UNARY, &["hello"]).await;
    let spans = collector.wait(2).await;
    for span in &spans {
        assert_eq!((&*span.name, span.failed), (UNARY.trim_start_matches('/'), false), "{span:#?}");
        assert_eq!(span.get("rpc.system.name"), "grpc");
        assert_eq!(span.get("rpc.method"), UNARY.trim_start_matches('/'));
        assert_eq!(span.get("rpc.response.status_code"), "OK");
        assert_eq!(span.get("network.protocol.version"), "2");
    }
    // 9, FAILED_PRECONDITION: the caller's fault, so no error of the server.
    let mut call = client.open(FAIL, &[("x-fail", "9")]).await;
    call.finish();
    assert_eq!(call.end().await.status, Some(9));
    let spans = collector.wait(4).await.split_off(2);
    let (server, client) =
        (find(&spans, "outbound", SpanKind::Server), find(&spans, "outbound", SpanKind::Client));
    assert!(!server.failed && client.failed, "{spans:#?}");
    assert_eq!(client.get("error.type"), "FAILED_PRECONDITION");
    assert_eq!(server.get("rpc.response.status_code"), "FAILED_PRECONDITION");
}

#[tokio::test]
async fn a_share_of_the_traces_is_recorded_and_everybody_is_told() {
    const REQUESTS: usize = 600;
    let app = Backend::http1("app").await;
    let collector = Collector::start().await;
    let mesh = mesh::traced(collector.address(), ", samplePercent: 30");
    let inbound = Proxy::start(&mesh::inbound(app.address(), "http1", &[&mesh])).await;
    let service = mesh::service("web", "http1", &[inbound.inbound(0)]);
    let outbound = Proxy::start(&mesh::pinned("web", &[&service, &mesh])).await;
    let mut client = Client::http1(outbound.outbound(0), "web").await;
    for _ in 0..REQUESTS {
        client.get("/").await;
    }
    let mut recorded = 0;
    for seen in app.seen() {
        let parent = seen.header("traceparent").to_owned();
        assert_eq!(parent.len(), 55, "{parent}");
        let flags = u8::from_str_radix(&parent[53..], 16).unwrap();
        recorded += usize::from(flags & 1 == 1);
    }
    // Six standard deviations.
    assert!((110..=250).contains(&recorded), "{recorded} of {REQUESTS}");
    // Both proxies recorded exactly these: four spans each.
    let spans = collector.wait(recorded * 4).await;
    assert_eq!(spans.len(), recorded * 4);
    let mut by_trace: BTreeMap<&str, usize> = BTreeMap::new();
    spans.iter().for_each(|span| *by_trace.entry(&span.trace).or_default() += 1);
    assert_eq!(by_trace.len(), recorded);
    assert!(by_trace.values().all(|count| *count == 4), "no trace is recorded in part");
}

#[tokio::test]
async fn headers_pass_untouched_where_nothing_is_recorded() {
    let app = Backend::http1("app").await;
    let collector = Collector::start().await;
    let service = mesh::service("web", "http1", &[app.address()]);
    let off = Proxy::start(&mesh::pinned("web", &[&service])).await;
    let on = before(&app, &collector, ", samplePercent: 100, propagation: [w3c, b3]").await;
    let names = ["traceparent", "tracestate", "b3", "x-b3-traceid"];
    let unsampled = format!("00-{TRACE}-{CALLER}-00");
    let unsampled_b3 = format!("{TRACE}-{CALLER}-0");
    for (proxy, fields) in [
        (&off, vec![("traceparent", "no context"), ("tracestate", "=,="), ("b3", "?")]),
        (&off, vec![("traceparent", &*format!("00-{TRACE}-{CALLER}-01"))]),
        (&off, vec![]),
        (&on, vec![("traceparent", &*unsampled), ("tracestate", "a=1")]),
        (&on, vec![("b3", &*unsampled_b3), ("x-b3-traceid", "another form")]),
        (&on, vec![("b3", "0")]),
    ] {
        get(proxy.outbound(0), &fields).await;
        let seen = app.last();
        for name in names {
            let sent = fields.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| *value);
            assert_eq!(seen.header(name), sent, "{name} of {fields:?}");
        }
    }
    assert!(collector.spans().is_empty());
    assert_eq!(queued(&on.metrics().await), 0.0);
}

#[tokio::test]
async fn what_is_no_context_begins_a_trace() {
    let app = Backend::http1("app").await;
    let collector = Collector::start().await;
    let proxy = before(&app, &collector, ALL).await;
    let good = format!("00-{TRACE}-{CALLER}-01");
    for fields in [
        vec![("traceparent", &*good), ("traceparent", &*good)],
        vec![("traceparent", &*good.replace("4bf9", "4BF9"))],
        vec![("traceparent", &good[..54])],
        vec![("traceparent", ""), ("tracestate", "a=1")],
    ] {
        get(proxy.outbound(0), &fields).await;
        let seen = app.last();
        let (trace, _) = context(&seen.headers, "w3c");
        assert_ne!(trace, TRACE, "{fields:?}");
        assert_eq!(seen.header("tracestate"), "", "a state without its trace");
        assert_eq!(seen.headers.get_all("traceparent").iter().count(), 1);
    }
    let spans = collector.wait(8).await;
    let roots = spans.iter().filter(|span| span.kind == SpanKind::Server);
    assert!(roots.clone().count() == 4 && roots.clone().all(|span| span.parent.is_empty()));
}

#[tokio::test]
async fn a_span_ends_with_the_answers_body() {
    let app = Backend::http1("app").await;
    let gate = Gate::closed();
    let held = gate.clone();
    app.answer(move |_| Answer::text("").header("x", "y").then("begin").then_wait(&held).then("end"));
    let collector = Collector::start().await;
    let proxy = before(&app, &collector, ALL).await;
    let mut client = Client::http1(proxy.outbound(0), "web").await;
    let request = client.request("GET", "/", "");
    let response = client.send(request).await.unwrap();
    let head = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    // Another request's spans come, and those of the open one do not.
    app.answer(|_| Answer::text("short"));
    get(proxy.outbound(0), &[]).await;
    let others = collector.wait(2).await;
    assert_eq!(others.len(), 2);
    gate.open();
    client::Answer::read(response).await.unwrap();
    let spans = collector.wait(4).await.split_off(2);
    let ended = spans.iter().map(|span| u128::from(span.ended));
    assert!(ended.clone().all(|ended| ended > head.as_nanos()), "{spans:#?}");
}

fn queued(metrics: &Metrics) -> f64 {
    metrics.sum("outrigger_spans_queued", &[])
}

fn dropped(metrics: &Metrics, reason: &str) -> f64 {
    metrics.sum("outrigger_spans_dropped_total", &[("reason", reason)])
}

fn exported(metrics: &Metrics) -> f64 {
    metrics.sum("outrigger_spans_exported_total", &[])
}

/// The median time of requests that are made one after the other.
async fn median(proxy: &Proxy, requests: usize) -> Duration {
    let mut client = Client::http1(proxy.outbound(0), "web").await;
    let mut times = Vec::with_capacity(requests);
    for _ in 0..requests {
        let start = Instant::now();
        assert_eq!(client.get("/").await.status, 200);
        times.push(start.elapsed());
    }
    times.sort();
    times[requests / 2]
}

/// A collector that takes connections and never answers: requests go on as before, memory is bounded, every span that is
/// lost is counted.
#[tokio::test]
async fn a_collector_that_is_stuck_costs_spans_and_nothing_else() {
    const REQUESTS: usize = 3500;
    let app = Backend::http1("app").await;
    app.answer(|_| Answer::text("ok"));
    app.forget();
    let stuck = BlackHole::new().await;
    let service = mesh::service("web", "http1", &[app.address()]);
    let mesh = mesh::traced(stuck.address(), ALL);
    let untraced = Proxy::start(&mesh::pinned("web", &[&service])).await;
    let traced = Proxy::start(&mesh::pinned("web", &[&service, &mesh])).await;
    let usual = median(&untraced, 500).await;
    let filling = median(&traced, REQUESTS).await;
    let full = median(&traced, 500).await;
    eprintln!(
        "median: without traces {usual:?}, while the queue fills {filling:?}, when it is full {full:?}"
    );
    // Wide, for a machine that does other things too: what is meant to be seen is waiting, of a second or more.
    let most = usual * 10 + Duration::from_millis(20);
    assert!(filling < most && full < most, "{usual:?}, {filling:?}, {full:?}");
    let metrics = traced.metrics().await;
    let (queued, lost) = (queued(&metrics), dropped(&metrics, "queue_full"));
    // 2,048 requests in the queue and up to 512 in the batch that is tried, two spans each.
    assert!(queued <= 2.0 * (2048.0 + 512.0), "{queued}");
    assert!(lost > 0.0);
    assert_eq!(queued + lost, 2.0 * (REQUESTS + 500) as f64, "each span is queued or counted as lost");
    assert_eq!(exported(&metrics), 0.0);
}

#[tokio::test]
async fn spans_wait_for_a_collector_that_is_away() {
    let app = Backend::http1("app").await;
    let away = Refuses::new();
    let service = mesh::service("web", "http1", &[app.address()]);
    let mesh = mesh::traced(away.address(), ALL);
    let proxy = Proxy::start(&mesh::pinned("web", &[&service, &mesh])).await;
    let address = away.address();
    for _ in 0..3 {
        get(proxy.outbound(0), &[]).await;
    }
    assert_eq!(queued(&proxy.metrics().await), 6.0);
    drop(away);
    let collector = Collector::at(address).await;
    assert_eq!(collector.wait(6).await.len(), 6);
    let metrics = until("the spans to be counted", || async {
        Some(proxy.metrics().await).filter(|metrics| exported(metrics) == 6.0)
    })
    .await;
    assert_eq!((queued(&metrics), metrics.sum("outrigger_spans_dropped_total", &[])), (0.0, 0.0));
}

#[tokio::test]
async fn what_a_collector_refuses_is_counted_by_reason() {
    let app = Backend::http1("app").await;
    let collector = Collector::start().await;
    let proxy = before(&app, &collector, ALL).await;
    let counted = async |reason: &str, count: f64| {
        until(&format!("{count} spans as {reason}"), || async {
            (dropped(&proxy.metrics().await, reason) == count).then_some(())
        })
        .await;
    };
    collector.takes(Takes::Nothing(tonic::Code::InvalidArgument));
    get(proxy.outbound(0), &[]).await;
    counted("refused", 2.0).await;
    assert_eq!(collector.messages(), 1, "it would fail again");
    collector.takes(Takes::AllBut(1));
    get(proxy.outbound(0), &[]).await;
    counted("rejected", 1.0).await;
    // Not now: the same batch comes again.
    collector.takes(Takes::Nothing(tonic::Code::Unavailable));
    get(proxy.outbound(0), &[]).await;
    until("two tries", || async { (collector.messages() >= 4).then_some(()) }).await;
    collector.takes(Takes::All);
    collector.wait(4).await;
    until("the spans to be counted", || async { (exported(&proxy.metrics().await) == 3.0).then_some(()) })
        .await;
    assert_eq!(queued(&proxy.metrics().await), 0.0);
}

#[tokio::test]
async fn many_spans_go_out_in_several_messages() {
    let app = Backend::http1("app").await;
    app.answer(|_| Answer::text("ok"));
    let collector = Collector::start().await;
    let proxy = before(&app, &collector, ALL).await;
    median(&proxy, 1200).await;
    assert_eq!(collector.wait(2400).await.len(), 2400);
    assert!(collector.largest() <= 512 && collector.messages() >= 5, "{}", collector.largest());
}

#[tokio::test]
async fn a_change_of_policy_loses_no_span() {
    let app = Backend::http1("app").await;
    let gates: Vec<Gate> = (0..3).map(|_| Gate::closed()).collect();
    let held = gates.clone();
    app.answer(move |seen| match seen.path.trim_start_matches('/').parse::<usize>() {
        Ok(gate) => Answer::text("late").hold_for(&held[gate]),
        Err(_) => Answer::text("ok"),
    });
    let (one, two) = (Collector::start().await, Collector::start().await);
    let service = mesh::service("web", "http1", &[app.address()]);
    let policy = |collector: &Collector, more: &str| {
        mesh::pinned("web", &[&service, &mesh::traced(collector.address(), more)])
    };
    let proxy = Proxy::start(&policy(&one, ALL)).await;
    let mut calls = tokio::task::JoinSet::new();
    let mut open = async |path: &'static str| {
        let before = app.requests();
        let to = proxy.outbound(0);
        calls.spawn(async move { Client::http1(to, "web").await.get(path).await });
        app.wait_requests(before + 1).await;
    };
    open("/0").await;
    // Another collector: for requests that are open, too.
    proxy.reload(&policy(&two, ALL)).await;
    gates[0].open();
    assert_eq!(two.wait(2).await.len(), 2);
    // Another share: from the next request on.
    open("/1").await;
    proxy.reload(&policy(&two, ", samplePercent: 0")).await;
    get(proxy.outbound(0), &[]).await;
    gates[1].open();
    let spans = two.wait(4).await;
    assert!(spans.len() == 4 && spans[2..].iter().any(|span| span.get("url.path") == "/1"), "{spans:#?}");
    // No traces any more: what is open goes where it would have gone.
    proxy.reload(&policy(&two, ALL)).await;
    open("/2").await;
    proxy.reload(&mesh::pinned("web", &[&service])).await;
    get(proxy.outbound(0), &[]).await;
    gates[2].open();
    let spans = two.wait(6).await;
    assert!(spans.len() == 6 && spans[4..].iter().any(|span| span.get("url.path") == "/2"), "{spans:#?}");
    assert!(one.spans().is_empty());
    assert_eq!(proxy.metrics().await.sum("outrigger_spans_dropped_total", &[]), 0.0);
}

#[tokio::test]
async fn the_last_spans_are_sent_before_the_process_ends() {
    let app = Backend::http1("app").await;
    let collector = Collector::start().await;
    let proxy = before(&app, &collector, ALL).await;
    for _ in 0..5 {
        get(proxy.outbound(0), &[]).await;
    }
    proxy.app().drain(Cause::Interrupt);
    let proxy = tokio::task::spawn_blocking(move || {
        proxy.app().wait();
        proxy
    });
    within("the end of the proxy", proxy).await.unwrap();
    assert_eq!(collector.spans().len(), 10, "all were there when it had ended");
}

/// A collector that is stuck does not hold up the end either.
#[tokio::test]
async fn a_stuck_collector_does_not_hold_up_the_end() {
    let app = Backend::http1("app").await;
    let stuck = BlackHole::new().await;
    let service = mesh::service("web", "http1", &[app.address()]);
    let mesh = mesh::traced(stuck.address(), ALL);
    let proxy = Proxy::start(&mesh::pinned("web", &[&service, &mesh])).await;
    get(proxy.outbound(0), &[]).await;
    let start = Instant::now();
    proxy.app().drain(Cause::Interrupt);
    let ended = tokio::task::spawn_blocking(move || {
        proxy.app().wait();
        proxy
    });
    within("the end of the proxy", ended).await.unwrap();
    // Outbound is quiet for a second, then a second is for the spans; the rest is room for a busy machine.
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
}

/// `examples/tracing.yaml`, with an app, services and a collector where it looks for them.
#[tokio::test]
async fn the_example_traces() {
    let (app, reviews) = (Backend::http1("app").await, Backend::http1("reviews").await);
    let collector = Collector::start().await;
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/tracing.yaml");
    let mut policy = std::fs::read_to_string(example).unwrap();
    for (written, here) in [
        ("127.0.0.1:4317", collector.address().to_string()),
        ("127.0.0.1:3000", app.address().to_string()),
        ("127.0.0.1:9001", reviews.address().to_string()),
        ("127.0.0.1:9002", reviews.address().to_string()),
        ("[{bind: \"127.0.0.1:8080\"", "[{bind: \"127.0.0.1:0\"".to_owned()),
        (
            "[{bind: \"127.0.0.1:15001\"}]",
            "[{bind: \"127.0.0.1:0\"}]\n  admin: {bind: \"127.0.0.1:0\"}".to_owned(),
        ),
    ] {
        assert!(policy.contains(written), "{written}");
        policy = policy.replacen(written, &here, 1);
    }
    let proxy = Proxy::start(&policy).await;
    let b3 = format!("{TRACE}-{CALLER}-1");
    let mut client = Client::http1(proxy.outbound(0), "reviews").await;
    let mut request = client.request("GET", "/", "");
    request.headers_mut().insert("b3", b3.parse().unwrap());
    assert_eq!(client.call(request).await.unwrap().status, 200);
    let mut request = client.request("GET", "/", "");
    request.headers_mut().insert("traceparent", format!("00-{TRACE}-{CALLER}-01").parse().unwrap());
    Client::http1(proxy.inbound(0), "cart").await.call(request).await.unwrap();
    let spans = collector.wait(4).await;
    for span in &spans {
        assert_eq!(span.trace, TRACE);
        for (key, value) in [
            ("service.name", "cart"),
            ("service.namespace", "shop"),
            ("service.version", "1.4.2"),
            ("deployment.environment.name", "staging"),
        ] {
            assert_eq!(span.resource[key], value, "{key}");
        }
    }
    // Both forms are written.
    for seen in [reviews.last(), app.last()] {
        assert_eq!(context(&seen.headers, "w3c"), context(&seen.headers, "b3"));
    }
}

/// A connection that is passed on whole is a span on each side, in traces of their own: bytes hand nothing over.
#[tokio::test]
async fn a_connection_that_is_passed_on_is_a_span_on_each_side() {
    let greeting = b"220 app\n".to_vec();
    let app = RawBackend::start(Reply::Echo { greeting, farewell: Vec::new() }).await;
    let collector = Collector::start().await;
    let mesh = mesh::traced(collector.address(), ALL);
    let inbound = Proxy::start(&mesh::inbound(app.address(), "tcp", &[&mesh])).await;
    let service = mesh::service("db", "tcp", &[inbound.inbound(0)]);
    let outbound = Proxy::start(&mesh::pinned("db", &[&service, &mesh])).await;
    let mut client = RawClient::connect(outbound.outbound(0)).await;
    client.read_until("220 app\n").await;
    client.send("12345").await;
    client.finish().await;
    client.read_to_end().await;
    let spans = collector.wait(2).await;
    let of = |kind| spans.iter().find(|span| span.kind == kind).unwrap_or_else(|| panic!("{spans:#?}"));
    let (caller, server) = (of(SpanKind::Client), of(SpanKind::Server));
    assert_eq!((&*caller.name, &*server.name), ("TCP default/db:80", "TCP app"));
    for (span, side) in [(caller, "outbound"), (server, "inbound")] {
        assert!(span.parent.is_empty() && !span.failed && span.ended > span.began, "{span:#?}");
        assert_eq!((span.get("network.transport"), span.get("outrigger.side")), ("tcp", side));
        assert_eq!((span.get("outrigger.bytes_in"), span.get("outrigger.bytes_out")), ("5", "13"));
    }
    assert_eq!(caller.get("network.peer.port"), inbound.inbound(0).port().to_string());
    assert_ne!(caller.trace, server.trace);
}

/// Makes a connection that the proxy gives up: its reset may be there before the connection is seen to be made.
async fn call_in_vain(to: SocketAddr) {
    if let Ok(mut stream) = TcpStream::connect(to).await {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
}

#[tokio::test]
async fn a_connection_that_comes_to_nothing_is_a_span_that_failed_and_none_where_policy_samples_none() {
    let collector = Collector::start().await;
    let refuses = Refuses::new();
    let service = mesh::service("db", "tcp", &[refuses.address()]);
    let policy = |share: &str| {
        let mesh = mesh::traced(collector.address(), share);
        mesh::pinned("db", &[&service, &mesh])
    };
    let silent = Proxy::start(&policy(", samplePercent: 0")).await;
    call_in_vain(silent.outbound(0)).await;
    let proxy = Proxy::start(&policy(ALL)).await;
    call_in_vain(proxy.outbound(0)).await;
    let spans = collector.wait(1).await;
    let [span] = &*spans else { panic!("{spans:#?}") };
    assert!(span.failed, "{span:#?}");
    assert_eq!((span.get("error.type"), span.get("outrigger.flag")), ("connect_failed", "UF"));
}
