//! The backends of a rule: their shares, their endpoints, and the request as each would get it.

pub(super) mod security;

use http::uri::Scheme;
use outrigger_config::model::{self, AppProtocol, Endpoints, InboundListener, RouteRule, ServicePort};

use super::{
    Admitted, Explainer, answered, callee, circuit_breaker,
    hears::Hears,
    refusal,
    report::{Endpoint, Mirror, Outcome, Sent, Share, Tls},
    resolution, sent, usable,
};
use crate::{
    decide::{self, Address, Decision, Direct, Forward},
    error::Failure,
    exchange,
    listen::answer::Caller,
    policy::deadline,
    request::switch::Switch,
    runtime::snapshot::{Backend, Rule},
};

impl Explainer {
    /// Every share of the rule that a decision took; a direct request is one whole share.
    pub(super) fn shares(
        &self,
        decision: &Decision,
        admitted: Admitted<'_>,
        source: Option<&RouteRule>,
    ) -> Vec<Share> {
        let rule = match decision {
            Decision::Forward(forward) => &forward.rule,
            Decision::Direct(direct) => return vec![self.direct(direct, admitted)],
            Decision::Refuse(refused) if refused.failure == Failure::NoBackend => &refused.rule,
            Decision::Redirect(redirected) if redirected.is_of_backend() => &redirected.rule,
            Decision::Refuse(_) | Decision::Redirect(_) | Decision::Preflight(_) => return Vec::new(),
        };
        let indices = 0..rule.backends.len();
        let written = |index: usize| source.and_then(|source| source.backends.get(index));
        indices
            .map(|index| {
                let mut share = self.share(rule, index, (source, written(index)), admitted);
                if let Some(sent) = &mut share.sent {
                    sent.changes =
                        source
                            .map(|rule| sent::changes("rule", &rule.request_headers, rule.rewrite.as_ref()))
                            .into_iter()
                            .chain(written(index).map(|one| {
                                sent::changes("backend", &one.request_headers, one.rewrite.as_ref())
                            }))
                            .flatten()
                            .collect();
                }
                share
            })
            .collect()
    }

    fn share(
        &self,
        rule: &std::sync::Arc<Rule>,
        index: usize,
        (source, written): (Option<&RouteRule>, Option<&model::Backend>),
        admitted: Admitted<'_>,
    ) -> Share {
        let weighted = &rule.backends[index];
        let caller = Caller::of_checked(admitted.checked, &admitted.head.method);
        let mut share = Share::of("none", weighted.weight, percent(weighted.weight, rule.total_weight));
        if let Some(written) = written {
            share.origin = Some(written.origin.to_string());
            share.response_headers = sent::header_changes(&written.response_headers);
        }
        let mut heard = Hears::default();
        let decision = decide::share(rule, index, admitted.dice.unwrap_or_default(), &mut heard);
        let forward = match &decision {
            Decision::Forward(forward) => forward,
            Decision::Redirect(redirected) => {
                let made = exchange::redirection(redirected, &admitted.head.uri, admitted.checked);
                share.outcome = answered(&decision, made, admitted.head, caller);
                if let Ok(backend) = &weighted.target {
                    share.backend = name(backend);
                }
                return share;
            }
            Decision::Refuse(refused) => {
                let mut refused = refusal(refused.failure, caller);
                if let Err(reason) = &weighted.target {
                    refused.text = format!("{}: {reason}", refused.text);
                }
                share.outcome = Outcome::Refuse(refused);
                return share;
            }
            // A share is a backend: there is no other case.
            Decision::Direct(_) | Decision::Preflight(_) => return share,
        };
        let backend = forward.backend();
        share.backend = name(backend);
        share.endpoints = self.endpoints(backend);
        self.balancing(&mut share, backend);
        self.hashed(&mut share, backend, admitted.head, admitted.from.1);
        share.circuit_breaker = circuit_breaker::of_backend(backend);
        share.usable = usable::told(backend, share.endpoints.len());
        share.callee = callee::told(&backend.settings, admitted);
        let protocol = backend.protocol.spoken_to(admitted.checked.version);
        share.tls = self.tls(backend).filter(|_| share.endpoints.iter().any(|one| one.security.by == "tls"));
        let taken = heard.mirrors.into_iter().map(|taken| admitted.dice.map(|_| taken));
        share.mirrors =
            mirrors(source, written).zip(taken).map(|((by, one), taken)| mirrored(by, one, taken)).collect();
        let scheme = if share.tls.is_some() { &Scheme::HTTPS } else { &Scheme::HTTP };
        share.outcome = match self.sent(rule, Some(forward), admitted, (protocol, scheme)) {
            Ok(sent) => {
                share.sent = sent;
                self.reached(&share, caller)
            }
            Err(failure) => Outcome::Refuse(refusal(failure, caller)),
        };
        share
    }

    /// What becomes of requests that are sent to a backend, as far as policy alone tells.
    fn reached(&self, share: &Share, caller: Caller) -> Outcome {
        let refuse = |failure| Outcome::Refuse(refusal(failure, caller));
        match &*share.endpoints {
            [] => refuse(Failure::NoEndpoint),
            all if all.iter().all(|endpoint| endpoint.is_loop) => refuse(Failure::Loop),
            _ => Outcome::Forward { backend: share.backend.clone() },
        }
    }

    fn direct(&self, direct: &Direct, admitted: Admitted<'_>) -> Share {
        let authority = &admitted.checked.authority;
        let to = match direct.to {
            Address::Endpoint(address) | Address::App(address) | Address::Dialled { address, .. } => {
                address.to_string()
            }
            Address::Authority { .. } => format!("{}:{}", authority.host(), authority.port().unwrap_or(80)),
        };
        let caller = Caller::of_checked(admitted.checked, &admitted.head.method);
        let protocol = direct.backend().protocol.spoken_to(admitted.checked.version);
        let sent = self.sent(&direct.rule, None, admitted, (protocol, &Scheme::HTTP));
        let is_loop = to.parse().is_ok_and(|address| self.own.contains(address));
        let mut share = Share::of(&name(direct.backend()), 1, 100.0);
        share.endpoints = self.told_of(direct.backend(), &to);
        share.outcome = match &sent {
            Err(failure) => Outcome::Refuse(refusal(*failure, caller)),
            Ok(_) if is_loop => Outcome::Refuse(refusal(Failure::Loop, caller)),
            Ok(_) => Outcome::Direct { to },
        };
        share.sent = sent.ok().flatten();
        share
    }

    fn sent(
        &self,
        rule: &Rule,
        forward: Option<&Forward>,
        admitted: Admitted<'_>,
        spoken: (AppProtocol, &Scheme),
    ) -> Result<Option<Sent>, Failure> {
        let Admitted { head, checked, .. } = admitted;
        // A tunnel carries what the caller sends, and nothing before that.
        if checked.switch.as_deref() == Some(&Switch::Connect) {
            return Ok(None);
        }
        let asked = deadline::asked(&head.headers, checked);
        let limits = deadline::limits(&rule.settings.timeouts, asked, checked);
        sent::sent(head, forward, checked, spoken, limits.request).map(Some)
    }

    pub(super) fn tls(&self, backend: &Backend) -> Option<Tls> {
        let of = resolution::destination(&self.resources, backend.service.as_ref()?)?;
        let tls = of.tls.as_ref()?;
        Some(Tls {
            server_name: tls.server_name.to_string(),
            trust_bundle: tls.trust_bundle.as_ref().map(|file| file.path.to_string()),
            certificate: tls.identity.as_ref().map(|own| own.certificate.path.to_string()),
            origin: tls.origin.to_string(),
        })
    }

    /// The endpoint of a backend that is called by its own address, where there is more to say of it.
    pub(super) fn told_of(&self, backend: &Backend, address: &str) -> Vec<Endpoint> {
        let listed = self.endpoints(backend).into_iter();
        listed.filter(|one| one.address == address && one.security.told).collect()
    }

    /// The endpoints that policy lists for a backend.
    pub(super) fn endpoints(&self, backend: &Backend) -> Vec<Endpoint> {
        match &backend.service {
            Some(port) => self.listed(port),
            None => self.apps(backend),
        }
    }

    fn listed(&self, port: &ServicePort) -> Vec<Endpoint> {
        let of = |endpoints: &&std::sync::Arc<Endpoints>| endpoints.service == *port;
        let listed = self.resources.endpoints.iter().find(of).map_or(&[][..], |of| &of.endpoints);
        let security = self.security(port);
        let told = listed.iter().map(|endpoint| {
            let (address, is_loop) = match &endpoint.address {
                model::EndpointAddress::Ip(address) => (address.to_string(), self.own.contains(*address)),
                model::EndpointAddress::Dns { host, port } => (format!("{host}:{port}"), false),
            };
            Endpoint {
                address,
                weight: endpoint.weight,
                zone: endpoint.zone.as_ref().map(ToString::to_string),
                origin: endpoint.origin.to_string(),
                security: security(endpoint),
                is_loop,
            }
        });
        told.collect()
    }

    /// The app behind an inbound listener.
    fn apps(&self, backend: &Backend) -> Vec<Endpoint> {
        let set = backend.endpoints.load();
        let listeners = &self.resources.workload.inbound;
        let told = set.endpoints().iter().map(|endpoint| {
            let mut apps = listeners.iter().flat_map(InboundListener::apps);
            let app = apps.find(|(address, _)| *address == endpoint.address);
            Endpoint {
                address: endpoint.address.to_string(),
                weight: endpoint.weight,
                zone: None,
                origin: app.map(|(_, origin)| origin.to_string()).unwrap_or_default(),
                security: Self::to_app(),
                is_loop: self.own.contains(endpoint.address),
            }
        });
        told.collect()
    }
}

/// The mirrors of a rule, and then of one of its backends, with who has them.
fn mirrors<'a>(
    source: Option<&'a RouteRule>,
    written: Option<&'a model::Backend>,
) -> impl Iterator<Item = (&'static str, &'a model::Mirror)> {
    let by_rule = source.into_iter().flat_map(|rule| &rule.mirrors).map(|mirror| ("rule", mirror));
    by_rule.chain(written.into_iter().flat_map(|one| &one.mirrors).map(|mirror| ("backend", mirror)))
}

fn mirrored(by: &'static str, mirror: &model::Mirror, copied: Option<bool>) -> Mirror {
    Mirror {
        backend: match &mirror.target {
            model::BackendTarget::Service(port) => port.to_string(),
            model::BackendTarget::Invalid { .. } => "none".to_owned(),
        },
        percent: f64::from(mirror.share.numerator) * 100.0 / f64::from(mirror.share.denominator),
        copied,
        by,
        origin: mirror.origin.to_string(),
    }
}

/// The name of a backend: the app has none of its own but its Service's, by which it is counted.
pub(super) fn name(backend: &Backend) -> String {
    match &backend.service {
        Some(port) => port.to_string(),
        None if *backend.label == *"egress" => "egress".to_owned(),
        None => "app".to_owned(),
    }
}

/// The share of a weight, in percent.
pub(super) fn percent(weight: u32, total: u64) -> f64 {
    match total {
        0 => 0.0,
        total => f64::from(weight) * 100.0 / total as f64,
    }
}

/// Marks the one of several shares that dice chose; `None`: there are no dice.
pub(super) fn mark(shares: &mut [Share], dice: Option<Option<usize>>) {
    if let (Some(chosen), 2..) = (dice, shares.len()) {
        for (at, share) in shares.iter_mut().enumerate() {
            share.chosen = Some(chosen == Some(at));
        }
    }
}

/// What all shares come to; `None`: none has any weight.
pub(super) fn come_to(shares: &[Share]) -> Option<Outcome> {
    let mut possible = shares.iter().filter(|share| share.is_possible());
    match (possible.next(), possible.next()) {
        (Some(only), None) => Some(only.outcome.clone()),
        (Some(_), Some(_)) => Some(Outcome::Split),
        (None, _) => None,
    }
}
