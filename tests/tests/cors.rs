//! Cross-origin policy through a real proxy: what a browser is told before a request and after it, and what of it an
//! upstream has a say in. The cases are those of the Gateway API's conformance test `HTTPRouteCORS`, and more.

use http::HeaderMap;
use outrigger_tests::{
    backend::{Answer, Backend},
    client::{self, Client},
    mesh::{self, Proxy},
};

const RULES: &str = r#"  - matches: [{path: {value: /cors-1}}]
    filters:
    - type: CORS
      cors:
        allowOrigins: ["https://www.foo.com", "https://*.bar.com"]
        allowMethods: [GET, OPTIONS]
        allowHeaders: [x-header-1, x-header-2]
        exposeHeaders: [x-header-3, x-header-4]
        allowCredentials: true
        maxAge: 3600
    backendRefs: [{name: web, port: 80}]
  - matches: [{path: {value: /cors-2}}]
    filters: [{type: CORS, cors: {allowOrigins: ["https://www.foo.com"], allowMethods: ["*"]}}]
    backendRefs: [{name: web, port: 80}]
  - matches: [{path: {value: /wildcard-origin}}]
    filters: [{type: CORS, cors: {allowOrigins: ["*"], allowMethods: [PUT], allowCredentials: false}}]
    backendRefs: [{name: web, port: 80}]
  - matches: [{path: {value: /wildcards}}]
    filters:
    - type: CORS
      cors: {allowOrigins: ["https://other.foo.com"], allowMethods: ["*"], allowHeaders: ["*"], exposeHeaders: ["*"], allowCredentials: true}
    backendRefs: [{name: web, port: 80}]
  - matches: [{path: {value: /method}, method: PUT}]
    filters:
    - {type: CORS, cors: {allowOrigins: ["https://www.foo.com"], allowMethods: [PUT]}}
    - {type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-rule, value: "1"}, {name: access-control-max-age, value: "9"}]}}
    backendRefs: [{name: web, port: 80}]
  - matches: [{path: {value: /moved}}]
    filters:
    - {type: CORS, cors: {allowOrigins: ["https://www.foo.com"]}}
    - {type: RequestRedirect, requestRedirect: {hostname: new.example.com}}
  - matches: [{path: {value: /dead}}]
    filters: [{type: CORS, cors: {allowOrigins: ["https://www.foo.com"]}}]
    backendRefs: [{name: dead, port: 80}]
  - matches: [{path: {value: /nothing}}]
    filters: [{type: CORS, cors: {allowOrigins: ["https://www.foo.com"]}}]
    backendRefs: [{name: nobody, port: 80}]
  - matches: [{path: {value: /backend}}]
    backendRefs:
    - {name: web, port: 80, filters: [{type: CORS, cors: {allowOrigins: ["https://www.foo.com"]}}]}
  - backendRefs: [{name: web, port: 80}]
"#;

async fn before(backend: &Backend, protocol: &str) -> Proxy {
    let web = mesh::service("web", protocol, &[backend.address()]);
    let dead = mesh::service("dead", protocol, &[]);
    Proxy::start(&mesh::pinned("web", &[&web, &dead, &mesh::route("web", RULES)])).await
}

/// The fields that a browser acts on, without `access-control-`.
fn told(headers: &HeaderMap) -> String {
    let mut lines: Vec<String> = headers
        .iter()
        .filter_map(|(name, value)| {
            let short = name.as_str().strip_prefix("access-control-");
            let short = short.or((name == "vary").then_some("vary"))?;
            Some(format!("{short}: {}", value.to_str().unwrap()))
        })
        .collect();
    lines.sort();
    lines.join("; ")
}

async fn ask(
    client: &mut Client,
    method: &str,
    path: &str,
    fields: &[(&'static str, &str)],
) -> client::Answer {
    let mut request = client.request(method, path, "");
    for (name, value) in fields {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    client.call(request).await.unwrap()
}

async fn preflight(client: &mut Client, path: &str, origin: &str, asks: [&str; 2]) -> client::Answer {
    let mut fields = vec![("origin", origin), ("access-control-request-method", asks[0])];
    if !asks[1].is_empty() {
        fields.push(("access-control-request-headers", asks[1]));
    }
    ask(client, "OPTIONS", path, &fields).await
}

#[tokio::test]
async fn preflights_are_answered_by_the_proxy() {
    for version in ["http1", "http2"] {
        let backend = Backend::http1("web").await;
        let proxy = before(&backend, "http1").await;
        let mut client = match version {
            "http1" => Client::http1(proxy.outbound(0), "web").await,
            _ => Client::http2(proxy.outbound(0), "web").await,
        };
        let full = |origin: &str| {
            format!(
                "allow-credentials: true; allow-headers: x-header-1, x-header-2; allow-methods: GET, OPTIONS; \
                 allow-origin: {origin}; expose-headers: x-header-3, x-header-4; max-age: 3600; vary: Origin"
            )
        };
        let headers = "x-header-1, x-header-2";
        let cases = [
            ("/cors-1", "https://www.foo.com", ["GET", headers], full("https://www.foo.com")),
            ("/cors-1", "https://www.bar.com", ["GET", headers], full("https://www.bar.com")),
            ("/cors-1", "https://xpto.www.bar.com", ["GET", headers], full("https://xpto.www.bar.com")),
            ("/cors-1", "https://foobar.com", ["GET", ""], "vary: Origin".to_owned()),
            (
                "/cors-2",
                "https://www.foo.com",
                ["POST", ""],
                "allow-methods: *; allow-origin: https://www.foo.com; max-age: 5; vary: Origin".to_owned(),
            ),
            (
                "/wildcard-origin",
                "https://foobar.com:12345",
                ["PUT", ""],
                "allow-methods: PUT; allow-origin: *; max-age: 5".to_owned(),
            ),
            (
                "/wildcards",
                "https://other.foo.com",
                ["PUT", headers],
                format!(
                    "allow-credentials: true; allow-headers: {headers}; allow-methods: PUT; \
                     allow-origin: https://other.foo.com; max-age: 5; vary: Origin"
                ),
            ),
            (
                "/method/deep",
                "https://www.foo.com",
                ["PUT", ""],
                "allow-methods: PUT; allow-origin: https://www.foo.com; max-age: 5; vary: Origin".to_owned(),
            ),
            (
                "/moved",
                "https://www.foo.com",
                ["GET", ""],
                "allow-origin: https://www.foo.com; max-age: 5; vary: Origin".to_owned(),
            ),
            (
                "/nothing",
                "https://www.foo.com",
                ["GET", ""],
                "allow-origin: https://www.foo.com; max-age: 5; vary: Origin".to_owned(),
            ),
            (
                "/backend",
                "https://www.foo.com",
                ["GET", ""],
                "allow-origin: https://www.foo.com; max-age: 5; vary: Origin".to_owned(),
            ),
        ];
        for (path, origin, asks, expected) in cases {
            let answer = preflight(&mut client, path, origin, asks).await;
            assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, ""), "{path} {origin}");
            assert_eq!(told(&answer.headers), expected, "{path} {origin}");
            assert_eq!(answer.header("content-length"), "0");
        }
        assert_eq!(backend.requests(), 0);
        assert_eq!(
            preflight(&mut client, "/method", "https://www.foo.com", ["PUT", ""]).await.header("x-rule"),
            "1"
        );

        // OPTIONS that is no preflight, or that no rule with a policy is asked about, is the service's own.
        for (path, fields) in [
            ("/cors-1", vec![("origin", "https://www.foo.com")]),
            ("/cors-1", vec![("access-control-request-method", "GET")]),
            ("/method", vec![("origin", "https://www.foo.com"), ("access-control-request-method", "DELETE")]),
            ("/plain", vec![("origin", "https://www.foo.com"), ("access-control-request-method", "PUT")]),
        ] {
            let answer = ask(&mut client, "OPTIONS", path, &fields).await;
            assert_eq!(answer.header("x-backend"), "web", "{path} {fields:?}");
        }
        assert_eq!(backend.requests(), 4);
    }
}

#[tokio::test]
async fn answers_tell_what_the_policy_says_and_nothing_that_the_upstream_says() {
    for service in ["http1", "http2"] {
        let backend = match service {
            "http1" => Backend::http1("web").await,
            _ => Backend::http2("web").await,
        };
        backend.answer(|seen| {
            let own = Answer::text("ok").header("access-control-allow-origin", "https://evil.com");
            let own = own.header("access-control-allow-credentials", "true").header("x-header-3", "3");
            let own = own.header("access-control-expose-headers", "x-secret").header("vary", "accept");
            if seen.header("origin") == "https://twice.bar.com" { own.header("vary", "ORIGIN") } else { own }
        });
        let proxy = before(&backend, service).await;
        let mut client = Client::http1(proxy.outbound(0), "web").await;
        for (path, origin, expected) in [
            (
                "/cors-1",
                "https://www.foo.com",
                "allow-credentials: true; allow-origin: https://www.foo.com; \
                 expose-headers: x-header-3, x-header-4; vary: Origin; vary: accept",
            ),
            (
                "/cors-1",
                "https://twice.bar.com",
                "allow-credentials: true; allow-origin: https://twice.bar.com; \
                 expose-headers: x-header-3, x-header-4; vary: ORIGIN; vary: accept",
            ),
            ("/cors-1", "https://foobar.com", "vary: Origin; vary: accept"),
            ("/cors-1", "null", "vary: Origin; vary: accept"),
            ("/cors-1", "", "vary: Origin; vary: accept"),
            (
                "/cors-2",
                "https://www.foo.com",
                "allow-origin: https://www.foo.com; vary: Origin; vary: accept",
            ),
            ("/wildcard-origin", "https://foobar.com:12345", "allow-origin: *; vary: accept"),
            (
                "/backend",
                "https://www.foo.com",
                "allow-origin: https://www.foo.com; vary: Origin; vary: accept",
            ),
            (
                "/plain",
                "https://www.foo.com",
                "allow-credentials: true; allow-origin: https://evil.com; expose-headers: x-secret; vary: accept",
            ),
        ] {
            let fields = [("origin", origin), ("authorization", "Bearer test"), ("cookie", "sid=abc123")];
            let fields = if origin.is_empty() { &fields[1..] } else { &fields };
            let answer = ask(&mut client, "GET", path, fields).await;
            assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, "ok"), "{path} {origin}");
            assert_eq!(told(&answer.headers), expected, "{service} {path} {origin}");
        }
        // With credentials a star would be but a name: the names of the answer stand in its place.
        let answer = ask(&mut client, "GET", "/wildcards", &[("origin", "https://other.foo.com")]).await;
        let exposed = answer.header("access-control-expose-headers");
        assert!(
            exposed.contains("x-header-3") && exposed.contains("x-backend") && !exposed.contains('*'),
            "{exposed}"
        );
    }
}

/// A page can tell a refusal from a network error only if the refusal says that it may.
#[tokio::test]
async fn the_proxys_own_answers_tell_it_too() {
    let backend = Backend::http1("web").await;
    let proxy = before(&backend, "http1").await;
    let mut client = Client::http1(proxy.outbound(0), "web").await;
    for (path, status) in [("/dead", 503), ("/nothing", 500), ("/moved", 302)] {
        let answer = ask(&mut client, "GET", path, &[("origin", "https://www.foo.com")]).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(told(&answer.headers), "allow-origin: https://www.foo.com; vary: Origin", "{path}");
        let answer = ask(&mut client, "GET", path, &[("origin", "https://evil.com")]).await;
        assert_eq!(told(&answer.headers), "vary: Origin", "{path}");
    }
    let answer = ask(&mut client, "PUT", "/method", &[("origin", "https://www.foo.com")]).await;
    assert_eq!(
        told(&answer.headers),
        "allow-origin: https://www.foo.com; vary: Origin",
        "filters have no say"
    );
}

#[tokio::test]
async fn preflights_count_under_their_rule() {
    let backend = Backend::http1("web").await;
    let proxy = before(&backend, "http1").await;
    let mut client = Client::http1(proxy.outbound(0), "web").await;
    preflight(&mut client, "/method", "https://www.foo.com", ["PUT", ""]).await;
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.sum("outrigger_requests_total", &[("code", "200"), ("route", "default/web/4")]), 1.0);
    assert_eq!(metrics.sum("outrigger_attempts_total", &[]), 0.0);
}

/// `examples/cors.yaml`, with a service behind it.
#[tokio::test]
async fn the_example_does_what_it_says() {
    let reviews = Backend::http1("reviews").await;
    let proxy = Proxy::start(&mesh::example("cors.yaml", &[("127.0.0.1:9001", reviews.address())])).await;
    let mut client = Client::http1(proxy.outbound(0), "reviews").await;
    let shop = "https://shop.example.com";
    let answer = preflight(&mut client, "/stars", shop, ["PUT", "content-type"]).await;
    assert_eq!(
        told(&answer.headers),
        "allow-credentials: true; allow-headers: content-type; allow-methods: PUT, DELETE; \
         allow-origin: https://shop.example.com; expose-headers: x-total; max-age: 600; vary: Origin"
    );
    let answer = ask(&mut client, "GET", "/stars", &[("origin", "https://evil.com")]).await;
    assert_eq!((answer.header("x-backend"), told(&answer.headers).as_str()), ("reviews", "vary: Origin"));
    let answer = ask(&mut client, "GET", "/public/list", &[("origin", "https://evil.com")]).await;
    assert_eq!(told(&answer.headers), "allow-origin: *");
}
