//! Metrics are what happened: counted once, to the last request, under names that no caller chooses.

use std::{collections::BTreeSet, net::SocketAddr};

use outrigger_proxy::telemetry::metrics::FAMILIES;
use outrigger_tests::{
    backend::{Answer, Backend, Fault},
    client::{self, Client},
    grpc::{FAIL, GrpcClient, GrpcService, UNARY},
    metrics::Metrics,
    proxy::Proxy,
    raw::RawClient,
    wait::Gate,
};

/// Listeners: inbound 0 to the app; outbound 0 by authority.
fn policy(app: SocketAddr, echo: SocketAddr, gone: SocketAddr) -> String {
    format!(
        r#"apiVersion: outrigger.dev/v1alpha1
kind: Sidecar
metadata: {{name: test, namespace: shop}}
spec:
  admin: {{bind: "127.0.0.1:0"}}
  inbound: [{{bind: "127.0.0.1:0", app: "{app}", service: {{name: web, port: 80}}}}]
  outbound: [{{bind: "127.0.0.1:0"}}]
---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {{name: web, namespace: shop}}
spec: {{ports: [{{port: 80}}], endpoints: [{{address: "{app}"}}]}}
---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {{name: gone, namespace: shop}}
spec: {{ports: [{{port: 80}}], endpoints: [{{address: "{gone}"}}]}}
---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {{name: echo, namespace: shop}}
spec: {{ports: [{{port: 80, protocol: grpc}}], endpoints: [{{address: "{echo}"}}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: web, namespace: shop}}
spec:
  parentRefs: [{{group: "", kind: Service, name: web}}]
  rules:
  - {{name: fine, matches: [{{path: {{value: /fine}}}}], backendRefs: [{{name: web, port: 80}}]}}
  - {{name: again, matches: [{{path: {{value: /again}}}}], backendRefs: [{{name: web, port: 80}}]}}
  - {{name: slow, matches: [{{path: {{value: /slow}}}}], backendRefs: [{{name: web, port: 80}}]}}
---
apiVersion: outrigger.dev/v1alpha1
kind: TrafficPolicy
metadata: {{name: again, namespace: shop}}
spec:
  targetRefs: [{{kind: HTTPRoute, name: web, sectionName: again}}]
  retry: {{attempts: 1, on: [gateway-error], backoff: {{base: 1ms, max: 1ms}}}}
---
apiVersion: outrigger.dev/v1alpha1
kind: TrafficPolicy
metadata: {{name: slow, namespace: shop}}
spec:
  targetRefs: [{{kind: HTTPRoute, name: web, sectionName: slow}}]
  timeouts: {{request: 100ms}}
---
apiVersion: outrigger.dev/v1alpha1
kind: Mesh
metadata: {{name: default}}
spec: {{egress: {{mode: Deny}}}}
"#
    )
}

/// An address on which nothing listens: bound, and not listening.
fn refusing() -> (tokio::net::TcpSocket, SocketAddr) {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let address = socket.local_addr().expect("it is bound");
    (socket, address)
}

struct Stage {
    app: Backend,
    _echo: GrpcService,
    _gone: tokio::net::TcpSocket,
    proxy: Proxy,
}

async fn stage() -> Stage {
    let app = Backend::http1("app").await;
    app.answer(|seen| match seen.path.split('?').next().unwrap_or_default() {
        // Requests come one after the other here: every other one fails.
        "/again" if seen.index % 2 == 0 => Answer::status(503),
        "/slow" => Answer::fail(Fault::Hang),
        _ => Answer::text("ok"),
    });
    let echo = GrpcService::start().await;
    let (gone_socket, gone) = refusing();
    let proxy = Proxy::start(&policy(app.address(), echo.address(), gone));
    Stage { app, _echo: echo, _gone: gone_socket, proxy }
}

const REQUESTS: &str = "outrigger_requests_total";
const ATTEMPTS: &str = "outrigger_attempts_total";

/// Metric, labels, the exact value.
type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], f64);

fn assert_rows(metrics: &Metrics, rows: &[Row<'_>]) {
    for (name, labels, value) in rows {
        assert_eq!(metrics.sum(name, labels), *value, "{name} {labels:?} in {metrics:#?}");
    }
}

#[tokio::test]
async fn metrics_match_the_traffic_to_the_last_request() {
    let Stage { app, proxy, .. } = &stage().await;
    // `/again` first, so that its failures are the requests with even numbers.
    let mut again = Client::http1(proxy.outbound(0), "web").await;
    for _ in 0..4 {
        assert_eq!(again.get("/again").await.status, 200);
    }
    assert_eq!(app.requests(), 8);
    // Many connections: both workers have a part in everything.
    let mut callers = Vec::new();
    for _ in 0..6 {
        callers.push(Client::http1(proxy.outbound(0), "web").await);
    }
    callers.push(Client::http2(proxy.outbound(0), "web").await);
    for caller in &mut callers {
        for _ in 0..5 {
            assert_eq!(caller.get("/fine?x").await.status, 200);
        }
        assert_eq!(caller.get("/else").await.status, 404);
    }
    let mut lost = Client::http1(proxy.outbound(0), "gone").await;
    for _ in 0..3 {
        assert_eq!(lost.get("/").await.status, 503);
    }
    let mut slow = Client::http1(proxy.outbound(0), "web").await;
    for _ in 0..2 {
        assert_eq!(slow.get("/slow").await.status, 504);
    }
    let mut unknown = Client::http1(proxy.outbound(0), "nobody").await;
    assert_eq!(unknown.get("/").await.status, 404);
    let mut no_host = Client::http1(proxy.outbound(0), "a b").await;
    assert_eq!(no_host.get("/").await.status, 400);
    let mut inbound = Client::http1(proxy.inbound(0), "anything").await;
    for _ in 0..9 {
        assert_eq!(inbound.post("/in", "12345").await.status, 200);
    }
    let mut grpc = GrpcClient::connect(proxy.outbound(0), "echo").await;
    for _ in 0..5 {
        assert_eq!(grpc.call(UNARY, &["hello"]).await.status, Some(0));
    }
    let mut failing = grpc.open(FAIL, &[("x-fail", "5")]).await;
    failing.finish();
    assert_eq!(failing.end().await.status, Some(5));

    let all = 4 + 7 * 6 + 3 + 2 + 1 + 1 + 9 + 6;
    let metrics = proxy
        .wait_metrics("all requests to be counted", |metrics| metrics.sum(REQUESTS, &[]) >= f64::from(all))
        .await;
    assert_rows(
        &metrics,
        &[
            (REQUESTS, &[], f64::from(all)),
            (REQUESTS, &[("route", "shop/web/again"), ("code", "200"), ("flag", "-")], 4.0),
            (REQUESTS, &[("route", "shop/web/fine"), ("code", "200"), ("flag", "-")], 35.0),
            (REQUESTS, &[("service", "shop/web:80"), ("code", "404"), ("flag", "NR")], 7.0),
            (REQUESTS, &[("service", "shop/gone:80"), ("code", "503"), ("flag", "UF")], 3.0),
            (REQUESTS, &[("route", "shop/web/slow"), ("code", "504"), ("flag", "UT")], 2.0),
            (REQUESTS, &[("service", "egress"), ("code", "404"), ("flag", "NR")], 1.0),
            (REQUESTS, &[("side", "outbound"), ("code", "400"), ("flag", "DPE")], 1.0),
            (REQUESTS, &[("side", "inbound"), ("service", "shop/web:80"), ("code", "200")], 9.0),
            (REQUESTS, &[("service", "shop/echo:80"), ("code", "200"), ("flag", "-")], 6.0),
            ("outrigger_request_duration_seconds_count", &[], f64::from(all)),
            ("outrigger_request_duration_seconds_count", &[("route", "shop/web/fine")], 35.0),
            ("outrigger_requests_open", &[], 0.0),
            (ATTEMPTS, &[("service", "shop/web:80"), ("outcome", "success")], 4.0 + 35.0 + 9.0),
            (ATTEMPTS, &[("service", "shop/web:80"), ("outcome", "http_5xx")], 4.0),
            (ATTEMPTS, &[("service", "shop/web:80"), ("outcome", "request_timeout")], 2.0),
            (ATTEMPTS, &[("service", "shop/gone:80"), ("outcome", "connect_failed")], 6.0),
            (ATTEMPTS, &[("service", "shop/echo:80"), ("outcome", "success")], 5.0),
            (ATTEMPTS, &[("service", "shop/echo:80"), ("outcome", "grpc_error")], 1.0),
            ("outrigger_attempt_duration_seconds_count", &[("service", "shop/gone:80")], 6.0),
            ("outrigger_retries_total", &[("service", "shop/web:80"), ("reason", "gateway-error")], 4.0),
            ("outrigger_retries_total", &[("service", "shop/gone:80"), ("reason", "connect-failure")], 3.0),
            ("outrigger_retries_total", &[], 7.0),
            ("outrigger_retries_denied_total", &[("service", "shop/gone:80"), ("reason", "attempts")], 3.0),
            ("outrigger_upstream_connect_failures_total", &[("service", "shop/gone:80")], 6.0),
            ("outrigger_upstream_connections_total", &[("service", "shop/web:80")], app.connections() as f64),
            ("outrigger_downstream_connections_total", &[("side", "inbound")], 1.0),
            ("outrigger_downstream_connections_total", &[("side", "outbound")], 13.0),
            ("outrigger_downstream_connections_open", &[("side", "outbound")], 13.0),
            ("outrigger_config_generation", &[], 1.0),
            ("outrigger_config_rejections_total", &[], 0.0),
            ("outrigger_downstream_parse_errors_total", &[], 0.0),
        ],
    );
    // The two requests that ran into their timeout took at least that long.
    assert!(metrics.sum("outrigger_request_duration_seconds_sum", &[("route", "shop/web/slow")]) >= 0.2);
    drop((again, callers, lost, slow, unknown, no_host, inbound, grpc));
    proxy
        .wait_metrics("all connections to end", |metrics| {
            metrics.sum("outrigger_downstream_connections_open", &[]) == 0.0
        })
        .await;
}

#[tokio::test]
async fn what_is_open_is_shown_and_a_caller_that_goes_is_499() {
    let Stage { app, proxy, .. } = &stage().await;
    let gate = Gate::closed();
    let held = gate.clone();
    app.answer(move |_| Answer::text("late").hold_for(&held));
    let mut waiting = RawClient::connect(proxy.outbound(0)).await;
    waiting.send("GET /fine HTTP/1.1\r\nhost: web\r\n\r\n").await;
    let mut stream = Client::http2(proxy.outbound(0), "web").await;
    let request = stream.request("GET", "/fine", "");
    let second = tokio::spawn(async move { stream.call(request).await });
    app.wait_requests(2).await;
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.sum("outrigger_requests_open", &[("route", "shop/web/fine")]), 2.0);
    let services = client::get(proxy.admin(), "/services").await.json();
    let open_now: u64 = services.to_string().matches("\"requests_open\":").count() as u64;
    assert!(open_now > 0, "{services:#}");

    // A FIN alone would be half a close, and the answer still wanted.
    waiting.reset();
    second.abort();
    let gone = [("code", "499"), ("flag", "DC"), ("route", "shop/web/fine")];
    let metrics = proxy
        .wait_metrics("callers that went to be counted", |metrics| metrics.sum(REQUESTS, &gone) == 2.0)
        .await;
    assert_eq!(metrics.sum("outrigger_requests_open", &[]), 0.0);
    assert_eq!(metrics.sum(REQUESTS, &[]), 2.0, "each request once");
    gate.open();
}

#[tokio::test]
async fn bytes_that_are_no_request_are_counted_by_reason() {
    let Stage { app, proxy, .. } = &stage().await;
    let many: String = (0..200).map(|index| format!("x-{index}: y\r\n")).collect();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let bad_frame: &[u8] = &[0, 0, 4, 0x03, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let cases: [(Vec<u8>, &str); 5] = [
        (b"GET / HTTP/1.1\r\nhost: web\r\nbad header\r\n\r\n".to_vec(), "malformed"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), "not_http"),
        (format!("GET / HTTP/1.1\r\nhost: web\r\n{many}\r\n").into_bytes(), "head_too_large"),
        (b"GET / HTTP/1.1\r\nhost: we".to_vec(), "incomplete"),
        ([&preface[..], &[0, 0, 0, 4, 0, 0, 0, 0, 0], bad_frame].concat(), "http2"),
    ];
    for (bytes, reason) in cases {
        let mut client = RawClient::connect(proxy.outbound(0)).await;
        let _ = client.try_send(&bytes).await;
        if reason == "incomplete" {
            client.finish().await;
        }
        client.read_to_end().await;
        let labels = [("reason", reason)];
        proxy
            .wait_metrics(&format!("{reason} to be counted"), |metrics| {
                metrics.sum("outrigger_downstream_parse_errors_total", &labels) == 1.0
            })
            .await;
    }
    // A connection on which nothing was sent is no error, nor one that ends between requests.
    drop(RawClient::connect(proxy.outbound(0)).await);
    let mut client = Client::http1(proxy.outbound(0), "web").await;
    assert_eq!(client.get("/fine").await.status, 200);
    drop(client);
    let metrics = proxy
        .wait_metrics("all connections to end", |metrics| {
            metrics.sum("outrigger_downstream_connections_open", &[]) == 0.0
        })
        .await;
    assert_eq!(metrics.sum("outrigger_downstream_parse_errors_total", &[]), 5.0, "{metrics:#?}");
    assert_eq!(app.requests(), 1);
}

#[tokio::test]
async fn no_series_comes_from_what_a_caller_writes() {
    let Stage { proxy, .. } = &stage().await;
    let mut caller = Client::http1(proxy.outbound(0), "web").await;
    let series = |metrics: &Metrics| {
        let families = FAMILIES.iter().flat_map(|family| {
            let names = ["", "_bucket", "_sum", "_count"].map(|end| format!("{}{end}", family.name));
            let of = |name: &String| {
                let found: Vec<String> =
                    metrics.find(name, &[]).map(|sample| format!("{name}{:?}", sample.labels)).collect();
                found
            };
            names.iter().flat_map(of).collect::<Vec<_>>()
        });
        families.collect::<BTreeSet<String>>()
    };
    let ask = async |caller: &mut Client, mark: &str| {
        for (host, path) in [("web", "/fine"), ("web", "/nothing"), ("unknown", "/")] {
            let mut request = caller.request("GET", &format!("{path}?{mark}"), "");
            let host = if host == "web" { host.to_owned() } else { format!("{mark}.example.com") };
            let headers = request.headers_mut();
            headers.insert("host", host.parse().expect("a value"));
            for name in ["user-agent", "x-request-id", "x-forwarded-for", "x-outrigger-route", "referer"] {
                headers.insert(name, mark.parse().expect("a value"));
            }
            caller.call(request).await.expect("an answer");
        }
        // A method of the caller's own.
        let mut request = caller.request("GET", "/fine", "");
        *request.method_mut() = http::Method::from_bytes(mark.to_uppercase().as_bytes()).expect("a method");
        caller.call(request).await.expect("an answer");
    };
    ask(&mut caller, "mark0").await;
    let metrics = proxy.wait_metrics("the first to be counted", |m| m.sum(REQUESTS, &[]) == 4.0).await;
    let before = series(&metrics);
    for index in 1..20 {
        ask(&mut caller, &format!("mark{index}")).await;
    }
    let metrics = proxy.wait_metrics("all to be counted", |m| m.sum(REQUESTS, &[]) == 80.0).await;
    let after = series(&metrics);
    let grown: Vec<_> = after.difference(&before).filter(|line| !line.contains("_bucket")).collect();
    assert!(grown.is_empty(), "{grown:#?}");
    let page = client::get(proxy.admin(), "/metrics").await.text().to_lowercase();
    assert!(!page.contains("mark"), "{page}");
    for family in FAMILIES.iter().filter(|family| metrics.has(family.name)) {
        assert!(page.contains(&format!("# help {} ", family.name)), "{}", family.name);
    }
}
