//! Limits in time, through a real proxy: the whole request, an attempt, a connection, a pause, a caller's own deadline,
//! a head that never ends; and the form of the answers that the proxy makes where there is nobody to ask.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use http::HeaderValue;
use http_body_util::BodyExt;
use outrigger_tests::{
    backend::{Answer, Backend},
    client::{self, Client},
    fault::{Fault, FaultProxy},
    grpc::{self, BIDI, GrpcClient, GrpcService, UNARY},
    mesh::{self, Proxy},
    raw::{Ended, RawBackend, RawClient, Reply},
    wait::{Gate, until, within},
};
use tokio::net::{TcpSocket, TcpStream};

/// The limit under test. A machine under load may answer late, never early.
const LIMIT: Duration = Duration::from_millis(300);

/// No answer that a limit makes comes later than this.
const LATE: Duration = Duration::from_secs(10);

async fn proxy(protocol: &str, endpoints: &[SocketAddr], timeouts: &str) -> Proxy {
    let service = mesh::service("web", protocol, endpoints);
    let traffic = mesh::traffic("web", &format!("  timeouts: {timeouts}\n"));
    Proxy::start(&mesh::pinned("web", &[&service, &traffic])).await
}

async fn clients(proxy: &Proxy) -> [(&'static str, Client); 2] {
    let at = proxy.outbound(0);
    [("http1", Client::http1(at, "web").await), ("http2", Client::http2(at, "web").await)]
}

/// Waits until the proxy has ended all its connections to `backend`.
async fn given_up(backend: &RawBackend) {
    until("the connections to be closed", || async {
        backend.ended().iter().all(Option::is_some).then_some(())
    })
    .await;
}

/// The answer to GET, as HTTP and as gRPC see it, must be this one, and not before `least`.
async fn refused(proxy: &Proxy, form: (u16, u8, &str), least: Duration) {
    let (status, code, reason) = form;
    for (version, mut client) in clients(proxy).await {
        let start = Instant::now();
        let answer = client.get("/").await;
        let took = start.elapsed();
        let got = (answer.status.as_u16(), answer.header("x-outrigger-error"));
        assert_eq!(got, (status, reason), "{version}: {answer:?}");
        assert!((least..LATE).contains(&took), "{version}: {reason} after {took:?}");
    }
    let mut client = GrpcClient::connect(proxy.outbound(0), "web").await;
    let mut call = client.open(UNARY, &[]).await;
    call.send("hello").await;
    call.finish();
    let end = call.end().await;
    let got = (end.http.map(|http| http.as_u16()), end.status, end.trailers_only);
    assert_eq!(got, (Some(200), Some(code), true), "{reason}: {end:?}");
    assert_eq!(end.headers["x-outrigger-error"], reason);
}

#[tokio::test]
async fn a_request_and_an_attempt_end_in_time() {
    for (timeouts, reason) in [
        ("{request: 300ms}", "request_timeout"),
        ("{attempt: 300ms}", "attempt_timeout"),
        ("{request: 300ms, attempt: 0s}", "request_timeout"),
        ("{request: 0s, attempt: 300ms}", "attempt_timeout"),
        ("{request: 8s, attempt: 300ms}", "attempt_timeout"),
    ] {
        let backend = RawBackend::start(Reply::Silent).await;
        let proxy = proxy("http1", &[backend.address()], timeouts).await;
        refused(&proxy, (504, 4, reason), LIMIT).await;
        // An HTTP/1 request that is given up takes its connection with it.
        given_up(&backend).await;
    }
}

#[tokio::test]
async fn zero_is_off() {
    let backend = Backend::http1("slow").await;
    backend.answer(|_| Answer::text("ok").delay(LIMIT));
    let off = "{request: 0s, attempt: 0s, connect: 0s, streamIdle: 0s}";
    let proxy = proxy("http1", &[backend.address()], off).await;
    for (version, mut client) in clients(&proxy).await {
        assert_eq!(client.get("/").await.text(), "ok", "{version}");
    }
}

#[tokio::test]
async fn the_request_limit_cuts_an_answer_that_has_begun_and_the_attempt_limit_does_not() {
    let half = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nbegun".to_vec();
    let backend = RawBackend::start(Reply::EachHead(half)).await;
    let limited = proxy("http1", &[backend.address()], "{request: 300ms}").await;
    for (version, mut client) in clients(&limited).await {
        let request = client.request("GET", "/", "");
        let answer = within("the head", client.send(request)).await.expect("a head");
        assert_eq!(answer.status(), 200, "{version}");
        let end = within("the cut", answer.into_body().collect()).await;
        assert!(end.is_err(), "{version}: looks complete");
    }
    given_up(&backend).await;

    let after_the_head = Backend::http1("late end").await;
    let gate = Gate::closed();
    let held = gate.clone();
    after_the_head.answer(move |_| Answer::status(200).then("begun").then_wait(&held).then(" and done"));
    let attempt = proxy("http1", &[after_the_head.address()], "{attempt: 300ms}").await;
    for (version, mut client) in clients(&attempt).await {
        let request = client.request("GET", "/", "");
        let mut body = within("the head", client.send(request)).await.expect("a head").into_body();
        within("the first piece", body.frame()).await.expect("a piece").expect("data");
        // The limit of an attempt ends with the answer's head, so nothing may come of it.
        let cut = tokio::time::timeout(LIMIT * 2, body.frame()).await;
        if version == "http1" {
            assert!(cut.is_err(), "{cut:?}");
            gate.open();
        }
        within("the rest", body.collect()).await.expect("whole");
    }
}

#[tokio::test]
async fn a_grpc_stream_past_its_limit_ends_as_deadline_exceeded() {
    let backend = Backend::http2("drip").await;
    let never = Gate::closed();
    backend.answer(move |_| {
        let head = Answer::status(200).header("content-type", "application/grpc").early();
        head.then(grpc::frame("one")).then_wait(&never).then("never")
    });
    for timeouts in ["{request: 300ms}", "{streamIdle: 300ms}"] {
        let proxy = proxy("grpc", &[backend.address()], timeouts).await;
        let mut client = GrpcClient::connect(proxy.outbound(0), "web").await;
        let mut call = client.open(UNARY, &[]).await;
        call.send("hello").await;
        call.finish();
        assert_eq!(call.message().await.as_deref(), Some(&b"one"[..]), "{timeouts}");
        let end = call.end().await;
        assert_eq!((end.status, end.trailers_only), (Some(4), false), "{timeouts}: {end:?}");
    }
}

#[tokio::test]
async fn a_pause_is_limited_and_a_steady_stream_is_not() {
    let backend = Backend::http1("pause").await;
    let never = Gate::closed();
    backend.answer(move |seen| match &*seen.path {
        "/begun" => Answer::status(200).then("begun").then_wait(&never).then("never"),
        _ => Answer::text("never").hold_for(&never),
    });
    let paused = proxy("http1", &[backend.address()], "{streamIdle: 300ms}").await;
    refused(&paused, (504, 4, "stream_idle_timeout"), LIMIT).await;
    for (version, mut client) in clients(&paused).await {
        let request = client.request("GET", "/begun", "");
        let answer = within("the head", client.send(request)).await.expect("a head");
        assert!(within("the cut", answer.into_body().collect()).await.is_err(), "{version}");
    }

    // Longer than the limit in all, but never a pause as long.
    let steady = Backend::http1("steady").await;
    steady.answer(|_| Answer::text("0123456789".repeat(100)));
    let relay = FaultProxy::to(steady.address()).await;
    relay.set(Fault::Drip(Duration::from_millis(2)));
    let steady = proxy("http1", &[relay.address()], "{streamIdle: 1s500ms}").await;
    for (version, mut client) in clients(&steady).await {
        let start = Instant::now();
        assert_eq!(client.get("/").await.text().len(), 1000, "{version}");
        assert!(start.elapsed() > Duration::from_millis(1500), "{version}: the drip was no test");
    }
}

#[tokio::test]
async fn grpc_streams_may_pause_where_no_one_wrote_a_limit() {
    let service = GrpcService::start().await;
    let mesh_service = mesh::service("web", "grpc", &[service.address()]);
    let proxy = Proxy::start(&mesh::pinned("web", &[&mesh_service])).await;
    let mut client = GrpcClient::connect(proxy.outbound(0), "web").await;
    let mut call = client.open(BIDI, &[("grpc-timeout", "1H")]).await;
    call.send("a").await;
    assert_eq!(call.message().await.as_deref(), Some(&b"a"[..]));
    call.finish();
    assert_eq!(call.end().await.status, Some(0));
}

/// A listener that takes no more connections: its queue is full.
struct BlackHole {
    address: SocketAddr,
    _queued: Vec<TcpStream>,
    _listener: tokio::net::TcpListener,
}

async fn black_hole() -> BlackHole {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let listener = socket.listen(1).expect("it listens");
    let address = listener.local_addr().expect("bound");
    let mut queued = Vec::new();
    while let Ok(stream) = tokio::time::timeout(LIMIT, TcpStream::connect(address)).await {
        queued.push(stream.expect("room in the queue"));
        assert!(queued.len() < 64, "the queue does not fill");
    }
    BlackHole { address, _queued: queued, _listener: listener }
}

#[tokio::test]
async fn a_connection_that_is_not_made_ends_in_time() {
    let hole = black_hole().await;
    let limited = proxy("http1", &[hole.address], "{connect: 300ms}").await;
    refused(&limited, (503, 14, "connect_timeout"), LIMIT).await;
    // The default is 1 s.
    let unset = proxy("http1", &[hole.address], "{attempt: 0s}").await;
    refused(&unset, (503, 14, "connect_timeout"), Duration::from_secs(1)).await;
    // The whole request's limit holds while a connection is made.
    let whole = proxy("http1", &[hole.address], "{request: 300ms, connect: 0s}").await;
    refused(&whole, (504, 4, "request_timeout"), LIMIT).await;
    // Another endpoint answers in its place.
    let other = Backend::http1("other").await;
    let both = proxy("http1", &[hole.address, other.address()], "{connect: 300ms}").await;
    for _ in 0..6 {
        assert_eq!(Client::http1(both.outbound(0), "web").await.get("/").await.header("x-backend"), "other");
    }
}

/// The value of a `grpc-timeout`.
fn deadline(value: &str) -> Duration {
    let (digits, unit) = value.split_at(value.len() - 1);
    let number: u64 = digits.parse().expect("digits");
    match unit {
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => panic!("not this long: {value}"),
    }
}

#[tokio::test]
async fn a_grpc_deadline_is_kept_and_passed_on_reduced() {
    let backend = Backend::http2("slow").await;
    let never = Gate::closed();
    backend.answer(move |seen| match &*seen.path {
        "/quick" => Answer::text("").header("content-type", "application/grpc").header("grpc-status", "0"),
        _ => Answer::text("never").hold_for(&never),
    });
    let unlimited = proxy("grpc", &[backend.address()], "{request: 0s}").await;
    let limited = proxy("grpc", &[backend.address()], "{request: 5s}").await;
    for (proxy, asked, most) in [
        (&unlimited, Some("10S"), Some(Duration::from_secs(10))),
        (&limited, Some("1H"), Some(Duration::from_secs(5))),
        (&limited, Some("3S"), Some(Duration::from_secs(3))),
        (&limited, None, Some(Duration::from_secs(5))),
        (&unlimited, None, None),
    ] {
        let mut client = GrpcClient::connect(proxy.outbound(0), "web").await;
        let metadata: Vec<_> = asked.iter().map(|value| ("grpc-timeout", *value)).collect();
        let mut call = client.open("/quick", &metadata).await;
        call.finish();
        assert_eq!(call.end().await.status, Some(0));
        let seen = backend.last();
        let passed = Some(seen.header("grpc-timeout")).filter(|value| !value.is_empty()).map(deadline);
        match (most, passed) {
            (None, None) => {}
            (Some(most), Some(passed)) => {
                let least = most.saturating_sub(Duration::from_secs(2));
                assert!((least..most).contains(&passed), "{asked:?}: {passed:?} of {most:?}");
            }
            (most, passed) => panic!("{asked:?}: {passed:?} of {most:?}"),
        }
    }

    let mut client = GrpcClient::connect(unlimited.outbound(0), "web").await;
    let start = Instant::now();
    let mut call = client.open("/hang", &[("grpc-timeout", "300m")]).await;
    call.finish();
    let end = call.end().await;
    assert_eq!((end.status, end.trailers_only), (Some(4), true), "{end:?}");
    assert_eq!(end.headers["x-outrigger-error"], "request_timeout");
    assert!((LIMIT..LATE).contains(&start.elapsed()));
    // It is gRPC's header: on other requests it limits nothing.
    let mut client = Client::http2(unlimited.outbound(0), "web").await;
    let mut request = client.request("GET", "/quick", "");
    request.headers_mut().insert("grpc-timeout", HeaderValue::from_static("1n"));
    assert_eq!(client.call(request).await.expect("an answer").status, 200);
}

#[tokio::test]
async fn answers_where_there_is_nobody_to_ask() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound");
    let refusing = proxy("http1", &[gone], "{connect: 1s}").await;
    refused(&refusing, (503, 14, "connect_failed"), Duration::ZERO).await;
    let refusing = proxy("grpc", &[gone], "{connect: 1s}").await;
    refused(&refusing, (503, 14, "connect_failed"), Duration::ZERO).await;
    let empty = proxy("http1", &[], "{connect: 1s}").await;
    refused(&empty, (503, 14, "no_endpoint"), Duration::ZERO).await;

    let backend = Backend::http1("web").await;
    let service = mesh::service("web", "http1", &[backend.address()]);
    let rule =
        "  - matches: [{path: {type: Exact, value: /only}}]\n    backendRefs: [{name: web, port: 80}]\n";
    let routed = Proxy::start(&mesh::pinned("web", &[&service, &mesh::route("web", rule)])).await;
    refused(&routed, (404, 12, "no_route"), Duration::ZERO).await;
    assert_eq!(backend.requests(), 0);
}

/// A proxy whose callers have [`LIMIT`] for a head.
async fn hasty() -> (Backend, Proxy) {
    let app = Backend::http1("app").await;
    let mesh = "apiVersion: outrigger.dev/v1alpha1\nkind: Mesh\nmetadata: {name: default}\n\
                spec: {limits: {headerTimeout: 300ms}}\n";
    let proxy = Proxy::start(&mesh::inbound(app.address(), "http1", &[mesh])).await;
    (app, proxy)
}

#[tokio::test]
async fn a_head_that_drips_is_cut_off() {
    let (app, proxy) = hasty().await;
    // Nothing at all; a piece of a head; a head that goes on and on; a preface alone.
    for begin in ["", "GET / HT", "GET / HTTP/1.1\r\nhost: a\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let start = Instant::now();
        let mut caller = RawClient::connect(proxy.inbound(0)).await;
        caller.send(begin).await;
        if begin.ends_with("host: a\r\n") {
            // A byte now and then does not buy time.
            for n in 0.. {
                let line = format!("x-{n}: drip\r\n");
                let silent = caller.is_silent_for(Duration::from_millis(50)).await;
                if !silent || caller.try_send(line).await.is_err() {
                    break;
                }
                assert!(start.elapsed() < LATE, "a drip keeps its connection");
            }
        }
        caller.read_to_end().await;
        let took = start.elapsed();
        assert!((LIMIT..LATE).contains(&took), "{begin:?}: after {took:?}");
        assert!(!caller.text().contains("200 OK"), "{begin:?}: {}", caller.text());
    }
    assert_eq!(app.requests(), 0);
    // One that idles between two requests may.
    let mut caller = RawClient::connect(proxy.inbound(0)).await;
    caller.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    caller.read_until("200 OK").await;
    caller.read_until("\"bodyBytes\"").await;
    caller.is_silent_for(Duration::from_millis(10)).await;
    assert!(caller.is_silent_for(LIMIT * 3).await, "{}", caller.text());
    caller.send("GET / HTTP/1.1\r\nhost: a\r\n").await;
    assert_eq!(caller.read_to_end().await.1, Ended::Fin);
}

#[tokio::test]
async fn a_header_block_that_stays_open_is_cut_off() {
    let (app, proxy) = hasty().await;
    let mut caller = RawClient::connect(proxy.inbound(0)).await;
    caller.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    caller.send([0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
    // A whole request: GET http / with authority `a`, END_STREAM and END_HEADERS, so that the connection is a good one.
    let block = [0x82, 0x86, 0x84, 0x41, 0x01, b'a'];
    caller.send([&[0, 0, 6, 1, 5, 0, 0, 0, 1], &block[..]].concat()).await;
    caller.read_until("bodyBytes").await;
    // A second one without END_HEADERS, and its CONTINUATION never comes.
    let start = Instant::now();
    caller.send([&[0, 0, 6, 1, 1, 0, 0, 0, 3], &block[..]].concat()).await;
    caller.read_to_end().await;
    let took = start.elapsed();
    assert!((LIMIT - Duration::from_millis(50)..LATE).contains(&took), "after {took:?}");
    assert_eq!(app.requests(), 1);
    assert_eq!(client::get(proxy.inbound(0), "/").await.status, 200, "others are served");
}
