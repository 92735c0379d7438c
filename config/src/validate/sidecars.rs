//! Listeners of a Sidecar: no two on one address, none that sends to itself, none open to others by accident.

use std::net::SocketAddr;

use super::Checks;
use crate::{
    convert::{SocketAddress, Spanned},
    diagnostic::{Code, Fault},
    objects::Object,
    schema::Sidecar,
};

pub(super) fn check(checks: &mut Checks<'_>) {
    let objects = checks.objects;
    objects.sidecars.iter().for_each(|sidecar| one(sidecar, checks));
}

fn one(sidecar: &Object<Sidecar>, checks: &mut Checks<'_>) {
    let spec = &sidecar.body.spec;
    if spec.inbound.is_empty() && spec.outbound.is_empty() && spec.inbound.complete && spec.outbound.complete
    {
        let fault = Fault::warning(Code::NoEffect, sidecar.span, "the Sidecar has no listener");
        checks.push(fault.help("add `inbound` or `outbound`"));
    }
    binds(sidecar, checks);
    for address in spec.inbound.iter().filter_map(|listener| listener.app.as_ref()) {
        app(address, sidecar, checks);
    }
    for listener in spec.outbound.iter() {
        let address = listener.bind.value.0;
        let open = !address.ip().is_loopback() && !listener.allow_remote.is_some_and(|flag| flag.0);
        // A fault inside the listener may be its `allowRemote`.
        if open && !checks.faults.iter().any(|fault| listener.span.holds(&fault.span)) {
            let message =
                format!("`{address}` can be reached from other machines, which could use this proxy");
            let help =
                format!("bind `127.0.0.1:{}`, or set `allowRemote: true` if that is meant", address.port());
            checks.push(Fault::error(Code::Exposed, listener.bind.span, message).help(help));
        }
    }
    if let Some(admin) = spec.admin.as_ref().filter(|admin| !admin.bind.value.0.ip().is_loopback()) {
        let message = "the admin API can be reached from other machines, which could stop this proxy";
        let fault = Fault::warning(Code::Exposed, admin.bind.span, message);
        checks.push(fault.help(format!("bind `127.0.0.1:{}`", admin.bind.value.0.port())));
    }
    let ports = spec.inbound.iter().flat_map(|listener| listener.ports.iter());
    let inbound = spec.inbound.iter().filter_map(|listener| listener.service.as_ref());
    let inbound = inbound.chain(ports.filter_map(|port| port.service.as_ref()));
    let outbound = spec.outbound.iter().filter_map(|listener| listener.service.as_ref());
    for reference in inbound.chain(outbound) {
        checks.service_ref(reference, &sidecar.name.namespace);
    }
}

/// Every bind address with the words for it.
fn listeners(sidecar: &Sidecar) -> Vec<(&Spanned<SocketAddress>, &'static str)> {
    let spec = &sidecar.spec;
    let inbound = spec.inbound.iter().map(|listener| (&listener.bind, "an inbound listener"));
    let outbound = spec.outbound.iter().map(|listener| (&listener.bind, "an outbound listener"));
    let admin = spec.admin.iter().map(|admin| (&admin.bind, "the admin API"));
    inbound.chain(outbound).chain(admin).collect()
}

fn binds(sidecar: &Object<Sidecar>, checks: &mut Checks<'_>) {
    let listeners = listeners(&sidecar.body);
    for (index, (later, _)) in listeners.iter().enumerate() {
        let clash = listeners[..index].iter().find(|(earlier, _)| overlap(earlier.value.0, later.value.0));
        if let Some((earlier, what)) = clash {
            let message = format!("`{}` is taken by {what}", later.value.0);
            let fault = Fault::error(Code::Bind, later.span, message)
                .related(earlier.span, format!("{what} on `{}`", earlier.value.0))
                .help("give each listener a port of its own");
            checks.push(fault);
        }
    }
    let admin = SocketAddr::from(([127, 0, 0, 1], 15000));
    if sidecar.body.spec.admin.is_none()
        && let Some((listener, _)) = listeners.iter().find(|(listener, _)| overlap(listener.value.0, admin))
    {
        let message =
            format!("`{}` is taken by the admin API, which is on 127.0.0.1:15000", listener.value.0);
        let fault = Fault::error(Code::Bind, listener.span, message);
        checks.push(fault.help("use another port, or move the admin API with `admin: {bind: ...}`"));
    }
}

/// Whether two listeners cannot both be bound.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let any = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && (any || a.ip() == b.ip())
}

/// The address of an app.
pub(super) fn app(address: &Spanned<SocketAddress>, sidecar: &Object<Sidecar>, checks: &mut Checks<'_>) {
    let app = address.value.0;
    if app.port() == 0 {
        let fault = Fault::error(Code::Address, address.span, "the app needs a port other than 0");
        return checks.push(fault.help("write the port on which the app listens"));
    }
    let reaches = |bind: SocketAddr| {
        let here = app.ip().is_loopback() || app.ip().is_unspecified();
        bind.port() == app.port() && (bind.ip() == app.ip() || here && bind.ip().is_unspecified())
    };
    let listeners = listeners(&sidecar.body);
    if let Some((own, what)) = listeners.iter().find(|(own, _)| reaches(own.value.0)) {
        let message = format!("the app's address `{app}` is {what} of this Sidecar: requests would go round");
        let fault = Fault::error(Code::Bind, address.span, message)
            .related(own.span, format!("{what} on `{}`", own.value.0))
            .help("write the address on which the app itself listens");
        checks.push(fault);
    }
}
