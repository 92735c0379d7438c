//! Bodies while they move: gRPC in all four kinds, answers that break off, HTTP/1 and HTTP/2 joined, big bodies,
//! back-pressure, callers that close half or vanish.

use std::{io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Frame;
use outrigger_tests::{
    backend::{Answer, Backend, Fault},
    client::{Client, fed},
    grpc::{self, BIDI, CLIENT_STREAM, FAIL, GrpcClient, GrpcService, HANG, SERVER_STREAM, UNARY},
    mesh::{self, Proxy},
    raw::{RawBackend, RawClient, Reply},
    wait::{Gate, until, within},
};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
};

/// The caller's sidecar before the service's sidecar before the service.
struct Chain {
    outbound: Proxy,
    _inbound: Proxy,
}

impl Chain {
    async fn to(app: SocketAddr, protocol: &str) -> Self {
        let inbound = Proxy::start(&mesh::inbound(app, protocol, &[])).await;
        let service = mesh::service("echo", protocol, &[inbound.inbound(0)]);
        let outbound = Proxy::start(&mesh::pinned("echo", &[&service])).await;
        Self { outbound, _inbound: inbound }
    }

    fn address(&self) -> SocketAddr {
        self.outbound.outbound(0)
    }
}

async fn one_hop(app: SocketAddr, protocol: &str) -> Proxy {
    Proxy::start(&mesh::pinned("echo", &[&mesh::service("echo", protocol, &[app])])).await
}

async fn client(version: &str, to: SocketAddr) -> Client {
    match version {
        "http1" => Client::http1(to, "echo").await,
        _ => Client::http2(to, "echo").await,
    }
}

async fn backend(version: &str) -> Backend {
    match version {
        "http1" => Backend::http1("app").await,
        _ => Backend::http2("app").await,
    }
}

const VERSIONS: [&str; 2] = ["http1", "http2"];

#[tokio::test]
async fn the_four_kinds_of_grpc_call_through_both_sidecars() {
    let service = GrpcService::start().await;
    let chain = Chain::to(service.address(), "grpc").await;
    let mut client = GrpcClient::connect(chain.address(), "echo").await;

    let unary = client.call(UNARY, &["hello"]).await;
    assert_eq!((unary.messages, unary.status), (vec![Bytes::from("hello")], Some(0)));
    assert_eq!(unary.trailers["x-trailer"], "kept", "trailers of the application arrive");
    assert!(!unary.trailers_only && unary.headers.get("grpc-status").is_none());

    let many = client.call(SERVER_STREAM, &[[100u8, b'x']]).await;
    assert_eq!((many.messages.len(), many.status), (100, Some(0)), "reset: {:?}", many.reset);

    let parts = ["a", "b", "c", "", "e"];
    let joined = client.call(CLIENT_STREAM, &parts).await;
    assert_eq!((joined.messages, joined.status), (vec![Bytes::from("abce")], Some(0)));

    for code in [1, 5, 14, 16] {
        let mut failed = client.open(FAIL, &[("x-fail", &code.to_string())]).await;
        failed.finish();
        let failed = failed.end().await;
        assert_eq!((failed.status, failed.trailers_only, failed.reset), (Some(code), true, None));
    }
    let unknown = client.call("/test.Echo/Unknown", &["x"]).await;
    assert_eq!((unknown.status, unknown.trailers_only), (Some(12), true));
}

#[tokio::test]
async fn streams_play_ping_pong_side_by_side() {
    let service = GrpcService::start().await;
    let chain = Chain::to(service.address(), "grpc").await;
    let mut client = GrpcClient::connect(chain.address(), "echo").await;
    let mut calls = Vec::new();
    for n in 0..8 {
        calls.push(client.open(BIDI, &[("x-echo", &n.to_string())]).await);
    }
    // A reply must come before the next message goes: nothing on the way may wait for more.
    for round in 0..25 {
        for (n, call) in calls.iter_mut().enumerate() {
            let message = format!("{n}:{round}").repeat(1 + round * n);
            call.send(&message).await;
            assert_eq!(call.message().await.as_deref(), Some(message.as_bytes()), "call {n}, round {round}");
        }
    }
    // One that is cancelled leaves the others alone.
    calls.remove(3).cancel();
    for (n, mut call) in calls.into_iter().enumerate() {
        call.send("last").await;
        call.finish();
        let outcome = call.end().await;
        let message = outcome.messages.first().map(|message| &message[..]);
        assert_eq!((message, outcome.status), (Some(&b"last"[..]), Some(0)), "call {n}");
    }
}

#[tokio::test]
async fn the_head_of_a_stream_arrives_before_any_message() {
    let service = GrpcService::start().await;
    let chain = Chain::to(service.address(), "grpc").await;
    let mut client = GrpcClient::connect(chain.address(), "echo").await;
    let mut call = client.open(HANG, &[("x-echo", "early")]).await;
    let head = call.head().await.expect("a head");
    assert_eq!(head.headers["x-echo"], "early");
    call.cancel();
    let open = || async {
        let metrics = chain.outbound.metrics().await;
        (metrics.sum("outrigger_requests_open", &[]) == 0.0).then_some(())
    };
    until("the cancelled call to be over", open).await;
}

#[tokio::test]
async fn a_grpc_stream_that_breaks_off_ends_as_unavailable() {
    for fault in [Fault::Reset, Fault::Close, Fault::CancelStream] {
        let app = Backend::http2("app").await;
        let gate = Gate::closed();
        let held = gate.clone();
        app.answer(move |_| {
            let head = Answer::status(200).header("content-type", "application/grpc").early();
            head.then(grpc::frame("one")).then_wait(&held).then_fail(fault)
        });
        let proxy = one_hop(app.address(), "grpc").await;
        let mut client = GrpcClient::connect(proxy.outbound(0), "echo").await;
        let mut call = client.open(UNARY, &[]).await;
        call.send("hello").await;
        call.finish();
        assert_eq!(call.message().await.as_deref(), Some(&b"one"[..]), "{fault:?}");
        gate.open();
        let end = call.end().await;
        assert_eq!((end.status, end.reset), (Some(14), None), "{fault:?}: {end:?}");
        assert!(!end.trailers_only, "{fault:?}");
    }
}

#[tokio::test]
async fn an_http_answer_that_breaks_off_never_looks_complete() {
    for (caller, service) in VERSIONS.into_iter().flat_map(|a| VERSIONS.map(|b| (a, b))) {
        for fault in [Fault::Reset, Fault::Close, Fault::CancelStream] {
            let app = backend(service).await;
            let gate = Gate::closed();
            let held = gate.clone();
            app.answer(move |_| Answer::status(200).then("begun").then_wait(&held).then_fail(fault));
            let proxy = one_hop(app.address(), service).await;
            let mut client = client(caller, proxy.outbound(0)).await;
            let request = client.request("GET", "/", "");
            let mut body = within("the head", client.send(request)).await.expect("a head").into_body();
            let first = within("the first piece", body.frame()).await.expect("a piece").expect("data");
            assert_eq!(first.into_data().expect("data"), "begun", "{caller} {service} {fault:?}");
            gate.open();
            let rest = within("the end", body.collect()).await;
            assert!(rest.is_err(), "{caller} {service} {fault:?}: looks complete");
        }
    }
}

#[tokio::test]
async fn a_short_answer_never_looks_complete() {
    let short = [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n12345\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n123",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n",
    ];
    for bytes in short {
        let reply = Reply::OnceAndClose { after: b"\r\n\r\n".to_vec(), bytes: bytes.into() };
        let app = RawBackend::start(reply).await;
        let proxy = one_hop(app.address(), "http1").await;
        for caller in VERSIONS {
            let mut client = client(caller, proxy.outbound(0)).await;
            let request = client.request("GET", "/", "");
            let answer = client.call(request).await;
            assert!(answer.is_err(), "{caller} {bytes:?}: {answer:?}");
        }
        let mut raw = RawClient::connect(proxy.outbound(0)).await;
        raw.send("GET / HTTP/1.1\r\nhost: echo\r\n\r\n").await;
        raw.read_to_end().await;
        assert!(!raw.text().contains("\r\n0\r\n\r\n"), "{bytes:?}: {}", raw.text());
    }
}

#[tokio::test]
async fn bodies_flow_both_ways_at_once_between_any_versions() {
    for (caller, service) in VERSIONS.into_iter().flat_map(|a| VERSIONS.map(|b| (a, b))) {
        let app = backend(service).await;
        let chain = Chain::to(app.address(), service).await;
        let mut client = client(caller, chain.address()).await;
        let posted = client.post("/up?x=1", vec![7; 300_000]).await.json();
        let version = if service == "http1" { "HTTP/1.1" } else { "HTTP/2.0" };
        assert_eq!(
            (&posted["bodyBytes"], &posted["version"]),
            (&300_000.into(), &version.into()),
            "{caller} {service}"
        );

        app.answer(|_| Answer::echo());
        let (feed, body) = fed();
        let request = client.request("POST", "/echo", "").map(|_| body);
        let head = within("the head before the body's end", client.send(request)).await.expect("a head");
        let mut echo = head.into_body();
        for n in 0..20u8 {
            let piece = Bytes::from(vec![n; 1 + usize::from(n) * 1000]);
            within("the body to be taken", feed.send(Frame::data(piece.clone())))
                .await
                .expect("the body is read");
            let mut back = Vec::new();
            while back.len() < piece.len() {
                let frame = within("the echo", echo.frame()).await.expect("more to come").expect("whole");
                back.extend_from_slice(&frame.into_data().expect("data"));
            }
            assert_eq!(back, piece, "{caller} {service}");
        }
        drop(feed);
        let rest = within("the end", echo.collect()).await.expect("whole").to_bytes();
        assert!(rest.is_empty(), "{caller} {service}");
    }
}

#[tokio::test]
async fn answers_without_a_body_do_not_hang() {
    for (caller, service) in VERSIONS.into_iter().flat_map(|a| VERSIONS.map(|b| (a, b))) {
        let app = backend(service).await;
        app.answer(|seen| match &*seen.path {
            // hyper's HTTP/2 server would send the body of a HEAD; a good server does not.
            "/" if seen.method == "HEAD" => Answer::status(200).header("content-length", "5"),
            "/204" => Answer::status(204),
            "/304" => Answer::status(304).header("etag", "\"a\""),
            "/empty" => Answer::status(200),
            _ => Answer::text("hello"),
        });
        let chain = Chain::to(app.address(), service).await;
        let mut client = client(caller, chain.address()).await;
        let cases = [
            ("HEAD", "/", 200, ""),
            ("GET", "/204", 204, ""),
            ("GET", "/304", 304, ""),
            ("HEAD", "/304", 304, ""),
            ("GET", "/empty", 200, ""),
            ("POST", "/204", 204, ""),
            ("GET", "/", 200, "hello"),
        ];
        for (method, path, status, body) in cases {
            let request = client.request(method, path, "");
            let answer = client.call(request).await.expect("a whole answer");
            let got = (answer.status.as_u16(), answer.text());
            assert_eq!(got, (status, body.to_owned()), "{caller} {service} {method} {path}");
        }
    }
}

#[tokio::test]
async fn thirty_two_mebibytes_each_way() {
    let body: Bytes = (0..32 << 20).map(|n: u32| (n ^ (n >> 8) ^ (n >> 16)) as u8).collect();
    for version in VERSIONS {
        let app = backend(version).await;
        app.answer(|_| Answer::echo());
        let chain = Chain::to(app.address(), version).await;
        let mut client = client(version, chain.address()).await;
        let answer = client.post("/", body.clone()).await;
        assert_eq!(answer.body.len(), body.len(), "{version}");
        assert!(answer.body == body, "{version}: the bytes are others");
    }
}

/// Longer than any moment in which a machine under load does not come round to moving bytes on.
const STALLED: Duration = Duration::from_secs(1);

/// Writes until the peer takes no more for [`STALLED`], or `limit` bytes are taken; gives how many were.
async fn write_until_stalled(stream: &TcpStream, limit: usize) -> usize {
    let data = vec![b'x'; 64 << 10];
    let mut written = 0;
    while written < limit {
        match tokio::time::timeout(STALLED, stream.writable()).await {
            Err(_) => return written,
            Ok(ready) => ready.expect("an open connection"),
        }
        match stream.try_write(&data) {
            Ok(n) => written += n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => panic!("after {written} bytes: {error}"),
        }
    }
    written
}

/// What an answer or a request would have in all, and what all buffers on the way may take: the kernel's own are up to
/// 10 MiB a hop.
const OFFERED: usize = 256 << 20;
const BUFFERED: usize = 40 << 20;

#[tokio::test]
async fn a_caller_that_does_not_read_holds_the_upstream_back() {
    for caller in VERSIONS {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let proxy = one_hop(listener.local_addr().expect("bound"), "http1").await;
        let upstream = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("the proxy connects");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                assert_ne!(stream.read_buf(&mut head).await.expect("a request"), 0);
            }
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {OFFERED}\r\n\r\n");
            stream.writable().await.expect("open");
            assert_eq!(stream.try_write(answer.as_bytes()).expect("room"), answer.len());
            (write_until_stalled(&stream, OFFERED).await, stream)
        });
        let mut client = client(caller, proxy.outbound(0)).await;
        let request = client.request("GET", "/", "");
        let mut body = within("the head", client.send(request)).await.expect("a head").into_body();
        let (written, stream) = within("the upstream to be held back", upstream).await.expect("no panic");
        assert!(written < BUFFERED, "{caller}: {written} bytes taken for nobody");

        // It goes on as soon as the caller reads again.
        let more = tokio::spawn(async move { (write_until_stalled(&stream, OFFERED / 4).await, stream) });
        let mut read = 0;
        while read < written + OFFERED / 4 {
            let frame = within("more of the answer", body.frame()).await.expect("more").expect("whole");
            read += frame.into_data().expect("data").len();
        }
        let (more, _stream) = within("the writer", more).await.expect("no panic");
        assert!(more >= OFFERED / 4, "{caller}: {more}");
    }
}

#[tokio::test]
async fn an_upstream_that_does_not_read_holds_the_caller_back() {
    let gate = Gate::closed();
    let app = RawBackend::start(Reply::SilentUntil(gate.clone())).await;
    let proxy = one_hop(app.address(), "http1").await;
    let mut stream = TcpStream::connect(proxy.outbound(0)).await.expect("a connection");
    let head = format!("POST / HTTP/1.1\r\nhost: echo\r\ncontent-length: {OFFERED}\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.expect("written");
    let written = within("the caller to be held back", write_until_stalled(&stream, OFFERED)).await;
    assert!(written < BUFFERED, "{written} bytes taken for nobody");
}

#[tokio::test]
async fn a_caller_that_closed_its_half_still_gets_its_answer() {
    for service in VERSIONS {
        let app = backend(service).await;
        let gate = Gate::closed();
        let held = gate.clone();
        app.answer(move |_| Answer::text("late").hold_for(&held));
        let chain = Chain::to(app.address(), service).await;
        for request in [
            "GET / HTTP/1.1\r\nhost: echo\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: echo\r\ncontent-length: 2\r\n\r\nok",
            "POST / HTTP/1.1\r\nhost: echo\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ] {
            let before = app.requests();
            let mut caller = RawClient::connect(chain.address()).await;
            caller.send(request).await;
            caller.finish().await;
            app.wait_requests(before + 1).await;
            gate.open();
            caller.read_to_end().await;
            let text = caller.text();
            assert!(
                text.starts_with("HTTP/1.1 200 ") && text.contains("late"),
                "{service} {request:?}: {text}"
            );
        }
    }
}

#[tokio::test]
async fn a_caller_that_vanishes_cancels_what_it_asked_for() {
    // The upstream thinks: nobody writes, so only watching the caller's socket can tell.
    for side in ["outbound", "inbound"] {
        let app = RawBackend::start(Reply::Silent).await;
        let proxy = match side {
            "outbound" => one_hop(app.address(), "http1").await,
            _ => Proxy::start(&mesh::inbound(app.address(), "http1", &[])).await,
        };
        let at = if side == "outbound" { proxy.outbound(0) } else { proxy.inbound(0) };
        let came = |n: usize| {
            let app = &app;
            move || async move { (app.received().get(n).is_some_and(|got| !got.is_empty())).then_some(()) }
        };
        let ended = |n: usize| {
            let app = &app;
            move || async move { app.ended()[n] }
        };
        for (n, request) in [
            "GET / HTTP/1.1\r\nhost: echo\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: echo\r\ncontent-length: 2\r\n\r\nok",
        ]
        .into_iter()
        .enumerate()
        {
            let mut caller = RawClient::connect(at).await;
            caller.send(request).await;
            until("the request", came(n)).await;
            caller.reset();
            until("the request to be cancelled", ended(n)).await;
        }
        // An HTTP/2 caller whose connection is gone.
        let mut caller = Client::http2(at, "echo").await;
        let asked = tokio::spawn(async move {
            let request = caller.request("GET", "/", "");
            caller.send(request).await.map(|_| ())
        });
        until("the request", came(2)).await;
        asked.abort();
        until("the request to be cancelled", ended(2)).await;
    }
}
