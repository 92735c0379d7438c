//! TLS to endpoints outside the mesh, and the files that it needs. Paths, never contents: whoever runs the policy reads
//! the files, and no private key is ever part of a model.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::Origin;

/// TLS to the endpoints of one destination.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OutwardTls {
    /// The name that the endpoint's certificate must be for, a host or an IP address; SNI where it is a host.
    pub server_name: Arc<str>,
    /// The authorities that are trusted; `None`: those that the system trusts.
    pub trust_bundle: Option<FileRef>,
    /// What the proxy shows of itself; `None`: nothing.
    pub identity: Option<ClientIdentity>,
    /// Where it was written.
    pub origin: Origin,
}

/// A certificate of the proxy's own.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientIdentity {
    /// The certificate and those between it and the root.
    pub certificate: FileRef,
    /// Its private key.
    pub private_key: FileRef,
}

/// A file that policy names.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct FileRef {
    /// The path as it was written.
    pub path: Arc<str>,
    /// Where it was written.
    pub origin: Origin,
}

impl FileRef {
    /// The path from where the policy file's own path starts: a relative one is taken from the policy file's folder.
    pub fn located(&self) -> PathBuf {
        let folder = Path::new(&*self.origin.file).parent().unwrap_or(Path::new(""));
        folder.join(&*self.path)
    }
}

impl OutwardTls {
    /// Every file that it needs, with the field that names it.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, &FileRef)> {
        let identity = self.identity.iter();
        let own =
            identity.flat_map(|own| [("certificate", &own.certificate), ("privateKey", &own.private_key)]);
        self.trust_bundle.iter().map(|file| ("trustBundle", file)).chain(own)
    }
}
