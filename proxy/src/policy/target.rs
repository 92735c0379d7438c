//! Where the attempts of one request may go: the endpoints of a Service port, or one address.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use http::{HeaderMap, Response, Version};
use outrigger_config::model::{AppProtocol, HashOn};
use tokio::time::Instant;

use crate::{
    balance::{Ask, PinnedPeer, Verdict, Visit},
    ctx::APP_CALLER,
    decide::Dice,
    error::Failure,
    policy::{
        circuit_breaker::{self, CircuitBreaker, Entry, Limits, RetryPermit},
        outlier_detection,
    },
    request::strict::Checked,
    runtime::snapshot::Backend,
    telemetry::metrics::BackendMetrics,
    upstream::{attempt::AttemptError, security::Security},
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
    /// The hash by which it is chosen, where the policy hashes.
    pub(crate) key: Option<u64>,
}

/// The chosen endpoint of one attempt.
#[derive(Debug)]
pub(crate) struct Picked {
    /// Where to connect.
    pub(crate) addr: SocketAddr,
    visit: Option<Visit>,
    /// Who an address that no balancing has chosen must prove to be.
    peer: Option<Arc<PinnedPeer>>,
    /// Its way through the circuit breaker of its Service port, where there is one.
    entry: Option<Box<Entry>>,
    /// It is called by mutual TLS: its answers are a sidecar's.
    pub(crate) sidecar: bool,
}

/// What an answer holds until it has ended; it hears how that goes.
#[derive(Debug)]
pub(crate) struct Held {
    /// Where the answer comes from.
    pub(crate) addr: SocketAddr,
    /// Counts the request at its endpoint.
    visit: Option<Visit>,
    entry: Option<Box<Entry>>,
    /// It is a sidecar's, which has proved who it is.
    pub(crate) sidecar: bool,
    /// Counts it as one that is on a repeat.
    _repeat: Option<RetryPermit>,
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
        let mut picked = match self {
            Target::Address { addr, backend, .. } => {
                let own = backend.protection.own.as_ref();
                let peer = own.and_then(|_| backend.endpoints.peer(*addr));
                Picked { addr: *addr, visit: None, peer, entry: None, sidecar: false }
            }
            Target::Service(backend) => {
                let ask =
                    Ask { tried: wish.tried, stay: wish.stay, key: wish.key, now: Instant::now().into_std() };
                let visit = worker
                    .balancer
                    .pick(&backend.endpoints, backend.settings.load_balancer.policy, ask, dice)
                    .ok_or(Failure::NoEndpoint)?;
                Picked { addr: visit.address, visit: Some(visit), peer: None, entry: None, sidecar: false }
            }
        };
        picked.sidecar = self.security(&picked).is_mesh();
        match worker.is_own(picked.addr) {
            true => Err(Failure::Loop),
            false => Ok(picked),
        }
    }

    /// What of a request the choice of an endpoint hashes.
    pub(crate) fn hash_on(&self) -> Option<&HashOn> {
        match self {
            Target::Address { .. } => None,
            Target::Service(backend) => backend.settings.load_balancer.hash_on.as_ref(),
        }
    }

    /// Whether there is an endpoint that was not tried yet.
    pub(crate) fn has_other(&self, tried: &[SocketAddr]) -> bool {
        match self {
            Target::Address { .. } => false,
            Target::Service(backend) => backend.endpoints.load().has_other(tried),
        }
    }

    /// What the endpoints speak, to a caller of this version.
    pub(crate) fn protocol(&self, caller: Version) -> AppProtocol {
        match self {
            Target::Address { protocol, .. } => *protocol,
            Target::Service(backend) => backend.protocol.spoken_to(caller),
        }
    }

    /// How the chosen endpoint is spoken to.
    pub(crate) fn security<'a>(&'a self, picked: &'a Picked) -> Security<'a> {
        match self {
            Target::Service(backend) | Target::Address { backend, .. } => {
                backend.protection.of(picked.peer())
            }
        }
    }

    /// The circuit breaker of its Service port.
    pub(crate) fn circuit_breaker(&self) -> Option<&Arc<CircuitBreaker>> {
        match self {
            Target::Service(backend) | Target::Address { backend, .. } => backend.circuit_breaker.as_ref(),
        }
    }

    /// How much may be open to its Service port, where that is counted.
    pub(crate) fn limits(&self) -> Option<&Arc<Limits>> {
        self.circuit_breaker().map(|breaker| breaker.limits())
    }

    /// The counters of its attempts.
    pub(crate) fn metrics(&self) -> &Arc<BackendMetrics> {
        match self {
            Target::Service(backend) | Target::Address { backend, .. } => &backend.metrics,
        }
    }
}

impl Picked {
    /// Who the endpoint must prove to be, where it speaks mutual TLS.
    pub(crate) fn peer(&self) -> Option<&Arc<PinnedPeer>> {
        match &self.visit {
            Some(visit) => visit.peer.as_ref(),
            None => self.peer.as_ref(),
        }
    }

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

    /// It was let through.
    pub(crate) fn enter(&mut self, entry: Option<Box<Entry>>) {
        self.entry = entry;
    }

    /// Tells the circuit breaker what the attempt came to.
    pub(crate) fn conclude<B>(&mut self, result: &Result<Response<B>, AttemptError>, checked: &Checked) {
        if let Some(entry) = &mut self.entry
            && let Some(verdict) = circuit_breaker::of_attempt(result, checked.grpc)
        {
            entry.conclude(verdict);
        }
    }

    /// What stays until the answer has ended.
    pub(crate) fn into_held(self, repeat: Option<RetryPermit>) -> Held {
        let Self { addr, visit, entry, sidecar, .. } = self;
        Held { addr, visit, entry, sidecar, _repeat: repeat }
    }
}

impl Held {
    /// Bytes of the answer's body came: a gRPC call was answered, and a probe has enough.
    #[inline]
    pub(crate) fn data(&mut self) {
        if let Some(visit) = &self.visit {
            visit.moved();
        }
        if let Some(entry) = &mut self.entry {
            entry.heard();
        }
    }

    /// The trailers of a gRPC answer came.
    pub(crate) fn trailers(&mut self, fields: &HeaderMap) {
        self.tell(outlier_detection::of_trailers(fields));
        if let Some(entry) = &mut self.entry
            && let Some(code) = fields.get("grpc-status")
        {
            entry.conclude(circuit_breaker::of_grpc(code.as_bytes()));
        }
    }

    /// The answer has come whole.
    pub(crate) fn whole(&self) {
        self.tell(Verdict::Whole);
    }

    /// The answer broke off.
    pub(crate) fn broke(&mut self, failure: Failure) {
        let cut = matches!(failure, Failure::UpstreamCut | Failure::UpstreamProtocol);
        if cut {
            self.tell(Verdict::LocalError);
        }
        match &mut self.entry {
            None => {}
            Some(entry) if cut => entry.conclude(circuit_breaker::Verdict::Failure),
            Some(entry) => entry.timed_out(),
        }
    }

    fn tell(&self, verdict: Verdict) {
        if let Some(visit) = &self.visit {
            visit.tell(verdict);
        }
    }
}
