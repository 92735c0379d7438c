//! Judges the certificate that a peer shows, on both sides of a handshake.
//!
//! One order for all: the rules of an X.509-SVID, then the trust domain, whose authorities are the only ones that count,
//! then the chain to one of them, and at a caller whether it is whom it called. The name of a server in the sense of
//! the web plays no part. A signature is checked by rustls, by the algorithms of the provider.

use std::sync::Arc;

use outrigger_config::SpiffeId;
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use webpki::{EndEntityCert, KeyUsage};

use super::{PeerFault, Svid};

/// The authorities of a trust domain.
#[derive(Debug)]
pub(super) struct Trust {
    pub(super) domain: Arc<str>,
    /// None: nobody is believed.
    pub(super) anchors: Box<[TrustAnchor<'static>]>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl Trust {
    /// Judges a certificate, with those that the peer sent along, for one use.
    pub(super) fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        usage: KeyUsage,
        now: UnixTime,
    ) -> Result<Svid, PeerFault> {
        let svid = Svid::parse(leaf)?;
        let anchors = self.bundle(svid.id())?;
        let entity = EndEntityCert::try_from(leaf).map_err(|error| PeerFault::of_chain(&error))?;
        entity
            .verify_for_usage(self.algorithms.all, anchors, between, now, usage, None, None)
            .map_err(|error| PeerFault::of_chain(&error))?;
        Ok(svid)
    }

    /// The authorities that may speak for an id.
    fn bundle(&self, id: &SpiffeId) -> Result<&[TrustAnchor<'static>], PeerFault> {
        if id.trust_domain() == &*self.domain { Ok(&self.anchors) } else { Err(PeerFault::WrongTrustDomain) }
    }

    fn signed(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }
}

/// The callee's side: any identity of the trust domain.
#[derive(Debug)]
pub(super) struct AnyCaller(pub(super) Arc<Trust>);

impl ClientCertVerifier for AnyCaller {
    /// No hints: a sidecar has one certificate to show.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.0.verify(leaf, between, KeyUsage::client_auth(), now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOfferedOrEnabled.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.signed(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.algorithms.supported_schemes()
    }
}

/// The caller's side: one identity.
#[derive(Debug)]
pub(super) struct OneCallee {
    pub(super) trust: Arc<Trust>,
    pub(super) id: SpiffeId,
}

impl ServerCertVerifier for OneCallee {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let svid = self.trust.verify(leaf, between, KeyUsage::server_auth(), now)?;
        if *svid.id() != self.id {
            return Err(PeerFault::IdentityMismatch.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOfferedOrEnabled.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.trust.signed(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.algorithms.supported_schemes()
    }
}
