//! What ports speak, against what is sent to them and what is asked of them.

use super::Checks;
use crate::{
    convert::Setting,
    diagnostic::{Code, Fault},
    model::{AppProtocol, ObjectName, ServicePort},
    objects::Object,
    protocol, references,
    schema::{InboundProtocolWord, ParentRef, Route, TargetKind, TrafficPolicy},
    services::{Entry, EntryPort},
    yaml::Span,
};

pub(super) fn check(checks: &mut Checks<'_>) {
    let objects = checks.objects;
    for port in objects.services.iter().flat_map(|service| service.body.spec.ports.iter()) {
        let Some(word) = &port.app_protocol else { continue };
        if let Some(meant) = protocol::meant(&word.value.0) {
            let message = format!("`{}` is passed on as TCP: it is no word that says more", word.value.0);
            let fault = Fault::warning(Code::UnknownValue, word.span, message);
            checks.push(fault.help(format!("did you mean `{meant}`?")));
        }
    }
    for route in &objects.routes {
        for parent in route.body.spec.parent_refs.iter() {
            parent_speaks(route, parent, checks);
        }
    }
    for sidecar in &objects.sidecars {
        let listeners = || sidecar.body.spec.inbound.iter();
        let apps = listeners().map(|listener| (listener.protocol.0, &listener.service));
        let ports = listeners().flat_map(|listener| listener.ports.iter());
        for (word, service) in apps.chain(ports.map(|port| (port.protocol.0, &port.service))) {
            let word =
                word.filter(|word| !matches!(word, InboundProtocolWord::Auto | InboundProtocolWord::Tcp));
            let (Some(word), Some(service)) = (word, service) else { continue };
            let namespace =
                service.namespace.as_ref().map_or(&sidecar.name.namespace, |namespace| &namespace.0);
            let name = ObjectName { namespace: namespace.clone(), name: service.name.value.0.clone() };
            let name = ServicePort { service: name, port: service.port.value.port() };
            let spoken = checks.services.port(&name).and_then(opaque);
            if let Some(spoken) = spoken {
                let message =
                    format!("the app speaks {}, but `{name}` speaks {}", word.word(), spoken.word());
                let fault = Fault::error(Code::Conflict, service.port.span, message);
                checks.push(
                    fault.help("write `protocol: tcp` here, or let the port of the Service speak HTTP"),
                );
            }
        }
    }
    objects.policies.iter().for_each(|policy| settings(policy, checks));
}

/// What a port says to speak, if connections are passed on whole there.
fn opaque(port: &EntryPort<'_>) -> Option<AppProtocol> {
    port.protocol.filter(|protocol| protocol.is_opaque())
}

/// A route must find a port that it can hold on.
fn parent_speaks(route: &Object<Route>, parent: &ParentRef, checks: &mut Checks<'_>) {
    let Some(service) = references::parent_service(parent, &route.name.namespace) else { return };
    let Some(entry) = checks.services.get(&service).filter(|entry| entry.complete) else { return };
    let mut meant = entry.ports.iter().filter(|port| references::means(parent, port)).peekable();
    let kind = route.body.kind;
    let Some(EntryPort { number, protocol: Some(spoken), .. }) = meant.peek().copied() else { return };
    if meant.any(|port| port.takes(kind)) {
        return;
    }
    let place = parent.port.as_ref().map(|port| port.span);
    let place = place.or(parent.section_name.as_ref().map(|name| name.span)).unwrap_or(parent.name.span);
    let message = format!(
        "the port {number} of `{service}` speaks {}, where no {} can hold",
        spoken.word(),
        kind.word()
    );
    let help = if kind.is_opaque() {
        "HTTPRoute and GRPCRoute hold on ports of HTTP; for this route, write another `appProtocol` or `protocol`"
    } else {
        "TCPRoute and TLSRoute hold on ports of TCP and TLS"
    };
    let fault = Fault::error(Code::WrongReference, place, message);
    let fault = fault.related(entry.span, format!("`{service}` stands here")).help(help);
    checks.push(fault);
}

/// Settings of requests on a Service that has none.
fn settings(policy: &Object<TrafficPolicy>, checks: &mut Checks<'_>) {
    let spec = &policy.body.spec;
    let mut written: Vec<(&str, Span)> = Vec::new();
    if let Setting::Set(body) = &spec.timeouts {
        for (field, setting) in [("timeouts.request", &body.request), ("timeouts.attempt", &body.attempt)] {
            if let Setting::Set(value) = setting {
                written.push((field, value.span));
            }
        }
    }
    if let Setting::Set(body) = &spec.retry {
        written.push(("retry", body.span));
    }
    let is_opaque = |entry: &Entry<'_>| {
        let routed = |port: &EntryPort<'_>| opaque(port).is_some();
        entry.complete && !entry.ports.is_empty() && entry.ports.iter().all(routed)
    };
    let mut targets = spec.target_refs.iter().filter(|target| target.kind.value == TargetKind::Service);
    let none = targets.clone().count() == spec.target_refs.len()
        && targets.all(|target| {
            let name = ObjectName::new(policy.name.namespace.clone(), target.name.value.0.clone());
            checks.services.get(&name).is_some_and(is_opaque)
        });
    if !none || spec.target_refs.is_empty() {
        return;
    }
    for (field, span) in written {
        let message =
            format!("`{field}` has no effect: the ports of the target pass on connections, not requests");
        let fault = Fault::warning(Code::NoEffect, span, message);
        checks.push(
            fault.help("`timeouts.connect`, `timeouts.streamIdle` and `loadBalancer` act on connections"),
        );
    }
}
