//! Listeners that take redirected connections: what belongs to them, and what would send connections round.

use std::collections::HashMap;

use super::{Checks, sidecars};
use crate::{
    diagnostic::{Code, Fault},
    objects::Object,
    schema::{Inbound, Sidecar},
    yaml::Span,
};

pub(super) fn check(checks: &mut Checks<'_>) {
    let objects = checks.objects;
    for sidecar in &objects.sidecars {
        for listener in sidecar.body.spec.inbound.iter() {
            if listener.intercepted.is_some_and(|flag| flag.0) {
                intercepted(listener, sidecar, checks);
            } else {
                plain(listener, checks);
            }
        }
        for listener in sidecar.body.spec.outbound.iter() {
            let set = listener.intercepted.is_some_and(|flag| flag.0);
            if let Some(service) = listener.service.as_ref().filter(|_| set) {
                let message =
                    "`intercepted` has no use here: all connections of this listener go to one Service";
                let fault = Fault::error(Code::Misplaced, service.name.span, message);
                checks.push(fault.help("remove `service`, or let a listener of its own be `intercepted`"));
            }
        }
    }
}

/// A listener with one app.
fn plain(listener: &Inbound, checks: &mut Checks<'_>) {
    // What could not be read inside the listener may be what is missed here.
    if checks.faults.iter().any(|fault| listener.span.holds(&fault.span)) {
        return;
    }
    if listener.app.is_none() {
        let fault = Fault::error(Code::MissingField, listener.span, "missing field `app`");
        checks.push(fault.help(
            "write where the app listens, such as `app: \"127.0.0.1:3000\"`; only a listener that is `intercepted` has none",
        ));
    }
    if let Some(port) = listener.ports.iter().next() {
        let message = "`ports` has no effect: this listener has one app, whatever port callers dial";
        let fault = Fault::error(Code::Misplaced, port.port.span, message);
        checks.push(
            fault.help("write `intercepted: true` if `outrigger intercept` redirects connections here"),
        );
    }
}

/// A listener for every port of the app.
fn intercepted(listener: &Inbound, sidecar: &Object<Sidecar>, checks: &mut Checks<'_>) {
    let app = listener.app.as_ref().map(|app| ("app", app.span));
    let service = listener.service.as_ref().map(|service| ("service", service.name.span));
    for (field, span) in app.into_iter().chain(service) {
        let message =
            format!("`{field}` cannot stand here: this listener takes connections to every port of the app");
        let fault = Fault::error(Code::Misplaced, span, message);
        checks.push(fault.help("write it in `ports`, for the port that it belongs to"));
    }
    let mut known: HashMap<u16, Span> = HashMap::new();
    for port in listener.ports.iter() {
        let number = port.port.value.port();
        if let Some(first) = known.get(&number) {
            let fault =
                Fault::error(Code::Conflict, port.port.span, format!("port {number} is listed twice"));
            checks.push(fault.related(*first, "first listed here").help("list each port once"));
        }
        known.entry(number).or_insert(port.port.span);
        let Some(app) = &port.app else { continue };
        sidecars::app(app, sidecar, checks);
        if !app.value.0.ip().is_loopback() {
            let message = format!(
                "`{}` is no loopback address: what the proxy sends there may be redirected to this listener again",
                app.value.0
            );
            let fault = Fault::error(Code::Bind, app.span, message);
            let help = format!(
                "write `127.0.0.1:{}`, or leave `app` out: then it is the address that was dialled",
                app.value.0.port()
            );
            checks.push(fault.help(help));
        }
    }
}
