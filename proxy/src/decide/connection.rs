//! What happens to a connection: whether it carries requests, or is passed on whole, and where to. Pure.
//!
//! The data path and `explain` call [`connection`]. It is asked when a connection is accepted, before a byte was read,
//! so that a protocol in which the server speaks first works; where the first bytes decide, it says so and is asked
//! again. Two answers of one connection may come from two policies only if the second one decides everything.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use outrigger_config::{SpiffeId, model::Egress};

use super::{Claim, Dice, Purpose, Recorder, Resolution, Way};
use crate::{
    balance::PinnedPeer,
    ctx::Side,
    error::Failure,
    runtime::{
        inbound::{Connections, Inbound},
        opaque::{ConnectionRoutes, ConnectionRule, Opaque},
        snapshot::{Backend, ListenerKey, OutboundTarget, Port, Snapshot},
    },
    upstream::security::{Means, Security, Why},
};

/// The port that a TLS client means which names a server and no port: it was told to call `https`.
const TLS_PORT: u16 = 443;

/// What is known of a connection.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionFacts<'a> {
    /// The address that the caller dialled, where traffic is redirected to us.
    pub original_destination: Option<SocketAddr>,
    /// The caller's address.
    pub peer: IpAddr,
    /// Who the caller has proved to be; `None`: it is anonymous.
    pub identity: Option<&'a SpiffeId>,
    /// What the caller has said.
    pub heard: Heard<'a>,
    /// Drives every random choice of this connection, by splitting: see [`Dice`].
    pub dice: u64,
}

/// What a caller's first bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// Nothing was read yet.
    Nothing,
    /// A ClientHello, with the server name that it may have.
    Tls(Option<&'a str>),
    /// Neither HTTP nor a ClientHello, or none that came in time.
    Other,
}

/// What happens to a connection.
#[derive(Clone, Debug)]
pub enum Opening {
    /// It carries HTTP: [`super::decide`] is asked for each request.
    Http,
    /// The ClientHello decides: it is to be read, and the question asked again.
    ReadHello,
    /// Nobody has declared what it speaks: it carries HTTP if its first bytes say so, and comes to this if not, a server
    /// that speaks first included.
    Detect(Box<Opening>),
    /// A proxy of the mesh begins with a ClientHello, which is waited for; it comes to this if there is none.
    Await(Box<Opening>),
    /// Its bytes are passed on.
    Pass(Passage),
    /// It is ended.
    Refuse {
        /// Why.
        failure: Failure,
        /// Under whose name it is counted.
        rule: Arc<ConnectionRule>,
    },
}

/// Where a connection's bytes go.
#[derive(Clone, Debug)]
pub struct Passage {
    /// Settings and metrics.
    pub rule: Arc<ConnectionRule>,
    /// Where to.
    pub to: PassTo,
}

/// Where a passage leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PassTo {
    /// Endpoints of this backend of the rule.
    Backend(usize),
    /// The app, where the caller itself has dialled it.
    App(SocketAddr),
    /// The address that the caller itself has dialled.
    Address {
        /// Where to.
        address: SocketAddr,
        /// No Service means it, and egress is in `Log` mode: one log line.
        log: bool,
    },
    /// A host that no Service names.
    Host {
        /// The host.
        host: Box<str>,
        /// Its port.
        port: u16,
        /// Egress is in `Log` mode: one log line.
        log: bool,
    },
}

impl Passage {
    /// The backend whose endpoints are balanced over, or under whose name a single address is called.
    pub fn backend(&self) -> &Arc<Backend> {
        let index = match self.to {
            PassTo::Backend(index) => index,
            PassTo::App(_) | PassTo::Address { .. } | PassTo::Host { .. } => 0,
        };
        // A backend is chosen only if it resolved, and the rule of a single address is a default one, whose only
        // backend exists.
        self.rule.backends[index].target.as_ref().expect("the backend of a passage exists")
    }

    /// How the endpoint with this peer is spoken to, on a connection that was decided by what it said. TLS of the caller's
    /// own goes through as it is: a host outside gets no other around it, a sidecar does.
    pub(crate) fn security<'a>(
        &'a self,
        heard: Heard<'_>,
        peer: Option<&'a Arc<PinnedPeer>>,
    ) -> Security<'a> {
        match self.backend().protection.of(peer) {
            Means::Outward(_) if self.is_tls(heard) => Means::Plain(Why::CallersTls),
            security => security,
        }
    }

    /// Whether the caller speaks TLS of its own.
    pub(crate) fn is_tls(&self, heard: Heard<'_>) -> bool {
        self.rule.tls || matches!(heard, Heard::Tls(_))
    }
}

/// Decides a connection that came in by `listener`. The recorder hears every step.
pub fn connection<R: Recorder>(
    snapshot: &Snapshot,
    listener: ListenerKey,
    facts: &ConnectionFacts<'_>,
    recorder: &mut R,
) -> Opening {
    let Some(target) = Target::of(snapshot, listener) else {
        recorder.resolved(Resolution::NoListener);
        return refuse(Failure::NoPolicy, &snapshot.egress_connections);
    };
    match target {
        Target::Pinned(Port { opaque: None, .. }) => Opening::Http,
        Target::App(listener) => to_app(snapshot, listener, facts, recorder),
        Target::Pinned(port @ Port { opaque: Some(opaque), .. }) => {
            recorder.resolved(Resolution::Pinned(&port.name));
            to_port(opaque, facts, recorder)
        }
        Target::Open => {
            recorder.passed(Way::Listener);
            match facts.original_destination {
                Some(address) => by_address(snapshot, address, facts, recorder),
                None => by_name(snapshot, facts, recorder),
            }
        }
    }
}

/// What a listener is for.
enum Target<'a> {
    /// The app behind an inbound listener.
    App(&'a Inbound),
    Pinned(&'a Port),
    /// The connection says itself where it goes.
    Open,
}

impl<'a> Target<'a> {
    fn of(snapshot: &'a Snapshot, key: ListenerKey) -> Option<Self> {
        match key.side {
            Side::Inbound => snapshot.inbound(key).map(|listener| Self::App(listener)),
            Side::Outbound => snapshot.outbound(key).map(|listener| match &listener.target {
                OutboundTarget::Pinned(port) => Self::Pinned(port),
                OutboundTarget::ByAuthority => Self::Open,
            }),
        }
    }
}

/// A caller of the app.
fn to_app<R: Recorder>(
    snapshot: &Snapshot,
    listener: &Inbound,
    facts: &ConnectionFacts<'_>,
    recorder: &mut R,
) -> Opening {
    let Some(app) = listener.app(facts.original_destination) else {
        recorder.resolved(Resolution::NotRedirected);
        return undeclared(facts, refuse(Failure::Loop, &snapshot.egress_connections));
    };
    let refused = app.refuses(facts.identity);
    let rule = match &app.connections {
        // Each request is told by itself why it is refused; what carries none cannot be.
        Connections::Requests(_) if !refused || facts.heard == Heard::Nothing => return Opening::Http,
        Connections::Requests(rule) | Connections::Whole(rule) | Connections::Either(rule) => rule,
    };
    recorder.resolved(Resolution::Inbound);
    let opening = match (app.address, facts.original_destination) {
        _ if refused => refuse(Failure::NoIdentity, rule),
        (None, Some(address)) => straight(rule, PassTo::App(address), recorder),
        _ => forward(rule, facts, recorder),
    };
    match app.connections {
        Connections::Either(_) => undeclared(facts, opening),
        Connections::Whole(_) if snapshot.workload.identity.is_some() => authenticating(facts, opening),
        Connections::Requests(_) | Connections::Whole(_) => opening,
    }
}

/// To an address that no balancing chooses.
fn straight<R: Recorder>(rule: &Arc<ConnectionRule>, to: PassTo, recorder: &mut R) -> Opening {
    recorder.connection_rule(rule, Some(0));
    Opening::Pass(Passage { rule: rule.clone(), to })
}

/// What becomes of a connection that may carry HTTP, as long as nobody has looked.
fn undeclared(facts: &ConnectionFacts<'_>, opening: Opening) -> Opening {
    match facts.heard {
        Heard::Nothing => Opening::Detect(Box::new(opening)),
        Heard::Tls(_) | Heard::Other => opening,
    }
}

/// What becomes of a connection whose caller may show who it is, as long as nobody has looked.
fn authenticating(facts: &ConnectionFacts<'_>, opening: Opening) -> Opening {
    match (facts.heard, facts.identity) {
        (Heard::Nothing, None) => Opening::Await(Box::new(opening)),
        (Heard::Tls(_) | Heard::Other, _) | (Heard::Nothing, Some(_)) => opening,
    }
}

/// A caller that dialled an address: a Service's, an endpoint's, or one of no Service.
fn by_address<R: Recorder>(
    snapshot: &Snapshot,
    address: SocketAddr,
    facts: &ConnectionFacts<'_>,
    recorder: &mut R,
) -> Opening {
    if let Some(port) = snapshot.by_cluster_ip(address) {
        if port.opaque.is_some() || port.either.is_some() {
            recorder.resolved(Resolution::ClusterIp(&port.name));
        }
        return match (&port.opaque, &port.either) {
            (Some(opaque), _) => to_port(opaque, facts, recorder),
            (None, Some(rule)) => undeclared(facts, forward(rule, facts, recorder)),
            (None, None) => Opening::Http,
        };
    }
    if let Some(port) = snapshot.by_endpoint(address) {
        let to = PassTo::Address { address, log: false };
        if port.opaque.is_some() || port.either.is_some() {
            recorder.resolved(Resolution::Endpoint(&port.name, address));
        }
        return match (&port.opaque, &port.either) {
            (Some(opaque), _) => straight(&opaque.default_rule, to, recorder),
            (None, Some(rule)) => undeclared(facts, straight(rule, to, recorder)),
            (None, None) => Opening::Http,
        };
    }
    recorder.passed(Way::OriginalDestination(Some(address)));
    // It may be HTTP, whose requests say more than an address does.
    undeclared(facts, leave(snapshot, recorder, |log| PassTo::Address { address, log }))
}

/// A caller that dialled us: only a server name can say what it wants.
fn by_name<R: Recorder>(snapshot: &Snapshot, facts: &ConnectionFacts<'_>, recorder: &mut R) -> Opening {
    recorder.passed(Way::OriginalDestination(None));
    let name = match facts.heard {
        Heard::Nothing | Heard::Other => return Opening::Http,
        Heard::Tls(None) => {
            recorder.unnamed();
            return refuse(Failure::NoService, &snapshot.egress_connections);
        }
        Heard::Tls(Some(name)) => name,
    };
    if let Some(host) = snapshot.by_host(name) {
        match host.service.port(TLS_PORT) {
            Some(port) => {
                // The port speaks HTTP, in which this is no request.
                let Some(opaque) = &port.opaque else { return Opening::Http };
                recorder.resolved(Resolution::Host(&port.name));
                return to_port(opaque, facts, recorder);
            }
            None => recorder.resolved(Resolution::NoSuchPort(&host.service)),
        }
    } else {
        recorder.passed(Way::Host(name));
    }
    leave(snapshot, recorder, |log| PassTo::Host { host: name.into(), port: TLS_PORT, log })
}

/// Out of the mesh, if egress allows it.
fn leave<R: Recorder>(snapshot: &Snapshot, recorder: &mut R, to: impl FnOnce(bool) -> PassTo) -> Opening {
    let rule = &snapshot.egress_connections;
    let log = match snapshot.mesh.egress {
        Egress::Allow => false,
        Egress::Log => true,
        Egress::Deny => {
            recorder.resolved(Resolution::Denied);
            return refuse(Failure::NoService, rule);
        }
    };
    recorder.resolved(Resolution::Outside);
    Opening::Pass(Passage { rule: rule.clone(), to: to(log) })
}

fn to_port<R: Recorder>(opaque: &Opaque, facts: &ConnectionFacts<'_>, recorder: &mut R) -> Opening {
    let names = match &opaque.routes {
        None => return forward(&opaque.default_rule, facts, recorder),
        Some(ConnectionRoutes::All(rule)) => {
            recorder.connection_candidate(rule, Claim::Takes);
            return forward(rule, facts, recorder);
        }
        Some(ConnectionRoutes::ByName(names)) => names,
    };
    let name = match facts.heard {
        Heard::Nothing => return Opening::ReadHello,
        Heard::Other => return refuse(Failure::NoClientHello, &opaque.default_rule),
        Heard::Tls(name) => name,
    };
    if R::EVERYTHING {
        names.record_all(name, recorder);
    }
    match names.find(name) {
        Some(rule) => forward(rule, facts, recorder),
        None => refuse(Failure::NoRoute, &opaque.default_rule),
    }
}

/// Chooses one of the rule's backends by weight.
fn forward<R: Recorder>(
    rule: &Arc<ConnectionRule>,
    facts: &ConnectionFacts<'_>,
    recorder: &mut R,
) -> Opening {
    let weights = rule.backends.iter().map(|backend| backend.weight);
    let chosen = Dice::split(facts.dice, Purpose::Weight).share(weights, rule.total_weight);
    recorder.connection_rule(rule, chosen);
    share_of(rule, chosen)
}

/// What happens to the share of the rule's backend `index`; `None`: no backend has any weight.
pub(crate) fn share_of(rule: &Arc<ConnectionRule>, index: Option<usize>) -> Opening {
    match index {
        Some(index) if rule.backends[index].target.is_ok() => {
            Opening::Pass(Passage { rule: rule.clone(), to: PassTo::Backend(index) })
        }
        _ => refuse(Failure::NoBackend, rule),
    }
}

fn refuse(failure: Failure, rule: &Arc<ConnectionRule>) -> Opening {
    Opening::Refuse { failure, rule: rule.clone() }
}

#[cfg(test)]
mod tests;
