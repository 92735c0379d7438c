//! Trailers across HTTP versions, and answers that depend on where a request would go, over real sockets.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderValue};
use outrigger_proxy::app::{App, Options};
use outrigger_tests::{
    backend::{Answer, Backend},
    client::Client,
    grpc::{GrpcService, UNARY, frame},
    metrics::Metrics,
    raw::RawClient,
    verbatim::Verbatim,
};
use tempfile::TempDir;

/// A proxy with one inbound listener, one pinned outbound listener and one by authority, all for `backend`.
struct Mesh {
    app: Option<App>,
    _files: TempDir,
}

impl Mesh {
    fn start(backend: SocketAddr, protocol: &str) -> Self {
        let policy = format!(
            r#"
apiVersion: outrigger.dev/v1alpha1
kind: Sidecar
metadata: {{name: test}}
spec:
  inbound:
  - {{bind: "127.0.0.1:0", app: "{backend}", protocol: {protocol}}}
  outbound:
  - {{bind: "127.0.0.1:0", service: {{name: backend, port: 80}}}}
  - {{bind: "127.0.0.1:0"}}
  admin: {{bind: "127.0.0.1:0"}}
---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {{name: backend}}
spec:
  ports: [{{port: 80, protocol: {protocol}}}]
  endpoints: [{{address: "{backend}"}}]
"#
        );
        let files = tempfile::tempdir().expect("a folder");
        let path = files.path().join("policy.yaml");
        std::fs::write(&path, policy).expect("a file");
        let mut options = Options::new(vec![path]);
        options.workers = Some(1);
        let app =
            tokio::task::block_in_place(|| App::start(options)).unwrap_or_else(|error| panic!("{error}"));
        Self { app: Some(app), _files: files }
    }

    fn app(&self) -> &App {
        self.app.as_ref().expect("it lives as long as the test")
    }

    /// The listeners whose requests reach the backend.
    fn listeners(&self) -> [SocketAddr; 2] {
        [self.app().inbound(0), self.app().outbound(0)].map(|listener| listener.expect("a listener"))
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        tokio::task::block_in_place(|| drop(self.app.take()));
    }
}

fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(*name, HeaderValue::from_static(value));
    }
    map
}

/// gRPC's trailers are announced to an HTTP/1 caller that takes trailers, and come.
#[tokio::test(flavor = "multi_thread")]
async fn grpc_to_an_http1_caller() {
    let service = GrpcService::start().await;
    let mesh = Mesh::start(service.address(), "grpc");
    let message = frame("hello");
    for to in mesh.listeners() {
        let mut client = RawClient::connect(to).await;
        let head = format!(
            "POST {UNARY} HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\nTE: trailers\r\nContent-Length: {}\r\n\r\n",
            message.len()
        );
        client.send([head.as_bytes(), &message].concat()).await;
        let bytes = client.read_until("\r\ngrpc-status: 0\r\n").await;
        let text = String::from_utf8_lossy(&bytes);
        let head = text.split("\r\n\r\n").next().unwrap_or_default();
        assert!(head.contains("\r\ntrailer: grpc-status, grpc-message, grpc-status-details-bin"), "{text}");
        assert!(head.contains("\r\ntransfer-encoding: chunked"), "{text}");
        assert!(text.contains("hello"), "{text}");
    }
}

/// A caller that takes no trailers gets its answer whole; what it misses is counted.
#[tokio::test(flavor = "multi_thread")]
async fn lost_trailers_are_counted() {
    let service = GrpcService::start().await;
    let mesh = Mesh::start(service.address(), "grpc");
    let message = frame("hello");
    for to in mesh.listeners() {
        let mut client = RawClient::connect(to).await;
        let head = format!(
            "POST {UNARY} HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            message.len()
        );
        client.send([head.as_bytes(), &message].concat()).await;
        let text = String::from_utf8_lossy(&client.read_to_end().await.0).into_owned();
        assert!(text.contains("hello") && text.ends_with("0\r\n\r\n"), "{text}");
        assert!(!text.contains("grpc-status"), "{text}");
    }
    let metrics = Metrics::scrape(mesh.app().admin()).await;
    assert!(metrics.sum("outrigger_trailers_dropped_total", &[]) >= 2.0);
}

/// Between HTTP/2 and HTTP/2, and from HTTP/1 chunks: all trailers but those that may be none.
#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_a_trailer_is_none() {
    let forged = [
        ("x-sum", "1"),
        ("grpc-status", "0"),
        ("x-outrigger-error", "forged"),
        ("x_outrigger_error", "forged"),
        ("x-forwarded-client-cert", "By=x"),
        ("set-cookie", "a=b"),
        ("x-forwarded-for", "6.6.6.6"),
    ];
    let backend = Backend::http2("backend").await;
    backend.answer(move |_| Answer::text("ok").then_trailers(map(&forged)));
    let mesh = Mesh::start(backend.address(), "http2");
    for to in mesh.listeners() {
        let answer = Client::http2(to, "a").await.get("/").await;
        assert_eq!((answer.text().as_str(), answer.trailers), ("ok", map(&forged[..2])));
    }

    let backend = Verbatim::start().await;
    backend.answer(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: 1\r\nhost: b\r\n\r\n",
    );
    let mesh = Mesh::start(backend.address(), "http1");
    for to in mesh.listeners() {
        let answer = Client::http2(to, "a").await.get("/").await;
        assert_eq!((answer.text().as_str(), answer.trailers), ("ok", map(&forged[..1])));
    }
}

/// Trailers above 16 KiB end the stream: the answer never looks complete.
#[tokio::test(flavor = "multi_thread")]
async fn large_trailers_break_the_answer() {
    let backend = Backend::http2("backend").await;
    let large = HeaderValue::from_str(&"v".repeat(17 * 1024)).expect("visible ASCII");
    backend.answer(move |_| {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-large", large.clone());
        Answer::text("ok").then_trailers(trailers)
    });
    let mesh = Mesh::start(backend.address(), "http2");
    for to in mesh.listeners() {
        let mut client = Client::http2(to, "a").await;
        let request = client.request("GET", "/", "");
        assert!(client.call(request).await.is_err());
    }
}

/// A request that would come back to this proxy is refused; headers never decide that.
#[tokio::test(flavor = "multi_thread")]
async fn loops() {
    let backend = Verbatim::start().await;
    let mesh = Mesh::start(backend.address(), "http1");
    let own = mesh.app().outbound(1).expect("a listener");
    for target in [own, mesh.app().outbound(0).expect("a listener")] {
        let answer = Client::http1(own, &target.to_string()).await.get("/").await;
        assert_eq!((answer.status.as_u16(), answer.header("x-outrigger-error")), (508, "loop"));
    }
    // A service may call itself: through its inbound listener, the way ends at the app.
    let itself = mesh.app().inbound(0).expect("a listener").to_string();
    assert_eq!(Client::http1(own, &itself).await.get("/").await.status, 200);
}
