//! TLS to endpoints outside the mesh: fields that fit the mode, and a name to hold certificates against.

use super::Checks;
use crate::{
    compile::server_name,
    diagnostic::{Code, Fault},
    objects::Object,
    schema::{MeshService, TlsBody, TlsMode},
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
