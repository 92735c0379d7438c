//! TCPRoutes and TLSRoutes: each rule with its references resolved.

use std::sync::Arc;

use super::{Scope, routes};
use crate::{
    model::{ConnectionBackend, ConnectionRule, ObjectName},
    objects::Object,
    schema::{Route, Rule},
};

/// The rules of a route for connections to the Service; `rank` is that of the first.
pub(super) fn rules(
    scope: &Scope<'_>,
    service: &ObjectName,
    route: &Object<Route>,
    rank: u32,
) -> Vec<Arc<ConnectionRule>> {
    let written = route.body.spec.rules.iter().enumerate();
    let mut made: Vec<_> = written
        .map(|(index, one)| Arc::new(rule(scope, service, (route, Some((index, one))), rank + index as u32)))
        .collect();
    if made.is_empty() {
        // As with the other kinds: without rules, one that takes everything and has no backend.
        made.push(Arc::new(rule(scope, service, (route, None), rank)));
    }
    made
}

type Place<'a> = (&'a Object<Route>, Option<(usize, &'a Rule)>);

fn rule(scope: &Scope<'_>, service: &ObjectName, (route, written): Place<'_>, rank: u32) -> ConnectionRule {
    let body = written.map(|(_, rule)| rule);
    let backends = body.map_or(&[][..], |rule| &rule.backend_refs);
    ConnectionRule {
        id: routes::rule_id(route, written),
        origin: scope.origin(body.map_or(&route.span, |rule| &rule.span)),
        rank,
        server_names: route.body.spec.server_names.iter().map(|name| name.value.0.clone()).collect(),
        backends: backends
            .iter()
            .map(|backend| ConnectionBackend {
                weight: backend.weight.as_ref().map_or(1, |weight| weight.value.0),
                target: routes::target(scope, route, backend),
                origin: scope.origin(&backend.span),
            })
            .collect(),
        settings: scope.layers.rule(service, route, body),
    }
}
