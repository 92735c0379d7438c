//! Mutual TLS: the mode of each port, at callers and behind listeners, and who a Sidecar is.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use super::Scope;
use crate::{
    convert::{FilePath, Spanned},
    model::{FileRef, Identity, IdentityFiles, IdentitySource, MtlsMode, ObjectName, ServicePort},
    objects::{Object, Objects},
    schema::{self, Inbound, Mesh, MtlsService, Sidecar},
    services::Services,
    spiffe::{SpiffeId, TrustDomain},
    yaml::Span,
};

/// A mode with the place where it is written; `None`: nothing is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mode {
    pub(crate) mode: MtlsMode,
    pub(crate) span: Option<Span>,
}

/// The modes of all ports.
pub(crate) struct Modes {
    mesh: Mode,
    ports: HashMap<ServicePort, Mode>,
    /// The ports of MeshServices that have an endpoint where some Sidecar listens, by its address.
    at: HashMap<SocketAddr, Vec<ServicePort>>,
}

impl Modes {
    pub(crate) fn new(objects: &Objects, services: &Services<'_>) -> Self {
        let mesh = objects.meshes.first();
        let body = mesh.and_then(|mesh| mesh.body.spec.mtls.as_ref());
        let mut modes = Self { mesh: Mode::default(), ports: HashMap::new(), at: at(objects) };
        let (Some(mesh), Some(body)) = (mesh, body) else { return modes };
        if let Some(written) = &body.mode.0 {
            modes.mesh = Mode { mode: mode(written.value), span: Some(written.span) };
        }
        for port in body.ports.iter() {
            let of = ServicePort { service: named(&port.service, mesh), port: port.port.value.port() };
            let written = Mode { mode: mode(port.mode.value), span: Some(port.mode.span) };
            modes.ports.entry(of).or_insert(written);
        }
        for subset in objects.mesh_services.iter().filter(|object| object.body.spec.subset.is_some()) {
            let Some(whole) = services.whole(subset) else { continue };
            for number in subset.body.spec.ports.iter().map(|port| port.port.value.port()) {
                let port = |of: &ObjectName| ServicePort { service: of.clone(), port: number };
                if let Some(written) = modes.ports.get(&port(&whole.name)).copied() {
                    modes.ports.insert(port(&subset.name), written);
                }
            }
        }
        modes
    }

    /// That of ports of which nothing is written.
    pub(crate) fn mesh(&self) -> Mode {
        self.mesh
    }

    /// That of a port.
    pub(crate) fn of(&self, port: &ServicePort) -> Mode {
        self.ports.get(port).copied().unwrap_or(self.mesh)
    }

    /// That of an app: the strictest of the port that it serves and of those that have an endpoint at its listener's
    /// address. An app that serves none has the mesh's.
    pub(crate) fn of_app(&self, service: Option<&ServicePort>, bind: Option<SocketAddr>) -> Mode {
        let at = bind.into_iter().flat_map(|bind| self.at(bind));
        let all = service.into_iter().chain(at).map(|port| self.of(port));
        all.max_by_key(|mode| mode.mode).unwrap_or(self.mesh)
    }

    /// The ports of MeshServices that have an endpoint at the address, if a Sidecar listens there.
    fn at(&self, bind: SocketAddr) -> &[ServicePort] {
        self.at.get(&bind).map_or(&[], Vec::as_slice)
    }
}

/// The address by which an endpoint may be known to be this listener: a redirected connection may have any.
pub(crate) fn address(listener: &Inbound) -> Option<SocketAddr> {
    let intercepted = listener.intercepted.is_some_and(|flag| flag.0);
    Some(listener.bind.value.0).filter(|bind| !intercepted && bind.port() != 0)
}

/// The Sidecar at each address. Files that describe several machines may have several listeners on one address, of which
/// nothing is known then.
pub(crate) fn listeners(objects: &Objects) -> HashMap<SocketAddr, &Object<Sidecar>> {
    let mut all: HashMap<SocketAddr, Option<&Object<Sidecar>>> = HashMap::new();
    for sidecar in &objects.sidecars {
        for bind in sidecar.body.spec.inbound.iter().filter_map(address) {
            all.entry(bind).and_modify(|known| *known = None).or_insert(Some(sidecar));
        }
    }
    all.into_iter().filter_map(|(bind, sidecar)| Some((bind, sidecar?))).collect()
}

fn at(objects: &Objects) -> HashMap<SocketAddr, Vec<ServicePort>> {
    let mut at: HashMap<_, Vec<_>> = listeners(objects).into_keys().map(|bind| (bind, Vec::new())).collect();
    for object in &objects.mesh_services {
        for endpoint in object.body.spec.endpoints.iter() {
            let known = endpoint.address.as_ref().and_then(|address| at.get_mut(&address.value.0));
            let ports = object
                .body
                .spec
                .ports
                .iter()
                .map(|port| ServicePort { service: object.name.clone(), port: port.port.value.port() });
            known.into_iter().for_each(|known| known.extend(ports.clone()));
        }
    }
    at
}

/// The Service that a Mesh names.
pub(crate) fn named(service: &MtlsService, mesh: &Object<Mesh>) -> ObjectName {
    let namespace = service.namespace.as_ref().map_or(&mesh.name.namespace, |named| &named.0);
    ObjectName::new(namespace.clone(), service.name.value.0.clone())
}

fn mode(written: schema::MtlsMode) -> MtlsMode {
    match written {
        schema::MtlsMode::Disabled => MtlsMode::Disabled,
        schema::MtlsMode::Permissive => MtlsMode::Permissive,
        schema::MtlsMode::Strict => MtlsMode::Strict,
    }
}

/// The trust domain of the mesh.
pub(crate) fn trust_domain(objects: &Objects) -> Arc<str> {
    let written = objects.meshes.first().and_then(|mesh| mesh.body.spec.trust_domain.0.as_ref());
    written.map_or_else(|| TrustDomain::BUILT_IN.into(), |domain| domain.0.clone())
}

/// Who a Sidecar must be, where that is written.
pub(crate) fn expected(sidecar: &Object<Sidecar>, trust_domain: &str) -> Option<SpiffeId> {
    let account = sidecar.body.spec.service_account.as_ref()?;
    Some(SpiffeId::of_account(trust_domain, &sidecar.name.namespace, &account.0))
}

/// Who a Sidecar is.
pub(super) fn identity(scope: &Scope<'_>, sidecar: &Object<Sidecar>) -> Option<Arc<Identity>> {
    let body = sidecar.body.spec.identity.as_ref()?;
    let files = body.files.as_ref()?;
    let file = |written: &Spanned<FilePath>| FileRef {
        path: written.value.0.clone(),
        origin: scope.origin(&written.span),
    };
    let trust_domain = trust_domain(scope.objects);
    Some(Arc::new(Identity {
        source: IdentitySource::Files(IdentityFiles {
            certificate: file(&files.certificate),
            private_key: file(&files.private_key),
            trust_bundle: file(&files.trust_bundle),
        }),
        expected: expected(sidecar, &trust_domain),
        trust_domain,
        origin: scope.origin(&body.span),
    }))
}
