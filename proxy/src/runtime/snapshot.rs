//! The snapshot: everything that requests read of one policy, immutable and compiled.
//!
//! What did not change since the last snapshot is the same `Arc` as there. Live things hang on it by `Arc` too, and are
//! no part of it: endpoint cells and retry budgets outlive it. A backend points at the endpoints of a Service port and
//! never at its routes, so there are no cycles. `build.rs` makes it; nothing else does.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use http::Version;
use outrigger_config::model::{
    self, AppProtocol, InboundProtocol, MeshConfig, ObjectName, Origin, RuleId, ServicePort, Share,
    TrafficSettings,
};

use super::{
    inbound::Inbound,
    opaque::{ConnectionRule, Opaque},
};
use crate::{
    balance::EndpointCell,
    ctx::Side,
    identity::Identity,
    policy::{
        budget::Budget, circuit_breaker::CircuitBreaker, concurrency::Concurrency, cors::Cors,
        fallback::Fallback, fault::Fault, rate_limit::RateLimits, session::Session,
    },
    route::{Modifier, Redirection, RouteTable},
    telemetry::{
        metrics::{BackendMetrics, InboundSecurity, MirrorMetrics, RouteMetrics},
        trace::Tracing,
    },
    upstream::security::Protection,
};

/// Names a listener across snapshots, since a connection may outlive the one it came in under: the address that policy binds, and the how manieth of those with that address it
/// is, since several may ask for any free port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerKey {
    /// Which way its requests go.
    pub side: Side,
    /// The address as policy has it; port 0 is not replaced by the one that was given.
    pub bind: SocketAddr,
    /// From 0, in the order of the policy.
    pub nth: u16,
}

/// One policy, whole.
#[derive(Debug)]
pub struct Snapshot {
    /// 1 for the first, then one more each.
    pub generation: u64,
    /// Mesh-wide settings.
    pub mesh: Arc<MeshConfig>,
    /// What it was built for.
    pub workload: Arc<model::Workload>,
    /// Every destination, sorted by name.
    pub services: Box<[Arc<Service>]>,
    /// Listeners in front of the app.
    pub inbound: Box<[Arc<Inbound>]>,
    /// Listeners for the app's calls.
    pub outbound: Box<[Outbound]>,
    /// Who this proxy is to other sidecars; `None`: nobody, or who only decides has this (then see `workload`).
    pub(crate) identity: Option<Arc<Identity>>,
    /// Whether some rule tells paths apart: then a path with two readings is refused.
    pub path_policy: bool,
    /// Which requests are traced, and how trace context travels; `None`: none are.
    pub(crate) tracing: Option<Tracing>,
    /// Counts and settings of requests that mean no Service.
    pub egress_rule: Arc<Rule>,
    /// The same for connections that are passed on whole.
    pub egress_connections: Arc<ConnectionRule>,
    pub(super) hosts: foldhash::HashMap<Arc<str>, Host>,
    pub(super) cluster_ips: foldhash::HashMap<SocketAddr, Arc<Port>>,
    pub(super) endpoint_addresses: foldhash::HashMap<SocketAddr, Arc<Port>>,
}

impl Snapshot {
    /// The inbound listener of this name.
    pub fn inbound(&self, key: ListenerKey) -> Option<&Arc<Inbound>> {
        self.inbound.iter().find(|listener| listener.key == key)
    }

    /// The outbound listener of this name.
    pub fn outbound(&self, key: ListenerKey) -> Option<&Outbound> {
        self.outbound.iter().find(|listener| listener.key == key)
    }

    /// Whether the listener takes connections that are redirected.
    pub(crate) fn is_intercepted(&self, key: ListenerKey) -> bool {
        match key.side {
            Side::Inbound => self.inbound(key).is_some_and(|listener| listener.source.is_intercepted()),
            Side::Outbound => self.outbound(key).is_some_and(|listener| listener.source.intercepted),
        }
    }

    /// Who answers to a host, written as [`crate::decide::Head::host`] is.
    pub fn by_host(&self, host: &str) -> Option<&Host> {
        self.hosts.get(host)
    }

    /// The Service port with this cluster IP and port.
    pub fn by_cluster_ip(&self, address: SocketAddr) -> Option<&Arc<Port>> {
        self.cluster_ips.get(&address)
    }

    /// The first Service port, by name, that policy lists this endpoint address for. Addresses that names resolve to
    /// are not known here: a name's address may be shared by many hosts.
    pub fn by_endpoint(&self, address: SocketAddr) -> Option<&Arc<Port>> {
        self.endpoint_addresses.get(&address)
    }

    /// The Service of this name.
    pub fn service(&self, name: &ObjectName) -> Option<&Arc<Service>> {
        let at = self.services.binary_search_by(|service| service.source.name.cmp(name)).ok()?;
        self.services.get(at)
    }

    /// The Service port of this name.
    pub fn port(&self, name: &ServicePort) -> Option<&Arc<Port>> {
        self.service(&name.service)?.port(name.port)
    }

    /// Every Service port.
    pub fn ports(&self) -> impl Iterator<Item = &Arc<Port>> {
        self.services.iter().flat_map(|service| &service.ports)
    }
}

/// Who answers to a host.
#[derive(Debug)]
pub struct Host {
    /// The Service.
    pub service: Arc<Service>,
    /// The port that an authority without one means: 80, or the only one. At hand here, so that the common request
    /// need not go by way of the Service.
    pub default_port: Option<Arc<Port>>,
}

/// A destination.
#[derive(Debug)]
pub struct Service {
    /// Its ports, sorted by number.
    pub ports: Box<[Arc<Port>]>,
    /// What it was built from.
    pub source: Arc<model::Destination>,
}

impl Service {
    /// The port of this number.
    pub fn port(&self, number: u16) -> Option<&Arc<Port>> {
        self.ports.iter().find(|port| port.name.port == number)
    }

    /// The port that an authority without one means.
    pub(super) fn default_port(&self) -> Option<&Arc<Port>> {
        match &*self.ports {
            [only] => Some(only),
            _ => self.port(80),
        }
    }
}

/// One port of a destination.
#[derive(Debug)]
pub struct Port {
    /// `namespace/name:port`.
    pub name: ServicePort,
    /// Its own endpoints.
    pub backend: Arc<Backend>,
    /// `None`: no route is attached and `default_rule` holds.
    pub routes: Option<RouteTable>,
    /// Sends to the port's own endpoints with the Service's settings. Requests that no route matches are counted here.
    pub default_rule: Arc<Rule>,
    /// What becomes of connections, where they are passed on whole; then there are no `routes`.
    pub opaque: Option<Opaque>,
    /// What becomes of redirected connections that are not HTTP, where policy does not say what the port speaks.
    pub either: Option<Arc<ConnectionRule>>,
}

impl Port {
    /// Whether its endpoints speak TLS with the callers themselves.
    pub(crate) fn is_tls(&self) -> bool {
        self.opaque.as_ref().is_some_and(|opaque| opaque.default_rule.tls)
    }
}

/// Endpoints, and how to talk to them: what a backendRef points at.
#[derive(Debug)]
pub struct Backend {
    /// Whose endpoints they are; `None`: the app behind an inbound listener, or whatever stands outside.
    pub service: Option<ServicePort>,
    /// The name in logs and metrics: `namespace/name:port`, or `app`, or `egress`.
    pub label: Arc<str>,
    /// What the endpoints speak.
    pub protocol: UpstreamProtocol,
    /// How the endpoints are spoken to.
    pub(crate) protection: Protection,
    /// The settings of this Service port; how to balance is always taken from here.
    pub settings: Arc<TrafficSettings>,
    /// The live endpoints.
    pub endpoints: Arc<EndpointCell>,
    /// What may be open to them, and whether they are called at all; `None`: whatever comes.
    pub(crate) circuit_breaker: Option<Arc<CircuitBreaker>>,
    /// What attempts are counted on.
    pub metrics: Arc<BackendMetrics>,
}

/// What an endpoint speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// The version that the caller spoke.
    AsCaller,
}

impl UpstreamProtocol {
    /// The protocol of a request whose caller speaks this version.
    pub fn spoken_to(self, caller: Version) -> AppProtocol {
        match (self, caller) {
            (Self::Http2, _) | (Self::AsCaller, Version::HTTP_2) => AppProtocol::Http2,
            (Self::Http1 | Self::AsCaller, _) => AppProtocol::Http1,
        }
    }
}

impl From<AppProtocol> for UpstreamProtocol {
    fn from(protocol: AppProtocol) -> Self {
        match protocol {
            AppProtocol::Http1 => Self::Http1,
            AppProtocol::Http2 | AppProtocol::Grpc => Self::Http2,
            // Requests reach a port of TCP by its name; one of TLS takes none.
            AppProtocol::Tcp | AppProtocol::Tls => Self::AsCaller,
        }
    }
}

impl From<InboundProtocol> for UpstreamProtocol {
    fn from(protocol: InboundProtocol) -> Self {
        match protocol {
            InboundProtocol::Auto | InboundProtocol::Tcp | InboundProtocol::Detect => Self::AsCaller,
            InboundProtocol::Http1 => Self::Http1,
            InboundProtocol::Http2 | InboundProtocol::Grpc => Self::Http2,
        }
    }
}

/// A rule: of a route, or the default of a Service port, of an inbound listener or of egress.
#[derive(Debug)]
pub struct Rule {
    /// The route rule; `None`: a default.
    pub id: Option<RuleId>,
    /// What requests of this rule are counted under: `namespace/name:port`, `app` for an inbound listener without Service,
    /// `egress` for what means no Service.
    pub service: Arc<str>,
    /// `namespace/name/rule`, or `default`.
    pub route: Arc<str>,
    /// Where a route rule stands.
    pub origin: Option<Origin>,
    /// Settings of its requests.
    pub settings: Arc<TrafficSettings>,
    /// Changes to the request.
    pub request_headers: Box<[Modifier]>,
    /// Changes to the answer.
    pub response_headers: Box<[Modifier]>,
    /// The answer to all of its requests.
    pub redirect: Option<Box<Redirection>>,
    /// Changes to a request's target.
    pub rewrite: Option<Box<model::Rewrite>>,
    /// Which pages of other origins may use its answers.
    pub(crate) cors: Option<Box<Cors>>,
    /// What the callee lets through; only an inbound listener's rule has limits.
    pub(crate) rate_limits: Option<Box<RateLimits>>,
    /// Counts how requests come; only an inbound listener's rule does, where the proxy has an identity.
    pub(crate) security: Option<Arc<InboundSecurity>>,
    /// How many requests the callee lets in at once; only an inbound listener's rule has a limit.
    pub(crate) concurrency: Option<Box<Concurrency>>,
    /// What is done to its requests on purpose.
    pub(crate) fault: Option<Box<Fault>>,
    /// Keeps callers with the endpoints that answered them first.
    pub(crate) session: Option<Box<Session>>,
    /// Where copies of its requests go.
    pub mirrors: Box<[Mirror]>,
    /// Backends with their shares.
    pub backends: Box<[WeightedBackend]>,
    /// Sum of the weights.
    pub total_weight: u64,
    /// What its requests may spend on repeats. Rules share that of their Service port, unless they have their own.
    pub(crate) budget: Arc<Budget>,
    /// What its requests get that the Service does not answer.
    pub(crate) fallback: Option<Box<Fallback>>,
    /// What requests are counted on.
    pub metrics: Arc<RouteMetrics>,
}

impl Rule {
    /// Every backend that its requests, or copies of them, may go to, that of its fallback included.
    pub(super) fn points_at(&self) -> impl Iterator<Item = &Arc<Backend>> {
        let mirrors = self.mirrors.iter().chain(self.backends.iter().flat_map(|backend| &backend.mirrors));
        let mirrored = mirrors.filter_map(|mirror| mirror.target.as_ref().ok().map(|target| &target.backend));
        let fallback = self.fallback.iter().filter_map(|fallback| fallback.service());
        self.backends
            .iter()
            .filter_map(|backend| backend.target.as_ref().ok())
            .chain(mirrored)
            .chain(fallback)
    }

    /// What its requests are called in traces: the route rule, or the Service where no route is attached.
    pub(crate) fn target(&self) -> &str {
        if self.id.is_some() { &self.route } else { &self.service }
    }

    /// Counts a request's first try into the retry budget.
    pub fn deposit(&self, now: Instant) {
        self.budget.deposit(now);
    }

    /// Takes one repeat out of the retry budget; `false`: it is spent.
    pub fn withdraw(&self, now: Instant) -> bool {
        self.budget.withdraw(now)
    }
}

/// One backend of a rule.
#[derive(Debug)]
pub struct WeightedBackend {
    /// Its share of `Rule::total_weight`.
    pub weight: u32,
    /// The backend, or why there is none: then its share is answered 500.
    pub target: Result<Arc<Backend>, Arc<str>>,
    /// Changes to the request, after the rule's.
    pub request_headers: Box<[Modifier]>,
    /// Changes to the answer, before the rule's.
    pub response_headers: Box<[Modifier]>,
    /// The answer to all requests of this share: then none is forwarded.
    pub redirect: Option<Box<Redirection>>,
    /// Changes to a request's target.
    pub rewrite: Option<Box<model::Rewrite>>,
    /// Which pages of other origins may use its answers; never beside one of the rule.
    pub(crate) cors: Option<Box<Cors>>,
    /// Where copies of this share go.
    pub mirrors: Box<[Mirror]>,
}

/// Where copies of requests go.
#[derive(Debug)]
pub struct Mirror {
    /// How many of the requests are copied.
    pub share: Share,
    /// The backend with the counters of its copies, or why there is none: then nothing is copied.
    pub target: Result<MirrorTarget, Arc<str>>,
}

/// A backend as a mirror.
#[derive(Clone, Debug)]
pub struct MirrorTarget {
    /// Its endpoints, and how to talk to them.
    pub backend: Arc<Backend>,
    /// What copies are counted on.
    pub metrics: Arc<MirrorMetrics>,
}

impl WeightedBackend {
    /// The only backend of a default rule.
    pub(super) fn whole(backend: &Arc<Backend>) -> Self {
        Self {
            weight: 1,
            target: Ok(backend.clone()),
            request_headers: Box::default(),
            response_headers: Box::default(),
            redirect: None,
            rewrite: None,
            cors: None,
            mirrors: Box::default(),
        }
    }
}

/// A listener for the app's calls.
#[derive(Debug)]
pub struct Outbound {
    /// Its name across snapshots.
    pub key: ListenerKey,
    /// Where its requests go.
    pub target: OutboundTarget,
    /// What it was built from.
    pub source: model::OutboundListener,
}

/// Where the requests of an outbound listener go.
#[derive(Debug)]
pub enum OutboundTarget {
    /// Original destination and authority decide.
    ByAuthority,
    /// All to this Service port.
    Pinned(Arc<Port>),
}
