//! Traces into a collector that others wrote: rotel, out of its PyPI wheel, which takes our spans over OTLP/gRPC and writes
//! what it reads in them to its log.
//!
//! `./test` gets the wheel; without it this test is skipped and says so.

use std::collections::BTreeMap;

use outrigger_tests::{
    backend::{Answer, Backend},
    client::Client,
    mesh::{self, Proxy},
    ports,
    process::Process,
    skip,
    wait::until,
};
use tokio::net::TcpStream;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// The spans of rotel's log, by the words that it has for their fields. Attributes are fields too: `Str(x)`, `Int(1)`.
fn spans(log: &str) -> Vec<BTreeMap<String, String>> {
    let mut spans = Vec::new();
    for line in log.lines() {
        if line.starts_with("Span #") {
            spans.push(BTreeMap::new());
        } else if line.starts_with("ResourceSpans #") {
            // The resource's attributes, which stand before the first span, are looked for apart.
            continue;
        } else if let (Some(span), Some((key, value))) = (spans.last_mut(), line.split_once(": ")) {
            let key = key.trim().trim_start_matches("-> ").trim_end();
            span.entry(key.to_owned()).or_insert_with(|| value.to_owned());
        }
    }
    spans
}

#[tokio::test]
async fn rotel_reads_our_spans() {
    if skip::without_wheel("rotel_reads_our_spans", "rotel-agent", "rotel") {
        return;
    }
    let (grpc, http) = (ports::free(), ports::free());
    let folder = tempfile::tempdir().unwrap();
    let arguments = [
        "start".to_owned(),
        format!("--otlp-grpc-endpoint={grpc}"),
        format!("--otlp-http-endpoint={http}"),
        "--exporter=blackhole".to_owned(),
        "--debug-log=traces".to_owned(),
        "--debug-log-verbosity=detailed".to_owned(),
        format!("--pid-file={}", folder.path().join("pid").display()),
    ];
    let rotel = Process::start("rotel-agent", arguments, &[]);
    until("rotel to listen", || async { TcpStream::connect(grpc).await.ok() }).await;

    // One request through two sidecars, repeated by the first; the app answers the second try.
    let app = Backend::http1("app").await;
    app.answer(|seen| if seen.index == 0 { Answer::status(503) } else { Answer::text("ok") });
    let mesh = mesh::traced(grpc, ", samplePercent: 100, resource: {deployment.environment.name: test}");
    let inbound = Proxy::start(&mesh::inbound(app.address(), "auto", &[&mesh])).await;
    let service = mesh::service("web", "http1", &[inbound.inbound(0)]);
    let retry = mesh::traffic("web", "  retry: {attempts: 1, on: [gateway-error]}\n");
    let outbound = Proxy::start(&mesh::pinned("web", &[&service, &retry, &mesh])).await;
    let mut client = Client::http1(outbound.outbound(0), "web").await;
    let mut request = client.request("GET", "/cart?id=7", "");
    request.headers_mut().insert("traceparent", PARENT.parse().unwrap());
    request.headers_mut().insert("tracestate", "vendor=a".parse().unwrap());
    assert_eq!(client.call(request).await.unwrap().status, 200);

    // Outbound: a server span and two client spans. Inbound: a server and a client span for each try.
    let log = until("7 spans in rotel's log", || async {
        let log = rotel.output();
        // An attribute that only the last span of each request has.
        let whole = spans(&log).len() == 7 && log.matches("outrigger.outcome").count() == 4;
        whole.then_some(log)
    })
    .await;
    let spans = spans(&log);
    for span in &spans {
        assert_eq!(span["Trace ID"], PARENT[3..35], "{span:#?}");
        assert_eq!(span["TraceState"], "vendor=a");
        assert_eq!(span["http.request.method"], "Str(GET)");
        let (began, ended) = (&span["Start time"], &span["End time"]);
        assert!(began.parse::<u64>().unwrap() <= ended.parse::<u64>().unwrap());
        // Each is below another one, or below the caller's.
        let above = spans.iter().any(|one| one["ID"] == span["Parent ID"]);
        assert!(above || span["Parent ID"] == PARENT[36..52], "{span:#?}");
    }
    let count = |key: &str, value: &str| spans.iter().filter(|span| span[key] == value).count();
    assert_eq!((count("Kind", "SPAN_KIND_SERVER"), count("Kind", "SPAN_KIND_CLIENT")), (3, 4));
    // The first try as the outbound proxy saw it, and both spans of the inbound one.
    assert_eq!(count("Status code", "STATUS_CODE_ERROR"), 3, "{log}");
    assert_eq!(count("Name", "GET default/web:80"), 3);
    for words in ["service.name: Str(test)", "deployment.environment.name: Str(test)", "outrigger 0.1.0"] {
        assert!(log.contains(words), "{words}\n{log}");
    }
}
