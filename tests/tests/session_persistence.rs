//! Session persistence through real proxies: who has a session stays with its endpoint, by whatever proxy it comes, and
//! gets a new one where it has to. Limits in time are tested with made-up time, beside the code.

use std::{net::SocketAddr, path::PathBuf};

use outrigger_config::SourceFile;
use outrigger_proxy::explain::{Explainer, Outcome, Question, Report};
use outrigger_tests::{
    backend::{Answer, Backend},
    client::{self, Client},
    fault::{Fault, FaultProxy},
    grpc::{GrpcClient, GrpcService, UNARY},
    mesh::{self, Proxy},
};

/// A policy whose `cart` has these endpoints, with one rule; `body` is the rest of the rule.
fn policy(cart: &[SocketAddr], canary: &[SocketAddr], body: &str) -> String {
    let (cart, canary) = (mesh::service("cart", "http1", cart), mesh::service("canary", "http1", canary));
    let rule = format!("  - name: cart\n    matches: [{{path: {{value: /cart}}}}]\n{body}");
    mesh::outbound(&[&cart, &canary, &mesh::route("cart", &rule)])
}

const ONE: &str = "    backendRefs: [{name: cart, port: 80}]\n    sessionPersistence: {sessionName: cart}\n";

fn split(cart: u32, canary: u32) -> String {
    format!(
        "    backendRefs: [{{name: cart, port: 80, weight: {cart}}}, {{name: canary, port: 80, weight: {canary}}}]\n    \
         sessionPersistence: {{sessionName: cart}}\n"
    )
}

async fn backends(names: &[&str]) -> Vec<Backend> {
    let mut all = Vec::new();
    for name in names {
        all.push(Backend::http1(name).await);
    }
    all
}

fn at(backends: &[Backend]) -> Vec<SocketAddr> {
    backends.iter().map(Backend::address).collect()
}

async fn connect(proxy: &Proxy, version: &str) -> Client {
    match version {
        "http1" => Client::http1(proxy.outbound(0), "cart").await,
        _ => Client::http2(proxy.outbound(0), "cart").await,
    }
}

/// A request with this cookie, or without one.
async fn ask(client: &mut Client, cookie: Option<&str>) -> client::Answer {
    let mut request = client.request("GET", "/cart", "");
    if let Some(cookie) = cookie {
        request.headers_mut().insert("cookie", cookie.parse().unwrap());
    }
    client.call(request).await.unwrap()
}

/// `name=token` of the cookie that the answer sets.
fn set(answer: &client::Answer) -> String {
    let value = answer.header("set-cookie");
    let (pair, attributes) = value.split_once("; ").unwrap_or_else(|| panic!("no cookie in {answer:?}"));
    assert_eq!(attributes, "Path=/cart; HttpOnly; SameSite=Lax");
    pair.to_owned()
}

/// Begins a session, and gives its cookie and its backend.
async fn begin(client: &mut Client) -> (String, String) {
    let answer = ask(client, None).await;
    (set(&answer), answer.header("x-backend").to_owned())
}

/// Begins sessions until one is with this backend.
async fn begin_with(client: &mut Client, backend: &str) -> String {
    for _ in 0..1000 {
        let (cookie, with) = begin(client).await;
        if with == backend {
            return cookie;
        }
    }
    panic!("no session with {backend}");
}

/// Asks `times` times; every answer is this backend's and sets nothing.
async fn stays(client: &mut Client, cookie: &str, backend: &str, times: usize) {
    for _ in 0..times {
        let answer = ask(client, Some(cookie)).await;
        assert_eq!((answer.header("x-backend"), answer.header("set-cookie")), (backend, ""));
    }
}

#[tokio::test]
async fn a_caller_stays_by_whatever_proxy_it_comes() {
    let all = backends(&["a", "b", "c"]).await;
    let text = policy(&at(&all), &[], ONE);
    let (one, other) = (Proxy::start(&text).await, Proxy::start(&text).await);
    for version in ["http1", "http2"] {
        let (mut client, mut elsewhere) = (connect(&one, version).await, connect(&other, version).await);
        for _ in 0..10 {
            let (cookie, backend) = begin(&mut client).await;
            stays(&mut client, &cookie, &backend, 10).await;
            stays(&mut elsewhere, &cookie, &backend, 10).await;
        }
    }
    let metrics = one.metrics().await;
    let count = |outcome| {
        metrics.sum("outrigger_sessions_total", &[("outcome", outcome), ("route", "default/cart/cart")])
    };
    assert_eq!((count("new"), count("kept"), count("gone")), (20.0, 200.0, 0.0));
    // The cookie goes on as it came.
    let seen: Vec<String> =
        all.iter().flat_map(Backend::seen).map(|seen| seen.header("cookie").to_owned()).collect();
    assert_eq!(seen.iter().filter(|cookie| cookie.starts_with("cart=")).count(), 400);
}

#[tokio::test]
async fn a_session_outlives_restarts_and_reloads() {
    let all = backends(&["a", "b", "c"]).await;
    let text = policy(&at(&all), &[], ONE);
    let proxy = Proxy::start(&text).await;
    let (cookie, backend) = begin(&mut connect(&proxy, "http1").await).await;
    drop(proxy);
    let proxy = Proxy::start(&text).await;
    stays(&mut connect(&proxy, "http1").await, &cookie, &backend, 10).await;
    let mut turned = at(&all);
    turned.reverse();
    proxy.reload(&policy(&turned, &[], ONE)).await;
    stays(&mut connect(&proxy, "http1").await, &cookie, &backend, 10).await;
}

#[tokio::test]
async fn an_endpoint_that_is_gone_means_a_new_session() {
    let all = backends(&["a", "b"]).await;
    let proxy = Proxy::start(&policy(&at(&all), &[], ONE)).await;
    let mut client = connect(&proxy, "http1").await;
    let cookie = begin_with(&mut client, "a").await;
    proxy.reload(&policy(&at(&all)[1..], &[], ONE)).await;
    let answer = ask(&mut client, Some(&cookie)).await;
    assert_eq!(answer.header("x-backend"), "b");
    let new = set(&answer);
    // The endpoint comes back, and the new session stays where it is.
    proxy.reload(&policy(&at(&all), &[], ONE)).await;
    stays(&mut client, &new, "b", 20).await;
    assert_eq!(proxy.metrics().await.sum("outrigger_sessions_total", &[("outcome", "gone")]), 1.0);
}

#[tokio::test]
async fn a_canary_keeps_its_sessions_whatever_the_weights() {
    let (cart, canary) = (backends(&["v1"]).await, backends(&["v2a", "v2b"]).await);
    let text = |weights: [u32; 2]| policy(&at(&cart), &at(&canary), &split(weights[0], weights[1]));
    let proxy = Proxy::start(&text([3, 1])).await;
    let mut client = connect(&proxy, "http1").await;
    let mut on_canary = 0;
    for _ in 0..400 {
        let (_, with) = begin(&mut client).await;
        on_canary += usize::from(with.starts_with("v2"));
    }
    assert!((60..140).contains(&on_canary), "{on_canary} of 400 new callers, of a share of a quarter");
    let (old, new) = (begin_with(&mut client, "v1").await, begin_with(&mut client, "v2b").await);
    for weights in [[9, 1], [0, 1], [1, 0]] {
        proxy.reload(&text(weights)).await;
        stays(&mut client, &old, "v1", 20).await;
        stays(&mut client, &new, "v2b", 20).await;
    }
    // The canary's endpoint is taken away, and nobody new may go to the canary.
    proxy.reload(&policy(&at(&cart), &at(&canary)[..1], &split(1, 0))).await;
    let answer = ask(&mut client, Some(&new)).await;
    assert_eq!(answer.header("x-backend"), "v1");
    let back = set(&answer);
    // The rule no longer has the canary at all.
    proxy.reload(&policy(&at(&cart), &at(&canary), ONE)).await;
    assert_eq!(set(&ask(&mut client, Some(&new)).await).split('=').next(), Some("cart"));
    stays(&mut client, &back, "v1", 5).await;
}

#[tokio::test]
async fn a_token_that_was_tampered_with_is_replaced() {
    let all = backends(&["a", "b", "c"]).await;
    let proxy = Proxy::start(&policy(&at(&all), &[], ONE)).await;
    let mut client = connect(&proxy, "http1").await;
    let (cookie, backend) = begin(&mut client).await;
    for forged in [&cookie[..cookie.len() - 1], "cart=", "cart=AAAA", &cookie.replace("cart=", "cart=A")] {
        let new = set(&ask(&mut client, Some(forged)).await);
        assert_ne!(new, forged);
    }
    // Other cookies of that name, of some other path, are no reason to forget the session.
    stays(&mut client, &format!("cart=AAAA; {cookie}"), &backend, 10).await;
    assert_eq!(proxy.metrics().await.sum("outrigger_sessions_total", &[("outcome", "invalid")]), 4.0);
}

#[tokio::test]
async fn a_repeat_elsewhere_takes_the_session_along() {
    let all = backends(&["a", "b"]).await;
    let relay = FaultProxy::to(all[0].address()).await;
    let retry =
        mesh::traffic("cart", "  retry: {attempts: 2, on: [reset], backoff: {base: 1ms, max: 1ms}}\n");
    let text = policy(&[relay.address(), all[1].address()], &[], ONE) + "---\n" + &retry;
    let proxy = Proxy::start(&text).await;
    let mut client = connect(&proxy, "http1").await;
    let cookie = begin_with(&mut client, "a").await;
    stays(&mut client, &cookie, "a", 5).await;
    relay.set_once(Fault::ResetAfterUp(0));
    all[0].reset_all();
    all[0].wait_open_connections(0).await;
    let answer = ask(&mut client, Some(&cookie)).await;
    assert_eq!(answer.header("x-backend"), "b");
    let moved = set(&answer);
    stays(&mut client, &moved, "b", 10).await;
    assert_eq!(proxy.metrics().await.sum("outrigger_sessions_total", &[("outcome", "moved")]), 1.0);
}

#[tokio::test]
async fn what_the_upstream_sets_stays_beside_it_and_failures_begin_nothing() {
    let all = backends(&["a"]).await;
    all[0].answer(|_| Answer::status(200).header("set-cookie", "app=1; Path=/"));
    let proxy = Proxy::start(&policy(&at(&all), &[], ONE)).await;
    let mut client = connect(&proxy, "http1").await;
    let answer = ask(&mut client, None).await;
    let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert_eq!((cookies.len(), cookies[0].to_str().unwrap()), (2, "app=1; Path=/"));
    assert!(cookies[1].to_str().unwrap().starts_with("cart="));
    proxy.reload(&policy(&[], &[], ONE)).await;
    let answer = ask(&mut client, None).await;
    assert_eq!((answer.status.as_u16(), answer.header("set-cookie")), (503, ""));
}

fn explained(text: &str, cookie: Option<&str>) -> Report {
    let file = SourceFile { path: "policy.yaml".to_owned(), text: text.as_bytes().to_vec() };
    let checked = outrigger_config::check(vec![file]);
    let resources = checked.policy.expect("a valid policy").compile(None).expect("one Sidecar");
    let mut question = Question::new("GET", "http://cart/cart").unwrap();
    if let Some(cookie) = cookie {
        question.header("cookie", cookie).unwrap();
    }
    Explainer::new(resources).unwrap().explain(&question).unwrap()
}

#[tokio::test]
async fn explain_tells_what_happens_to_a_session() {
    let (cart, canary) = (backends(&["v1"]).await, backends(&["v2a", "v2b"]).await);
    let text = policy(&at(&cart), &at(&canary), &split(9, 1));
    let proxy = Proxy::start(&text).await;
    let mut client = connect(&proxy, "http1").await;
    let cookie = begin_with(&mut client, "v2b").await;
    stays(&mut client, &cookie, "v2b", 3).await;

    let report = explained(&text, Some(&cookie));
    let session = report.session.as_ref().expect("the rule has sessions");
    assert_eq!((session.outcome, session.given.is_none()), ("kept", true));
    assert_eq!(session.endpoint, Some(canary[1].address().to_string()));
    assert_eq!(report.outcome, Outcome::Forward { backend: "default/canary:80".to_owned() });
    let shown = report.to_text(false);
    assert!(shown.contains(&format!("its session stays with {}", canary[1].address())), "{shown}");
    assert!(shown.contains("kept: it stays with"), "{shown}");

    let new = explained(&text, None);
    assert_eq!((new.session.as_ref().unwrap().outcome, new.outcome), ("new", Outcome::Split));
    let given = new.session.unwrap().given.expect("a new session");
    assert_eq!(given, ("set-cookie".to_owned(), "cart=...; Path=/cart; HttpOnly; SameSite=Lax".to_owned()));

    let gone = policy(&at(&cart), &at(&canary)[..1], &split(1, 0));
    proxy.reload(&gone).await;
    let report = explained(&gone, Some(&cookie));
    assert_eq!(report.session.as_ref().unwrap().outcome, "gone");
    assert_eq!(report.outcome, Outcome::Forward { backend: "default/cart:80".to_owned() });
    assert_eq!(ask(&mut client, Some(&cookie)).await.header("x-backend"), "v1");
}

/// `examples/session-persistence.yaml`, with these services.
fn example(addresses: &[(&str, SocketAddr)]) -> String {
    mesh::example("session-persistence.yaml", addresses)
}

#[tokio::test]
async fn the_example_keeps_carts_and_searches_where_they_are() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/session-persistence.yaml");
    assert!(path.exists());
    let carts = backends(&["one", "two", "canary"]).await;
    let searches = [GrpcService::start().await, GrpcService::start().await];
    let text = example(&[
        ("127.0.0.1:9001", carts[0].address()),
        ("127.0.0.1:9002", carts[1].address()),
        ("127.0.0.1:9003", carts[2].address()),
        ("127.0.0.1:9011", searches[0].address()),
        ("127.0.0.1:9012", searches[1].address()),
    ]);
    let (proxy, other) = (Proxy::start(&text).await, Proxy::start(&text).await);
    let mut client = Client::http1(proxy.outbound(0), "cart").await;
    let answer = client.get("/items/1").await;
    let (cookie, attributes) = answer.header("set-cookie").split_once("; ").expect("a cookie");
    assert!(cookie.starts_with("cart-session="), "{cookie}");
    assert_eq!(attributes, "Path=/; Max-Age=86400; HttpOnly; SameSite=Lax");
    for _ in 0..20 {
        assert_eq!(ask(&mut client, Some(cookie)).await.header("x-backend"), answer.header("x-backend"));
    }

    let mut caller = GrpcClient::connect(proxy.outbound(0), "search:50051").await;
    let first = caller.call(UNARY, &["page 1"]).await;
    assert_eq!(first.status, Some(0));
    let token = first.headers["x-search-session"].to_str().unwrap().to_owned();
    let with = usize::from(searches[1].calls() == 1);
    let mut elsewhere = GrpcClient::connect(other.outbound(0), "search:50051").await;
    for number in 0..20 {
        let caller = if number % 2 == 0 { &mut caller } else { &mut elsewhere };
        let mut call = caller.open(UNARY, &[("x-search-session", &token)]).await;
        call.send("the next page").await;
        call.finish();
        let outcome = call.end().await;
        assert_eq!((outcome.status, outcome.headers.get("x-search-session")), (Some(0), None));
    }
    assert_eq!((searches[with].calls(), searches[1 - with].calls()), (21, 0));
}
