//! One certificate, its key and the authorities of its trust domain, checked and ready for handshakes.
//!
//! What does not fit together never gets here. The key shows in no error and no dump.

use std::{
    fmt,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use outrigger_config::SpiffeId;
use rustls::{
    ClientConfig, Error, InconsistentKeys, ServerConfig,
    client::Resumption,
    crypto::{
        CryptoProvider,
        aws_lc_rs::{self, kx_group},
    },
    pki_types::{CertificateDer, PrivateKeyDer, TrustAnchor, UnixTime},
    server::NoServerSessionStorage,
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS13,
};
use webpki::{KeyUsage, anchor_from_trusted_cert};

use super::{
    Authority, MeshProtocol, PeerFault, Svid,
    verify::{AnyCaller, OneCallee, Trust},
};
use crate::telemetry::metrics::TlsFault;

/// Ciphers and key exchanges between sidecars: the hybrid with a post-quantum half first.
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    let kx_groups =
        vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1];
    Arc::new(CryptoProvider { kx_groups, ..aws_lc_rs::default_provider() })
});

/// What a source brings, unchecked.
pub(crate) struct Material {
    /// The certificate, then those between it and the authority.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// The key of the first.
    pub(crate) key: PrivateKeyDer<'static>,
    /// The authorities of the trust domain.
    pub(crate) bundle: Vec<CertificateDer<'static>>,
}

/// What material must be to be of use.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// The mesh's trust domain.
    pub(crate) trust_domain: Arc<str>,
    /// Who it must be for; `None`: whoever it says.
    pub(crate) expected: Option<SpiffeId>,
}

/// Why material is of no use.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum Unfit {
    /// The key is of no kind that can be used.
    #[error("the key cannot be used: {0}")]
    Key(Error),
    /// Key and certificate are not each other's.
    #[error("the key is not that of the certificate")]
    KeyMismatch,
    /// The certificate, or its chain, breaks a rule.
    #[error("{0}")]
    Certificate(PeerFault),
    /// The certificate is of another trust domain than the mesh.
    #[error("the certificate is of the trust domain `{is}`, and the mesh is `{mesh}`")]
    TrustDomain {
        /// That of the certificate.
        is: String,
        /// That of the mesh.
        mesh: Arc<str>,
    },
    /// The certificate is somebody else's.
    #[error("the certificate is for `{is}`, and this proxy is `{expected}`")]
    Identity {
        /// Whose it is.
        is: SpiffeId,
        /// Whose it should be.
        expected: SpiffeId,
    },
    /// Something in the bundle is no authority's certificate.
    #[error("certificate number {number} cannot be an authority: {why}")]
    Authority {
        /// From 1, in the order of the bundle.
        number: usize,
        /// What is wrong with it.
        why: String,
    },
}

/// One certificate, key and bundle, ready for handshakes.
pub(crate) struct Credentials {
    generation: u64,
    svid: Svid,
    key: Arc<CertifiedKey>,
    trust: Arc<Trust>,
    authorities: Box<[Authority]>,
    server: Arc<ServerConfig>,
}

/// Shows whose they are, and no key.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("generation", &self.generation)
            .field("svid", &self.svid)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// Makes credentials of material that is whole and in force at `now`.
    ///
    /// # Errors
    /// The first thing that makes it unusable.
    pub(crate) fn check(material: Material, terms: &Terms, now: SystemTime) -> Result<Self, Unfit> {
        let (anchors, authorities): (Vec<_>, Vec<_>) = anchors(&material.bundle)?.into_iter().unzip();
        let trust = Arc::new(Trust {
            domain: terms.trust_domain.clone(),
            anchors: anchors.into(),
            algorithms: PROVIDER.signature_verification_algorithms,
        });
        let (leaf, between) =
            material.chain.split_first().ok_or(Unfit::Certificate(PeerFault::NoCertificate))?;
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let svid = Svid::parse(leaf).map_err(Unfit::Certificate)?;
        if svid.id().trust_domain() != &*terms.trust_domain {
            let is = svid.id().trust_domain().to_owned();
            return Err(Unfit::TrustDomain { is, mesh: terms.trust_domain.clone() });
        }
        // Those in between may be for one side alone, and it is shown on both.
        for usage in [KeyUsage::server_auth(), KeyUsage::client_auth()] {
            let at = UnixTime::since_unix_epoch(since);
            trust.verify(leaf, between, usage, at).map_err(Unfit::Certificate)?;
        }
        if let Some(expected) = &terms.expected
            && expected != svid.id()
        {
            return Err(Unfit::Identity { is: svid.id().clone(), expected: expected.clone() });
        }
        let key =
            CertifiedKey::from_der(material.chain, material.key, &PROVIDER).map_err(|error| match error {
                Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => Unfit::KeyMismatch,
                error => Unfit::Key(error),
            })?;
        let key = Arc::new(key);
        let server = Arc::new(server(key.clone(), trust.clone()));
        Ok(Self { generation: next_generation(), svid, key, trust, authorities: authorities.into(), server })
    }

    /// Tells them from all others of this process; later ones have greater numbers. Never 0.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// What the own certificate says.
    pub(crate) fn svid(&self) -> &Svid {
        &self.svid
    }

    /// Those that are believed, in the order of the bundle.
    pub(crate) fn authorities(&self) -> &[Authority] {
        &self.authorities
    }

    /// For handshakes with callers: any of the trust domain, by one of [`MeshProtocol`].
    ///
    /// # Errors
    /// The own certificate has expired: no handshake is made with it.
    pub(crate) fn server(&self) -> Result<Arc<ServerConfig>, TlsFault> {
        self.in_force()?;
        Ok(self.server.clone())
    }

    /// For a handshake with one callee by one protocol. It is for the caller of this to see that the callee has chosen
    /// the protocol: a peer that ignores ALPN speaks none of ours.
    ///
    /// # Errors
    /// The own certificate has expired: no handshake is made with it.
    pub(crate) fn client(
        &self,
        protocol: MeshProtocol,
        peer: &SpiffeId,
    ) -> Result<Arc<ClientConfig>, TlsFault> {
        self.in_force()?;
        let verifier = OneCallee { trust: self.trust.clone(), id: peer.clone() };
        let mut config = ClientConfig::builder_with_provider(PROVIDER.clone())
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has cipher suites for TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(self.key.clone())));
        config.alpn_protocols = vec![protocol.alpn().to_vec()];
        config.enable_sni = false;
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }

    fn in_force(&self) -> Result<(), TlsFault> {
        if self.svid.has_expired(SystemTime::now()) { Err(TlsFault::OwnExpired) } else { Ok(()) }
    }
}

fn server(key: Arc<CertifiedKey>, trust: Arc<Trust>) -> ServerConfig {
    let mut config = ServerConfig::builder_with_provider(PROVIDER.clone())
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has cipher suites for TLS 1.3")
        .with_client_cert_verifier(Arc::new(AnyCaller(trust)))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.alpn_protocols = MeshProtocol::ALL.map(|protocol| protocol.alpn().to_vec()).into();
    // A resumed session would not ask who is there, and early data comes before that is known.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config
}

/// Each authority for handshakes, and for people.
fn anchors(bundle: &[CertificateDer<'static>]) -> Result<Vec<(TrustAnchor<'static>, Authority)>, Unfit> {
    let anchor = |(number, certificate): (usize, &CertificateDer<'static>)| {
        let unfit = |why: String| Unfit::Authority { number, why };
        let anchor = anchor_from_trusted_cert(certificate).map_err(|error| unfit(error.to_string()))?;
        Ok((anchor.to_owned(), Authority::parse(certificate).map_err(unfit)?))
    };
    (1..).zip(bundle).map(anchor).collect()
}

fn next_generation() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Relaxed) + 1
}
