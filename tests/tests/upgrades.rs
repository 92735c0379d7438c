//! WebSocket and other upgrades through real proxies: over both versions of HTTP on both sides, agreed to, declined and
//! broken off.

use std::net::SocketAddr;

use outrigger_proxy::drain::Cause;
use outrigger_tests::{
    backend::{Answer, Backend, Fault},
    client::Client,
    mesh::{self, Proxy},
    outside::{Authority, TlsFront},
    raw::{Ended, RawBackend, RawClient, Reply},
    switching::{ACCEPT, Http2Caller, KEY, Offer, Switching},
    unreachable::Refuses,
    wait::{Gate, until, within},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::TcpListener,
};

/// A WebSocket handshake as browsers send it, with what holds between neighbours only.
fn handshake(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: chat\r\nConnection: keep-alive, Upgrade, X-Hop\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Protocol: chat\r\nX-Hop: 1\r\n\
         Keep-Alive: timeout=5\r\nProxy-Authorization: Basic eA==\r\n\r\n"
    )
}

/// A proxy before `to`, as its app or as the Service that the caller means; and where to call.
async fn proxies(to: SocketAddr, protocol: &str) -> Vec<(Proxy, SocketAddr)> {
    let service = mesh::service("chat", protocol, &[to]);
    let inbound = Proxy::start(&mesh::inbound(to, protocol, &[])).await;
    let pinned = Proxy::start(&mesh::pinned("chat", &[&service])).await;
    let outbound = Proxy::start(&mesh::outbound(&[&service])).await;
    let addresses = [inbound.inbound(0), pinned.outbound(0), outbound.outbound(0)];
    [inbound, pinned, outbound].into_iter().zip(addresses).collect()
}

/// Opens a tunnel and sees that it carries bytes both ways.
async fn open(to: SocketAddr) -> RawClient {
    let mut client = RawClient::connect(to).await;
    client.send(handshake("/chat")).await;
    let head = client.read_until("\r\n\r\n").await;
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", client.text());
    client.clear();
    echoes(&mut client, "hello").await;
    client
}

async fn echoes(client: &mut RawClient, text: &str) {
    client.send(text).await;
    client.read_until(text).await;
    client.clear();
}

/// A copy of a request that becomes a tunnel would wait for bytes that never come.
#[tokio::test]
async fn an_upgrade_is_not_mirrored() {
    let (server, shadow) = (Switching::websocket().await, Backend::http1("shadow").await);
    let rules = "  - filters: [{type: RequestMirror, requestMirror: {backendRef: {name: shadow, port: 80}}}]\n    \
                 backendRefs: [{name: chat, port: 80}]\n";
    let documents = [
        mesh::service("chat", "http1", &[server.address()]),
        mesh::service("shadow", "http1", &[shadow.address()]),
        mesh::route("chat", rules),
    ];
    let proxy = Proxy::start(&mesh::pinned("chat", &documents.each_ref().map(String::as_str))).await;
    let _open = open(proxy.outbound(0)).await;
    let metrics = proxy.metrics().await;
    let begun = ["outrigger_mirror_requests_open", "outrigger_mirror_requests_total"];
    assert_eq!(begun.map(|name| metrics.sum(name, &[])), [0.0, 0.0]);
    assert_eq!(shadow.requests(), 0);
}

#[tokio::test]
async fn an_upgrade_passes_and_carries_bytes_both_ways() {
    let server = Switching::websocket().await;
    for (proxy, to) in proxies(server.address(), "http1").await {
        let mut client = RawClient::connect(to).await;
        client.send(handshake("/chat?room=1")).await;
        client.read_until("\r\n\r\n").await;
        let head = client.text();
        assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
        for field in [
            "connection: upgrade",
            "upgrade: websocket",
            &format!("sec-websocket-accept: {}", ACCEPT.to_lowercase()),
        ] {
            assert_eq!(
                head.to_lowercase().matches(&format!("\r\n{field}\r\n")).count(),
                1,
                "{field}: {head}"
            );
        }
        assert!(!head.contains("content-length") && !head.contains("transfer-encoding"), "{head}");
        client.clear();

        let came = server.came().pop().unwrap();
        assert!(came.head.starts_with("GET /chat?room=1 HTTP/1.1\r\n"), "{}", came.head);
        for (name, value) in [
            ("connection", Some("upgrade")),
            ("upgrade", Some("websocket")),
            ("host", Some("chat")),
            ("sec-websocket-key", Some(&*KEY.to_lowercase())),
            ("sec-websocket-protocol", Some("chat")),
            ("x-hop", None),
            ("keep-alive", None),
            ("proxy-authorization", None),
        ] {
            assert_eq!(came.header(name).as_deref(), value, "{name}: {}", came.head);
        }

        let metrics = proxy.metrics().await;
        assert_eq!(metrics.sum("outrigger_tunnels_total", &[("kind", "websocket")]), 1.0);
        assert_eq!(metrics.sum("outrigger_tunnels_open", &[]), 1.0);
        assert_eq!(metrics.sum("outrigger_requests_open", &[]), 1.0);

        // More than any buffer between holds, while nobody reads the echo at first.
        let big = vec![b'x'; 3_000_000];
        let (mut sent, mut got) = (0, 0);
        while got < big.len() {
            if sent < big.len() {
                let piece = (big.len() - sent).min(64 * 1024);
                client.send(&big[sent..sent + piece]).await;
                sent += piece;
            }
            client.read_more().await.expect("the tunnel goes on");
            got += client.text().len();
            client.clear();
        }
        assert_eq!(got, big.len());

        // Each end is passed on alone.
        client.finish().await;
        let (rest, ended) = client.read_to_end().await;
        assert!(rest.is_empty() && ended == Ended::Fin, "{ended:?}");
        let done = "the tunnel to be counted";
        until(done, || async {
            let metrics = proxy.metrics().await;
            let counted = metrics.sum("outrigger_requests_total", &[("code", "101"), ("flag", "-")]);
            (counted == 1.0 && metrics.sum("outrigger_tunnels_open", &[]) == 0.0).then_some(())
        })
        .await;
    }
    assert!(server.came().iter().all(|came| came.ended == Some(Ended::Fin)), "{:?}", server.came().len());
}

/// Whatever a caller sends behind its request waits for the 101; whatever the server says behind that arrives.
#[tokio::test]
async fn early_bytes_wait_for_the_agreement() {
    let gate = Gate::closed();
    let server = Switching::http1(&gate, |_| {
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nfirst words "
            .to_owned()
    })
    .await;
    let service = mesh::service("chat", "http1", &[server.address()]);
    let proxy = Proxy::start(&mesh::outbound(&[&service])).await;
    let mut client = RawClient::connect(proxy.outbound(0)).await;
    client.send(handshake("/") + "early").await;
    server.wait("the request", |came| came.len() == 1).await;
    // What the proxy did with the early bytes it has done by now: a whole request has gone round.
    assert_eq!(Client::http1(proxy.outbound(0), "nobody").await.get("/").await.status, 503);
    assert!(server.came()[0].bytes.is_empty(), "{:?}", server.came()[0]);
    gate.open();
    let all = client.read_until("early").await;
    assert!(all.ends_with(b"\r\n\r\nfirst words early"), "{}", client.text());
    assert_eq!(server.came()[0].bytes, b"early");
}

#[tokio::test]
async fn other_protocols_and_requests_with_a_body() {
    let gate = Gate::closed();
    gate.open();
    let server = Switching::http1(&gate, |_| {
        "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
            .to_owned()
    })
    .await;
    let proxy = Proxy::start(&mesh::inbound(server.address(), "http1", &[])).await;
    let mut client = RawClient::connect(proxy.inbound(0)).await;
    let head = "POST /exec/1/start HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: h2c, tcp\r\nContent-Length: 2\r\n\r\n{}";
    client.send(head).await;
    client.read_until("\r\n\r\n").await;
    assert!(client.text().contains("\r\nupgrade: tcp\r\n"), "{}", client.text());
    // The body went before the 101; the server echoes what it has read so far, and that is the body. It may have come
    // with the head.
    client.read_until("{}").await;
    client.clear();
    echoes(&mut client, "raw").await;
    assert_eq!(server.came()[0].header("upgrade").as_deref(), Some("tcp"), "h2c is not for others to hear");
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.sum("outrigger_tunnels_total", &[("kind", "upgrade")]), 1.0);
}

#[tokio::test]
async fn what_declines_is_an_ordinary_answer() {
    let backend = Backend::http1("chat").await;
    backend.answer(|seen| match &*seen.path {
        "/426" => Answer::status(426).header("x-why", "no").then("not here"),
        _ => Answer::text("as if nothing had been asked"),
    });
    for (_proxy, to) in proxies(backend.address(), "http1").await {
        let mut client = RawClient::connect(to).await;
        client.send(handshake("/426")).await;
        client.read_until("not here").await;
        assert!(client.text().starts_with("HTTP/1.1 426 ") && client.text().contains("x-why: no"));
        client.clear();
        client.send(handshake("/")).await;
        client.read_until("as if nothing had been asked").await;
        assert!(client.text().starts_with("HTTP/1.1 200 "), "{}", client.text());
        assert!(!client.text().contains("\r\nupgrade"), "{}", client.text());
        client.clear();
        client.send("GET /426 HTTP/1.1\r\nHost: chat\r\n\r\n").await;
        client.read_until("not here").await;
    }
}

#[tokio::test]
async fn agreements_that_are_none() {
    let ok = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n";
    let plain = "GET / HTTP/1.1\r\nHost: chat\r\n\r\n".to_owned();
    let ill_named = handshake("/").replace("Upgrade: websocket", "Upgrade: web socket");
    for (what, request, answer, status) in [
        ("nobody asked", plain, format!("{ok}Upgrade: websocket\r\n\r\n"), "502"),
        ("not this one", handshake("/"), format!("{ok}Upgrade: chat/1\r\n\r\n"), "502"),
        ("which one?", handshake("/"), format!("{ok}\r\n"), "502"),
        ("no name", ill_named, String::new(), "400"),
    ] {
        let server = RawBackend::start(Reply::EachHead(answer.into_bytes())).await;
        let service = mesh::service("chat", "http1", &[server.address()]);
        let proxy = Proxy::start(&mesh::outbound(&[&service])).await;
        let mut client = RawClient::connect(proxy.outbound(0)).await;
        client.send(request).await;
        client.read_until("\r\n\r\n").await;
        assert!(client.text().starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {}", client.text());
        let reason = if status == "502" { "upstream_protocol" } else { "invalid_header" };
        assert!(client.text().contains(reason), "{what}: {}", client.text());
        assert_eq!(proxy.metrics().await.sum("outrigger_tunnels_total", &[]), 0.0, "{what}");
    }
}

#[tokio::test]
async fn the_law_holds_until_the_agreement_and_nothing_is_repeated_after_it() {
    // Nothing listens at one endpoint; another resets each request; the third agrees.
    let gone = Refuses::new();
    let resets = Backend::http1("resets").await;
    resets.answer(|_| Answer::fail(Fault::Reset));
    let server = Switching::websocket().await;
    let service = mesh::service("chat", "http1", &[gone.address(), resets.address(), server.address()]);
    let retry =
        mesh::traffic("chat", "  retry: {attempts: 2, on: [reset]}\n  loadBalancer: {policy: roundRobin}\n");
    let proxy = Proxy::start(&mesh::outbound(&[&service, &retry])).await;
    for number in 1..=6 {
        let mut client = open(proxy.outbound(0)).await;
        assert_eq!(server.came().len(), number, "each tunnel began once");
        client.finish().await;
        client.read_to_end().await;
    }
    assert!(resets.requests() > 0, "it was tried, and another one taken");
    // Broken off after the agreement: the caller sees it, and no other endpoint does.
    let before = (server.came().len(), resets.requests());
    let mut client = open(proxy.outbound(0)).await;
    server.reset_all();
    assert_eq!(client.read_to_end().await.1, Ended::Reset);
    assert_eq!(server.came().len(), before.0 + 1);
}

#[tokio::test]
async fn a_reset_of_either_side_is_a_reset_of_the_other() {
    let server = Switching::websocket().await;
    let service = mesh::service("chat", "http1", &[server.address()]);
    let proxy = Proxy::start(&mesh::outbound(&[&service])).await;
    open(proxy.outbound(0)).await.reset();
    assert_eq!(server.wait_end().await, Ended::Reset);
    let mut client = open(proxy.outbound(0)).await;
    server.reset_all();
    assert_eq!(client.read_to_end().await.1, Ended::Reset);
    until("both to be counted", || async {
        let metrics = proxy.metrics().await;
        let ended = |flag| metrics.sum("outrigger_requests_total", &[("code", "101"), ("flag", flag)]);
        (ended("DC") == 1.0 && ended("UR") == 1.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_request_timeout_ends_with_the_agreement() {
    let (server, gate) = (Switching::websocket().await, Gate::closed());
    let slow = Switching::http1(&gate, |_| String::new()).await;
    let limits = "  timeouts: {request: 300ms}\n";
    let documents = [
        mesh::service("chat", "http1", &[server.address()]),
        mesh::traffic("chat", limits),
        mesh::service("slow", "http1", &[slow.address()]),
        mesh::traffic("slow", limits),
    ];
    let documents: Vec<&str> = documents.iter().map(String::as_str).collect();
    let proxy = Proxy::start(&mesh::outbound(&documents)).await;
    let mut client = open(proxy.outbound(0)).await;
    // Another one that began later waits for its own timeout, which is thus over for the first one too.
    let mut late = RawClient::connect(proxy.outbound(0)).await;
    late.send(handshake("/").replace("Host: chat", "Host: slow")).await;
    late.read_until("\r\n\r\n").await;
    assert!(
        late.text().starts_with("HTTP/1.1 504 ") && late.text().contains("request_timeout"),
        "{}",
        late.text()
    );
    echoes(&mut client, "still here").await;
}

#[tokio::test]
async fn an_idle_tunnel_ends_only_where_policy_says_so() {
    let server = Switching::websocket().await;
    let service = mesh::service("chat", "http1", &[server.address()]);
    let limits = mesh::traffic("chat", "  timeouts: {streamIdle: 300ms}\n");
    let proxy = Proxy::start(&mesh::outbound(&[&service, &limits])).await;
    let mut client = open(proxy.outbound(0)).await;
    assert_eq!(client.read_to_end().await.1, Ended::Reset);
    assert_eq!(server.wait_end().await, Ended::Reset);
    until("it to be counted", || async {
        (proxy.metrics().await.sum("outrigger_requests_total", &[("flag", "UT")]) == 1.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn tunnels_outlive_reloads_their_listeners_and_a_drain_until_its_grace_ends() {
    let server = Switching::websocket().await;
    let service = mesh::service("chat", "http1", &[server.address()]);
    let proxy = Proxy::start(&mesh::outbound(&[&service])).await;
    let mut client = open(proxy.outbound(0)).await;
    let mut caller = Http2Caller::connect(proxy.outbound(0)).await;
    let mut stream = caller.extended("websocket", "chat", &[]).await;
    for policy in [
        mesh::outbound(&[&service, &mesh::traffic("chat", "  timeouts: {request: 1s}\n")]),
        // Neither the listener nor the Service is there any more.
        mesh::inbound(server.address(), "http1", &[]),
    ] {
        proxy.reload(&policy).await;
        echoes(&mut client, "after a reload").await;
        stream.send("after a reload");
    }
    assert_eq!(stream.read(28).await, b"after a reloadafter a reload");
    proxy.app().drain(Cause::Interrupt);
    echoes(&mut client, "while it drains").await;
    stream.send("while it drains");
    stream.read(43).await;
    assert_eq!(client.read_to_end().await.1, Ended::Reset, "cut, and it looks so");
    assert_eq!(stream.read_to_end().await.1, Ended::Reset);
}

/// RFC 8441 before the proxy, HTTP/1.1 behind it.
#[tokio::test]
async fn websockets_of_http2_callers() {
    let server = Switching::websocket().await;
    for (proxy, to) in proxies(server.address(), "http1").await {
        let mut caller = Http2Caller::connect(to).await;
        let mut plain = Client::http2(to, "chat").await;
        let fields =
            [("sec-websocket-version", "13"), ("sec-websocket-protocol", "chat"), ("origin", "http://a")];
        let mut tunnel = caller.extended("websocket", "chat", &fields).await;
        assert!(caller.may_extend(), "the proxy says that it takes them");
        assert_eq!(tunnel.status, 200);
        for name in ["sec-websocket-accept", "upgrade", "connection", "content-length"] {
            assert_eq!(tunnel.header(name), "", "{name}");
        }
        let came = server.came().pop().unwrap();
        assert!(came.head.starts_with("GET /chat?room=1 HTTP/1.1\r\n"), "{}", came.head);
        assert_eq!(came.header("upgrade").as_deref(), Some("websocket"));
        assert_eq!(came.header("sec-websocket-key").map(|key| key.len()), Some(24), "{}", came.head);
        tunnel.send("hello");
        assert_eq!(tunnel.read(5).await, b"hello");
        // The connection serves others beside it.
        drop(plain.get("/").await);
        assert_eq!(proxy.metrics().await.sum("outrigger_tunnels_open", &[]), 1.0);
        tunnel.finish();
        assert_eq!(tunnel.read_to_end().await, (b"hello".to_vec(), Ended::Fin));
    }
}

#[tokio::test]
async fn resets_of_http2_callers_and_to_them() {
    let server = Switching::websocket().await;
    let service = mesh::service("chat", "http1", &[server.address()]);
    let proxy = Proxy::start(&mesh::outbound(&[&service])).await;
    let mut caller = Http2Caller::connect(proxy.outbound(0)).await;
    let mut tunnel = caller.extended("websocket", "chat", &[]).await;
    tunnel.send("hello");
    tunnel.read(5).await;
    tunnel.reset();
    assert_eq!(server.wait_end().await, Ended::Reset, "a cancel is no orderly end");
    // One that had ended in order, and is given up while the server, which has seen that end, says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mute = listener.local_addr().unwrap();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut read = Vec::new();
        let agreed = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n";
        while !read.ends_with(b"\r\n\r\n") {
            stream.read_buf(&mut read).await.unwrap();
        }
        stream.write_all(agreed).await.unwrap();
        assert_eq!(stream.read_buf(&mut read).await.unwrap(), 0);
        tell.send("ended").unwrap();
        stream.ready(Interest::ERROR).await.unwrap();
        tell.send("reset").unwrap();
    });
    proxy.reload(&mesh::outbound(&[&service, &mesh::service("mute", "http1", &[mute])])).await;
    let mut tunnel = caller.extended("chat", "mute", &[]).await;
    tunnel.finish();
    assert_eq!(within("the end", told.recv()).await, Some("ended"));
    drop((tunnel, caller));
    assert_eq!(within("the reset", told.recv()).await, Some("reset"));
    // The other way.
    let mut caller = Http2Caller::connect(proxy.outbound(0)).await;
    let mut tunnel = caller.extended("websocket", "chat", &[]).await;
    tunnel.send("hello");
    tunnel.read(5).await;
    server.reset_all();
    assert_eq!(tunnel.read_to_end().await.1, Ended::Reset);
}

#[tokio::test]
async fn http2_callers_are_not_told_of_a_tunnel_that_is_none() {
    let ok = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n";
    for (what, answer, status, reason) in [
        ("a wrong key", format!("{ok}sec-websocket-accept: {ACCEPT}\r\n\r\n"), 502, "upstream_protocol"),
        ("no key", format!("{ok}\r\n"), 502, "upstream_protocol"),
        (
            "a plain 200",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".into(),
            502,
            "upgrade_not_supported",
        ),
        ("declined", "HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno".into(), 403, ""),
    ] {
        let gate = Gate::closed();
        gate.open();
        let server = Switching::http1(&gate, move |_| answer.clone()).await;
        let service = mesh::service("chat", "http1", &[server.address()]);
        let proxy = Proxy::start(&mesh::outbound(&[&service])).await;
        let mut caller = Http2Caller::connect(proxy.outbound(0)).await;
        let mut tunnel = caller.extended("websocket", "chat", &[("content-type", "application/grpc")]).await;
        assert_eq!((tunnel.status.as_u16(), tunnel.header("x-outrigger-error")), (status, reason), "{what}");
        let (body, ended) = tunnel.read_to_end().await;
        assert!(!body.is_empty() && ended == Ended::Fin, "{what}");
    }
}

/// Endpoints that speak HTTP/2 alone: RFC 8441 behind the proxy.
#[tokio::test]
async fn endpoints_of_http2_take_websockets_where_they_say_so() {
    let server = Switching::http2(Offer::ExtendedConnect).await;
    for (proxy, to) in proxies(server.address(), "http2").await {
        let mut client = RawClient::connect(to).await;
        client.send(handshake("/chat?room=1")).await;
        client.read_until("\r\n\r\n").await;
        assert!(client.text().starts_with("HTTP/1.1 101 "), "{}", client.text());
        for field in [format!("sec-websocket-accept: {ACCEPT}"), "upgrade: websocket".to_owned()] {
            assert!(client.text().contains(&field), "{field}: {}", client.text());
        }
        assert!(client.text().contains("sec-websocket-protocol: chat"), "{}", client.text());
        client.clear();
        let came = server.came().pop().unwrap();
        assert!(came.head.starts_with("CONNECT http://chat/chat?room=1 websocket\n"), "{}", came.head);
        for name in ["sec-websocket-key", "connection", "upgrade", "host"] {
            assert_eq!(came.header(name), None, "{name}: {}", came.head);
        }
        assert_eq!(came.header("sec-websocket-version").as_deref(), Some("13"));
        echoes(&mut client, "hello").await;
        client.finish().await;
        assert_eq!(client.read_to_end().await.1, Ended::Fin);

        let mut caller = Http2Caller::connect(to).await;
        let mut tunnel = caller.extended("websocket", "chat", &[]).await;
        assert_eq!((tunnel.status.as_u16(), tunnel.header("sec-websocket-accept")), (200, ""));
        tunnel.send("hello");
        assert_eq!(tunnel.read(5).await, b"hello");
        tunnel.reset();
        let ended = server.wait("the reset", |came| came.last().unwrap().ended.is_some()).await;
        assert_eq!(ended.last().unwrap().ended, Some(Ended::Reset));
        assert_eq!(proxy.metrics().await.sum("outrigger_tunnels_total", &[("kind", "websocket")]), 2.0);
    }
    for (offer, status, reason) in [
        (Offer::Nothing, "502", "upgrade_not_supported"),
        (Offer::Declined, "403", "sec-websocket-protocol: chat"),
    ] {
        let server = Switching::http2(offer).await;
        let service = mesh::service("chat", "http2", &[server.address()]);
        let proxy = Proxy::start(&mesh::outbound(&[&service])).await;
        let mut client = RawClient::connect(proxy.outbound(0)).await;
        client.send(handshake("/")).await;
        client.read_until("\r\n\r\n").await;
        assert!(client.text().starts_with(&format!("HTTP/1.1 {status} ")), "{offer:?}: {}", client.text());
        assert!(client.text().contains(reason), "{offer:?}: {}", client.text());
        assert_eq!(server.came().len(), usize::from(offer == Offer::Declined));
    }
}

/// `wss` towards a host outside: the app speaks `ws` to its sidecar.
#[tokio::test]
async fn websockets_through_tls() {
    let authority = Authority::new("ca");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    let ca = folder.path().join("ca.pem").display().to_string();
    for (server, protocol, alpn) in [
        (Switching::websocket().await, "http1", "http/1.1"),
        (Switching::http2(Offer::ExtendedConnect).await, "http2", "h2"),
    ] {
        let front = TlsFront::start(server.address(), &authority.issue(&["chat"]), &[alpn]).await;
        let service = mesh::service("chat", protocol, &[front.address()]);
        let service = format!("{service}  hosts: [chat]\n  tls: {{mode: Simple, trustBundle: {ca}}}\n");
        let proxy = Proxy::start(&mesh::outbound(&[&service])).await;
        let mut client = open(proxy.outbound(0)).await;
        client.finish().await;
        assert_eq!(client.read_to_end().await.1, Ended::Fin, "{protocol}");
        assert_eq!(front.greetings().len(), 1);
    }
}

/// `examples/websocket.yaml`, with other ports.
#[tokio::test]
async fn the_example_works() {
    let (app, one, two) =
        (Switching::websocket().await, Switching::websocket().await, Switching::websocket().await);
    let example =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/websocket.yaml")).unwrap();
    let policy = example
        .replace("0.0.0.0:8080", "127.0.0.1:0")
        .replace("127.0.0.1:15001", "127.0.0.1:0")
        .replace("127.0.0.1:3000", &app.address().to_string())
        .replace("127.0.0.1:9001", &one.address().to_string())
        .replace("127.0.0.1:9002", &two.address().to_string())
        .replace("  inbound:", "  admin: {bind: \"127.0.0.1:0\"}\n  inbound:");
    let proxy = Proxy::start(&policy).await;
    for (to, path, opens) in [
        (proxy.inbound(0), "/any", true),
        (proxy.outbound(0), "/rooms/1", true),
        (proxy.outbound(0), "/", false),
    ] {
        let mut client = RawClient::connect(to).await;
        client.send(handshake(path)).await;
        client.read_until("\r\n\r\n").await;
        assert!(client.text().starts_with(if opens { "HTTP/1.1 101 " } else { "HTTP/1.1 404 " }), "{path}");
    }
    assert_eq!((app.came().len(), one.came().len() + two.came().len()), (1, 1));
}
