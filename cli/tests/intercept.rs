//! `outrigger intercept` and a proxy that gets what it redirects, in network namespaces with a cable between them: the
//! app's namespace, and one of everybody else.

use std::net::SocketAddr;

use outrigger_tests::{
    backend::{Backend, Speaks},
    client::{self, Client},
    metrics::Metrics,
    namespace::{self, Namespace},
    process::Process,
    raw::{self, Ended, RawBackend, RawClient, Reply},
    skip,
    wait::until,
};
use tempfile::TempDir;

const OUTRIGGER: &str = env!("CARGO_BIN_EXE_outrigger");
const ADMIN: &str = "127.0.0.1:15000";

fn skipped(name: &str) -> bool {
    skip::without_root(name)
        || skip::without_program(name, "ip", "iproute2")
        || skip::without_program(name, "setpriv", "util-linux")
        || skip::without_program(name, "iptables-nft", "iptables")
        || skip::without_program(name, "iptables-legacy", "iptables")
        || skip::without_nat(name, "iptables-nft")
}

fn at(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

/// The app's namespace with a proxy in it, everybody else's, and the rules.
struct World {
    app: Namespace,
    other: Namespace,
    _proxy: Process,
    _policy: TempDir,
}

impl World {
    /// With `examples/intercepted.yaml`, and more policy.
    async fn start(more: &str) -> Self {
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/intercepted.yaml");
        let policy = tempfile::tempdir().unwrap();
        let file = policy.path().join("policy.yaml");
        let text = std::fs::read_to_string(example).unwrap() + "---\n" + more;
        std::fs::write(&file, text).unwrap();
        let (app, other) = namespace::pair();
        intercept(&app, &[], 0);
        // The proxy's user may not read the folders of whoever runs this test, which is no part of it.
        let read = "+dac_read_search";
        let proxy = Process::start(
            "ip",
            ["netns", "exec", app.name(), "setpriv", "--reuid", "1337", "--regid", "1337", "--clear-groups"]
                .into_iter()
                .chain([
                    "--inh-caps",
                    read,
                    "--ambient-caps",
                    read,
                    OUTRIGGER,
                    "proxy",
                    "--workers",
                    "1",
                    "-f",
                ])
                .chain([file.to_str().unwrap()]),
            &[],
        );
        let ready = || async {
            tokio::net::TcpStream::connect(ADMIN).await.ok()?;
            (client::get(at(ADMIN), "/ready").await.status == 200).then_some(())
        };
        app.run(async move { until("the proxy to be ready", ready).await }).await;
        Self { app, other, _proxy: proxy, _policy: policy }
    }

    async fn metrics(&self) -> Metrics {
        self.app.run(Metrics::scrape(at(ADMIN))).await
    }
}

const NOTHING_MORE: &str =
    "{apiVersion: outrigger.dev/v1alpha1, kind: Mesh, metadata: {name: default}, spec: {}}\n";

/// Runs the command in a namespace; gives what it said.
fn intercept(namespace: &Namespace, options: &[&str], code: i32) -> String {
    let (got, said) = namespace.exec(OUTRIGGER, &[&["intercept"], options].concat());
    assert_eq!(got, code, "{options:?}: {said}");
    said
}

async fn serve(namespace: &Namespace, address: &str, speaks: Speaks, name: &'static str) -> Backend {
    let address = at(address);
    namespace.run(async move { Backend::at(address, speaks, name).await }).await
}

/// A server that speaks first, as those of MySQL and SMTP do, and answers each line.
async fn greeter(namespace: &Namespace, address: &'static str) {
    namespace
        .run(async move {
            let listener = tokio::net::TcpListener::bind(address).await.unwrap();
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    tokio::spawn(async move {
                        use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
                        let (read, mut write) = stream.split();
                        let _ = write.write_all(b"220 ready\r\n").await;
                        let mut lines = BufReader::new(read).lines();
                        while let Ok(Some(line)) = lines.next_line().await {
                            let _ = write.write_all(format!("250 {line}\r\n").as_bytes()).await;
                        }
                    });
                }
            });
        })
        .await;
}

async fn greeted(namespace: &Namespace, to: &'static str) {
    namespace
        .run(async move {
            let mut client = RawClient::connect(at(to)).await;
            client.read_until("220 ready\r\n").await;
            client.send("EHLO me\r\n").await;
            client.read_until("250 EHLO me\r\n").await;
            client.finish().await;
            assert_eq!(client.read_to_end().await.1, Ended::Fin);
        })
        .await;
}

async fn get(namespace: &Namespace, to: &'static str, authority: &'static str) -> client::Answer {
    namespace.run(async move { Client::http1(at(to), authority).await.get("/x").await }).await
}

async fn get_http2(namespace: &Namespace, to: &'static str, authority: &'static str) -> client::Answer {
    namespace.run(async move { Client::http2(at(to), authority).await.get("/x").await }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_app_calls_goes_by_the_proxy() {
    if skipped("what_the_app_calls_goes_by_the_proxy") {
        return;
    }
    let world = World::start(NOTHING_MORE).await;
    let reviews = serve(&world.other, "10.201.0.2:9080", Speaks::Http1, "reviews").await;
    let http2 = serve(&world.other, "10.201.0.2:9081", Speaks::Http2, "http2").await;
    let http1_v6 = serve(&world.other, "[fd00:201::2]:9082", Speaks::Http1, "v6").await;
    greeter(&world.other, "10.201.0.2:9432").await;
    greeter(&world.other, "10.201.0.2:9025").await;
    greeter(&world.other, "[fd00:201::2]:9025").await;

    // A Service by its cluster IP: its route holds, whatever Host says.
    let answer = get(&world.app, "10.96.0.20:80", "whatever.example.com").await;
    assert_eq!((answer.status.as_u16(), reviews.last().header("x-route")), (200, "reviews"));
    // An endpoint by its address: straight there.
    assert_eq!(get(&world.app, "10.201.0.2:9080", "reviews").await.status, 200);
    assert_eq!(reviews.last().header("x-route"), "");
    assert_eq!(reviews.last().header("x-request-id").len(), 36, "the proxy has had it");
    // Addresses of no Service: HTTP/2 is told by its preface, and goes where it was sent to.
    assert_eq!(get_http2(&world.app, "10.201.0.2:9081", "nobody.example.com").await.status, 200);
    assert_eq!((http2.requests(), http2.last().version.as_str()), (1, "HTTP/2.0"));
    assert_eq!(get(&world.app, "[fd00:201::2]:9082", "nobody.example.com").await.status, 200);
    assert_eq!(http1_v6.last().header("x-request-id").len(), 36);
    // Servers that speak first: declared, and not.
    greeted(&world.app, "10.96.0.20:5432").await;
    greeted(&world.app, "10.201.0.2:9025").await;
    greeted(&world.app, "[fd00:201::2]:9025").await;

    let metrics = world.metrics().await;
    let tcp = |service| {
        metrics.sum("outrigger_tcp_connections_total", &[("side", "outbound"), ("service", service)])
    };
    assert_eq!((tcp("shop/reviews:5432"), tcp("egress")), (1.0, 2.0));
    let told = |port, outcome| {
        let labels = [("side", "outbound"), ("port", port), ("outcome", outcome)];
        metrics.sum("outrigger_protocol_detections_total", &labels)
    };
    assert_eq!((told("9025", "server_first"), told("9081", "http2"), told("9082", "http1")), (2.0, 1.0, 1.0));
    assert_eq!(told("80", "http1"), 0.0, "the port's name declares HTTP");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_calls_the_app_comes_by_the_proxy() {
    if skipped("what_calls_the_app_comes_by_the_proxy") {
        return;
    }
    let world = World::start(NOTHING_MORE).await;
    let cart = serve(&world.app, "0.0.0.0:8080", Speaks::Http1, "cart").await;
    let v6 = serve(&world.app, "[fd00:201::1]:8081", Speaks::Http1, "v6").await;
    let http2 = serve(&world.app, "10.201.0.1:8082", Speaks::Http2, "http2").await;
    let hidden = serve(&world.app, "127.0.0.1:8083", Speaks::Http1, "hidden").await;
    greeter(&world.app, "0.0.0.0:3306").await;
    greeter(&world.app, "[fd00:201::1]:3307").await;

    assert_eq!(get(&world.other, "10.201.0.1:8080", "cart").await.status, 200);
    assert_eq!(cart.last().header("x-forwarded-for"), "10.201.0.2", "IPv4 by the listener for both");
    assert_eq!(get(&world.other, "[fd00:201::1]:8081", "cart").await.status, 200);
    assert_eq!(v6.last().header("x-forwarded-for"), "fd00:201::2");
    assert_eq!(get_http2(&world.other, "10.201.0.1:8082", "cart").await.status, 200);
    assert_eq!(http2.last().version, "HTTP/2.0");
    greeted(&world.other, "10.201.0.1:3306").await;
    greeted(&world.other, "[fd00:201::1]:3307").await;
    // What is bound to loopback stays there.
    assert_eq!(get(&world.other, "10.201.0.1:8083", "cart").await.status, 503);
    assert_eq!(hidden.connections(), 0);

    let metrics = world.metrics().await;
    let requests =
        |service| metrics.sum("outrigger_requests_total", &[("side", "inbound"), ("service", service)]);
    assert_eq!((requests("shop/cart:80"), requests("app")), (1.0, 3.0));
    let told = metrics
        .sum("outrigger_protocol_detections_total", &[("side", "inbound"), ("outcome", "server_first")]);
    assert_eq!(told, 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_the_app_to_itself() {
    if skipped("calls_of_the_app_to_itself") {
        return;
    }
    let world = World::start(NOTHING_MORE).await;
    let cart = serve(&world.app, "0.0.0.0:8080", Speaks::Http1, "cart").await;
    let inbound = || async {
        let metrics = world.metrics().await;
        metrics.sum("outrigger_downstream_connections_total", &[("side", "inbound")])
    };
    // By loopback, and by its own address: nobody is between.
    for to in ["127.0.0.1:8080", "10.201.0.1:8080"] {
        assert_eq!(get(&world.app, to, "cart").await.status, 200);
        assert_eq!(cart.last().header("x-request-id"), "", "{to}");
    }
    assert_eq!(inbound().await, 0.0);
    // By its Service: out by the proxy, and in by it as anybody's call.
    assert_eq!(get(&world.app, "10.96.0.10:80", "cart").await.status, 200);
    assert_eq!(cart.requests(), 3, "once, and not round and round");
    assert_eq!(cart.last().header("x-forwarded-for"), "10.201.0.1");
    assert_eq!(inbound().await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leads_to_the_proxy_itself_is_a_loop() {
    if skipped("what_leads_to_the_proxy_itself_is_a_loop") {
        return;
    }
    let world = World::start(NOTHING_MORE).await;
    // Nobody dials the inbound listener itself: not from outside, not from beside it, not by its Service.
    for (from, to) in [
        (&world.other, "10.201.0.1:15006"),
        (&world.other, "[fd00:201::1]:15006"),
        (&world.app, "127.0.0.1:15006"),
        (&world.app, "10.201.0.1:15006"),
    ] {
        let answer = get(from, to, "cart").await;
        assert_eq!((answer.status.as_u16(), answer.header("x-outrigger-error")), (508, "loop"), "{to}");
        let ended = from.run(async move { raw::exchange(at(to), "\0\0\0\u{1}").await }).await;
        assert_eq!(ended, (String::new(), Ended::Reset), "{to}");
    }
    // The outbound listener may be dialled: then the authority decides.
    let answer = get(&world.app, "127.0.0.1:15001", "127.0.0.1:15001").await;
    assert_eq!(answer.status, 508);
    // Its own ports are no app's, but they are reached as without the rules.
    assert_eq!(world.app.run(client::get(at(ADMIN), "/ready")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn first_bytes_that_do_not_end_are_passed_on_in_time() {
    if skipped("first_bytes_that_do_not_end_are_passed_on_in_time") {
        return;
    }
    let mesh = "{apiVersion: outrigger.dev/v1alpha1, kind: Mesh, metadata: {name: default}, spec: {limits: {detectTimeout: 50ms}}}\n";
    let world = World::start(mesh).await;
    let echo = Reply::Echo { greeting: Vec::new(), farewell: Vec::new() };
    let server = world.other.run(RawBackend::at(at("10.201.0.2:9000"), echo)).await;
    for said in ["GET me something\r\n", "GET", "\u{16}\u{3}"] {
        world
            .app
            .run(async move {
                let mut client = RawClient::connect(at("10.201.0.2:9000")).await;
                client.send(said).await;
                client.read_until(said).await;
            })
            .await;
    }
    assert_eq!(server.connections(), 3);
    // A caller that ends without a word, as a probe does: the server sees that too.
    world.app.run(async { RawClient::connect(at("10.201.0.2:9000")).await.finish().await }).await;
    until("the probe to come through", || async { (server.connections() == 4).then_some(()) }).await;
    let metrics = world.metrics().await;
    let told = |outcome| {
        metrics.sum("outrigger_protocol_detections_total", &[("port", "9000"), ("outcome", outcome)])
    };
    assert_eq!((told("other"), told("timeout"), told("closed")), (1.0, 2.0, 1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_told_by_a_client_hello_in_pieces_and_passed_on_whole() {
    if skipped("tls_is_told_by_a_client_hello_in_pieces_and_passed_on_whole") {
        return;
    }
    let world = World::start(NOTHING_MORE).await;
    let echo = || Reply::Echo { greeting: Vec::new(), farewell: Vec::new() };
    let server = world.other.run(RawBackend::at(at("10.201.0.2:9443"), echo())).await;
    let app = world.app.run(RawBackend::at(at("10.201.0.1:9443"), echo())).await;
    // Its first byte says how the fuzz target cuts it.
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/client_hello/plain");
    let hello = std::fs::read(corpus).unwrap().split_off(1);
    assert_eq!(hello[0], 22);
    for (from, to) in [(&world.app, "10.201.0.2:9443"), (&world.other, "10.201.0.1:9443")] {
        let sent = hello.clone();
        let got = from
            .run(async move {
                let mut client = RawClient::connect(at(to)).await;
                for piece in sent.chunks(7) {
                    client.send(piece).await;
                }
                client.finish().await;
                client.read_to_end().await
            })
            .await;
        assert_eq!(got, (hello.clone(), Ended::Fin), "{to}");
    }
    assert_eq!((server.connections(), app.connections()), (1, 1));
    let metrics = world.metrics().await;
    let told = |side| {
        let labels = [("side", side), ("port", "9443"), ("outcome", "tls")];
        metrics.sum("outrigger_protocol_detections_total", &labels)
    };
    assert_eq!((told("outbound"), told("inbound")), (1.0, 1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_thinks_before_it_speaks_http_is_still_heard() {
    if skipped("a_caller_that_thinks_before_it_speaks_http_is_still_heard") {
        return;
    }
    let world = World::start(NOTHING_MORE).await;
    let server = serve(&world.other, "10.201.0.2:9000", Speaks::Http1, "server").await;
    let mut client = world.app.run(RawClient::connect(at("10.201.0.2:9000"))).await;
    // The proxy has given the caller up as one that speaks first.
    server.wait_open_connections(1).await;
    client.send("GET / HTTP/1.1\r\nhost: nobody.example.com\r\n\r\n").await;
    client.read_until("200 OK").await;
    assert_eq!(server.last().header("x-request-id").len(), 36, "as a request, not as bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn exclusions() {
    if skipped("exclusions") {
        return;
    }
    let (app, other) = namespace::pair();
    let (backend, excluded) = (
        serve(&other, "10.201.0.2:9080", Speaks::Http1, "b").await,
        serve(&other, "10.201.0.2:9081", Speaks::Http1, "e").await,
    );
    let reaches = |options: &'static [&'static str], to: &'static str| {
        let app = &app;
        async move {
            intercept(app, options, 0);
            intercept(app, &[options, &["--verify"]].concat(), 0);
            // No proxy runs: what is redirected is refused.
            app.run(async move { tokio::net::TcpStream::connect(to).await.is_ok() }).await
        }
    };
    let to = "10.201.0.2:9080";
    assert!(!reaches(&[], to).await);
    assert!(reaches(&["--exclude-outbound-ports", "1,9000-9080"], to).await);
    assert!(!reaches(&["--exclude-outbound-ports", "1,9000-9079"], to).await);
    assert!(reaches(&["--exclude-cidrs", "10.201.0.0/24,fd00::/8"], to).await);
    assert!(!reaches(&["--exclude-cidrs", "10.201.0.3"], to).await);
    assert!(reaches(&["--cidrs", "10.202.0.0/16"], to).await);
    assert!(!reaches(&["--cidrs", "10.202.0.0/16,10.201.0.2"], to).await);
    assert!(reaches(&["--outbound-ports", "9081"], to).await);
    assert!(!reaches(&["--outbound-ports", "9080"], to).await);
    assert!(reaches(&["--outbound-ports", "none"], to).await);
    assert!(reaches(&["--exclude-uids", "5,0"], to).await);
    assert!(reaches(&["--exclude-gids", "0"], to).await);
    assert!(reaches(&["--proxy-uid", "0"], to).await);
    assert!(!reaches(&["--exclude-uids", "5"], to).await);
    drop((backend, excluded));

    let _app_server = serve(&app, "10.201.0.1:8080", Speaks::Http1, "app").await;
    let reached = |options: &'static [&'static str]| {
        let (app, other) = (&app, &other);
        async move {
            intercept(app, options, 0);
            other.run(async { tokio::net::TcpStream::connect("10.201.0.1:8080").await.is_ok() }).await
        }
    };
    assert!(!reached(&[]).await);
    assert!(reached(&["--exclude-inbound-ports", "8080"]).await);
    assert!(reached(&["--inbound-ports", "80,443"]).await);
    assert!(!reached(&["--inbound-ports", "80,8000-8100"]).await);
    assert!(reached(&["--inbound-ports", "none"]).await);
}

#[test]
fn both_backends_twice_and_away_again() {
    let name = "both_backends_twice_and_away_again";
    if skipped(name) {
        return;
    }
    for backend in ["nft", "legacy"] {
        // New kernels may come without the older tables.
        if skip::without_nat(name, &format!("iptables-{backend}")) {
            continue;
        }
        let namespace = Namespace::new();
        let (save4, save6) = (format!("iptables-{backend}-save"), format!("ip6tables-{backend}-save"));
        let rules = |program: &str| {
            let (code, text) = namespace.exec(program, &["-t", "nat"]);
            assert_eq!(code, 0, "{text}");
            text.lines().filter(|line| !line.starts_with(['#', ':'])).map(str::to_owned).collect::<Vec<_>>()
        };
        // Somebody else's rules choose the backend, and outlive ours.
        for program in ["iptables", "ip6tables"].map(|name| format!("{name}-{backend}")) {
            for rule in [
                &["-N", "THEIRS"][..],
                &["-A", "THEIRS", "-p", "tcp", "--dport", "99", "-j", "RETURN"],
                &["-A", "PREROUTING", "-j", "THEIRS"],
                &["-A", "OUTPUT", "-p", "tcp", "--dport", "98", "-j", "RETURN"],
            ] {
                let (code, said) = namespace.exec(&program, &[&["-t", "nat"], rule].concat());
                assert_eq!(code, 0, "{said}");
            }
        }
        let theirs = (rules(&save4), rules(&save6));
        let said = intercept(&namespace, &["--verify"], 1);
        assert!(said.contains(&format!("IPv4: not in place (iptables-{backend})")), "{said}");
        assert!(said.contains("missing     -A PREROUTING -p tcp -m addrtype --dst-type LOCAL"), "{said}");

        let said = intercept(&namespace, &[], 0);
        assert!(said.contains(&format!("IPv6: 13 rules in place (ip6tables-{backend})")), "{said}");
        let installed = (rules(&save4), rules(&save6));
        let said = intercept(&namespace, &[], 0);
        assert!(said.contains("IPv4: in place already"), "{said}");
        assert_eq!((rules(&save4), rules(&save6)), installed, "twice is once");
        let json = intercept(&namespace, &["--verify", "-o", "json"], 0);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(
            (&json["families"][0]["inPlace"], &json["families"][1]["family"]),
            (&true.into(), &"IPv6".into())
        );

        // A rule that is gone is missed and put back; one too many goes.
        for change in [&["-D", "OUTRIGGER_OUTPUT", "5"][..], &["-A", "OUTRIGGER_INBOUND", "-j", "RETURN"]] {
            let (code, said) =
                namespace.exec(&format!("iptables-{backend}"), &[&["-t", "nat"], change].concat());
            assert_eq!(code, 0, "{said}");
        }
        let said = intercept(&namespace, &["--verify"], 1);
        assert!(said.contains("missing     -A OUTRIGGER_OUTPUT -d 127.0.0.0/8 -j RETURN"), "{said}");
        assert!(said.contains("unexpected  -A OUTRIGGER_INBOUND -j RETURN"), "{said}");
        intercept(&namespace, &[], 0);
        assert_eq!((rules(&save4), rules(&save6)), installed);
        // Other options replace the rules in place.
        intercept(&namespace, &["--exclude-inbound-ports", "22"], 0);
        intercept(&namespace, &["--verify"], 1);

        let said = intercept(&namespace, &["--remove"], 0);
        assert!(said.contains("IPv4: 14 rules removed"), "{said}");
        assert_eq!((rules(&save4), rules(&save6)), theirs, "and nothing else");
        assert!(intercept(&namespace, &["--remove"], 0).contains("IPv6: nothing to remove"));
    }
}

#[test]
fn a_dry_run_touches_nothing() {
    let output = std::process::Command::new(OUTRIGGER)
        .args(["intercept", "--dry-run", "--ipv4-only", "--exclude-cidrs", "10.0.0.0/8"])
        .env("PATH", "/nowhere")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.starts_with("# IPv4\n*nat\n:OUTRIGGER_INBOUND - [0:0]\n"),
        "{text}"
    );
    assert!(text.contains("-A OUTRIGGER_OUTPUT -d 10.0.0.0/8 -j RETURN\n") && text.ends_with("COMMIT\n"));
    for (options, what) in [
        (&["--inbound-ports", "0"][..], "a port from 1 to 65535"),
        (&["--exclude-cidrs", "x"], "a network such as"),
        (&["--remove", "--verify"], "cannot be used with"),
        (&["-o", "json"], "--verify"),
    ] {
        let output = std::process::Command::new(OUTRIGGER).arg("intercept").args(options).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(what), "{said}");
    }
}
