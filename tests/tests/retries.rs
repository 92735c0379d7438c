//! The retry law at its edges: HTTP/2 connections that are cut at any byte, every method, gRPC calls, two sidecars, other
//! endpoints, connections that the service has closed.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use outrigger_tests::{
    backend::{Answer, Backend},
    client::Client,
    fault::{Fault, FaultProxy},
    grpc::{FAIL, GrpcClient, GrpcService},
    mesh::{self, Proxy},
    raw::RawClient,
    unreachable::Refuses,
};

/// Everything that a policy can list, and more attempts than any test needs.
const ALL: &str = "attempts: 4, on: [connect-failure, refused-stream, reset, gateway-error, 5xx], \
                   backoff: {base: 1ms, max: 1ms}, budget: {percent: 100, minPerSecond: 10000}";

/// A proxy that is pinned to the Service `web` with these endpoints and this retry policy.
async fn before(protocol: &str, endpoints: &[SocketAddr], retry: &str) -> Proxy {
    let service = mesh::service("web", protocol, endpoints);
    let policy = mesh::traffic("web", &format!("  retry: {{{retry}}}\n"));
    Proxy::start(&mesh::pinned("web", &[&service, &policy])).await
}

async fn caller(proxy: &Proxy) -> Client {
    Client::http1(proxy.outbound(0), "web").await
}

/// A connection that is reset after any number of bytes of a POST: the service gets it once at most.
async fn cut_requests(backend: Backend, protocol: &str, longest: usize) {
    let relay = FaultProxy::to(backend.address()).await;
    let proxy = before(protocol, &[relay.address()], ALL).await;
    let mut client = caller(&proxy).await;
    let mut answered = 0;
    for cut in 0..longest {
        relay.set_once(Fault::ResetAfterUp(cut));
        let answer = client.post(&format!("/up/{cut}"), "a body of some bytes").await;
        if answer.status == 200 {
            answered += 1;
        } else {
            assert_eq!((answer.status.as_u16(), answer.header("x-outrigger-error")), (503, "upstream_reset"));
        }
        // Ends the connection where the cut lay behind the request, so that each cut gets one of its own.
        backend.reset_all();
        backend.wait_open_connections(0).await;
    }
    let seen = by_path(&backend);
    assert!(seen.values().all(|times| *times == 1), "sent twice: {seen:?}");
    assert!(
        answered > 0 && answered < longest,
        "{answered} of {longest}: cuts inside and behind the request"
    );
}

fn by_path(backend: &Backend) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for seen in backend.seen() {
        *times.entry(seen.path).or_default() += 1;
    }
    times
}

#[tokio::test]
async fn a_post_that_is_cut_anywhere_is_sent_once_over_http2() {
    cut_requests(Backend::http2("b").await, "http2", 330).await;
}

/// A connection that is reset after any number of bytes of the answer: a POST is not repeated, a GET is until the
/// answer has begun, and no answer that was cut looks whole.
async fn cut_answers(backend: Backend, protocol: &str) {
    backend.answer(|_| Answer::text("ten bytes."));
    let relay = FaultProxy::to(backend.address()).await;
    let proxy = before(protocol, &[relay.address()], ALL).await;
    let (mut whole, mut cut_off, mut refused) = (0, 0, 0);
    for cut in 0..160 {
        for method in ["POST", "GET"] {
            relay.set_once(Fault::ResetAfterDown(cut));
            let path = format!("/{method}/{cut}");
            let mut client = caller(&proxy).await;
            let request = client.request(method, &path, if method == "POST" { "body" } else { "" });
            match client.call(request).await {
                Ok(answer) if answer.status == 200 => {
                    assert_eq!(answer.text(), "ten bytes.", "{path}");
                    whole += 1;
                }
                Ok(answer) => {
                    assert_eq!((answer.status.as_u16(), method), (503, "POST"), "{path}: a GET is repeated");
                    refused += 1;
                }
                Err(_) => cut_off += 1,
            }
            let times = backend.requests_to(&path);
            match method {
                "POST" => assert!(times <= 1, "{path} was sent {times} times"),
                _ => assert!((1..=2).contains(&times), "{path} was sent {times} times"),
            }
            backend.reset_all();
            backend.wait_open_connections(0).await;
        }
    }
    assert!(whole > 0 && cut_off > 0 && refused > 0, "whole {whole}, cut off {cut_off}, refused {refused}");
}

#[tokio::test]
async fn an_answer_that_is_cut_anywhere_is_never_whole_over_http2() {
    cut_answers(Backend::http2("b").await, "http2").await;
}

/// A connection that was not made is work that never started: any method goes to another endpoint, at once.
#[tokio::test]
async fn a_refused_connection_goes_elsewhere_at_once() {
    let refuses = [Refuses::new(), Refuses::new()];
    for protocol in ["http1", "http2"] {
        let backend = match protocol {
            "http1" => Backend::http1("b").await,
            _ => Backend::http2("b").await,
        };
        let endpoints = [refuses[0].address(), backend.address(), refuses[1].address()];
        // With a pause before it, a repeat would take 5 s on average.
        let proxy = before(protocol, &endpoints, "backoff: {base: 10s, max: 10s}").await;
        let mut client = caller(&proxy).await;
        let start = Instant::now();
        for method in ["POST", "PATCH", "GET", "DELETE"].repeat(10) {
            let request = client.request(method, "/", "body");
            let answer = client.call(request).await.expect("an answer");
            assert_eq!(answer.status, 200, "{method}: {}", answer.text());
        }
        assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
        assert_eq!(backend.requests(), 40);
    }
}

/// Methods that may not be repeated are not, until the policy says that they may.
#[tokio::test]
async fn other_methods_are_repeated_only_where_they_are_called_idempotent() {
    let backend = Backend::http1("b").await;
    backend.answer(|_| Answer::status(503));
    for (more, twice) in [
        ("", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"].as_slice()),
        (", idempotent: true", &["POST", "PATCH", "GET"]),
    ] {
        let proxy =
            before("http1", &[backend.address()], &format!("attempts: 1, on: [gateway-error]{more}")).await;
        for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "POST", "PATCH"] {
            let mut client = caller(&proxy).await;
            let earlier = backend.requests();
            let request =
                client.request(method, "/", if method == "GET" || method == "HEAD" { "" } else { "body" });
            assert_eq!(client.call(request).await.expect("an answer").status, 503);
            let times = backend.requests() - earlier;
            let allowed = twice.contains(&method) || !more.is_empty();
            assert_eq!(times, if allowed { 2 } else { 1 }, "{method}{more}");
            assert!(backend.last().complete || backend.last().body_bytes == 0);
        }
    }
}

/// A service that says when to come again is waited for, or not asked again where the wait is too long.
#[tokio::test]
async fn retry_after_is_honoured_up_to_the_deadline() {
    let backend = Backend::http1("b").await;
    backend.answer(|seen| match seen.index {
        0 | 2 => Answer::status(503).header("retry-after", "1"),
        _ => Answer::text("ok"),
    });
    let service = mesh::service("web", "http1", &[backend.address()]);
    let policy = |request: &str| {
        let body = format!(
            "  timeouts: {{request: {request}}}\n  retry: {{attempts: 2, on: [gateway-error], backoff: {{base: 1ms}}}}\n"
        );
        mesh::pinned("web", &[&service, &mesh::traffic("web", &body)])
    };
    let proxy = Proxy::start(&policy("15s")).await;
    let start = Instant::now();
    assert_eq!(caller(&proxy).await.get("/").await.text(), "ok");
    assert!(start.elapsed() >= Duration::from_millis(990), "{:?}", start.elapsed());

    let proxy = Proxy::start(&policy("900ms")).await;
    let answer = caller(&proxy).await.get("/").await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("retry-after")),
        (503, "1"),
        "the service's own answer"
    );
    assert_eq!(backend.requests(), 3);
}

/// The callee's proxy never repeats what its app answered: whoever called does.
#[tokio::test]
async fn only_one_hop_repeats() {
    let backend = Backend::http1("b").await;
    backend.answer(|_| Answer::status(503));
    let defaults = format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: Mesh\nmetadata: {{name: default}}\nspec: {{defaults: {{retry: {{{ALL}}}}}}}\n"
    );
    let proxy = Proxy::start(&mesh::inbound(backend.address(), "http1", &[&defaults])).await;
    assert_eq!(Client::http1(proxy.inbound(0), "web").await.get("/").await.status, 503);
    assert_eq!(backend.requests(), 1);
}

/// gRPC calls are POSTs: a listed code is repeated only where the policy calls them idempotent.
#[tokio::test]
async fn a_grpc_code_is_repeated_where_calls_are_idempotent() {
    let service = GrpcService::start().await;
    for (more, calls) in [("", 1), (", idempotent: true", 3)] {
        let retry = format!("attempts: 2, on: [unavailable], backoff: {{base: 1ms}}{more}");
        let proxy = before("grpc", &[service.address()], &retry).await;
        let mut client = GrpcClient::connect(proxy.outbound(0), "web").await;
        let earlier = service.calls();
        for (code, times) in [("14", calls), ("5", 1)] {
            let earlier = service.calls();
            let mut call = client.open(FAIL, &[("x-fail", code)]).await;
            call.send("message").await;
            call.finish();
            assert_eq!(call.end().await.status.map(|code| code.to_string()).as_deref(), Some(code));
            assert_eq!(service.calls() - earlier, times, "code {code}{more}");
        }
        assert!(service.calls() > earlier);
    }
}

/// A failing endpoint is left for another one.
#[tokio::test]
async fn a_repeat_goes_to_another_endpoint() {
    let (bad, good) = (Backend::http1("bad").await, Backend::http1("good").await);
    bad.answer(|_| Answer::status(503));
    let proxy = before("http1", &[bad.address(), good.address()], "attempts: 1, on: [gateway-error]").await;
    let mut client = caller(&proxy).await;
    for _ in 0..30 {
        assert_eq!(client.get("/").await.header("x-backend"), "good");
    }
    assert!(bad.requests() > 0, "it was asked, too");
}

/// A caller that breaks its own body off is nothing to repeat for.
#[tokio::test]
async fn a_body_that_breaks_off_is_not_repeated() {
    let backend = Backend::http1("b").await;
    let proxy = before("http1", &[backend.address()], &format!("{ALL}, idempotent: true")).await;
    let mut raw = RawClient::connect(proxy.outbound(0)).await;
    raw.send("PUT /x HTTP/1.1\r\nhost: web\r\ncontent-length: 100\r\n\r\npart").await;
    backend.wait_requests(1).await;
    raw.reset();
    backend.wait_open_connections(0).await;
    assert_eq!((backend.requests(), backend.last().complete), (1, false));
}

/// A connection that the service has closed is not used for a request that cannot be repeated.
#[tokio::test]
async fn a_post_is_not_written_into_a_closed_connection() {
    let backend = Backend::http1("b").await;
    let proxy = before("http1", &[backend.address()], "attempts: 0").await;
    let mut client = caller(&proxy).await;
    for n in 0..200 {
        assert_eq!(client.post("/", "body").await.status, 200, "POST number {n}");
        backend.go_away();
        backend.wait_open_connections(0).await;
    }
    assert_eq!((backend.requests(), backend.connections()), (200, 200));
}
