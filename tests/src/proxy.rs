//! A proxy under test, in this process: started from a policy text, its policy file replaced as an editor would.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use outrigger_proxy::app::{App, Options, StartError};
use tempfile::TempDir;

use crate::{
    client,
    metrics::Metrics,
    wait::{until, within},
};

/// A running proxy with a policy file of its own. Dropping it ends it at once.
pub struct Proxy {
    app: Arc<App>,
    folder: TempDir,
}

impl Proxy {
    /// Starts a proxy with two workers.
    ///
    /// # Panics
    /// With the report, when the policy is refused.
    pub fn start(policy: &str) -> Self {
        Self::with(policy, |_| {})
    }

    /// Starts a proxy with two workers and whatever else `change` sets.
    ///
    /// # Panics
    /// With the report, when the policy is refused.
    pub fn with(policy: &str, change: impl FnOnce(&mut Options)) -> Self {
        Self::try_with(policy, change).unwrap_or_else(|error| panic!("the proxy does not start: {error}"))
    }

    /// Starts a proxy, or tells why it does not.
    pub fn try_with(policy: &str, change: impl FnOnce(&mut Options)) -> Result<Self, StartError> {
        let folder = tempfile::tempdir().expect("a folder for the policy file");
        let path = folder.path().join("policy.yaml");
        std::fs::write(&path, policy).expect("the folder takes a file");
        let mut options = Options::new(vec![path]);
        options.workers = Some(2);
        change(&mut options);
        Ok(Self { app: Arc::new(App::start(options)?), folder })
    }

    /// The proxy itself.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// The policy file.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("policy.yaml")
    }

    /// Replaces the policy file, whole, as an editor does.
    pub fn write(&self, policy: &str) {
        let next = self.folder.path().join(".policy.next");
        std::fs::write(&next, policy).expect("the folder takes a file");
        std::fs::rename(&next, self.file()).expect("a file can be replaced");
    }

    /// Replaces the policy file and waits until the new policy is in use.
    pub async fn reload(&self, policy: &str) {
        let next = self.generation().await + 1;
        self.write(policy);
        self.wait_generation(next).await;
    }

    /// Inbound listener number `index`.
    ///
    /// # Panics
    /// When the policy has none of that number.
    pub fn inbound(&self, index: usize) -> SocketAddr {
        self.app.inbound(index).unwrap_or_else(|| panic!("no inbound listener {index}"))
    }

    /// Outbound listener number `index`.
    ///
    /// # Panics
    /// When the policy has none of that number.
    pub fn outbound(&self, index: usize) -> SocketAddr {
        self.app.outbound(index).unwrap_or_else(|| panic!("no outbound listener {index}"))
    }

    /// The admin API.
    pub fn admin(&self) -> SocketAddr {
        self.app.admin()
    }

    /// Scrapes `/metrics`.
    pub async fn metrics(&self) -> Metrics {
        Metrics::scrape(self.admin()).await
    }

    /// Scrapes until `holds`: what happened on a worker is seen a moment later here.
    pub async fn wait_metrics(&self, what: &str, holds: impl Fn(&Metrics) -> bool) -> Metrics {
        until(what, || async { Some(self.metrics().await).filter(&holds) }).await
    }

    /// The number of the policy in use, from `/metrics`.
    pub async fn generation(&self) -> u64 {
        self.metrics().await.sum("outrigger_config_generation", &[]) as u64
    }

    /// Waits until the policy in use has this number.
    ///
    /// # Panics
    /// When it has a later one, or when a change was refused meanwhile.
    pub async fn wait_generation(&self, generation: u64) {
        until(&format!("generation {generation}"), || async {
            if let Some(rejected) = self.app.status().rejection() {
                panic!("refused instead of taken up as generation {generation}: {}", rejected.text);
            }
            let now = self.generation().await;
            assert!(now <= generation, "generation {now} instead of {generation}");
            (now == generation).then_some(())
        })
        .await;
    }

    /// Waits until the proxy has ended by itself.
    pub async fn ended(&self) {
        let app = self.app.clone();
        let (send, ended) = tokio::sync::oneshot::channel();
        // A thread of its own: the test's runtime would wait for one of its pool even when the test has failed.
        std::thread::spawn(move || {
            app.wait();
            let _ = send.send(());
        });
        within("the proxy to end", ended).await.expect("the thread tells before it ends");
    }

    /// `/config_dump`.
    pub async fn config_dump(&self) -> serde_json::Value {
        client::get(self.admin(), "/config_dump").await.json()
    }

    /// Waits until a change is refused, and gives `/config_dump` with the refusal in it.
    pub async fn wait_rejection(&self) -> serde_json::Value {
        until("a change to be refused", || async {
            let dump = self.config_dump().await;
            dump["rejected"].is_object().then_some(dump)
        })
        .await
    }
}
