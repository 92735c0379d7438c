//! Certificates come and go under load: no request and no stream notices, neither when both ends get another one a thousand
//! times, nor when one root follows another, nor when policy changes meanwhile.
//!
//! What is counted is what was on the wire. TLS 1.3 encrypts certificates, so nobody on the way can read them; those who
//! can are the two ends. The caller's is what the callee's proxy has verified and tells the app (`Hash` of
//! `x-forwarded-client-cert`) with a request of the load; the callee's is what a client of this test is shown in a
//! handshake of its own.

use std::{
    collections::HashSet,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming};
use outrigger_tests::{
    authority::{Authority, Svid},
    backend::{Answer, Backend},
    client::{self, Client},
    mesh::{self, Proxy},
    mesh_caller::{HTTP2, dial},
    wait::{until, within},
};
use tempfile::TempDir;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

/// Certificates that each end gets after its first.
const ROTATIONS: usize = 1000;
/// How long each is valid.
const LIFE: Duration = Duration::from_secs(10);
/// Streams that are open all the time.
const STREAMS: usize = 100;
/// Clients that send one request after the other.
const CALLERS: usize = 2;

/// One proxy, and the folder of its identity.
struct End {
    proxy: Proxy,
    folder: TempDir,
    id: String,
}

impl End {
    async fn start(svid: &Svid, policy: impl FnOnce(&Path) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        svid.write_to(folder.path());
        let proxy = Proxy::start(&policy(folder.path())).await;
        Self { proxy, folder, id: svid.id.clone() }
    }

    /// Gives it this certificate, and waits until it is in use; gives its SHA-256.
    async fn rotate(&self, svid: &Svid) -> String {
        svid.write_to(self.folder.path());
        let mut admin = Client::http1(self.proxy.admin(), "admin").await;
        let what = format!("{} to be {}", svid.serial, self.id);
        within(&what, async {
            loop {
                let certificate = admin.get("/certs").await.json()["identity"]["certificate"].clone();
                if certificate["serial"] == svid.serial.as_str() {
                    return certificate["sha256"].as_str().unwrap().to_owned();
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }

    async fn rotations(&self, result: &str) -> f64 {
        self.proxy.metrics().await.sum("outrigger_identity_rotations_total", &[("result", result)])
    }
}

fn identity(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "spec:\n  identity: {{files: {{certificate: {folder}/tls.crt, privateKey: {folder}/tls.key, trustBundle: \
         {folder}/ca.crt}}}}\n"
    )
}

/// A caller's proxy, a callee's, and an app that says by which certificate it was called and gives back what comes to `/echo`.
struct Mesh {
    web: End,
    cart: End,
    app: Backend,
}

impl Mesh {
    async fn start(web: &Svid, cart: &Svid) -> Self {
        let app = Backend::http2("cart").await;
        app.forget();
        app.answer(|seen| match &*seen.path {
            "/echo" => Answer::echo(),
            _ => Answer::text(seen.header("x-forwarded-client-cert").to_owned()),
        });
        let strict = "apiVersion: outrigger.dev/v1alpha1\nkind: Mesh\nmetadata: {name: default}\nspec: {mtls: {mode: Strict}}\n";
        let policy = mesh::inbound(app.address(), "http2", &[strict]);
        let cart = End::start(cart, |folder| policy.replacen("spec:\n", &identity(folder), 1)).await;
        let service = format!(
            "apiVersion: outrigger.dev/v1alpha1\nkind: MeshService\nmetadata: {{name: cart}}\nspec:\n  ports: [{{port: 80, \
             protocol: http2}}]\n  endpoints: [{{address: \"{}\", identity: \"{}\"}}]\n",
            cart.proxy.inbound(0),
            cart.id
        );
        let policy = mesh::outbound(&[&service]);
        let web = End::start(web, |folder| policy.replacen("spec:\n", &identity(folder), 1)).await;
        Self { web, cart, app }
    }

    fn address(&self) -> SocketAddr {
        self.web.proxy.outbound(0)
    }

    /// The certificate that a caller is shown now, DER.
    async fn shown(&self, caller: &Svid) -> Vec<u8> {
        let tls = dial(self.cart.proxy.inbound(0), caller.client(&[HTTP2])).await.expect("a handshake");
        tls.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    }
}

/// Requests one after the other, and what went wrong with them.
struct Load {
    /// SHA-256 of the caller's certificate, as the last answer had it.
    hash: watch::Receiver<String>,
    hashes: Arc<Mutex<HashSet<String>>>,
    requests: Arc<AtomicU64>,
    stop: watch::Sender<bool>,
    callers: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    fn start(to: SocketAddr) -> Self {
        let (tell, hash) = watch::channel(String::new());
        let (stop, stopped) = watch::channel(false);
        let (hashes, requests) = (Arc::<Mutex<HashSet<String>>>::default(), Arc::<AtomicU64>::default());
        let caller = |_| {
            let (tell, stopped, hashes, requests) =
                (tell.clone(), stopped.clone(), hashes.clone(), requests.clone());
            tokio::spawn(async move {
                let mut client = Client::http1(to, "cart").await;
                let mut failures = Vec::new();
                while !*stopped.borrow() {
                    let request = client.request("POST", "/", "x");
                    match client.call(request).await {
                        Ok(answer) if answer.status == 200 => {
                            let text = answer.text();
                            let hash = text.split(";Hash=").nth(1).unwrap_or(&text).split(';').next();
                            let hash = hash.unwrap_or_default().to_owned();
                            hashes.lock().unwrap().insert(hash.clone());
                            tell.send_replace(hash);
                        }
                        Ok(answer) => failures.push(format!("{} {:?}", answer.status, answer.headers)),
                        Err(error) => {
                            failures.push(format!("{error:?}"));
                            client = Client::http1(to, "cart").await;
                        }
                    }
                    requests.fetch_add(1, Relaxed);
                }
                failures
            })
        };
        let callers = (0..CALLERS).map(caller).collect();
        Self { hash, hashes, requests, stop, callers }
    }

    /// Waits until a request has gone with this certificate.
    async fn until_sent_with(&mut self, hash: &str) {
        let _ = within("a request with the next certificate", self.hash.wait_for(|seen| *seen == hash)).await;
    }

    /// Ends it; gives how many requests there were, and with which certificates.
    async fn finish(self) -> (u64, HashSet<String>) {
        self.stop.send_replace(true);
        for caller in self.callers {
            let failures = caller.await.unwrap();
            assert!(failures.is_empty(), "{} failures, such as {}", failures.len(), failures[0]);
        }
        let hashes = self.hashes.lock().unwrap().clone();
        (self.requests.load(Relaxed), hashes)
    }
}

/// One request that is open until the test ends it, and gives back what it is sent.
struct Stream {
    feed: mpsc::Sender<Frame<Bytes>>,
    answer: Incoming,
}

impl Stream {
    async fn open(client: &Client) -> Self {
        let mut client = client.share();
        let (feed, body) = client::fed();
        let request = client.request("POST", "/echo", "").map(|_| body);
        let mut sending = std::pin::pin!(client.send(request));
        // The answer's head comes with what is first echoed.
        let opened = async {
            tokio::select! {
                answer = &mut sending => return answer,
                sent = feed.send(Frame::data(Bytes::from_static(b"first"))) => sent.expect("the request is open"),
            }
            sending.await
        };
        let answer = within("a stream", opened).await.expect("an answer").into_body();
        let mut stream = Self { feed, answer };
        stream.expect(b"first").await;
        stream
    }

    async fn echo(&mut self, text: String) {
        self.feed.send(Frame::data(text.clone().into())).await.expect("the request is open");
        self.expect(text.as_bytes()).await;
    }

    async fn expect(&mut self, bytes: &[u8]) {
        let mut seen = Vec::new();
        while seen.len() < bytes.len() {
            let frame = within("an echo", self.answer.frame()).await.expect("the answer is open");
            seen.extend_from_slice(&frame.expect("a whole answer").into_data().expect("no trailers yet"));
        }
        assert_eq!(seen, bytes);
    }

    /// Ends it, as a whole answer does.
    async fn finish(self) {
        let Self { feed, mut answer } = self;
        drop(feed);
        while let Some(frame) = within("the end of a stream", answer.frame()).await {
            frame.expect("a whole answer");
        }
    }
}

async fn streams(to: SocketAddr, count: usize) -> Vec<Stream> {
    let client = Client::http2(to, "cart").await;
    let mut streams = Vec::new();
    for _ in 0..count {
        streams.push(Stream::open(&client).await);
    }
    streams
}

/// In a debug build on two busy cores this takes well below two minutes: each rotation is waited for, which takes some 40 ms.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_rotations_of_both_ends_lose_nothing() {
    let authority = Authority::new("cluster.local");
    let (web, cart) = (authority.account("default", "web"), authority.account("default", "cart"));
    let issue = |id: &str| authority.issue(id).ttl(LIFE).make();
    let mesh = Mesh::start(&issue(&web), &issue(&cart)).await;
    let mut streams = streams(mesh.address(), STREAMS).await;
    let mut load = Load::start(mesh.address());
    let observer = authority.svid(&authority.account("default", "observer"));
    let mut shown = HashSet::new();
    for round in 0..ROTATIONS {
        let (to_web, to_cart) = (issue(&web), issue(&cart));
        let (hash, _) = tokio::join!(mesh.web.rotate(&to_web), mesh.cart.rotate(&to_cart));
        let seen = mesh.shown(&observer).await;
        assert_eq!(seen, to_cart.der().0[0].to_vec(), "round {round}: the certificate in use is shown");
        shown.insert(seen);
        load.until_sent_with(&hash).await;
        streams[round % STREAMS].echo(format!("round {round}")).await;
    }
    let (requests, sent_with) = load.finish().await;
    for stream in &mut streams {
        stream.echo("the last".to_owned()).await;
    }
    let links = || async { mesh.web.proxy.metrics().await.sum("outrigger_upstream_connections_open", &[]) };
    until("links of former certificates to end", || async { (links().await <= 2.0).then_some(()) }).await;
    for stream in streams {
        stream.finish().await;
    }
    assert!(shown.len() >= ROTATIONS * 99 / 100, "the callee has shown {} certificates", shown.len());
    assert!(sent_with.len() >= ROTATIONS * 99 / 100, "the caller has shown {} certificates", sent_with.len());
    assert!(requests >= ROTATIONS as u64, "{requests} requests");
    for end in [&mesh.web, &mesh.cart] {
        assert_eq!(end.rotations("rejected").await, 0.0, "{}", end.id);
        assert_eq!(end.proxy.generation().await, 1.0, "no rotation compiles policy");
    }
}

/// A new root is published, then used, then the former one is retired: each step at one end, then at the other.
#[tokio::test]
async fn one_root_follows_another_and_nothing_is_lost() {
    let (old, new) = (Authority::new("cluster.local"), Authority::new("cluster.local"));
    let (web, cart) = (old.account("default", "web"), old.account("default", "cart"));
    let mesh = Mesh::start(&old.svid(&web), &old.svid(&cart)).await;
    let mut streams = streams(mesh.address(), 10).await;
    let mut load = Load::start(mesh.address());
    let both = old.bundle_pem() + &new.bundle_pem();
    for (issuer, bundle) in [(&old, both.clone()), (&new, both.clone()), (&new, new.bundle_pem())] {
        for (end, id) in [(&mesh.cart, &cart), (&mesh.web, &web)] {
            let svid = Svid { bundle_pem: bundle.clone(), ..issuer.svid(id) };
            let hash = end.rotate(&svid).await;
            if end.id == web {
                load.until_sent_with(&hash).await;
            }
            let authorities =
                client::get(end.proxy.admin(), "/certs").await.json()["identity"]["authorities"].clone();
            assert_eq!(authorities.as_array().unwrap().len(), bundle.matches("BEGIN").count());
            for stream in &mut streams {
                stream.echo(end.id.clone()).await;
            }
        }
    }
    load.finish().await;
    for stream in streams {
        stream.finish().await;
    }
    // Nobody of the former root is believed any more.
    let seen = outrigger_tests::mesh_caller::refusal(
        mesh.cart.proxy.inbound(0),
        old.svid(&web).client(&[HTTP2]),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    );
    assert!(seen.await.is_some());
}

/// A policy that names another identity is taken up with it, or refused whole; one that names the same keeps what is in use,
/// whatever its files hold at that moment.
#[tokio::test]
async fn a_policy_names_another_identity() {
    let authority = Authority::new("cluster.local");
    let (web, cart) = (authority.account("default", "web"), authority.account("default", "cart"));
    let mesh = Mesh::start(&authority.svid(&web), &authority.svid(&cart)).await;
    let proxy = &mesh.web.proxy;
    let policy = std::fs::read_to_string(proxy.policy()).unwrap();
    let serial = || async {
        client::get(proxy.admin(), "/certs").await.json()["identity"]["certificate"]["serial"].to_string()
    };
    let load = Load::start(mesh.address());
    let first = serial().await;

    // The same identity in another place of the file, while its files are on their way to something else.
    std::fs::remove_file(mesh.web.folder.path().join("tls.key")).unwrap();
    proxy.reload(&format!("# moved by a line\n{policy}")).await;
    assert_eq!(serial().await, first);

    let other = tempfile::tempdir().unwrap();
    let elsewhere =
        policy.replace(&mesh.web.folder.path().display().to_string(), &other.path().display().to_string());
    proxy.reload_refused(&elsewhere).await;
    let rejected = proxy.config_dump().await["rejected"]["text"].to_string();
    assert!(
        rejected.contains("tls.crt") && rejected.contains("spec.identity.files.certificate"),
        "{rejected}"
    );
    assert_eq!(serial().await, first);

    // As soon as the files are there the policy is good.
    let svid = authority.svid(&web);
    let before = proxy.generation().await;
    svid.write_to(other.path());
    until("the refused policy", || async { (proxy.generation().await > before).then_some(()) }).await;
    assert_eq!(serial().await, format!("\"{}\"", svid.serial));

    // And followed from there on, without another policy.
    let next = authority.svid(&web);
    let before = proxy.generation().await;
    next.write_to(other.path());
    until("the next", || async { (serial().await == format!("\"{}\"", next.serial)).then_some(()) }).await;
    assert_eq!(proxy.generation().await, before);
    load.finish().await;
}

/// A callee whose certificate has expired refuses handshakes, in every mode serves none of them as plaintext, and is back with the
/// next certificate.
#[tokio::test]
async fn a_callee_whose_certificate_has_expired_is_back_with_the_next() {
    let authority = Authority::new("cluster.local");
    let (web, cart) = (authority.account("default", "web"), authority.account("default", "cart"));
    let short = authority.issue(&cart).ttl(Duration::from_secs(2)).make();
    let mesh = Mesh::start(&authority.svid(&web), &short).await;
    let callee = &mesh.cart.proxy;
    let observer = authority.svid(&authority.account("default", "observer"));
    within("the end of the certificate", async {
        while dial(callee.inbound(0), observer.client(&[HTTP2])).await.is_ok() {}
    })
    .await;
    let expired = [("side", "inbound"), ("result", "own_certificate_expired")];
    assert!(callee.metrics().await.sum("outrigger_mesh_handshakes_total", &expired) >= 1.0);
    let left = || async {
        let certs = client::get(callee.admin(), "/certs").await.json();
        certs["identity"]["certificate"]["seconds_left"].as_i64().unwrap()
    };
    assert!(left().await < 0);
    let mut client = Client::http1(mesh.address(), "cart").await;
    let answer = client.get("/").await;
    assert_eq!((answer.status.as_u16(), answer.header("x-outrigger-error")), (503, "tls_failed"));
    assert_eq!(mesh.app.requests(), 0);
    mesh.cart.rotate(&authority.svid(&cart)).await;
    assert!(left().await > 0);
    let answer = client.get("/").await;
    assert!(answer.status == 200 && answer.text().contains(&web), "{} {}", answer.status, answer.text());
}
