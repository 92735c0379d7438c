//! The end of a proxy: nobody's request is cut, and everybody is told in time.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use outrigger_proxy::drain::Cause;
use outrigger_tests::{
    backend::{Answer, Backend},
    client::{self, Client},
    grpc::{BIDI, GrpcClient, GrpcService},
    proxy::Proxy,
    raw::{Ended, RawClient},
    wait::{Gate, until},
};
use tokio::net::TcpStream;

fn start(app: SocketAddr, protocol: &str, grace: Duration) -> Proxy {
    let policy = format!(
        r#"apiVersion: outrigger.dev/v1alpha1
kind: Sidecar
metadata: {{name: test}}
spec:
  admin: {{bind: "127.0.0.1:0"}}
  inbound: [{{bind: "127.0.0.1:0", app: "{app}", protocol: {protocol}}}]
  outbound: [{{bind: "127.0.0.1:0", service: {{name: web, port: 80}}}}]
---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {{name: web}}
spec: {{ports: [{{port: 80}}], endpoints: [{{address: "{app}"}}]}}
"#
    );
    Proxy::with(&policy, |options| options.grace = grace)
}

async fn is_ready(proxy: &Proxy) -> bool {
    client::get(proxy.admin(), "/ready").await.status == 200
}

/// Waits until nothing listens at `address` any more.
async fn wait_refused(address: SocketAddr) {
    until(&format!("{address} to be closed"), || async {
        TcpStream::connect(address).await.is_err().then_some(())
    })
    .await;
}

/// A backend that holds every request for `/held` until the gate opens.
async fn holding() -> (Backend, Gate) {
    let app = Backend::http1("app").await;
    let gate = Gate::closed();
    let held = gate.clone();
    app.answer(move |seen| match &*seen.path {
        "/held" => Answer::text("late").hold_for(&held),
        _ => Answer::text("now"),
    });
    (app, gate)
}

#[tokio::test]
async fn what_is_open_finishes_and_outbound_closes_last() {
    let (app, gate) = holding().await;
    // Inbound accepts for 2 s more; outbound closes after 6 s at the latest.
    let proxy = start(app.address(), "http1", Duration::from_secs(8));
    let (inbound, outbound) = (proxy.inbound(0), proxy.outbound(0));

    let mut idle = Client::http1(inbound, "app").await;
    assert_eq!(idle.get("/").await.status, 200);
    let mut silent = RawClient::connect(inbound).await;
    let http1 = tokio::spawn(async move {
        let mut client = Client::http1(inbound, "app").await;
        (client.get("/held").await, client)
    });
    let mut shared = Client::http2(inbound, "app").await;
    let mut stream = shared.share();
    let http2 = tokio::spawn(async move { stream.get("/held").await });
    app.wait_requests(3).await;

    assert!(is_ready(&proxy).await);
    proxy.app().drain(Cause::Terminate);
    assert!(!is_ready(&proxy).await, "not ready at once");
    assert_eq!(client::get(proxy.admin(), "/live").await.status, 200, "but alive");
    assert_eq!(client::get(inbound, "/").await.status, 200, "callers who have not noticed are served");
    assert_eq!(idle.get("/").await.status, 200, "on open connections too");

    wait_refused(inbound).await;
    until("the idle connection to be closed", || async { idle.is_closed().then_some(()) }).await;
    assert_eq!(silent.read_to_end().await.1, Ended::Fin);
    // The app still answers what is open, and makes its calls for that.
    assert_eq!(client::get(outbound, "/").await.status, 200, "outbound serves while inbound finishes");
    let refused = shared.request("GET", "/", "");
    assert!(shared.call(refused).await.is_err(), "no new stream after GOAWAY");

    gate.open();
    let (late, http1) = http1.await.expect("the request was not cut");
    assert_eq!((late.text().as_str(), late.header("connection")), ("late", "close"));
    assert_eq!(http2.await.expect("the stream was not cut").text(), "late");
    until("both connections to be closed", || async {
        (http1.is_closed() && shared.is_closed()).then_some(())
    })
    .await;
    proxy.ended().await;
    assert!(TcpStream::connect(outbound).await.is_err(), "nothing listens any more");
}

#[tokio::test]
async fn an_open_stream_works_on_to_its_end() {
    let echo = GrpcService::start().await;
    let proxy = start(echo.address(), "grpc", Duration::from_secs(20));
    let mut client = GrpcClient::connect(proxy.inbound(0), "echo").await;
    let mut call = client.open(BIDI, &[]).await;
    call.send("before").await;
    assert_eq!(call.message().await.as_deref(), Some(&b"before"[..]));
    let inbound = proxy.inbound(0);
    proxy.app().drain(Cause::Interrupt);
    wait_refused(inbound).await;
    for _ in 0..3 {
        call.send("after").await;
        assert_eq!(call.message().await.as_deref(), Some(&b"after"[..]));
    }
    call.finish();
    let outcome = call.end().await;
    assert_eq!((outcome.status, outcome.reset), (Some(0), None));
    proxy.ended().await;
}

#[tokio::test]
async fn the_grace_bounds_what_never_ends() {
    let (app, _gate) = holding().await;
    let proxy = start(app.address(), "http1", Duration::from_secs(2));
    let inbound = proxy.inbound(0);
    let open = tokio::spawn(async move {
        let mut client = Client::http1(inbound, "app").await;
        let request = client.request("GET", "/held", "");
        client.call(request).await
    });
    app.wait_requests(1).await;
    let asked = Instant::now();
    proxy.app().drain(Cause::Terminate);
    proxy.ended().await;
    assert!(asked.elapsed() >= Duration::from_secs(2), "cut after {:?}", asked.elapsed());
    assert!(open.await.expect("no panic").is_err(), "the caller is told by the end of its connection");
}

#[tokio::test]
async fn people_drain_by_post_and_hurry_it_by_quit() {
    let (app, gate) = holding().await;
    let proxy = start(app.address(), "http1", Duration::from_secs(600));
    let inbound = proxy.inbound(0);
    for path in ["/drain", "/quit"] {
        assert_eq!(client::get(proxy.admin(), path).await.status, 405, "{path}");
    }
    assert!(is_ready(&proxy).await, "asking changes nothing");
    let open = tokio::spawn(async move { client::get(inbound, "/held").await });
    app.wait_requests(1).await;

    let asked = Instant::now();
    assert_eq!(client::post(proxy.admin(), "/drain").await.status, 202);
    until("the proxy to be no longer ready", || async { (!is_ready(&proxy).await).then_some(()) }).await;
    assert_eq!(client::get(inbound, "/").await.status, 200);
    assert_eq!(client::post(proxy.admin(), "/quit").await.status, 202);
    wait_refused(inbound).await;
    assert!(asked.elapsed() < Duration::from_secs(5), "nobody new is waited for: {:?}", asked.elapsed());
    gate.open();
    assert_eq!(open.await.expect("the request was not cut").text(), "late");
    proxy.ended().await;
}

#[tokio::test]
async fn a_change_of_policy_during_a_drain_opens_nothing() {
    let (app, gate) = holding().await;
    let proxy = start(app.address(), "http1", Duration::from_secs(600));
    let (inbound, outbound) = (proxy.inbound(0), proxy.outbound(0));
    let open = tokio::spawn(async move { client::get(inbound, "/held").await });
    app.wait_requests(1).await;
    proxy.app().drain(Cause::Interrupt);
    wait_refused(inbound).await;
    let policy = std::fs::read_to_string(proxy.file()).expect("it was written");
    proxy.reload(&policy.replace("name: test", "name: changed")).await;
    assert!(TcpStream::connect(inbound).await.is_err(), "inbound stays closed");
    assert!(proxy.app().inbound(0).is_none(), "and is not opened elsewhere");
    assert_eq!(client::get(outbound, "/").await.status, 200);
    gate.open();
    assert_eq!(open.await.expect("the request was not cut").text(), "late");
    proxy.ended().await;
}
