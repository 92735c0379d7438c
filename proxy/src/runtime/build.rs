//! Builds a snapshot out of resources: compiles matchers, resolves references, shares what did not change.
//!
//! Everything that can fail comes before anything that others see: a failed build leaves the old snapshot and its
//! endpoints as they were. Endpoint cells are filled last. Linear in the size of the policy: 10,000 routes take well
//! below a second.

mod egress;
mod fallback;
mod inbound;
mod index;
mod opaque;
mod outbound;

use std::{net::SocketAddr, sync::Arc};

use outrigger_config::model::{
    self, BackendTarget, Destination, DestinationPort, PathMatch, Resources, RouteRule, ServicePort,
};

use super::{
    carry::Carry,
    snapshot::{
        Backend, ListenerKey, Mirror, MirrorTarget, Port, Rule, Service, Snapshot, UpstreamProtocol,
        WeightedBackend,
    },
};
use crate::{
    ctx::Side,
    identity::Identity,
    policy::{
        budget::Budget, circuit_breaker::CircuitBreaker, cors::Cors, fallback::Fallback, fault::Fault,
        session::Session,
    },
    route::{Modifier, Redirection, RouteTable, matcher::Regexes},
    telemetry::{metrics::Metrics, trace::Tracing},
    upstream::{security::Protection, tls::Connectors},
};

/// Why resources make no snapshot. All of it is checked when policy files are read: this is for other sources.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// Not a header name.
    #[error("`{0}` is not a header name")]
    HeaderName(Box<str>),
    /// Not a header value.
    #[error("`{0}` is not a header value")]
    HeaderValue(Box<str>),
    /// Not a status of an answer.
    #[error("`{0}` is not a status")]
    Status(u16),
    /// Not a method.
    #[error("`{0}` is not a method")]
    Method(Box<str>),
    /// Not a regular expression, or too large a one.
    #[error("`{pattern}`: {reason}")]
    Regex {
        /// The expression.
        pattern: Box<str>,
        /// What is wrong with it.
        reason: String,
    },
    /// A listener is pinned to a Service port that is not there.
    #[error("no Service port {0}")]
    UnknownService(ServicePort),
}

/// Builds the snapshot after `previous`, or the first one, for who only decides: a destination that wants TLS cannot be
/// connected to.
///
/// # Errors
/// The first thing that cannot be compiled. Nothing has changed then.
pub fn build(
    resources: &Resources,
    previous: Option<&Snapshot>,
    metrics: &Metrics,
) -> Result<Snapshot, BuildError> {
    build_to_serve(resources, (&Connectors::default(), None), previous, metrics)
}

/// As [`build`], for who sends requests too: with the TLS of the destinations that have one, and with who the proxy is.
///
/// # Errors
/// As [`build`].
pub(crate) fn build_to_serve(
    resources: &Resources,
    (connectors, identity): (&Connectors, Option<Arc<Identity>>),
    previous: Option<&Snapshot>,
    metrics: &Metrics,
) -> Result<Snapshot, BuildError> {
    let mut builder = Builder {
        previous,
        metrics,
        connectors,
        identity: identity.clone(),
        carry: previous.map(Carry::from).unwrap_or_default(),
        backends: foldhash::HashMap::default(),
        held: inbound::Held::default(),
        regexes: Regexes::default(),
        secure: resources.workload.identity.is_some(),
    };
    builder.backends(&resources.destinations);
    let mut services: Vec<_> =
        resources.destinations.iter().map(|from| builder.service(from)).collect::<Result<_, _>>()?;
    services.sort_by(|a, b| a.source.name.cmp(&b.source.name));
    let workload = &resources.workload;
    let mut snapshot = Snapshot {
        generation: previous.map_or(1, |previous| previous.generation + 1),
        mesh: share(previous.map(|previous| &previous.mesh), &resources.mesh),
        workload: share(previous.map(|previous| &previous.workload), workload),
        services: services.into(),
        inbound: keys(Side::Inbound, workload.inbound.iter().map(|from| from.bind))
            .zip(&workload.inbound)
            .map(|(key, from)| builder.inbound(key, from))
            .collect::<Result<_, _>>()?,
        outbound: Box::default(),
        identity,
        path_policy: tells_paths(&resources.destinations),
        tracing: resources.mesh.tracing.as_ref().map(Tracing::new),
        egress_rule: builder.egress_rule(&resources.mesh.defaults)?,
        egress_connections: builder.egress_connections(&resources.mesh.defaults),
        hosts: foldhash::HashMap::default(),
        cluster_ips: foldhash::HashMap::default(),
        endpoint_addresses: foldhash::HashMap::default(),
    };
    snapshot.outbound = keys(Side::Outbound, workload.outbound.iter().map(|from| from.bind))
        .zip(&workload.outbound)
        .map(|(key, from)| outbound::listener(&snapshot, key, from))
        .collect::<Result<_, _>>()?;
    index::fill_maps(&mut snapshot, &resources.endpoints);
    index::fill_cells(&snapshot, &resources.endpoints);
    Ok(snapshot)
}

struct Builder<'a> {
    previous: Option<&'a Snapshot>,
    metrics: &'a Metrics,
    connectors: &'a Connectors,
    identity: Option<Arc<Identity>>,
    carry: Carry<'a>,
    backends: foldhash::HashMap<ServicePort, Arc<Backend>>,
    held: inbound::Held,
    regexes: Regexes,
    /// The proxy has an identity.
    secure: bool,
}

impl Builder<'_> {
    /// The endpoint part of every port: before any rule, since rules refer to each other's Services.
    fn backends(&mut self, destinations: &[Arc<Destination>]) {
        for destination in destinations {
            for port in &destination.ports {
                let name = ServicePort { service: destination.name.clone(), port: port.port };
                let outward =
                    self.connectors.of(destination).map(|made| self.carry.outward(destination, made));
                let own = self.identity.clone();
                let protection = Protection { outward, own, mode: Some(port.mtls) };
                let backend = self.backend(&name, port, protection);
                self.backends.insert(name, backend);
            }
        }
    }

    fn backend(&self, name: &ServicePort, port: &DestinationPort, protection: Protection) -> Arc<Backend> {
        let protocol = UpstreamProtocol::from(port.protocol);
        let settings = &port.settings;
        let old = self.carry.backend(name);
        match old {
            Some(old)
                if (old.protocol, &old.settings, &old.protection) == (protocol, settings, &protection) =>
            {
                old.clone()
            }
            _ => Arc::new(Backend {
                protection,
                metrics: self.metrics.backend(&name.to_string()),
                label: name.to_string().into(),
                service: Some(name.clone()),
                protocol,
                settings: settings.clone(),
                endpoints: old.map(|old| old.endpoints.clone()).unwrap_or_default(),
                circuit_breaker: CircuitBreaker::renew(
                    old.and_then(|old| old.circuit_breaker.as_ref()),
                    &settings.circuit_breaker,
                    self.metrics.workers(),
                    || self.metrics.circuit_breaker(&name.to_string()),
                ),
            }),
        }
    }

    fn service(&mut self, from: &Arc<Destination>) -> Result<Arc<Service>, BuildError> {
        if let Some(old) = self.previous.and_then(|previous| previous.service(&from.name))
            && old.source == *from
            && self.backends_are_the_same(old)
        {
            return Ok(old.clone());
        }
        let ports = from.ports.iter().map(|port| self.port(from, port)).collect::<Result<_, _>>()?;
        Ok(Arc::new(Service { ports, source: from.clone() }))
    }

    /// Whether every backend that a Service's rules point at, mirrors included, is still the current one.
    fn backends_are_the_same(&self, service: &Service) -> bool {
        let same = |old: &Arc<Backend>| {
            old.service
                .as_ref()
                .and_then(|name| self.backends.get(name))
                .is_some_and(|current| Arc::ptr_eq(current, old))
        };
        service.ports.iter().all(|port| {
            same(&port.backend)
                && port.default_rule.points_at().all(same)
                && opaque::backends(port).all(same)
                && port.routes.iter().flat_map(RouteTable::rules).flat_map(|rule| rule.points_at()).all(same)
        })
    }

    fn port(&mut self, of: &Destination, from: &DestinationPort) -> Result<Arc<Port>, BuildError> {
        let name = ServicePort { service: of.name.clone(), port: from.port };
        let backend = match self.backends.get(&name) {
            Some(backend) => backend.clone(),
            None => return Err(BuildError::UnknownService(name)),
        };
        let budget = self.carry.budget(&name, &from.settings.retry.budget);
        let fallback = self.fallback(&backend.label, &from.settings.circuit_breaker)?;
        let default_rule = Arc::new(self.default_rule(Side::Outbound, &backend, (Some(budget), fallback))?);
        let routes = match &from.routes {
            None => None,
            Some(rules) => {
                let compiled = rules
                    .iter()
                    .map(|rule| Ok((self.rule(&name, rule, &default_rule)?, &**rule)))
                    .collect::<Result<_, BuildError>>()?;
                Some(RouteTable::build(compiled, &mut self.regexes)?)
            }
        };
        let opaque = from.protocol.is_opaque().then(|| self.opaque(&backend, from));
        let either = self.either(&backend, from);
        Ok(Arc::new(Port { name, backend, routes, default_rule, opaque, either }))
    }

    fn rule(&self, port: &ServicePort, from: &RouteRule, default: &Rule) -> Result<Arc<Rule>, BuildError> {
        let backends: Box<[_]> =
            from.backends.iter().map(|backend| self.weighted(port, backend)).collect::<Result<_, _>>()?;
        let budget = match &from.settings.retry.budget {
            same if same == default.budget.config() => default.budget.clone(),
            own => self.carry.rule_budget(port, &from.id, own),
        };
        let route: Arc<str> = from.id.to_string().into();
        Ok(Arc::new(Rule {
            id: Some(from.id.clone()),
            metrics: self.metrics.route(Side::Outbound, &default.service, &route),
            service: default.service.clone(),
            route,
            origin: Some(from.origin.clone()),
            settings: from.settings.clone(),
            request_headers: modifiers(&from.request_headers)?,
            response_headers: modifiers(&from.response_headers)?,
            redirect: redirection(from.redirect.as_ref(), port),
            rewrite: from.rewrite.clone().map(Box::new),
            cors: cors(from.cors.as_ref())?,
            rate_limits: None,
            security: None,
            concurrency: None,
            fault: Fault::compile(&from.settings.fault)?,
            session: Session::of(from)?,
            mirrors: self.mirrors(&from.mirrors),
            total_weight: backends.iter().map(|backend| u64::from(backend.weight)).sum(),
            backends,
            budget,
            fallback: self.fallback(&default.service, &from.settings.circuit_breaker)?,
        }))
    }

    fn weighted(&self, port: &ServicePort, from: &model::Backend) -> Result<WeightedBackend, BuildError> {
        Ok(WeightedBackend {
            weight: from.weight,
            target: self.target(&from.target),
            request_headers: modifiers(&from.request_headers)?,
            response_headers: modifiers(&from.response_headers)?,
            redirect: redirection(from.redirect.as_ref(), port),
            rewrite: from.rewrite.clone().map(Box::new),
            cors: cors(from.cors.as_ref())?,
            mirrors: self.mirrors(&from.mirrors),
        })
    }

    fn mirrors(&self, from: &[model::Mirror]) -> Box<[Mirror]> {
        let of =
            |backend: Arc<Backend>| MirrorTarget { metrics: self.metrics.mirror(&backend.label), backend };
        let mirrors =
            from.iter().map(|one| Mirror { share: one.share, target: self.target(&one.target).map(of) });
        mirrors.collect()
    }

    fn target(&self, from: &BackendTarget) -> Result<Arc<Backend>, Arc<str>> {
        match from {
            BackendTarget::Invalid { reason } => Err(reason.clone()),
            BackendTarget::Service(name) => {
                self.backends.get(name).cloned().ok_or_else(|| format!("no Service port {name}").into())
            }
        }
    }

    /// A rule without route: everything to one backend, with the backend's own settings.
    fn default_rule(
        &self,
        side: Side,
        backend: &Arc<Backend>,
        (budget, fallback): (Option<Arc<Budget>>, Option<Box<Fallback>>),
    ) -> Result<Rule, BuildError> {
        let settings = &backend.settings;
        Ok(Rule {
            id: None,
            service: backend.label.clone(),
            route: "default".into(),
            origin: None,
            settings: settings.clone(),
            request_headers: Box::default(),
            response_headers: Box::default(),
            redirect: None,
            rewrite: None,
            cors: None,
            rate_limits: None,
            security: None,
            concurrency: None,
            fault: match side {
                Side::Inbound => None,
                Side::Outbound => Fault::compile(&settings.fault)?,
            },
            session: None,
            mirrors: Box::default(),
            backends: [WeightedBackend::whole(backend)].into(),
            total_weight: 1,
            budget: budget.unwrap_or_else(|| Arc::new(Budget::new(settings.retry.budget))),
            fallback,
            metrics: self.metrics.route(side, &backend.label, "default"),
        })
    }
}

/// The key of each listener, by the addresses that they bind.
fn keys(side: Side, binds: impl Iterator<Item = SocketAddr>) -> impl Iterator<Item = ListenerKey> {
    let mut seen = foldhash::HashMap::<SocketAddr, u16>::default();
    binds.map(move |bind| {
        let nth = seen.entry(bind).or_default();
        *nth += 1;
        ListenerKey { side, bind, nth: *nth - 1 }
    })
}

fn redirection(from: Option<&model::Redirect>, port: &ServicePort) -> Option<Box<Redirection>> {
    let redirect = from?.clone();
    Some(Box::new(Redirection { redirect, service_port: port.port }))
}

fn cors(from: Option<&model::Cors>) -> Result<Option<Box<Cors>>, BuildError> {
    from.map(Cors::compile).transpose().map(|compiled| compiled.map(Box::new))
}

fn modifiers(from: &[model::HeaderModifier]) -> Result<Box<[Modifier]>, BuildError> {
    from.iter().map(Modifier::compile).collect()
}

/// Whether some rule holds for some paths only, or changes them.
fn tells_paths(destinations: &[Arc<Destination>]) -> bool {
    let rules = destinations.iter().flat_map(|of| &of.ports).flat_map(|port| port.routes.iter().flatten());
    let whole = |path: &PathMatch| match path {
        PathMatch::Prefix(path) => &**path == "/",
        PathMatch::Grpc(call) => call.service.is_none() && call.method.is_none(),
        PathMatch::Exact(_) | PathMatch::Regex(_) => false,
    };
    let changes = |rewrite: &Option<model::Rewrite>| rewrite.as_ref().is_some_and(|one| one.path.is_some());
    rules.into_iter().any(|rule| {
        rule.matches.iter().any(|one| !whole(&one.path))
            || rule.redirect.is_some()
            || changes(&rule.rewrite)
            || rule.backends.iter().any(|one| one.redirect.is_some() || changes(&one.rewrite))
    })
}

/// The old value where nothing changed.
fn share<T: Clone + PartialEq>(old: Option<&Arc<T>>, new: &T) -> Arc<T> {
    match old {
        Some(old) if **old == *new => old.clone(),
        _ => Arc::new(new.clone()),
    }
}

#[cfg(test)]
mod tests;
