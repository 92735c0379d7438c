//! Plain TCP through real proxies: every byte, every end, every failure as the other side made it.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind},
    net::SocketAddr,
    time::{Duration, Instant},
};

use outrigger_proxy::drain::Cause;
use outrigger_tests::{
    backend::{Answer, Backend},
    client,
    fault::{Fault, FaultProxy},
    mesh,
    outside::{Authority, TlsFront},
    ports,
    proxy::Proxy,
    raw::{Ended, RawBackend, RawClient, Reply},
    unreachable::{BlackHole, Refuses},
    wait::{Gate, until, within},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const CONNECTIONS: &str = "outrigger_tcp_connections_total";

async fn echo(name: &str) -> RawBackend {
    let (greeting, farewell) = (format!("220 {name}\n").into_bytes(), b"221 bye\n".to_vec());
    RawBackend::start(Reply::Echo { greeting, farewell }).await
}

/// A proxy with an outbound listener pinned to the Service `db` of TCP with these endpoints.
fn pinned(endpoints: &[SocketAddr], documents: &[&str]) -> Proxy {
    let service = mesh::service("db", "tcp", endpoints);
    let documents: Vec<&str> = [service.as_str()].into_iter().chain(documents.iter().copied()).collect();
    Proxy::start(&mesh::pinned("db", &documents))
}

/// Waits until one connection has ended with this flag.
async fn wait_flag(proxy: &Proxy, flag: &str) {
    proxy
        .wait_metrics(&format!("a connection with the flag {flag}"), |metrics| {
            metrics.sum(CONNECTIONS, &[("flag", flag)]) == 1.0
        })
        .await;
}

#[tokio::test]
async fn a_server_that_speaks_first_is_heard_through_two_proxies_and_each_end_passes_alone() {
    let app = echo("app").await;
    let inbound = Proxy::start(&mesh::inbound(app.address(), "tcp", &[]));
    let outbound = pinned(&[inbound.inbound(0)], &[]);
    let mut client = RawClient::connect(outbound.outbound(0)).await;
    client.read_until("220 app\n").await;
    // Bytes that are no protocol at all.
    let bytes: Vec<u8> = (0..=255).collect();
    client.send(&bytes).await;
    client.read_until(&bytes).await;
    client.finish().await;
    assert_eq!(app.wait_end().await, Ended::Fin);
    let (all, ended) = client.read_to_end().await;
    assert!(all.ends_with(b"221 bye\n") && ended == Ended::Fin, "the half that was open still answers");
    for (proxy, side, service) in [(&inbound, "inbound", "app"), (&outbound, "outbound", "default/db:80")] {
        let labels = [("side", side), ("service", service), ("route", "default")];
        let metrics = proxy
            .wait_metrics("the connection to be counted", |metrics| {
                metrics.sum(CONNECTIONS, &[("side", side), ("service", service), ("flag", "-")]) == 1.0
            })
            .await;
        let bytes = |direction| {
            let way = [labels[0], labels[1], ("direction", direction)];
            metrics.sum("outrigger_tcp_bytes_total", &way)
        };
        assert_eq!((bytes("in"), bytes("out")), (256.0, 272.0), "{side}");
        assert_eq!(metrics.sum("outrigger_tcp_connections_open", &labels), 0.0);
        assert_eq!(metrics.sum("outrigger_tcp_connection_duration_seconds_count", &labels), 1.0);
    }
}

#[tokio::test]
async fn connections_that_are_open_can_be_seen_and_count_as_load() {
    let app = echo("app").await;
    let proxy = pinned(&[app.address()], &[]);
    let mut client = RawClient::connect(proxy.outbound(0)).await;
    client.read_until("220 app\n").await;
    client.send("12345").await;
    client.read_until("12345").await;
    let metrics = proxy
        .wait_metrics("bytes that are counted while the connection is open", |metrics| {
            metrics.sum("outrigger_tcp_bytes_total", &[("direction", "in")]) == 5.0
        })
        .await;
    assert_eq!(metrics.sum("outrigger_tcp_connections_open", &[]), 1.0);
    assert_eq!(metrics.sum("outrigger_upstream_connections_open", &[("service", "default/db:80")]), 1.0);
    let services = client::get(proxy.admin(), "/services").await.json();
    let port = &services[0]["ports"][0];
    assert_eq!(
        (port["protocol"].as_str(), port["endpoints"][0]["requests_open"].as_u64()),
        (Some("tcp"), Some(1))
    );
    let table = client::get(proxy.admin(), "/services?o=table").await.text();
    assert!(table.lines().any(|line| line.contains("default/db") && line.contains(" tcp ")), "{table}");
}

#[tokio::test]
async fn large_streams_both_ways_at_once_lose_nothing() {
    const BYTES: usize = 8 * 1024 * 1024;
    let app = echo("").await;
    let inbound = Proxy::start(&mesh::inbound(app.address(), "tcp", &[]));
    let outbound = pinned(&[inbound.inbound(0)], &[]);
    let pattern = |index: usize| (index % 251) as u8;
    let one = |address: SocketAddr| async move {
        let (mut read, mut write) = TcpStream::connect(address).await.unwrap().into_split();
        let send = tokio::spawn(async move {
            let bytes: Vec<u8> = (0..BYTES).map(pattern).collect();
            write.write_all(&bytes).await.unwrap();
            write.shutdown().await.unwrap();
        });
        let mut got = Vec::new();
        read.read_to_end(&mut got).await.unwrap();
        send.await.unwrap();
        let echoed = &got["220 \n".len()..got.len() - "221 bye\n".len()];
        assert_eq!(echoed.len(), BYTES);
        assert!(echoed.iter().enumerate().all(|(index, byte)| *byte == pattern(index)));
    };
    let address = outbound.outbound(0);
    within("two streams", async { tokio::join!(one(address), one(address)) }).await;
}

#[tokio::test]
async fn connections_are_balanced_and_go_on_to_an_endpoint_that_can_be_reached() {
    let (a, b, refuses) = (echo("a").await, echo("b").await, Refuses::new());
    let policy = mesh::traffic("db", "  loadBalancer: {policy: roundRobin}\n");
    let proxy = pinned(&[a.address(), refuses.address(), b.address()], &[&policy]);
    let mut seen = BTreeMap::new();
    for _ in 0..30 {
        let mut client = RawClient::connect(proxy.outbound(0)).await;
        client.read_until("\n").await;
        *seen.entry(client.text()).or_insert(0) += 1;
    }
    assert!(seen.len() == 2 && seen.values().all(|count| *count >= 8), "{seen:?}");
    let metrics = proxy.metrics().await;
    assert!(metrics.sum("outrigger_upstream_connect_failures_total", &[]) >= 5.0);
    let repeated = metrics.sum("outrigger_retries_total", &[("reason", "connect-failure")]);
    assert_eq!(repeated, metrics.sum("outrigger_upstream_connect_failures_total", &[]));
    assert_eq!(metrics.sum("outrigger_attempts_total", &[("outcome", "success")]), 30.0);
}

#[tokio::test]
async fn an_endpoint_that_never_answers_costs_the_connect_timeout_and_no_more() {
    let (app, silent) = (echo("app").await, BlackHole::new().await);
    let policy = mesh::traffic("db", "  loadBalancer: {policy: roundRobin}\n  timeouts: {connect: 200ms}\n");
    let proxy = pinned(&[silent.address(), app.address()], &[&policy]);
    // Each of two workers has turns of its own.
    for _ in 0..4 {
        let mut client = RawClient::connect(proxy.outbound(0)).await;
        client.read_until("220 app\n").await;
    }
    let timeouts = proxy.metrics().await.sum("outrigger_attempts_total", &[("outcome", "connect_timeout")]);
    assert!((1.0..=4.0).contains(&timeouts), "{timeouts}");
}

/// Connects and waits for the first bytes. A reset may come before the connection is known to be made.
async fn first_bytes(address: SocketAddr) -> io::Result<String> {
    within("an answer or a reset", async {
        let mut stream = TcpStream::connect(address).await?;
        let mut got = vec![0; 64];
        let count = stream.read(&mut got).await?;
        got.truncate(count);
        Ok(String::from_utf8_lossy(&got).into_owned())
    })
    .await
}

/// Connects, and expects the proxy to reset the connection.
async fn reset_by(proxy: &Proxy) -> Duration {
    let started = Instant::now();
    let got = first_bytes(proxy.outbound(0)).await;
    assert_eq!(got.unwrap_err().kind(), ErrorKind::ConnectionReset);
    started.elapsed()
}

#[tokio::test]
async fn a_connection_that_leads_nowhere_is_reset_at_once() {
    let (one, two) = (Refuses::new(), Refuses::new());
    let proxy = pinned(&[one.address(), two.address()], &[]);
    let took = reset_by(&proxy).await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    wait_flag(&proxy, "UF").await;

    let proxy = pinned(&[], &[]);
    reset_by(&proxy).await;
    wait_flag(&proxy, "UH").await;
}

#[tokio::test]
async fn a_reset_is_passed_on_as_a_reset() {
    let app = echo("app").await;
    let network = FaultProxy::to(app.address()).await;
    let proxy = pinned(&[network.address()], &[]);
    // Not within the greeting: a reset that comes with it may be seen as a connection that could not be made.
    network.set(Fault::ResetAfterDown(12));
    let mut client = RawClient::connect(proxy.outbound(0)).await;
    client.read_until("220 app\n").await;
    client.send("12345678").await;
    assert_eq!(client.read_to_end().await.1, Ended::Reset);
    wait_flag(&proxy, "UR").await;

    network.set(Fault::None);
    let direct = pinned(&[app.address()], &[]);
    let mut client = RawClient::connect(direct.outbound(0)).await;
    client.read_until("220 app\n").await;
    client.reset();
    until("the app to see a reset", || async { app.ended().contains(&Some(Ended::Reset)).then_some(()) })
        .await;
    wait_flag(&direct, "DC").await;
}

#[tokio::test]
async fn a_side_that_does_not_read_stops_the_other_and_nothing_is_lost() {
    let gate = Gate::closed();
    let app = RawBackend::start(Reply::SilentUntil(gate.clone())).await;
    let proxy = pinned(&[app.address()], &[]);
    let mut client = TcpStream::connect(proxy.outbound(0)).await.unwrap();
    let chunk = vec![7_u8; 256 * 1024];
    let mut sent = 0;
    // The kernel's own buffers on the way take a few megabytes; a proxy that read on would take everything.
    while let Ok(written) = tokio::time::timeout(Duration::from_millis(500), client.write(&chunk)).await {
        sent += written.unwrap();
        assert!(sent < 256 * 1024 * 1024, "nothing holds the caller back");
    }
    gate.open();
    client.shutdown().await.unwrap();
    assert_eq!(app.wait_end().await, Ended::Fin);
    assert_eq!(app.received()[0].len(), sent);
}

#[tokio::test]
async fn a_quiet_connection_ends_after_stream_idle_where_that_is_set() {
    let app = echo("app").await;
    let policy = mesh::traffic("db", "  timeouts: {streamIdle: 300ms}\n");
    let proxy = pinned(&[app.address()], &[&policy]);
    let mut client = RawClient::connect(proxy.outbound(0)).await;
    client.read_until("220 app\n").await;
    let started = Instant::now();
    assert_eq!(client.read_to_end().await.1, Ended::Reset);
    assert!(started.elapsed() >= Duration::from_millis(250), "{:?}", started.elapsed());
    assert_eq!(app.wait_end().await, Ended::Reset);
    wait_flag(&proxy, "UT").await;

    // On a route it holds for the connections of that route.
    let route = "apiVersion: gateway.networking.k8s.io/v1\nkind: TCPRoute\nmetadata: {name: db}\nspec:\n  \
                 parentRefs: [{group: \"\", kind: Service, name: db}]\n  rules: [{name: all, backendRefs: [{name: db, port: 80}]}]\n";
    let policy = policy.replace("kind: Service, name: db", "kind: TCPRoute, name: db, sectionName: all");
    let proxy = pinned(&[app.address()], &[route, &policy]);
    let mut client = RawClient::connect(proxy.outbound(0)).await;
    client.read_until("220 app\n").await;
    assert_eq!(client.read_to_end().await.1, Ended::Reset);
    wait_flag(&proxy, "UT").await;

    // Not set, a limit for streams of HTTP does not count.
    let proxy = pinned(&[app.address()], &[]);
    let mut client = RawClient::connect(proxy.outbound(0)).await;
    client.read_until("220 app\n").await;
    assert!(client.is_silent_for(Duration::from_millis(600)).await);
}

#[tokio::test]
async fn open_connections_outlive_a_reload_and_the_next_ones_follow_it() {
    let (old, new) = (echo("old").await, echo("new").await);
    let proxy = pinned(&[old.address()], &[]);
    let mut before = RawClient::connect(proxy.outbound(0)).await;
    before.read_until("220 old\n").await;
    let policy = |listener: &str, to: SocketAddr| {
        mesh::pinned("db", &[&mesh::service("db", "tcp", &[to])]).replace("127.0.0.1:0\", service", listener)
    };
    proxy.reload(&policy("127.0.0.1:0\", service", new.address())).await;
    let mut after = RawClient::connect(proxy.outbound(0)).await;
    after.read_until("220 new\n").await;
    // The listener goes; what came by it stays.
    let admin_only = mesh::inbound(new.address(), "tcp", &[&mesh::service("db", "tcp", &[new.address()])]);
    proxy.reload(&admin_only).await;
    for client in [&mut before, &mut after] {
        client.clear();
        client.send("still here").await;
        client.read_until("still here").await;
    }
}

#[tokio::test]
async fn a_drain_lets_connections_go_on_and_cuts_them_when_its_grace_is_over() {
    let app = echo("app").await;
    let policy = mesh::inbound(app.address(), "tcp", &[]);
    let proxy = Proxy::with(&policy, |options| options.grace = Duration::from_secs(3));
    let address = proxy.inbound(0);
    let (mut stays, mut ends) = (RawClient::connect(address).await, RawClient::connect(address).await);
    stays.read_until("220 app\n").await;
    ends.read_until("220 app\n").await;
    proxy.app().drain(Cause::Interrupt);
    until("the listener to be closed", || async { TcpStream::connect(address).await.is_err().then_some(()) })
        .await;
    for client in [&mut stays, &mut ends] {
        client.send("during the drain").await;
        client.read_until("during the drain").await;
    }
    ends.finish().await;
    assert_eq!(ends.read_to_end().await.1, Ended::Fin);
    proxy.ended().await;
    assert_eq!(stays.read_to_end().await.1, Ended::Reset, "a connection that is cut does not look complete");
}

#[tokio::test]
async fn a_connection_to_an_own_listener_is_a_loop() {
    let (first, second) = (ports::free(), ports::free());
    let pinned = mesh::pinned("db", &[&mesh::service("db", "tcp", &[second])]);
    let listeners = format!(
        "  outbound:\n  - {{bind: \"{first}\", service: {{name: db, port: 80}}}}\n  - {{bind: \"{second}\"}}\n"
    );
    let policy = pinned
        .replace("  outbound:\n  - {bind: \"127.0.0.1:0\", service: {name: db, port: 80}}\n", &listeners);
    let proxy = Proxy::start(&policy);
    reset_by(&proxy).await;
    wait_flag(&proxy, "LP").await;
}

#[tokio::test]
async fn requests_reach_a_service_of_tcp_by_name_and_never_one_of_tls() {
    let web = Backend::http1("web").await;
    web.answer(|_| Answer::text("by name"));
    let tls = mesh::service("tls", "tcp", &[web.address()]).replace(", protocol: tcp", "");
    let route = "apiVersion: gateway.networking.k8s.io/v1\nkind: TLSRoute\nmetadata: {name: tls}\nspec:\n  \
                 parentRefs: [{group: \"\", kind: Service, name: tls}]\n  hostnames: [tls.example.com]\n  rules: [{backendRefs: [{name: tls, port: 80}]}]\n";
    let proxy =
        Proxy::start(&mesh::outbound(&[&mesh::service("opaque", "tcp", &[web.address()]), &tls, route]));
    let mut client = client::Client::http1(proxy.outbound(0), "opaque.default").await;
    assert_eq!(client.get("/").await.text(), "by name");
    let mut client = client::Client::http1(proxy.outbound(0), "tls.default").await;
    let answer = client.get("/").await;
    assert_eq!((answer.status.as_u16(), answer.header("x-outrigger-error")), (502, "upstream_protocol"));
}

#[tokio::test]
async fn a_tcp_route_shares_connections_by_weight_and_resets_the_share_of_a_backend_that_is_not_there() {
    let (a, b) = (echo("a").await, echo("b").await);
    let route = "apiVersion: gateway.networking.k8s.io/v1\nkind: TCPRoute\nmetadata: {name: db}\nspec:\n  \
                 parentRefs: [{group: \"\", kind: Service, name: db}]\n  rules:\n  - name: split\n    backendRefs:\n    \
                 - {name: a, port: 80, weight: 3}\n    - {name: b, port: 80, weight: 1}\n    \
                 - {name: gone, port: 80, weight: 2}\n    - {name: empty, port: 80, weight: 2}\n    \
                 - {name: b, port: 80, weight: 0}\n";
    let documents = [
        mesh::service("db", "tcp", &[]).replace(", protocol: tcp", ""),
        mesh::service("a", "tcp", &[a.address()]),
        mesh::service("b", "tcp", &[b.address()]),
        mesh::service("empty", "tcp", &[]),
        route.to_owned(),
    ];
    let proxy = Proxy::start(&mesh::pinned("db", &documents.each_ref().map(String::as_str)));
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..800 {
        let got = first_bytes(proxy.outbound(0)).await;
        *seen.entry(got.unwrap_or_else(|error| error.kind().to_string())).or_default() += 1;
    }
    let share = |answer: &str| f64::from(seen.get(answer).copied().unwrap_or(0)) / 800.0;
    for (answer, expected) in [("220 a\n", 0.375), ("220 b\n", 0.125), ("connection reset", 0.5)] {
        assert!((share(answer) - expected).abs() < 0.06, "{answer:?}: {seen:?}");
    }
    let labels = |flag| [("service", "default/db:80"), ("route", "default/db/split"), ("flag", flag)];
    let metrics = proxy
        .wait_metrics("every connection to have ended", |metrics| {
            metrics.sum(CONNECTIONS, &[("service", "default/db:80")]) == 800.0
        })
        .await;
    let (none, empty) = (metrics.sum(CONNECTIONS, &labels("NR")), metrics.sum(CONNECTIONS, &labels("UH")));
    assert_eq!(none + empty, f64::from(seen["connection reset"]));
    assert!(none > 100.0 && empty > 100.0, "{none} {empty}");
}

#[tokio::test]
async fn tls_to_a_host_outside_is_added_to_plain_connections() {
    let app = echo("app").await;
    let authority = Authority::new("test");
    let front = TlsFront::start(app.address(), &authority.issue(&["db.example.com"]), &[]).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    let service = format!(
        "{}  tls: {{mode: Simple, serverName: db.example.com, trustBundle: {}}}\n",
        mesh::service("db", "tcp", &[front.address()]),
        folder.path().join("ca.pem").display()
    );
    let proxy = Proxy::start(&mesh::pinned("db", &[&service]));
    let mut client = RawClient::connect(proxy.outbound(0)).await;
    client.read_until("220 app\n").await;
    client.send("secret").await;
    client.read_until("secret").await;
    let greeting = front.greetings().remove(0);
    assert_eq!((greeting.name.as_deref(), greeting.alpn), (Some("db.example.com"), None));
}

/// `examples/tcp.yaml`, with a database behind it.
#[tokio::test]
async fn the_example_leads_most_connections_through_the_proxy_of_the_database() {
    let (old, next) = (echo("old").await, echo("next").await);
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/tcp.yaml"));
    let inbound = ports::free().to_string();
    let mut policy = text.to_owned();
    for (word, other) in [
        ("127.0.0.1:15432", inbound.as_str()),
        ("127.0.0.1:5432", &old.address().to_string()),
        ("127.0.0.1:5442", &next.address().to_string()),
        ("127.0.0.1:5433", "127.0.0.1:0"),
        ("  outbound:\n", "  admin: {bind: \"127.0.0.1:0\"}\n  outbound:\n"),
    ] {
        assert!(policy.contains(word), "{word}");
        policy = policy.replace(word, other);
    }
    let proxy = Proxy::start(&policy);
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..200 {
        *seen.entry(first_bytes(proxy.outbound(0)).await.unwrap()).or_default() += 1;
    }
    let share = seen.get("220 next\n").copied().unwrap_or(0);
    assert!(seen.len() == 2 && (5..50).contains(&share), "{seen:?}");
    let app = [("side", "inbound"), ("service", "app")];
    proxy
        .wait_metrics("the other ones to go through the inbound listener", |metrics| {
            metrics.sum(CONNECTIONS, &app) == f64::from(seen["220 old\n"])
        })
        .await;
}
