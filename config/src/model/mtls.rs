//! Mutual TLS between sidecars: who a proxy is, and of whom it wants to know the same. Paths and names, never keys.

use std::sync::Arc;

use super::{FileRef, Origin};
use crate::spiffe::SpiffeId;

/// Who this proxy is, and whom it believes.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// Where certificate, key and trust bundle come from.
    pub source: IdentitySource,
    /// The trust domain of the mesh: that of its own certificate and of the authorities in its trust bundle.
    pub trust_domain: Arc<str>,
    /// Who it must be, where a service account is written; `None`: whoever its certificate says.
    pub expected: Option<SpiffeId>,
    /// Where it was written.
    pub origin: Origin,
}

/// Where an identity comes from.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum IdentitySource {
    /// From files that somebody else writes anew before they expire.
    Files(IdentityFiles),
}

/// The files of an identity, all PEM.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IdentityFiles {
    /// The certificate and those between it and the root.
    pub certificate: FileRef,
    /// Its private key.
    pub private_key: FileRef,
    /// The authorities of the trust domain.
    pub trust_bundle: FileRef,
}

impl Identity {
    /// Every file that it needs, with the field that names it.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, &FileRef)> {
        match &self.source {
            IdentitySource::Files(files) => [
                ("certificate", &files.certificate),
                ("privateKey", &files.private_key),
                ("trustBundle", &files.trust_bundle),
            ]
            .into_iter(),
        }
    }
}

/// Whether mutual TLS is spoken at a port; the stricter is the greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub enum MtlsMode {
    /// Callers speak plaintext.
    Disabled,
    /// Callers that can speak mutual TLS do; others are taken, as anonymous.
    #[default]
    Permissive,
    /// Who does not speak mutual TLS is refused.
    Strict,
}
