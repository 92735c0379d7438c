//! TLS to endpoints outside the mesh: what a MeshService writes, with its server name settled.

use std::sync::Arc;

use super::Scope;
use crate::{
    convert::{FilePath, Spanned},
    model::{ClientIdentity, FileRef, OutwardTls},
    objects::Object,
    schema::{MeshService, TlsMode},
    services::{Entry, Source},
};

/// TLS to the endpoints of a destination; `None`: plaintext.
pub(super) fn outward(scope: &Scope<'_>, entry: &Entry<'_>) -> Option<Arc<OutwardTls>> {
    let Source::Mesh(object) = entry.source else { return None };
    // A subset's is that of the whole, unless it says something of its own.
    let object = if object.body.spec.tls.is_none() { scope.services.whole(object)? } else { object };
    let body = object.body.spec.tls.as_ref().filter(|body| body.mode.value != TlsMode::Disabled)?;
    let file = |written: &Option<Spanned<FilePath>>| {
        let written = written.as_ref()?;
        Some(FileRef { path: written.value.0.clone(), origin: scope.origin(&written.span) })
    };
    let identity = file(&body.certificate).zip(file(&body.private_key));
    Some(Arc::new(OutwardTls {
        server_name: server_name(object)?,
        trust_bundle: file(&body.trust_bundle),
        identity: identity.map(|(certificate, private_key)| ClientIdentity { certificate, private_key }),
        origin: scope.origin(&body.span),
    }))
}

/// The name that the endpoints' certificates must be for: the one that is written, else the first host, else the name of
/// the `dns` endpoints. `None` where there is none, or where these names differ: validation refuses that.
pub(crate) fn server_name(object: &Object<MeshService>) -> Option<Arc<str>> {
    let spec = &object.body.spec;
    if let Some(written) = spec.tls.as_ref().and_then(|body| body.server_name.as_ref()) {
        return Some(written.value.0.clone());
    }
    if let Some(host) = spec.hosts.first() {
        return Some(host.value.0.clone());
    }
    let mut names = spec.endpoints.iter().filter_map(|endpoint| endpoint.dns.as_ref());
    let first = &names.next()?.host;
    names.all(|other| other.host == *first).then(|| first.clone())
}
