//! Every file of `examples/` as a person runs it, through a real proxy: only the ports are others, and the services are
//! those of this test.

use std::{collections::BTreeSet, fs, path::PathBuf};

use outrigger_tests::{
    backend::{Answer as Says, Backend, Fault, Speaks},
    client::Client,
    examples::EXAMPLES,
    grpc::{GrpcClient, GrpcService, UNARY},
    proxy::Proxy,
};

/// The examples that tests of this file run.
const RUN: [&str; 8] = [
    "canary.yaml",
    "grpc.yaml",
    "kubernetes-service.yaml",
    "mesh-service.yaml",
    "mesh.yaml",
    "quickstart.yaml",
    "redirect-and-rewrite.yaml",
    "retries.yaml",
];

/// Examples that the tests of their own feature run.
const RUN_ELSEWHERE: &[(&str, &str)] = &[
    ("circuit-breaker.yaml", "circuit_breaker.rs"),
    ("concurrency.yaml", "concurrency.rs"),
    ("cors.yaml", "cors.rs"),
    ("fault-injection.yaml", "fault_injection.rs"),
    ("grpc-routes.yaml", "grpc_routes.rs"),
    ("health-checks.yaml", "health_checks.rs"),
    ("http-proxy.yaml", "interop.rs"),
    ("intercepted.yaml", "../../cli/tests/intercept.rs"),
    ("load-balancing.yaml", "load_balancing.rs"),
    ("mirror.yaml", "mirror.rs"),
    ("mtls.yaml", "mtls_modes.rs"),
    ("outlier-detection.yaml", "outlier.rs"),
    ("rate-limit.yaml", "rate_limit.rs"),
    ("session-persistence.yaml", "session_persistence.rs"),
    ("tls-outside.yaml", "tls_outside.rs"),
    ("tracing.yaml", "tracing.rs"),
    ("tcp.yaml", "tcp.rs"),
    ("tls-passthrough.yaml", "tls_route.rs"),
    ("websocket.yaml", "upgrades.rs"),
];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

/// The files as one policy, with other words for some: each must occur. Listeners get free ports.
fn policy(files: &[&str], others: &[(&str, String)]) -> String {
    let texts: Vec<String> = files
        .iter()
        .map(|file| {
            assert!(RUN.contains(file), "{file} belongs into the list of files that are run");
            fs::read_to_string(folder().join(file)).expect("the example is there")
        })
        .collect();
    let mut text = texts.join("\n---\n");
    for (word, other) in others {
        assert!(text.contains(word), "{files:?} no longer holds {word}");
        text = text.replace(word, other);
    }
    if !text.contains("admin:") {
        text = text.replacen("  outbound:\n", "  admin: {bind: \"127.0.0.1:15000\"}\n  outbound:\n", 1);
    }
    for listener in ["127.0.0.1:15001", "127.0.0.1:15000", "0.0.0.0:8080", "127.0.0.1:9000\""] {
        let quote = if listener.ends_with('"') { "\"" } else { "" };
        text = text.replace(listener, &format!("127.0.0.1:0{quote}"));
    }
    text
}

fn to(backend: &Backend) -> String {
    backend.address().to_string()
}

/// Of `count` requests, how many each backend got.
async fn shares(client: &mut Client, count: usize, backends: &[&Backend]) -> Vec<usize> {
    let before: Vec<usize> = backends.iter().map(|backend| backend.requests()).collect();
    for _ in 0..count {
        assert_eq!(client.get("/").await.status, 200);
    }
    backends.iter().zip(before).map(|(backend, before)| backend.requests() - before).collect()
}

#[test]
fn every_example_is_run() {
    let files: BTreeSet<String> = fs::read_dir(folder())
        .expect("the examples are there")
        .map(|entry| entry.expect("an example").file_name().to_string_lossy().into_owned())
        // Cases of `outrigger test` stand in a folder of their own; the tests of that command run them.
        .filter(|name| name.ends_with(".yaml"))
        .collect();
    let elsewhere = RUN_ELSEWHERE.iter().map(|(name, test)| {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests").join(test);
        let text = fs::read_to_string(path).expect("the test is there");
        assert!(text.contains(&format!("examples/{name}")), "{test} does not run {name}");
        name
    });
    let run: BTreeSet<String> = RUN.iter().chain(elsewhere).map(|name| (*name).to_owned()).collect();
    assert_eq!(files, run, "each example is run by a test; name it in this file");
    for example in EXAMPLES {
        for file in example.files {
            assert!(files.contains(*file), "{}: {file}", example.kind);
        }
        let text = fs::read_to_string(folder().join(example.files[0])).expect("the example is there");
        assert!(
            text.contains(&format!("kind: {}\n", example.kind)),
            "{} is not in its example",
            example.kind
        );
    }
}

#[tokio::test]
async fn quickstart_serves_both_sides_of_an_app() {
    let (app, one, two) =
        (Backend::http1("app").await, Backend::http1("one").await, Backend::http1("two").await);
    let places = [("127.0.0.1:3000", to(&app)), ("127.0.0.1:9001", to(&one)), ("127.0.0.1:9002", to(&two))];
    let proxy = Proxy::start(&policy(&["quickstart.yaml"], &places));
    let mut caller = Client::http1(proxy.inbound(0), "cart").await;
    assert_eq!(caller.get("/").await.header("x-backend"), "app");
    let mut app = Client::http1(proxy.outbound(0), "reviews").await;
    let got = shares(&mut app, 40, &[&one, &two]).await;
    assert!(got[0] > 0 && got[1] > 0 && got[0] + got[1] == 40, "{got:?}");
}

#[tokio::test]
async fn mesh_settings_hold_for_the_sidecar_beside_them() {
    let (app, one) = (Backend::http1("app").await, Backend::http1("one").await);
    let places = [("127.0.0.1:3000", to(&app)), ("127.0.0.1:9001", to(&one)), ("127.0.0.1:9002", to(&one))];
    let proxy = Proxy::start(&policy(&["mesh.yaml", "quickstart.yaml"], &places));
    let dump = proxy.config_dump().await.to_string();
    assert!(dump.contains("access_log"), "{dump}");
    // The one repeat that the defaults allow: of a connection that ended without an answer.
    one.answer(|seen| if seen.index == 0 { Says::fail(Fault::Reset) } else { Says::text("ok") });
    let answer = Client::http1(proxy.outbound(0), "reviews").await.get("/").await;
    assert_eq!((answer.status.as_u16(), one.requests()), (200, 2));
    // And a limit that is the built-in one too: 60 KiB of head.
    let mut client = Client::http1(proxy.outbound(0), "reviews").await;
    let mut request = client.request("GET", "/", "");
    request.headers_mut().insert("x-large", "x".repeat(62_000).parse().expect("a value"));
    assert_eq!(client.call(request).await.expect("an answer").status, 431);
}

#[tokio::test]
async fn a_mesh_service_answers_to_all_its_names_with_all_its_endpoints() {
    let (address, name) = (Backend::http1("address").await, Backend::http1("name").await);
    let by_name = format!("localhost:{}", name.address().port());
    let places = [("127.0.0.1:9001", to(&address)), ("localhost:9002", by_name)];
    let proxy = Proxy::start(&policy(&["mesh-service.yaml"], &places));
    let mut client = Client::http1(proxy.outbound(0), "reviews").await;
    outrigger_tests::wait::until("the name to be resolved", || async {
        let answer = Client::http1(proxy.outbound(0), "reviews.example.com").await.get("/").await;
        (answer.header("x-backend") == "name").then_some(())
    })
    .await;
    let got = shares(&mut client, 60, &[&address, &name]).await;
    assert!(got[0] > 0 && got[1] > 0, "{got:?}");
}

#[tokio::test]
async fn a_canary_gets_its_share_and_its_testers() {
    let (old, new) = (Backend::http1("old").await, Backend::http1("new").await);
    let proxy = Proxy::start(&policy(
        &["canary.yaml"],
        &[("127.0.0.1:9001", to(&old)), ("127.0.0.1:9002", to(&new))],
    ));
    let mut client = Client::http1(proxy.outbound(0), "reviews").await;
    // 300 throws at one in ten: five standard deviations are 26.
    let got = shares(&mut client, 300, &[&old, &new]).await;
    assert!((4..=56).contains(&got[1]) && got[0] + got[1] == 300, "{got:?}");
    assert_eq!(client.get("/").await.header("x-canary"), "10 percent");
    for _ in 0..20 {
        let mut request = client.request("GET", "/", "");
        request.headers_mut().insert("x-tester", "yes".parse().expect("a value"));
        let answer = client.call(request).await.expect("an answer");
        assert_eq!((answer.header("x-backend"), answer.header("x-canary")), ("new", ""));
    }
}

#[tokio::test]
async fn repeats_differ_by_rule() {
    let (one, two, three) = (Backend::http1("1").await, Backend::http1("2").await, Backend::http1("3").await);
    let by_name = format!("localhost:{}", three.address().port());
    let places = [("127.0.0.1:9001", to(&one)), ("127.0.0.1:9002", to(&two)), ("localhost:9003", by_name)];
    let proxy = Proxy::start(&policy(&["retries.yaml"], &places));
    for backend in [&one, &two, &three] {
        backend.answer(|_| Says::status(503));
    }
    let count = || one.requests() + two.requests() + three.requests();
    let mut client = Client::http1(proxy.outbound(0), "orders").await;
    assert_eq!(client.get("/orders/7").await.status, 503);
    assert_eq!(count(), 4, "a GET is repeated three times");
    assert_eq!(client.post("/orders", "{}").await.status, 503);
    assert_eq!(count(), 5, "a POST is not");
}

#[tokio::test]
async fn a_service_has_the_ready_endpoints_of_its_slices() {
    let (web, api) = (Backend::http1("web").await, Backend::http2("api").await);
    let port = web.address().port();
    let unready = Backend::at(([127, 0, 0, 2], port).into(), Speaks::Http1, "unready").await;
    let places =
        [("port: 9001", format!("port: {port}")), ("port: 9002", format!("port: {}", api.address().port()))];
    let proxy = Proxy::start(&policy(&["kubernetes-service.yaml"], &places));
    for (listener, host, name) in [(0, "catalog", "web"), (0, "catalog:8080", "api"), (1, "anything", "web")]
    {
        let mut client = Client::http1(proxy.outbound(listener), host).await;
        for _ in 0..10 {
            let answer = client.get("/").await;
            assert_eq!((answer.status.as_u16(), answer.header("x-backend")), (200, name), "{host}");
        }
    }
    assert_eq!((api.last().version.as_str(), unready.requests()), ("HTTP/2.0", 0));
}

#[tokio::test]
async fn redirects_and_rewrites_are_as_the_comments_say() {
    let web = Backend::http1("web").await;
    let proxy = Proxy::start(&policy(&["redirect-and-rewrite.yaml"], &[("127.0.0.1:9001", to(&web))]));
    let mut client = Client::http1(proxy.outbound(0), "reviews").await;
    let moved = client.get("/ratings/7?all=1").await;
    assert_eq!((moved.status.as_u16(), moved.header("location")), (308, "http://reviews/stars/7?all=1"));
    assert_eq!(client.get("/api/reviews/7").await.status, 200);
    assert_eq!((&*web.last().path, &*web.last().authority), ("/7", "reviews.internal"));
    assert_eq!(client.get("/other").await.status, 200);
    assert_eq!((&*web.last().path, &*web.last().authority), ("/other", "reviews"));
}

#[tokio::test]
async fn grpc_goes_both_ways() {
    let (own, other) = (GrpcService::start().await, GrpcService::start().await);
    let by_name = format!("localhost:{}", other.address().port());
    let places = [("127.0.0.1:50051", own.address().to_string()), ("localhost:50052", by_name)];
    let proxy = Proxy::start(&policy(&["grpc.yaml"], &places));
    let answer = GrpcClient::connect(proxy.inbound(0), "greeter:50051").await.call(UNARY, &["in"]).await;
    assert_eq!((answer.status, answer.messages), (Some(0), vec!["in".into()]));
    outrigger_tests::wait::until("the name to be resolved", || async {
        let mut client = GrpcClient::connect(proxy.outbound(0), "translator:50051").await;
        (client.call(UNARY, &["out"]).await.status == Some(0)).then_some(())
    })
    .await;
}

/// The policy that a page of the reference shows, for a Sidecar of the namespace `shop`.
fn page(name: &str, at: &Backend) -> String {
    let path = folder().join("../docs/reference").join(name);
    let text = fs::read_to_string(path).expect("the page is there");
    let (_, rest) = text.split_once("```yaml\n").expect("the page has a policy");
    let (policy, _) = rest.split_once("```").expect("the policy ends");
    assert!(policy.contains("127.0.0.1:9001"), "{policy}");
    let sidecar = "apiVersion: outrigger.dev/v1alpha1\nkind: Sidecar\nmetadata: {name: web, namespace: shop}\n\
                   spec: {outbound: [{bind: \"127.0.0.1:0\"}], admin: {bind: \"127.0.0.1:0\"}}\n---\n";
    format!("{sidecar}{}", policy.replace("127.0.0.1:9001", &to(at)))
}

#[tokio::test]
async fn the_routes_of_the_reference_go_where_it_says() {
    let orders = Backend::http1("orders").await;
    let proxy = Proxy::start(&page("routing.md", &orders));
    let mut client = Client::http1(proxy.outbound(0), "orders").await;
    for (method, path, rule) in [
        ("GET", "/orders/7", "by-id"),
        ("POST", "/orders/7", "by-id"),
        ("GET", "/orders", "orders"),
        ("GET", "/orders/seven", "orders"),
        ("POST", "/orders", "place"),
    ] {
        let route = format!("shop/orders/{rule}");
        let labels = [("route", &*route), ("code", "200")];
        let before = proxy.metrics().await.sum("outrigger_requests_total", &labels);
        let request = client.request(method, path, "");
        assert_eq!(client.call(request).await.expect("an answer").status, 200, "{method} {path}");
        proxy
            .wait_metrics(&format!("{method} {path} to be counted under {rule}"), |metrics| {
                metrics.sum("outrigger_requests_total", &labels) > before
            })
            .await;
    }
    let answer = client.get("/elsewhere").await;
    assert_eq!((answer.status.as_u16(), answer.header("x-outrigger-error")), (404, "no_route"));
}

#[tokio::test]
async fn the_values_of_the_reference_hold_where_it_says() {
    let orders = Backend::http1("orders").await;
    orders.answer(|_| Says::status(503));
    let proxy = Proxy::start(&page("precedence.md", &orders));
    let dump = proxy.config_dump().await;
    let routes = &dump["resources"]["destinations"][0]["ports"][0]["routes"];
    let second = |seconds: u64| serde_json::json!({"secs": seconds, "nanos": 0});
    let place = &routes[0]["settings"]["timeouts"];
    assert_eq!(routes[0]["id"]["rule"], "place", "{dump:#}");
    assert_eq!((&place["request"], &place["connect"]), (&second(30), &second(1)));
    assert!(place["attempt"].is_null(), "{place}");
    assert_eq!(routes[1]["settings"]["timeouts"]["attempt"], second(2));
    let mut client = Client::http1(proxy.outbound(0), "orders").await;
    assert_eq!(client.post("/orders", "{}").await.status, 503);
    assert_eq!(orders.requests(), 1);
    assert_eq!(client.get("/orders").await.status, 503);
    assert_eq!(orders.requests(), 4, "one try and two repeats");
}
