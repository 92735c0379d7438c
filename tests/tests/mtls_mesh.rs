//! Two proxies with identities, one before a caller and one before an app, and mutual TLS between them: what goes through plaintext
//! goes through this, with the same ends, failures and time limits; and a certificate that changes fails nobody.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use outrigger_tests::{
    authority::Authority,
    backend::{Answer, Backend, Fault},
    client::Client,
    grpc::{BIDI, CLIENT_STREAM, FAIL, GrpcClient, GrpcService, SERVER_STREAM, UNARY},
    mesh::{self, Proxy},
    outside::{self, TlsFront},
    raw::{Ended, RawBackend, RawClient, Reply},
    switching::{Http2Caller, KEY, Switching},
    wait::{Gate, until, within},
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const HANDSHAKES: &str = "outrigger_mesh_handshakes_total";

/// An authority, and folders with the identities of sidecars.
struct Domain {
    authority: Arc<Authority>,
    folders: Vec<(&'static str, TempDir)>,
}

impl Domain {
    /// With identities for these service accounts.
    fn of(accounts: &[&'static str]) -> Self {
        let folder = |account: &&'static str| (*account, tempfile::tempdir().unwrap());
        let domain = Self {
            authority: Arc::new(Authority::new("cluster.local")),
            folders: accounts.iter().map(folder).collect(),
        };
        accounts.iter().for_each(|account| domain.rotate(account));
        domain
    }

    fn id(&self, account: &str) -> String {
        self.authority.account("default", account)
    }

    fn folder(&self, account: &str) -> &std::path::Path {
        self.folders.iter().find(|one| one.0 == account).expect("it has an identity").1.path()
    }

    /// Gives a sidecar another certificate.
    fn rotate(&self, account: &str) {
        self.authority.svid(&self.id(account)).write_to(self.folder(account));
    }

    /// This policy with the identity of `account`.
    async fn start(&self, account: &str, policy: &str) -> Proxy {
        let folder = self.folder(account).display();
        let identity = format!(
            "spec:\n  serviceAccount: {account}\n  identity: {{files: {{certificate: {folder}/tls.crt, privateKey: \
             {folder}/tls.key, trustBundle: {folder}/ca.crt}}}}\n"
        );
        Proxy::start(&policy.replacen("spec:\n", &identity, 1)).await
    }

    /// A sidecar of `cart` before an app, for nobody who does not show who it is.
    async fn callee(&self, app: SocketAddr, protocol: &str) -> Proxy {
        let strict = "apiVersion: outrigger.dev/v1alpha1\nkind: Mesh\nmetadata: {name: default}\nspec:\n  \
                      mtls: {mode: Strict}\n";
        self.start("cart", &mesh::inbound(app, protocol, &[strict])).await
    }

    /// A sidecar of `web` whose listener is pinned to the Service `cart`, or goes by authority.
    async fn caller(&self, listener: Listener, service: &str, more: &[&str]) -> Proxy {
        let documents: Vec<&str> = [service].into_iter().chain(more.iter().copied()).collect();
        let policy = match listener {
            Listener::Open => mesh::outbound(&documents),
            Listener::Pinned => mesh::pinned("cart", &documents),
        };
        self.start("web", &policy).await
    }

    /// The Service `cart`, whose endpoints are all to be `cart`.
    fn service(&self, protocol: &str, endpoints: &[SocketAddr]) -> String {
        let id = self.id("cart");
        let of = |address: &SocketAddr| format!("{{address: \"{address}\", identity: \"{id}\"}}");
        let endpoints: Vec<_> = endpoints.iter().map(of).collect();
        format!(
            "apiVersion: outrigger.dev/v1alpha1\nkind: MeshService\nmetadata: {{name: cart}}\nspec:\n  \
             ports: [{{port: 80, protocol: {protocol}}}]\n  endpoints: [{}]\n",
            endpoints.join(", ")
        )
    }
}

#[derive(Clone, Copy)]
enum Listener {
    Open,
    Pinned,
}

/// An app with both sidecars; the caller's listener goes by authority.
struct Pair {
    domain: Domain,
    callee: Proxy,
    caller: Proxy,
}

impl Pair {
    /// The app's listener and the port speak these; `more` is policy of the caller.
    async fn new(app: SocketAddr, (listener, port): (&str, &str), more: &[&str]) -> Self {
        Self::with(app, (listener, port), Listener::Open, more).await
    }

    async fn with(app: SocketAddr, (listener, port): (&str, &str), way: Listener, more: &[&str]) -> Self {
        let domain = Domain::of(&["web", "cart"]);
        let callee = domain.callee(app, listener).await;
        let caller = domain.caller(way, &domain.service(port, &[callee.inbound(0)]), more).await;
        Self { domain, callee, caller }
    }

    fn entrance(&self) -> SocketAddr {
        self.caller.outbound(0)
    }

    /// Links that were made so far.
    async fn links(&self) -> f64 {
        self.caller.metrics().await.sum(HANDSHAKES, &[("side", "outbound"), ("result", "ok")])
    }

    /// Everything that came in showed who it is.
    async fn all_is_mutual(&self) {
        let metrics = self.callee.metrics().await;
        assert!(metrics.sum("outrigger_inbound_security_total", &[("security", "mtls")]) > 0.0);
        assert_eq!(metrics.sum("outrigger_inbound_security_total", &[("security", "plaintext")]), 0.0);
    }
}

#[tokio::test]
async fn requests_arrive_as_they_were_sent() {
    let (old, new) = (Backend::http1("old").await, Backend::http2("new").await);
    for (app, protocol, version) in [(&old, "http1", "HTTP/1.1"), (&new, "http2", "HTTP/2.0")] {
        let pair = Pair::new(app.address(), (protocol, protocol), &[]).await;
        let mut one = Client::http1(pair.entrance(), "cart").await;
        let mut two = Client::http2(pair.entrance(), "cart").await;
        for client in [&mut one, &mut two] {
            let answer = client.post("/a?b=c", "hello").await;
            assert_eq!(answer.status, 200, "{protocol}: {}", answer.text());
            let seen = app.last();
            assert_eq!((&*seen.version, &*seen.authority, &*seen.path), (version, "cart", "/a?b=c"));
            let certificate = seen.header("x-forwarded-client-cert");
            assert!(certificate.ends_with(&format!("URI={}", pair.domain.id("web"))), "{certificate}");
            let ours = seen.headers.keys().filter(|name| name.as_str().starts_with("x-outrigger")).count();
            assert_eq!(ours, 0, "sidecars keep to themselves what they tell each other");
        }
        assert_eq!(pair.links().await, 1.0);
        pair.all_is_mutual().await;
    }
}

#[tokio::test]
async fn answers_come_back_as_they_were_sent() {
    let app = Backend::http1("app").await;
    app.answer(|seen| match &*seen.path {
        "/none" => Answer::status(204),
        "/same" => Answer::status(304).header("etag", "\"1\""),
        "/large" => Answer::text(vec![b'x'; 4 * 1024 * 1024]),
        "/trailers" => {
            let mut fields = http::HeaderMap::new();
            fields.insert("x-sum", "7".parse().unwrap());
            Answer::status(200).header("trailer", "x-sum").then("body").then_trailers(fields)
        }
        "/early" => Answer::status(413).early(),
        _ => Answer::text("hello"),
    });
    let pair = Pair::new(app.address(), ("auto", "http1"), &[]).await;
    let mut client = Client::http1(pair.entrance(), "cart").await;
    let answer = client.get("/").await;
    assert_eq!((answer.header("content-length"), &*answer.text()), ("5", "hello"));
    let head = client.request("HEAD", "/", "");
    let answer = client.call(head).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.header("content-length"), answer.body.len()), (200, "5", 0));
    for (path, status) in [("/none", 204), ("/same", 304)] {
        let answer = client.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (status, 0));
    }
    assert_eq!(client.get("/large").await.body.len(), 4 * 1024 * 1024);
    let mut request = client.request("GET", "/trailers", "");
    request.headers_mut().insert("te", "trailers".parse().unwrap());
    assert_eq!(client.call(request).await.unwrap().trailers["x-sum"], "7");
    assert_eq!(client.post("/", vec![b'y'; 4 * 1024 * 1024]).await.status, 200);
    assert_eq!(app.last().body_bytes, 4 * 1024 * 1024);
    assert!(!client.is_closed(), "one connection served them all");

    let mut waits = RawClient::connect(pair.entrance()).await;
    waits.send("POST / HTTP/1.1\r\nHost: cart\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n").await;
    waits.read_until("HTTP/1.1 100 ").await;
    waits.send("hello").await;
    waits.read_until("HTTP/1.1 200 ").await;

    let mut early = RawClient::connect(pair.entrance()).await;
    early.send("POST /early HTTP/1.1\r\nHost: cart\r\nContent-Length: 500000\r\n\r\nx").await;
    early.read_until("HTTP/1.1 413 ").await;

    let mut old = RawClient::connect(pair.entrance()).await;
    old.send("GET / HTTP/1.0\r\nHost: cart\r\n\r\n").await;
    let (bytes, _) = old.read_to_end().await;
    assert!(bytes.ends_with(b"\r\n\r\nhello"), "{}", String::from_utf8_lossy(&bytes));
    assert_eq!(pair.links().await, 1.0);
}

#[tokio::test]
async fn grpc_calls_of_every_kind_pass() {
    let service = GrpcService::start().await;
    let pair = Pair::new(service.address(), ("grpc", "grpc"), &[]).await;
    let mut client = GrpcClient::connect(pair.entrance(), "cart").await;
    let outcome = client.call(UNARY, &["hello"]).await;
    assert_eq!((outcome.status, outcome.messages.len()), (Some(0), 1), "{outcome:?}");
    assert_eq!(client.call(SERVER_STREAM, &[[3u8, b'x']]).await.messages.len(), 3);
    assert_eq!(client.call(CLIENT_STREAM, &["a", "b", "c"]).await.messages, ["abc"]);
    let mut bidi = client.open(BIDI, &[]).await;
    for text in ["one", "two"] {
        bidi.send(text).await;
        assert_eq!(bidi.message().await.unwrap(), text);
    }
    bidi.finish();
    assert_eq!(bidi.end().await.status, Some(0));
    let mut failed = client.open(FAIL, &[("x-fail", "14")]).await;
    failed.finish();
    assert_eq!(failed.end().await.status, Some(14));
    assert_eq!(pair.links().await, 1.0);
}

#[tokio::test]
async fn a_websocket_opens_over_either_version_and_each_half_ends_alone() {
    let server = Switching::websocket().await;
    let pair = Pair::new(server.address(), ("auto", "http1"), &[]).await;
    let mut client = RawClient::connect(pair.entrance()).await;
    client.send(upgrade()).await;
    client.read_until("\r\n\r\n").await;
    assert!(client.text().starts_with("HTTP/1.1 101 "), "{}", client.text());
    client.send("hello").await;
    client.read_until("hello").await;
    client.finish().await;
    assert_eq!(client.read_to_end().await.1, Ended::Fin);

    let mut caller = Http2Caller::connect(pair.entrance()).await;
    let mut tunnel = caller.extended("websocket", "cart", &[("sec-websocket-version", "13")]).await;
    assert_eq!(tunnel.status, 200);
    tunnel.send("hello");
    assert_eq!(tunnel.read(5).await, b"hello");
    tunnel.reset();
    until("the reset at the app", || async {
        let ended = server.came().pop().and_then(|came| came.ended);
        (ended == Some(Ended::Reset)).then_some(())
    })
    .await;
    assert_eq!(pair.links().await, 2.0, "each has a link of its own");
}

fn upgrade() -> String {
    format!(
        "GET /chat HTTP/1.1\r\nHost: cart\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    )
}

async fn echo() -> RawBackend {
    RawBackend::start(Reply::Echo { greeting: b"hello\n".to_vec(), farewell: b"bye\n".to_vec() }).await
}

/// What a CONNECT carries is served as the same bytes would be without it: passed on, or read as the requests that they are.
#[tokio::test]
async fn connect_leads_to_the_app() {
    let echo = echo().await;
    let pair = Pair::new(echo.address(), ("tcp", "tcp"), &[]).await;
    let mut client = RawClient::connect(pair.entrance()).await;
    client.send("CONNECT cart:80 HTTP/1.1\r\nHost: cart:80\r\n\r\n").await;
    client.read_until("hello\n").await;
    client.finish().await;
    let (bytes, ended) = client.read_to_end().await;
    assert!(bytes.ends_with(b"bye\n") && ended == Ended::Fin);
    let mut caller = Http2Caller::connect(pair.entrance()).await;
    let mut tunnel = caller.tunnel("cart:80").await;
    assert_eq!((tunnel.status.as_u16(), &*tunnel.read(6).await), (200, &b"hello\n"[..]));

    let app = Backend::http1("app").await;
    let pair = Pair::new(app.address(), ("http1", "http1"), &[]).await;
    let mut client = RawClient::connect(pair.entrance()).await;
    client.send("CONNECT cart:80 HTTP/1.1\r\nHost: cart:80\r\n\r\n").await;
    client.read_until("\r\n\r\n").await;
    client.clear();
    client.send("GET /within HTTP/1.1\r\nHost: cart\r\n\r\n").await;
    client.read_until("HTTP/1.1 200 ").await;
    let certificate = app.last().header("x-forwarded-client-cert").to_owned();
    assert!(certificate.ends_with(&format!("URI={}", pair.domain.id("web"))), "{certificate}");
}

#[tokio::test]
async fn bytes_end_as_their_peers_end_them() {
    let echo = echo().await;
    let pair = Pair::with(echo.address(), ("tcp", "tcp"), Listener::Pinned, &[]).await;
    let mut client = RawClient::connect(pair.entrance()).await;
    // The server speaks first.
    client.read_until("hello\n").await;
    client.send("query").await;
    client.read_until("query").await;
    client.finish().await;
    let (bytes, ended) = client.read_to_end().await;
    assert!(bytes.ends_with(b"bye\n") && ended == Ended::Fin, "one half ended before the other");

    let mut client = RawClient::connect(pair.entrance()).await;
    client.read_until("hello\n").await;
    client.reset();
    until("the reset at the app", || async {
        (echo.ended().last() == Some(&Some(Ended::Reset))).then_some(())
    })
    .await;

    // A sidecar that ends at once ends nothing in order.
    pair.all_is_mutual().await;
    let mut client = RawClient::connect(pair.entrance()).await;
    client.read_until("hello\n").await;
    drop(pair.callee);
    assert_eq!(client.read_to_end().await.1, Ended::Reset);
}

#[tokio::test]
async fn the_apps_own_tls_goes_within_ours() {
    let outside = outside::Authority::new("outside");
    let echo = echo().await;
    let front = TlsFront::start(echo.address(), &outside.issue(&["db.example.com"]), &[]).await;
    let pair = Pair::with(front.address(), ("tcp", "tcp"), Listener::Pinned, &[]).await;
    let mut stream = outside::greet(pair.entrance(), "db.example.com", &outside).await.unwrap();
    let mut greeting = [0; 6];
    within("a greeting", stream.read_exact(&mut greeting)).await.unwrap();
    assert_eq!(&greeting, b"hello\n");
    stream.write_all(b"query").await.unwrap();
    let mut back = [0; 5];
    within("the echo", stream.read_exact(&mut back)).await.unwrap();
    assert_eq!(&back, b"query");
    assert_eq!(
        front.greetings()[0].name.as_deref(),
        Some("db.example.com"),
        "its own handshake, from end to end"
    );
    pair.all_is_mutual().await;
}

/// A sidecar that is somebody else gets no request; one that is who policy says does.
#[tokio::test]
async fn another_endpoint_answers_where_one_is_somebody_else() {
    let domain = Domain::of(&["web", "cart", "thief"]);
    let (app, stolen) = (Backend::http1("app").await, Backend::http1("stolen").await);
    let good = domain.callee(app.address(), "auto").await;
    let bad = domain.start("thief", &mesh::inbound(stolen.address(), "auto", &[])).await;
    let both = domain.service("http1", &[bad.inbound(0), good.inbound(0)]);
    let turns = mesh::traffic("cart", "  loadBalancer: {policy: roundRobin}\n");
    let caller = domain.caller(Listener::Open, &both, &[&turns]).await;
    let mut client = Client::http1(caller.outbound(0), "cart").await;
    for _ in 0..6 {
        assert_eq!(client.post("/", "x").await.status, 200);
    }
    assert_eq!((app.requests(), stolen.requests()), (6, 0));
    let mismatch = [("side", "outbound"), ("result", "identity_mismatch")];
    assert!(caller.metrics().await.sum(HANDSHAKES, &mismatch) > 0.0);
    // The callee that was called by mistake knows too that its caller went away over it.
    until("the refusal at the other side", || async {
        let metrics = bad.metrics().await;
        (metrics.sum(HANDSHAKES, &[("side", "inbound"), ("result", "refused")]) > 0.0).then_some(())
    })
    .await;
}

/// A callee that does not believe the caller has served nothing, and says so before it would.
#[tokio::test]
async fn a_caller_whom_the_callee_does_not_believe_gets_no_answer() {
    let domain = Domain::of(&["web", "cart"]);
    let app = Backend::http1("app").await;
    let callee = domain.callee(app.address(), "auto").await;
    // Of another authority, yet it believes the callee's: the first root stays in its bundle.
    let mut foreign = Authority::new("cluster.local").svid(&domain.id("web"));
    foreign.bundle_pem += &domain.authority.bundle_pem();
    foreign.write_to(domain.folder("web"));
    let caller = domain.caller(Listener::Open, &domain.service("http1", &[callee.inbound(0)]), &[]).await;
    let mut client = Client::http1(caller.outbound(0), "cart").await;
    for _ in 0..5 {
        let answer = client.post("/", "x").await;
        assert_eq!((answer.status.as_u16(), answer.header("x-outrigger-error")), (503, "tls_failed"));
    }
    let mut tunnel = RawClient::connect(caller.outbound(0)).await;
    tunnel.send(upgrade()).await;
    tunnel.read_until("x-outrigger-error: tls_failed").await;
    assert_eq!(app.requests(), 0);
    let refused = caller.metrics().await;
    assert!(refused.sum("outrigger_upstream_tls_failures_total", &[("reason", "refused")]) > 0.0);
    let why = [("side", "inbound"), ("result", "unknown_authority")];
    assert!(callee.metrics().await.sum(HANDSHAKES, &why) > 0.0);
}

#[tokio::test]
async fn failures_beyond_the_link_keep_their_reason() {
    let app = Backend::http1("app").await;
    app.answer(|seen| match &*seen.path {
        "/reset" => Answer::fail(Fault::Reset),
        "/cut" => Answer::status(200).header("content-length", "100").then("half").then_fail(Fault::Reset),
        _ => Answer::text("x"),
    });
    let pair = Pair::new(app.address(), ("auto", "http1"), &[]).await;
    let mut client = Client::http1(pair.entrance(), "cart").await;
    let answer = client.post("/reset", "x").await;
    assert_eq!((answer.status.as_u16(), answer.header("x-outrigger-error")), (503, "upstream_reset"));
    let cut = client.request("GET", "/cut", "");
    client.call(cut).await.unwrap_err();
    drop(app);
    let mut client = Client::http1(pair.entrance(), "cart").await;
    let answer = client.post("/", "x").await;
    assert_eq!((answer.status.as_u16(), answer.header("x-outrigger-error")), (503, "connect_failed"));
    assert_eq!(pair.links().await, 1.0, "the link is whole");
}

/// The caller's proxy repeats, the callee's does not; and what is left of the caller's time is all that the callee's has.
#[tokio::test]
async fn one_hop_repeats_and_one_deadline_holds() {
    let app = Backend::http1("app").await;
    app.answer(|_| Answer::status(503));
    let policy = "  timeouts: {request: 5s}\n  retry: {attempts: 2, on: [gateway-error], backoff: {base: 1ms, max: 2ms}}\n";
    let pair = Pair::new(app.address(), ("auto", "http1"), &[&mesh::traffic("cart", policy)]).await;
    assert_eq!(Client::http1(pair.entrance(), "cart").await.get("/").await.status, 503);
    assert_eq!(app.requests(), 3, "one, and two repeats");

    let silent = RawBackend::start(Reply::Silent).await;
    let short = mesh::traffic("cart", "  timeouts: {request: 300ms}\n");
    let pair = Pair::new(silent.address(), ("http1", "http1"), &[&short]).await;
    let answer = Client::http1(pair.entrance(), "cart").await.get("/").await;
    assert_eq!((answer.status.as_u16(), answer.header("x-outrigger-error")), (504, "request_timeout"));
    // The app hears that nobody waits any more.
    within("the end at the app", silent.wait_end()).await;
    until("the callee's record", || async {
        (pair.callee.metrics().await.sum("outrigger_requests_open", &[]) == 0.0).then_some(())
    })
    .await;
}

/// A caller that goes away takes its request with it, through both proxies, and nothing else.
#[tokio::test]
async fn a_caller_that_goes_away_is_heard_of_at_the_app() {
    let silent = RawBackend::start(Reply::Silent).await;
    let pair = Pair::new(silent.address(), ("http1", "http1"), &[]).await;
    let mut gone = RawClient::connect(pair.entrance()).await;
    gone.send("GET / HTTP/1.1\r\nHost: cart\r\n\r\n").await;
    silent.wait_for("\r\n\r\n").await;
    gone.reset();
    within("the end at the app", silent.wait_end()).await;
}

/// Readers that pause hold back nobody else on their link.
#[tokio::test]
async fn a_reader_that_pauses_holds_back_nobody() {
    let app = Backend::http1("app").await;
    app.answer(|seen| match &*seen.path {
        "/large" => Answer::text(vec![b'x'; 64 * 1024 * 1024]),
        _ => Answer::text("quick"),
    });
    let pair = Pair::new(app.address(), ("auto", "http1"), &[]).await;
    let mut paused = Vec::new();
    for _ in 0..20 {
        let mut client = RawClient::connect(pair.entrance()).await;
        client.send("GET /large HTTP/1.1\r\nHost: cart\r\n\r\n").await;
        client.read_until("\r\n\r\n").await;
        paused.push(client);
    }
    let mut client = Client::http1(pair.entrance(), "cart").await;
    for _ in 0..20 {
        assert_eq!(client.get("/").await.text(), "quick");
    }
    assert_eq!(client.get("/large").await.body.len(), 64 * 1024 * 1024);
    assert_eq!(pair.links().await, 1.0);
}

/// Certificates change on both sides under load: no request fails, and a stream that is open stays so.
#[tokio::test]
async fn rotations_fail_nobody() {
    let (app, gate) = (Backend::http1("app").await, Gate::closed());
    let held = gate.clone();
    app.answer(move |seen| match &*seen.path {
        "/held" => Answer::status(200).then("first").then_wait(&held).then("last"),
        _ => Answer::text("quick"),
    });
    let pair = Pair::new(app.address(), ("auto", "http1"), &[]).await;
    let mut long = RawClient::connect(pair.entrance()).await;
    long.send("GET /held HTTP/1.1\r\nHost: cart\r\n\r\n").await;
    long.read_until("first").await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(Client::http1(pair.entrance(), "cart").await);
    }
    let load = |mut client: Client| async move {
        let mut served = 0;
        loop {
            let answer = client.post("/", "x").await;
            assert_eq!(answer.status, 200, "after {served}: {}", answer.text());
            served += 1;
            tokio::task::yield_now().await;
        }
    };
    let load: Vec<_> = clients.into_iter().map(|client| tokio::spawn(load(client))).collect();
    for round in 1..=10 {
        let before = pair.links().await;
        pair.domain.rotate("cart");
        pair.domain.rotate("web");
        until(&format!("a link after rotation {round}"), || async {
            (pair.links().await > before).then_some(())
        })
        .await;
    }
    for task in load {
        assert!(!task.is_finished(), "no request has failed");
        task.abort();
    }
    gate.open();
    long.read_until("last").await;
    until("the old links to end", || async {
        let open = pair.caller.metrics().await.sum("outrigger_upstream_connections_open", &[]);
        (open == 1.0 || open == 0.0).then_some(())
    })
    .await;
}

/// A certificate that has expired makes no handshake, in either role, and the next one is taken up by itself.
#[tokio::test]
async fn an_expired_certificate_is_503_until_there_is_another() {
    for role in ["web", "cart"] {
        let domain = Domain::of(&["web", "cart"]);
        let short = domain.authority.issue(&domain.id(role)).ttl(Duration::from_secs(3)).make();
        short.write_to(domain.folder(role));
        let app = Backend::http1("app").await;
        let callee = domain.callee(app.address(), "auto").await;
        let service = domain.service("http1", &[callee.inbound(0)]);
        // Links are made all the time, so that the end is noticed: each request has its own.
        let caller = domain.caller(Listener::Open, &service, &[]).await;
        within("the end of the certificate", async {
            loop {
                let mut client = RawClient::connect(caller.outbound(0)).await;
                client.send(upgrade()).await;
                client.read_until("\r\n\r\n").await;
                if client.text().to_lowercase().contains("x-outrigger-error: tls_failed") {
                    break;
                }
            }
        })
        .await;
        domain.rotate(role);
        let mut client = Client::http1(caller.outbound(0), "cart").await;
        within("an answer", async { while client.get("/").await.status != 200 {} }).await;
    }
}
