//! Rate limits before a service, through a real proxy: exact counts whatever the workers do, whose requests are counted
//! together, what callers are told, and that a reload forgets nothing.

use std::net::SocketAddr;

use outrigger_proxy::app::Options;
use outrigger_tests::{
    backend::{Answer, Backend},
    client::{self, Client},
    grpc::{GrpcClient, GrpcService, UNARY},
    mesh::{self, Proxy},
    wait::until,
};

/// So slow that nothing flows back while a test runs.
const DAY: &str = "requests: 1, per: 24h";

async fn ok() -> Backend {
    let backend = Backend::http1("web").await;
    backend.answer(|_| Answer::text("ok"));
    backend
}

/// The policy of a proxy before the app, which is the Service `web`, with these documents.
fn policy(app: SocketAddr, protocol: &str, documents: &[&str]) -> String {
    let service = mesh::service("web", protocol, &[app]);
    let documents: Vec<&str> = [service.as_str()].into_iter().chain(documents.iter().copied()).collect();
    let text = mesh::inbound(app, protocol, &documents);
    let named = format!("protocol: {protocol}, service: {{name: web, port: 80}}}}");
    text.replacen(&format!("protocol: {protocol}}}"), &named, 1)
}

/// A TrafficPolicy `web` with this limit.
fn limit(body: &str) -> String {
    mesh::traffic("web", &format!("  rateLimit: {{{body}}}\n"))
}

/// A TrafficPolicy for the whole namespace, with this limit.
fn for_all(body: &str) -> String {
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{name: all}}\nspec:\n  rateLimit: {body}\n"
    )
}

fn defaults(body: &str) -> String {
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: Mesh\nmetadata: {{name: default}}\nspec: {{defaults: {{rateLimit: {{{body}}}}}}}\n"
    )
}

/// How many of `count` requests pass, one after the other; all others are refused by a limit.
async fn passed(client: &mut Client, count: usize, user: Option<&str>) -> usize {
    let mut passed = 0;
    for _ in 0..count {
        let mut request = client.request("GET", "/", "");
        if let Some(user) = user {
            request.headers_mut().insert("x-user", user.parse().unwrap());
        }
        let answer = client.call(request).await.unwrap();
        match answer.status.as_u16() {
            200 => passed += 1,
            _ => assert_eq!(refused(&answer), (429, "rate_limited")),
        }
    }
    passed
}

fn refused(answer: &client::Answer) -> (u16, &str) {
    (answer.status.as_u16(), answer.header("x-outrigger-error"))
}

/// The workers share one count, and share it exactly.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_as_the_limit_pass_whatever_the_workers_do() {
    let app = ok().await;
    let text = policy(app.address(), "http1", &[&limit(&format!("{DAY}, burst: 100"))]);
    let proxy = Proxy::with(&text, |options| Options { workers: Some(4), ..options }).await.unwrap();
    let callers: Vec<_> = (0..40)
        .map(|_| {
            let to = proxy.inbound(0);
            tokio::spawn(async move { passed(&mut Client::http1(to, "web").await, 10, None).await })
        })
        .collect();
    let mut sum = 0;
    for caller in callers {
        sum += caller.await.expect("no panic");
    }
    assert_eq!((sum, app.requests()), (100, 100), "of 400");
    let metrics = proxy.metrics().await;
    let count = |outcome| {
        metrics.sum("outrigger_rate_limit_requests_total", &[("policy", "default/web"), ("outcome", outcome)])
    };
    assert_eq!((count("allowed"), count("refused")), (100.0, 300.0));
    assert_eq!(metrics.sum("outrigger_requests_total", &[("code", "429"), ("flag", "RL")]), 300.0);
}

#[tokio::test]
async fn requests_flow_back_evenly() {
    let app = ok().await;
    let proxy =
        Proxy::start(&policy(app.address(), "http1", &[&limit("requests: 4, per: 1s, burst: 2")])).await;
    let mut client = Client::http1(proxy.inbound(0), "web").await;
    let start = std::time::Instant::now();
    let mut sum = 0;
    while sum < 5 {
        sum += passed(&mut client, 1, None).await;
    }
    // Two at once, then one each 250 ms: the fifth comes after 750 ms, and not before.
    assert!(start.elapsed().as_millis() >= 740, "{:?}", start.elapsed());
}

#[tokio::test]
async fn callers_are_told_apart_by_a_header() {
    let app = ok().await;
    let by_user = limit(&format!("{DAY}, burst: 3, by: {{header: X-User}}"));
    let proxy = Proxy::start(&policy(app.address(), "http1", &[&by_user])).await;
    let mut client = Client::http1(proxy.inbound(0), "web").await;
    assert_eq!(passed(&mut client, 5, Some("ann")).await, 3);
    assert_eq!(passed(&mut client, 5, Some("bob")).await, 3);
    assert_eq!(passed(&mut client, 5, None).await, 3, "who names nobody shares one count");
    assert_eq!(passed(&mut client, 1, Some("ann")).await, 0);
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.sum("outrigger_rate_limit_callers", &[("service", "default/web")]), 2.0);
}

/// Ten thousand callers have counts of their own; from then on newcomers share one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_callers_ends_in_one_count() {
    let app = ok().await;
    let by_user = limit(&format!("{DAY}, burst: 1, by: {{header: x-user}}"));
    let proxy = Proxy::start(&policy(app.address(), "http1", &[&by_user])).await;
    let first = Client::http2(proxy.inbound(0), "web").await;
    let floods: Vec<_> = (0..50)
        .map(|flood| {
            let mut client = first.share();
            tokio::spawn(async move {
                let mut sum = 0;
                for user in 0..200 {
                    sum += passed(&mut client, 1, Some(&format!("{flood}-{user}"))).await;
                }
                sum
            })
        })
        .collect();
    let mut sum = 0;
    for flood in floods {
        sum += flood.await.expect("no panic");
    }
    assert_eq!(sum, 10_000, "each is the first request of its caller");
    let mut client = first.share();
    assert_eq!(passed(&mut client, 1, Some("late")).await, 1, "the first of the rest");
    assert_eq!(passed(&mut client, 1, Some("later")).await, 0, "which share one count");
    assert_eq!(passed(&mut client, 1, Some("3-7")).await, 0, "an early caller still has its own");
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.sum("outrigger_rate_limit_callers", &[]), 10_000.0);
    assert_eq!(metrics.sum("outrigger_rate_limit_requests_total", &[("outcome", "overflow")]), 2.0);
}

#[tokio::test]
async fn callers_are_told_when_to_come_again() {
    let app = ok().await;
    app.answer(|_| Answer::text("ok").header("ratelimit-policy", "\"app\";q=9"));
    let text = policy(app.address(), "http1", &[&limit("requests: 2, per: 10s, by: sourceIp")]);
    let proxy = Proxy::start(&text).await;
    for version in ["http1", "http2"] {
        let proxy = if version == "http1" { &proxy } else { &Proxy::start(&text).await };
        let mut client = match version {
            "http1" => Client::http1(proxy.inbound(0), "web").await,
            _ => Client::http2(proxy.inbound(0), "web").await,
        };
        let first = client.get("/").await;
        let of = |answer: &client::Answer, name| {
            let values = answer.headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned());
            values.collect::<Vec<_>>()
        };
        assert_eq!(
            of(&first, "ratelimit-policy"),
            ["\"app\";q=9", "\"source-ip\";q=2;w=10"],
            "the app's stays"
        );
        assert_eq!(of(&first, "ratelimit"), ["\"source-ip\";r=1;t=5"]);
        client.get("/").await;
        let refused = client.get("/").await;
        assert_eq!(refused.status, 429);
        assert_eq!(of(&refused, "ratelimit-policy"), ["\"source-ip\";q=2;w=10"]);
        assert_eq!(of(&refused, "ratelimit"), ["\"source-ip\";r=0;t=5"]);
        assert_eq!(refused.header("retry-after"), "5");
        // A POST whose body nobody reads ends the same way.
        assert_eq!(client.post("/", vec![b'x'; 100_000]).await.status, 429);
    }
}

#[tokio::test]
async fn a_grpc_caller_gets_its_code_and_a_pushback() {
    let service = GrpcService::start().await;
    let proxy = Proxy::start(&policy(service.address(), "grpc", &[&limit("requests: 1, per: 1h")])).await;
    let mut client = GrpcClient::connect(proxy.inbound(0), "web").await;
    assert_eq!(client.call(UNARY, &["hello"]).await.status, Some(0));
    let outcome = client.call(UNARY, &["hello"]).await;
    assert_eq!((outcome.status, outcome.trailers_only), (Some(8), true));
    let millis: u64 = outcome.headers["grpc-retry-pushback-ms"].to_str().unwrap().parse().unwrap();
    assert!((3_500_000..=3_600_000).contains(&millis), "{millis}");
    assert_eq!(outcome.headers["x-outrigger-error"], "rate_limited");
    assert_eq!(service.calls(), 1);
}

#[tokio::test]
async fn a_reload_forgets_nothing() {
    let app = ok().await;
    let by_user = limit(&format!("{DAY}, burst: 2, by: {{header: x-user}}"));
    let proxy = Proxy::start(&policy(app.address(), "http1", &[&by_user])).await;
    let mut client = Client::http1(proxy.inbound(0), "web").await;
    assert_eq!(passed(&mut client, 3, Some("ann")).await, 2);
    assert_eq!(passed(&mut client, 1, Some("bob")).await, 1);
    // Something else changes, and the limit moves to another line.
    let more = mesh::traffic(
        "web",
        &format!("  timeouts: {{request: 7s}}\n  rateLimit: {{{DAY}, burst: 2, by: {{header: x-user}}}}\n"),
    );
    proxy.reload(&policy(app.address(), "http1", &[&more])).await;
    assert_eq!(passed(&mut client, 2, Some("ann")).await, 0);
    assert_eq!(passed(&mut client, 3, Some("bob")).await, 1, "one was left");
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.sum("outrigger_rate_limit_requests_total", &[("outcome", "allowed")]), 4.0);
    // What allows something else starts anew.
    proxy.reload(&policy(app.address(), "http1", &[&limit(&format!("{DAY}, burst: 1"))])).await;
    assert_eq!(passed(&mut client, 3, Some("ann")).await, 1);
    proxy.reload(&policy(app.address(), "http1", &[])).await;
    assert_eq!(passed(&mut client, 3, Some("ann")).await, 3);
}

#[tokio::test]
async fn limits_of_a_service_and_of_its_namespace_all_count() {
    let app = ok().await;
    let by_user = limit(&format!("{DAY}, burst: 3, by: {{header: x-user}}"));
    let mesh_wide = defaults(&format!("{DAY}, burst: 1"));
    let all = for_all(&format!("{{{DAY}, burst: 5}}"));
    let proxy = Proxy::start(&policy(app.address(), "http1", &[&by_user, &all, &mesh_wide])).await;
    let mut client = Client::http1(proxy.inbound(0), "web").await;
    assert_eq!(passed(&mut client, 4, Some("ann")).await, 3, "the Service's");
    assert_eq!(passed(&mut client, 4, Some("bob")).await, 2, "the namespace's; the mesh's is a default");
    let page = client::get(proxy.admin(), "/services").await.json();
    let limits = &page[0]["callee"]["rateLimits"];
    assert_eq!((&limits[0]["policy"], &limits[0]["by"]), (&"default/web".into(), &"header x-user".into()));
    assert_eq!((&limits[0]["allowed"], &limits[0]["callers"]), (&5.into(), &2.into()));
    assert_eq!((&limits[1]["policy"], &limits[1]["refused"]), (&"default/all".into(), &2.into()));
    let table = client::get(proxy.admin(), "/services?o=table").await.text();
    assert!(
        table.contains("default/web: 1 requests per 24h, 5 at once: 5 passed, 2 refused (default/all)"),
        "{table}"
    );

    // Null takes away what is less specific.
    let none = mesh::traffic("web", "  rateLimit: null\n");
    let proxy = Proxy::start(&policy(app.address(), "http1", &[&none, &all, &mesh_wide])).await;
    assert_eq!(passed(&mut Client::http1(proxy.inbound(0), "web").await, 9, None).await, 9);
    // Alone, the default holds; also where no Service is named.
    for text in
        [policy(app.address(), "http1", &[&mesh_wide]), mesh::inbound(app.address(), "http1", &[&mesh_wide])]
    {
        let proxy = Proxy::start(&text).await;
        assert_eq!(passed(&mut Client::http1(proxy.inbound(0), "web").await, 9, None).await, 1);
    }
}

/// It is the workload's port that is limited: by whichever listener, under whatever name, and never at the caller.
#[tokio::test]
async fn the_callee_counts_and_nobody_else() {
    let app = ok().await;
    let one = limit(&format!("{DAY}, burst: 3"));
    let text = policy(app.address(), "http1", &[&one]).replacen(
        "  inbound:\n",
        &format!(
            "  inbound:\n  - {{bind: \"127.0.0.1:0\", app: \"{}\", service: {{name: web, port: 80}}}}\n",
            app.address()
        ),
        1,
    );
    let callee = Proxy::start(&text).await;
    let service = mesh::service("web", "http1", &[callee.inbound(0), callee.inbound(1)]);
    let caller = Proxy::start(&mesh::pinned("web", &[&service, &one])).await;
    let mut direct = Client::http1(callee.inbound(1), "some.other.host").await;
    assert_eq!(passed(&mut direct, 1, None).await, 1);
    let mut client = Client::http1(caller.outbound(0), "web").await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(client.get("/").await.status.as_u16());
    }
    assert_eq!(statuses, [200, 200, 429, 429], "two listeners, one Service, one count");
    assert_eq!(passed(&mut direct, 1, None).await, 0);
    assert!(!caller.metrics().await.has("outrigger_rate_limit_requests_total"));
}

/// `examples/rate-limit.yaml`, with a service behind it.
#[tokio::test]
async fn the_example_does_what_it_says() {
    let app = ok().await;
    let text = mesh::example("rate-limit.yaml", &[("127.0.0.1:3000", app.address())]);
    let proxy = Proxy::start(&text.replacen("bind: \"127.0.0.1:8080\"", "bind: \"127.0.0.1:0\"", 1)).await;
    let mut client = Client::http1(proxy.inbound(0), "cart").await;
    until("a user to be refused", || async {
        let mut client = Client::http1(proxy.inbound(0), "cart").await;
        (passed(&mut client, 50, Some("ann")).await < 50).then_some(())
    })
    .await;
    assert_eq!(passed(&mut client, 5, Some("bob")).await, 5, "each has five at once");
}
