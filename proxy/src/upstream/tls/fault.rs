//! Why a handshake failed, told so that a person knows which side to look at.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, PeerMisbehaved};

use crate::{error::Failure, telemetry::metrics::TlsFault};

impl TlsFault {
    /// What the error of a handshake comes to.
    pub(in crate::upstream) fn of(error: &io::Error) -> Self {
        match tls_error(error) {
            Some(error) => Self::of_tls(error),
            None => Self::Closed,
        }
    }

    fn of_tls(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(error) => match error {
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    Self::NotYetValid
                }
                CertificateError::UnknownIssuer => Self::UnknownIssuer,
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    Self::NameMismatch
                }
                _ => Self::BadCertificate,
            },
            Error::NoCertificatesPresented => Self::BadCertificate,
            Error::AlertReceived(AlertDescription::NoApplicationProtocol)
            | Error::PeerMisbehaved(PeerMisbehaved::SelectedUnofferedApplicationProtocol) => Self::Alpn,
            Error::AlertReceived(_) => Self::Refused,
            _ => Self::Protocol,
        }
    }

    /// What the request fails with if no other attempt follows.
    pub(crate) fn failure(self) -> Failure {
        match self {
            Self::Alpn => Failure::AlpnMismatch,
            _ => Failure::TlsFailed,
        }
    }
}

/// Whether the peer, after the handshake, does not take the certificate that it was shown. In TLS 1.3 it says so only
/// then; it has served nothing by that time.
pub(crate) fn is_refusal(error: &io::Error) -> bool {
    use AlertDescription as Alert;
    matches!(
        tls_error(error),
        Some(Error::AlertReceived(
            Alert::CertificateRequired
                | Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::UnknownCA
                | Alert::AccessDenied
                | Alert::HandshakeFailure
        ))
    )
}

fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref::<Error>()
}
