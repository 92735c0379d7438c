//! Modes of mutual TLS between two real sidecars: who is taken, by mesh and by port, how a change reaches who is there, and
//! what the app learns of its caller.

use std::{fs, net::SocketAddr, path::Path, process::Command, sync::Arc};

use outrigger_config::{SourceFile, check, model::ObjectName};
use outrigger_proxy::telemetry::metrics::{CallerFault, PeerFault, TlsFault};
use outrigger_tests::{
    authority::{Authority, Svid, stranger},
    backend::Backend,
    client::Client,
    mesh,
    metrics::Metrics,
    outside::{self, TlsFront},
    proxy::Proxy,
    raw::{Ended, RawBackend, RawClient, Reply, exchange},
    skip,
    wait::{until, within},
};
use rustls::{ClientConfig, crypto::aws_lc_rs::cipher_suite, pki_types::ServerName};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

const SECURITY: &str = "outrigger_inbound_security_total";
const REFUSED: &str = "outrigger_plaintext_refused_total";
const XFCC: &str = "x-forwarded-client-cert";

/// A trust domain with the SVIDs of two Sidecars, `shop/web` and `shop/cart`.
struct Domain {
    authority: Authority,
    web: Svid,
    cart: Svid,
    folder: TempDir,
}

impl Domain {
    fn new() -> Self {
        let authority = Authority::new("cluster.local");
        let [web, cart] = ["web", "cart"].map(|account| authority.svid(&authority.account("shop", account)));
        let folder = tempfile::tempdir().unwrap();
        web.write_to(&folder.path().join("web"));
        cart.write_to(&folder.path().join("cart"));
        Self { authority, web, cart, folder }
    }

    /// The Sidecar of an account, with its identity.
    fn sidecar(&self, account: &str, listeners: &str) -> String {
        let folder = self.folder.path().join(account);
        let [certificate, key, bundle] =
            ["tls.crt", "tls.key", "ca.crt"].map(|name| folder.join(name).display().to_string());
        let files = format!("{{certificate: {certificate}, privateKey: {key}, trustBundle: {bundle}}}");
        anonymous(
            account,
            &format!("  serviceAccount: {account}\n  identity: {{files: {files}}}\n{listeners}"),
        )
    }

    /// The callee: the Services `cart` and `stock`, each with a listener before `app`.
    fn callee(&self, app: SocketAddr, protocol: &str, mtls: &str) -> String {
        let listener = |service: &str| {
            format!(
                "  - {{bind: \"127.0.0.1:0\", app: \"{app}\", protocol: {protocol}, service: {{name: {service}, port: 80}}}}\n"
            )
        };
        let listeners = format!("  inbound:\n{}{}", listener("cart"), listener("stock"));
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
        [
            self.sidecar("cart", &listeners),
            self.service("cart", nowhere, protocol),
            self.service("stock", nowhere, protocol),
            modes(mtls),
        ]
        .join("---\n")
    }

    /// The caller: a listener for each of these Services of `callee`.
    fn caller(&self, sidecar: &str, callee: &Proxy, protocol: &str, mtls: &str) -> String {
        let services: Vec<String> = ["cart", "stock"]
            .iter()
            .enumerate()
            .map(|(index, name)| self.service(name, callee.inbound(index), protocol))
            .collect();
        [sidecar.to_owned(), services.join("---\n"), modes(mtls)].join("---\n")
    }

    fn service(&self, name: &str, endpoint: SocketAddr, protocol: &str) -> String {
        let protocol = if protocol == "auto" { "http1" } else { protocol };
        format!(
            "apiVersion: outrigger.dev/v1alpha1\nkind: MeshService\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  \
             ports: [{{port: 80, protocol: {protocol}}}]\n  endpoints: [{{address: \"{endpoint}\", identity: {}}}]\n",
            self.cart.id
        )
    }
}

/// A Sidecar of `shop` with this spec.
fn anonymous(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: Sidecar\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  \
         admin: {{bind: \"127.0.0.1:0\"}}\n{spec}"
    )
}

/// Listeners of a caller that are pinned, one to each Service.
const PINNED: &str = "  outbound:\n  - {bind: \"127.0.0.1:0\", service: {name: cart, port: 80}}\n  \
                      - {bind: \"127.0.0.1:0\", service: {name: stock, port: 80}}\n";

/// A Mesh with this `mtls`.
fn modes(mtls: &str) -> String {
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: Mesh\nmetadata: {{name: default}}\nspec: {{mtls: {mtls}}}\n"
    )
}

const STRICT: &str = "{mode: Strict}";
const PERMISSIVE: &str = "{mode: Permissive}";

/// What holds at a port.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Permissive,
    Strict,
    Disabled,
}

/// A status, and whether the app was told who calls.
async fn ask(proxy: SocketAddr, app: &Backend) -> (u16, bool) {
    let before = app.requests();
    let answer = Client::http1(proxy, "cart").await.get("/").await;
    let reached = app.requests() > before;
    assert_eq!(reached, answer.status == 200, "an answer of 200 is the app's");
    (answer.status.as_u16(), reached && !app.last().header(XFCC).is_empty())
}

#[tokio::test]
async fn modes_hold_by_mesh_and_by_port() {
    let domain = Domain::new();
    let stock = |mesh: &str, mode: &str| {
        format!(
            "{{mode: {mesh}, ports: [{{service: {{name: stock, namespace: shop}}, port: 80, mode: {mode}}}]}}"
        )
    };
    for (mtls, cart, other) in [
        ("{}".to_owned(), Mode::Permissive, Mode::Permissive),
        (STRICT.to_owned(), Mode::Strict, Mode::Strict),
        ("{mode: Disabled}".to_owned(), Mode::Disabled, Mode::Disabled),
        (stock("Permissive", "Strict"), Mode::Permissive, Mode::Strict),
        (stock("Strict", "Permissive"), Mode::Strict, Mode::Permissive),
        (stock("Strict", "Disabled"), Mode::Strict, Mode::Disabled),
        (stock("Disabled", "Strict"), Mode::Disabled, Mode::Strict),
    ] {
        let app = Backend::http1("app").await;
        let callee = Proxy::start(&domain.callee(app.address(), "auto", &mtls));
        let known = Proxy::start(&domain.caller(&domain.sidecar("web", PINNED), &callee, "auto", &mtls));
        let unknown = Proxy::start(&domain.caller(&anonymous("web", PINNED), &callee, "auto", &mtls));
        for (index, mode) in [cart, other].into_iter().enumerate() {
            let spoken = mode != Mode::Disabled;
            let what = format!("{mtls}, listener {index}");
            assert_eq!(ask(known.outbound(index), &app).await, (200, spoken), "{what}");
            let (status, refused) = if mode == Mode::Strict { (401, 1.0) } else { (200, 0.0) };
            assert_eq!(ask(unknown.outbound(index), &app).await, (status, false), "{what}");
            let service = ["shop/cart:80", "shop/stock:80"][index];
            let counted = |metrics: &Metrics| {
                let of = |security| metrics.sum(SECURITY, &[("service", service), ("security", security)]);
                (of("mtls"), of("plaintext"), metrics.sum(REFUSED, &[("service", service)]))
            };
            let mtls = f64::from(u8::from(spoken));
            let plaintext = 2.0 - mtls - refused;
            callee
                .wait_metrics(&format!("{what}: {mtls} {plaintext} {refused}"), |metrics| {
                    counted(metrics) == (mtls, plaintext, refused)
                })
                .await;
        }
    }
}

#[tokio::test]
async fn a_refusal_says_why_and_ends_the_connection() {
    let domain = Domain::new();
    let app = Backend::http1("app").await;
    let callee = Proxy::start(&domain.callee(app.address(), "auto", STRICT));
    let (text, ended) = exchange(callee.inbound(0), "GET / HTTP/1.1\r\nhost: cart\r\n\r\n").await;
    assert!(text.starts_with("HTTP/1.1 401 "), "{text}");
    assert!(text.to_ascii_lowercase().contains("x-outrigger-error: no_identity\r\n"), "{text}");
    assert_eq!(ended, Ended::Fin);
    let mut grpc = Client::http2(callee.inbound(0), "cart").await;
    let mut call = grpc.request("POST", "/a.B/C", "");
    call.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    let answer = grpc.call(call).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.header("grpc-status")), (200, "16"));
    assert_eq!(app.requests(), 0);
}

#[tokio::test]
async fn a_change_of_mode_holds_for_open_connections() {
    let domain = Domain::new();
    let app = Backend::http1("app").await;
    let callee = Proxy::start(&domain.callee(app.address(), "http1", PERMISSIVE));
    let caller = Proxy::start(&domain.caller(&domain.sidecar("web", PINNED), &callee, "http1", STRICT));
    let mut http1 = Client::http1(callee.inbound(0), "cart").await;
    let mut http2 = Client::http2(callee.inbound(0), "cart").await;
    let mut elsewhere = Client::http1(callee.inbound(1), "stock").await;
    let mut mtls = Client::http1(caller.outbound(0), "cart").await;
    for client in [&mut http1, &mut http2, &mut elsewhere, &mut mtls] {
        assert_eq!(client.get("/").await.status, 200);
    }
    let one = "{ports: [{service: {name: cart, namespace: shop}, port: 80, mode: Strict}]}";
    callee.reload(&domain.callee(app.address(), "http1", one)).await;
    for client in [&mut http1, &mut http2] {
        let refused = client.get("/").await;
        assert_eq!((refused.status.as_u16(), refused.header("x-outrigger-error")), (401, "no_identity"));
        until("the connection to end", || async { client.is_closed().then_some(()) }).await;
    }
    for client in [&mut elsewhere, &mut mtls] {
        assert_eq!(client.get("/").await.status, 200);
    }
    callee.reload(&domain.callee(app.address(), "http1", STRICT)).await;
    assert_eq!(elsewhere.get("/").await.status, 401);
    assert_eq!(mtls.get("/").await.status, 200);
    callee.reload(&domain.callee(app.address(), "http1", PERMISSIVE)).await;
    assert_eq!(ask(callee.inbound(0), &app).await, (200, false));
}

#[tokio::test]
async fn a_change_of_policy_holds_for_the_next_call() {
    let domain = Domain::new();
    let app = Backend::http1("app").await;
    let callee = Proxy::start(&domain.callee(app.address(), "auto", PERMISSIVE));
    let known = domain.caller(&domain.sidecar("web", PINNED), &callee, "auto", PERMISSIVE);
    let disabled = domain.caller(&domain.sidecar("web", PINNED), &callee, "auto", "{mode: Disabled}");
    let unknown = domain.caller(&anonymous("web", PINNED), &callee, "auto", PERMISSIVE);
    let caller = Proxy::start(&known);
    let mut client = Client::http1(caller.outbound(0), "cart").await;
    for (policy, spoken) in [
        (None, true),
        (Some(&disabled), false),
        (Some(&known), true),
        (Some(&unknown), false),
        (Some(&known), true),
    ] {
        if let Some(policy) = policy {
            caller.reload(policy).await;
        }
        assert_eq!(client.get("/").await.status, 200);
        assert_eq!(!app.last().header(XFCC).is_empty(), spoken);
    }
    // Whoever answers is another than policy says: nothing is sent, until policy says so.
    caller
        .reload(
            &known.replace(
                &format!("identity: {}}}", domain.cart.id),
                &format!("identity: {}}}", domain.web.id),
            ),
        )
        .await;
    let before = app.requests();
    let refused = client.get("/").await;
    assert_eq!((refused.status.as_u16(), refused.header("x-outrigger-error")), (503, "tls_failed"));
    assert_eq!(app.requests(), before);
    caller.reload(&known).await;
    assert_eq!(client.get("/").await.status, 200);
}

#[tokio::test]
async fn tunnels_in_plaintext_end_when_the_port_becomes_strict() {
    let domain = Domain::new();
    let app = RawBackend::start(Reply::Echo { greeting: Vec::new(), farewell: Vec::new() }).await;
    let callee = Proxy::start(&domain.callee(app.address(), "tcp", PERMISSIVE));
    let caller = Proxy::start(&domain.caller(&domain.sidecar("web", PINNED), &callee, "tcp", PERMISSIVE));
    let mut plaintext = RawClient::connect(callee.inbound(0)).await;
    let mut mtls = RawClient::connect(caller.outbound(0)).await;
    for client in [&mut plaintext, &mut mtls] {
        client.send("one\n").await;
        client.read_until("one\n").await;
    }
    callee.reload(&domain.callee(app.address(), "tcp", STRICT)).await;
    let (_, ended) = plaintext.read_to_end().await;
    assert_eq!(ended, Ended::Reset);
    mtls.send("two\n").await;
    mtls.read_until("two\n").await;
    // Nor does a new one begin; the app hears nothing of it.
    let before = app.connections();
    let (text, ended) = exchange(callee.inbound(0), "three\n").await;
    assert_eq!((&*text, ended, app.connections()), ("", Ended::Reset, before));
    callee
        .wait_metrics("the tunnel to be counted as refused", |metrics| {
            metrics.sum("outrigger_tcp_connections_total", &[("flag", "NI")]) == 2.0
        })
        .await;
}

/// Spellings that a server may take for the header that names the caller.
const ALIASES: [&str; 4] =
    [XFCC, "x_forwarded_client_cert", "x.forwarded.client.cert", "X-Forwarded_Client.Cert"];

#[tokio::test]
async fn the_app_learns_its_caller_from_us_alone() {
    let domain = Domain::new();
    let app = Backend::http1("app").await;
    let callee = Proxy::start(&domain.callee(app.address(), "auto", PERMISSIVE));
    let caller = Proxy::start(&domain.caller(&domain.sidecar("web", PINNED), &callee, "auto", PERMISSIVE));
    let forged = "By=spiffe://cluster.local/ns/shop/sa/cart;URI=spiffe://cluster.local/ns/shop/sa/admin";
    let mut head = "POST / HTTP/1.1\r\nhost: cart\r\nconnection: close\r\n".to_owned();
    for name in ALIASES.iter().chain(&["x-outrigger-attempt", "x-outrigger-orig-proto"]) {
        head.push_str(&format!("{name}: {forged}\r\n"));
    }
    head.push_str("transfer-encoding: chunked\r\ntrailer: x-forwarded-client-cert\r\n\r\n2\r\nhi\r\n0\r\n");
    let request = format!("{head}x-forwarded-client-cert: {forged}\r\nx-after: yes\r\n\r\n");
    let hash = cipher_suite::TLS13_AES_128_GCM_SHA256.tls13().unwrap().common.hash_provider;
    let hash: String =
        hash.hash(&domain.web.der().0[0]).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let ours = format!("By={};Hash={hash};URI={}", domain.cart.id, domain.web.id);
    for (proxy, expected) in [(caller.outbound(0), vec![ours.as_str()]), (callee.inbound(0), vec![])] {
        let (text, _) = exchange(proxy, &request).await;
        assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
        let seen = app.last();
        assert_eq!((seen.body_bytes, seen.complete), (2, true));
        let all: Vec<_> = seen.headers.iter().chain(&seen.trailers).collect();
        let claims = all.iter().filter(|(name, _)| {
            let name = name.as_str().replace(['_', '.'], "-");
            name == XFCC || name.starts_with("x-outrigger-")
        });
        let values: Vec<&str> = claims.map(|(_, value)| value.to_str().unwrap()).collect();
        assert_eq!(values, expected);
        assert!(!all.iter().any(|(_, value)| value.to_str().is_ok_and(|value| value == forged)));
    }
}

/// A handshake, and a byte after it: a refusal of a client's certificate comes after the client's own last message.
async fn greet(to: SocketAddr, config: ClientConfig) -> Result<(), String> {
    let connector = TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(to).await.unwrap();
    let name = ServerName::try_from("cart.example.com").unwrap();
    within("a handshake and its end", async {
        let mut tls = connector.connect(name, stream).await.map_err(|error| error.to_string())?;
        tls.write_all(b"x").await.map_err(|error| error.to_string())?;
        match tls.read(&mut [0; 16]).await {
            Ok(0) => Err("closed".to_owned()),
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
}

#[tokio::test]
async fn the_apps_own_tls_is_refused_where_the_port_is_strict() {
    let domain = Domain::new();
    let app = RawBackend::start(Reply::Echo { greeting: Vec::new(), farewell: Vec::new() }).await;
    let names = outside::Authority::new("names");
    let front = TlsFront::start(app.address(), &names.issue(&["cart.example.com"]), &[]).await;
    for protocol in ["tcp", "auto"] {
        let callee = Proxy::start(&domain.callee(front.address(), protocol, STRICT));
        // Without a certificate, and with one that would be believed, but by none of the mesh's protocols.
        for config in [stranger(&[]), stranger(&["h2", "http/1.1"]), domain.web.client(&["h2"])] {
            let error = greet(callee.inbound(0), config).await.unwrap_err();
            assert!(error.contains("CertificateRequired"), "{protocol}: {error}");
        }
    }
    assert_eq!(front.greetings(), []);
    let callee = Proxy::start(&domain.callee(front.address(), "tcp", PERMISSIVE));
    greet(callee.inbound(0), stranger(&[])).await.unwrap();
    assert_eq!(front.greetings().len(), 1);
    // It goes through mutual TLS as it is, also to a port that is strict.
    let callee = Proxy::start(&domain.callee(front.address(), "tcp", STRICT));
    let caller = Proxy::start(&domain.caller(&domain.sidecar("web", PINNED), &callee, "tcp", STRICT));
    greet(caller.outbound(0), stranger(&[])).await.unwrap();
    assert_eq!(front.greetings().len(), 2);
}

#[tokio::test]
async fn who_offers_the_meshs_protocols_must_be_believed_in_every_mode() {
    let domain = Domain::new();
    let app = Backend::http1("app").await;
    let elsewhere = Authority::new("cluster.local");
    for mode in [STRICT, PERMISSIVE, "{mode: Disabled}"] {
        let callee = Proxy::start(&domain.callee(app.address(), "auto", mode));
        for (config, result) in [
            (stranger(&["outrigger-h2"]), "no_certificate"),
            (elsewhere.svid(&domain.web.id).client(&["outrigger-h2"]), "unknown_authority"),
            (domain.authority.issue(&domain.web.id).expired().make().client(&["outrigger-h2"]), "expired"),
        ] {
            greet(callee.inbound(0), config).await.unwrap_err();
            callee
                .wait_metrics(&format!("{mode}: {result}"), |metrics| {
                    let labels = [("side", "inbound"), ("result", result)];
                    metrics.sum("outrigger_mesh_handshakes_total", &labels) == 1.0
                })
                .await;
        }
    }
    assert_eq!(app.requests(), 0);
}

/// Words of failures that only TLS to hosts outside the mesh has.
const OUTSIDE: [TlsFault; 4] =
    [TlsFault::UnknownIssuer, TlsFault::NameMismatch, TlsFault::BadCertificate, TlsFault::Unread];

#[test]
fn the_reference_explains_every_result_of_a_handshake() {
    let page = page();
    let tls = TlsFault::ALL.iter().filter(|fault| !OUTSIDE.contains(fault)).map(|fault| fault.as_str());
    let peers = PeerFault::ALL.iter().map(|fault| fault.as_str());
    let callers = CallerFault::ALL.iter().map(|fault| fault.as_str());
    for word in tls.chain(peers).chain(callers) {
        assert!(page.contains(&format!("`{word}`")), "docs/reference/mtls.md does not explain `{word}`");
    }
}

#[test]
fn the_policy_of_the_reference_is_clean() {
    let page = page();
    let (_, rest) = page.split_once("```yaml\n").expect("the page has a policy");
    let (policy, _) = rest.split_once("```").expect("the policy ends");
    let checked = check(vec![SourceFile { path: "mtls.md".to_owned(), text: policy.into() }]);
    assert!(checked.findings.is_empty(), "{}", checked.render_text(false));
}

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/mtls.md");
    fs::read_to_string(path).unwrap()
}

/// `examples/mtls.yaml` in a folder, for one of its Sidecars: `cart` listens at any free port before `app`, and is called at
/// `cart`.
fn example(folder: &Path, sidecar: &str, app: SocketAddr, cart: SocketAddr) -> Proxy {
    let text = mesh::example("mtls.yaml", &[("127.0.0.1:3000", app)])
        .replace("127.0.0.1:15002", "127.0.0.1:0")
        .replace("{bind: \"127.0.0.1:8080\"", "{bind: \"127.0.0.1:0\"")
        .replace("{address: \"127.0.0.1:8080\"", &format!("{{address: \"{cart}\""));
    let path = folder.join(format!("{sidecar}.yaml"));
    fs::write(&path, text).unwrap();
    Proxy::with("", |options| {
        options.paths = vec![path];
        options.sidecar = Some(ObjectName::new("shop", sidecar));
    })
}

async fn run_example(folder: &Path) {
    let app = Backend::http1("app").await;
    let cart = example(folder, "cart", app.address(), ([127, 0, 0, 1], 1).into());
    let web = example(folder, "web", app.address(), cart.inbound(0));
    assert_eq!(Client::http1(web.outbound(0), "cart").await.get("/").await.status, 200);
    let caller = ";URI=spiffe://cluster.local/ns/shop/sa/web";
    assert!(app.last().header(XFCC).ends_with(caller), "{:?}", app.last());
    let refused = Client::http1(cart.inbound(0), "cart").await.get("/").await;
    assert_eq!((refused.status.as_u16(), refused.header("x-outrigger-error")), (401, "no_identity"));
}

/// `examples/mtls.yaml`.
#[tokio::test]
async fn the_example_speaks_mutual_tls() {
    let (domain, folder) = (Domain::new(), tempfile::tempdir().unwrap());
    domain.web.write_to(&folder.path().join("certificates/web"));
    domain.cart.write_to(&folder.path().join("certificates/cart"));
    run_example(folder.path()).await;
}

#[tokio::test]
async fn the_commands_of_the_reference_make_the_examples_certificates() {
    if skip::without_program("the_commands_of_the_reference", "openssl", "openssl") {
        return;
    }
    let page = page();
    let (_, rest) = page.split_once("```sh\n").expect("the page has commands");
    let (commands, _) = rest.split_once("```").expect("the commands end");
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new("sh").args(["-ec", commands]).current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    run_example(folder.path()).await;
}
