//! The outbound listener as the app's HTTP proxy: CONNECT, absolute URIs, and what becomes of destinations that no Service
//! names (`Mesh.spec.egress`).

use std::net::SocketAddr;

use outrigger_tests::{
    backend::{Backend, Speaks},
    client::Client,
    grpc::{GrpcClient, GrpcService, UNARY},
    mesh::{self, Proxy},
    outside::{Authority, TlsFront},
    raw::{Ended, RawBackend, RawClient, Reply},
    switching::{Http2Caller, Switching},
    unreachable::{BlackHole, Refuses},
    wait::until,
};

const GET: &str = "GET /inside HTTP/1.1\r\nHost: whatever\r\n\r\n";

fn egress(mode: &str) -> String {
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: Mesh\nmetadata: {{name: default}}\nspec: {{egress: {{mode: {mode}}}}}\n"
    )
}

fn connect(authority: &str) -> String {
    format!(
        "CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\nProxy-Authorization: Basic eA==\r\nProxy-Connection: keep-alive\r\n\r\n"
    )
}

async fn ask(to: SocketAddr, text: &str) -> RawClient {
    let mut client = RawClient::connect(to).await;
    client.send(text).await;
    client.read_until("\r\n\r\n").await;
    client
}

#[tokio::test]
async fn connect_opens_a_tunnel_to_the_services_endpoints() {
    let (one, two) = (Backend::http1("one").await, Backend::http1("two").await);
    let service = mesh::service("reviews", "http1", &[one.address(), two.address()]);
    let other = Backend::http1("other").await;
    // A route that would send everything elsewhere: nobody reads what the tunnel carries, so it does not hold.
    let route = mesh::route("reviews", "  - backendRefs: [{name: other, port: 80}]\n");
    let balance = mesh::traffic("reviews", "  loadBalancer: {policy: roundRobin}\n");
    let other = mesh::service("other", "http1", &[other.address()]);
    let proxy = Proxy::start(&mesh::outbound(&[&service, &other, &route, &balance])).await;
    for name in ["reviews:80", "Reviews.default:80", "reviews.default.svc.cluster.local.:80"] {
        let mut client = ask(proxy.outbound(0), &connect(name)).await;
        let head = client.text();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        for field in ["content-length", "transfer-encoding", "connection"] {
            assert!(!head.contains(field), "{field}: {head}");
        }
        client.clear();
        client.send(GET).await;
        client.read_until("/inside").await;
        client.finish().await;
        assert_eq!(client.read_to_end().await.1, Ended::Fin);
    }
    assert_eq!((one.requests() + two.requests(), one.requests().min(two.requests())), (3, 1), "balanced");
    // As HTTP/2 has it.
    let mut tunnel = Http2Caller::connect(proxy.outbound(0)).await.tunnel("reviews:80").await;
    assert_eq!(tunnel.status, 200);
    tunnel.send(GET);
    assert!(String::from_utf8_lossy(&tunnel.read(20).await).starts_with("HTTP/1.1 200 OK"));
    drop(tunnel);
    until("all to be counted", || async {
        let metrics = proxy.metrics().await;
        let tunnels =
            metrics.sum("outrigger_tunnels_total", &[("service", "default/reviews:80"), ("kind", "connect")]);
        let open = metrics.sum("outrigger_tunnels_open", &[]);
        (tunnels == 4.0 && open == 0.0).then_some(())
    })
    .await;
    assert!(one.seen().iter().chain(&two.seen()).all(|seen| seen.header("proxy-authorization").is_empty()));
}

#[tokio::test]
async fn bytes_behind_a_connect_wait_for_the_tunnel_and_are_no_request_without_it() {
    let server = RawBackend::start(Reply::Silent).await;
    let service = mesh::service("tcp", "http1", &[server.address()]);
    let proxy = Proxy::start(&mesh::outbound(&[&service])).await;
    let mut client = RawClient::connect(proxy.outbound(0)).await;
    client.send(connect("tcp:80") + "early bytes").await;
    client.read_until("\r\n\r\n").await;
    assert_eq!(server.wait_for("early bytes").await, "early bytes");
    // Refused: what follows is not read as a request, and the connection ends.
    let mut client = RawClient::connect(proxy.outbound(0)).await;
    client.send(connect("nobody:80") + "GET / HTTP/1.1\r\nHost: tcp\r\n\r\n").await;
    let (_, _) = client.read_to_end().await;
    assert!(
        client.text().starts_with("HTTP/1.1 404 ") && client.text().contains("no_service"),
        "{}",
        client.text()
    );
    assert_eq!(client.text().matches("HTTP/1.1 ").count(), 1, "{}", client.text());
    assert_eq!(server.text(), "early bytes");
}

/// Everything that can go wrong before the 200 has its status and its reason, in both versions.
#[tokio::test]
async fn failures_before_the_tunnel() {
    let gone = Refuses::new();
    let hole = BlackHole::new().await;
    let authority = Authority::new("ca");
    let backend = Backend::http1("web").await;
    let front = TlsFront::start(backend.address(), &authority.issue(&["other"]), &[]).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    let tls =
        format!("  hosts: [tls]\n  tls: {{mode: Simple, trustBundle: {}/ca.pem}}\n", folder.path().display());
    let documents = [
        mesh::service("gone", "http1", &[gone.address()]),
        mesh::service("hole", "http1", &[hole.address()]),
        mesh::traffic("hole", "  timeouts: {connect: 100ms}\n"),
        mesh::service("empty", "http1", &[]),
        mesh::service("tls", "http1", &[front.address()]) + &tls,
        mesh::service("only8080", "http1", &[backend.address()]).replace("port: 80,", "port: 8080,"),
    ];
    let documents: Vec<&str> = documents.iter().map(String::as_str).collect();
    let proxy = Proxy::start(&mesh::outbound(&documents)).await;
    for (authority, status, reason) in [
        ("gone:80", 503, "connect_failed"),
        ("hole:80", 503, "connect_timeout"),
        ("empty:80", 503, "no_endpoint"),
        ("tls:80", 503, "tls_failed"),
        ("tls:443", 404, "no_service"),
        ("only8080:80", 404, "no_service"),
        ("nobody:80", 404, "no_service"),
        ("127.0.0.1:1", 404, "no_service"),
        ("only8080", 400, "invalid_host"),
    ] {
        if authority.contains(':') {
            let tunnel = Http2Caller::connect(proxy.outbound(0)).await.tunnel(authority).await;
            assert_eq!(
                (tunnel.status.as_u16(), tunnel.header("x-outrigger-error")),
                (status, reason),
                "{authority}"
            );
        }
        let mut client = RawClient::connect(proxy.outbound(0)).await;
        client.send(connect(authority)).await;
        let (_, ended) = client.read_to_end().await;
        let text = client.text();
        assert!(
            text.starts_with(&format!("HTTP/1.1 {status} ")) && ended == Ended::Fin,
            "{authority}: {text}"
        );
        assert!(text.contains(&format!("x-outrigger-error: {reason}\r\n")), "{authority}: {text}");
    }
    let own = proxy.outbound(0);
    proxy.reload(&mesh::outbound(&[&egress("Allow")])).await;
    let text = ask(own, &connect(&own.to_string())).await.text();
    assert!(text.starts_with("HTTP/1.1 508 "), "{text}");
}

#[tokio::test]
async fn connect_is_for_listeners_that_go_by_authority() {
    let backend = Backend::http1("web").await;
    let service = mesh::service("web", "http1", &[backend.address()]);
    let pinned = Proxy::start(&mesh::pinned("web", &[&service, &egress("Allow")])).await;
    let inbound = Proxy::start(&mesh::inbound(backend.address(), "http1", &[&egress("Allow")])).await;
    for to in [pinned.outbound(0), inbound.inbound(0)] {
        let text = ask(to, &connect("web:80")).await.text();
        assert!(text.starts_with("HTTP/1.1 405 ") && text.contains("method_not_allowed"), "{text}");
        let tunnel = Http2Caller::connect(to).await.tunnel("web:80").await;
        assert_eq!(tunnel.status, 405);
    }
    assert_eq!(backend.requests(), 0);
}

/// The app's own TLS in a tunnel, as `https://` through an HTTP proxy is.
#[tokio::test]
async fn a_tunnel_carries_whatever_the_app_speaks() {
    let server = Switching::websocket().await;
    let service = mesh::service("chat", "http1", &[server.address()]);
    let proxy = Proxy::start(&mesh::outbound(&[&service])).await;
    let mut client = ask(proxy.outbound(0), &connect("chat:80")).await;
    client.clear();
    client.send("GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    client.read_until("\r\n\r\n").await;
    client.clear();
    client.send("frames").await;
    client.read_until("frames").await;
    client.reset();
    assert_eq!(server.wait_end().await, Ended::Reset);
}

/// What the three modes do to requests by Host, by absolute URI and by CONNECT, to plain and to gRPC services.
#[tokio::test]
async fn egress_by_mode_and_form() {
    let outside = Backend::http1("outside").await;
    let outside2 = Backend::at("127.0.0.1:0".parse().unwrap(), Speaks::Http2, "outside2").await;
    let echo = GrpcService::start().await;
    let (host, host2) = (outside.address().to_string(), outside2.address().to_string());
    for (mesh, by_host, by_proxy_form) in
        [("", 200, 404), ("Allow", 200, 200), ("Log", 200, 200), ("Deny", 404, 404)]
    {
        let mode = egress(mesh);
        let documents: &[&str] = if mesh.is_empty() { &[] } else { &[&mode] };
        let proxy = Proxy::start(&mesh::outbound(documents)).await;
        let to = proxy.outbound(0);
        let mut expected = Vec::new();

        let answer = Client::http1(to, &host).await.get("/origin").await;
        assert_eq!(answer.status, by_host, "{mesh}: by Host");
        expected.push(by_host);
        let answer = Client::http2(to, &host2).await.get("/origin").await;
        assert_eq!(answer.status, by_host, "{mesh}: by Host, HTTP/2");
        expected.push(by_host);

        let mut client = Client::http1(to, "x").await;
        let request = client.request("GET", &format!("http://{host}/absolute?a=b"), "");
        let answer = client.call(request).await.unwrap();
        assert_eq!(answer.status, by_proxy_form, "{mesh}: absolute URI");
        expected.push(by_proxy_form);
        if answer.status == 200 {
            assert_eq!(answer.json()["path"], "/absolute?a=b");
            assert_eq!(answer.json()["authority"], host, "the URI wins over Host");
        } else {
            assert_eq!(answer.header("x-outrigger-error"), "no_service", "{mesh}");
        }

        let mut client = ask(to, &connect(&host)).await;
        assert!(
            client.text().starts_with(&format!("HTTP/1.1 {by_proxy_form} ")),
            "{mesh}: {}",
            client.text()
        );
        if by_proxy_form == 200 {
            client.clear();
            client.send(GET).await;
            client.read_until("/inside").await;
        }
        drop(client);
        expected.push(by_proxy_form);

        let mut calls = GrpcClient::connect(to, &echo.address().to_string()).await;
        let end = calls.call(UNARY, &["hello"]).await;
        assert_eq!(end.status, Some(if by_host == 200 { 0 } else { 12 }), "{mesh}: gRPC");

        let code = |code: &'static str| [("service", "egress"), ("code", code)];
        until("all to be counted", || async {
            let metrics = proxy.metrics().await;
            let denied = metrics.sum("outrigger_requests_total", &code("404"));
            // gRPC's refusal is a 200 in the answer and a 404 here.
            let wanted =
                expected.iter().filter(|status| **status == 404).count() + usize::from(by_host == 404);
            let allowed = metrics.sum("outrigger_requests_total", &code("200"));
            let all = (denied + allowed) as usize;
            (denied as usize == wanted && all == 5).then_some(())
        })
        .await;
        let metrics = proxy.metrics().await;
        assert_eq!(
            metrics.sum("outrigger_requests_total", &[("flag", "NR")]),
            metrics.sum("outrigger_requests_total", &code("404"))
        );
    }
}

#[tokio::test]
async fn https_in_proxy_form_is_refused_and_says_what_to_do() {
    let backend = Backend::http1("web").await;
    let service = mesh::service("web", "http1", &[backend.address()]);
    let proxy = Proxy::start(&mesh::outbound(&[&service, &egress("Allow")])).await;
    let text = ask(proxy.outbound(0), "GET https://web/ HTTP/1.1\r\nHost: web\r\n\r\n").await.text();
    assert!(text.starts_with("HTTP/1.1 400 ") && text.contains("https_in_proxy_form"), "{text}");
    assert_eq!(backend.requests(), 0);
}
