//! TLS to endpoints outside the mesh: fields that fit the mode, and a name to hold certificates against.

use super::Checks;
use crate::{
    compile::server_name,
    diagnostic::{Code, Fault},
    model::RouteKind,
    objects::Object,
    references,
    schema::{MeshService, TlsBody, TlsMode},
    services::EntryPort,
    yaml::Span,
};

pub(super) fn check(object: &Object<MeshService>, checks: &mut Checks<'_>) {
    let Some(body) = &object.body.spec.tls else { return };
    match body.mode.value {
        TlsMode::Disabled => {
            if let Some((field, span)) = written(body).into_iter().flatten().next() {
                let message = format!("`{field}` has no effect with `mode: Disabled`");
                let fault = Fault::warning(Code::NoEffect, span, message);
                checks.push(fault.help("write `mode: Simple` or `mode: Mutual` to speak TLS"));
            }
            return;
        }
        TlsMode::Simple => simple(body, checks),
        TlsMode::Mutual => mutual(body, checks),
    }
    inferred(object, body, checks);
    within_the_mesh(object, body, checks);
    let spec = &object.body.spec;
    if server_name(object).is_none() && spec.hosts.complete && spec.endpoints.complete {
        let names = spec.endpoints.iter().any(|endpoint| endpoint.dns.is_some());
        let message = match names {
            true => "the `dns` endpoints have different names: which one must their certificates be for?",
            false => "nothing says which name the endpoint's certificate must be for",
        };
        let help = match names {
            true => {
                "set `serverName`, or write a MeshService for each name and a route with both as backends"
            }
            false => "set `serverName`, or `hosts`",
        };
        checks.push(Fault::error(Code::MissingField, body.mode.span, message).help(help));
    }
}

/// A port that says nothing of itself speaks TLS where a TLSRoute is attached: then the callers' own TLS goes through.
fn inferred(object: &Object<MeshService>, body: &TlsBody, checks: &mut Checks<'_>) {
    let Some(entry) = checks.services.get(&object.name).cloned() else { return };
    let routes = checks.objects.routes_of(RouteKind::TLSRoute);
    let attached =
        routes.flat_map(|route| route.body.spec.parent_refs.iter().map(move |parent| (route, parent)));
    let holding = attached.filter(|(route, parent)| {
        references::parent_service(parent, &route.name.namespace).as_ref() == Some(&object.name)
    });
    for (route, parent) in holding {
        let by_route = |port: &&EntryPort<'_>| {
            port.protocol.is_none() && references::holds_on(RouteKind::TLSRoute, parent, port)
        };
        if let Some(port) = entry.ports.iter().find(by_route) {
            let message =
                format!("`tls` has no effect on port {}: a TLSRoute makes it one of TLS", port.number);
            let fault = Fault::warning(Code::NoEffect, body.mode.span, message);
            let fault = fault.related(route.span, format!("`{}` is attached to it", route.name));
            return checks.push(
                fault.help("TLS stays between callers and endpoints there; remove `tls`, or the route"),
            );
        }
    }
}

/// An endpoint that has an identity is one of the mesh; a subset has the endpoints of another MeshService.
fn within_the_mesh(object: &Object<MeshService>, body: &TlsBody, checks: &mut Checks<'_>) {
    let whole = checks.services.whole(object).unwrap_or(object);
    let mut identities = whole.body.spec.endpoints.iter().filter_map(|endpoint| endpoint.identity.as_ref());
    if let Some(identity) = identities.next() {
        let message = "`tls` is for endpoints outside the mesh, and one with an `identity` stands inside";
        let fault =
            Fault::error(Code::Conflict, identity.span, message).related(body.mode.span, "the mode of `tls`");
        checks.push(fault.help(
            "remove `tls`: callers with an identity speak mutual TLS to it; or write a MeshService for each",
        ));
    }
}

type Written = Option<(&'static str, Span)>;

fn certificate(body: &TlsBody) -> Written {
    body.certificate.as_ref().map(|file| ("certificate", file.span))
}

fn private_key(body: &TlsBody) -> Written {
    body.private_key.as_ref().map(|file| ("privateKey", file.span))
}

fn written(body: &TlsBody) -> [Written; 4] {
    let name = body.server_name.as_ref().map(|name| ("serverName", name.span));
    let bundle = body.trust_bundle.as_ref().map(|file| ("trustBundle", file.span));
    [name, bundle, certificate(body), private_key(body)]
}

fn simple(body: &TlsBody, checks: &mut Checks<'_>) {
    if let Some((field, span)) = certificate(body).or(private_key(body)) {
        let message = format!("`mode: Simple` shows no certificate, so `{field}` would not be used");
        let fault = Fault::error(Code::Conflict, span, message).related(body.mode.span, "the mode");
        checks.push(fault.help("write `mode: Mutual`, or remove the field"));
    }
}

fn mutual(body: &TlsBody, checks: &mut Checks<'_>) {
    for (field, there) in [("certificate", certificate(body)), ("privateKey", private_key(body))] {
        if there.is_none() {
            let message = format!("`mode: Mutual` needs `{field}`");
            let fault = Fault::error(Code::MissingField, body.mode.span, message);
            checks.push(fault.help("or write `mode: Simple`, where only the endpoint shows a certificate"));
        }
    }
}
