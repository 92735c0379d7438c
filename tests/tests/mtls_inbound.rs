//! What a proxy of the mesh, and who is none, gets of a callee's proxy: each of the mesh's protocols, who is refused and how,
//! what the app learns of its caller, and what becomes of who is there when the mode changes.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use outrigger_tests::{
    authority::{self, Authority, Svid},
    backend::{Answer, Backend},
    client::Client,
    mesh_caller::{self, HTTP1, HTTP2, MeshCaller, TCP, frame},
    outside,
    proxy::Proxy,
    raw::{Ended, RawBackend, RawClient, Reply},
    switching::{KEY, Switching},
    wait::{until, within},
};
use rustls::{ClientConfig, pki_types::ServerName};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

const REFUSED: &str = "outrigger_plaintext_refused_total";
const SECURITY: &str = "outrigger_inbound_security_total";
const HANDSHAKES: &str = "outrigger_mesh_handshakes_total";

/// A proxy with an identity before an app, and who may call it.
struct Callee {
    authority: Authority,
    folder: TempDir,
    app: SocketAddr,
    protocol: &'static str,
    proxy: Proxy,
}

impl Callee {
    /// Before `app`, which speaks `protocol` (`auto`, `http1`, `tcp`), in this mode; `more` documents besides.
    fn start(app: SocketAddr, protocol: &'static str, mode: &str, more: &[&str]) -> Self {
        let authority = Authority::new("cluster.local");
        let folder = tempfile::tempdir().unwrap();
        authority.svid(&authority.account("default", "cart")).write_to(folder.path());
        let proxy = Proxy::start(&policy(&folder, (app, protocol), mode, more));
        Self { authority, folder, app, protocol, proxy }
    }

    fn address(&self) -> SocketAddr {
        self.proxy.inbound(0)
    }

    async fn turn(&self, mode: &str) {
        self.proxy.reload(&policy(&self.folder, (self.app, self.protocol), mode, &[])).await;
    }

    fn web(&self) -> Svid {
        self.authority.svid(&self.authority.account("shop", "web"))
    }

    /// The address by which plaintext clients call as a proxy of the mesh does.
    async fn caller(&self, protocol: &str) -> MeshCaller {
        let first = if protocol == TCP { frame(5432) } else { Vec::new() };
        MeshCaller::new(self.address(), self.web().client(&[protocol]), first).await
    }

    async fn count(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.proxy.metrics().await.sum(name, labels)
    }

    async fn wait_count(&self, name: &str, labels: &[(&str, &str)], count: f64) {
        let what = format!("{name} {labels:?} to be {count}");
        self.proxy.wait_metrics(&what, |metrics| metrics.sum(name, labels) == count).await;
    }
}

fn policy(folder: &TempDir, (app, protocol): (SocketAddr, &str), mode: &str, more: &[&str]) -> String {
    let folder = folder.path().display();
    let mut text = format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: Sidecar\nmetadata: {{name: cart}}\nspec:\n  serviceAccount: cart\n  \
         inbound:\n  - {{bind: \"127.0.0.1:0\", app: \"{app}\", protocol: {protocol}}}\n  \
         admin: {{bind: \"127.0.0.1:0\"}}\n  \
         identity: {{files: {{certificate: {folder}/tls.crt, privateKey: {folder}/tls.key, trustBundle: {folder}/ca.crt}}}}\n\
         ---\napiVersion: outrigger.dev/v1alpha1\nkind: Mesh\nmetadata: {{name: default}}\nspec:\n  \
         mtls: {{mode: {mode}}}\n  limits: {{detectTimeout: 300ms}}\n"
    );
    for document in more {
        text.push_str("---\n");
        text.push_str(document);
    }
    text
}

async fn echo(greeting: &str) -> RawBackend {
    let farewell = b"bye\n".to_vec();
    RawBackend::start(Reply::Echo { greeting: greeting.into(), farewell }).await
}

#[tokio::test]
async fn requests_arrive_with_who_has_sent_them_and_without_what_was_forged() {
    let app = Backend::http1("app").await;
    let callee = Callee::start(app.address(), "auto", "Strict", &[]);
    let caller = callee.caller(HTTP2).await;
    let mut client = Client::http2(caller.address(), "cart").await;
    let mut request = client.request("GET", "/x", "");
    for (name, value) in [
        ("x-outrigger-orig-proto", "HTTP/1.1"),
        ("x-outrigger-attempt", "0"),
        ("x-outrigger-timeout-ms", "20000"),
        ("x-forwarded-client-cert", "By=spiffe://a/b;URI=spiffe://cluster.local/ns/shop/sa/admin"),
        ("x_forwarded_client_cert", "forged"),
        ("x-outrigger-error", "forged"),
    ] {
        request.headers_mut().append(name, value.parse().unwrap());
    }
    let answer = client.call(request).await.unwrap();
    assert_eq!(answer.status, 200);
    let seen = app.seen().pop().unwrap();
    assert_eq!((&*seen.version, &*seen.authority), ("HTTP/1.1", "cart"), "as the first caller spoke");
    let certificates: Vec<_> = seen.headers.get_all("x-forwarded-client-cert").iter().collect();
    let [certificate] = &certificates[..] else { panic!("{certificates:?}") };
    let certificate = certificate.to_str().unwrap();
    let (own, caller_id) =
        ("spiffe://cluster.local/ns/default/sa/cart", "spiffe://cluster.local/ns/shop/sa/web");
    let hash =
        certificate.strip_prefix(&format!("By={own};Hash=")).unwrap_or_else(|| panic!("{certificate}"));
    let hash = hash.strip_suffix(&format!(";URI={caller_id}")).unwrap_or_else(|| panic!("{certificate}"));
    assert!(hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "{hash}");
    for name in seen.headers.keys().map(http::HeaderName::as_str) {
        assert!(!name.starts_with("x-outrigger") && name != "x_forwarded_client_cert", "{name}");
    }
    assert_eq!(seen.header("x-forwarded-proto"), "http");
    assert_eq!(callee.count(SECURITY, &[("service", "app"), ("security", "mtls")]).await, 1.0);
    assert_eq!(callee.count(HANDSHAKES, &[("side", "inbound"), ("result", "ok")]).await, 1.0);
}

#[tokio::test]
async fn the_app_gets_the_version_of_the_first_caller_or_that_of_the_link() {
    let (old, new) = (Backend::http1("old").await, Backend::http2("new").await);
    for (app, said) in
        [(&old, Some("HTTP/1.1")), (&old, Some("HTTP/1.0")), (&new, None), (&new, Some("HTTP/2"))]
    {
        let callee = Callee::start(app.address(), "auto", "Permissive", &[]);
        let caller = callee.caller(HTTP2).await;
        let mut client = Client::http2(caller.address(), "cart").await;
        let mut request = client.request("POST", "/", "body");
        if let Some(said) = said {
            request.headers_mut().append("x-outrigger-orig-proto", said.parse().unwrap());
        }
        let answer = client.call(request).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.json()["bodyBytes"].as_u64()), (200, Some(4)), "{said:?}");
    }
}

#[tokio::test]
async fn nobody_else_is_believed_what_proxies_tell_each_other() {
    let app = Backend::http1("app").await;
    let callee = Callee::start(app.address(), "auto", "Permissive", &[]);
    let mut client = Client::http1(callee.address(), "cart").await;
    let mut request = client.request("GET", "/", "");
    for (name, value) in [
        ("x-outrigger-timeout-ms", "0"),
        ("x-outrigger-orig-proto", "HTTP/2"),
        ("x-forwarded-client-cert", "URI=spiffe://cluster.local/ns/shop/sa/admin"),
    ] {
        request.headers_mut().append(name, value.parse().unwrap());
    }
    let answer = client.call(request).await.unwrap();
    assert_eq!(answer.status, 200, "no deadline of nothing");
    assert_eq!(app.seen().pop().unwrap().header("x-forwarded-client-cert"), "");
    assert_eq!(callee.count(SECURITY, &[("security", "plaintext")]).await, 1.0);
}

#[tokio::test]
async fn what_is_left_of_the_callers_time_is_all_there_is() {
    let app = RawBackend::start(Reply::Silent).await;
    let callee = Callee::start(app.address(), "http1", "Permissive", &[]);
    let caller = callee.caller(HTTP2).await;
    let mut client = Client::http2(caller.address(), "cart").await;
    let mut request = client.request("GET", "/", "");
    request.headers_mut().append("x-outrigger-timeout-ms", "50".parse().unwrap());
    let answer = client.call(request).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.header("x-outrigger-error")), (504, "request_timeout"));
}

#[tokio::test]
async fn heads_lengths_and_trailers_come_through_the_link_whole() {
    let app = Backend::http1("app").await;
    app.answer(|seen| match &*seen.path {
        "/204" => Answer::status(204),
        "/304" => Answer::status(304),
        _ => Answer::text("12345"),
    });
    let callee = Callee::start(app.address(), "auto", "Strict", &[]);
    let caller = callee.caller(HTTP2).await;
    let mut client = Client::http2(caller.address(), "cart").await;
    for (method, path, status, length, body) in [
        ("HEAD", "/", 200, "5", ""),
        ("GET", "/", 200, "5", "12345"),
        ("GET", "/204", 204, "", ""),
        ("GET", "/304", 304, "", ""),
    ] {
        let mut request = client.request(method, path, "");
        request.headers_mut().append("x-outrigger-orig-proto", "HTTP/1.1".parse().unwrap());
        let answer = client.call(request).await.unwrap();
        let came = (answer.status.as_u16(), answer.header("content-length"), &*answer.text());
        assert_eq!((came.0, came.2), (status, body), "{method} {path}");
        if !length.is_empty() {
            assert_eq!(came.1, length, "{method} {path}");
        }
    }
}

/// A WebSocket handshake.
fn handshake() -> String {
    format!(
        "GET /chat HTTP/1.1\r\nHost: chat\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    )
}

async fn open_tunnel(to: SocketAddr) -> RawClient {
    let mut client = RawClient::connect(to).await;
    client.send(handshake()).await;
    client.read_until("\r\n\r\n").await;
    assert!(client.text().starts_with("HTTP/1.1 101 "), "{}", client.text());
    client.clear();
    client.send("hello").await;
    client.read_until("hello").await;
    client.clear();
    client
}

#[tokio::test]
async fn an_upgrade_has_a_connection_of_its_own_and_passes_each_end() {
    let server = Switching::websocket().await;
    let callee = Callee::start(server.address(), "auto", "Strict", &[]);
    let caller = callee.caller(HTTP1).await;
    let mut client = open_tunnel(caller.address()).await;
    let came = server.came().pop().unwrap();
    assert!(
        came.header("x-forwarded-client-cert")
            .unwrap()
            .ends_with("uri=spiffe://cluster.local/ns/shop/sa/web")
    );
    let large = vec![b'x'; 1 << 20];
    client.send(&large).await;
    client.finish().await;
    let (all, ended) = client.read_to_end().await;
    assert_eq!((all.len(), ended), (large.len(), Ended::Fin));
    assert_eq!(server.wait_end().await, Ended::Fin);
    let client = open_tunnel(caller.address()).await;
    client.reset();
    server
        .wait("the second to be reset", |came| came.len() == 2 && came[1].ended == Some(Ended::Reset))
        .await;
}

#[tokio::test]
async fn bytes_are_passed_on_behind_their_frame_with_each_end_alone() {
    let app = echo("").await;
    let callee = Callee::start(app.address(), "tcp", "Strict", &[]);
    let caller = callee.caller(TCP).await;
    let mut client = RawClient::connect(caller.address()).await;
    let bytes: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    let (half, rest) = bytes.split_at(77);
    client.send(half).await;
    client.read_until(half).await;
    client.send(rest).await;
    client.finish().await;
    let (all, ended) = client.read_to_end().await;
    assert_eq!((&all[..bytes.len()], &all[bytes.len()..], ended), (&bytes[..], &b"bye\n"[..], Ended::Fin));
    assert_eq!(app.wait_end().await, Ended::Fin);
    let labels = [("side", "inbound"), ("service", "app"), ("flag", "-")];
    callee.wait_count("outrigger_tcp_connections_total", &labels, 1.0).await;
    assert_eq!(callee.count(SECURITY, &[("security", "mtls")]).await, 1.0);
}

#[tokio::test]
async fn what_is_cut_on_one_side_never_looks_whole_on_the_other() {
    let app = echo("").await;
    let callee = Callee::start(app.address(), "tcp", "Permissive", &[]);
    let dial = || async {
        let mut tls = mesh_caller::dial(callee.address(), callee.web().client(&[TCP])).await.unwrap();
        tls.write_all(&[frame(80), b"abc".to_vec()].concat()).await.unwrap();
        tls.read_exact(&mut [0; 3]).await.unwrap();
        tls
    };
    // FIN without close_notify.
    let mut tls = dial().await;
    tls.get_mut().0.shutdown().await.unwrap();
    assert_eq!(app.wait_end().await, Ended::Reset, "truncated");
    // RST.
    let tls = dial().await;
    tls.get_ref().0.set_zero_linger().unwrap();
    drop(tls);
    let flag = [("flag", "DC")];
    callee.wait_count("outrigger_tcp_connections_total", &flag, 2.0).await;
    assert_eq!(app.ended(), [Some(Ended::Reset); 2]);
    // The other way.
    let gone = RawBackend::start(Reply::OnceAndClose { after: b"abc".into(), bytes: b"xyz".into() }).await;
    let callee = Callee::start(gone.address(), "tcp", "Permissive", &[]);
    let caller = callee.caller(TCP).await;
    let mut client = RawClient::connect(caller.address()).await;
    client.send("abc").await;
    let ended = within("an end", async {
        client.read_until("xyz").await;
        client.finish().await;
        client.read_to_end().await.1
    })
    .await;
    assert_eq!(ended, Ended::Fin, "an app that ends in order");
}

#[tokio::test]
async fn frames_of_another_version_and_peers_without_a_frame_are_refused() {
    let app = echo("").await;
    let callee = Callee::start(app.address(), "tcp", "Permissive", &[]);
    for first in [[2, 2, 0, 80], [1, 3, 0, 80], [0, 0, 0, 0], *b"GET "] {
        let refused = mesh_caller::refusal(callee.address(), callee.web().client(&[TCP]), &first).await;
        assert!(refused.is_some(), "{first:?}");
    }
    callee.wait_count(HANDSHAKES, &[("result", "unknown_frame")], 4.0).await;
    let mut tls = mesh_caller::dial(callee.address(), callee.web().client(&[TCP])).await.unwrap();
    tls.write_all(&[1, 2, 0]).await.unwrap();
    tls.shutdown().await.unwrap();
    callee.wait_count(HANDSHAKES, &[("result", "closed")], 1.0).await;
    assert_eq!(app.connections(), 0);
}

#[tokio::test]
async fn peers_that_are_not_believed_are_refused_in_every_mode_and_never_taken_for_anonymous() {
    let app = Backend::http1("app").await;
    for mode in ["Permissive", "Strict", "Disabled"] {
        let callee = Callee::start(app.address(), "http1", mode, &[]);
        let web = callee.authority.account("shop", "web");
        let other = Authority::new("cluster.local");
        let cases: [(&str, ClientConfig); 5] = [
            ("no_certificate", authority::stranger(&[HTTP1])),
            ("unknown_authority", other.svid(&web).client(&[HTTP1])),
            ("expired", callee.authority.issue(&web).expired().make().client(&[HTTP1])),
            (
                "several_uris",
                callee.authority.issue(&web).and_uri("spiffe://cluster.local/x").make().client(&[HTTP1]),
            ),
            ("wrong_trust_domain", callee.authority.svid("spiffe://other.local/ns/a/sa/b").client(&[HTTP1])),
        ];
        for (reason, config) in cases {
            let probe = b"GET / HTTP/1.1\r\nhost: cart\r\n\r\n";
            let refused = mesh_caller::refusal(callee.address(), config, probe).await;
            assert!(refused.is_some(), "{mode} {reason}");
            callee.wait_count(HANDSHAKES, &[("side", "inbound"), ("result", reason)], 1.0).await;
        }
        assert_eq!(callee.count(SECURITY, &[]).await, 0.0);
    }
    assert_eq!(app.requests(), 0);
}

#[tokio::test]
async fn strict_answers_requests_in_plaintext_and_says_why() {
    let app = Backend::http1("app").await;
    let callee = Callee::start(app.address(), "http1", "Strict", &[]);
    let mut client = RawClient::connect(callee.address()).await;
    client.send("GET / HTTP/1.1\r\nhost: cart\r\n\r\nGET /2 HTTP/1.1\r\nhost: cart\r\n\r\n").await;
    let (_, ended) = client.read_to_end().await;
    let text = client.text().to_ascii_lowercase();
    assert!(text.starts_with("http/1.1 401 "), "{text}");
    assert!(
        text.contains("x-outrigger-error: no_identity\r\n") && text.contains("connection: close\r\n"),
        "{text}"
    );
    assert_eq!((text.matches("http/1.1").count(), ended), (1, Ended::Fin), "{text}");

    let mut grpc = Client::http2(callee.address(), "cart").await;
    let mut call = grpc.request("POST", "/a.B/C", "");
    call.headers_mut().append("content-type", "application/grpc".parse().unwrap());
    let answer = grpc.call(call).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.header("grpc-status")), (200, "16"));
    within("the connection to be closed", async {
        while !grpc.is_closed() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(callee.count(REFUSED, &[("service", "app")]).await, 2.0);
    assert_eq!(callee.count("outrigger_requests_total", &[("flag", "NI"), ("code", "401")]).await, 2.0);
    assert_eq!(app.requests(), 0);
}

/// What a TLS client of no mesh hears.
async fn alert_to(to: SocketAddr) -> Vec<u8> {
    let mut client = RawClient::connect(to).await;
    client.send(outside::client_hello("cart.example", &outside::Authority::new("any"))).await;
    client.read_to_end().await.0
}

#[tokio::test]
async fn strict_refuses_foreign_tls_by_an_alert_and_bytes_by_a_reset() {
    let app = echo("hello\n").await;
    for protocol in ["tcp", "http1"] {
        let callee = Callee::start(app.address(), protocol, "Strict", &[]);
        assert_eq!(alert_to(callee.address()).await, [21, 3, 3, 0, 2, 2, 116], "certificate_required");
        callee.wait_count(REFUSED, &[("service", "app")], 1.0).await;
        callee.wait_count("outrigger_tcp_connections_total", &[("flag", "NI")], 1.0).await;
    }
    let callee = Callee::start(app.address(), "tcp", "Strict", &[]);
    let mut client = RawClient::connect(callee.address()).await;
    client.send("SET a b\r\n").await;
    assert_eq!(client.read_to_end().await, (Vec::new(), Ended::Reset));
    callee.wait_count(REFUSED, &[("service", "app")], 1.0).await;
    assert_eq!(app.connections(), 0, "nobody was dialled");
}

#[tokio::test]
async fn others_pass_where_the_mode_lets_them() {
    let app = echo("").await;
    for mode in ["Permissive", "Disabled"] {
        let callee = Callee::start(app.address(), "tcp", mode, &[]);
        let mut client = RawClient::connect(callee.address()).await;
        let hello = outside::client_hello("cart.example", &outside::Authority::new("any"));
        client.send(&hello).await;
        client.read_until(&hello).await;
        let mut client = RawClient::connect(callee.address()).await;
        client.send("SET a b\r\n").await;
        client.read_until("SET a b\r\n").await;
        callee.wait_count(SECURITY, &[("security", "plaintext")], 2.0).await;
        let caller = callee.caller(TCP).await;
        let mut client = RawClient::connect(caller.address()).await;
        client.send("x").await;
        client.read_until("x").await;
        callee.wait_count(SECURITY, &[("security", "mtls")], 1.0).await;
        assert_eq!(callee.count(REFUSED, &[]).await, 0.0);
    }
}

#[tokio::test]
async fn a_greeting_is_held_until_it_is_known_who_calls() {
    let app = echo("220 ready\n").await;
    let callee = Callee::start(app.address(), "tcp", "Permissive", &[]);
    // Silent and in plaintext: the greeting comes, after a while.
    let mut silent = RawClient::connect(callee.address()).await;
    silent.read_until("220 ready\n").await;
    // One that speaks, has it at once.
    let mut early = RawClient::connect(callee.address()).await;
    early.send("EHLO\r\n").await;
    early.read_until("220 ready\n").await;
    // A proxy of the mesh that is slow to begin, while the app has greeted, gets all of it through TLS.
    let stream = TcpStream::connect(callee.address()).await.unwrap();
    let before = app.connections();
    within("the app to be dialled meanwhile", async {
        while app.connections() == before {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let connector = TlsConnector::from(Arc::new(callee.web().client(&[TCP])));
    let name = ServerName::from(callee.address().ip());
    let mut tls = within("a handshake", connector.connect(name, stream)).await.unwrap();
    tls.write_all(&frame(25)).await.unwrap();
    let mut greeting = [0; 10];
    within("the greeting", tls.read_exact(&mut greeting)).await.unwrap();
    assert_eq!(&greeting, b"220 ready\n");
}

#[tokio::test]
async fn a_mode_that_turns_strict_holds_for_who_is_there() {
    let app = Backend::http1("app").await;
    let callee = Callee::start(app.address(), "http1", "Permissive", &[]);
    let mut plain = Client::http1(callee.address(), "cart").await;
    assert_eq!(plain.get("/").await.status, 200);
    let caller = callee.caller(HTTP2).await;
    let mut known = Client::http2(caller.address(), "cart").await;
    assert_eq!(known.get("/").await.status, 200);
    callee.turn("Strict").await;
    let answer = plain.get("/").await;
    assert_eq!((answer.status.as_u16(), answer.header("x-outrigger-error")), (401, "no_identity"));
    assert_eq!(known.get("/").await.status, 200);
    callee.turn("Permissive").await;
    assert_eq!(Client::http1(callee.address(), "cart").await.get("/").await.status, 200);
}

#[tokio::test]
async fn open_tunnels_of_the_anonymous_end_when_the_mode_turns_strict() {
    let server = Switching::websocket().await;
    let callee = Callee::start(server.address(), "http1", "Permissive", &[]);
    let caller = callee.caller(HTTP1).await;
    let mut plain = open_tunnel(callee.address()).await;
    let mut known = open_tunnel(caller.address()).await;
    callee.turn("Strict").await;
    assert_eq!(plain.read_to_end().await.1, Ended::Reset);
    assert_eq!(server.wait_end().await, Ended::Reset);
    known.send("still").await;
    known.read_until("still").await;

    let app = echo("").await;
    let callee = Callee::start(app.address(), "tcp", "Permissive", &[]);
    let caller = callee.caller(TCP).await;
    let mut plain = RawClient::connect(callee.address()).await;
    plain.send("a").await;
    plain.read_until("a").await;
    let mut known = RawClient::connect(caller.address()).await;
    known.send("b").await;
    known.read_until("b").await;
    callee.turn("Strict").await;
    assert_eq!(plain.read_to_end().await.1, Ended::Reset);
    assert_eq!(app.wait_end().await, Ended::Reset);
    callee.wait_count("outrigger_tcp_connections_total", &[("flag", "NI")], 1.0).await;
    known.send("still").await;
    known.read_until("still").await;
}

/// Writes one byte at a time, each in a segment of its own.
struct Drip(TcpStream);

impl AsyncRead for Drip {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Drip {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, &buf[..buf.len().min(1)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn a_caller_whose_bytes_come_one_by_one_is_known_by_them() {
    let (app, web) = (echo("").await, Backend::http1("app").await);
    for (protocol, mode) in [("tcp", "Permissive"), ("tcp", "Strict"), ("http1", "Strict")] {
        let address = if protocol == "tcp" { app.address() } else { web.address() };
        let callee = Callee::start(address, protocol, mode, &[]);
        let stream = TcpStream::connect(callee.address()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let alpn = if protocol == "tcp" { TCP } else { HTTP1 };
        let connector = TlsConnector::from(Arc::new(callee.web().client(&[alpn])));
        let name = ServerName::from(callee.address().ip());
        let mut tls = within("a handshake", connector.connect(name, Drip(stream))).await.unwrap();
        let (said, wanted) = match protocol {
            "tcp" => ([frame(80), b"hello".to_vec()].concat(), "hello"),
            _ => (b"GET / HTTP/1.1\r\nhost: cart\r\n\r\n".to_vec(), "HTTP/1"),
        };
        tls.write_all(&said).await.unwrap();
        tls.flush().await.unwrap();
        let mut heard = vec![0; wanted.len()];
        within("an answer", tls.read_exact(&mut heard)).await.unwrap();
        assert!(wanted.as_bytes().starts_with(&heard[..5]), "{protocol} {mode}");
    }
}

#[tokio::test]
async fn a_caller_that_does_not_finish_its_handshake_has_as_long_as_for_a_head() {
    let app = Backend::http1("app").await;
    let callee = Callee::start(app.address(), "http1", "Permissive", &[]);
    let text = policy(&callee.folder, (app.address(), "http1"), "Permissive", &[])
        .replace("detectTimeout: 300ms", "headerTimeout: 200ms");
    callee.proxy.reload(&text).await;
    let mut client = rustls::ClientConnection::new(
        Arc::new(callee.web().client(&[HTTP2])),
        ServerName::from(callee.address().ip()),
    )
    .unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    let mut raw = RawClient::connect(callee.address()).await;
    raw.send(&hello).await;
    raw.read_to_end().await;
    callee.wait_count(HANDSHAKES, &[("result", "timeout")], 1.0).await;
}

#[tokio::test]
async fn an_identity_has_one_count_wherever_it_calls_from() {
    let app = Backend::http1("app").await;
    let service = format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: MeshService\nmetadata: {{name: cart}}\nspec:\n  \
         ports: [{{port: 80, protocol: http1}}]\n  endpoints: [{{address: \"{}\"}}]\n",
        app.address()
    );
    let limit = "apiVersion: outrigger.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: cart}\nspec:\n  \
                 targetRefs: [{kind: Service, name: cart}]\n  rateLimit: {requests: 1, per: 1h, by: identity}\n";
    let authority = Authority::new("cluster.local");
    let folder = tempfile::tempdir().unwrap();
    authority.svid(&authority.account("default", "cart")).write_to(folder.path());
    let text = policy(&folder, (app.address(), "http1"), "Permissive", &[&service, limit]).replacen(
        "protocol: http1",
        "protocol: http1, service: {name: cart, port: 80}",
        1,
    );
    let proxy = Proxy::start(&text);
    let call = |account: &'static str| {
        let config = authority.svid(&authority.account("shop", account)).client(&[HTTP2]);
        let to = proxy.inbound(0);
        async move {
            let caller = MeshCaller::new(to, config, Vec::new()).await;
            Client::http2(caller.address(), "cart").await.get("/").await.status.as_u16()
        }
    };
    let plain = || async { Client::http1(proxy.inbound(0), "cart").await.get("/").await.status.as_u16() };
    assert_eq!([call("web").await, call("web").await, call("cart").await], [200, 429, 200]);
    assert_eq!([plain().await, plain().await], [200, 429]);
}

/// h2 counts resets over the life of a connection, 1,024 unless it is told otherwise; ordinary cancels are no attack.
#[tokio::test]
async fn a_link_survives_the_cancels_of_its_callers() {
    let app = Backend::http1("app").await;
    let callee = Callee::start(app.address(), "http1", "Strict", &[]);
    let mut tls = Some(mesh_caller::dial(callee.address(), callee.web().client(&[HTTP2])).await.unwrap());
    let (mut send, connection) = h2::client::handshake(tls.take().unwrap()).await.unwrap();
    tokio::spawn(connection);
    let request = |path: &str| http::Request::builder().uri(format!("http://cart{path}")).body(()).unwrap();
    for _ in 0..1200 {
        send = within("room for a stream", send.ready()).await.unwrap();
        let (answer, mut body) = send.send_request(request("/cancelled"), false).unwrap();
        body.send_reset(h2::Reason::CANCEL);
        drop(answer);
    }
    // The callee may be busy with those that were cancelled, and says so; the link stays.
    let status = until("an answer on the same link", || async {
        let mut send = send.clone().ready().await.unwrap();
        let (answer, _) = send.send_request(request("/after"), true).unwrap();
        match answer.await {
            Ok(answer) => Some(answer.status()),
            Err(error) if error.reason() == Some(h2::Reason::REFUSED_STREAM) => None,
            Err(error) => panic!("{error}"),
        }
    });
    assert_eq!(status.await, 200);
}

#[tokio::test]
async fn opaque_bytes_for_a_port_of_http_are_read_as_what_they_are() {
    let app = Backend::http1("app").await;
    let callee = Callee::start(app.address(), "http1", "Strict", &[]);
    let caller = callee.caller(TCP).await;
    let answer = Client::http1(caller.address(), "cart").await.get("/").await;
    assert_eq!(answer.status, 200);
    let certificate = app.seen().pop().unwrap().header("x-forwarded-client-cert").to_owned();
    assert!(certificate.ends_with("URI=spiffe://cluster.local/ns/shop/sa/web"), "{certificate}");
    // Nobody proves twice who it is: TLS within is the app's own, which a port of HTTP has not.
    let mut client = RawClient::connect(caller.address()).await;
    client.send(outside::client_hello("cart", &outside::Authority::new("any"))).await;
    client.read_to_end().await;
    callee.wait_count("outrigger_downstream_parse_errors_total", &[("reason", "not_http")], 1.0).await;
}
