//! What another sidecar, and who is none, gets of a caller's proxy: which protocol for what, what is said to sidecars alone,
//! who is not believed, and what becomes of links when the proxy's own certificate changes.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use outrigger_tests::{
    authority::{Authority, Issue, Svid},
    backend::{Answer, Backend, Fault},
    client::Client,
    grpc::{GrpcClient, GrpcService, UNARY},
    mesh::{self, Proxy},
    mesh_callee::{Backends, HTTP1, HTTP2, MeshCallee, TCP},
    raw::{Ended, RawBackend, RawClient, Reply},
    switching::{KEY, Switching},
    unreachable::Refuses,
    wait::{Gate, until, within},
};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tempfile::TempDir;

const HANDSHAKES: &str = "outrigger_mesh_handshakes_total";
const FAILURES: &str = "outrigger_upstream_tls_failures_total";

/// A trust domain, and the files of the identity of a proxy `web` in it.
struct Domain {
    authority: Authority,
    folder: TempDir,
}

impl Domain {
    fn new() -> Self {
        let domain =
            Self { authority: Authority::new("cluster.local"), folder: tempfile::tempdir().unwrap() };
        domain.rotate(|issue| issue);
        domain
    }

    /// Gives the proxy another certificate.
    fn rotate(&self, change: impl FnOnce(Issue<'_>) -> Issue<'_>) -> Svid {
        let svid = change(self.authority.issue(&self.id("web"))).make();
        svid.write_to(self.folder.path());
        svid
    }

    fn id(&self, account: &str) -> String {
        self.authority.account("default", account)
    }

    fn svid(&self, account: &str) -> Svid {
        self.authority.svid(&self.id(account))
    }

    /// A sidecar of the service account before these backends.
    async fn callee(&self, account: &str, to: Backends) -> MeshCallee {
        MeshCallee::start(&self.svid(account), to).await
    }

    /// This policy for a proxy that has its identity.
    fn with_identity(&self, policy: &str) -> String {
        let folder = self.folder.path().display();
        let identity = format!(
            "spec:\n  serviceAccount: web\n  identity: {{files: {{certificate: {folder}/tls.crt, privateKey: \
             {folder}/tls.key, trustBundle: {folder}/ca.crt}}}}\n"
        );
        policy.replacen("spec:\n", &identity, 1)
    }

    /// A proxy with an identity and an outbound listener that goes by authority.
    async fn proxy(&self, documents: &[&str]) -> Proxy {
        Proxy::start(&self.with_identity(&mesh::outbound(documents))).await
    }

    /// A MeshService whose endpoints are all of the service account of its name.
    fn service(&self, name: &str, protocol: &str, endpoints: &[SocketAddr]) -> String {
        let id = self.id(name);
        let of = |address: &SocketAddr| format!("{{address: \"{address}\", identity: \"{id}\"}}");
        listed(name, protocol, &endpoints.iter().map(of).collect::<Vec<_>>())
    }
}

fn listed(name: &str, protocol: &str, endpoints: &[String]) -> String {
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: MeshService\nmetadata: {{name: {name}}}\nspec:\n  \
         ports: [{{port: 80, protocol: {protocol}}}]\n  endpoints: [{}]\n",
        endpoints.join(", ")
    )
}

fn http2(to: &Backend) -> Backends {
    Backends { http2: Some(to.address()), ..Backends::default() }
}

fn tcp(to: SocketAddr) -> Backends {
    Backends { tcp: Some(to), ..Backends::default() }
}

/// How many handshakes came to this.
async fn handshakes(proxy: &Proxy, result: &str) -> f64 {
    proxy.metrics().await.sum(HANDSHAKES, &[("side", "outbound"), ("result", result)])
}

#[tokio::test]
async fn requests_of_any_version_share_one_link_and_a_sidecar_is_told_what_it_needs() {
    let domain = Domain::new();
    for protocol in ["http1", "http2", "grpc", "tcp"] {
        let app = Backend::http2("cart").await;
        let callee = domain.callee("cart", http2(&app)).await;
        let limit = mesh::traffic("cart", "  timeouts: {request: 30s}\n");
        let proxy = domain.proxy(&[&domain.service("cart", protocol, &[callee.address()]), &limit]).await;
        let mut one = Client::http1(proxy.outbound(0), "cart").await;
        let mut two = Client::http2(proxy.outbound(0), "cart").await;
        // As without a link: what the port says, else as the caller speaks.
        let versions = match protocol {
            "http1" => [Some("HTTP/1.1"); 2],
            "tcp" => [Some("HTTP/1.1"), None],
            _ => [None; 2],
        };
        for (client, version) in [&mut one, &mut two].into_iter().zip(versions) {
            let mut request = client.request("POST", "/a?b=c", "hello");
            for forged in ["x-outrigger-attempt", "x_outrigger_timeout_ms", "x-outrigger-orig-proto"] {
                request.headers_mut().append(forged, "9".parse().unwrap());
            }
            let answer = client.call(request).await.unwrap();
            assert_eq!(answer.status, 200, "{protocol}: {}", answer.text());
            let seen = app.last();
            assert_eq!((&*seen.version, &*seen.authority, &*seen.path), ("HTTP/2.0", "cart", "/a?b=c"));
            let field = |name: &str| seen.headers.get(name).map(|value| value.to_str().unwrap());
            assert_eq!(field("x-outrigger-orig-proto"), version, "{protocol}");
            assert_eq!(field("x-outrigger-attempt"), Some("0"));
            let left: u64 = field("x-outrigger-timeout-ms").unwrap().parse().unwrap();
            assert!((1..=30_000).contains(&left), "{left}");
            assert_eq!(seen.headers.get("x_outrigger_timeout_ms"), None);
        }
        let links = callee.links();
        assert_eq!(callee.alpns(), [HTTP2], "{protocol}: one link for all");
        assert_eq!(links[0].name, None, "nobody on the way reads who is called");
        assert_eq!(handshakes(&proxy, "ok").await, 1.0);
    }
}

/// What is for sidecars goes to nobody else, and mutual TLS to nobody whom policy gives no identity, or a port that is
/// Disabled; and a Sidecar without identity speaks plaintext.
#[tokio::test]
async fn everybody_else_gets_plaintext_and_nothing_of_ours() {
    let domain = Domain::new();
    let app = Backend::http1("cart").await;
    let limit = mesh::traffic("cart", "  timeouts: {request: 30s}\n");
    let disabled = "apiVersion: outrigger.dev/v1alpha1\nkind: Mesh\nmetadata: {name: default}\nspec:\n  \
                    mtls: {ports: [{service: {name: cart}, port: 80, mode: Disabled}]}\n";
    let (plain, named) =
        (mesh::service("cart", "http1", &[app.address()]), domain.service("cart", "http1", &[app.address()]));
    for (policy, why) in [
        (domain.with_identity(&mesh::outbound(&[&plain, &limit])), "the endpoint has no identity"),
        (
            domain.with_identity(&mesh::outbound(&[&named, &limit, disabled])),
            "mutual TLS is Disabled for the port",
        ),
        (mesh::outbound(&[&named, &limit]), "this Sidecar has no identity"),
    ] {
        let proxy = Proxy::start(&policy).await;
        let answer = Client::http1(proxy.outbound(0), "cart").await.get("/").await;
        assert_eq!(answer.status, 200, "{why}: {}", answer.text());
        let seen = app.last();
        let ours = seen.headers.keys().filter(|name| name.as_str().starts_with("x-outrigger")).count();
        assert_eq!((&*seen.version, ours), ("HTTP/1.1", 0), "{why}");
        let services = outrigger_tests::client::get(proxy.admin(), "/services").await.json();
        let endpoint = &services[0]["ports"][0]["endpoints"][0];
        assert_eq!(
            (&endpoint["security"], &endpoint["plaintext_because"]),
            (&"plaintext".into(), &why.into())
        );
        assert_eq!(handshakes(&proxy, "ok").await, 0.0);
    }
    let callee = domain.callee("cart", http2(&app)).await;
    let proxy = domain.proxy(&[&domain.service("cart", "http1", &[callee.address()])]).await;
    let services = outrigger_tests::client::get(proxy.admin(), "/services").await.json();
    let endpoint = &services[0]["ports"][0]["endpoints"][0];
    assert_eq!((&endpoint["security"], &endpoint["identity"]), (&"mtls".into(), &domain.id("cart").into()));
    assert_eq!(endpoint.get("plaintext_because"), None);
}

/// A caller of HTTP/1 cannot tell that its request went over a link of HTTP/2.
#[tokio::test]
async fn answers_look_as_if_there_were_no_link() {
    let domain = Domain::new();
    let app = Backend::http2("cart").await;
    let callee = domain.callee("cart", http2(&app)).await;
    let proxy = domain.proxy(&[&domain.service("cart", "http1", &[callee.address()])]).await;
    let gate = Gate::closed();
    let held = gate.clone();
    app.answer(move |seen| match &*seen.path {
        "/none" => Answer::status(204),
        "/same" => Answer::status(304).header("etag", "\"1\""),
        "/large" => Answer::text(vec![b'x'; 8 * 1024 * 1024]),
        "/trailers" => {
            let mut fields = http::HeaderMap::new();
            fields.insert("x-sum", "7".parse().unwrap());
            Answer::status(200).header("trailer", "x-sum").then("body").then_trailers(fields)
        }
        "/cut" => Answer::status(200).then("half").then_wait(&held).then_fail(Fault::CancelStream),
        _ => Answer::text("hello"),
    });
    let mut client = Client::http1(proxy.outbound(0), "cart").await;
    let answer = client.get("/").await;
    assert_eq!((answer.header("content-length"), &*answer.text()), ("5", "hello"));
    let head = client.request("HEAD", "/", "");
    let answer = client.call(head).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
    for (path, status) in [("/none", 204), ("/same", 304)] {
        let answer = client.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (status, 0));
    }
    assert_eq!(client.get("/large").await.body.len(), 8 * 1024 * 1024);
    let mut request = client.request("GET", "/trailers", "");
    request.headers_mut().insert("te", "trailers".parse().unwrap());
    assert_eq!(client.call(request).await.unwrap().trailers["x-sum"], "7");
    assert!(!client.is_closed(), "one connection served them all");
    let mut cut = RawClient::connect(proxy.outbound(0)).await;
    cut.send("GET /cut HTTP/1.1\r\nHost: cart\r\n\r\n").await;
    cut.read_until("half").await;
    gate.open();
    let (bytes, _) = cut.read_to_end().await;
    assert!(!bytes.ends_with(b"0\r\n\r\n"), "what is cut never looks whole");

    let mut old = RawClient::connect(proxy.outbound(0)).await;
    old.send("GET / HTTP/1.0\r\nHost: cart\r\n\r\n").await;
    let (bytes, _) = old.read_to_end().await;
    let text = String::from_utf8_lossy(&bytes).to_lowercase();
    assert!(text.starts_with("http/1.0 200") || text.starts_with("http/1.1 200"), "{text}");
    assert!(text.ends_with("\r\n\r\nhello") && !text.contains("chunked"), "{text}");
    assert_eq!(callee.alpns(), [HTTP2]);
}

#[tokio::test]
async fn a_body_waits_until_the_far_side_wants_it() {
    let domain = Domain::new();
    let app = Backend::http2("cart").await;
    let callee = domain.callee("cart", http2(&app)).await;
    let proxy = domain.proxy(&[&domain.service("cart", "http1", &[callee.address()])]).await;
    let mut client = RawClient::connect(proxy.outbound(0)).await;
    client.send("POST / HTTP/1.1\r\nHost: cart\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n").await;
    client.read_until("HTTP/1.1 100 ").await;
    client.send("hello").await;
    client.read_until("HTTP/1.1 200 ").await;
    assert_eq!(app.last().body_bytes, 5);

    app.answer(|_| Answer::status(417).early());
    let mut client = RawClient::connect(proxy.outbound(0)).await;
    client.send("POST / HTTP/1.1\r\nHost: cart\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n").await;
    client.read_until("HTTP/1.1 417 ").await;
}

/// A caller that goes away takes its stream with it, and nobody else's.
#[tokio::test]
async fn a_caller_that_goes_away_resets_its_stream_alone() {
    let domain = Domain::new();
    let (app, gate) = (Backend::http2("cart").await, Gate::closed());
    let held = gate.clone();
    app.answer(
        move |seen| if seen.path == "/held" { Answer::text("x").hold_for(&held) } else { Answer::text("y") },
    );
    let callee = domain.callee("cart", http2(&app)).await;
    let proxy = domain.proxy(&[&domain.service("cart", "http1", &[callee.address()])]).await;
    let mut gone = RawClient::connect(proxy.outbound(0)).await;
    gone.send("GET /held HTTP/1.1\r\nHost: cart\r\n\r\n").await;
    app.wait_requests(1).await;
    gone.reset();
    until("the record of the caller that is gone", || async {
        let metrics = proxy.metrics().await;
        (metrics.sum("outrigger_requests_open", &[]) == 0.0).then_some(())
    })
    .await;
    assert_eq!(Client::http1(proxy.outbound(0), "cart").await.get("/").await.text(), "y");
    assert_eq!(callee.alpns(), [HTTP2], "the link has stayed");
    gate.open();
}

#[tokio::test]
async fn grpc_calls_keep_their_trailers() {
    let domain = Domain::new();
    let service = GrpcService::start().await;
    let to = Backends { http2: Some(service.address()), ..Backends::default() };
    let callee = domain.callee("cart", to).await;
    let proxy = domain.proxy(&[&domain.service("cart", "grpc", &[callee.address()])]).await;
    let mut client = GrpcClient::connect(proxy.outbound(0), "cart").await;
    for _ in 0..3 {
        let outcome = client.call(UNARY, &["hello"]).await;
        assert_eq!((outcome.status, outcome.messages.len()), (Some(0), 1), "{outcome:?}");
    }
    assert_eq!(callee.alpns(), [HTTP2]);
}

#[tokio::test]
async fn what_becomes_something_else_has_a_link_of_its_own() {
    let domain = Domain::new();
    let (app, server) = (Backend::http2("cart").await, Switching::websocket().await);
    let echo = echo().await;
    let to = Backends { http1: Some(server.address()), tcp: Some(echo.address()), ..http2(&app) };
    let callee = domain.callee("cart", to).await;
    for protocol in ["http1", "http2"] {
        let proxy = domain.proxy(&[&domain.service("cart", protocol, &[callee.address()])]).await;
        let before = callee.links().len();
        let mut client = RawClient::connect(proxy.outbound(0)).await;
        let upgrade = format!(
            "GET /chat HTTP/1.1\r\nHost: cart\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
        );
        client.send(upgrade).await;
        client.read_until("\r\n\r\n").await;
        assert!(client.text().starts_with("HTTP/1.1 101 "), "{}", client.text());
        client.send("hello").await;
        client.read_until("hello").await;
        assert_eq!(callee.alpns()[before..], [HTTP1], "{protocol}");
        let came = server.came().pop().unwrap();
        let version = if protocol == "http1" { "http/1.1" } else { "http/2" };
        assert_eq!(came.header("x-outrigger-orig-proto").as_deref(), Some(version));
        assert_eq!(came.header("x-outrigger-attempt").as_deref(), Some("0"));

        let mut client = RawClient::connect(proxy.outbound(0)).await;
        client.send("CONNECT cart:80 HTTP/1.1\r\nHost: cart:80\r\n\r\n").await;
        client.read_until("hello\n").await;
        client.finish().await;
        let (bytes, ended) = client.read_to_end().await;
        assert!(bytes.ends_with(b"bye\n") && ended == Ended::Fin, "{ended:?}");
        assert_eq!(callee.alpns()[before..], [HTTP1, TCP], "{protocol}");
    }
}

/// An upgrade that the app declines is an ordinary answer, and its link goes to nobody else.
#[tokio::test]
async fn a_link_of_an_upgrade_that_came_to_nothing_ends() {
    let domain = Domain::new();
    let gate = Gate::closed();
    gate.open();
    let declines = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno".to_owned();
    let server = Switching::http1(&gate, move |_| declines.clone()).await;
    let to = Backends { http1: Some(server.address()), ..Backends::default() };
    let callee = domain.callee("cart", to).await;
    let proxy = domain.proxy(&[&domain.service("cart", "http1", &[callee.address()])]).await;
    let mut client = RawClient::connect(proxy.outbound(0)).await;
    for links in 1..=2 {
        client
            .send("GET / HTTP/1.1\r\nHost: cart\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            .await;
        client.read_until("\r\n\r\nno").await;
        client.clear();
        callee.wait_open(0).await;
        assert_eq!(callee.alpns().len(), links);
        assert_eq!(server.wait_end().await, Ended::Fin);
    }
}

async fn echo() -> RawBackend {
    RawBackend::start(Reply::Echo { greeting: b"hello\n".to_vec(), farewell: b"bye\n".to_vec() }).await
}

#[tokio::test]
async fn bytes_ride_behind_a_frame_and_end_as_they_would_alone() {
    let domain = Domain::new();
    let echo = echo().await;
    let callee = domain.callee("db", tcp(echo.address())).await;
    let policy = mesh::pinned("db", &[&domain.service("db", "tcp", &[callee.address()])]);
    let proxy = Proxy::start(&domain.with_identity(&policy)).await;
    let mut client = RawClient::connect(proxy.outbound(0)).await;
    // The server speaks first.
    client.read_until("hello\n").await;
    client.send("query").await;
    client.read_until("query").await;
    // One half may end before the other.
    client.finish().await;
    let (bytes, ended) = client.read_to_end().await;
    assert!(bytes.ends_with(b"bye\n"), "{}", String::from_utf8_lossy(&bytes));
    assert_eq!(ended, Ended::Fin);
    let [high, low] = callee.address().port().to_be_bytes();
    let link = callee.links().pop().unwrap();
    assert_eq!((&*link.alpn, link.frame), (TCP, Some(vec![1, 2, high, low])));

    // A link that breaks is a reset, never an end.
    let mut client = RawClient::connect(proxy.outbound(0)).await;
    client.read_until("hello\n").await;
    callee.reset_all();
    assert_eq!(client.read_to_end().await.1, Ended::Reset);

    // And so is a caller.
    let mut client = RawClient::connect(proxy.outbound(0)).await;
    client.read_until("hello\n").await;
    client.reset();
    until("the reset at the far side", || async {
        (echo.ended().last() == Some(&Some(Ended::Reset))).then_some(())
    })
    .await;
}

/// The app's own TLS goes through a link as it is.
#[tokio::test]
async fn the_apps_own_tls_rides_within() {
    let domain = Domain::new();
    let raw = RawBackend::start(Reply::Silent).await;
    let callee = domain.callee("db", tcp(raw.address())).await;
    let policy = mesh::pinned("db", &[&domain.service("db", "tcp", &[callee.address()])]);
    let proxy = Proxy::start(&domain.with_identity(&policy)).await;
    let outside = outrigger_tests::outside::Authority::new("outside");
    let hello = outrigger_tests::outside::client_hello("db.example.com", &outside);
    let mut client = RawClient::connect(proxy.outbound(0)).await;
    client.send(&hello).await;
    until("the ClientHello at the far side", || async {
        raw.received().first().is_some_and(|bytes| *bytes == hello).then_some(())
    })
    .await;
    assert_eq!(callee.alpns(), [TCP]);
}

/// Whoever answers at the address of an endpoint must be who policy says: another endpoint is tried, and nothing is sent.
#[tokio::test]
async fn whoever_is_somebody_else_gets_no_request() {
    let domain = Domain::new();
    let stranger = Authority::new("cluster.local");
    let id = domain.id("cart");
    let issue = || domain.authority.issue(&id);
    let others = [
        (domain.svid("thief"), "identity_mismatch"),
        (stranger.svid(&id), "unknown_authority"),
        (issue().expired().make(), "expired"),
        (issue().early().make(), "not_yet_valid"),
        (issue().and_uri("spiffe://cluster.local/ns/default/sa/cart2").make(), "several_uris"),
    ];
    for (svid, reason) in others {
        let app = Backend::http2("cart").await;
        let (other, good) =
            (MeshCallee::start(&svid, http2(&app)).await, domain.callee("cart", http2(&app)).await);
        let alone = domain.proxy(&[&domain.service("cart", "http1", &[other.address()])]).await;
        let answer = Client::http1(alone.outbound(0), "cart").await.post("/", "x").await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("x-outrigger-error")),
            (503, "tls_failed"),
            "{reason}"
        );
        let metrics = alone.metrics().await;
        assert!(
            metrics.sum(FAILURES, &[("service", "default/cart:80"), ("reason", reason)]) > 0.0,
            "{reason}"
        );
        assert!(metrics.sum(HANDSHAKES, &[("side", "outbound"), ("result", reason)]) > 0.0, "{reason}");
        assert_eq!(app.requests(), 0, "{reason}");

        // A POST too: nothing was sent.
        let both = [other.address(), good.address()];
        let steady = mesh::traffic("cart", "  loadBalancer: {policy: roundRobin}\n");
        let proxy = domain.proxy(&[&domain.service("cart", "http1", &both), &steady]).await;
        let mut client = Client::http1(proxy.outbound(0), "cart").await;
        for _ in 0..4 {
            assert_eq!(client.post("/", "x").await.status, 200, "{reason}");
        }
        assert!(proxy.metrics().await.sum("outrigger_retries_total", &[("reason", "connect-failure")]) > 0.0);
        assert_eq!(app.requests(), 4);
    }
}

/// A peer that speaks none of the mesh's protocols, no TLS at all, or nothing: each with its reason, and never plaintext.
#[tokio::test]
async fn what_is_no_sidecar_is_never_spoken_to_otherwise() {
    let domain = Domain::new();
    let app = Backend::http2("cart").await;
    let svid = domain.svid("cart");
    let plain = RawBackend::start(Reply::AtOnce(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())).await;
    let (silent, closes) = (RawBackend::start(Reply::Silent).await, Refuses::new());
    let deaf = MeshCallee::believing(svid.server(&[]), http2(&app)).await;
    let other = MeshCallee::believing(svid.server(&["h2", "http/1.1"]), http2(&app)).await;
    for (address, error, reason) in [
        (plain.address(), "tls_failed", Some("protocol")),
        (deaf.address(), "tls_failed", Some("alpn")),
        (other.address(), "tls_failed", Some("alpn")),
        (silent.address(), "connect_timeout", None),
        (closes.address(), "connect_failed", None),
    ] {
        let short = mesh::traffic("cart", "  timeouts: {connect: 300ms}\n");
        let proxy = domain.proxy(&[&domain.service("cart", "http1", &[address]), &short]).await;
        let answer = Client::http1(proxy.outbound(0), "cart").await.get("/secret").await;
        assert_eq!((answer.status.as_u16(), answer.header("x-outrigger-error")), (503, error), "{reason:?}");
        let Some(reason) = reason else { continue };
        assert!(handshakes(&proxy, reason).await > 0.0, "{reason}");
    }
    assert_eq!(app.requests(), 0);
    for backend in [&plain, &silent] {
        assert!(!backend.text().contains("secret"), "nothing of the request is in the clear");
    }
}

/// A callee that does not take our certificate says so after the handshake: the request was not served, so a POST may be
/// sent to another endpoint.
#[tokio::test]
async fn a_callee_that_does_not_take_our_certificate_has_served_nothing() {
    let domain = Domain::new();
    let app = Backend::http2("cart").await;
    let mut config = domain.svid("cart").server(&[HTTP2]);
    config = refusing(config, &domain.svid("cart"));
    let (refuses, takes) =
        (MeshCallee::believing(config, http2(&app)).await, domain.callee("cart", http2(&app)).await);
    let alone = domain.proxy(&[&domain.service("cart", "http1", &[refuses.address()])]).await;
    let answer = Client::http1(alone.outbound(0), "cart").await.post("/", "x").await;
    assert_eq!((answer.status.as_u16(), answer.header("x-outrigger-error")), (503, "tls_failed"));
    let refused = alone.metrics().await.sum(FAILURES, &[("reason", "refused")]);
    assert!(refused > 0.0, "{refused}");
    assert_eq!(app.requests(), 0);

    let both = [refuses.address(), takes.address()];
    let steady = mesh::traffic("cart", "  loadBalancer: {policy: roundRobin}\n");
    let proxy = domain.proxy(&[&domain.service("cart", "http1", &both), &steady]).await;
    let mut client = Client::http1(proxy.outbound(0), "cart").await;
    for _ in 0..4 {
        assert_eq!(client.post("/", "x").await.status, 200);
    }
    assert_eq!(app.requests(), 4, "each was served once");
}

/// The same server, which believes only an authority that nobody has a certificate of.
fn refusing(config: ServerConfig, svid: &Svid) -> ServerConfig {
    let nobody = Authority::new("cluster.local").svid("spiffe://cluster.local/ns/default/sa/nobody");
    let mut roots = RootCertStore::empty();
    let bundle = CertificateDer::from_pem_slice(nobody.bundle_pem.as_bytes()).unwrap();
    roots.add(bundle).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build().unwrap();
    let (chain, key) = svid.der();
    let mut own = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .unwrap();
    own.alpn_protocols = config.alpn_protocols;
    own
}

/// `x-outrigger-error` is a sidecar's to say; from anybody else it is not passed on.
#[tokio::test]
async fn a_sidecars_reason_is_passed_on_and_nobody_elses() {
    let domain = Domain::new();
    let (app, plain) = (Backend::http2("cart").await, Backend::http2("plain").await);
    for backend in [&app, &plain] {
        backend.answer(|_| Answer::status(503).header("x-outrigger-error", "no_endpoint"));
    }
    let callee = domain.callee("cart", http2(&app)).await;
    let documents = [
        domain.service("cart", "http2", &[callee.address()]),
        mesh::service("plain", "http2", &[plain.address()]),
    ];
    let proxy = domain.proxy(&documents.each_ref().map(String::as_str)).await;
    for (host, error) in [("cart", "no_endpoint"), ("plain", "")] {
        let answer = Client::http1(proxy.outbound(0), host).await.get("/").await;
        assert_eq!((answer.status.as_u16(), answer.header("x-outrigger-error")), (503, error), "{host}");
    }
}

/// One hop repeats a request, and says which attempt each is.
#[tokio::test]
async fn each_attempt_has_its_number() {
    let domain = Domain::new();
    let app = Backend::http2("cart").await;
    app.answer(|seen| Answer::status(if seen.index < 2 { 503 } else { 200 }));
    let callee = domain.callee("cart", http2(&app)).await;
    let retry = mesh::traffic(
        "cart",
        "  retry: {attempts: 3, on: [gateway-error], backoff: {base: 1ms, max: 2ms}}\n",
    );
    let proxy = domain.proxy(&[&domain.service("cart", "http1", &[callee.address()]), &retry]).await;
    assert_eq!(Client::http1(proxy.outbound(0), "cart").await.get("/").await.status, 200);
    let numbers: Vec<_> =
        app.seen().iter().map(|seen| seen.header("x-outrigger-attempt").to_owned()).collect();
    assert_eq!(numbers, ["0", "1", "2"]);
}

/// Whatever goes to an endpoint goes by the same rule: its own address, copies, another Service, checks.
#[tokio::test]
async fn every_way_to_an_endpoint_is_by_mutual_tls() {
    let domain = Domain::new();
    let app = Backend::http2("cart").await;
    let callee = domain.callee("cart", http2(&app)).await;
    let cart = domain.service("cart", "http1", &[callee.address()]);
    // Its own address.
    let proxy = domain.proxy(&[&cart]).await;
    let answer = Client::http1(proxy.outbound(0), &callee.address().to_string()).await.get("/own").await;
    assert_eq!(answer.status, 200, "{}", answer.text());

    // A copy.
    let front = Backend::http1("front").await;
    let front_service = mesh::service("front", "http1", &[front.address()]);
    let mirror = mesh::route(
        "front",
        "  - filters: [{type: RequestMirror, requestMirror: {backendRef: {name: cart, port: 80}}}]\n    \
         backendRefs: [{name: front, port: 80}]\n",
    );
    let proxy = domain.proxy(&[&cart, &front_service, &mirror]).await;
    Client::http1(proxy.outbound(0), "front").await.get("/copy").await;
    until("the copy", || async { (app.requests_to("/copy") == 1).then_some(()) }).await;

    // Another Service.
    front.answer(|_| Answer::status(503));
    let fallback = mesh::traffic(
        "front",
        "  circuitBreaker: {trip: {failurePercent: 50, minRequests: 100}, fallback: {service: {name: cart, port: 80}}}\n",
    );
    let proxy = domain.proxy(&[&cart, &front_service, &fallback]).await;
    assert_eq!(Client::http1(proxy.outbound(0), "front").await.get("/instead").await.status, 200);
    assert_eq!(app.requests_to("/instead"), 1);

    // Checks.
    let check = mesh::traffic("cart", "  healthCheck: {http: {path: /healthz}, interval: 100ms}\n");
    let _proxy = domain.proxy(&[&cart, &check]).await;
    until("a check", || async { (app.requests_to("/healthz") > 0).then_some(()) }).await;
    for seen in app.seen() {
        assert_eq!(seen.header("x-outrigger-orig-proto"), "HTTP/1.1", "{}", seen.path);
    }
    assert!(callee.alpns().iter().all(|alpn| alpn == HTTP2));

    // Whose certificate is somebody else's fails its checks.
    let thief = MeshCallee::start(&domain.svid("thief"), http2(&app)).await;
    for kind in ["http: {path: /}", "tcp: {}", "grpc: {}"] {
        let check = mesh::traffic(
            "cart",
            &format!("  healthCheck: {{{kind}, interval: 100ms, unhealthyAfter: 1}}\n"),
        );
        let proxy = domain.proxy(&[&domain.service("cart", "http2", &[thief.address()]), &check]).await;
        let failed = [("outcome", "tls_failed")];
        until("a failed check", || async {
            (proxy.metrics().await.sum("outrigger_health_checks_total", &failed) > 0.0).then_some(())
        })
        .await;
    }
}

/// A gRPC or WebSocket stream that is open stays on its link; what begins after a rotation goes over another one, and the old
/// one ends with its last stream.
#[tokio::test]
async fn a_rotation_moves_new_requests_to_a_new_link() {
    let domain = Domain::new();
    let (app, gate) = (Backend::http2("cart").await, Gate::closed());
    let held = gate.clone();
    app.answer(move |seen| match &*seen.path {
        "/held" => Answer::status(200).then("first").then_wait(&held).then("last"),
        _ => Answer::text("quick"),
    });
    let callee = domain.callee("cart", http2(&app)).await;
    let proxy = domain.proxy(&[&domain.service("cart", "http1", &[callee.address()])]).await;
    let mut long = RawClient::connect(proxy.outbound(0)).await;
    long.send("GET /held HTTP/1.1\r\nHost: cart\r\n\r\n").await;
    long.read_until("first").await;
    let mut client = Client::http1(proxy.outbound(0), "cart").await;
    assert_eq!(client.get("/").await.status, 200);
    assert_eq!(callee.links().len(), 1);

    domain.rotate(|issue| issue);
    within("requests on a new link", async {
        while callee.links().len() < 2 {
            assert_eq!(client.get("/").await.status, 200);
        }
    })
    .await;
    let links = callee.links();
    assert_ne!(links[0].certificate, links[1].certificate);
    assert!(!links[0].ended, "its stream is open");
    gate.open();
    long.read_until("last").await;
    callee.wait_open(1).await;
    assert!(callee.links()[0].ended);

    // One that nobody uses ends soon, not with its idle time.
    domain.rotate(|issue| issue);
    callee.wait_open(0).await;
}

/// Where there may be one connection, an idle old link gives way to a new one; and one that is busy serves on.
#[tokio::test]
async fn a_rotation_needs_no_second_connection() {
    let domain = Domain::new();
    let (app, gate) = (Backend::http2("cart").await, Gate::closed());
    let held = gate.clone();
    app.answer(move |seen| match &*seen.path {
        "/held" => Answer::status(200).then("first").then_wait(&held).then("last"),
        _ => Answer::text("quick"),
    });
    let callee = domain.callee("cart", http2(&app)).await;
    let one = mesh::traffic("cart", "  circuitBreaker: {limits: {connections: 1}}\n");
    let proxy = domain.proxy(&[&domain.service("cart", "http1", &[callee.address()]), &one]).await;
    let mut client = Client::http1(proxy.outbound(0), "cart").await;
    assert_eq!(client.get("/").await.status, 200);
    domain.rotate(|issue| issue);
    within("a new link", async {
        while callee.links().len() < 2 {
            assert_eq!(client.get("/").await.status, 200);
        }
    })
    .await;
    callee.wait_open(1).await;

    let mut long = RawClient::connect(proxy.outbound(0)).await;
    long.send("GET /held HTTP/1.1\r\nHost: cart\r\n\r\n").await;
    long.read_until("first").await;
    let before = rotations(&proxy).await;
    domain.rotate(|issue| issue);
    until("the rotation", || async { (rotations(&proxy).await > before).then_some(()) }).await;
    for _ in 0..3 {
        assert_eq!(client.get("/").await.status, 200, "the only connection serves on");
    }
    assert_eq!(callee.links().len(), 2);
    gate.open();
    long.read_until("last").await;
    assert_eq!(client.get("/").await.status, 200);
    assert_eq!(callee.links().len(), 3, "its permit was for a link with the new certificate");
}

async fn rotations(proxy: &Proxy) -> f64 {
    proxy.metrics().await.sum("outrigger_identity_rotations_total", &[])
}

/// No handshake is made with a certificate that has expired, and no plaintext; the next one is used as soon as it is there.
#[tokio::test]
async fn an_expired_certificate_of_our_own_is_503_until_there_is_another() {
    let domain = Domain::new();
    let app = Backend::http2("cart").await;
    let callee = domain.callee("cart", http2(&app)).await;
    domain.rotate(|issue| issue.ttl(Duration::from_secs(2)));
    let proxy = domain.proxy(&[&domain.service("cart", "http1", &[callee.address()])]).await;
    // Each has a link of its own, so that each needs a handshake.
    let upgrade = format!(
        "GET / HTTP/1.1\r\nHost: cart\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    );
    let expired = within("the end of the certificate", async {
        loop {
            let mut client = RawClient::connect(proxy.outbound(0)).await;
            client.send(&upgrade).await;
            client.read_until("\r\n\r\n").await;
            let text = client.text().to_lowercase();
            if text.contains("x-outrigger-error: tls_failed") {
                break text;
            }
        }
    })
    .await;
    assert!(expired.starts_with("http/1.1 503"), "{expired}");
    assert!(handshakes(&proxy, "own_certificate_expired").await > 0.0);
    domain.rotate(|issue| issue);
    let mut client = Client::http1(proxy.outbound(0), "cart").await;
    within("an answer", async { while client.get("/").await.status != 200 {} }).await;
}
