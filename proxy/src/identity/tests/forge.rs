//! Certificates of every kind, peers that check nothing, and handshakes between two of them in memory.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    ServerConnection, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
};

use super::{Material, MeshProtocol};

/// An authority with a key of its own.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// As [`Self::sign`], the way that files hold it: certificate and key.
    pub(crate) fn sign_pem(&self, params: &CertificateParams) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    /// Signs a certificate for a key of its own.
    pub(crate) fn sign(&self, params: &CertificateParams) -> (CertificateDer<'static>, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (certificate.der().clone(), key)
    }
}

/// A leaf as it should be, with these URIs.
pub(crate) fn leaf(uris: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}

/// A leaf with names of these tags and bytes.
pub(crate) fn names(names: &[(u8, &[u8])]) -> CertificateParams {
    let mut list = Vec::new();
    for (tag, bytes) in names {
        list.extend([0x80 | tag, u8::try_from(bytes.len()).unwrap()]);
        list.extend(*bytes);
    }
    let mut whole = vec![0x30, u8::try_from(list.len()).unwrap()];
    whole.extend(list);
    raw_names(&whole)
}

/// A leaf with these bytes where its names should be.
pub(crate) fn raw_names(bytes: &[u8]) -> CertificateParams {
    let mut params = leaf(&[]);
    params.custom_extensions.push(CustomExtension::from_oid_content(&[2, 5, 29, 17], bytes.to_vec()));
    params
}

/// A certificate, its key, and the authority as the bundle.
pub(crate) fn material(authority: &Authority, params: CertificateParams) -> Material {
    let (certificate, key) = authority.sign(&params);
    Material { chain: vec![certificate], key: der(&key), bundle: vec![authority.der()] }
}

fn der(key: &KeyPair) -> PrivateKeyDer<'static> {
    key.serialize_der().try_into().unwrap()
}

fn shown(signer: &Authority, params: CertificateParams) -> Arc<CertifiedKey> {
    let (certificate, key) = signer.sign(&params);
    let key = aws_lc_rs::sign::any_supported_type(&der(&key)).unwrap();
    Arc::new(CertifiedKey::new(vec![certificate], key))
}

/// A certificate with somebody else's key.
pub(crate) fn stolen(signer: &Authority, params: CertificateParams) -> Arc<CertifiedKey> {
    let (certificate, _) = signer.sign(&params);
    let key = aws_lc_rs::sign::any_supported_type(&der(&KeyPair::generate().unwrap())).unwrap();
    Arc::new(CertifiedKey::new(vec![certificate], key))
}

pub(crate) fn blind_client(signer: &Authority, params: CertificateParams) -> Arc<ClientConfig> {
    blind_client_with(shown(signer, params))
}

pub(crate) fn blind_server(signer: &Authority, params: CertificateParams) -> Arc<ServerConfig> {
    blind_server_with(shown(signer, params))
}

/// A caller who believes everybody and would resume.
pub(crate) fn blind_client_with(key: Arc<CertifiedKey>) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Blind))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.alpn_protocols = vec![MeshProtocol::Http2.alpn().to_vec()];
    Arc::new(config)
}

/// A callee who believes everybody and would let them resume.
pub(crate) fn blind_server_with(key: Arc<CertifiedKey>) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder()
        .with_client_cert_verifier(Arc::new(Blind))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.alpn_protocols = MeshProtocol::ALL.map(|protocol| protocol.alpn().to_vec()).into();
    Arc::new(config)
}

/// How a handshake ended on each side.
pub(crate) struct Outcome {
    pub(crate) client: Result<ClientConnection, Error>,
    pub(crate) server: Result<ServerConnection, Error>,
}

/// Carries bytes to and fro until nobody has any more, or somebody gives up.
pub(crate) fn shake(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> Outcome {
    let name = ServerName::try_from("192.0.2.1").unwrap();
    let mut client = ClientConnection::new(client, name).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    let (mut client_says, mut server_says) = (Ok(()), Ok(()));
    while client.wants_write() || server.wants_write() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        server_says = server_says.and(take(&mut server, &wire));
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        client_says = client_says.and(take(&mut client, &wire));
    }
    Outcome { client: client_says.map(|()| client), server: server_says.map(|()| server) }
}

fn take<D>(
    connection: &mut impl std::ops::DerefMut<Target = rustls::ConnectionCommon<D>>,
    mut wire: &[u8],
) -> Result<(), Error> {
    while !wire.is_empty() {
        connection.read_tls(&mut wire).unwrap();
        connection.process_new_packets()?;
    }
    Ok(())
}

/// Believes everybody.
#[derive(Debug)]
pub(crate) struct Blind;

impl ServerCertVerifier for Blind {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Blind {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
