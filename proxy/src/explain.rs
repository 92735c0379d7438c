//! Why a request goes where it goes: the decision for one request, rule by rule, with the places in the policy files;
//! and the same for a connection that is passed on whole.
//!
//! An explanation runs what the data path runs, on a snapshot that is built as the data path's is: the strict check,
//! [`decide`](decide::decide), the header stages, the retry law. Nothing here matches a route, changes a head or judges a
//! retry itself; it listens ([`hears`]) and tells ([`report`]). Nothing is sent and no name is looked up, so what only
//! the network knows (a dead endpoint, a name without address) is not in it.

mod balancing;
mod callee;
mod caller;
mod candidates;
mod circuit_breaker;
mod connection;
mod door;
mod fault;
mod hears;
mod question;
mod report;
mod resolution;
mod sent;
mod session;
mod settings;
mod shares;
mod summary;
mod text;
mod usable;

pub use connection::ConnectionQuestion;
pub use question::{Door, Question, QuestionError};
pub use report::*;

use std::{
    net::{IpAddr, SocketAddr},
    time::{Instant, SystemTime},
};

use http::{
    HeaderMap, Response,
    header::{LOCATION, ORIGIN},
    request::Parts,
};
use outrigger_config::{
    SpiffeId,
    model::{Resources, RouteRule, ServicePort},
};

use crate::{
    ctx::Side,
    decide::{self, Decision, Facts, Form},
    error::Failure,
    exchange::{self, decision_head},
    listen::{
        answer::{self, Caller},
        own::Own,
    },
    policy::deadline,
    request::{forwarded, strict::Checked},
    runtime::{
        self, BuildError,
        snapshot::{Rule, Snapshot},
    },
    telemetry::metrics::Metrics,
};
use candidates::Sources;
use door::Way;
use hears::Hears;
use settings::Hop;

/// Explains requests by one Sidecar's policy.
#[derive(Debug)]
pub struct Explainer {
    resources: Resources,
    snapshot: Snapshot,
    own: Own,
}

/// Why there is no explanation.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The question is no request.
    #[error(transparent)]
    Question(#[from] QuestionError),
    /// The Sidecar has no listener by which the request could come.
    #[error("the Sidecar {sidecar} has no {wanted}; it has {present}")]
    NoListener {
        /// The Sidecar.
        sidecar: String,
        /// What was looked for.
        wanted: String,
        /// Its listeners.
        present: String,
    },
    /// The listener takes connections, not requests.
    #[error(
        "the listener {0} passes such connections on whole, whatever is in them; ask for {1}, or choose another by --listener"
    )]
    Opaque(SocketAddr, String),
}

/// What the check let through.
#[derive(Clone, Copy)]
struct Admitted<'a> {
    head: &'a Parts,
    checked: &'a Checked,
    dice: Option<u64>,
    /// By which side it comes, and from where.
    from: (Side, IpAddr),
    /// As whom the proxy before a service sees the caller.
    identity: Option<&'a SpiffeId>,
}

impl Explainer {
    /// Builds the snapshot that a proxy would have of these resources.
    ///
    /// # Errors
    /// As the proxy itself.
    pub fn new(resources: Resources) -> Result<Self, BuildError> {
        let snapshot = runtime::build(&resources, None, &Metrics::new(1))?;
        let own = Own::default();
        let intercepted = resources.workload.inbound.iter().filter(|listener| listener.is_intercepted());
        let outbound = resources.workload.outbound.iter().map(|listener| listener.bind);
        own.set(outbound.chain(intercepted.map(|listener| listener.bind)).collect());
        Ok(Self { resources, snapshot, own })
    }

    /// The resources that are explained.
    pub fn resources(&self) -> &Resources {
        &self.resources
    }

    /// Explains one request.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn explain(&self, question: &Question) -> Result<Report, ExplainError> {
        let way = self.way(question)?;
        let mut head = question.head()?;
        let form = exchange::form_of(&head);
        let before = head.clone();
        let checked = exchange::check(&mut head, self.came(&way), &self.snapshot);
        let mut report = self.empty(&way, form);
        match checked {
            Ok(checked) => {
                report.check.changes = sent::changed(&before, &head);
                self.decided(
                    &way,
                    Admitted {
                        head: &head,
                        checked: &checked,
                        dice: question.dice,
                        from: (way.listener.side, question.peer),
                        identity: self.seen_as(&way).as_ref(),
                    },
                    form,
                    &mut report,
                );
            }
            Err(failure) => {
                report.check.passed = false;
                report.outcome = Outcome::Refuse(refusal(failure, Caller::of(&before)));
            }
        }
        report.summary = summary::of(&report);
        Ok(report)
    }

    /// The report before anything is decided.
    fn empty(&self, way: &Way<'_>, form: Form) -> Report {
        let question = way.question;
        let workload = &self.resources.workload;
        let from =
            question.from.as_ref().map(|id| self.identity(id, (way.listener, question.original_destination)));
        Report {
            summary: String::new(),
            sidecar: resolution::object(&workload.name, &workload.origin),
            request: Asked {
                method: question.method.to_string(),
                url: question.url.clone(),
                version: sent::version(question.version()),
                side: way.listener.side.as_str(),
                listener: way.door.clone(),
                proxy_form: form == Form::Absolute,
                original_destination: question.original_destination.map(|address| address.to_string()),
                from,
                dice: question.dice.map(|dice| format!("{dice:#018x}")),
            },
            check: Check { passed: true, changes: Vec::new() },
            outcome: Outcome::Split,
            resolution: Vec::new(),
            near: Vec::new(),
            service: None,
            candidates: Vec::new(),
            rule: None,
            session: None,
            shares: Vec::new(),
            fault: None,
            fallback: None,
            timeouts: None,
            retry: None,
            notes: Vec::new(),
        }
    }

    fn decided(&self, way: &Way<'_>, admitted: Admitted<'_>, form: Form, report: &mut Report) {
        let Admitted { head, checked, .. } = admitted;
        let question = way.question;
        let facts = Facts {
            original_destination: question.original_destination,
            form,
            peer: question.peer,
            identity: self.authenticated(question.from.as_ref(), way.listener.side),
            now: Instant::now(),
            clock: SystemTime::now(),
            dice: question.dice.unwrap_or_default(),
        };
        let asked = decision_head(head, checked);
        let mut heard = Hears::default();
        let decision = decide::decide(&self.snapshot, way.listener, &asked, &facts, &mut heard);

        let words = resolution::Asked {
            resources: &self.resources,
            host: asked.host,
            port: asked.port,
            carried: resolution::Carried::Request(form),
            dialled: question.original_destination,
            listener: &way.door,
        };
        report.resolution = resolution::steps(&heard.ways, words);
        report.near = resolution::near(&heard.ways, &self.resources);
        let port = way.behind.or(resolution::service(&heard.ways));
        report.service = port.map(|port| Object {
            name: port.to_string(),
            origin: resolution::destination(&self.resources, port).map(|one| one.origin.to_string()),
        });
        let sources = self.sources(port);
        report.candidates = candidates::told(&heard.candidates, &sources, &asked);
        let rule = decision.rule();
        let source = rule.id.as_ref().zip(rule.origin.as_ref()).and_then(|key| sources.get(&key)).copied();
        report.rule = taken(&decision, source, head);
        self.settings(way, rule, admitted, report);
        if form == Form::Connect {
            let note = "CONNECT opens a tunnel: nobody reads what it carries, so no route applies to it";
            report.notes.push(note.to_owned());
        }
        let mut head = named(way, head);
        let struck = fault::strike(rule, &mut head.headers, question.dice);
        let named = Admitted { head: &head, ..admitted };
        self.outcome(&decision, &heard, named, source, report);
        if let Some(struck) =
            struck.filter(|_| matches!(decision, Decision::Forward(_) | Decision::Direct(_)))
        {
            struck.tell(report, Caller::of_checked(checked, &head.method));
        }
    }

    /// The rules of a port, by which candidates are told.
    fn sources(&self, port: Option<&ServicePort>) -> Sources<'_> {
        let ports =
            self.resources.destinations.iter().flat_map(|one| one.ports.iter().map(move |port| (one, port)));
        let here = ports
            .filter(|(one, of)| port.is_some_and(|port| one.name == port.service && of.port == port.port));
        here.flat_map(|(_, of)| of.routes.iter().flatten())
            .map(|rule| ((&rule.id, &rule.origin), &**rule))
            .collect()
    }

    fn settings(&self, way: &Way<'_>, rule: &Rule, admitted: Admitted<'_>, report: &mut Report) {
        let Admitted { head, checked, .. } = admitted;
        let asked = deadline::asked(&head.headers, checked);
        let hop = match way.listener.side {
            Side::Inbound => Hop::Last,
            Side::Outbound => Hop::Here,
        };
        report.fallback = circuit_breaker::of_rule(rule, checked);
        report.timeouts = Some(settings::timeouts(&rule.settings, asked, checked));
        report.retry = Some(settings::retry(&rule.settings, &head.method, hop, checked.grpc));
    }

    fn outcome(
        &self,
        decision: &Decision,
        heard: &Hears,
        admitted: Admitted<'_>,
        source: Option<&RouteRule>,
        report: &mut Report,
    ) {
        let caller = Caller::of_checked(admitted.checked, &admitted.head.method);
        if let Some(outcome) = own(decision, admitted, caller) {
            // Nothing of it is attempted, so no limit of an attempt counts.
            (report.timeouts, report.retry, report.fallback) = (None, None, None);
            report.outcome = outcome;
            return;
        }
        report.shares = self.shares(decision, admitted, source);
        report.session = session::told(decision, source);
        let stays = report.session.as_ref().is_some_and(|session| session.backend.is_some());
        let known = stays || admitted.dice.is_some();
        shares::mark(&mut report.shares, known.then_some(heard.chosen));
        let failure = match decision {
            Decision::Refuse(refused) => refused.failure,
            _ => Failure::NoBackend,
        };
        report.outcome =
            shares::come_to(&report.shares).unwrap_or_else(|| Outcome::Refuse(refusal(failure, caller)));
        let nothing_sent = matches!(decision, Decision::Refuse(_)) && report.shares.is_empty();
        if nothing_sent || matches!(report.outcome, Outcome::Redirect { .. }) {
            (report.timeouts, report.retry) = (None, None);
        }
    }
}

/// The head as the stages get it: named and, for an app, with what it is told of its caller.
fn named(way: &Way<'_>, head: &Parts) -> Parts {
    let mut head = head.clone();
    forwarded::ensure_request_id(&mut head.headers, (0, 0));
    if way.listener.side == Side::Inbound {
        let address = forwarded::PeerAddress::new(way.question.peer);
        forwarded::tell_app(&mut head.headers, &address, forwarded::Scheme::Http);
    }
    head
}

fn taken(decision: &Decision, source: Option<&RouteRule>, head: &Parts) -> Option<Taken> {
    let rule = decision.rule();
    match decision {
        // Counted under the port's default, but no rule holds.
        Decision::Refuse(refused) if rule.id.is_none() && refused.failure != Failure::NoBackend => None,
        _ => Some(Taken {
            name: rule.route.to_string(),
            origin: rule.origin.as_ref().map(ToString::to_string),
            kind: rule.id.as_ref().map(|id| id.kind.word().to_owned()),
            response_headers: source
                .map(|one| sent::header_changes(&one.response_headers))
                .unwrap_or_default(),
            cors: decision.cors().map(|cors| {
                let mut told = HeaderMap::new();
                cors.on_answer(head.headers.get(ORIGIN), &mut told);
                sent::fields(&told)
            }),
        }),
    }
}

/// The answer that the proxy makes for a rule instead of asking a backend; `None`: it makes none.
fn own(decision: &Decision, admitted: Admitted<'_>, caller: Caller) -> Option<Outcome> {
    let Admitted { head, checked, .. } = admitted;
    let made = match decision {
        // One share of several, perhaps: it is told with the others.
        Decision::Redirect(redirected) if redirected.is_of_backend() => return None,
        Decision::Redirect(redirected) => exchange::redirection(redirected, &head.uri, checked),
        Decision::Preflight(preflight) => exchange::preflighted(preflight, &head.headers),
        Decision::Forward(_) | Decision::Direct(_) | Decision::Refuse(_) => return None,
    };
    Some(answered(decision, made, head, caller))
}

/// An answer that the proxy has made, as its caller gets it.
fn answered(decision: &Decision, made: Option<Response<()>>, head: &Parts, caller: Caller) -> Outcome {
    let Some(mut answer) = made else {
        return Outcome::Refuse(refusal(Failure::Internal, caller));
    };
    if let Some(cors) = decision.cors() {
        cors.on_answer(head.headers.get(ORIGIN), answer.headers_mut());
    }
    let (status, headers) = (answer.status().as_u16(), sent::fields(answer.headers()));
    let location = || answer.headers().get(LOCATION)?.to_str().ok().map(str::to_owned);
    match decision {
        Decision::Redirect(_) => {
            Outcome::Redirect { status, location: location().unwrap_or_default(), headers }
        }
        _ => Outcome::Preflight { status, headers },
    }
}

/// The proxy's own answer to a failure, in the caller's form.
fn refusal(failure: Failure, caller: Caller) -> Refusal {
    let form = failure.form();
    Refusal {
        status: answer::answer(failure, caller).status().as_u16(),
        grpc_status: caller.grpc.then_some(form.grpc),
        flag: form.flag.as_str(),
        reason: form.reason,
        text: answer::describe(failure).to_owned(),
    }
}

#[cfg(test)]
mod tests;
