//! Mutual TLS: modes of ports that exist, endpoints of the mesh's own trust domain, and Sidecars that can meet under both.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use super::Checks;
use crate::{
    compile::{Mode, Modes, address, expected, listeners, named, trust_domain},
    convert::Spanned,
    diagnostic::{Code, Fault, Severity},
    model::{MtlsMode, ServicePort},
    objects::Object,
    references::service_port,
    schema::{Mesh, MeshEndpoint, MeshService, MtlsBody, Sidecar},
    services::Source,
    spiffe::WorkloadId,
    yaml::Span,
};

pub(super) fn check(checks: &mut Checks<'_>) {
    let objects = checks.objects;
    for mesh in &objects.meshes {
        if let Some(body) = &mesh.body.spec.mtls {
            ports(mesh, body, checks);
        }
    }
    // Of a Mesh that was read in part neither trust domain nor modes are certain.
    let certain = !objects.unknown
        && !objects.broken.iter().any(|(kind, _)| kind == "Mesh")
        && !objects.meshes.iter().any(|mesh| checks.has_error(mesh.body.spec.span));
    if !certain {
        return;
    }
    let trust_domain = trust_domain(objects);
    foreign(&trust_domain, checks);
    let modes = Modes::new(objects, &checks.services);
    let places = Places { modes, trust_domain };
    for sidecar in &objects.sidecars {
        // What could not be read may be the identity.
        if sidecar.body.spec.identity.is_none() && !checks.has_error(sidecar.body.spec.span) {
            if !places.unreachable(sidecar, checks) {
                places.in_plaintext(sidecar, checks);
            }
        } else {
            places.refused(sidecar, checks);
        }
    }
    places.at_listeners(checks);
}

impl Checks<'_> {
    /// Whether an error is known of something inside the place.
    fn has_error(&self, span: Span) -> bool {
        self.faults.iter().any(|fault| fault.severity == Severity::Error && span.holds(&fault.span))
    }
}

fn ports(mesh: &Object<Mesh>, body: &MtlsBody, checks: &mut Checks<'_>) {
    let mut known: HashMap<ServicePort, Span> = HashMap::new();
    for port in body.ports.iter() {
        let (name, place) = (named(&port.service, mesh), port.service.name.span);
        let Some(entry) = checks.service(&name, place) else { continue };
        if let Source::Mesh(Object { body: MeshService { spec, .. }, .. }) = entry.source
            && let Some(subset) = &spec.subset
        {
            let message = format!(
                "`{name}` is a subset: its ports have the modes of the MeshService that has its endpoints"
            );
            let fault = Fault::error(Code::WrongReference, place, message).related(subset.span, "the subset");
            checks.push(fault.help(format!("name `{}`", subset.of.name.value.0)));
            continue;
        }
        checks.port(&entry, port.port.value.port(), port.port.span);
        let of = ServicePort { service: name, port: port.port.value.port() };
        if let Some(first) = known.get(&of) {
            let fault = Fault::error(Code::Conflict, port.span, format!("`{of}` is listed twice"));
            checks.push(fault.related(*first, "first listed here").help("list each port once"));
        }
        known.entry(of).or_insert(port.span);
    }
}

fn foreign(trust_domain: &str, checks: &mut Checks<'_>) {
    let objects = checks.objects;
    let endpoints = objects.mesh_services.iter().flat_map(|object| object.body.spec.endpoints.iter());
    for identity in endpoints.filter_map(|endpoint| endpoint.identity.as_ref()) {
        let id = &identity.value.0;
        if id.trust_domain() != trust_domain {
            let message = format!(
                "`{id}` is of the trust domain `{}`, and the mesh is `{trust_domain}`: there is no authority for it",
                id.trust_domain()
            );
            let fault = Fault::error(Code::ForeignIdentity, identity.span, message);
            checks.push(fault.help(format!(
                "write an id that begins with `spiffe://{trust_domain}/`, or set `Mesh.spec.trustDomain`"
            )));
        }
    }
}

/// An app of a Sidecar.
struct App {
    service: Option<ServicePort>,
    bind: Option<SocketAddr>,
    span: Span,
}

fn apps(sidecar: &Object<Sidecar>) -> Vec<App> {
    let port = |reference| service_port(reference, &sidecar.name.namespace);
    let mut apps = Vec::new();
    for listener in sidecar.body.spec.inbound.iter() {
        let service = listener.service.as_ref().map(port);
        apps.push(App { service, bind: address(listener), span: listener.bind.span });
        apps.extend(listener.ports.iter().map(|one| App {
            service: one.service.as_ref().map(port),
            bind: None,
            span: one.port.span,
        }));
    }
    apps
}

/// Where a mode is written, in words.
fn because(fault: Fault, mode: &Mode) -> Fault {
    match mode.span {
        Some(span) => fault.related(span, "the mode is written here"),
        None => fault,
    }
}

/// What Sidecars and endpoints are judged by.
struct Places {
    modes: Modes,
    trust_domain: Arc<str>,
}

impl Places {
    /// A Sidecar without identity that only mutual TLS may reach.
    fn unreachable(&self, sidecar: &Object<Sidecar>, checks: &mut Checks<'_>) -> bool {
        for app in apps(sidecar) {
            let mode = self.modes.of_app(app.service.as_ref(), app.bind);
            if mode.mode != MtlsMode::Strict {
                continue;
            }
            let what = app
                .service
                .map_or_else(|| "it".to_owned(), |service| format!("`{service}`, which it serves,"));
            let message = format!(
                "`{}` has no identity, and {what} takes mutual TLS alone: nobody could connect",
                sidecar.name
            );
            let fault =
                Fault::error(Code::NoIdentity, sidecar.span, message).related(app.span, "the listener");
            let help = "add `identity: {files: {certificate: ..., privateKey: ..., trustBundle: ...}}`, or write `mode: Permissive`";
            checks.push(because(fault, &mode).help(help));
            return true;
        }
        false
    }

    /// A Sidecar without identity that calls endpoints which have one.
    fn in_plaintext(&self, sidecar: &Object<Sidecar>, checks: &mut Checks<'_>) {
        let outbound = &sidecar.body.spec.outbound;
        let pinned = |object: &Object<MeshService>| {
            outbound.iter().any(|listener| {
                let Some(reference) = &listener.service else { return true };
                service_port(reference, &sidecar.name.namespace).service == object.name
            })
        };
        let called = checks.objects.mesh_services.iter().filter(|object| pinned(object));
        let mut found: Option<(Mode, ServicePort, Span)> = None;
        for object in called {
            let Some(identity) = object.body.spec.endpoints.iter().find_map(|one| one.identity.as_ref())
            else {
                continue;
            };
            for port in object.body.spec.ports.iter() {
                let port = ServicePort { service: object.name.clone(), port: port.port.value.port() };
                let mode = self.modes.of(&port);
                // A port that would refuse it is the one to tell.
                let worse = found.as_ref().is_none_or(|(known, ..)| known.mode < mode.mode);
                if mode.mode != MtlsMode::Disabled && worse {
                    found = Some((mode, port, identity.span));
                }
            }
        }
        let Some((mode, port, identity)) = found else { return };
        let message = match mode.mode {
            MtlsMode::Strict => format!(
                "`{}` has no identity, and `{port}` takes mutual TLS alone: its requests would be refused",
                sidecar.name
            ),
            MtlsMode::Permissive | MtlsMode::Disabled => format!(
                "`{}` has no identity: it calls `{port}` in plaintext, whose endpoints have one",
                sidecar.name
            ),
        };
        let fault = Fault::warning(Code::PlaintextCaller, sidecar.span, message);
        let fault = because(fault.related(identity, "an endpoint's identity"), &mode);
        checks.push(fault.help("add an `identity`"));
    }

    /// A Sidecar with an identity whose callers do not know it, so that they call in plaintext and are refused.
    fn refused(&self, sidecar: &Object<Sidecar>, checks: &mut Checks<'_>) {
        for app in apps(sidecar) {
            let Some(service) = app.service else { continue };
            let mode = self.modes.of(&service);
            let Some(entry) = checks.services.get(&service.service).filter(|_| mode.mode == MtlsMode::Strict)
            else {
                continue;
            };
            let object = match entry.source {
                Source::Mesh(object) => checks.services.whole(object).unwrap_or(object),
                Source::Core(_) => {
                    let message = format!(
                        "`{service}` takes mutual TLS alone, and the endpoints of a v1 Service have no identity: callers would be refused"
                    );
                    let fault = Fault::warning(Code::EndpointIdentity, app.span, message);
                    checks.push(because(fault, &mode).help(
                        "write a MeshService, whose endpoints may have an `identity`, or `mode: Permissive`",
                    ));
                    continue;
                }
            };
            let spec = &object.body.spec;
            let without =
                spec.endpoints.iter().find(|one| one.identity.is_none() && !checks.has_error(one.span));
            if let Some(endpoint) = without.filter(|_| spec.tls.is_none()) {
                self.unnamed(endpoint, &service, (sidecar, mode), checks);
            }
        }
    }

    fn unnamed(
        &self,
        endpoint: &MeshEndpoint,
        service: &ServicePort,
        (sidecar, mode): (&Object<Sidecar>, Mode),
        checks: &mut Checks<'_>,
    ) {
        // Several Sidecars may serve it, and a listener several of its ports.
        if checks
            .faults
            .iter()
            .any(|fault| fault.code == Code::EndpointIdentity && fault.span == endpoint.span)
        {
            return;
        }
        let message = format!(
            "the endpoint has no `identity`, and `{service}` takes mutual TLS alone: callers would be refused"
        );
        let fault = Fault::warning(Code::EndpointIdentity, endpoint.span, message)
            .related(sidecar.span, format!("`{}` serves it", sidecar.name));
        let help = match expected(sidecar, &self.trust_domain) {
            Some(id) => format!("add `identity: {id}`"),
            None => "add the SPIFFE ID of its certificate, as `identity`".to_owned(),
        };
        checks.push(because(fault, &mode).help(help));
    }

    /// Endpoints at which a Sidecar listens and that say of it what it is not.
    fn at_listeners(&self, checks: &mut Checks<'_>) {
        let objects = checks.objects;
        let listeners = listeners(objects);
        for object in &objects.mesh_services {
            for endpoint in object.body.spec.endpoints.iter() {
                let Some(address) = &endpoint.address else { continue };
                let Some(sidecar) = listeners.get(&address.value.0) else { continue };
                match &endpoint.identity {
                    Some(identity) => self.named(identity, sidecar, checks),
                    None => self.nameless(endpoint, (object, sidecar), checks),
                }
            }
        }
    }

    /// An endpoint without identity at which a Sidecar listens that has one.
    fn nameless(
        &self,
        endpoint: &MeshEndpoint,
        (object, sidecar): (&Object<MeshService>, &Object<Sidecar>),
        checks: &mut Checks<'_>,
    ) {
        let spec = &object.body.spec;
        if sidecar.body.spec.identity.is_none() || spec.tls.is_some() || checks.has_error(endpoint.span) {
            return;
        }
        let ports = spec
            .ports
            .iter()
            .map(|port| ServicePort { service: object.name.clone(), port: port.port.value.port() });
        let mut modes = ports.map(|port| (self.modes.of(&port), port));
        if let Some((mode, port)) = modes.find(|(mode, _)| mode.mode == MtlsMode::Strict) {
            self.unnamed(endpoint, &port, (sidecar, mode), checks);
        }
    }

    fn named(&self, identity: &Spanned<WorkloadId>, sidecar: &Object<Sidecar>, checks: &mut Checks<'_>) {
        let at = |fault: Fault| fault.related(sidecar.span, format!("`{}` listens there", sidecar.name));
        if sidecar.body.spec.identity.is_none() {
            if !checks.has_error(sidecar.body.spec.span) {
                let message = format!(
                    "the endpoint has an identity, and `{}` has none: callers that speak mutual TLS could not connect",
                    sidecar.name
                );
                let fault = at(Fault::warning(Code::NoIdentity, identity.span, message));
                checks.push(fault.help("add an `identity` to the Sidecar, or remove this one"));
            }
            return;
        }
        if let Some(own) = expected(sidecar, &self.trust_domain).filter(|own| *own != identity.value.0) {
            let message = format!(
                "`{}` is `{own}`, and callers expect another at this endpoint: they would refuse it",
                sidecar.name
            );
            let fault = at(Fault::warning(Code::EndpointIdentity, identity.span, message));
            checks.push(fault.help(format!("write `{own}`")));
        }
    }
}
