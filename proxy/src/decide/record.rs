//! Hearing how a decision is made. `explain` listens; the data path does not, and then none of this is compiled in.

use std::net::SocketAddr;

use http::HeaderName;
use outrigger_config::model::ServicePort;

use crate::runtime::{
    opaque::ConnectionRule,
    snapshot::{Mirror, Rule, Service},
};

/// Listens to a decision. Every method does nothing unless it is written.
pub trait Recorder {
    /// Whether every candidate of a route table is wanted, in precedence order, and not only the one that holds.
    const EVERYTHING: bool = true;

    /// Which Service the request means, or why none.
    fn resolved(&mut self, how: Resolution<'_>) {
        let _ = how;
    }

    /// A way to a Service that was tried in vain. The next one follows.
    fn passed(&mut self, way: Way<'_>) {
        let _ = way;
    }

    /// One match of one rule; `None`: it holds. The first that holds is the rule that is taken; those after it are
    /// reported too.
    fn candidate(&mut self, rule: &Rule, match_index: usize, miss: Option<NotMatched<'_>>) {
        let _ = (rule, match_index, miss);
    }

    /// The caller's ClientHello names no server, and nothing else says which Service it means.
    fn unnamed(&mut self) {}

    /// One rule for connections, and what it has to do with this one; the rule that takes it first.
    fn connection_candidate(&mut self, rule: &ConnectionRule, claim: Claim) {
        let _ = (rule, claim);
    }

    /// The rule that takes the connection, and the index of the backend chosen out of `rule.backends`.
    fn connection_rule(&mut self, rule: &ConnectionRule, backend: Option<usize>) {
        let _ = (rule, backend);
    }

    /// The rule that is taken, and the index of the backend chosen out of `rule.backends`; their weights are the shares.
    fn rule(&mut self, rule: &Rule, backend: Option<usize>) {
        let _ = (rule, backend);
    }

    /// A mirror of the rule or of its chosen backend, after [`Recorder::rule`], and whether it gets a copy.
    fn mirror(&mut self, mirror: &Mirror, taken: bool) {
        let _ = (mirror, taken);
    }
}

/// Hears nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Recorder for Silent {
    const EVERYTHING: bool = false;
}

/// How a request's Service was found, in the order in which the ways are tried.
#[derive(Clone, Copy, Debug)]
pub enum Resolution<'a> {
    /// The inbound listener's app.
    Inbound,
    /// The outbound listener is pinned to it.
    Pinned(&'a ServicePort),
    /// The original destination is its cluster IP and port, and the authority is not looked at; or the authority is.
    ClusterIp(&'a ServicePort),
    /// The original destination, or else the authority, is one of its endpoints: straight through.
    Endpoint(&'a ServicePort, SocketAddr),
    /// It answers to the authority's host.
    Host(&'a ServicePort),
    /// This Service answers to the host but has no such port, so no Service is meant.
    NoSuchPort(&'a Service),
    /// No Service is meant, and egress lets the request out.
    Outside,
    /// No Service is meant, and egress is denied.
    Denied,
    /// It came to a listener for redirected connections, and was not redirected.
    NotRedirected,
    /// The current policy no longer has this listener, or the Service that it is pinned to.
    NoListener,
}

/// A way to a Service, where it leads to none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way<'a> {
    /// The listener is not pinned to a Service.
    Listener,
    /// The original destination is no address of a Service, or there is none.
    OriginalDestination(Option<SocketAddr>),
    /// No Service answers to the authority's host.
    Host(&'a str),
}

/// What a rule for connections has to do with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It takes it.
    Takes,
    /// It would, but a more specific one does, or an older one.
    Outdone,
    /// Its server names are others.
    OtherName,
}

/// Why a match does not hold: its first condition that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotMatched<'a> {
    /// The path.
    Path,
    /// It is no gRPC call: not a POST, or its content type is none of gRPC's.
    NotGrpc,
    /// The gRPC service that is called.
    GrpcService,
    /// The gRPC method that is called.
    GrpcMethod,
    /// The method.
    Method,
    /// This header is absent or has another value.
    Header(&'a HeaderName),
    /// This query parameter is absent or has another value.
    Query(&'a str),
}
