//! Where the attempts of one request may go: the endpoints of a Service port, or one address.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::Version;
use outrigger_config::model::AppProtocol;
use tokio::time::Instant;

use crate::{
    balance::{Ask, Endpoint, OpenRequest},
    decide::Dice,
    error::Failure,
    runtime::snapshot::Backend,
    telemetry::metrics::BackendMetrics,
    upstream::tls::Outward,
    worker::Worker,
};

/// Where attempts may go.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// The current endpoints of a Service port.
    Service(Arc<Backend>),
    /// One address that no balancing chooses.
    Address {
        /// Where to connect.
        addr: SocketAddr,
        /// What is spoken there.
        protocol: AppProtocol,
        /// Whose address it is: its TLS and its counters.
        backend: Arc<Backend>,
    },
}

/// The chosen endpoint of one attempt.
#[derive(Debug)]
pub(crate) struct Picked {
    /// Where to connect.
    pub(crate) addr: SocketAddr,
    endpoint: Option<(Arc<Endpoint>, OpenRequest)>,
}

impl Target {
    /// An endpoint for the next attempt: another one than those in `tried` where there is one.
    pub(crate) fn pick(
        &self,
        worker: &Worker,
        tried: &[SocketAddr],
        dice: &mut Dice,
    ) -> Result<Picked, Failure> {
        let picked = match self {
            Target::Address { addr, .. } => Picked { addr: *addr, endpoint: None },
            Target::Service(backend) => {
                let ask = Ask { tried, now: Instant::now().into_std() };
                let endpoint = worker
                    .balancer
                    .pick(&backend.endpoints, backend.settings.load_balancer.policy, ask, dice)
                    .ok_or(Failure::NoEndpoint)?;
                let open = endpoint.state.begin();
                Picked { addr: endpoint.address, endpoint: Some((endpoint, open)) }
            }
        };
        match worker.is_own(picked.addr) {
            true => Err(Failure::Loop),
            false => Ok(picked),
        }
    }

    /// Whether there is an endpoint that was not tried yet.
    pub(crate) fn has_other(&self, tried: &[SocketAddr]) -> bool {
        match self {
            Target::Address { .. } => false,
            Target::Service(backend) => {
                backend.endpoints.load().endpoints().iter().any(|endpoint| !tried.contains(&endpoint.address))
            }
        }
    }

    /// What the endpoints speak, to a caller of this version.
    pub(crate) fn protocol(&self, caller: Version) -> AppProtocol {
        match self {
            Target::Address { protocol, .. } => *protocol,
            Target::Service(backend) => backend.protocol.spoken_to(caller),
        }
    }

    /// TLS to the endpoints; `None`: plaintext.
    pub(crate) fn tls(&self) -> Option<&Outward> {
        match self {
            Target::Service(backend) | Target::Address { backend, .. } => backend.tls.as_deref(),
        }
    }

    /// The counters of its attempts.
    pub(crate) fn metrics(&self) -> &Arc<BackendMetrics> {
        match self {
            Target::Service(backend) | Target::Address { backend, .. } => &backend.metrics,
        }
    }
}

impl Picked {
    /// Feeds the balancer with the time to an answer's head.
    pub(crate) fn observe(&self, elapsed: Duration) {
        if let Some((endpoint, _)) = &self.endpoint {
            endpoint.state.observe(elapsed, Instant::now().into_std());
        }
    }

    /// What keeps the request counted at its endpoint.
    pub(crate) fn into_open(self) -> Option<OpenRequest> {
        self.endpoint.map(|(_, open)| open)
    }
}
