//! gRPC calls through every kind of listener: the four kinds, large messages, many side by side, callers that cancel, and
//! callers and services that are not quite gRPC.

use bytes::Bytes;
use outrigger_tests::{
    backend::{Answer, Backend},
    client::Client,
    grpc::{BIDI, CLIENT_STREAM, FAIL, GrpcClient, GrpcService, SERVER_STREAM, UNARY, frame},
    mesh::{self, Proxy},
    wait::{Gate, until},
};

/// A proxy that is pinned to the gRPC Service `echo` at this address.
async fn before(at: std::net::SocketAddr, more: &[&str]) -> Proxy {
    let service = mesh::service("echo", "grpc", &[at]);
    let mut documents = vec![service.as_str()];
    documents.extend(more);
    Proxy::start(&mesh::pinned("echo", &documents)).await
}

async fn all_kinds(client: &mut GrpcClient) {
    let unary = client.call(UNARY, &["hello"]).await;
    assert_eq!((unary.status, unary.trailers_only), (Some(0), false), "{unary:?}");
    assert_eq!(unary.messages, ["hello"]);
    assert_eq!(unary.trailers["x-trailer"], "kept");

    let many = client.call(SERVER_STREAM, &[[200u8; 1000]]).await;
    assert_eq!((many.messages.len(), many.status), (200, Some(0)));

    let joined = client.call(CLIENT_STREAM, &["a", "b", "", "c"]).await;
    assert_eq!((joined.messages, joined.status), (vec![Bytes::from("abc")], Some(0)));

    // Each side waits for the other: a proxy that holds anything back would stop both for good.
    let mut bidi = client.open(BIDI, &[]).await;
    for n in 0..50 {
        let message = format!("ping {n}");
        bidi.send(&message).await;
        assert_eq!(bidi.message().await.as_deref(), Some(message.as_bytes()));
    }
    bidi.finish();
    assert_eq!(bidi.end().await.status, Some(0));

    let mut failed = client.open(FAIL, &[("x-fail", "9")]).await;
    failed.finish();
    let failed = failed.end().await;
    assert_eq!((failed.status, failed.trailers_only), (Some(9), true), "{failed:?}");
    assert!(!failed.headers.contains_key("x-outrigger-error"), "the service's own failure");
}

/// Outbound by authority and pinned; inbound with every protocol that takes HTTP/2.
#[tokio::test]
async fn the_four_kinds_of_call_pass_every_listener() {
    let service = GrpcService::start().await;
    let document = mesh::service("echo", "grpc", &[service.address()]);
    for policy in [mesh::outbound(&[&document]), mesh::pinned("echo", &[&document])] {
        let proxy = Proxy::start(&policy).await;
        all_kinds(&mut GrpcClient::connect(proxy.outbound(0), "echo").await).await;
    }
    for protocol in ["auto", "http2", "grpc"] {
        let proxy = Proxy::start(&mesh::inbound(service.address(), protocol, &[])).await;
        all_kinds(&mut GrpcClient::connect(proxy.inbound(0), "any.name").await).await;
    }
}

/// Messages larger than any window, both ways at once.
#[tokio::test]
async fn large_messages_stream_both_ways() {
    let service = GrpcService::start().await;
    let proxy = before(service.address(), &[]).await;
    let mut client = GrpcClient::connect(proxy.outbound(0), "echo").await;
    let message = vec![7u8; 3 << 20];
    let mut bidi = client.open(BIDI, &[]).await;
    bidi.send(&message).await;
    bidi.send("end").await;
    assert!(bidi.message().await.is_some_and(|got| got == message));
    assert_eq!(bidi.message().await.as_deref(), Some(&b"end"[..]));
    bidi.finish();
    assert_eq!(bidi.end().await.status, Some(0));
}

/// Many calls share one connection each way.
#[tokio::test]
async fn calls_side_by_side_do_not_wait_for_each_other() {
    let service = GrpcService::start().await;
    let proxy = before(service.address(), &[]).await;
    let mut client = GrpcClient::connect(proxy.outbound(0), "echo").await;
    let mut open = Vec::new();
    for n in 0..100 {
        let mut call = client.open(BIDI, &[]).await;
        call.send(format!("{n}")).await;
        open.push(call);
    }
    for (n, call) in open.iter_mut().enumerate().rev() {
        assert_eq!(call.message().await, Some(Bytes::from(format!("{n}"))));
    }
    for mut call in open {
        call.finish();
        assert_eq!(call.end().await.status, Some(0));
    }
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.sum("outrigger_upstream_connections_total", &[("service", "default/echo:80")]), 1.0);
}

/// A bad head from a gRPC caller is refused in gRPC's form, too.
#[tokio::test]
async fn a_bad_request_is_told_in_grpc() {
    let service = GrpcService::start().await;
    let proxy = before(service.address(), &[]).await;
    let mut client = GrpcClient::connect(proxy.outbound(0), "echo").await;
    let outcome = client.call("/test.Echo/%00", &["x"]).await;
    assert_eq!((outcome.status, outcome.trailers_only), (Some(13), true), "{outcome:?}");
}

/// A caller that cancels: the service hears it, its neighbours on the same connection do not.
#[tokio::test]
async fn a_cancelled_call_ends_at_the_service_alone() {
    let gate = Gate::closed();
    let backend = Backend::http2("b").await;
    let held = gate.clone();
    backend.answer(move |_| {
        Answer::status(200)
            .header("content-type", "application/grpc")
            .then(frame("first"))
            .then_wait(&held)
            .then(frame("second"))
            .early()
    });
    let proxy = before(backend.address(), &[]).await;
    let mut client = GrpcClient::connect(proxy.outbound(0), "echo").await;
    let mut stays = client.open(UNARY, &[]).await;
    assert_eq!(stays.message().await.as_deref(), Some(&b"first"[..]));
    for _ in 0..50 {
        let mut goes = client.open(UNARY, &[]).await;
        assert!(goes.message().await.is_some());
        goes.cancel();
    }
    until("the cancelled calls to be gone", || async {
        (proxy.metrics().await.sum("outrigger_requests_open", &[]) == 1.0).then_some(())
    })
    .await;
    gate.open();
    assert_eq!(stays.message().await.as_deref(), Some(&b"second"[..]));
    assert_eq!(backend.connections(), 1, "no cancel ended the shared connection");
}

/// An HTTP/1 caller that speaks gRPC gets its trailers after a chunked body.
#[tokio::test]
async fn an_http1_caller_gets_the_trailers() {
    let service = GrpcService::start().await;
    let proxy = before(service.address(), &[]).await;
    let mut client = Client::http1(proxy.outbound(0), "echo").await;
    let mut request = client.request("POST", UNARY, frame("over 1.1"));
    request.headers_mut().insert("content-type", "application/grpc".parse().expect("a value"));
    request.headers_mut().insert("te", "trailers".parse().expect("a value"));
    let answer = client.call(request).await.expect("an answer");
    assert_eq!((answer.status.as_u16(), answer.body), (200, frame("over 1.1")));
    assert_eq!(answer.trailers.get("grpc-status").map(|code| code.as_bytes()), Some(&b"0"[..]));
}

/// A gRPC caller whose service answers something else still gets a status that it can read the cause from.
#[tokio::test]
async fn an_http_failure_of_the_service_is_passed_on() {
    let backend = Backend::http2("b").await;
    backend.answer(|_| Answer::status(403));
    let proxy = before(backend.address(), &[]).await;
    let outcome = GrpcClient::connect(proxy.outbound(0), "echo").await.call(UNARY, &["x"]).await;
    // The status alone tells: gRPC libraries map 403 to 7 themselves.
    assert_eq!(outcome.http.map(|http| http.as_u16()), Some(403), "{outcome:?}");
}
