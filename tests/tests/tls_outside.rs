//! TLS to hosts outside the mesh (`MeshService.spec.tls`), through real proxies and real handshakes.

use std::{fs, net::SocketAddr, path::PathBuf, time::Instant};

use outrigger_tests::{
    backend::{Answer, Backend, Fault},
    client::Client,
    mesh::{self, Proxy},
    outside::{Authority, Identity, TlsFront},
    raw::{RawBackend, Reply},
    wait::until,
};
use tempfile::TempDir;

const NAME: &str = "api.example.com";

/// A folder with certificates and keys, and policy that names them.
struct Files {
    folder: TempDir,
}

impl Files {
    fn new(authority: &Authority) -> Self {
        let files = Self { folder: tempfile::tempdir().unwrap() };
        files.write("ca.pem", authority.pem());
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Replaces a file in one step.
    fn write(&self, name: &str, text: String) {
        fs::write(self.path("next"), text).unwrap();
        fs::rename(self.path("next"), self.path(name)).unwrap();
    }

    fn identity(&self, identity: Identity) {
        self.write("cert.pem", identity.certificate);
        self.write("key.pem", identity.key);
    }

    fn simple(&self) -> String {
        format!("{{mode: Simple, trustBundle: {}}}", self.path("ca.pem").display())
    }

    fn mutual(&self) -> String {
        let [ca, cert, key] =
            ["ca.pem", "cert.pem", "key.pem"].map(|name| self.path(name).display().to_string());
        format!("{{mode: Mutual, trustBundle: {ca}, certificate: {cert}, privateKey: {key}}}")
    }
}

/// The MeshService `NAME` that answers to the host `api.example.com`.
fn service(name: &str, protocol: &str, endpoints: &[SocketAddr], tls: &str) -> String {
    let host = format!("{}.example.com", name);
    format!("{}  hosts: [{host}]\n  tls: {tls}\n", mesh::service(name, protocol, endpoints))
}

#[tokio::test]
async fn requests_in_plain_http_leave_through_tls() {
    let authority = Authority::new("ca");
    let (files, identity) = (Files::new(&authority), authority.issue(&[NAME]));
    for (protocol, alpn, offered) in [
        ("http1", Some("http/1.1"), &["h2", "http/1.1"][..]),
        ("http1", None, &[]),
        ("http2", Some("h2"), &["http/1.1", "h2"]),
        ("grpc", Some("h2"), &["h2"]),
    ] {
        let backend = match protocol {
            "http1" => Backend::http1("api").await,
            _ => Backend::http2("api").await,
        };
        let front = TlsFront::start(backend.address(), &identity, offered).await;
        let policy = mesh::outbound(&[&service("api", protocol, &[front.address()], &files.simple())]);
        let proxy = Proxy::start(&policy).await;
        let mut client = Client::http1(proxy.outbound(0), NAME).await;
        for _ in 0..3 {
            let answer = client.post("/a?b=c", "hello").await;
            assert_eq!(answer.status, 200, "{protocol}: {}", answer.text());
            assert_eq!(answer.json()["authority"], NAME, "{protocol}");
        }
        // A request in HTTP-proxy form means the same Service.
        let mut proxied = Client::http1(proxy.outbound(0), NAME).await;
        let request = proxied.request("GET", "http://api.example.com/x", "");
        assert_eq!(proxied.call(request).await.unwrap().json()["path"], "/x");
        let greetings = front.greetings();
        assert_eq!(greetings.len(), 1, "{protocol}: one connection for all: {greetings:?}");
        assert_eq!(greetings[0].name.as_deref(), Some(NAME), "{protocol}");
        assert_eq!(greetings[0].alpn.as_deref(), alpn, "{protocol}");
        let metrics = proxy.metrics().await;
        assert_eq!(metrics.sum("outrigger_upstream_tls_failures_total", &[]), 0.0);
    }
}

#[tokio::test]
async fn an_address_may_be_the_name() {
    let authority = Authority::new("ca");
    let backend = Backend::http1("api").await;
    let front = TlsFront::start(backend.address(), &authority.issue(&["127.0.0.1"]), &["http/1.1"]).await;
    let files = Files::new(&authority);
    let tls = files.simple().replace("Simple", "Simple, serverName: 127.0.0.1");
    let proxy = Proxy::start(&mesh::outbound(&[&service("api", "http1", &[front.address()], &tls)])).await;
    assert_eq!(Client::http1(proxy.outbound(0), "api").await.get("/").await.status, 200);
    assert_eq!(front.greetings()[0].name, None, "an address is no SNI");
}

/// Straight to an endpoint's own address, the Service's TLS holds too: never plaintext instead.
#[tokio::test]
async fn an_endpoint_called_by_its_address_is_spoken_to_through_tls() {
    let authority = Authority::new("ca");
    let backend = Backend::http1("api").await;
    let front = TlsFront::start(backend.address(), &authority.issue(&[NAME]), &["http/1.1"]).await;
    let files = Files::new(&authority);
    let policy = mesh::outbound(&[&service("api", "http1", &[front.address()], &files.simple())]);
    let proxy = Proxy::start(&policy).await;
    let mut client = Client::http1(proxy.outbound(0), &front.address().to_string()).await;
    assert_eq!(client.get("/").await.status, 200);
    assert_eq!(front.greetings()[0].name.as_deref(), Some(NAME));
}

/// Whatever is wrong with a handshake: the status, the reason, the metric's reason, and nothing at the backend.
#[tokio::test]
async fn every_failure_has_its_reason() {
    let (authority, stranger) = (Authority::new("ca"), Authority::new("stranger"));
    let files = Files::new(&authority);
    let backend = Backend::http1("api").await;
    let to = backend.address();
    let good = authority.issue(&[NAME]);
    let plain = RawBackend::start(Reply::AtOnce(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())).await;
    let closes = RawBackend::start(Reply::OnceAndClose { after: b"\x16".to_vec(), bytes: Vec::new() }).await;
    let fronts = [
        (TlsFront::start(to, &authority.issue_expired(&[NAME]), &[]).await, "http1", "expired"),
        (TlsFront::start(to, &authority.issue_early(&[NAME]), &[]).await, "http1", "not_yet_valid"),
        (TlsFront::start(to, &stranger.issue(&[NAME]), &[]).await, "http1", "unknown_issuer"),
        (TlsFront::start(to, &authority.issue(&["www.example.com"]), &[]).await, "http1", "name_mismatch"),
        (TlsFront::mutual(to, &good, &[], &authority).await, "http1", "refused"),
        (TlsFront::mutual(to, &good, &["h2"], &authority).await, "http2", "refused"),
        (TlsFront::start(to, &good, &["http/1.1"]).await, "http2", "alpn"),
        (TlsFront::start(to, &good, &["h2"]).await, "http1", "alpn"),
        (TlsFront::start(to, &good, &[]).await, "grpc", "alpn"),
    ];
    let fronts = fronts.iter().map(|(front, protocol, reason)| (front.address(), *protocol, *reason));
    let others = [(plain.address(), "http1", "protocol"), (closes.address(), "http1", "closed")];
    for (address, protocol, reason) in fronts.chain(others) {
        let what = format!("{protocol} {reason}");
        let proxy =
            Proxy::start(&mesh::outbound(&[&service("api", protocol, &[address], &files.simple())])).await;
        let answer = Client::http1(proxy.outbound(0), NAME).await.post("/", "hello").await;
        let (status, error) = if reason == "alpn" { (502, "alpn_mismatch") } else { (503, "tls_failed") };
        assert_eq!((answer.status.as_u16(), answer.header("x-outrigger-error")), (status, error), "{what}");
        let metrics = proxy.metrics().await;
        let counted = metrics.sum("outrigger_upstream_tls_failures_total", &[("reason", reason)]);
        assert!(counted >= 1.0, "{what}: {metrics:?}");
        assert_eq!(counted, metrics.sum("outrigger_upstream_tls_failures_total", &[]), "{what}: {metrics:?}");
        assert!(metrics.sum("outrigger_attempts_total", &[("outcome", "tls_failed")]) >= 1.0, "{what}");
    }
    assert_eq!(backend.requests(), 0, "nothing may be sent to who is not known");
    assert!(!plain.text().contains("hello"), "no fallback to plaintext");
}

#[tokio::test]
async fn a_handshake_that_hangs_ends_with_the_connect_timeout() {
    let files = Files::new(&Authority::new("ca"));
    let silent = RawBackend::start(Reply::Silent).await;
    let limits = mesh::traffic("api", "  timeouts: {connect: 200ms}\n");
    let service = service("api", "http1", &[silent.address()], &files.simple());
    let proxy = Proxy::start(&mesh::outbound(&[&service, &limits])).await;
    let started = Instant::now();
    let answer = Client::http1(proxy.outbound(0), NAME).await.get("/").await;
    assert_eq!((answer.status.as_u16(), answer.header("x-outrigger-error")), (503, "connect_timeout"));
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
}

/// A failed handshake is work that never started: any method goes on to an endpoint that can be trusted.
#[tokio::test]
async fn a_post_goes_on_to_an_endpoint_that_can_be_trusted() {
    let authority = Authority::new("ca");
    let files = Files::new(&authority);
    let backend = Backend::http1("api").await;
    let good = TlsFront::start(backend.address(), &authority.issue(&[NAME]), &[]).await;
    let bad = TlsFront::start(backend.address(), &authority.issue_expired(&[NAME]), &[]).await;
    let demanding =
        TlsFront::mutual(backend.address(), &authority.issue(&[NAME]), &[], &Authority::new("others")).await;
    let endpoints = [bad.address(), demanding.address(), good.address()];
    let balance = mesh::traffic("api", "  loadBalancer: {policy: roundRobin}\n");
    let service = service("api", "http1", &endpoints, &files.simple());
    let proxy = Proxy::start(&mesh::outbound(&[&service, &balance])).await;
    let mut client = Client::http1(proxy.outbound(0), NAME).await;
    for number in 0..12 {
        let answer = client.post("/", "hello").await;
        assert_eq!(answer.status, 200, "{number}: {}", answer.text());
    }
    assert_eq!(backend.requests(), 12, "each exactly once");
    let metrics = proxy.metrics().await;
    for reason in ["expired", "refused"] {
        let failed = metrics.sum("outrigger_upstream_tls_failures_total", &[("reason", reason)]);
        assert!(failed > 0.0, "{reason}: {metrics:?}");
    }
}

/// The law's proof for pooled connections reads the socket below TLS.
#[tokio::test]
async fn a_pooled_connection_that_the_peer_has_closed_is_not_taken() {
    let authority = Authority::new("ca");
    let files = Files::new(&authority);
    let backend = Backend::http1("api").await;
    let front = TlsFront::start(backend.address(), &authority.issue(&[NAME]), &["http/1.1"]).await;
    let service = service("api", "http1", &[front.address()], &files.simple());
    let proxy = Proxy::start(&mesh::outbound(&[&service])).await;
    let mut client = Client::http1(proxy.outbound(0), NAME).await;
    for number in 1..=5 {
        assert_eq!(client.post("/", "hello").await.status, 200, "{number}");
        // Ends the connection, TLS and all, while it idles in the pool.
        backend.go_away();
        backend.wait_open_connections(0).await;
        until("the proxy to see it", || async {
            (proxy.metrics().await.sum("outrigger_upstream_connections_open", &[]) == 0.0).then_some(())
        })
        .await;
    }
    assert_eq!((backend.requests(), front.greetings().len()), (5, 5));
    assert!(front.greetings()[1..].iter().all(|greeting| greeting.resumed), "{:?}", front.greetings());
}

/// Bytes of the handshake are none of the request's, and bytes of the request are seen through TLS.
#[tokio::test]
async fn a_post_that_may_have_begun_is_not_repeated() {
    let authority = Authority::new("ca");
    let files = Files::new(&authority);
    let backend = Backend::http1("api").await;
    backend.answer(|_| Answer::fail(Fault::Reset));
    let front = TlsFront::start(backend.address(), &authority.issue(&[NAME]), &["http/1.1"]).await;
    let service = service("api", "http1", &[front.address()], &files.simple());
    let retry = mesh::traffic("api", "  retry: {attempts: 2, on: [reset]}\n");
    let proxy = Proxy::start(&mesh::outbound(&[&service, &retry])).await;
    let mut client = Client::http1(proxy.outbound(0), NAME).await;
    let answer = client.post("/", "hello").await;
    assert_eq!((answer.status.as_u16(), answer.header("x-outrigger-error")), (503, "upstream_reset"));
    assert_eq!(backend.requests(), 1);
    client.get("/").await;
    assert_eq!(backend.requests(), 4, "a GET may be repeated, twice");
}

/// Two destinations at one address: what one has proved, or shown, is nothing to the other.
#[tokio::test]
async fn connections_of_two_destinations_are_not_mixed() {
    let authority = Authority::new("ca");
    let files = Files::new(&authority);
    files.identity(authority.issue(&["client"]));
    for protocol in ["http1", "http2"] {
        let backend = match protocol {
            "http1" => Backend::http1("both").await,
            _ => Backend::http2("both").await,
        };
        let identity = authority.issue(&["one.example.com", "two.example.com"]);
        let front = TlsFront::mutual(backend.address(), &identity, &["h2", "http/1.1"], &authority).await;
        let at = [front.address()];
        let proxy = Proxy::start(&mesh::outbound(&[
            &service("one", protocol, &at, &files.mutual()),
            &service("two", protocol, &at, &files.mutual()),
            &service(
                "anonymous",
                protocol,
                &at,
                &files.simple().replace("Simple", "Simple, serverName: one.example.com"),
            ),
            &mesh::service("plain", protocol, &at),
        ]))
        .await;
        let mut client = Client::http1(proxy.outbound(0), "x").await;
        let mut ask = async |host: &str| {
            let mut request = client.request("GET", "/", "");
            request.headers_mut().insert("host", host.parse().unwrap());
            client.call(request).await.unwrap().status.as_u16()
        };
        for _ in 0..2 {
            assert_eq!(ask("one").await, 200);
            assert_eq!(ask("two").await, 200);
            assert_eq!(
                ask("anonymous").await,
                503,
                "the pooled ones have shown a certificate: not for this one"
            );
            assert!(ask("plain").await >= 502, "plaintext is not answered there");
        }
        let names: Vec<_> = front.greetings().into_iter().filter_map(|greeting| greeting.name).collect();
        assert_eq!(names, ["one.example.com", "two.example.com"], "{protocol}");
        assert!(front.greetings().iter().all(|greeting| greeting.certificate));
    }
}

#[tokio::test]
async fn rotated_files_are_taken_up_and_bad_ones_change_nothing() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let files = Files::new(&old);
    files.identity(old.issue(&["client"]));
    let backend = Backend::http1("api").await;
    let before = TlsFront::mutual(backend.address(), &old.issue(&[NAME]), &[], &old).await;
    let policy = mesh::outbound(&[&service("api", "http1", &[before.address()], &files.mutual())]);
    let proxy = Proxy::start(&policy).await;
    let mut client = Client::http1(proxy.outbound(0), NAME).await;
    assert_eq!(client.get("/").await.status, 200);

    // A file is spoilt: refused with its place, and requests go on.
    let dump = async |what: &str| {
        until(what, || async {
            let dump = proxy.config_dump().await;
            dump["rejected"].is_object().then(|| dump["rejected"].clone())
        })
        .await
    };
    files.write("key.pem", "spoilt".to_owned());
    let rejected = dump("the spoilt key to be refused").await;
    let finding = &rejected["findings"][0];
    assert_eq!(
        (&finding["code"], &finding["field"]),
        (&"OR160".into(), &"spec.tls.privateKey".into()),
        "{rejected}"
    );
    assert_eq!(finding["file"], proxy.policy().display().to_string());
    assert!(finding["line"].as_u64() > Some(1) && finding["column"].as_u64() > Some(1), "{finding}");
    assert_eq!(client.get("/").await.status, 200);
    assert_eq!(proxy.generation().await, 1.0);

    // Rotated: new connections show the new certificate, old ones are not used for it.
    let rotated = new.issue(&["client"]);
    files.identity(rotated.clone());
    until("the rotated files", || async { (proxy.generation().await == 2.0).then_some(()) }).await;
    assert!(proxy.config_dump().await["rejected"].is_null());
    let answer = client.get("/").await;
    assert_eq!(answer.header("x-outrigger-error"), "tls_failed", "the front knows the old authority alone");

    // And so is the bundle, with an endpoint that has moved on too.
    let after = TlsFront::mutual(backend.address(), &new.issue(&[NAME]), &[], &new).await;
    proxy.reload(&policy.replace(&before.address().to_string(), &after.address().to_string())).await;
    assert_eq!(client.get("/").await.header("x-outrigger-error"), "tls_failed", "not trusted yet");
    files.write("ca.pem", new.pem());
    until("the rotated bundle", || async { (client_status(&proxy).await == 200).then_some(()) }).await;

    // No key is anywhere to be seen.
    let secret = rotated.key.lines().nth(1).unwrap().to_owned();
    for page in ["/config_dump", "/services", "/metrics", "/"] {
        let text = outrigger_tests::client::get(proxy.admin(), page).await.text();
        assert!(!text.contains(&secret) && !text.contains("PRIVATE KEY"), "{page}");
    }
    assert!(proxy.config_dump().await.to_string().contains("key.pem"), "the path is shown");
}

async fn client_status(proxy: &Proxy) -> u16 {
    Client::http1(proxy.outbound(0), NAME).await.get("/").await.status.as_u16()
}

#[tokio::test]
async fn a_start_without_the_files_is_refused_with_every_place() {
    let tls = "{mode: Mutual, trustBundle: ca.pem, certificate: cert.pem, privateKey: key.pem}";
    let endpoint = "127.0.0.1:1".parse().unwrap();
    let policy = mesh::outbound(&[
        &service("one", "http1", &[endpoint], tls),
        &service("two", "http1", &[endpoint], "{mode: Simple, trustBundle: sub/ca.pem}"),
    ]);
    let error = Proxy::try_start(&policy).await.err().expect("no file is there").to_string();
    for part in [
        "policy.yaml:16:36: error[OR160] spec.tls.trustBundle: ",
        "policy.yaml:25:36: ",
        "/sub/ca.pem: No such",
    ] {
        assert!(error.contains(part), "{part}\n{error}");
    }
}

/// `examples/tls-outside.yaml`, with the host outside on this machine and an authority of the test's.
#[tokio::test]
async fn the_example_works() {
    let authority = Authority::new("ca");
    let files = Files::new(&authority);
    let backend = Backend::http2("api").await;
    let front = TlsFront::start(backend.address(), &authority.issue(&[NAME]), &["h2"]).await;
    let example =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/tls-outside.yaml")).unwrap();
    let policy = example
        .replace("127.0.0.1:15001", "127.0.0.1:0")
        .replace("  outbound:", "  admin: {bind: \"127.0.0.1:0\"}\n  outbound:")
        .replace("dns: \"api.example.com:443\"", &format!("address: \"{}\"", front.address()))
        .replace("tls: {mode: Simple}", &format!("tls: {}", files.simple()));
    let proxy = Proxy::start(&policy).await;
    assert_eq!(
        Client::http1(proxy.outbound(0), NAME).await.get("/v1/items").await.json()["path"],
        "/v1/items"
    );
}
