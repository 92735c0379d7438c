//! TLS passed through real proxies by its server name: real handshakes between the caller and the endpoint.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    time::Instant,
};

use outrigger_tests::{
    mesh,
    outside::{Authority, TlsFront, client_hello, greet},
    proxy::Proxy,
    raw::{Ended, RawBackend, RawClient, Reply},
    wait::within,
};
use rustls::{AlertDescription, Error};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const CONNECTIONS: &str = "outrigger_tcp_connections_total";

/// A TLS server that says its name first and sends back what comes.
struct Server {
    front: TlsFront,
    _backend: RawBackend,
}

impl Server {
    async fn start(name: &str, authority: &Authority, names: &[&str]) -> Self {
        let greeting = format!("{name}\n").into_bytes();
        let backend = RawBackend::start(Reply::Echo { greeting, farewell: Vec::new() }).await;
        let front = TlsFront::start(backend.address(), &authority.issue(names), &[]).await;
        Self { front, _backend: backend }
    }

    fn service(&self, name: &str) -> String {
        mesh::service(name, "tcp", &[self.front.address()])
    }
}

fn tls_route(name: &str, version: &str, hostnames: &str, backend: &str) -> String {
    let names = if hostnames.is_empty() { String::new() } else { format!("  hostnames: [{hostnames}]\n") };
    format!(
        "apiVersion: gateway.networking.k8s.io/{version}\nkind: TLSRoute\nmetadata: {{name: {name}}}\nspec:\n  \
         parentRefs: [{{group: \"\", kind: Service, name: front}}]\n{names}  \
         rules: [{{backendRefs: [{{name: {backend}, port: 80}}]}}]\n"
    )
}

/// The Service `front`, which declares nothing and has no endpoint of its own.
fn front() -> String {
    mesh::service("front", "tcp", &[]).replace(", protocol: tcp", "")
}

/// Asks for `name` and gives the first line.
async fn first_line(to: SocketAddr, name: &str, authority: &Authority) -> io::Result<String> {
    let mut stream = greet(to, name, authority).await?;
    let mut got = Vec::new();
    while !got.ends_with(b"\n") {
        if within("a line", stream.read_buf(&mut got)).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    stream.write_all(b"ping").await?;
    stream.shutdown().await?;
    let mut rest = Vec::new();
    within("the rest", stream.read_to_end(&mut rest)).await?;
    assert_eq!(rest, b"ping");
    Ok(String::from_utf8_lossy(&got).trim_end().to_owned())
}

/// Whether the other side said that it has nobody of that name.
fn is_unrecognized(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    matches!(error, Some(Error::AlertReceived(AlertDescription::UnrecognisedName)))
}

#[tokio::test]
async fn the_server_name_chooses_the_backend_and_the_most_specific_route_wins() {
    let authority = Authority::new("test");
    let all =
        &["a.example.com", "x.example.com", "x.y.example.com", "b.example.com", "other.org", "127.0.0.1"];
    let exact = Server::start("exact", &authority, all).await;
    let wild = Server::start("wild", &authority, all).await;
    let rest = Server::start("rest", &authority, all).await;
    let documents = [
        front(),
        exact.service("exact"),
        wild.service("wild"),
        rest.service("rest"),
        tls_route("wild", "v1", "\"*.example.com\"", "wild"),
        tls_route("exact", "v1alpha3", "a.example.com, b.example.com", "exact"),
    ];
    let shown = documents.each_ref().map(String::as_str);
    let proxy = Proxy::start(&mesh::pinned("front", &shown));
    let ask = |name: &'static str| first_line(proxy.outbound(0), name, &authority);
    for (name, expected) in [
        ("a.example.com", "exact"),
        ("A.Example.COM", "exact"),
        ("b.example.com", "exact"),
        ("x.example.com", "wild"),
        ("x.y.example.com", "wild"),
    ] {
        assert_eq!(ask(name).await.unwrap(), expected, "{name}");
    }
    assert_eq!(
        exact.front.greetings()[0].name.as_deref(),
        Some("a.example.com"),
        "TLS is the endpoint's own"
    );
    for name in ["other.org", "127.0.0.1"] {
        let refused = ask(name).await.unwrap_err();
        assert!(is_unrecognized(&refused), "{name}: {refused}");
    }
    let metrics = proxy
        .wait_metrics("the refused ones to be counted", |metrics| {
            metrics.sum(CONNECTIONS, &[("flag", "NR"), ("route", "default")]) == 2.0
        })
        .await;
    assert_eq!(metrics.sum(CONNECTIONS, &[("flag", "-"), ("route", "default/wild/0")]), 2.0);
    assert_eq!(metrics.sum(CONNECTIONS, &[("flag", "-"), ("route", "default/exact/0")]), 3.0);

    // A route without names takes every other one, and callers that name none.
    let mut documents = documents.to_vec();
    documents.push(tls_route("rest", "v1alpha2", "", "rest"));
    let shown: Vec<&str> = documents.iter().map(String::as_str).collect();
    proxy.reload(&mesh::pinned("front", &shown)).await;
    for (name, expected) in [("other.org", "rest"), ("127.0.0.1", "rest"), ("x.example.com", "wild")] {
        assert_eq!(ask(name).await.unwrap(), expected, "{name}");
    }
}

#[tokio::test]
async fn a_hello_may_come_byte_by_byte_and_what_is_none_is_reset() {
    let authority = Authority::new("test");
    let server = Server::start("server", &authority, &["a.example.com"]).await;
    let limits = "apiVersion: outrigger.dev/v1alpha1\nkind: Mesh\nmetadata: {name: default}\n\
                  spec: {limits: {headerTimeout: 1s}}\n";
    let documents = [front(), server.service("server"), tls_route("a", "v1", "a.example.com", "server")];
    let shown: Vec<&str> = documents.iter().map(String::as_str).chain([limits]).collect();
    let proxy = Proxy::start(&mesh::pinned("front", &shown));
    let hello = client_hello("a.example.com", &authority);

    let mut client = RawClient::connect(proxy.outbound(0)).await;
    for byte in &hello {
        client.send([*byte]).await;
    }
    // The server's hello is the answer: a handshake record.
    let answer = client.read_more().await.unwrap();
    assert_eq!(answer[..2], [0x16, 3]);

    for (what, bytes) in [
        ("HTTP", &b"GET / HTTP/1.1\r\nhost: a.example.com\r\n\r\n"[..]),
        ("a damaged hello", &[&hello[..5], &[9; 100]].concat()),
    ] {
        let mut client = RawClient::connect(proxy.outbound(0)).await;
        let _ = client.try_send(bytes).await;
        assert_eq!(client.read_to_end().await, (Vec::new(), Ended::Reset), "{what}");
    }
    for part in [&hello[..0], &hello[..40]] {
        let started = Instant::now();
        let mut client = RawClient::connect(proxy.outbound(0)).await;
        client.send(part).await;
        assert_eq!(client.read_to_end().await.1, Ended::Reset);
        assert!(started.elapsed().as_millis() >= 900, "{:?}", started.elapsed());
    }
    let flags = [("flag", "DPE"), ("service", "default/front:80")];
    proxy
        .wait_metrics("four connections without a hello", |metrics| metrics.sum(CONNECTIONS, &flags) == 4.0)
        .await;
}

#[tokio::test]
async fn a_port_of_tls_without_routes_passes_everything_on() {
    let authority = Authority::new("test");
    let server = Server::start("server", &authority, &["any.example.com"]).await;
    let address = server.front.address();
    let service = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: front}}\nspec:\n  clusterIP: None\n  \
         ports: [{{name: https, port: 80}}]\n---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: front-1, labels: {{kubernetes.io/service-name: front}}}}\naddressType: IPv4\n\
         ports: [{{name: https, port: {}}}]\nendpoints: [{{addresses: [127.0.0.1]}}]\n",
        address.port()
    );
    let proxy = Proxy::start(&mesh::pinned("front", &[&service]));
    let line = first_line(proxy.outbound(0), "any.example.com", &authority).await;
    assert_eq!(line.unwrap(), "server", "the name of the port says `https`");
}

#[tokio::test]
async fn a_tls_client_of_the_open_listener_is_led_by_its_server_name() {
    let authority = Authority::new("test");
    let server = Server::start("server", &authority, &["api.example.com"]).await;
    let service =
        format!("{}  hosts: [api.example.com]\n", server.service("api").replace("port: 80", "port: 443"));
    let web =
        format!("{}  hosts: [web.example.com]\n", mesh::service("web", "http1", &[server.front.address()]))
            .replace("port: 80", "port: 443");
    let deny = "apiVersion: outrigger.dev/v1alpha1\nkind: Mesh\nmetadata: {name: default}\n\
                spec: {egress: {mode: Deny}}\n";
    let proxy = Proxy::start(&mesh::outbound(&[&service, &web, deny]));
    let ask = |name: &'static str| first_line(proxy.outbound(0), name, &authority);
    assert_eq!(ask("api.example.com").await.unwrap(), "server");
    let refused = ask("elsewhere.example.com").await.unwrap_err();
    assert!(is_unrecognized(&refused), "egress is denied: {refused}");
    assert!(ask("web.example.com").await.is_err(), "that port speaks HTTP in the clear");
    let metrics = proxy
        .wait_metrics("both to be counted", |metrics| {
            metrics.sum(CONNECTIONS, &[("service", "egress"), ("flag", "NR")]) == 1.0
                && metrics.sum("outrigger_downstream_parse_errors_total", &[("reason", "not_http")]) == 1.0
        })
        .await;
    assert_eq!(metrics.sum(CONNECTIONS, &[("service", "default/api:443"), ("flag", "-")]), 1.0);
}

/// `examples/tls-passthrough.yaml`, with servers behind it.
#[tokio::test]
async fn the_example_leads_names_to_their_servers() {
    let authority = Authority::new("test");
    let all = &["accounts.example.com", "other.example.com", "example.org"];
    let (secure, accounts) =
        (Server::start("secure", &authority, all).await, Server::start("accounts", &authority, all).await);
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/tls-passthrough.yaml"));
    let mut policy = text.to_owned();
    for (word, other) in [
        ("127.0.0.1:9443", secure.front.address().to_string()),
        ("127.0.0.1:9444", accounts.front.address().to_string()),
        ("127.0.0.1:8443", "127.0.0.1:0".to_owned()),
        ("  outbound:\n", "  admin: {bind: \"127.0.0.1:0\"}\n  outbound:\n".to_owned()),
    ] {
        assert!(policy.contains(word), "{word}");
        policy = policy.replace(word, &other);
    }
    let proxy = Proxy::start(&policy);
    let ask = |name: &'static str| first_line(proxy.outbound(0), name, &authority);
    assert_eq!(ask("accounts.example.com").await.unwrap(), "accounts");
    assert_eq!(ask("other.example.com").await.unwrap(), "secure");
    assert!(is_unrecognized(&ask("example.org").await.unwrap_err()));
}
