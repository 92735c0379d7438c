//! Filters that change where a request goes, or send its caller elsewhere: through a real proxy to a real service.

use outrigger_tests::{
    backend::Backend,
    client::Client,
    mesh::{self, Proxy},
};

const RULES: &str = "  - matches: [{path: {value: /moved}}]
    filters:
    - type: RequestRedirect
      requestRedirect: {scheme: https, hostname: new.example.com, statusCode: 308,
                        path: {type: ReplacePrefixMatch, replacePrefixMatch: /there}}
    - {type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-why, value: moved}]}}
  - matches: [{path: {type: Exact, value: /login}}]
    filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplaceFullPath, replaceFullPath: /sso}}}]
  - matches: [{path: {value: /port}}]
    filters: [{type: RequestRedirect, requestRedirect: {port: 8443, statusCode: 301}}]
  - matches: [{path: {value: /api/v1}}]
    filters:
    - type: URLRewrite
      urlRewrite: {hostname: inner.example.com, path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}
    backendRefs: [{name: web, port: 80}]
  - matches: [{path: {value: /backend}}]
    backendRefs:
    - name: web
      port: 80
      filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /only}}}]
  - matches: [{path: {value: /}}]
    backendRefs: [{name: web, port: 80}]
";

async fn before(backend: &Backend, protocol: &str) -> Proxy {
    let service = mesh::service("web", protocol, &[backend.address()]);
    Proxy::start(&mesh::pinned("web", &[&service, &mesh::route("web", RULES)])).await
}

#[tokio::test]
async fn redirects_are_answered_without_any_backend() {
    let backend = Backend::http1("b").await;
    let proxy = before(&backend, "http1").await;
    let mut client = Client::http1(proxy.outbound(0), "web.example.com:8080").await;
    for (path, status, location) in [
        ("/moved/a?q=1", 308, "https://new.example.com/there/a?q=1"),
        ("/moved", 308, "https://new.example.com/there"),
        ("/login?next=%2F", 302, "http://web.example.com:8080/sso?next=%2F"),
        ("/port/x", 301, "http://web.example.com:8443/port/x"),
    ] {
        let answer = client.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.header("location")), (status, location), "{path}");
        assert_eq!(answer.text(), "");
        assert_eq!(answer.header("x-outrigger-error"), "");
    }
    assert_eq!(client.get("/moved").await.header("x-why"), "moved");
    assert_eq!(client.post("/login", "a body").await.header("location"), "http://web.example.com:8080/sso");
    // Whole segments only: the last rule has it.
    assert_eq!(client.get("/movedx").await.status, 200);
    assert_eq!(backend.requests(), 1);
}

async fn rewritten(backend: Backend, protocol: &str) {
    let proxy = before(&backend, protocol).await;
    let mut client = Client::http1(proxy.outbound(0), "web:81").await;
    for (path, seen, host) in [
        ("/api/v1/a/b?x=1&x=2", "/a/b?x=1&x=2", "inner.example.com"),
        ("/api/v1", "/", "inner.example.com"),
        ("/api/v1/", "/", "inner.example.com"),
        ("/api/v10", "/api/v10", "web:81"),
        ("/backend/deep?q", "/only?q", "web:81"),
        ("/else?q=1", "/else?q=1", "web:81"),
    ] {
        assert_eq!(client.get(path).await.status, 200);
        let last = backend.last();
        assert_eq!((last.path.as_str(), last.authority.as_str()), (seen, host), "{path}");
    }
}

#[tokio::test]
async fn hosts_and_paths_are_rewritten() {
    rewritten(Backend::http1("b").await, "http1").await;
    rewritten(Backend::http2("b").await, "http2").await;
}

#[tokio::test]
async fn redirects_are_counted_as_what_they_are() {
    let backend = Backend::http1("b").await;
    let proxy = before(&backend, "http1").await;
    Client::http1(proxy.outbound(0), "web").await.get("/port").await;
    let text = Client::http1(proxy.admin(), "admin").await.get("/metrics").await.text();
    let counted = |line: &&str| {
        line.starts_with("outrigger_requests_total{")
            && line.contains("default/web/2")
            && line.ends_with(" 1")
    };
    assert!(text.lines().any(|line| counted(&line)), "{text}");
}
