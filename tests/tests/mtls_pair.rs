//! Two real proxies and the link between them: an app gets of its caller what it would get without them, and the caller of
//! the app, whichever version of HTTP each speaks.

use std::net::SocketAddr;

use outrigger_tests::{
    authority::Authority,
    backend::{Answer, Backend},
    client::Client,
    proxy::Proxy,
    raw::{Ended, RawBackend, RawClient, Reply},
    switching::{Http2Caller, KEY, Offer, Switching},
};
use tempfile::TempDir;

/// Two sidecars, each with an identity; the callee's is strict.
struct Pair {
    callee: Proxy,
    caller: Proxy,
    _folders: [TempDir; 2],
}

impl Pair {
    /// Before `app`, of which only the Service port says what it speaks: `port`.
    fn start(app: SocketAddr, port: &str) -> Self {
        let authority = Authority::new("cluster.local");
        let folders = ["cart", "web"].map(|account| {
            let folder = tempfile::tempdir().unwrap();
            authority.svid(&authority.account("default", account)).write_to(folder.path());
            folder
        });
        let strict = "apiVersion: outrigger.dev/v1alpha1\nkind: Mesh\nmetadata: {name: default}\nspec:\n  mtls: {mode: Strict}\n";
        let before = format!("  inbound:\n  - {{bind: \"127.0.0.1:0\", app: \"{app}\", protocol: auto}}\n");
        let callee = Proxy::start(&sidecar("cart", folders[0].path(), &before, &[strict]));
        let service = format!(
            "apiVersion: outrigger.dev/v1alpha1\nkind: MeshService\nmetadata: {{name: cart}}\nspec:\n  \
             ports: [{{port: 80, protocol: {port}}}]\n  endpoints:\n  - {{address: \"{}\", identity: \"{}\"}}\n",
            callee.inbound(0),
            authority.account("default", "cart")
        );
        let before = "  outbound:\n  - {bind: \"127.0.0.1:0\", service: {name: cart, port: 80}}\n";
        let caller = Proxy::start(&sidecar("web", folders[1].path(), before, &[strict, &service]));
        Self { callee, caller, _folders: folders }
    }

    fn address(&self) -> SocketAddr {
        self.caller.outbound(0)
    }

    async fn came_by_mtls(&self) -> f64 {
        let metrics = self.callee.metrics().await;
        metrics.sum("outrigger_inbound_security_total", &[("security", "mtls")])
    }
}

fn sidecar(account: &str, folder: &std::path::Path, listeners: &str, documents: &[&str]) -> String {
    let folder = folder.display();
    let mut text = format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: Sidecar\nmetadata: {{name: {account}}}\nspec:\n  \
         serviceAccount: {account}\n{listeners}  admin: {{bind: \"127.0.0.1:0\"}}\n  \
         identity: {{files: {{certificate: {folder}/tls.crt, privateKey: {folder}/tls.key, trustBundle: {folder}/ca.crt}}}}\n"
    );
    for document in documents {
        text.push_str("---\n");
        text.push_str(document);
    }
    text
}

#[tokio::test]
async fn an_app_gets_the_version_that_it_would_get_without_the_link() {
    for (port, caller, app) in [
        ("http1", "HTTP/1.1", "HTTP/1.1"),
        ("http1", "HTTP/2", "HTTP/1.1"),
        ("http2", "HTTP/1.1", "HTTP/2.0"),
        ("http2", "HTTP/2", "HTTP/2.0"),
    ] {
        let backend =
            if app == "HTTP/2.0" { Backend::http2("app").await } else { Backend::http1("app").await };
        let pair = Pair::start(backend.address(), port);
        let mut client = match caller {
            "HTTP/2" => Client::http2(pair.address(), "cart").await,
            _ => Client::http1(pair.address(), "cart").await,
        };
        let answer = client.post("/a?b=c", "body").await;
        assert_eq!(answer.status, 200, "{port} {caller}: {}", answer.text());
        let seen = backend.last();
        assert_eq!(
            (&*seen.version, &*seen.authority, &*seen.path),
            (app, "cart", "/a?b=c"),
            "{port} {caller}"
        );
        assert_eq!(seen.body_bytes, 4);
        let certificate = seen.header("x-forwarded-client-cert");
        assert!(certificate.ends_with(";URI=spiffe://cluster.local/ns/default/sa/web"), "{certificate}");
        assert_eq!(pair.came_by_mtls().await, 1.0);
    }
}

#[tokio::test]
async fn what_only_old_http_has_is_as_the_app_wrote_it() {
    let app = Backend::http1("app").await;
    app.answer(|seen| match &*seen.path {
        "/204" => Answer::status(204),
        "/304" => Answer::status(304),
        _ => Answer::text("12345"),
    });
    let pair = Pair::start(app.address(), "http1");
    let mut client = RawClient::connect(pair.address()).await;
    for (request, status, has) in [
        ("HEAD / HTTP/1.1", "200 OK", Some("content-length: 5\r\n")),
        ("GET /204 HTTP/1.1", "204 No Content", None),
        ("GET /304 HTTP/1.1", "304 Not Modified", None),
    ] {
        client.send(format!("{request}\r\nhost: cart\r\n\r\n")).await;
        client.read_until("\r\n\r\n").await;
        let text = client.text().to_lowercase();
        assert!(text.starts_with(&format!("http/1.1 {}\r\n", status.to_lowercase())), "{request}: {text}");
        assert!(text.ends_with("\r\n\r\n") && !text.contains("transfer-encoding"), "{request}: {text}");
        if let Some(field) = has {
            assert!(text.contains(field), "{request}: {text}");
        }
        client.clear();
    }
    // The connection is in step: what follows is the next answer.
    client.send("GET /next HTTP/1.1\r\nhost: cart\r\n\r\n").await;
    client.read_until("12345").await;
    assert!(client.text().starts_with("HTTP/1.1 200 "), "{}", client.text());

    let mut old = RawClient::connect(pair.address()).await;
    old.send("GET / HTTP/1.0\r\n\r\n").await;
    let (_, ended) = old.read_to_end().await;
    let text = old.text().to_lowercase();
    assert!(text.contains(" 200 ok\r\n") && text.ends_with("\r\n\r\n12345"), "{text}");
    assert!(!text.contains("chunked") && ended == Ended::Fin, "{text}");
    assert_eq!(app.last().version, "HTTP/1.1");
    for seen in app.seen() {
        assert!(
            seen.headers.keys().all(|name| !name.as_str().starts_with("x-outrigger")),
            "{:?}",
            seen.headers
        );
    }
}

#[tokio::test]
async fn a_body_waits_until_the_app_asks_for_it() {
    let app = Backend::http1("app").await;
    let pair = Pair::start(app.address(), "http1");
    let asks = "POST / HTTP/1.1\r\nhost: cart\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n";
    let mut client = RawClient::connect(pair.address()).await;
    client.send(asks).await;
    client.read_until("HTTP/1.1 100 ").await;
    client.send("hello").await;
    client.read_until("HTTP/1.1 200 ").await;
    assert_eq!(app.last().body_bytes, 5);

    let full = b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n".to_vec();
    let app = RawBackend::start(Reply::EachHead(full)).await;
    let pair = Pair::start(app.address(), "http1");
    let mut client = RawClient::connect(pair.address()).await;
    client.send(asks).await;
    client.read_until("HTTP/1.1 413 ").await;
    let (_, _) = client.read_to_end().await;
    assert!(client.text().to_lowercase().contains("connection: close"), "{}", client.text());
    assert!(!app.text().contains("hello"));
}

#[tokio::test]
async fn a_websocket_passes_from_either_version() {
    let server = Switching::websocket().await;
    let pair = Pair::start(server.address(), "http1");
    let mut client = RawClient::connect(pair.address()).await;
    let upgrade = format!(
        "GET /chat HTTP/1.1\r\nHost: cart\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    );
    client.send(&upgrade).await;
    client.read_until("\r\n\r\n").await;
    assert!(client.text().starts_with("HTTP/1.1 101 "), "{}", client.text());
    client.clear();
    client.send("hello").await;
    client.read_until("hello").await;
    client.finish().await;
    assert_eq!(client.read_to_end().await.1, Ended::Fin);
    assert_eq!(server.wait_end().await, Ended::Fin);
    let tunnels = pair.callee.metrics().await.sum("outrigger_tunnels_total", &[("kind", "websocket")]);
    assert_eq!(tunnels, 1.0);

    let mut caller = Http2Caller::connect(pair.address()).await;
    let mut tunnel = caller.extended("websocket", "cart", &[]).await;
    assert_eq!(tunnel.status, 200);
    tunnel.send("over HTTP/2");
    assert_eq!(tunnel.read(11).await, b"over HTTP/2");
    tunnel.finish();
    assert_eq!(tunnel.read_to_end().await.1, Ended::Fin);

    // An app that speaks HTTP/2 is asked in HTTP/2, as it would be without the link.
    let server = Switching::http2(Offer::ExtendedConnect).await;
    let pair = Pair::start(server.address(), "http2");
    for _ in 0..2 {
        let mut client = RawClient::connect(pair.address()).await;
        client.send(&upgrade).await;
        client.read_until("\r\n\r\n").await;
        assert!(client.text().starts_with("HTTP/1.1 101 "), "{}", client.text());
        client.send("hello").await;
        client.read_until("hello").await;
    }
}
