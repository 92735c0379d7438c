//! Where the attempts of one request may go: the endpoints of a Service port, or one address.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use http::Version;
use outrigger_config::model::AppProtocol;
use tokio::time::Instant;

use crate::{
    balance::{Ask, Verdict, Visit},
    ctx::APP_CALLER,
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
        /// The own address to call from; `None`: the kernel chooses.
        from: Option<IpAddr>,
    },
}

/// What one attempt wishes of its endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wish<'a> {
    /// Not these, where there is another.
    pub(crate) tried: &'a [SocketAddr],
    /// This one before all others, while it is there and was not tried.
    pub(crate) stay: Option<SocketAddr>,
}

/// The chosen endpoint of one attempt.
#[derive(Debug)]
pub(crate) struct Picked {
    /// Where to connect.
    pub(crate) addr: SocketAddr,
    visit: Option<Visit>,
}

impl Target {
    /// The app, where its caller dialled it.
    pub(crate) fn app(addr: SocketAddr, protocol: AppProtocol, backend: Arc<Backend>) -> Self {
        let from = match addr.ip() {
            IpAddr::V4(_) => APP_CALLER.0.into(),
            IpAddr::V6(_) => APP_CALLER.1.into(),
        };
        Self::Address { addr, protocol, backend, from: Some(from) }
    }

    /// The own address to call from; `None`: the kernel chooses.
    pub(crate) fn from(&self) -> Option<IpAddr> {
        match self {
            Target::Service(_) => None,
            Target::Address { from, .. } => *from,
        }
    }

    /// An endpoint for the next attempt.
    pub(crate) fn pick(&self, worker: &Worker, wish: Wish<'_>, dice: &mut Dice) -> Result<Picked, Failure> {
        let picked = match self {
            Target::Address { addr, .. } => Picked { addr: *addr, visit: None },
            Target::Service(backend) => {
                let ask = Ask { tried: wish.tried, stay: wish.stay, now: Instant::now().into_std() };
                let visit = worker
                    .balancer
                    .pick(&backend.endpoints, backend.settings.load_balancer.policy, ask, dice)
                    .ok_or(Failure::NoEndpoint)?;
                Picked { addr: visit.address, visit: Some(visit) }
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
        if let Some(visit) = &self.visit {
            visit.state.observe(elapsed, Instant::now().into_std());
        }
    }

    /// What the attempt has come to, as far as that says something about the endpoint.
    pub(crate) fn tell(&self, verdict: Verdict) {
        if let Some(visit) = &self.visit {
            visit.tell(verdict);
        }
    }

    /// What keeps the request counted at its endpoint, and hears how it ends.
    pub(crate) fn into_visit(self) -> Option<Visit> {
        self.visit
    }
}
