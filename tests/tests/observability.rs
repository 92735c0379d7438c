//! What a running proxy tells from outside: counters that agree with the traffic, the admin API, DNS endpoints.

use std::{net::SocketAddr, path::PathBuf};

use outrigger_proxy::app::{App, Options};
use outrigger_tests::{
    backend::Backend,
    client::{self, Client},
    metrics::Metrics,
    raw, wait,
};
use tempfile::TempDir;

/// A proxy whose policy has one Service for each of `services`: its name and its endpoint.
struct Mesh {
    app: Option<App>,
    policy: PathBuf,
    _files: TempDir,
}

impl Mesh {
    fn start(services: &[(&str, String)]) -> Self {
        let files = tempfile::tempdir().expect("a folder");
        let policy = files.path().join("policy.yaml");
        std::fs::write(&policy, text(services)).expect("a file");
        let mut options = Options::new(vec![policy.clone()]);
        options.workers = Some(2);
        let app = tokio::task::block_in_place(|| App::start(options));
        let app = app.unwrap_or_else(|error| panic!("{error}"));
        Self { app: Some(app), policy, _files: files }
    }

    fn app(&self) -> &App {
        self.app.as_ref().expect("it lives as long as the test")
    }

    fn outbound(&self) -> SocketAddr {
        self.app().outbound(0).expect("a listener")
    }

    async fn metrics(&self) -> Metrics {
        Metrics::scrape(self.app().admin()).await
    }

    async fn dump(&self) -> serde_json::Value {
        client::get(self.app().admin(), "/config_dump").await.json()
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        tokio::task::block_in_place(|| drop(self.app.take()));
    }
}

fn text(services: &[(&str, String)]) -> String {
    let mut text = String::from(
        "apiVersion: outrigger.dev/v1alpha1\nkind: Sidecar\nmetadata: {name: test}\nspec:\n  outbound:\n  \
         - {bind: \"127.0.0.1:0\"}\n  admin: {bind: \"127.0.0.1:0\"}\n",
    );
    for (name, endpoint) in services {
        text += &format!(
            "---\napiVersion: outrigger.dev/v1alpha1\nkind: MeshService\nmetadata: {{name: {name}}}\nspec:\n  \
             ports: [{{port: 80}}]\n  endpoints: [{{{endpoint}}}]\n"
        );
    }
    text
}

fn at(address: SocketAddr) -> String {
    format!("address: \"{address}\"")
}

/// An address that refuses connections.
fn nobody() -> SocketAddr {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("bound")
}

/// The counters agree with what callers saw, and nothing that did not happen is counted.
#[tokio::test(flavor = "multi_thread")]
async fn counters_agree_with_the_traffic() {
    let backend = Backend::http1("good").await;
    let mesh = Mesh::start(&[("good", at(backend.address())), ("dead", at(nobody()))]);
    let mut good = Client::http1(mesh.outbound(), "good").await;
    for _ in 0..7 {
        assert_eq!(good.get("/").await.status, 200);
    }
    let mut dead = Client::http1(mesh.outbound(), "dead").await;
    assert_eq!(dead.get("/").await.status, 503);
    raw::exchange(mesh.outbound(), "this is not HTTP\r\n\r\n").await;

    let metrics = mesh.metrics().await;
    let count = |name, labels: &[(&str, &str)]| metrics.sum(name, labels) as u64;
    let good = [("side", "outbound"), ("service", "default/good:80"), ("code", "200"), ("flag", "-")];
    assert_eq!(count("outrigger_requests_total", &good), 7);
    assert_eq!(count("outrigger_request_duration_seconds_count", &good[..2]), 7);
    assert_eq!(count("outrigger_attempts_total", &[good[1], ("outcome", "success")]), 7);
    assert_eq!(count("outrigger_upstream_connections_total", &[good[1]]), 1, "one connection, reused");
    assert_eq!(count("outrigger_requests_open", &[]), 0);
    let dead = ("service", "default/dead:80");
    assert_eq!(count("outrigger_requests_total", &[dead, ("code", "503"), ("flag", "UF")]), 1);
    let refused = count("outrigger_attempts_total", &[dead, ("outcome", "connect_failed")]);
    assert_eq!(
        refused,
        1 + count("outrigger_retries_total", &[dead]),
        "each attempt after the first is a retry"
    );
    assert_eq!(count("outrigger_attempts_total", &[dead, ("outcome", "success")]), 0);
    assert_eq!(count("outrigger_downstream_parse_errors_total", &[]), 1);
    assert_eq!(count("outrigger_downstream_connections_total", &[("side", "outbound")]), 3);
    assert_eq!(count("outrigger_config_generation", &[]), 1);
    assert!(count("process_resident_memory_bytes", &[]) > 1 << 20);
}

/// A bad edit is shown with its place and changes nothing; the next good one is taken up.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_edit_is_shown_until_a_good_one_comes() {
    let backend = Backend::http1("one").await;
    let services = [("one", at(backend.address()))];
    let mesh = Mesh::start(&services);
    assert_eq!(mesh.dump().await["generation"], 1);
    std::fs::write(&mesh.policy, text(&services).replace("endpoints", "endpoint")).expect("written");
    let rejected = wait::until("the refusal", || async {
        let dump = mesh.dump().await;
        (!dump["rejected"].is_null()).then_some(dump)
    })
    .await;
    let findings = rejected["rejected"]["findings"].as_array().expect("a list");
    let place = |finding: &serde_json::Value| finding["code"] == "OR110" && finding["line"] == 14;
    assert!(findings.iter().any(place), "{rejected:#}");
    assert_eq!(rejected["generation"], 1);
    let metrics = mesh.metrics().await;
    assert_eq!(metrics.sum("outrigger_config_rejections_total", &[]), 1.0);
    assert_eq!(Client::http1(mesh.outbound(), "one").await.get("/").await.status, 200);

    let two = [("one", at(backend.address())), ("two", at(backend.address()))];
    std::fs::write(&mesh.policy, text(&two)).expect("written");
    let applied = wait::until("the next policy", || async {
        let dump = mesh.dump().await;
        (dump["generation"] == 2).then_some(dump)
    })
    .await;
    assert!(applied["rejected"].is_null(), "{applied:#}");
    assert_eq!(Client::http1(mesh.outbound(), "two").await.get("/").await.status, 200);
}

/// The endpoints of a DNS name are there before the proxy is ready, and are shown.
#[tokio::test(flavor = "multi_thread")]
async fn dns_endpoints_are_resolved_before_the_proxy_is_ready() {
    let backend = Backend::http1("named").await;
    let port = backend.address().port();
    let mesh = Mesh::start(&[("named", format!("dns: \"localhost:{port}\""))]);
    assert_eq!(client::get(mesh.app().admin(), "/ready").await.status, 200);
    assert_eq!(Client::http1(mesh.outbound(), "named").await.get("/").await.status, 200);
    let services = client::get(mesh.app().admin(), "/services").await.json();
    let endpoint = &services[0]["ports"][0]["endpoints"][0];
    assert_eq!(endpoint["address"], format!("127.0.0.1:{port}"), "{services:#}");
    assert_eq!(mesh.metrics().await.sum("outrigger_dns_resolutions_total", &[("outcome", "ok")]), 1.0);
}

/// `POST /quit` ends the proxy in order: not ready at once, then gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_can_end_the_proxy() {
    let backend = Backend::http1("one").await;
    let mesh = Mesh::start(&[("one", at(backend.address()))]);
    let (admin, outbound) = (mesh.app().admin(), mesh.outbound());
    assert_eq!(client::get(admin, "/quit").await.status, 405);
    assert_eq!(client::get(admin, "/ready").await.status, 200);
    assert_eq!(client::post(admin, "/quit").await.status, 202);
    wait::within("the end", async { tokio::task::block_in_place(|| mesh.app().wait()) }).await;
    assert_eq!(mesh.app().status().not_ready(), Some("draining"));
    assert!(std::net::TcpStream::connect(outbound).is_err(), "nobody listens any more");
}
