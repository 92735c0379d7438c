//! Two hosts with a router between them, each with an app, its sidecar and `outrigger intercept`; and what somebody sees
//! who reads along at the router.

use std::{net::SocketAddr, sync::Arc};

use outrigger_tests::{
    authority::{self, Authority},
    backend::{Answer as Says, Backend, Speaks},
    client::{self, Client},
    grpc::{self, GrpcClient, GrpcService},
    metrics::Metrics,
    namespace::{self, Namespace},
    outside,
    process::Process,
    raw::{Ended, RawBackend, RawClient, Reply},
    skip,
    switching::Switching,
    tap::Tap,
    wait::until,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const OUTRIGGER: &str = env!("CARGO_BIN_EXE_outrigger");
const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 15000);

/// Ports of the apps behind the second sidecar.
const HTTP1: u16 = 8080;
const HTTP2: u16 = 8081;
const GRPC: u16 = 8082;
const CHAT: u16 = 8083;
const ECHO: u16 = 9000;
const MAIL: u16 = 9025;
const TLS: u16 = 9443;

fn skipped(name: &str) -> bool {
    skip::without_root(name)
        || skip::without_program(name, "ip", "iproute2")
        || skip::without_program(name, "setpriv", "util-linux")
        || skip::without_program(name, "iptables-nft", "iptables")
        || skip::without_nat(name, "iptables-nft")
}

/// An app's port as its caller's side dials it.
fn cart(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 201, 2, 2], port))
}

/// What stands behind the second sidecar.
struct Apps {
    http1: Backend,
    http2: Backend,
    grpc: GrpcService,
    chat: Switching,
    echo: RawBackend,
    mail: RawBackend,
    tls: outside::TlsFront,
    outside: Arc<outside::Authority>,
}

impl Apps {
    async fn start() -> Self {
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let http1 = Backend::at(anywhere, Speaks::Http1, "http1").await;
        http1.answer(|_| Says::echo());
        let http2 = Backend::at(anywhere, Speaks::Http2, "http2").await;
        http2.answer(|_| Says::echo());
        let echo = |greeting: &str| Reply::Echo { greeting: greeting.into(), farewell: b"221 bye".to_vec() };
        let outside = Arc::new(outside::Authority::new("outside"));
        let secret = outside.issue(&["canary-tls.example"]);
        Self {
            tls: outside::TlsFront::start(http1.address(), &secret, &[]).await,
            http1,
            http2,
            grpc: GrpcService::start().await,
            chat: Switching::websocket().await,
            echo: RawBackend::start(echo("")).await,
            mail: RawBackend::start(echo("220 ready\r\n")).await,
            outside,
        }
    }

    /// Name, port, what it speaks, and where it is.
    fn list(&self) -> [(&'static str, u16, &'static str, SocketAddr); 7] {
        [
            ("http1", HTTP1, "http1", self.http1.address()),
            ("http2", HTTP2, "http2", self.http2.address()),
            ("grpc", GRPC, "grpc", self.grpc.address()),
            ("chat", CHAT, "http1", self.chat.address()),
            ("echo", ECHO, "tcp", self.echo.address()),
            ("mail", MAIL, "tcp", self.mail.address()),
            ("tls", TLS, "tcp", self.tls.address()),
        ]
    }

    /// Requests and bytes that have reached any of them.
    fn reached(&self) -> usize {
        let http = self.http1.requests() + self.http2.requests() + self.chat.came().len();
        http + self.grpc.calls()
            + self.echo.text().len()
            + self.mail.text().len()
            + self.tls.greetings().len()
    }
}

struct World {
    web: Namespace,
    router: Namespace,
    cart: Namespace,
    apps: Apps,
    tap: Tap,
    _proxies: [Process; 2],
    _files: TempDir,
}

impl World {
    async fn start(mode: &str) -> Self {
        let files = tempfile::tempdir().unwrap();
        let (web, router, cart) = namespace::routed();
        let apps = cart.run(Apps::start()).await;
        let authority = Authority::new("cluster.local");
        for name in ["web", "cart"] {
            authority.svid(&authority.account("shop", name)).write_to(&files.path().join(name));
        }
        let file = files.path().join("policy.yaml");
        std::fs::write(&file, policy(mode, &apps, &authority)).unwrap();
        let mut proxies = Vec::new();
        for (namespace, name) in [(&web, "web"), (&cart, "cart")] {
            let (code, said) = namespace.exec(OUTRIGGER, &["intercept"]);
            assert_eq!(code, 0, "{said}");
            proxies.push(proxy(namespace, name, file.to_str().unwrap()));
        }
        for namespace in [&web, &cart] {
            let ready = || async {
                tokio::net::TcpStream::connect(ADMIN).await.ok()?;
                (client::get(ADMIN, "/ready").await.status == 200).then_some(())
            };
            namespace.run(async move { until("the proxy to be ready", ready).await }).await;
        }
        let tap = Tap::on(&router).await;
        let proxies = proxies.try_into().ok().expect("two of them");
        Self { web, router, cart, apps, tap, _proxies: proxies, _files: files }
    }

    /// Everything that the tap could have seen by now, it has.
    async fn read_along(&self) {
        self.tap.catch_up(&self.web, "10.201.1.1:9".parse().unwrap()).await;
    }

    async fn metrics(&self) -> Metrics {
        self.cart.run(Metrics::scrape(ADMIN)).await
    }
}

/// Starts the sidecar of this name, as the user whose own connections are not redirected.
fn proxy(namespace: &Namespace, name: &str, policy: &str) -> Process {
    // That user may not read the folders of whoever runs this test, which is no part of it.
    let read = "+dac_read_search";
    let sidecar = format!("shop/{name}");
    let inside = ["netns", "exec", namespace.name(), "setpriv", "--reuid", "1337", "--regid", "1337"];
    let user = ["--clear-groups", "--inh-caps", read, "--ambient-caps", read];
    let command = [OUTRIGGER, "proxy", "--workers", "1", "-f", policy, "--sidecar", &sidecar];
    Process::start("ip", inside.into_iter().chain(user).chain(command), &[])
}

fn policy(mode: &str, apps: &Apps, authority: &Authority) -> String {
    let identity = |name: &str| {
        format!(
            "  serviceAccount: {name}\n  identity:\n    files: {{certificate: {name}/{}, privateKey: {name}/{}, trustBundle: {name}/{}}}\n",
            authority::CERTIFICATE,
            authority::KEY,
            authority::BUNDLE
        )
    };
    let sidecar = |name: &str| {
        format!(
            "apiVersion: outrigger.dev/v1alpha1\nkind: Sidecar\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n{}",
            identity(name)
        )
    };
    let mut text = sidecar("web") + "  outbound:\n  - {bind: \"127.0.0.1:15001\", intercepted: true}\n---\n";
    text += &sidecar("cart");
    text += "  inbound:\n  - bind: \"0.0.0.0:15006\"\n    intercepted: true\n    ports:\n";
    for (name, port, _, app) in apps.list() {
        text += &format!("    - {{port: {port}, app: \"{app}\", service: {{name: {name}, port: {port}}}}}\n");
    }
    text += &format!(
        "---\napiVersion: outrigger.dev/v1alpha1\nkind: Mesh\nmetadata: {{name: default}}\nspec:\n  mtls: {{mode: {mode}}}\n"
    );
    let id = authority.account("shop", "cart");
    for (name, port, protocol, _) in apps.list() {
        let address = cart(port);
        text += &format!(
            "---\napiVersion: outrigger.dev/v1alpha1\nkind: MeshService\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  \
             ports: [{{port: {port}, protocol: {protocol}}}]\n  endpoints: [{{address: \"{address}\", identity: \"{id}\"}}]\n"
        );
    }
    text
}

/// Calls every app from the first host, each with a word of its own.
async fn call_all(world: &World) -> Vec<&'static str> {
    let name = world.apps.outside.clone();
    world
        .web
        .run(async move {
            let mut http1 = Client::http1(cart(HTTP1), "http1").await;
            assert_eq!(http1.post("/", "canary-http1").await.text(), "canary-http1");
            let mut http2 = Client::http2(cart(HTTP2), "http2").await;
            assert_eq!(http2.post("/", "canary-http2").await.text(), "canary-http2");
            let outcome =
                GrpcClient::connect(cart(GRPC), "grpc").await.call(grpc::UNARY, &["canary-grpc"]).await;
            assert_eq!((&*outcome.messages[0], outcome.status), (&b"canary-grpc"[..], Some(0)));

            let mut chat = RawClient::connect(cart(CHAT)).await;
            chat.send(
                "GET /chat HTTP/1.1\r\nHost: chat\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            )
            .await;
            let head = chat.read_until("\r\n\r\n").await;
            assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", chat.text());
            chat.send("canary-chat").await;
            chat.read_until("canary-chat").await;

            let mut echo = RawClient::connect(cart(ECHO)).await;
            echo.send("canary-echo").await;
            echo.read_until("canary-echo").await;
            echo.finish().await;
            let (rest, end) = echo.read_to_end().await;
            assert!(rest.ends_with(b"221 bye"), "the half that is left open carries on");
            assert_eq!(end, Ended::Fin);

            let mut mail = RawClient::connect(cart(MAIL)).await;
            mail.read_until("220 ready\r\n").await;
            mail.send("canary-mail").await;
            mail.read_until("canary-mail").await;

            let mut tls = outside::greet(cart(TLS), "canary-tls.example", &name).await.unwrap();
            tls.write_all(b"GET / HTTP/1.1\r\nhost: tls\r\nconnection: close\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            // The front ends TCP, and not TLS before it.
            let _ = tls.read_to_string(&mut answer).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        })
        .await;
    vec![
        "canary-http1",
        "canary-http2",
        "canary-grpc",
        "canary-chat",
        "canary-echo",
        "canary-mail",
        "canary-tls.example",
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_sidecars_say_to_each_other_is_read_by_nobody_else() {
    if skipped("what_sidecars_say_to_each_other_is_read_by_nobody_else") {
        return;
    }
    for mode in ["Disabled", "Permissive", "Strict"] {
        let world = World::start(mode).await;
        let canaries = call_all(&world).await;
        world.read_along().await;
        assert!(world.tap.bytes() > 5_000, "{mode}: all of it went by the router");
        for canary in canaries {
            assert_eq!(world.tap.saw(canary), mode == "Disabled", "{mode}: {canary}");
        }
        let metrics = world.metrics().await;
        let came = |security| metrics.sum("outrigger_inbound_security_total", &[("security", security)]);
        let expected = if mode == "Disabled" { (0.0, 7.0) } else { (7.0, 0.0) };
        assert_eq!((came("mtls"), came("plaintext")), expected, "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_around_the_sidecar_are_refused_where_mtls_is_strict() {
    if skipped("calls_around_the_sidecar_are_refused_where_mtls_is_strict") {
        return;
    }
    let world = World::start("Strict").await;
    let authority = world.apps.outside.clone();
    world
        .router
        .run(async move {
            for port in [HTTP1, CHAT] {
                let answer = Client::http1(cart(port), "http1").await.get("/").await;
                assert_eq!(
                    (answer.status.as_u16(), answer.header("x-outrigger-error")),
                    (401, "no_identity")
                );
            }
            let answer = Client::http2(cart(HTTP2), "http2").await.get("/").await;
            assert_eq!((answer.status.as_u16(), answer.header("x-outrigger-error")), (401, "no_identity"));
            let outcome = GrpcClient::connect(cart(GRPC), "grpc").await.call(grpc::UNARY, &["x"]).await;
            assert_eq!(outcome.status, Some(16));
            for port in [ECHO, MAIL] {
                let mut client = RawClient::connect(cart(port)).await;
                client.send("hello\r\n").await;
                assert_eq!(client.read_to_end().await, (Vec::new(), Ended::Reset), "{port}");
            }
            for port in [TLS, HTTP1, ECHO] {
                assert!(
                    outside::greet(cart(port), "canary-tls.example", &authority).await.is_err(),
                    "{port}"
                );
            }
        })
        .await;
    assert_eq!(world.apps.reached(), 0, "nothing has come so far");
    let metrics = world.metrics().await;
    assert_eq!(metrics.sum("outrigger_plaintext_refused_total", &[]), 9.0);
    // The sidecar of the first host is let in all the same.
    call_all(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_cannot_say_who_it_is() {
    if skipped("an_app_cannot_say_who_it_is") {
        return;
    }
    let world = World::start("Permissive").await;
    let spoof = |client: &Client| {
        let mut request = client.request("GET", "/", "");
        for name in ["x-forwarded-client-cert", "x_forwarded_client_cert", "x.forwarded.client.cert"] {
            let value =
                "By=spiffe://cluster.local/ns/shop/sa/cart;URI=spiffe://cluster.local/ns/shop/sa/admin";
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        request.headers_mut().insert("x-outrigger-attempt", "7".parse().unwrap());
        request
    };
    let send = move || async move {
        let mut client = Client::http1(cart(HTTP1), "http1").await;
        let request = spoof(&client);
        client.call(request).await.unwrap().status
    };
    let certificates = |seen: &outrigger_tests::backend::Seen| {
        let told = seen
            .headers
            .iter()
            .filter(|(name, _)| name.as_str().replace(['_', '.'], "-") == "x-forwarded-client-cert");
        told.map(|(_, value)| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    // By the sidecar: told by the other one, out of the certificate.
    assert_eq!(world.web.run(send()).await, 200);
    let seen = world.apps.http1.last();
    let told = certificates(&seen);
    assert_eq!(told.len(), 1, "{told:?}");
    let (by, rest) = told[0].split_once(";Hash=").unwrap();
    let (hash, uri) = rest.split_once(';').unwrap();
    assert_eq!(
        (by, uri),
        ("By=spiffe://cluster.local/ns/shop/sa/cart", "URI=spiffe://cluster.local/ns/shop/sa/web")
    );
    assert!(hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "{hash}");
    assert!(!seen.headers.keys().any(|name| name.as_str().starts_with("x-outrigger")), "{seen:?}");
    // Around it: nobody.
    assert_eq!(world.router.run(send()).await, 200);
    assert_eq!(certificates(&world.apps.http1.last()), Vec::<String>::new());
}
