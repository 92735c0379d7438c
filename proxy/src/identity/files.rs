//! Credentials from files that somebody else writes: a script, cert-manager, an agent.
//!
//! All that is wrong with them is said of the file that most likely has to change, and of the place where policy names it.

use std::{path::PathBuf, time::SystemTime};

use outrigger_config::model::{FileRef, IdentityFiles};

use super::{Credentials, Material, PeerFault, Terms, Unfit};
use crate::pem::{Contents, Reader, Unusable};

/// Where policy names them.
const FIELD: &str = "spec.identity.files";

/// Certificate, key, bundle.
pub(super) fn paths(files: &IdentityFiles) -> [PathBuf; 3] {
    [&files.certificate, &files.private_key, &files.trust_bundle].map(FileRef::located)
}

/// Makes credentials of what the files held.
///
/// # Errors
/// The first file that is of no use, alone or with the others.
pub(super) fn credentials(
    files: &IdentityFiles,
    contents: &Contents,
    terms: &Terms,
    now: SystemTime,
) -> Result<Credentials, Unusable> {
    let mut reader = Reader::new(FIELD, |path| contents.of(path));
    let material = Material {
        chain: reader.certificates("certificate", &files.certificate)?,
        key: reader.key("privateKey", &files.private_key)?,
        bundle: reader.certificates("trustBundle", &files.trust_bundle)?,
    };
    Credentials::check(material, terms, now).map_err(|unfit| {
        let (field, file) = match &unfit {
            Unfit::Key(_) | Unfit::KeyMismatch => ("privateKey", &files.private_key),
            Unfit::Authority { .. } => ("trustBundle", &files.trust_bundle),
            Unfit::Certificate(_) | Unfit::TrustDomain { .. } | Unfit::Identity { .. } => {
                ("certificate", &files.certificate)
            }
        };
        reader.unusable(field, file, &unfit.to_string(), help(&unfit))
    })
}

fn help(unfit: &Unfit) -> &'static str {
    match unfit {
        Unfit::Key(_) => "use a key of ECDSA (P-256, P-384, P-521), Ed25519 or RSA with 2048 bits or more",
        Unfit::KeyMismatch => "put the certificate's own key there, and the certificate first in its file",
        Unfit::Authority { .. } => "put the certificates of the trust domain's authorities there",
        Unfit::Identity { .. } => {
            "have a certificate issued for that id; `serviceAccount` and the namespace of the Sidecar say who it is"
        }
        Unfit::TrustDomain { .. } => {
            "have it issued in the mesh's trust domain, or set `trustDomain` of the Mesh"
        }
        Unfit::Certificate(PeerFault::Expired) => "have another one issued",
        Unfit::Certificate(PeerFault::NotYetValid) => "check the clocks of this machine and of the issuer",
        Unfit::Certificate(PeerFault::UnknownAuthority | PeerFault::BadChain) => {
            "put the authority into `trustBundle`, and the certificates between it and this one behind this one"
        }
        Unfit::Certificate(_) => {
            "have a certificate issued that keeps to the SPIFFE X.509-SVID specification"
        }
    }
}
