//! Copies of requests through a real proxy: what a mirror sees, how many requests it gets, and that nothing which
//! happens to a mirror is seen by a caller.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::Frame;
use outrigger_tests::{
    backend::{Answer, Backend, Fault, Seen},
    client::{Client, fed},
    grpc::{BIDI, CLIENT_STREAM, GrpcClient, GrpcService, UNARY},
    mesh::{self, Proxy},
    raw::{Ended, RawBackend, RawClient, Reply},
    unreachable::{BlackHole, Refuses},
    wait::{Gate, until, within},
};
use tokio::time::Instant;

const VERSIONS: [&str; 2] = ["http1", "http2"];

async fn backend(version: &str, name: &str) -> Backend {
    match version {
        "http1" => Backend::http1(name).await,
        _ => Backend::http2(name).await,
    }
}

/// A rule that copies everything to port 80 of `shadow`.
const ALL: &str =
    "  - filters: [{type: RequestMirror, requestMirror: {backendRef: {name: shadow, port: 80}}}]
    backendRefs: [{name: web, port: 80}]
";

/// A proxy pinned to `web`, with a mirror `shadow`, and these rules.
async fn before(web: (&str, SocketAddr), shadow: (&str, SocketAddr), rules: &str, more: &[&str]) -> Proxy {
    let web = mesh::service("web", web.0, &[web.1]);
    let shadow = mesh::service("shadow", shadow.0, &[shadow.1]);
    let route = mesh::route("web", rules);
    let documents: Vec<&str> =
        [web.as_str(), &shadow, &route].into_iter().chain(more.iter().copied()).collect();
    Proxy::start(&mesh::pinned("web", &documents)).await
}

/// Waits until so many copies have come to this.
async fn copies(proxy: &Proxy, outcome: &str, count: f64) {
    let what = format!("{count} copies to be {outcome}");
    until(&what, || async {
        let metrics = proxy.metrics().await;
        let labels = [("service", "default/shadow:80"), ("outcome", outcome)];
        let all = metrics.sum("outrigger_mirror_requests_total", &[]);
        let open = metrics.sum("outrigger_mirror_requests_open", &[]);
        let done = metrics.sum("outrigger_mirror_requests_total", &labels) == count;
        (done && all == count && open == 0.0).then_some(())
    })
    .await;
}

/// A request as far as a copy is to be the same.
fn shown(seen: &Seen) -> (String, String, String, HeaderMap, u64, HeaderMap) {
    let mut headers = seen.headers.clone();
    // Added by HTTP/1 where a body has no length.
    headers.remove("transfer-encoding");
    // The same in HTTP/2 as `:authority`.
    headers.remove("host");
    let seen = seen.clone();
    (seen.method, seen.path, seen.authority, headers, seen.body_bytes, seen.trailers)
}

#[tokio::test]
async fn a_mirror_sees_what_the_backend_sees_and_the_caller_sees_one_of_them() {
    for (caller, service) in VERSIONS.into_iter().flat_map(|a| VERSIONS.map(|b| (a, b))) {
        let (web, shadow) = (backend(service, "web").await, backend(service, "shadow").await);
        // hyper's HTTP/2 server would send the body of a HEAD.
        let plain =
            |seen: &Seen| if seen.method == "HEAD" { Answer::status(200) } else { Answer::describe() };
        web.answer(plain);
        shadow.answer(move |seen| plain(seen).header("x-shadow", "1"));
        let proxy = before((service, web.address()), (service, shadow.address()), ALL, &[]).await;
        let mut client = match caller {
            "http1" => Client::http1(proxy.outbound(0), "web.example.com").await,
            _ => Client::http2(proxy.outbound(0), "web.example.com").await,
        };
        for (method, path, body) in
            [("GET", "/a?b=c", ""), ("POST", "/up", "a body"), ("HEAD", "/h", ""), ("DELETE", "/d", "")]
        {
            let mut request = client.request(method, path, body);
            request.headers_mut().append("x-twice", "1".parse().unwrap());
            request.headers_mut().append("x-twice", "2".parse().unwrap());
            let answer = client.call(request).await.unwrap();
            assert_eq!((answer.status.as_u16(), answer.header("x-backend")), (200, "web"));
            assert_eq!(answer.header("x-shadow"), "");
        }
        copies(&proxy, "success", 4.0).await;
        let sort = |backend: &Backend| {
            let mut all: Vec<_> = backend.seen().iter().map(shown).collect();
            all.sort_by(|a, b| a.0.cmp(&b.0));
            all
        };
        assert_eq!(sort(&web), sort(&shadow), "{caller} {service}");
        assert!(shadow.seen().iter().all(|seen| seen.authority == "web.example.com"), "no suffix");
        assert!(shadow.seen().iter().all(|seen| seen.complete));
    }
}

/// Copies are nobody's requests: not the rule's, and not attempts of the Service that gets them.
#[tokio::test]
async fn copies_are_counted_by_themselves() {
    let (web, shadow) = (Backend::http1("web").await, Backend::http1("shadow").await);
    shadow.answer(|_| Answer::status(500));
    let proxy = before(("http1", web.address()), ("http1", shadow.address()), ALL, &[]).await;
    let mut client = Client::http1(proxy.outbound(0), "web").await;
    for _ in 0..5 {
        assert_eq!(client.get("/").await.status, 200);
    }
    copies(&proxy, "http_5xx", 5.0).await;
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.sum("outrigger_requests_total", &[]), 5.0);
    assert_eq!(metrics.sum("outrigger_requests_total", &[("code", "200"), ("route", "default/web/0")]), 5.0);
    assert_eq!(metrics.sum("outrigger_attempts_total", &[]), 5.0);
    assert_eq!(metrics.sum("outrigger_attempts_total", &[("service", "default/shadow:80")]), 0.0);
    assert_eq!(metrics.sum("outrigger_upstream_connections_total", &[("service", "default/shadow:80")]), 1.0);
}

#[tokio::test]
async fn each_mirror_gets_its_share() {
    let (web, whole) = (Backend::http1("web").await, Backend::http1("whole").await);
    let (third, none) = (Backend::http1("third").await, Backend::http1("none").await);
    let services = [("web", &web), ("whole", &whole), ("third", &third), ("none", &none)]
        .map(|(name, backend)| mesh::service(name, "http1", &[backend.address()]));
    let rules = "  - filters:
    - {type: RequestMirror, requestMirror: {backendRef: {name: whole, port: 80}, percent: 100}}
    - {type: RequestMirror, requestMirror: {backendRef: {name: third, port: 80}, fraction: {numerator: 1, denominator: 3}}}
    - {type: RequestMirror, requestMirror: {backendRef: {name: none, port: 80}, percent: 0}}
    - {type: RequestMirror, requestMirror: {backendRef: {name: missing, port: 80}}}
    backendRefs: [{name: web, port: 80}]
";
    let route = mesh::route("web", rules);
    let mut documents: Vec<&str> = services.iter().map(String::as_str).collect();
    documents.push(&route);
    let proxy = Proxy::start(&mesh::pinned("web", &documents)).await;
    let mut client = Client::http1(proxy.outbound(0), "web").await;
    for _ in 0..600 {
        assert_eq!(client.get("/").await.header("x-backend"), "web");
    }
    whole.wait_requests(600).await;
    until("all copies to end", || async {
        let metrics = proxy.metrics().await;
        (metrics.sum("outrigger_mirror_requests_open", &[]) == 0.0).then_some(())
    })
    .await;
    // Six standard deviations of a binomial share.
    assert!((130..270).contains(&third.requests()), "{}", third.requests());
    assert_eq!((whole.requests(), none.requests(), web.requests()), (600, 0, 600));
}

#[tokio::test]
async fn a_mirror_gets_the_request_as_its_own_list_of_filters_leaves_it() {
    let (web, shadow, other) =
        (Backend::http1("web").await, Backend::http1("shadow").await, Backend::http1("other").await);
    let rules = "  - matches: [{path: {value: /api}}]
    filters:
    - {type: RequestMirror, requestMirror: {backendRef: {name: shadow, port: 80}}}
    - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-rule, value: rule}], remove: [x-gone]}}
    - type: URLRewrite
      urlRewrite: {hostname: inner.example.com, path: {type: ReplacePrefixMatch, replacePrefixMatch: /v2}}
    backendRefs:
    - name: web
      port: 80
      filters:
      - {type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: x-rule, value: backend}]}}
      - {type: RequestMirror, requestMirror: {backendRef: {name: other, port: 80}}}
  - backendRefs:
    - name: web
      port: 80
      filters:
      - {type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /only}}}
      - {type: RequestMirror, requestMirror: {backendRef: {name: other, port: 80}}}
    filters: [{type: RequestMirror, requestMirror: {backendRef: {name: shadow, port: 80}}}]
";
    let other_service = mesh::service("other", "http1", &[other.address()]);
    let web_at = ("http1", web.address());
    let proxy = before(web_at, ("http1", shadow.address()), rules, &[&other_service]).await;
    let mut client = Client::http1(proxy.outbound(0), "web").await;
    let mut request = client.request("GET", "/api/x?q=1", "");
    request.headers_mut().insert("x-gone", "1".parse().unwrap());
    client.call(request).await.unwrap();
    client.get("/deep").await;
    shadow.wait_requests(2).await;
    other.wait_requests(2).await;
    let view = |backend: &Backend, path: &str| {
        let seen = backend.seen().into_iter().find(|seen| seen.path == path);
        let seen = seen.unwrap_or_else(|| panic!("{path} among {:?}", backend.seen()));
        (seen.authority.clone(), seen.header("x-rule").to_owned(), seen.header("x-gone").to_owned())
    };
    let is = |host: &str, rule: &str| (host.to_owned(), rule.to_owned(), String::new());
    assert_eq!(view(&web, "/v2/x?q=1"), is("inner.example.com", "rule,backend"));
    assert_eq!(view(&shadow, "/v2/x?q=1"), is("inner.example.com", "rule"));
    assert_eq!(view(&other, "/v2/x?q=1"), is("inner.example.com", "rule,backend"));
    assert_eq!(view(&web, "/only"), is("web", ""));
    assert_eq!(view(&shadow, "/deep"), is("web", ""));
    assert_eq!(view(&other, "/only"), is("web", ""));
}

/// Everything that a mirror can do to a caller's patience. The bound is far above any answer, far below any limit.
#[tokio::test]
async fn no_mirror_delays_or_fails_a_caller() {
    let refuses = Refuses::new();
    let hole = BlackHole::new().await;
    let silent = RawBackend::start(Reply::Silent).await;
    let garbage = RawBackend::start(Reply::AtOnce(b"garbage\r\n\r\n".to_vec())).await;
    let gate = Gate::closed();
    let deaf = RawBackend::start(Reply::SilentUntil(gate.clone())).await;
    let hangs = Backend::http1("shadow").await;
    hangs.answer(|_| Answer::fail(Fault::Hang));
    let resets = Backend::http1("shadow").await;
    resets.answer(|_| Answer::fail(Fault::Reset));
    for (what, address, outcome) in [
        ("refuses", refuses.address(), Some("connect_failed")),
        ("black hole", hole.address(), Some("connect_failed")),
        ("silent", silent.address(), None),
        ("garbage", garbage.address(), Some("reset")),
        ("deaf", deaf.address(), None),
        ("hangs", hangs.address(), None),
        ("resets", resets.address(), Some("reset")),
    ] {
        let web = Backend::http1("web").await;
        let proxy = before(("http1", web.address()), ("http1", address), ALL, &[]).await;
        let mut client = Client::http1(proxy.outbound(0), "web").await;
        let start = Instant::now();
        for n in 0..10 {
            let answer = client.post("/", vec![b'x'; 20_000]).await;
            assert_eq!(
                (answer.status.as_u16(), &answer.json()["bodyBytes"]),
                (200, &20_000.into()),
                "{what} {n}"
            );
            assert_eq!(client.get("/").await.status, 200, "{what} {n}");
        }
        assert!(start.elapsed() < Duration::from_secs(5), "{what}: {:?}", start.elapsed());
        match outcome {
            Some(outcome) => copies(&proxy, outcome, 20.0).await,
            None => {
                let open = proxy.metrics().await.sum("outrigger_mirror_requests_open", &[]);
                assert_eq!(open, 20.0, "{what}");
            }
        }
    }
}

/// A mirror that has its own limits is held to them, whatever the rule allows.
#[tokio::test]
async fn a_mirrors_own_limits_end_its_copies() {
    let (web, shadow) = (Backend::http1("web").await, Backend::http1("shadow").await);
    shadow.answer(|_| Answer::fail(Fault::Hang));
    for limit in ["request", "attempt"] {
        let limits = mesh::traffic("shadow", &format!("  timeouts: {{{limit}: 100ms}}\n"));
        let proxy = before(("http1", web.address()), ("http1", shadow.address()), ALL, &[&limits]).await;
        let mut client = Client::http1(proxy.outbound(0), "web").await;
        client.get("/").await;
        client.post("/", "body").await;
        copies(&proxy, "timeout", 2.0).await;
    }
}

/// The original is read at the caller's pace, whatever the mirror does; what the mirror does not take is not kept.
#[tokio::test]
async fn a_mirror_that_does_not_read_is_given_up() {
    const SIZE: usize = 48 << 20;
    for (caller, service) in [("http1", "http1"), ("http2", "http1"), ("http1", "http2")] {
        let gate = Gate::closed();
        let deaf = RawBackend::start(Reply::SilentUntil(gate.clone())).await;
        let web = backend(service, "web").await;
        let proxy = before((service, web.address()), ("http1", deaf.address()), ALL, &[]).await;
        let mut client = match caller {
            "http1" => Client::http1(proxy.outbound(0), "web").await,
            _ => Client::http2(proxy.outbound(0), "web").await,
        };
        let answer = client.post("/", vec![b'x'; SIZE]).await;
        assert_eq!(answer.json()["bodyBytes"], SIZE, "{caller} {service}");
        copies(&proxy, "abandoned", 1.0).await;
        gate.open();
        assert_eq!(deaf.wait_end().await, Ended::Reset, "a copy that was cut never looks complete");
        assert!(deaf.received()[0].len() < SIZE / 2, "{}", deaf.received()[0].len());
    }
}

#[tokio::test]
async fn bodies_and_trailers_flow_to_the_mirror_as_they_come() {
    for (service, mirror) in VERSIONS.into_iter().flat_map(|a| VERSIONS.map(|b| (a, b))) {
        let (web, shadow) = (backend(service, "web").await, backend(mirror, "shadow").await);
        shadow.answer(|_| Answer::echo());
        let proxy = before((service, web.address()), (mirror, shadow.address()), ALL, &[]).await;
        let mut client = Client::http2(proxy.outbound(0), "web").await;
        let (feed, body) = fed();
        let mut request = client.request("POST", "/", "").map(|_| body);
        request.headers_mut().insert("trailer", "x-sum".parse().unwrap());
        let answer = tokio::spawn(async move { client.call(request).await.unwrap() });
        feed.send(Frame::data(Bytes::from("first"))).await.unwrap();
        // The mirror has the head, and answers what it has of the body, before the body has ended.
        shadow.wait_requests(1).await;
        feed.send(Frame::data(Bytes::from(vec![7; 100_000]))).await.unwrap();
        let mut fields = HeaderMap::new();
        fields.insert("x-sum", "100005".parse().unwrap());
        feed.send(Frame::trailers(fields)).await.unwrap();
        drop(feed);
        assert_eq!(within("the answer", answer).await.unwrap().json()["bodyBytes"], 100_005);
        copies(&proxy, "success", 1.0).await;
        shadow.answer(|_| Answer::describe());
        let mut client = Client::http2(proxy.outbound(0), "web").await;
        client.post("/again", vec![b'x'; 100_000]).await;
        until("the second copy", || async {
            shadow.seen().iter().any(|seen| seen.complete && seen.body_bytes == 100_000).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_caller_that_breaks_off_takes_its_copy_along() {
    for (service, mirror) in VERSIONS.into_iter().flat_map(|a| VERSIONS.map(|b| (a, b))) {
        let (web, shadow) = (backend(service, "web").await, backend(mirror, "shadow").await);
        let proxy = before((service, web.address()), (mirror, shadow.address()), ALL, &[]).await;
        let mut caller = RawClient::connect(proxy.outbound(0)).await;
        caller.send("POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 10\r\n\r\nhalf").await;
        shadow.wait_requests(1).await;
        web.wait_requests(1).await;
        caller.reset();
        copies(&proxy, "cancelled", 1.0).await;
        assert!(!shadow.last().complete, "{service} {mirror}: a cut copy looks complete");
    }
}

/// Without a body there is nothing to cut: the copy goes its way.
#[tokio::test]
async fn a_copy_without_a_body_outlives_its_caller() {
    let (web, shadow) = (Backend::http1("web").await, Backend::http1("shadow").await);
    web.answer(|_| Answer::fail(Fault::Hang));
    let gate = Gate::closed();
    let held = gate.clone();
    shadow.answer(move |_| Answer::text("late").hold_for(&held));
    let proxy = before(("http1", web.address()), ("http1", shadow.address()), ALL, &[]).await;
    let mut caller = RawClient::connect(proxy.outbound(0)).await;
    caller.send("GET / HTTP/1.1\r\nhost: web\r\n\r\n").await;
    shadow.wait_requests(1).await;
    web.wait_requests(1).await;
    caller.reset();
    web.wait_open_connections(0).await;
    gate.open();
    copies(&proxy, "success", 1.0).await;
}

#[tokio::test]
async fn a_retry_copies_nothing() {
    let (web, shadow) = (Backend::http1("web").await, Backend::http1("shadow").await);
    web.answer(|seen| if seen.index < 2 { Answer::status(503) } else { Answer::describe() });
    let retry = mesh::traffic(
        "web",
        "  retry: {attempts: 3, on: [gateway-error], idempotent: true, backoff: {base: 1ms, max: 2ms}}\n",
    );
    let proxy = before(("http1", web.address()), ("http1", shadow.address()), ALL, &[&retry]).await;
    let mut client = Client::http1(proxy.outbound(0), "web").await;
    let answer = client.post("/", vec![b'x'; 30_000]).await;
    assert_eq!((answer.status.as_u16(), web.requests()), (200, 3));
    copies(&proxy, "success", 1.0).await;
    assert_eq!((shadow.requests(), shadow.last().body_bytes), (1, 30_000));
}

/// A body that its caller holds back until it is asked for reaches the mirror with the original, without the question.
#[tokio::test]
async fn a_body_that_must_be_asked_for_is_copied_once_it_comes() {
    let (web, shadow) = (Backend::http1("web").await, Backend::http1("shadow").await);
    let proxy = before(("http1", web.address()), ("http1", shadow.address()), ALL, &[]).await;
    let mut caller = RawClient::connect(proxy.outbound(0)).await;
    caller.send("POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n").await;
    caller.read_until("100 Continue").await;
    caller.send("body").await;
    caller.read_until("bodyBytes").await;
    copies(&proxy, "success", 1.0).await;
    assert_eq!((shadow.last().body_bytes, shadow.last().header("expect")), (4, ""));
    assert_eq!(web.last().header("expect"), "100-continue");
}

#[tokio::test]
async fn grpc_calls_are_copied_message_by_message() {
    let (web, shadow) = (GrpcService::start().await, GrpcService::start().await);
    let proxy = before(("grpc", web.address()), ("grpc", shadow.address()), ALL, &[]).await;
    let mut client = GrpcClient::connect(proxy.outbound(0), "web").await;
    let unary = client.call(UNARY, &["hello"]).await;
    assert_eq!((unary.messages, unary.status), (vec![Bytes::from("hello")], Some(0)));
    let joined = client.call(CLIENT_STREAM, &["a", "b"]).await;
    assert_eq!((joined.messages, joined.status), (vec![Bytes::from("ab")], Some(0)));
    let mut bidi = client.open(BIDI, &[]).await;
    for n in 0..20 {
        let message = format!("ping {n}");
        bidi.send(&message).await;
        assert_eq!(bidi.message().await.as_deref(), Some(message.as_bytes()));
    }
    bidi.finish();
    assert_eq!(bidi.end().await.status, Some(0));
    copies(&proxy, "success", 3.0).await;
    assert_eq!((web.calls(), shadow.calls()), (3, 3));

    // A call that its caller cancels is cancelled at the mirror as well.
    let mut call = client.open(BIDI, &[]).await;
    call.send("one").await;
    assert_eq!(call.message().await.as_deref(), Some(&b"one"[..]));
    call.cancel();
    until("the copy to be cancelled", || async {
        let metrics = proxy.metrics().await;
        let cancelled = metrics.sum("outrigger_mirror_requests_total", &[("outcome", "cancelled")]);
        (cancelled == 1.0).then_some(())
    })
    .await;
}

/// A mirror that hangs may hold so many copies open and no more, and the next reload finds it gone.
#[tokio::test]
async fn a_mirror_that_hangs_gets_no_more_than_its_bound() {
    let (web, shadow) = (Backend::http1("web").await, Backend::http1("shadow").await);
    shadow.answer(|_| Answer::fail(Fault::Hang));
    let proxy = before(("http1", web.address()), ("http1", shadow.address()), ALL, &[]).await;
    let mut client = Client::http1(proxy.outbound(0), "web").await;
    for _ in 0..300 {
        assert_eq!(client.get("/").await.status, 200);
    }
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.sum("outrigger_mirror_requests_open", &[]), 256.0);
    assert_eq!(metrics.sum("outrigger_mirror_requests_total", &[("outcome", "shed")]), 44.0);
    let service = mesh::service("web", "http1", &[web.address()]);
    proxy.reload(&mesh::pinned("web", &[&service])).await;
    let before = shadow.requests();
    assert_eq!(client.get("/").await.status, 200);
    assert_eq!(shadow.requests(), before);
}

/// Nobody waits for copies when the proxy ends.
#[tokio::test]
async fn open_copies_do_not_hold_the_end() {
    let (web, shadow) = (Backend::http1("web").await, Backend::http1("shadow").await);
    shadow.answer(|_| Answer::fail(Fault::Hang));
    let proxy = before(("http1", web.address()), ("http1", shadow.address()), ALL, &[]).await;
    let mut client = Client::http1(proxy.outbound(0), "web").await;
    assert_eq!(client.get("/").await.status, 200);
    shadow.wait_requests(1).await;
    drop(client);
    let start = Instant::now();
    outrigger_tests::client::post(proxy.admin(), "/drain").await;
    shadow.wait_open_connections(0).await;
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

/// What a mirror answers is read to a bound, so that its connection can be used again, and no further.
#[tokio::test]
async fn answers_are_read_within_a_bound() {
    let (web, shadow) = (Backend::http1("web").await, Backend::http1("shadow").await);
    shadow.answer(|seen| match &*seen.path {
        "/large" => Answer::text(vec![b'x'; 4 << 20]),
        "/huge" => Answer::text(vec![b'x'; 32 << 20]),
        _ => Answer::text("small"),
    });
    let proxy = before(("http1", web.address()), ("http1", shadow.address()), ALL, &[]).await;
    let mut client = Client::http1(proxy.outbound(0), "web").await;
    for n in 1..4 {
        client.get(if n == 2 { "/large" } else { "/" }).await;
        copies(&proxy, "success", f64::from(n)).await;
    }
    assert_eq!(shadow.connections(), 1, "the connection is used again");
    client.get("/huge").await;
    until("the copy to end", || async {
        let metrics = proxy.metrics().await;
        let cut = metrics.sum("outrigger_mirror_requests_total", &[("outcome", "answer_too_long")]);
        (cut == 1.0).then_some(())
    })
    .await;
    shadow.wait_open_connections(0).await;
}

/// `examples/mirror.yaml`, with services behind it.
#[tokio::test]
async fn the_example_does_what_it_says() {
    let (reviews, next) = (Backend::http1("reviews").await, Backend::http1("next").await);
    let addresses = [("127.0.0.1:9001", reviews.address()), ("127.0.0.1:9002", next.address())];
    let proxy = Proxy::start(&mesh::example("mirror.yaml", &addresses)).await;
    let mut client = Client::http1(proxy.outbound(0), "reviews").await;
    for n in 1..=20 {
        assert_eq!(client.get("/stars").await.header("x-backend"), "reviews");
        assert_eq!(client.post("/stars", "5").await.header("x-backend"), "reviews");
        next.wait_requests(n).await;
    }
    assert_eq!(reviews.requests(), 40);
    let gets = next.seen().iter().filter(|seen| seen.method == "GET" && seen.header("x-api") == "2").count();
    assert_eq!(gets, 20);
    assert!(next.requests() < 25, "{}", next.requests());
}
