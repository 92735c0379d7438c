//! What one certificate says of its owner, and the rules that make it an X.509-SVID (SPIFFE X.509-SVID specification,
//! sections 2 to 5).
//!
//! Names are counted with a parser that shows the malformed ones too: a second name that one library passes over and
//! another reads is how identities are forged. Who issued the certificate is `verify.rs`'s to say.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use aws_lc_rs::digest;
use outrigger_config::SpiffeId;
use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;
use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _, time::ASN1Time,
};

use super::PeerFault;

/// The tag of a URI among the names of a certificate (RFC 5280 section 4.2.1.6).
const URI: u32 = 6;

/// What a certificate says of its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Svid {
    id: SpiffeId,
    serial: Box<str>,
    not_before: SystemTime,
    not_after: SystemTime,
    sha256: [u8; 32],
}

impl Svid {
    /// Reads a certificate.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub(crate) fn parse(leaf: &[u8]) -> Result<Self, PeerFault> {
        let certificate = match X509Certificate::from_der(leaf) {
            Ok(([], certificate)) => certificate,
            Ok(_) | Err(_) => return Err(PeerFault::MalformedCertificate),
        };
        let uri = only_uri(&certificate)?;
        // Names are what identities are forged with: where the parser of chains reads another one, or none, nobody is right.
        let der = CertificateDer::from(leaf);
        let chained = EndEntityCert::try_from(&der).map_err(|error| PeerFault::of_chain(&error))?;
        if !chained.valid_uri_names().eq([uri]) {
            return Err(PeerFault::MalformedName);
        }
        let id = SpiffeId::read(uri)?;
        // Section 2: an id without path is an authority's.
        if id.path().is_empty() {
            return Err(PeerFault::PathNotAllowed);
        }
        check_usage(&certificate)?;
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest::digest(&digest::SHA256, leaf).as_ref());
        let validity = certificate.validity();
        Ok(Self {
            id,
            serial: Hex(certificate.raw_serial()).to_string().into(),
            not_before: at(validity.not_before),
            not_after: at(validity.not_after),
            sha256,
        })
    }

    /// Who the owner is.
    pub(crate) fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// The serial number, in hexadecimal digits.
    pub(crate) fn serial(&self) -> &str {
        &self.serial
    }

    /// When it begins to be valid.
    pub(crate) fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// The last moment when it is valid.
    pub(crate) fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Whether it was valid once and is so no more.
    pub(crate) fn has_expired(&self, now: SystemTime) -> bool {
        now > self.not_after
    }

    /// SHA-256 of the whole certificate.
    pub(crate) fn sha256(&self) -> Hex<'_> {
        Hex(&self.sha256)
    }
}

/// The one URI among the names. A name that cannot be read may be another one.
fn only_uri<'a>(certificate: &'a X509Certificate<'_>) -> Result<&'a str, PeerFault> {
    let names = certificate.subject_alternative_name().map_err(|_| PeerFault::MalformedName)?;
    let names = names.map(|names| &*names.value.general_names).unwrap_or_default();
    let mut found = None;
    let mut uris = 0;
    for name in names {
        match name {
            GeneralName::URI(uri) => {
                uris += 1;
                found = Some(*uri);
            }
            GeneralName::Invalid(tag, _) if tag.0 == URI => uris += 1,
            _ => {}
        }
    }
    if uris > 1 {
        return Err(PeerFault::SeveralUris);
    }
    if names.iter().any(|name| matches!(name, GeneralName::Invalid(..))) {
        return Err(PeerFault::MalformedName);
    }
    found.ok_or(PeerFault::NoUri)
}

/// What its key may be used for (sections 4.1 to 4.4).
fn check_usage(certificate: &X509Certificate<'_>) -> Result<(), PeerFault> {
    let constraints = certificate.basic_constraints().map_err(|_| PeerFault::MalformedCertificate)?;
    if constraints.is_some_and(|constraints| constraints.value.ca) {
        return Err(PeerFault::LeafIsCa);
    }
    let usage = certificate.key_usage().map_err(|_| PeerFault::WrongKeyUsage)?;
    let signs = |usage: &x509_parser::extensions::KeyUsage| {
        usage.digital_signature() && !usage.key_cert_sign() && !usage.crl_sign()
    };
    if !usage.is_some_and(|usage| signs(usage.value)) {
        return Err(PeerFault::WrongKeyUsage);
    }
    let extended = certificate.extended_key_usage().map_err(|_| PeerFault::WrongExtendedKeyUsage)?;
    match extended.map(|extended| extended.value) {
        Some(extended) if !(extended.server_auth && extended.client_auth) => {
            Err(PeerFault::WrongExtendedKeyUsage)
        }
        _ => Ok(()),
    }
}

/// Years go from 0 to 9999: no overflow.
pub(super) fn at(time: ASN1Time) -> SystemTime {
    let seconds = Duration::from_secs(time.timestamp().unsigned_abs());
    if time.timestamp() < 0 { SystemTime::UNIX_EPOCH - seconds } else { SystemTime::UNIX_EPOCH + seconds }
}

/// Bytes, shown in hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hex<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
