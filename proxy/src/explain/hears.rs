//! A recorder that keeps what it hears of a decision.

use std::net::SocketAddr;

use outrigger_config::model::{ObjectName, Origin, RuleId, ServicePort};

use crate::{
    decide::{Claim, NotMatched, Recorder, Resolution, Way},
    runtime::{
        opaque::ConnectionRule,
        snapshot::{Mirror, Rule},
    },
};

/// What was heard, in order.
#[derive(Debug, Default)]
pub(super) struct Hears {
    /// Ways to a Service.
    pub(super) ways: Vec<Heard>,
    /// Matches of rules.
    pub(super) candidates: Vec<Candidate>,
    /// Rules for connections.
    pub(super) claims: Vec<(Option<(RuleId, Origin)>, Claim)>,
    /// The index of the backend that the dice chose.
    pub(super) chosen: Option<usize>,
    /// Whether each mirror gets a copy: those of the rule, then those of the backend.
    pub(super) mirrors: Vec<bool>,
}

/// One way to a Service.
#[derive(Debug)]
pub(super) enum Heard {
    NotPinned,
    NoDestination(Option<SocketAddr>),
    NoHost(String),
    Inbound,
    Pinned(ServicePort),
    ClusterIp(ServicePort),
    Endpoint(ServicePort, SocketAddr),
    Host(ServicePort),
    NoSuchPort(ObjectName),
    Unnamed,
    Outside,
    Denied,
    NotRedirected,
    NoListener,
}

/// One match of one rule.
#[derive(Debug)]
pub(super) struct Candidate {
    /// The rule; rules of a table always have both.
    pub(super) rule: Option<(RuleId, Origin)>,
    pub(super) match_index: usize,
    pub(super) miss: Option<Missed>,
}

/// The first condition that does not hold.
#[derive(Debug)]
pub(super) enum Missed {
    Path,
    NotGrpc,
    GrpcService,
    GrpcMethod,
    Method,
    Header(http::HeaderName),
    Query(String),
}

impl Recorder for Hears {
    fn passed(&mut self, way: Way<'_>) {
        self.ways.push(match way {
            Way::Listener => Heard::NotPinned,
            Way::OriginalDestination(address) => Heard::NoDestination(address),
            Way::Host(host) => Heard::NoHost(host.to_owned()),
        });
    }

    fn resolved(&mut self, how: Resolution<'_>) {
        self.ways.push(match how {
            Resolution::Inbound => Heard::Inbound,
            Resolution::Pinned(port) => Heard::Pinned(port.clone()),
            Resolution::ClusterIp(port) => Heard::ClusterIp(port.clone()),
            Resolution::Endpoint(port, address) => Heard::Endpoint(port.clone(), address),
            Resolution::Host(port) => Heard::Host(port.clone()),
            Resolution::NoSuchPort(service) => Heard::NoSuchPort(service.source.name.clone()),
            Resolution::Outside => Heard::Outside,
            Resolution::Denied => Heard::Denied,
            Resolution::NotRedirected => Heard::NotRedirected,
            Resolution::NoListener => Heard::NoListener,
        });
    }

    fn candidate(&mut self, rule: &Rule, match_index: usize, miss: Option<NotMatched<'_>>) {
        let miss = miss.map(|miss| match miss {
            NotMatched::Path => Missed::Path,
            NotMatched::NotGrpc => Missed::NotGrpc,
            NotMatched::GrpcService => Missed::GrpcService,
            NotMatched::GrpcMethod => Missed::GrpcMethod,
            NotMatched::Method => Missed::Method,
            NotMatched::Header(name) => Missed::Header(name.clone()),
            NotMatched::Query(name) => Missed::Query(name.to_owned()),
        });
        let rule = rule.id.clone().zip(rule.origin.clone());
        self.candidates.push(Candidate { rule, match_index, miss });
    }

    fn unnamed(&mut self) {
        self.ways.push(Heard::Unnamed);
    }

    fn connection_candidate(&mut self, rule: &ConnectionRule, claim: Claim) {
        self.claims.push((rule.id.clone().zip(rule.origin.clone()), claim));
    }

    fn connection_rule(&mut self, _: &ConnectionRule, backend: Option<usize>) {
        self.chosen = backend;
    }

    fn rule(&mut self, _: &Rule, backend: Option<usize>) {
        self.chosen = backend;
    }

    fn mirror(&mut self, _: &Mirror, taken: bool) {
        self.mirrors.push(taken);
    }
}
