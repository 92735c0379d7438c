//! Faults that policy makes on purpose, through a real proxy: what callers get, that no service is asked or blamed, and
//! who may ask for one.

use std::time::{Duration, Instant};

use outrigger_tests::{
    backend::{Answer, Backend},
    client::{self, Client},
    grpc::{GrpcClient, GrpcService, UNARY},
    mesh::{self, Proxy},
};

const ROUTE: &str = "  - name: one
    matches: [{path: {value: /one}}]
    backendRefs: [{name: web, port: 80}]
  - name: rest
    backendRefs: [{name: web, port: 80}]
";

/// A proxy pinned to `web`, with `fault` of its TrafficPolicy, and these documents.
async fn before(backend: &Backend, fault: &str, more: &[&str]) -> Proxy {
    let service = mesh::service("web", "http1", &[backend.address()]);
    let policy = mesh::traffic("web", fault);
    let documents: Vec<&str> = [service.as_str(), &policy].into_iter().chain(more.iter().copied()).collect();
    Proxy::start(&mesh::pinned("web", &documents)).await
}

async fn ok() -> Backend {
    let backend = Backend::http1("web").await;
    backend.answer(|_| Answer::text("ok"));
    backend
}

fn is(answer: &client::Answer) -> (u16, &str) {
    (answer.status.as_u16(), answer.header("x-outrigger-error"))
}

/// GET `/` with `x-fault` and this value.
async fn asking(client: &mut Client, value: &str) -> client::Answer {
    let mut request = client.request("GET", "/", "");
    request.headers_mut().insert("x-fault", value.parse().unwrap());
    client.call(request).await.unwrap()
}

#[tokio::test]
async fn an_abort_is_answered_here_and_blamed_on_nobody() {
    let backend = ok().await;
    let policy = "  retry: {attempts: 3, on: [5xx, gateway-error]}\n  fault: {abort: {status: 503}}\n";
    let proxy = before(&backend, policy, &[]).await;
    for version in ["http1", "http2"] {
        let mut client = match version {
            "http1" => Client::http1(proxy.outbound(0), "web").await,
            _ => Client::http2(proxy.outbound(0), "web").await,
        };
        assert_eq!(is(&client.get("/").await), (503, "fault_injected"), "{version}");
        assert_eq!(is(&client.post("/", "a body").await), (503, "fault_injected"), "{version}");
    }
    assert_eq!(backend.requests(), 0);
    let metrics = proxy.metrics().await;
    assert_eq!(
        metrics.sum("outrigger_faults_total", &[("service", "default/web:80"), ("kind", "abort")]),
        4.0
    );
    assert_eq!(metrics.sum("outrigger_requests_total", &[("code", "503"), ("flag", "FI")]), 4.0);
    for nothing in ["outrigger_attempts_total", "outrigger_retries_total", "outrigger_retries_denied_total"] {
        assert!(!metrics.has(nothing), "{nothing}");
    }
}

#[tokio::test]
async fn a_delay_comes_first_and_its_request_goes_on() {
    let backend = ok().await;
    let proxy = before(&backend, "  fault: {delay: {duration: 120ms}}\n", &[]).await;
    let mut client = Client::http1(proxy.outbound(0), "web").await;
    let start = Instant::now();
    assert_eq!(client.post("/", "a body").await.text(), "ok");
    assert!(start.elapsed() >= Duration::from_millis(120), "{:?}", start.elapsed());
    assert_eq!(backend.last().body_bytes, 6);
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.sum("outrigger_faults_total", &[("kind", "delay")]), 1.0);
    assert_eq!(metrics.sum("outrigger_requests_total", &[("code", "200"), ("flag", "DI")]), 1.0);
}

#[tokio::test]
async fn a_delay_counts_in_the_time_of_the_request() {
    let backend = ok().await;
    let policy = "  timeouts: {request: 80ms}\n  fault: {delay: {duration: 1h}, abort: {status: 503}}\n";
    let proxy = before(&backend, policy, &[]).await;
    let mut client = Client::http1(proxy.outbound(0), "web").await;
    assert_eq!(is(&client.get("/").await), (504, "request_timeout"));
    assert_eq!(backend.requests(), 0);
}

#[tokio::test]
async fn a_share_of_the_requests_gets_one() {
    let backend = ok().await;
    let proxy = before(&backend, "  fault: {abort: {percent: 25, status: 418}}\n", &[]).await;
    let mut client = Client::http1(proxy.outbound(0), "web").await;
    let mut aborted = 0;
    for _ in 0..1000 {
        aborted += usize::from(client.get("/").await.status == 418);
    }
    // Five standard deviations on either side.
    assert!((180..=320).contains(&aborted), "{aborted} of 1000");
    assert_eq!(backend.requests(), 1000 - aborted);
}

#[tokio::test]
async fn a_grpc_caller_gets_trailers_only() {
    let service = GrpcService::start().await;
    let documents = mesh::service("echo", "grpc", &[service.address()]);
    for (fault, code) in [("grpcStatus: 8", 8), ("status: 504", 14), ("status: 403", 7)] {
        let policy = mesh::traffic("echo", &format!("  fault: {{abort: {{{fault}}}}}\n"));
        let proxy = Proxy::start(&mesh::pinned("echo", &[&documents, &policy])).await;
        let mut client = GrpcClient::connect(proxy.outbound(0), "echo").await;
        let outcome = client.call(UNARY, &["hello"]).await;
        assert_eq!((outcome.status, outcome.trailers_only), (Some(code), true), "{fault}");
        assert_eq!(outcome.http.map(|status| status.as_u16()), Some(200));
        assert_eq!(outcome.headers["x-outrigger-error"], "fault_injected");
        // The same fault for a caller that speaks no gRPC.
        let plain = Client::http2(proxy.outbound(0), "echo").await.get("/").await;
        let status = match fault {
            "grpcStatus: 8" => 429,
            "status: 504" => 504,
            _ => 403,
        };
        assert_eq!(is(&plain), (status, "fault_injected"));
    }
    assert_eq!(service.calls(), 0);
}

#[tokio::test]
async fn a_request_may_ask_for_a_fault_where_policy_lets_it() {
    let (backend, shadow) = (ok().await, ok().await);
    let copies = "  - filters: [{type: RequestMirror, requestMirror: {backendRef: {name: shadow, port: 80}}}]
    backendRefs: [{name: web, port: 80}]
";
    let (mirror, route) = (mesh::service("shadow", "http1", &[shadow.address()]), mesh::route("web", copies));
    let policy = "  fault: {header: x-fault, maxDelay: 100ms}\n";
    let proxy = before(&backend, policy, &[&mirror, &route]).await;
    let mut client = Client::http1(proxy.outbound(0), "web").await;
    assert_eq!(client.get("/").await.text(), "ok", "who asks for nothing gets none");
    assert_eq!(is(&asking(&mut client, "abort=404").await), (404, "fault_injected"));
    assert_eq!(is(&asking(&mut client, "later").await), (400, "invalid_fault"));
    let start = Instant::now();
    assert_eq!(asking(&mut client, "delay=1h").await.text(), "ok");
    assert!(start.elapsed() >= Duration::from_millis(100), "cut to the longest: {:?}", start.elapsed());
    shadow.wait_requests(2).await;
    for seen in [backend.seen(), shadow.seen()].concat() {
        assert_eq!(seen.header("x-fault"), "", "taken off before anybody else sees it");
    }
    assert_eq!(backend.requests(), 2);
}

#[tokio::test]
async fn nobody_can_ask_where_policy_says_nothing() {
    let backend = ok().await;
    let proxy = before(&backend, "  timeouts: {request: 10s}\n", &[]).await;
    let mut client = Client::http1(proxy.outbound(0), "web").await;
    assert_eq!(asking(&mut client, "abort=503").await.text(), "ok");
    assert_eq!(backend.last().header("x-fault"), "abort=503", "a header as any other");
}

#[tokio::test]
async fn the_closest_policy_says_each_part() {
    let backend = ok().await;
    let route = mesh::route("web", ROUTE);
    let of_rule = "apiVersion: outrigger.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: one}\nspec:\n  \
                   targetRefs: [{kind: HTTPRoute, name: web, sectionName: one}]\n  fault: {abort: null}\n";
    let mesh_wide = "apiVersion: outrigger.dev/v1alpha1\nkind: Mesh\nmetadata: {name: default}\nspec:\n  defaults: \
                     {fault: {delay: {duration: 60ms}, abort: {percent: 100, status: 500}}}\n";
    let policy = "  fault: {abort: {status: 429}}\n";
    let proxy = before(&backend, policy, &[&route, of_rule, mesh_wide]).await;
    let mut client = Client::http1(proxy.outbound(0), "web").await;
    let start = Instant::now();
    assert_eq!(client.get("/one").await.text(), "ok", "the rule takes the abort away");
    assert_eq!(is(&client.get("/").await), (429, "fault_injected"), "the Service's own status");
    assert!(start.elapsed() >= Duration::from_millis(120), "the mesh's delay holds for both");
}

/// What a Service's callers do to its requests is nothing that its own proxy does again.
#[tokio::test]
async fn the_callee_makes_no_faults() {
    let backend = ok().await;
    let service = mesh::service("web", "http1", &[backend.address()]);
    let policy = mesh::traffic("web", "  fault: {abort: {status: 503}}\n");
    let text = mesh::inbound(backend.address(), "http1", &[&service, &policy]);
    let named = text.replacen("protocol: http1}", "protocol: http1, service: {name: web, port: 80}}", 1);
    let proxy = Proxy::start(&named).await;
    assert_eq!(Client::http1(proxy.inbound(0), "web").await.get("/").await.text(), "ok");
}

/// Destinations that no Service names have the mesh's faults.
#[tokio::test]
async fn egress_has_the_defaults_of_the_mesh() {
    let backend = ok().await;
    let mesh_wide = "apiVersion: outrigger.dev/v1alpha1\nkind: Mesh\nmetadata: {name: default}\nspec:\n  defaults: \
                     {fault: {abort: {percent: 50, status: 500}}}\n";
    let proxy = Proxy::start(&mesh::outbound(&[mesh_wide])).await;
    let mut client = Client::http1(proxy.outbound(0), &backend.address().to_string()).await;
    let mut aborted = 0;
    for _ in 0..200 {
        aborted += usize::from(client.get("/").await.status == 500);
    }
    assert!((60..=140).contains(&aborted), "each draws for itself: {aborted} of 200");
}

/// `examples/fault-injection.yaml`, with a service behind it.
#[tokio::test]
async fn the_example_does_what_it_says() {
    let backend = ok().await;
    let proxy =
        Proxy::start(&mesh::example("fault-injection.yaml", &[("127.0.0.1:9001", backend.address())])).await;
    let mut client = Client::http1(proxy.outbound(0), "reviews").await;
    for _ in 0..300 {
        assert_eq!(client.get("/healthz").await.text(), "ok", "left alone");
    }
    assert_eq!(is(&asking(&mut client, "abort=503").await), (503, "fault_injected"));
    let mut aborted = 0;
    for _ in 0..300 {
        aborted += usize::from(client.get("/").await.status == 503);
    }
    // One in a hundred: more than 20 of 300 come once in ten billion runs.
    assert!(aborted <= 20, "{aborted}");
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.sum("outrigger_faults_total", &[("kind", "abort")]), aborted as f64 + 1.0);
}
