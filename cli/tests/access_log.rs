//! The access log of the real binary: one JSON line on standard output for each request, to the last one; and the log's
//! level, changed while it runs.

use std::{collections::BTreeMap, fs, net::SocketAddr};

use outrigger_tests::{
    backend::{Answer, Backend, Fault},
    client::{self, Client},
    grpc::{FAIL, GrpcClient, GrpcService, UNARY},
    ports,
    process::Process,
    raw::{Ended, RawBackend, RawClient, Reply},
    wait::until,
};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

struct Running {
    process: Process,
    outbound: SocketAddr,
    inbound: SocketAddr,
    tcp: SocketAddr,
    admin: SocketAddr,
    _folder: TempDir,
}

fn policy(addresses: [SocketAddr; 7]) -> String {
    let [inbound, tcp, outbound, admin, app, echo, gone] = addresses;
    format!(
        r#"apiVersion: outrigger.dev/v1alpha1
kind: Sidecar
metadata: {{name: test, namespace: shop}}
spec:
  inbound: [{{bind: "{inbound}", app: "{app}"}}, {{bind: "{tcp}", app: "{app}", protocol: tcp}}]
  outbound: [{{bind: "{outbound}"}}]
  admin: {{bind: "{admin}"}}
---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {{name: web, namespace: shop}}
spec: {{ports: [{{port: 80}}], endpoints: [{{address: "{app}"}}]}}
---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {{name: echo, namespace: shop}}
spec: {{ports: [{{port: 80, protocol: grpc}}], endpoints: [{{address: "{echo}"}}]}}
---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {{name: gone, namespace: shop}}
spec: {{ports: [{{port: 80}}], endpoints: [{{address: "{gone}"}}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: web, namespace: shop}}
spec:
  parentRefs: [{{group: "", kind: Service, name: web}}]
  rules: [{{name: fine, matches: [{{path: {{value: /fine}}}}], backendRefs: [{{name: web, port: 80}}]}}]
---
apiVersion: outrigger.dev/v1alpha1
kind: TrafficPolicy
metadata: {{name: web, namespace: shop}}
spec: {{targetRefs: [{{kind: Service, name: web}}], timeouts: {{request: 200ms}}}}
---
apiVersion: outrigger.dev/v1alpha1
kind: Mesh
metadata: {{name: default}}
spec:
  egress: {{mode: Deny}}
  telemetry: {{accessLog: {{format: json}}, tracing: {{otlp: "http://{gone}", samplePercent: 0}}}}
"#
    )
}

async fn start(app: SocketAddr, echo: SocketAddr, gone: SocketAddr) -> Running {
    let [inbound, tcp, outbound, admin] = [ports::free(), ports::free(), ports::free(), ports::free()];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.yaml");
    fs::write(&path, policy([inbound, tcp, outbound, admin, app, echo, gone])).unwrap();
    let path = path.display().to_string();
    let arguments = ["proxy", "--workers", "2", "--grace", "2s", "-f", &path];
    let process = Process::start(env!("CARGO_BIN_EXE_outrigger"), arguments, &[]);
    until("the proxy to be ready", || async {
        tokio::net::TcpStream::connect(admin).await.ok()?;
        (client::get(admin, "/ready").await.status == 200).then_some(())
    })
    .await;
    Running { process, outbound, inbound, tcp, admin, _folder: folder }
}

/// The access log's lines by path, after the proxy has ended.
async fn lines(proxy: &mut Running, all: usize) -> BTreeMap<String, Vec<Value>> {
    proxy.process.signal(Signal::INT);
    assert_eq!(proxy.process.exit().await.code(), Some(0), "{}", proxy.process.output());
    let parsed = |output: &str| -> Vec<Value> {
        output.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    // The pipe may hold a little more than what was read of it when the process ended.
    until("every request's line", || async { (parsed(&proxy.process.output()).len() >= all).then_some(()) })
        .await;
    let mut by_path = BTreeMap::<String, Vec<Value>>::new();
    for line in parsed(&proxy.process.output()) {
        by_path.entry(line["path"].as_str().unwrap_or("none").to_owned()).or_default().push(line);
    }
    by_path
}

#[tokio::test]
async fn each_request_has_its_line_with_what_became_of_it() {
    let app = Backend::http1("app").await;
    app.answer(|seen| match &*seen.path {
        "/fine/cut" => {
            Answer::status(200).header("content-length", "10").then("half").then_fail(Fault::Close)
        }
        "/fine/slow" => Answer::fail(Fault::Hang),
        _ => Answer::text("four"),
    });
    let echo = GrpcService::start().await;
    let gone = ports::free();
    let mut proxy = start(app.address(), echo.address(), gone).await;
    let at = proxy.outbound;

    let mut web = Client::http1(at, "web").await;
    let mut request = web.request("POST", "/fine?q=%22x%0a", "12345");
    request.headers_mut().insert("x-request-id", "id-1".parse().unwrap());
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    request.headers_mut().insert("traceparent", parent.parse().unwrap());
    assert_eq!(web.call(request).await.unwrap().status, 200);
    assert_eq!(web.get("/else").await.status, 404);
    assert_eq!(web.get("/fine/slow").await.status, 504);
    let mut cut = Client::http1(at, "web").await;
    let request = cut.request("GET", "/fine/cut", "");
    assert!(cut.call(request).await.is_err(), "the answer is cut");
    let mut http2 = Client::http2(at, "web").await;
    assert_eq!(http2.get("/fine/2").await.status, 200);
    assert_eq!(Client::http1(at, "gone").await.get("/gone").await.status, 503);
    assert_eq!(Client::http1(at, "nobody").await.get("/nobody").await.status, 404);
    assert_eq!(Client::http1(at, "a b").await.get("/bad").await.status, 400);
    assert_eq!(Client::http1(proxy.inbound, "x").await.get("/inbound").await.status, 200);
    let mut grpc = GrpcClient::connect(at, "echo").await;
    assert_eq!(grpc.call(UNARY, &["hello"]).await.status, Some(0));
    let mut failing = grpc.open(FAIL, &[("x-fail", "5")]).await;
    failing.finish();
    assert_eq!(failing.end().await.status, Some(5));
    // Many short connections right before the end: no line is lost with the workers.
    for index in 0..20 {
        Client::http1(at, "web").await.get(&format!("/fine/last/{index}")).await;
    }

    let by_path = lines(&mut proxy, 31).await;
    assert_eq!(by_path.values().map(Vec::len).sum::<usize>(), 31, "one line each: {by_path:#?}");
    let one = |path: &str| match by_path.get(path).map(Vec::as_slice) {
        Some([line]) => line.clone(),
        other => panic!("{path}: {other:?} in {by_path:#?}"),
    };
    let fine = one("/fine?q=%22x%0a");
    for (field, value) in [
        ("side", Value::from("outbound")),
        ("listener", at.to_string().into()),
        ("method", "POST".into()),
        ("authority", "web".into()),
        ("protocol", "HTTP/1.1".into()),
        ("status", 200.into()),
        ("bytes_in", 5.into()),
        ("bytes_out", 4.into()),
        ("attempts", 1.into()),
        ("upstream", app.address().to_string().into()),
        ("service", "shop/web:80".into()),
        ("route", "shop/web/fine".into()),
        ("request_id", "id-1".into()),
        ("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736".into()),
        ("flags", Value::Null),
        ("reason", Value::Null),
    ] {
        assert_eq!(fine[field], value, "{field} of {fine:#}");
    }
    assert!(fine["duration_ms"].as_f64().is_some_and(|took| took > 0.0), "{fine:#}");
    assert_eq!(one("/else")["trace_id"], Value::Null, "it is not recorded");
    // Path, status, flag, reason.
    let failures = [
        ("/else", 404, "NR", "no_route"),
        ("/fine/slow", 504, "UT", "request_timeout"),
        ("/fine/cut", 200, "UR", "upstream_cut"),
        ("/gone", 503, "UF", "connect_failed"),
        ("/nobody", 404, "NR", "no_service"),
        ("/bad", 400, "DPE", "invalid_host"),
    ];
    for (path, status, flag, reason) in failures {
        let line = one(path);
        assert_eq!((&line["status"], &line["flags"]), (&status.into(), &flag.into()), "{line:#}");
        assert_eq!(line["reason"], reason, "{line:#}");
    }
    assert!(one("/fine/slow")["duration_ms"].as_f64().is_some_and(|took| took >= 200.0));
    assert_eq!(one("/gone")["attempts"], 2);
    assert_eq!(one("/fine/2")["protocol"], "HTTP/2");
    assert_eq!(one("/inbound")["side"], "inbound");
    assert_eq!(one("/inbound")["listener"], proxy.inbound.to_string());
    let (good, bad) = (one(UNARY), one(FAIL));
    assert_eq!(
        (&good["grpc_status"], &good["bytes_in"], &good["bytes_out"]),
        (&0.into(), &10.into(), &10.into())
    );
    assert_eq!((&bad["grpc_status"], &bad["status"]), (&5.into(), &200.into()));
}

#[tokio::test]
async fn the_log_level_is_changed_while_it_runs() {
    let app = Backend::http1("app").await;
    let proxy = start(app.address(), app.address(), app.address()).await;
    let level = client::get(proxy.admin, "/logging").await.json()["level"].clone();
    assert_eq!(level, "info");
    let answer = client::post(proxy.admin, "/logging?level=outrigger_proxy%3Ddebug").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    proxy.process.line("log level changed").await;
    assert_ne!(client::get(proxy.admin, "/logging").await.json()["level"], "info");
    for (query, status) in [("", 400), ("?level=loud", 400)] {
        let answer = client::post(proxy.admin, &format!("/logging{query}")).await;
        assert_eq!(answer.status.as_u16(), status, "{query}: {}", answer.text());
    }
    assert_eq!(client::get(proxy.admin, "/ready").await.status, 200);
}

#[tokio::test]
async fn each_connection_that_is_passed_on_whole_has_its_line_also_when_it_is_cut() {
    let app = RawBackend::start(Reply::Echo { greeting: b"hello".to_vec(), farewell: Vec::new() }).await;
    let mut proxy = start(app.address(), app.address(), ports::free()).await;
    let mut ends = RawClient::connect(proxy.tcp).await;
    ends.send("12345").await;
    ends.read_until("hello12345").await;
    ends.finish().await;
    assert_eq!(ends.read_to_end().await.1, Ended::Fin);
    let mut stays = RawClient::connect(proxy.tcp).await;
    stays.read_until("hello").await;

    let lines = lines(&mut proxy, 2).await.remove("none").expect("two lines without a path");
    let fields = ["side", "listener", "protocol", "upstream", "service", "route", "attempts"];
    let both = [
        Value::from("inbound"),
        proxy.tcp.to_string().into(),
        "TCP".into(),
        app.address().to_string().into(),
        "app".into(),
        "default".into(),
        1.into(),
    ];
    assert_eq!(lines.len(), 2, "{lines:#?}");
    for line in &lines {
        assert_eq!(fields.map(|field| line[field].clone()), both, "{line:#}");
        assert!(line["method"].is_null() && line["status"].is_null(), "{line:#}");
    }
    let ended = |line: &Value| ["bytes_in", "bytes_out", "flags", "reason"].map(|field| line[field].clone());
    assert_eq!(ended(&lines[0]), [5.into(), 10.into(), Value::Null, Value::Null]);
    let cut: [Value; 4] = [0.into(), 5.into(), "DR".into(), "drained".into()];
    assert_eq!(ended(&lines[1]), cut);
}
