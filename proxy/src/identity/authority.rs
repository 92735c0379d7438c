//! What people are shown of an authority in a trust bundle. It decides nothing.

use std::time::SystemTime;

use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use super::svid::{Hex, at};

/// An authority of the trust domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authority {
    /// Its name, as RFC 4514 writes it.
    pub(crate) subject: Box<str>,
    /// The serial number, in hexadecimal digits.
    pub(crate) serial: Box<str>,
    /// When its certificate begins to be valid.
    pub(crate) not_before: SystemTime,
    /// The last moment when it is so.
    pub(crate) not_after: SystemTime,
}

impl Authority {
    /// Reads a certificate.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(certificate: &[u8]) -> Result<Self, String> {
        let (_, certificate) = X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
        let validity = certificate.validity();
        Ok(Self {
            subject: certificate.subject().to_string().into(),
            serial: Hex(certificate.raw_serial()).to_string().into(),
            not_before: at(validity.not_before),
            not_after: at(validity.not_after),
        })
    }
}
