//! Retries that multiply along a chain of services, where the files prove who calls whom.
//!
//! Of the two proxies between a caller and a service only the caller's repeats what may have been started. But a service
//! that calls another one makes requests of its own, and its proxy repeats those by itself: two hops that each repeat
//! twice are nine requests for one. Budgets bound the sum over all requests, not what one of them may cause.
//!
//! Who calls whom is proven where a Sidecar's outbound listener is pinned to a Service, and that Service's port is
//! another Sidecar's inbound listener: by name, or because an endpoint is its address. A listener that goes by authority
//! proves nothing.

use std::{cmp::Reverse, collections::HashMap};

use super::{
    Checks,
    arenas::{self, Arenas},
};
use crate::{
    compile::Layers,
    diagnostic::{Code, Fault},
    model::{ObjectName, ServicePort},
    objects::Object,
    references::{self, Resolved},
    schema::{Route, Rule, ServiceRef},
    services::Source,
    yaml::Span,
};

/// From so many requests for one a person should know.
const MANY: u64 = 6;
/// Hops that are followed, and steps in all: a mesh in which everybody calls everybody must not cost its square.
const LONGEST: usize = 8;
const STEPS: usize = 10_000;

/// One Sidecar's calls to one port: how many requests one of them may become, and where that is written.
#[derive(Clone, Debug)]
struct Hop {
    to: ServicePort,
    requests: u64,
    written: Option<Span>,
}

pub(super) fn check(checks: &mut Checks<'_>) {
    let sidecars = &checks.objects.sidecars;
    if sidecars.len() < 2 {
        return;
    }
    let hops = hops(checks);
    let mut behind: HashMap<&ServicePort, Vec<usize>> = HashMap::new();
    for hop in hops.iter().flatten() {
        behind.entry(&hop.to).or_insert_with(|| callees(&hop.to, checks));
    }
    let mut walk = Walk { hops: &hops, behind, chain: Vec::new(), steps: 0, found: Vec::new() };
    (0..sidecars.len()).for_each(|start| walk.from(start, checks));
    let mut found = walk.found;
    // Of the chains that end in one call the one that multiplies most is told.
    found.sort_by_key(|(product, fault)| (fault.span.file, fault.span.start, Reverse(*product)));
    found.dedup_by_key(|(_, fault)| fault.span);
    found.into_iter().for_each(|(_, fault)| checks.push(fault));
}

/// The calls of each Sidecar.
fn hops(checks: &Checks<'_>) -> Vec<Vec<Hop>> {
    let objects = checks.objects;
    let layers = Layers::unplaced(objects);
    let arenas = arenas::all(&objects.routes, &checks.services);
    let of_sidecar = |sidecar: &Object<crate::schema::Sidecar>| {
        let namespace = &sidecar.name.namespace;
        let listeners = sidecar.body.spec.outbound.iter().filter_map(|listener| listener.service.as_ref());
        let mut hops: Vec<Hop> = Vec::new();
        for to in listeners.map(|reference| port_of(reference, namespace)) {
            for hop in calls(&to, namespace, (&layers, &arenas), checks) {
                match hops.iter_mut().find(|known| known.to == hop.to) {
                    Some(known) if known.requests < hop.requests => *known = hop,
                    Some(_) => {}
                    None => hops.push(hop),
                }
            }
        }
        hops
    };
    objects.sidecars.iter().map(of_sidecar).collect()
}

fn port_of(reference: &ServiceRef, namespace: &std::sync::Arc<str>) -> ServicePort {
    let namespace = reference.namespace.as_ref().map_or(namespace, |namespace| &namespace.0);
    let service = ObjectName::new(namespace.clone(), reference.name.value.0.clone());
    ServicePort { service, port: reference.port.value.port() }
}

/// What calls to a port come to: by the rules that hold there for the caller, or the Service's own endpoints.
fn calls<'a>(
    to: &ServicePort,
    caller: &std::sync::Arc<str>,
    (layers, arenas): (&Layers<'a>, &Arenas<'_>),
    checks: &Checks<'a>,
) -> Vec<Hop> {
    let hop = |to: ServicePort, rule: Option<(&Object<Route>, &'a Rule)>, service: &ObjectName| {
        let written = layers.written(service, rule);
        let place = written.attempts.and_then(|said| said.value).map(|attempts| attempts.span);
        let of_rule = rule.and_then(|(_, rule)| rule.retry.as_ref()).map(|retry| retry.span);
        Hop { to, requests: u64::from(written.merged.attempts) + 1, written: place.or(of_rule) }
    };
    let routes = &checks.objects.routes;
    let arena =
        |namespace: &std::sync::Arc<str>| arenas.get(&(to.service.clone(), to.port, namespace.clone()));
    let Some(attached) = arena(caller).or_else(|| arena(&to.service.namespace)) else {
        return vec![hop(to.clone(), None, &to.service)];
    };
    let rules = arenas::holding(routes, attached).into_iter();
    let rules = rules
        .flat_map(|number| routes[number].body.spec.rules.iter().map(move |rule| (&routes[number], rule)));
    let mut hops = Vec::new();
    for (route, rule) in rules {
        let backends = rule
            .backend_refs
            .iter()
            .filter(|one| one.weight.as_ref().is_none_or(|weight| weight.value.0 > 0));
        for backend in backends {
            if let Resolved::Port { service, port } = references::backend_of(&checks.services, route, backend)
            {
                hops.push(hop(ServicePort { service, port }, Some((route, rule)), &to.service));
            }
        }
    }
    hops
}

/// The Sidecars before the endpoints of a port.
fn callees(to: &ServicePort, checks: &Checks<'_>) -> Vec<usize> {
    let endpoints: Vec<std::net::SocketAddr> =
        match checks.services.get(&to.service).map(|entry| entry.source) {
            Some(Source::Mesh(object)) => {
                let endpoints = object.body.spec.endpoints.iter();
                endpoints
                    .filter_map(|endpoint| endpoint.address.as_ref())
                    .map(|address| address.value.0)
                    .collect()
            }
            Some(Source::Core(_)) | None => Vec::new(),
        };
    let serves = |sidecar: &Object<crate::schema::Sidecar>| {
        sidecar.body.spec.inbound.iter().any(|listener| {
            let named =
                listener.service.as_ref().map(|reference| port_of(reference, &sidecar.name.namespace));
            named.as_ref() == Some(to) || endpoints.contains(&listener.bind.value.0)
        })
    };
    let sidecars = checks.objects.sidecars.iter().enumerate();
    sidecars.filter(|(_, sidecar)| serves(sidecar)).map(|(number, _)| number).collect()
}

/// Follows calls from Sidecar to Sidecar.
struct Walk<'h> {
    hops: &'h [Vec<Hop>],
    behind: HashMap<&'h ServicePort, Vec<usize>>,
    chain: Vec<(usize, &'h Hop)>,
    steps: usize,
    found: Vec<(u64, Fault)>,
}

impl<'h> Walk<'h> {
    fn from(&mut self, sidecar: usize, checks: &Checks<'_>) {
        let hops = self.hops;
        for hop in &hops[sidecar] {
            self.steps += 1;
            if self.steps > STEPS || self.chain.len() == LONGEST {
                return;
            }
            self.chain.push((sidecar, hop));
            let next: Vec<usize> = self.behind.get(&hop.to).cloned().unwrap_or_default();
            let seen = |next: &usize| self.chain.iter().any(|(seen, _)| seen == next);
            let next: Vec<usize> =
                next.into_iter().filter(|next| !seen(next) && !hops[*next].is_empty()).collect();
            if next.is_empty() {
                self.found.extend(told(&self.chain, checks));
            }
            next.into_iter().for_each(|next| self.from(next, checks));
            self.chain.pop();
        }
    }
}

/// What a whole chain comes to, if it is much and more than one hop repeats.
fn told(chain: &[(usize, &Hop)], checks: &Checks<'_>) -> Option<(u64, Fault)> {
    let repeating: Vec<&(usize, &Hop)> = chain.iter().filter(|(_, hop)| hop.requests > 1).collect();
    let product = repeating.iter().fold(1_u64, |product, (_, hop)| product.saturating_mul(hop.requests));
    let [.., (_, last)] = repeating.as_slice() else { return None };
    if repeating.len() < 2 || product < MANY {
        return None;
    }
    let (first, _) = chain.first()?;
    let name = |sidecar: usize| &checks.objects.sidecars[sidecar].name;
    let (_, end) = chain.last()?;
    let hops: Vec<String> = repeating
        .iter()
        .map(|(from, hop)| format!("{} from `{}` to `{}`", hop.requests, name(*from), hop.to))
        .collect();
    let message = format!(
        "one request of `{}` may become {product} at `{}`: {}",
        name(*first),
        end.to,
        hops.join(", times ")
    );
    let mut fault = Fault::warning(Code::RetryChain, last.written?, message);
    for (from, hop) in &repeating[..repeating.len() - 1] {
        if let Some(place) = hop.written.filter(|place| Some(*place) != last.written) {
            fault = fault.related(place, format!("`{}` repeats here", name(*from)));
        }
    }
    let help = "repeat at one hop of a chain; budgets bound the sum of all repeats, not those of one request";
    Some((product, fault.help(help)))
}
