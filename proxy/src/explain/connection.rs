//! Why a connection that is passed on whole goes where it goes.
//!
//! As with requests, [`decide::connection`] decides and this listens. It asks as the data path does: when the connection
//! is accepted, and again with what the caller said where that is needed.

mod question;

pub use question::ConnectionQuestion;

use std::{net::SocketAddr, sync::Arc};

use outrigger_config::model::{self, ServicePort};

use super::{
    AskedConnection, Candidate, ConnectionReport, Cut, Door, ExplainError, Explainer, Miss, Object, Outcome,
    Share, Step, Taken, circuit_breaker,
    door::Entrance,
    hears::Hears,
    resolution::{self, Carried},
    settings,
    shares::{self, name},
    summary, usable,
};
use crate::{
    decide::{self, Claim, ConnectionFacts, Heard, Opening, PassTo, Passage},
    error::Failure,
    listen::{answer, tcp},
    runtime::{opaque::ConnectionRule, snapshot::OutboundTarget},
};
use question::Says;

/// What was decided, and by what.
struct Decided<'a> {
    opening: Opening,
    /// What had been read by then.
    heard: Heard<'a>,
    recorded: Hears,
}

impl Explainer {
    /// Explains one connection.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn explain_connection(
        &self,
        question: &ConnectionQuestion,
    ) -> Result<ConnectionReport, ExplainError> {
        let (entrance, dialled) = self.entered(question)?;
        let decided = self.opening(question, &entrance, dialled);
        let mut report = self.asked(question, &entrance, dialled);
        let words = resolution::Asked {
            resources: &self.resources,
            host: question.server_name().unwrap_or(&question.host),
            port: Some(question.port),
            carried: Carried::Connection,
            dialled,
            listener: &entrance.door,
        };
        let ways = &decided.recorded.ways;
        report.resolution = resolution::steps(ways, words);
        report.near = resolution::near(ways, &self.resources);
        let port = entrance.behind.or(resolution::service(ways));
        report.service = port.map(|port| Object {
            name: port.to_string(),
            origin: resolution::destination(&self.resources, port).map(|one| one.origin.to_string()),
        });
        report.reads_hello = matches!(decided.heard, Heard::Tls(_));
        report.candidates = self.claims(&decided, port, question.server_name());
        self.told(question, &decided, port, &mut report);
        report.summary = summary::of_connection(&report);
        Ok(report)
    }

    /// The listener by which it comes, and the address that its caller dialled where that is not the listener's.
    fn entered<'a>(
        &'a self,
        question: &ConnectionQuestion,
    ) -> Result<(Entrance<'a>, Option<SocketAddr>), ExplainError> {
        if let Some(door) = question.door {
            return Ok((self.entrance(door, question.original_destination)?, question.original_destination));
        }
        let host = self.snapshot.by_host(&question.host);
        let meant = host.and_then(|host| host.service.port(question.port));
        let outbound = &self.snapshot.outbound;
        let pinned = outbound.iter().find(|one| match &one.target {
            OutboundTarget::Pinned(to) => meant.is_some_and(|meant| meant.name == to.name),
            OutboundTarget::ByAuthority => false,
        });
        if let (Some(pinned), None) = (pinned, question.original_destination) {
            return Ok((self.entrance(Door::At(pinned.source.bind), None)?, None));
        }
        if !outbound.iter().any(|one| matches!(one.target, OutboundTarget::ByAuthority)) {
            let wanted =
                "outbound listener for it: none is pinned to its Service, and none takes what means others";
            return Err(self.no_listener(wanted.to_owned()));
        }
        let literal = question.host.parse().ok();
        // TLS says itself what it means; of other bytes, only the address can.
        let of_service = || match question.says {
            Says::Bytes => host.and_then(|host| host.service.source.cluster_ips.first().copied()),
            Says::Hello(_) => None,
        };
        let dialled = literal.or_else(of_service).map(|ip| SocketAddr::new(ip, question.port));
        Ok((self.entrance(Door::Outbound, None)?, question.original_destination.or(dialled)))
    }

    fn opening<'a>(
        &self,
        question: &'a ConnectionQuestion,
        entrance: &Entrance<'_>,
        dialled: Option<SocketAddr>,
    ) -> Decided<'a> {
        let ask = |heard| {
            let facts = ConnectionFacts {
                original_destination: dialled,
                peer: question.peer,
                identity: self.authenticated(question.from.as_ref(), entrance.listener.side),
                heard,
                dice: question.dice.unwrap_or_default(),
            };
            let mut recorded = Hears::default();
            let opening = decide::connection(&self.snapshot, entrance.listener, &facts, &mut recorded);
            Decided { opening, heard, recorded }
        };
        let first = ask(Heard::Nothing);
        match first.opening {
            Opening::Pass(_) | Opening::Refuse { .. } => first,
            Opening::Http | Opening::ReadHello | Opening::Detect(_) | Opening::Await(_) => {
                ask(match &question.says {
                    Says::Bytes => Heard::Other,
                    Says::Hello(_) => Heard::Tls(question.server_name()),
                })
            }
        }
    }

    /// The report before anything is told of the decision.
    fn asked(
        &self,
        question: &ConnectionQuestion,
        entrance: &Entrance<'_>,
        dialled: Option<SocketAddr>,
    ) -> ConnectionReport {
        let workload = &self.resources.workload;
        let side = entrance.listener.side;
        let mut notes = Vec::new();
        if dialled.is_some() && question.original_destination.is_none() {
            notes.push("this holds where connections are redirected to the proxy".to_owned());
        }
        ConnectionReport {
            summary: String::new(),
            sidecar: resolution::object(&workload.name, &workload.origin),
            connection: AskedConnection {
                url: question.url.clone(),
                protocol: match question.says {
                    Says::Bytes => "TCP",
                    Says::Hello(_) => "TLS",
                },
                server_name: question.server_name().map(str::to_owned),
                side: side.as_str(),
                listener: entrance.door.clone(),
                original_destination: dialled.map(|address| address.to_string()),
                from: question.from.as_ref().map(|id| self.identity(id, (entrance.listener, dialled))),
                dice: question.dice.map(|dice| format!("{dice:#018x}")),
            },
            outcome: Outcome::Split,
            resolution: Vec::new(),
            near: Vec::new(),
            service: None,
            reads_hello: false,
            candidates: Vec::new(),
            rule: None,
            shares: Vec::new(),
            timeouts: None,
            notes,
        }
    }

    /// Every rule of the port: those that were heard, then those that no connection can reach.
    fn claims(
        &self,
        decided: &Decided<'_>,
        port: Option<&ServicePort>,
        name: Option<&str>,
    ) -> Vec<Candidate> {
        let rules = self.rules(port);
        if matches!(decided.opening, Opening::Refuse { failure: Failure::NoClientHello, .. }) {
            return rules.iter().map(|rule| no_hello(rule)).collect();
        }
        let heard = decided.recorded.claims.iter().filter_map(|(rule, claim)| {
            let (id, origin) = rule.as_ref()?;
            let rule = rules.iter().find(|one| one.id == *id && one.origin == *origin)?;
            Some(candidate(rule, *claim, name))
        });
        let heard: Vec<Candidate> = heard.collect();
        let told = |rule: &model::ConnectionRule| {
            let (id, origin) = (rule.id.to_string(), rule.origin.to_string());
            heard.iter().any(|one| one.rule == id && one.origin == origin)
        };
        // A TCPRoute's first rule takes everything, so the others are never asked.
        let others = rules.iter().filter(|rule| !heard.is_empty() && !told(rule));
        let others: Vec<Candidate> = others.map(|rule| candidate(rule, Claim::Outdone, name)).collect();
        heard.into_iter().chain(others).collect()
    }

    fn rules(&self, port: Option<&ServicePort>) -> &[Arc<model::ConnectionRule>] {
        let Some(port) = port else { return &[] };
        let of = resolution::destination(&self.resources, port);
        let of = of.and_then(|one| one.ports.iter().find(|one| one.port == port.port));
        of.and_then(|of| of.connections.as_deref()).unwrap_or_default()
    }

    /// What is decided: rule, shares, limits, outcome.
    fn told(
        &self,
        question: &ConnectionQuestion,
        decided: &Decided<'_>,
        port: Option<&ServicePort>,
        report: &mut ConnectionReport,
    ) {
        let heard = decided.heard;
        let (rule, failure) = match &decided.opening {
            Opening::Pass(passage) => (&passage.rule, None),
            Opening::Refuse { failure, rule } => (rule, Some(*failure)),
            Opening::Http | Opening::ReadHello | Opening::Detect(_) | Opening::Await(_) => {
                report.resolution.iter_mut().for_each(|step| step.decides = false);
                report.resolution.push(Step {
                    way: "protocol",
                    decides: true,
                    why:
                        "it is read as HTTP: each request is decided by itself, other bytes are answered 400"
                            .to_owned(),
                    origin: None,
                });
                report.outcome = Outcome::Requests;
                return;
            }
        };
        let written = self.rules(port).iter().find(|one| Some(&one.id) == rule.id.as_ref());
        let written = written.filter(|one| Some(&one.origin) == rule.origin.as_ref());
        report.shares = match &decided.opening {
            Opening::Pass(passage) if !matches!(passage.to, PassTo::Backend(_)) => {
                vec![self.straight(passage, heard)]
            }
            Opening::Pass(_) | Opening::Refuse { failure: Failure::NoBackend, .. } => {
                (0..rule.backends.len())
                    .map(|index| self.connection_share(rule, index, written.map(|one| &**one), heard))
                    .collect()
            }
            _ => Vec::new(),
        };
        let chosen = question.dice.map(|_| decided.recorded.chosen);
        shares::mark(&mut report.shares, chosen);
        report.outcome = shares::come_to(&report.shares)
            .unwrap_or_else(|| Outcome::Cut(cut(failure.unwrap_or(Failure::NoBackend), heard)));
        if rule.id.is_some() || failure.is_none() {
            report.rule = Some(Taken {
                name: rule.route.to_string(),
                origin: rule.origin.as_ref().map(ToString::to_string),
                kind: rule.id.as_ref().map(|id| id.kind.word().to_owned()),
                response_headers: Vec::new(),
                cors: None,
            });
        }
        if !report.shares.is_empty() {
            let limits = &self.snapshot.mesh.limits;
            report.timeouts = Some(settings::connection(&rule.settings, limits));
        }
    }

    fn connection_share(
        &self,
        rule: &Arc<ConnectionRule>,
        index: usize,
        written: Option<&model::ConnectionRule>,
        heard: Heard<'_>,
    ) -> Share {
        let weighted = &rule.backends[index];
        let mut share =
            Share::of("none", weighted.weight, shares::percent(weighted.weight, rule.total_weight));
        let written = written.and_then(|rule| rule.backends.get(index));
        share.origin = written.map(|one| one.origin.to_string());
        match decide::connection_share(rule, Some(index)) {
            Opening::Pass(passage) => {
                let backend = passage.backend();
                share.backend = name(backend);
                share.endpoints = self.endpoints(backend);
                self.balancing(&mut share, backend);
                share.circuit_breaker = circuit_breaker::of_backend(backend);
                share.usable = usable::told(backend, share.endpoints.len());
                let by_tls = share.endpoints.iter().any(|one| one.security.by == "tls");
                share.tls = self.tls(backend).filter(|_| by_tls && !passage.is_tls(heard));
                share.outcome = match &*share.endpoints {
                    [] => Outcome::Cut(cut(Failure::NoEndpoint, heard)),
                    all if all.iter().all(|endpoint| endpoint.is_loop) => {
                        Outcome::Cut(cut(Failure::Loop, heard))
                    }
                    _ => Outcome::Forward { backend: share.backend.clone() },
                };
            }
            Opening::Refuse { failure, .. } => {
                let mut cut = cut(failure, heard);
                if let Err(reason) = &weighted.target {
                    cut.text = format!("{}: {reason}", cut.text);
                }
                share.outcome = Outcome::Cut(cut);
            }
            // A share is a backend: it is passed on or refused.
            Opening::Http | Opening::ReadHello | Opening::Detect(_) | Opening::Await(_) => {}
        }
        share
    }

    /// The one share of a connection to an address that nobody balances.
    fn straight(&self, passage: &Passage, heard: Heard<'_>) -> Share {
        let to = match &passage.to {
            PassTo::Address { address, .. } | PassTo::App(address) => address.to_string(),
            PassTo::Host { host, port, .. } => format!("{host}:{port}"),
            PassTo::Backend(_) => String::new(),
        };
        let backend = passage.backend();
        let mut share = Share::of(&name(backend), 1, 100.0);
        share.endpoints = self.told_of(backend, &to);
        share.tls = self.tls(backend).filter(|_| !passage.is_tls(heard));
        share.outcome = match to.parse().is_ok_and(|address| self.own.contains(address)) {
            true => Outcome::Cut(cut(Failure::Loop, heard)),
            false => Outcome::Direct { to },
        };
        share
    }
}

fn candidate(rule: &model::ConnectionRule, claim: Claim, name: Option<&str>) -> Candidate {
    let names: Vec<String> = rule.server_names.iter().map(ToString::to_string).collect();
    let wanted = names.join(" or ");
    Candidate {
        rule: rule.id.to_string(),
        origin: rule.origin.to_string(),
        match_index: 0,
        conditions: vec![match names.is_empty() {
            true => "any connection".to_owned(),
            false => format!("server name {wanted}"),
        }],
        holds: claim != Claim::OtherName,
        taken: claim == Claim::Takes,
        miss: (claim == Claim::OtherName).then(|| Miss {
            what: "server name".to_owned(),
            wanted,
            found: name.map(str::to_owned),
        }),
    }
}

/// A rule for TLS and a connection that is none.
fn no_hello(rule: &model::ConnectionRule) -> Candidate {
    let miss = Miss { what: "ClientHello".to_owned(), wanted: "TLS".to_owned(), found: None };
    Candidate { miss: Some(miss), ..candidate(rule, Claim::OtherName, None) }
}

/// How the proxy ends a connection.
fn cut(failure: Failure, heard: Heard<'_>) -> Cut {
    let form = failure.form();
    Cut {
        by: tcp::told(failure, heard).map_or("a reset", |(_, name)| name),
        flag: form.flag.as_str(),
        reason: form.reason,
        text: answer::describe(failure).to_owned(),
    }
}

#[cfg(test)]
mod tests;
