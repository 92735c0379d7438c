//! Why a certificate is refused: in words, and found again in the error of a handshake that failed for it.

use std::{error, fmt, io, sync::Arc};

use outrigger_config::SpiffeIdFlaw;
use rustls::{CertificateError, Error, OtherError};

use super::PeerFault;

impl fmt::Display for PeerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoCertificate => "there is no certificate",
            Self::MalformedCertificate => "the certificate cannot be read",
            Self::NoUri => "the certificate names no URI; it needs one, the SPIFFE ID",
            Self::SeveralUris => "the certificate names more than one URI",
            Self::MalformedName => "a name in the certificate cannot be read",
            Self::NotSpiffe => "the URI in the certificate does not begin with `spiffe://`",
            Self::IdTooLong => "the SPIFFE ID in the certificate has more than 2048 bytes",
            Self::MalformedTrustDomain => {
                "the trust domain in the certificate has other letters than `a-z`, `0-9`, `.`, `_` and `-`"
            }
            Self::PathNotAllowed => {
                "the path of the SPIFFE ID is empty, or has other letters than `A-Z`, `a-z`, `0-9`, `.`, `_` and `-`"
            }
            Self::LeafIsCa => "the certificate is an authority's",
            Self::WrongKeyUsage => {
                "the certificate's key usage must allow digital signatures, and no signing of certificates"
            }
            Self::WrongExtendedKeyUsage => {
                "the certificate's extended key usage must have both server and client authentication"
            }
            Self::WrongTrustDomain => "the certificate is of another trust domain",
            Self::UnknownAuthority => "no authority in the trust bundle has issued the certificate",
            Self::Expired => "the certificate, or one between it and the authority, has expired",
            Self::NotYetValid => "the certificate, or one between it and the authority, is not valid yet",
            Self::BadChain => "the certificates between it and the authority break a rule of theirs",
            Self::BadSignature => "the peer does not have the certificate's key",
            Self::IdentityMismatch => "the certificate is for another identity than the one that was called",
        })
    }
}

impl error::Error for PeerFault {}

impl PeerFault {
    /// What the error of a handshake says about the peer's certificate; `None`: it failed for something else.
    pub(crate) fn of(error: &io::Error) -> Option<Self> {
        Self::of_tls(error.get_ref()?.downcast_ref::<Error>()?)
    }

    /// As [`Self::of`], of the error within.
    pub(crate) fn of_tls(error: &Error) -> Option<Self> {
        match error {
            Error::NoCertificatesPresented => Some(Self::NoCertificate),
            Error::InvalidCertificate(CertificateError::Other(OtherError(ours))) => {
                Some(ours.downcast_ref().copied().unwrap_or(Self::MalformedCertificate))
            }
            Error::InvalidCertificate(CertificateError::BadSignature) => Some(Self::BadSignature),
            Error::InvalidCertificate(_) => Some(Self::MalformedCertificate),
            _ => None,
        }
    }

    /// What a chain comes to that does not lead to an authority.
    pub(super) fn of_chain(error: &webpki::Error) -> Self {
        use webpki::Error as Chain;
        match error {
            Chain::CertExpired { .. } | Chain::InvalidCertValidity => Self::Expired,
            Chain::CertNotValidYet { .. } => Self::NotYetValid,
            // An authority of the same name with another key has not issued it either.
            Chain::UnknownIssuer | Chain::InvalidSignatureForPublicKey => Self::UnknownAuthority,
            Chain::CaUsedAsEndEntity => Self::LeafIsCa,
            Chain::EmptyEkuExtension | Chain::RequiredEkuNotFoundContext(_) => Self::WrongExtendedKeyUsage,
            Chain::BadDer | Chain::BadDerTime | Chain::TrailingData(_) => Self::MalformedCertificate,
            // Of a foreign enum that may grow.
            _ => Self::BadChain,
        }
    }
}

impl From<SpiffeIdFlaw> for PeerFault {
    fn from(flaw: SpiffeIdFlaw) -> Self {
        match flaw {
            SpiffeIdFlaw::Scheme => Self::NotSpiffe,
            SpiffeIdFlaw::TooLong => Self::IdTooLong,
            SpiffeIdFlaw::TrustDomain => Self::MalformedTrustDomain,
            SpiffeIdFlaw::Path | SpiffeIdFlaw::EmptyPart | SpiffeIdFlaw::Dots | SpiffeIdFlaw::Percent => {
                Self::PathNotAllowed
            }
        }
    }
}

impl From<PeerFault> for Error {
    fn from(fault: PeerFault) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(fault))))
    }
}
