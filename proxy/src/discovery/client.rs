//! A proxy's control plane, from outside: its addresses, the thread that speaks with it, and the policies that come of it.
//!
//! The thread is the client's own: it is there before the proxy has a policy, and so before its runtimes.

mod chores;
mod link;

use std::{path::PathBuf, sync::Arc, time::Duration};

use outrigger_config::model::ObjectName;
use tokio::sync::{mpsc, oneshot};
use tonic::transport::Endpoint;

use self::link::{Client, Told};
use super::{last_known_good::LastKnownGood, local::Change, resources::Held, session::Session};
use crate::{app::StartError, runtime::status::Status, telemetry::metrics::Metrics};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(2);
/// Between two pings, and until an answer: a dead link is found within 20 s.
const PING: Duration = Duration::from_secs(10);
const PONG: Duration = Duration::from_secs(8);

/// Where a proxy's policy comes from that has none of its own.
#[derive(Clone, Debug)]
pub struct ControlPlane {
    /// `http://host:port` of each replica.
    pub addresses: Vec<String>,
    /// Where the policy is kept for the next start; `None`: nowhere.
    pub state: Option<PathBuf>,
}

/// A client at work.
#[derive(Debug)]
pub(crate) struct Discovery {
    changes: mpsc::Receiver<Change>,
    tell: oneshot::Sender<Told>,
}

impl Discovery {
    /// Begins to ask for the policy of a Sidecar.
    ///
    /// # Errors
    /// An address that is none, or a folder that cannot be made.
    pub(crate) fn start(from: &ControlPlane, sidecar: &ObjectName) -> Result<Self, StartError> {
        if from.addresses.is_empty() {
            return Err(StartError::ControlPlane("no address".to_owned()));
        }
        let endpoints =
            from.addresses.iter().map(|address| endpoint(address)).collect::<Result<Vec<_>, _>>()?;
        let kept = from.state.as_ref().map(|folder| {
            LastKnownGood::new(folder, sidecar)
                .map_err(|error| StartError::ControlPlane(format!("{}: {error}", folder.display())))
        });
        let kept = kept.transpose()?;
        let held = kept.as_ref().map(load).unwrap_or_default();
        let (send, changes) = mpsc::channel(1);
        let (tell, told) = oneshot::channel();
        let session = Session::new(sidecar, held);
        let sidecar = sidecar.clone();
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a system that gave a thread gives an event loop");
            runtime.block_on(async {
                let client = Client::new(sidecar, endpoints, (session, kept), (send, told));
                client.run().await;
            });
        };
        let thread = std::thread::Builder::new().name("discovery".to_owned()).spawn(run);
        thread.map_err(StartError::Thread)?;
        Ok(Self { changes, tell })
    }

    /// Waits for the first policy, for ever; `None`: the client has died.
    pub(crate) fn first(&mut self) -> Option<Change> {
        // Who starts a proxy may be inside a runtime, where this thread could not wait.
        std::thread::scope(|scope| scope.spawn(|| self.changes.blocking_recv()).join().ok().flatten())
    }

    /// The policies after the first; the client may tell the proxy's status and metrics from here on.
    pub(crate) fn follow(self, status: Arc<Status>, metrics: Arc<Metrics>) -> mpsc::Receiver<Change> {
        // A client that has died has said so.
        let _ = self.tell.send((status, metrics));
        self.changes
    }
}

fn endpoint(address: &str) -> Result<Endpoint, StartError> {
    let bad =
        |why: &str| StartError::ControlPlane(format!("`{address}`: {why}; such as http://127.0.0.1:15012"));
    let endpoint = Endpoint::from_shared(address.to_owned()).map_err(|error| bad(&error.to_string()))?;
    if endpoint.uri().scheme_str() != Some("http") || endpoint.uri().port().is_none() {
        return Err(bad("it must be http:// with host and port"));
    }
    Ok(endpoint
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .keep_alive_while_idle(true))
}

fn load(kept: &LastKnownGood) -> Held {
    match kept.load() {
        Ok(held) => held.unwrap_or_default(),
        Err(error) => {
            tracing::error!("{}: the kept policy is of no use: {error}", kept.file().display());
            Held::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_http_with_a_port() {
        assert!(endpoint("http://127.0.0.1:15012").is_ok());
        for address in ["127.0.0.1:15012", "https://a:1", "http://a", "", "http://"] {
            let error = endpoint(address).unwrap_err().to_string();
            assert!(error.contains("such as http://127.0.0.1:15012"), "{error}");
        }
    }
}
