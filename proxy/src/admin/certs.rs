//! `/certs`: who the proxy is to other sidecars, until when, and whom it believes. No key is anywhere near.

use std::time::SystemTime;

use outrigger_config::model::{FileRef, IdentitySource};
use serde::{Deserialize, Serialize};

use crate::{
    identity::{Authority, Identity, Svid},
    telemetry::timestamp,
};

/// The whole answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertsView {
    /// `None`: the proxy speaks no mutual TLS.
    pub identity: Option<IdentityView>,
}

/// Who the proxy is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityView {
    /// The SPIFFE ID.
    pub id: String,
    /// The trust domain of the mesh.
    pub trust_domain: String,
    /// The certificate that is shown to others.
    pub certificate: CertificateView,
    /// Those that are believed, in the order of the trust bundle.
    pub authorities: Vec<AuthorityView>,
    /// Where all of it comes from.
    pub files: FilesView,
    /// What came last, if it is of no use: what is in use stayed.
    pub rejected: Option<RejectedView>,
}

/// A certificate. Times are RFC 3339, in UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateView {
    /// The serial number, in hexadecimal digits.
    pub serial: String,
    /// SHA-256 of the certificate, in hexadecimal digits.
    pub sha256: String,
    /// When it begins to be valid.
    pub not_before: String,
    /// The last moment when it is valid.
    pub not_after: String,
    /// What is left of that, in seconds; negative: it has expired, and no handshake is made with it.
    pub seconds_left: i64,
}

/// An authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityView {
    /// Its name.
    pub subject: String,
    /// The serial number, in hexadecimal digits.
    pub serial: String,
    /// When its certificate begins to be valid.
    pub not_before: String,
    /// The last moment when it is so.
    pub not_after: String,
}

/// The files of an identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesView {
    /// The certificate, and those between it and the authority.
    pub certificate: String,
    /// Its key.
    pub private_key: String,
    /// The authorities.
    pub trust_bundle: String,
}

/// A certificate, key or bundle that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedView {
    /// When.
    pub time: String,
    /// What is wrong with it, and what helps.
    pub text: String,
}

impl CertsView {
    /// What an identity shows of itself.
    pub(crate) fn of(identity: Option<&Identity>, now: SystemTime) -> Self {
        Self { identity: identity.map(|identity| IdentityView::of(identity, now)) }
    }
}

impl IdentityView {
    fn of(identity: &Identity, now: SystemTime) -> Self {
        let (source, current) = (identity.source(), identity.current());
        let IdentitySource::Files(files) = &source.source;
        let path = |file: &FileRef| file.located().display().to_string();
        Self {
            id: current.svid().id().to_string(),
            trust_domain: source.trust_domain.to_string(),
            certificate: CertificateView::of(current.svid(), now),
            authorities: current.authorities().iter().map(AuthorityView::of).collect(),
            files: FilesView {
                certificate: path(&files.certificate),
                private_key: path(&files.private_key),
                trust_bundle: path(&files.trust_bundle),
            },
            rejected: identity.refused().map(|refused| RejectedView {
                time: timestamp::text(refused.at),
                text: refused.text.clone(),
            }),
        }
    }
}

impl CertificateView {
    fn of(svid: &Svid, now: SystemTime) -> Self {
        let seconds = |time: std::time::Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        Self {
            serial: svid.serial().to_owned(),
            sha256: svid.sha256().to_string(),
            not_before: timestamp::text(svid.not_before()),
            not_after: timestamp::text(svid.not_after()),
            seconds_left: match svid.not_after().duration_since(now) {
                Ok(left) => seconds(left),
                // Below zero within the first second too.
                Err(past) => -seconds(past.duration()) - 1,
            },
        }
    }
}

impl AuthorityView {
    fn of(authority: &Authority) -> Self {
        Self {
            subject: authority.subject.to_string(),
            serial: authority.serial.to_string(),
            not_before: timestamp::text(authority.not_before),
            not_after: timestamp::text(authority.not_after),
        }
    }
}
