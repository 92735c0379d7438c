//! What happens to a request: which Service it means, which rule holds, which backend gets it. Pure.
//!
//! The data path and `explain` call [`decide`], and nothing else matches routes. It reads one snapshot and one head,
//! and what it returns owns everything that the request needs from then on, so the snapshot can be let go. Limits,
//! budgets and the choice of an endpoint are not decided here: they are stages that act on the decision.

mod connection;
mod dice;
mod mirrored;
mod preflight;
mod record;
mod redirected;
mod resolve;

pub(crate) use connection::share_of as connection_share;
pub use connection::{ConnectionFacts, Heard, Opening, PassTo, Passage, connection};
pub(crate) use dice::mix;
pub use dice::{Dice, Purpose};
pub use mirrored::Taken;
pub use preflight::Preflight;
pub use record::{Claim, NotMatched, Recorder, Resolution, Silent, Way};
pub use redirected::Redirected;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Instant, SystemTime},
};

use http::{HeaderMap, Method};
use outrigger_config::{
    SpiffeId,
    model::{self, TrafficSettings},
};

use crate::{
    error::Failure,
    policy::{
        cors::Cors,
        session::{Session, Visit},
    },
    route::Modifier,
    runtime::snapshot::{Backend, ListenerKey, Port, Rule, Snapshot, WeightedBackend},
};
use mirrored::Mirrored;
use resolve::Meaning;

/// The head of a request after the strict check.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The method.
    pub method: &'a Method,
    /// The canonical path, without query.
    pub path: &'a str,
    /// The query, without `?`, still percent-encoded.
    pub query: Option<&'a str>,
    /// The authority's host: lower-cased, without trailing dot; an IPv6 address without brackets.
    pub host: &'a str,
    /// The authority's port; `None` where none was written or it was the default one.
    pub port: Option<u16>,
    /// The header fields.
    pub headers: &'a HeaderMap,
}

/// What is known of a request beside its head.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The address that the caller dialled, where traffic is redirected to us.
    pub original_destination: Option<SocketAddr>,
    /// How the request named its target.
    pub form: Form,
    /// The caller's address.
    pub peer: IpAddr,
    /// Who the caller has proved to be; `None`: it is anonymous.
    pub identity: Option<&'a SpiffeId>,
    /// When the head was complete.
    pub now: Instant,
    /// The same by the wall clock: sessions are held to their limits by every proxy that they come to.
    pub clock: SystemTime,
    /// Drives every random choice of this request, by splitting: see [`Dice`].
    pub dice: u64,
}

/// How a request names its target (RFC 9112, section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// By path and Host, or as HTTP/2 does.
    Origin,
    /// By absolute URI, as to an HTTP proxy.
    Absolute,
    /// By authority alone, as CONNECT does.
    Connect,
}

/// What happens to a request.
#[derive(Clone, Debug)]
pub enum Decision {
    /// Attempts go to endpoints of a backend.
    Forward(Forward),
    /// Attempts go to one address that no balancing chooses.
    Direct(Direct),
    /// The proxy sends the caller elsewhere.
    Redirect(Redirected),
    /// The proxy answers a browser's question before the request that it is about.
    Preflight(Preflight),
    /// The proxy answers.
    Refuse(Refusal),
}

/// A rule, and one of its backends. One reference count: everything else is reached through the rule.
#[derive(Clone, Debug)]
pub struct Forward {
    /// The rule that holds; a port's own default where no route is attached.
    pub rule: Arc<Rule>,
    backend: usize,
    mirrored: Mirrored,
    visit: Option<Box<Visit>>,
}

/// What one list of filters does to a request.
#[derive(Clone, Copy, Debug)]
pub struct Changes<'a> {
    /// Changes to its header.
    pub headers: &'a [Modifier],
    /// The change to its target, after them: the rule's or the backend's, never both.
    pub rewrite: Option<&'a model::Rewrite>,
    /// Where copies of it go, after both.
    pub mirrors: Taken<'a>,
}

/// An address that is called as it stands.
#[derive(Clone, Debug)]
pub struct Direct {
    /// Settings and metrics; no route rule.
    pub rule: Arc<Rule>,
    /// Where to.
    pub to: Address,
}

/// Where a direct request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// The endpoint that the caller itself has dialled, or named by its address: the backend is [`Direct::backend`].
    Endpoint(SocketAddr),
    /// The app, where the caller itself has dialled it.
    App(SocketAddr),
    /// The address that the caller itself has dialled, which no Service has. HTTP version as the caller's.
    Dialled {
        /// Where to.
        address: SocketAddr,
        /// Egress is in `Log` mode: one log line.
        log: bool,
    },
    /// The request's own authority, which no Service names. HTTP version as the caller's.
    Authority {
        /// Egress is in `Log` mode: one log line.
        log: bool,
    },
}

/// An answer of the proxy itself.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Why.
    pub failure: Failure,
    /// Under whose name it is counted.
    pub rule: Arc<Rule>,
}

impl Forward {
    /// The backend; its endpoints are current at each attempt.
    pub fn backend(&self) -> &Arc<Backend> {
        // `decide` makes a `Forward` only of a backend that resolved.
        self.weighted().target.as_ref().expect("a chosen backend exists")
    }

    /// The settings of this request. The balancing policy is not here but in the backend's own.
    pub fn settings(&self) -> &Arc<TrafficSettings> {
        &self.rule.settings
    }

    /// What the rule changes in the request, and which of its mirrors get what comes of it.
    pub fn of_rule(&self) -> Changes<'_> {
        Changes {
            headers: &self.rule.request_headers,
            rewrite: self.rule.rewrite.as_deref(),
            mirrors: self.mirrored.of_rule(&self.rule),
        }
    }

    /// What the backend changes in it after the rule, and which of its mirrors get what comes of it.
    pub fn of_backend(&self) -> Changes<'_> {
        let backend = self.weighted();
        Changes {
            headers: &backend.request_headers,
            rewrite: backend.rewrite.as_deref(),
            mirrors: self.mirrored.of_backend(backend),
        }
    }

    /// Changes to the answer's header: the backend's, then the rule's.
    pub fn response_headers(&self) -> impl Iterator<Item = &Modifier> {
        self.weighted().response_headers.iter().chain(&self.rule.response_headers)
    }

    /// The rule's sessions, what the request brings of one, and the index of its backend; `None`: the rule has no sessions.
    pub(crate) fn session(&self) -> Option<(&Session, &Visit, usize)> {
        Some((self.rule.session.as_deref()?, self.visit.as_deref()?, self.backend))
    }

    fn weighted(&self) -> &WeightedBackend {
        &self.rule.backends[self.backend]
    }
}

impl Direct {
    /// The backend whose endpoint was dialled; that of egress, which lists no endpoints, for an authority.
    pub fn backend(&self) -> &Arc<Backend> {
        // Only default rules are direct, and they have exactly one backend.
        self.rule.backends[0].target.as_ref().expect("the backend of a default rule exists")
    }
}

impl Decision {
    /// The rule under whose name the request is counted, whatever happens to it.
    pub fn rule(&self) -> &Arc<Rule> {
        match self {
            Decision::Forward(forward) => &forward.rule,
            Decision::Direct(direct) => &direct.rule,
            Decision::Redirect(redirected) => &redirected.rule,
            Decision::Preflight(preflight) => &preflight.rule,
            Decision::Refuse(refusal) => &refusal.rule,
        }
    }

    /// The cross-origin policy for its answer, whoever makes it. A preflight is told by its own.
    pub(crate) fn cors(&self) -> Option<&Cors> {
        match self {
            Decision::Forward(forward) => forward.weighted().cors.as_deref().or(forward.rule.cors.as_deref()),
            Decision::Redirect(redirected) => redirected.cors(),
            Decision::Refuse(refusal) => refusal.rule.cors.as_deref(),
            Decision::Direct(_) | Decision::Preflight(_) => None,
        }
    }
}

/// Decides one request that came in by `listener`. The recorder hears every step; [`Silent`] costs nothing.
pub fn decide<R: Recorder>(
    snapshot: &Snapshot,
    listener: ListenerKey,
    head: &Head<'_>,
    facts: &Facts<'_>,
    recorder: &mut R,
) -> Decision {
    match resolve::resolve(snapshot, listener, head, facts, recorder) {
        Meaning::App(app) if app.refuses(facts.identity) => refuse(Failure::NoIdentity, &app.rule),
        Meaning::App(app) => match (app.address, facts.original_destination) {
            (None, Some(address)) => {
                Decision::Direct(Direct { rule: app.rule.clone(), to: Address::App(address) })
            }
            _ => forward(&app.rule, None, facts, recorder),
        },
        // Nobody reads what a tunnel carries, so no route can match it: it goes to the port's own endpoints.
        Meaning::Port(port) if facts.form == Form::Connect => {
            forward(&port.default_rule, None, facts, recorder)
        }
        // Requests leave in the clear.
        Meaning::Port(port) | Meaning::Endpoint(port, _) if port.is_tls() && facts.form != Form::Connect => {
            refuse(Failure::UpstreamProtocol, &port.default_rule)
        }
        Meaning::Port(port) => match preflight::answer(port, head, facts, recorder) {
            Some(answer) => answer,
            None => match route(port, head, recorder) {
                Some(rule) => forward(rule, Some(head), facts, recorder),
                None => refuse(Failure::NoRoute, &port.default_rule),
            },
        },
        Meaning::Endpoint(port, address) => {
            Decision::Direct(Direct { rule: port.default_rule.clone(), to: Address::Endpoint(address) })
        }
        Meaning::Outside { log } => {
            let to = match (facts.form, facts.original_destination) {
                (Form::Origin, Some(address)) => Address::Dialled { address, log },
                // What is written as to an HTTP proxy was meant for one, wherever the caller believes it to be.
                _ => Address::Authority { log },
            };
            Decision::Direct(Direct { rule: snapshot.egress_rule.clone(), to })
        }
        Meaning::Nothing(failure) => refuse(failure, &snapshot.egress_rule),
    }
}

/// The rule for a request to a port; `None`: routes are attached and none of them matches.
fn route<'a, R: Recorder>(port: &'a Port, head: &Head<'_>, recorder: &mut R) -> Option<&'a Arc<Rule>> {
    match &port.routes {
        None => Some(&port.default_rule),
        Some(routes) => {
            if R::EVERYTHING {
                routes.record_all(head, recorder);
            }
            routes.find(head)
        }
    }
}

/// Chooses one of the rule's backends, by the request's session or by weight, unless it redirects.
fn forward<R: Recorder>(
    rule: &Arc<Rule>,
    head: Option<&Head<'_>>,
    facts: &Facts<'_>,
    recorder: &mut R,
) -> Decision {
    if rule.redirect.is_some() {
        recorder.rule(rule, None);
        return Decision::Redirect(Redirected { rule: rule.clone(), backend: None });
    }
    let session = rule.session.as_deref().zip(head);
    let visit = session.map(|(session, head)| Box::new(session.visit(head, &rule.backends, facts.clock)));
    let chosen = visit.as_ref().and_then(|visit| visit.backend).or_else(|| choose(rule, facts));
    recorder.rule(rule, chosen);
    let Some(index) = chosen else { return refuse(Failure::NoBackend, rule) };
    match share(rule, index, facts.dice, recorder) {
        Decision::Forward(forward) => Decision::Forward(Forward { visit, ..forward }),
        other => other,
    }
}

/// What happens to the share of the rule's backend `index`, which must exist, without a session.
pub(crate) fn share<R: Recorder>(rule: &Arc<Rule>, index: usize, dice: u64, recorder: &mut R) -> Decision {
    match rule.backends[index].target {
        Ok(_) if rule.backends[index].redirect.is_some() => {
            Decision::Redirect(Redirected { rule: rule.clone(), backend: Some(index) })
        }
        Ok(_) => {
            let mirrored = Mirrored::draw(rule, &rule.backends[index], dice, recorder);
            Decision::Forward(Forward { rule: rule.clone(), backend: index, mirrored, visit: None })
        }
        Err(_) => refuse(Failure::NoBackend, rule),
    }
}

/// The backend that gets the request, by weight; `None`: there is none, or none has any weight.
fn choose(rule: &Rule, facts: &Facts<'_>) -> Option<usize> {
    match &*rule.backends {
        [only] if only.weight > 0 => Some(0),
        backends => {
            let weights = backends.iter().map(|backend| backend.weight);
            Dice::split(facts.dice, Purpose::Weight).share(weights, rule.total_weight)
        }
    }
}

fn refuse(failure: Failure, rule: &Arc<Rule>) -> Decision {
    Decision::Refuse(Refusal { failure, rule: rule.clone() })
}

#[cfg(test)]
mod tests;
