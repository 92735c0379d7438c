//! What happens to the policy file, and what of it reaches the traffic: bad edits, ConfigMap swaps, a file that is gone,
//! listeners that come and go, ports that are taken.

use std::{fs, net::SocketAddr, os::unix::fs::symlink, path::Path};

use outrigger_proxy::app::{App, Options};
use outrigger_tests::{
    backend::{Answer, Backend},
    client::{self, Client},
    metrics::Metrics,
    proxy::Proxy,
    raw::{Ended, RawClient},
    wait::{Gate, until},
};
use serde_json::Value;
use tokio::net::TcpStream;

/// A Sidecar with these pinned listeners, and a Service `web` whose answers say `version`.
fn policy(binds: &[&str], backend: SocketAddr, version: &str) -> String {
    let listener = |bind: &&str| {
        format!("  - {{bind: \"{bind}\", service: {{name: web, port: 80}}, allowRemote: true}}\n")
    };
    let listeners: String = binds.iter().map(listener).collect();
    format!(
        r#"apiVersion: outrigger.dev/v1alpha1
kind: Sidecar
metadata: {{name: test}}
spec:
  admin: {{bind: "127.0.0.1:0"}}
  outbound:
{listeners}---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {{name: web}}
spec: {{ports: [{{port: 80}}], endpoints: [{{address: "{backend}"}}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: web}}
spec:
  parentRefs: [{{group: "", kind: Service, name: web}}]
  rules:
  - filters:
    - {{type: ResponseHeaderModifier, responseHeaderModifier: {{set: [{{name: x-version, value: "{version}"}}]}}}}
    backendRefs: [{{name: web, port: 80}}]
"#
    )
}

const ONE: &[&str] = &["127.0.0.1:0"];

async fn version(at: SocketAddr) -> String {
    client::get(at, "/").await.header("x-version").to_owned()
}

/// Waits until the last change is no longer a refused one.
async fn wait_accepted(proxy: &Proxy) {
    until("the refusal to be over", || async {
        proxy.config_dump().await["rejected"].is_null().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_bad_edit_keeps_the_old_policy_and_says_where() {
    let web = Backend::http1("web").await;
    let proxy = Proxy::start(&policy(ONE, web.address(), "1"));
    let bad = policy(ONE, web.address(), "2").replace("backendRefs", "backendRef");
    proxy.write(&bad);
    let dump = proxy.wait_rejection().await;

    let line = 1 + bad.lines().position(|line| line.contains("backendRef")).expect("it is in there");
    let findings = dump["rejected"]["findings"].as_array().expect("findings");
    let place =
        |finding: &Value| finding["code"] == "OR110" && finding["line"] == line && finding["column"] == 5;
    assert!(findings.iter().any(place), "{findings:#?}");
    let text = dump["rejected"]["text"].as_str().unwrap_or_default();
    assert!(text.contains(&format!("policy.yaml:{line}:5: error[OR110]")), "{text}");
    assert!(text.contains("did you mean `backendRefs`?"), "{text}");
    assert_eq!(dump["generation"], 1);
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.sum("outrigger_config_rejections_total", &[]), 1.0);
    assert_eq!(metrics.sum("outrigger_config_generation", &[]), 1.0);
    assert_eq!(version(proxy.outbound(0)).await, "1");
    assert_eq!(client::get(proxy.admin(), "/ready").await.status, 200, "a refused change is no reason to go");

    proxy.write(&policy(ONE, web.address(), "3"));
    wait_accepted(&proxy).await;
    assert_eq!(proxy.generation().await, 2);
    assert_eq!(version(proxy.outbound(0)).await, "3");
}

#[tokio::test]
async fn a_file_that_is_gone_changes_nothing() {
    let web = Backend::http1("web").await;
    let proxy = Proxy::start(&policy(ONE, web.address(), "1"));
    fs::remove_file(proxy.file()).unwrap();
    let dump = proxy.wait_rejection().await;
    assert!(dump["rejected"]["text"].as_str().unwrap_or_default().contains("policy.yaml: No such file"));
    assert_eq!(version(proxy.outbound(0)).await, "1");
    proxy.write(&policy(ONE, web.address(), "1"));
    wait_accepted(&proxy).await;
    assert_eq!(proxy.generation().await, 1, "the same policy is no change");
}

#[tokio::test]
async fn a_config_map_swap_is_one_change() {
    let web = Backend::http1("web").await;
    let folder = tempfile::tempdir().unwrap();
    // As the kubelet does it: files in a folder of their own, and one link that moves.
    let swap = |version: &str| {
        let data = format!("..data-{version}");
        let policy = policy(ONE, web.address(), version);
        let (sidecar, rest) = policy.split_once("---\n").expect("several documents");
        fs::create_dir(folder.path().join(&data)).unwrap();
        fs::write(folder.path().join(&data).join("sidecar.yaml"), sidecar).unwrap();
        fs::write(folder.path().join(&data).join("web.yaml"), rest).unwrap();
        symlink(&data, folder.path().join("..data_tmp")).unwrap();
        fs::rename(folder.path().join("..data_tmp"), folder.path().join("..data")).unwrap();
    };
    swap("1");
    for name in ["sidecar.yaml", "web.yaml"] {
        symlink(Path::new("..data").join(name), folder.path().join(name)).unwrap();
    }
    let app = App::start(Options::new(vec![folder.path().to_path_buf()])).unwrap_or_else(|e| panic!("{e}"));
    let at = app.outbound(0).expect("a listener");
    assert_eq!(version(at).await, "1");
    for (generation, next) in [(2.0, "2"), (3.0, "3")] {
        swap(next);
        until("the swap to be taken up", || async { (version(at).await == next).then_some(()) }).await;
        let now = Metrics::scrape(app.admin()).await.sum("outrigger_config_generation", &[]);
        assert_eq!(now, generation, "each swap is one change");
    }
}

#[tokio::test]
async fn listeners_come_and_go() {
    let web = Backend::http1("web").await;
    let proxy = Proxy::start(&policy(&["127.0.0.1:0"], web.address(), "1"));
    let first = proxy.outbound(0);
    proxy.reload(&policy(&["127.0.0.1:0", "127.0.0.2:0"], web.address(), "2")).await;
    assert_eq!(proxy.outbound(0), first, "a listener that stays keeps its socket");
    let second = proxy.outbound(1);
    assert_eq!(version(second).await, "2");
    let shown = proxy.config_dump().await;
    assert_eq!(shown["listeners"].as_array().map(Vec::len), Some(2), "{shown:#}");

    // One caller between requests, one that has not spoken, one in a request, on the listener that goes.
    let gate = Gate::closed();
    let held = gate.clone();
    web.answer(move |seen| match &*seen.path {
        "/held" => Answer::text("late").hold_for(&held),
        _ => Answer::text("now"),
    });
    let mut idle = Client::http1(second, "web").await;
    assert_eq!(idle.get("/").await.status, 200);
    let mut idle2 = Client::http2(second, "web").await;
    assert_eq!(idle2.get("/").await.status, 200);
    let mut silent = RawClient::connect(second).await;
    let before = web.requests();
    let open = tokio::spawn(async move { Client::http1(second, "web").await.get("/held").await });
    web.wait_requests(before + 1).await;
    let connected = |metrics: &Metrics| {
        metrics.sum("outrigger_downstream_connections_open", &[("listener", &second.to_string())]) == 4.0
    };
    proxy.wait_metrics("all four connections to be served", connected).await;

    proxy.reload(&policy(&["127.0.0.1:0"], web.address(), "3")).await;
    until("the listener to be closed", || async { TcpStream::connect(second).await.is_err().then_some(()) })
        .await;
    until("idle connections to be closed", || async {
        (idle.is_closed() && idle2.is_closed()).then_some(())
    })
    .await;
    assert_eq!(silent.read_to_end().await.1, Ended::Fin);
    gate.open();
    let late = open.await.expect("the request was not cut");
    assert_eq!((late.status.as_u16(), late.text().as_str()), (200, "late"));
    assert_eq!(late.header("connection"), "close");
    assert_eq!(version(first).await, "3");
    let label = second.to_string();
    proxy
        .wait_metrics("the listener's counters to go with it", |metrics| {
            let series = [("listener", label.as_str())];
            metrics.find("outrigger_downstream_connections_open", &series).next().is_none()
        })
        .await;
}

#[tokio::test]
async fn a_port_that_is_taken_refuses_the_whole_change() {
    let web = Backend::http1("web").await;
    let taken = tokio::net::TcpListener::bind("127.0.0.3:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let proxy = Proxy::start(&policy(ONE, web.address(), "1"));
    let wants = policy(&["127.0.0.1:0", "127.0.0.2:0", &address.to_string()], web.address(), "2");
    proxy.write(&wants);
    let dump = proxy.wait_rejection().await;
    let text = dump["rejected"]["text"].as_str().unwrap_or_default();
    assert!(text.contains(&address.to_string()) && text.contains("another process has this port"), "{text}");
    assert_eq!(
        dump["listeners"].as_array().map(Vec::len),
        Some(1),
        "nothing of the change was kept: {dump:#}"
    );
    assert_eq!(dump["generation"], 1);
    assert_eq!(version(proxy.outbound(0)).await, "1", "routes change with listeners or not at all");

    // A bad edit, and back to the change that was refused: it is not in use, so it is no news that it is good.
    proxy.write("kind: [");
    until("the bad edit to be refused", || async {
        let dump = proxy.config_dump().await;
        dump["rejected"]["findings"].as_array().is_some_and(|findings| !findings.is_empty()).then_some(())
    })
    .await;
    proxy.write(&wants);
    until("the taken port to be named again", || async {
        let dump = proxy.config_dump().await;
        dump["rejected"]["text"].as_str().is_some_and(|text| text.contains("another process")).then_some(())
    })
    .await;
    assert_eq!(version(proxy.outbound(0)).await, "1");

    // Back to the policy in use: nothing is refused any more.
    proxy.write(&policy(ONE, web.address(), "1"));
    wait_accepted(&proxy).await;
    assert_eq!(proxy.generation().await, 1);

    // The port is free now.
    drop(taken);
    proxy.reload(&wants).await;
    assert_eq!(version(address).await, "2");
}

#[tokio::test]
async fn a_listener_that_changes_its_address_on_its_port_is_told_why_not() {
    let web = Backend::http1("web").await;
    let bind = outrigger_tests::ports::free();
    let proxy = Proxy::start(&policy(&[&bind.to_string()], web.address(), "1"));
    proxy.write(&policy(&[&format!("0.0.0.0:{}", bind.port())], web.address(), "2"));
    let dump = proxy.wait_rejection().await;
    let text = dump["rejected"]["text"].as_str().unwrap_or_default();
    assert!(text.contains("this proxy itself has this port") && text.contains("restart"), "{text}");
    assert_eq!(version(bind).await, "1");
}

#[tokio::test]
async fn endpoints_move_under_open_connections() {
    let (old, new) = (Backend::http1("old").await, Backend::http1("new").await);
    let proxy = Proxy::start(&policy(ONE, old.address(), "1"));
    let mut caller = Client::http1(proxy.outbound(0), "web").await;
    assert_eq!(caller.get("/").await.header("x-backend"), "old");
    let gate = Gate::closed();
    let held = gate.clone();
    old.answer(move |_| Answer::text("late").hold_for(&held));
    let at = proxy.outbound(0);
    let open = tokio::spawn(async move { Client::http1(at, "web").await.get("/").await });
    old.wait_requests(2).await;

    proxy.reload(&policy(ONE, new.address(), "2")).await;
    let answer = caller.get("/").await;
    assert_eq!((answer.header("x-backend"), answer.header("x-version")), ("new", "2"));
    gate.open();
    let late = open.await.expect("the request was not cut");
    assert_eq!((late.header("x-backend"), late.header("x-version")), ("old", "1"), "one policy to its end");
    assert_eq!(late.text(), "late");
}
