//! A control plane under test, with a folder and a runtime of its own: it can be killed, and started again at its address.

use std::{net::SocketAddr, path::PathBuf};

use outrigger_config::wire::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node, ResourceType};
use outrigger_control_plane::app::{ControlPlane as Running, Options};
use outrigger_proxy::discovery::client;
use tempfile::TempDir;
use tokio::{runtime::Runtime, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, client::Grpc, codegen::http::uri::PathAndQuery, transport::Channel};
use tonic_prost::ProstCodec;

use crate::{
    metrics::Metrics,
    ports,
    wait::{BOUND, within},
};

/// The one method of discovery.
const METHOD: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// A control plane. Dropping it kills it.
pub struct ControlPlane {
    folder: TempDir,
    runtime: Option<Runtime>,
    discovery: SocketAddr,
    metrics: SocketAddr,
}

impl ControlPlane {
    /// Starts one with these files.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(files: &[(&str, &str)]) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let folder = tempfile::tempdir().expect("a folder for the policy files");
        // It must be free still when the control plane is started again.
        let mut new = Self { folder, runtime: None, discovery: ports::free(), metrics: any };
        files.iter().for_each(|(name, text)| new.write(name, text));
        new.start_again();
        new
    }

    /// Starts it again, at the address that it had.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_again(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a thread");
        let options = Options {
            folder: self.folder.path().to_path_buf(),
            bind: self.discovery,
            metrics: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        let running = {
            let _inside = runtime.enter();
            Running::start(options)
                .unwrap_or_else(|error| panic!("the control plane does not start: {error}"))
        };
        (self.discovery, self.metrics) = (running.discovery, running.metrics);
        self.runtime = Some(runtime);
    }

    /// Ends it at once: its sockets close.
    pub fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Whoever starts it again finds the address free. A thread of a runtime may not wait, so another one does.
            std::thread::scope(|scope| {
                scope.spawn(|| runtime.shutdown_timeout(BOUND));
            });
        }
    }

    /// Where discovery is served.
    pub fn address(&self) -> SocketAddr {
        self.discovery
    }

    /// What a proxy needs to ask it.
    pub fn options(&self, state: Option<PathBuf>) -> client::ControlPlane {
        client::ControlPlane { addresses: vec![format!("http://{}", self.discovery)], state }
    }

    /// Replaces a file of its folder, whole, as an editor does.
    ///
    /// # Panics
    /// When the folder takes no file.
    pub fn write(&self, name: &str, text: &str) {
        let next = self.folder.path().join(".next");
        std::fs::write(&next, text).expect("the folder takes a file");
        std::fs::rename(&next, self.folder.path().join(name)).expect("a file can be replaced");
    }

    /// What it counts.
    pub async fn metrics(&self) -> Metrics {
        Metrics::scrape(self.metrics).await
    }

    /// What it tells a proxy that asks for everything of one type.
    ///
    /// # Panics
    /// When it tells nothing.
    pub async fn told(&self, sidecar: &str, kind: ResourceType) -> DeltaDiscoveryResponse {
        let channel = Channel::from_shared(format!("http://{}", self.discovery)).expect("an address");
        let mut client = Grpc::new(channel.connect().await.expect("it listens"));
        client.ready().await.expect("it is ready");
        let (ask, requests) = mpsc::channel(1);
        let request = DeltaDiscoveryRequest {
            node: Some(Node { id: sidecar.to_owned(), ..Node::default() }),
            type_url: kind.type_url().to_owned(),
            ..DeltaDiscoveryRequest::default()
        };
        ask.send(request).await.expect("there is room for one");
        let codec = ProstCodec::<DeltaDiscoveryRequest, DeltaDiscoveryResponse>::default();
        let stream = Request::new(ReceiverStream::new(requests));
        let opened = client.streaming(stream, PathAndQuery::from_static(METHOD), codec).await;
        let mut answers = opened.expect("a stream").into_inner();
        within("an answer", answers.message()).await.expect("an answer").expect("an answer")
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.kill();
    }
}
