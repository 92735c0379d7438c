//! Proxies under test: started in this process from policy text, on free ports, and ended with the test.
//!
//! The text goes to a file in a folder of its own, so that a test can edit it as a person would ([`Proxy::reload`]).

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use outrigger_proxy::app::{App, Options, StartError};
use tempfile::TempDir;

use crate::{client, metrics::Metrics, wait::until};

/// A running proxy. Dropping it ends it at once.
pub struct Proxy {
    app: App,
    folder: TempDir,
}

impl Proxy {
    /// Starts a proxy with one worker from this policy.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(policy: &str) -> Self {
        Self::try_start(policy)
            .await
            .unwrap_or_else(|error| panic!("the proxy did not start: {error}\n{policy}"))
    }

    /// Starts a proxy with one worker from this policy, or says why not.
    ///
    /// # Errors
    /// As the proxy's own start.
    pub async fn try_start(policy: &str) -> Result<Self, StartError> {
        Self::with(policy, |options| options).await
    }

    /// Starts a proxy from this policy, with options changed by `change`.
    ///
    /// # Errors
    /// As the proxy's own start.
    pub async fn with(policy: &str, change: impl FnOnce(Options) -> Options) -> Result<Self, StartError> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(policy_file(folder.path()), policy).expect("a temporary file is writable");
        let options = Options {
            workers: Some(1),
            grace: Duration::from_secs(5),
            ..Options::new(vec![policy_file(folder.path())])
        };
        let options = change(options);
        let app =
            tokio::task::spawn_blocking(|| App::start(options)).await.expect("a start does not panic")?;
        Ok(Self { app, folder })
    }

    /// The running proxy itself.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// Where inbound listener number `index` listens.
    ///
    /// # Panics
    /// When the policy has none.
    pub fn inbound(&self, index: usize) -> SocketAddr {
        self.app.inbound(index).expect("the policy has this inbound listener")
    }

    /// Where outbound listener number `index` listens.
    ///
    /// # Panics
    /// When the policy has none.
    pub fn outbound(&self, index: usize) -> SocketAddr {
        self.app.outbound(index).expect("the policy has this outbound listener")
    }

    /// Where the admin API listens.
    pub fn admin(&self) -> SocketAddr {
        self.app.admin()
    }

    /// The policy file.
    pub fn policy(&self) -> PathBuf {
        policy_file(self.folder.path())
    }

    /// Reads the metrics.
    pub async fn metrics(&self) -> Metrics {
        Metrics::scrape(self.admin()).await
    }

    /// The number of the policy in use.
    pub async fn generation(&self) -> f64 {
        self.metrics().await.sum("outrigger_config_generation", &[])
    }

    /// Policy changes that were refused so far.
    pub async fn rejections(&self) -> f64 {
        self.metrics().await.sum("outrigger_config_rejections_total", &[])
    }

    /// What the proxy says about its policy.
    pub async fn config_dump(&self) -> serde_json::Value {
        client::get(self.admin(), "/config_dump").await.json()
    }

    /// Replaces the policy file in one step, without waiting for anything.
    pub fn write(&self, policy: &str) {
        let next = self.folder.path().join("next");
        fs::write(&next, policy).expect("a temporary file is writable");
        fs::rename(next, self.policy()).expect("a temporary file can be renamed");
    }

    /// Replaces the policy and waits until the proxy has taken it up.
    ///
    /// # Panics
    /// When it does not.
    pub async fn reload(&self, policy: &str) {
        let before = self.generation().await;
        self.write(policy);
        until("the new policy to be taken up", || async { (self.generation().await > before).then_some(()) })
            .await;
    }

    /// Replaces the policy and waits until the proxy has refused it.
    ///
    /// # Panics
    /// When it does not.
    pub async fn reload_refused(&self, policy: &str) {
        let before = self.rejections().await;
        self.write(policy);
        until("the new policy to be refused", || async { (self.rejections().await > before).then_some(()) })
            .await;
    }
}

fn policy_file(folder: &Path) -> PathBuf {
    folder.join("policy.yaml")
}

/// A Sidecar `default/test` with one outbound listener that goes by authority, and these documents.
pub fn outbound(documents: &[&str]) -> String {
    sidecar("  outbound:\n  - {bind: \"127.0.0.1:0\"}\n", documents)
}

/// A Sidecar `default/test` with one outbound listener that is pinned to port 80 of `service`, and these documents.
pub fn pinned(service: &str, documents: &[&str]) -> String {
    let listener =
        format!("  outbound:\n  - {{bind: \"127.0.0.1:0\", service: {{name: {service}, port: 80}}}}\n");
    sidecar(&listener, documents)
}

/// A Sidecar `default/test` with one inbound listener before `app`, and these documents. `protocol` is `auto`,
/// `http1`, `http2` or `grpc`.
pub fn inbound(app: SocketAddr, protocol: &str, documents: &[&str]) -> String {
    let listener =
        format!("  inbound:\n  - {{bind: \"127.0.0.1:0\", app: \"{app}\", protocol: {protocol}}}\n");
    sidecar(&listener, documents)
}

/// A MeshService `default/NAME` with port 80 and these endpoints. `protocol` is `http1`, `http2` or `grpc`.
pub fn service(name: &str, protocol: &str, endpoints: &[SocketAddr]) -> String {
    let endpoints: Vec<String> =
        endpoints.iter().map(|address| format!("{{address: \"{address}\"}}")).collect();
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: MeshService\nmetadata: {{name: {name}}}\nspec:\n  \
         ports: [{{port: 80, protocol: {protocol}}}]\n  endpoints: [{}]\n",
        endpoints.join(", ")
    )
}

/// A TrafficPolicy for the Service `default/NAME`; `body` is the rest of its spec, indented by two.
pub fn traffic(name: &str, body: &str) -> String {
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{name: {name}}}\nspec:\n  \
         targetRefs: [{{kind: Service, name: {name}}}]\n{body}"
    )
}

/// An HTTPRoute for the Service `default/NAME`; `rules` is the list of rules, indented by two.
pub fn route(name: &str, rules: &str) -> String {
    route_of("HTTPRoute", name, rules)
}

/// A GRPCRoute for the Service `default/NAME`; `rules` is the list of rules, indented by two.
pub fn grpc_route(name: &str, rules: &str) -> String {
    route_of("GRPCRoute", name, rules)
}

fn route_of(kind: &str, name: &str, rules: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n  \
         parentRefs: [{{group: \"\", kind: Service, name: {name}}}]\n  rules:\n{rules}"
    )
}

/// A file of `examples/`, with any free port for its listeners and these addresses for those that it names.
///
/// # Panics
/// When there is no such file, or it does not name one of the addresses.
pub fn example(name: &str, addresses: &[(&str, SocketAddr)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let admin = "kind: Sidecar\nmetadata: {name: web, namespace: shop}\nspec:\n";
    assert!(text.contains(admin), "{name} has the Sidecar that all examples have");
    let mut text = text
        .replace("127.0.0.1:15001", "127.0.0.1:0")
        .replace(admin, &format!("{admin}  admin: {{bind: \"127.0.0.1:0\"}}\n"));
    for (written, address) in addresses {
        assert!(text.contains(written), "{name} names {written}");
        text = text.replace(written, &address.to_string());
    }
    text
}

/// A Mesh that sends every span to this collector; `more` is the rest of `tracing`, such as `, samplePercent: 1`.
pub fn traced(collector: SocketAddr, more: &str) -> String {
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: Mesh\nmetadata: {{name: default}}\nspec:\n  telemetry:\n    \
         tracing: {{otlp: \"http://{collector}\"{more}}}\n"
    )
}

fn sidecar(listeners: &str, documents: &[&str]) -> String {
    let mut text = format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: Sidecar\nmetadata: {{name: test}}\nspec:\n{listeners}  \
         admin: {{bind: \"127.0.0.1:0\"}}\n"
    );
    for document in documents {
        text.push_str("---\n");
        text.push_str(document);
        if !document.ends_with('\n') {
            text.push('\n');
        }
    }
    text
}
