//! An authority of a trust domain: SVIDs of any shape, right and wrong, and sides of a handshake that show them.
//!
//! What [`Authority::issue`] makes is right unless the test says otherwise: one URI, `digitalSignature`, both extended key
//! usages, valid for a day. Nothing here judges a certificate: that is what is under test.

mod peer;

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use peer::AnyPeer;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber, date_time_ymd,
};
use rustls::{
    ClientConfig, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

/// The name of the certificate's file, as in a Secret of cert-manager.
pub const CERTIFICATE: &str = "tls.crt";
/// The name of the key's file.
pub const KEY: &str = "tls.key";
/// The name of the trust bundle's file.
pub const BUNDLE: &str = "ca.crt";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Certificates are valid from a little earlier, for clocks that differ.
const EARLIER: Duration = Duration::from_secs(60);

type Issuer = CertifiedIssuer<'static, KeyPair>;

/// Issues SVIDs: a root, or an authority below one.
pub struct Authority {
    trust_domain: String,
    issuer: Issuer,
    /// The root's certificate.
    root: String,
    /// The certificates between what it issues and the root.
    between: String,
}

impl Authority {
    /// A root of `trust_domain`, such as `cluster.local`. Two calls make two roots that know nothing of each other.
    pub fn new(trust_domain: &str) -> Self {
        let params = authority_params(trust_domain, BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate of its own");
        let root = issuer.pem();
        Self { trust_domain: trust_domain.to_owned(), issuer, root, between: String::new() }
    }

    /// An authority below this one. Its SVIDs carry its certificate; the bundle is the root's.
    pub fn intermediate(&self) -> Self {
        self.constrained(BasicConstraints::Unconstrained)
    }

    /// As [`Authority::intermediate`], with a limit on how many authorities may stand below it.
    pub fn constrained(&self, constraints: BasicConstraints) -> Self {
        let params = authority_params(&self.trust_domain, constraints);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::signed_by(params, key, &self.issuer).expect("a signature");
        let between = issuer.pem() + &self.between;
        Self { trust_domain: self.trust_domain.clone(), issuer, root: self.root.clone(), between }
    }

    /// The root's certificate, as PEM: a trust bundle.
    pub fn bundle_pem(&self) -> String {
        self.root.clone()
    }

    /// The id of a service account in its trust domain.
    pub fn account(&self, namespace: &str, account: &str) -> String {
        format!("spiffe://{}/ns/{namespace}/sa/{account}", self.trust_domain)
    }

    /// An SVID as it should be, valid for a day.
    pub fn svid(&self, id: &str) -> Svid {
        self.issue(id).make()
    }

    /// An SVID of which the test says what is different.
    pub fn issue(&self, id: &str) -> Issue<'_> {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.subject_alt_names = vec![uri(id)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let issue = Issue { authority: self, params, id: id.to_owned(), serial: next_serial() };
        issue.valid(SystemTime::now() - EARLIER, SystemTime::now() + DAY)
    }
}

fn authority_params(trust_domain: &str, constraints: BasicConstraints) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.subject_alt_names = vec![uri(&format!("spiffe://{trust_domain}"))];
    // Authorities that have one name are told apart by their keys; different names make failures easier to read.
    let name = format!("{trust_domain} {:x}", next_serial());
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().expect("a URI in a certificate is ASCII"))
}

/// Serials differ within a process; they begin at 2^62, as long as real ones.
fn next_serial() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(1 << 62);
    LAST.fetch_add(1, Relaxed)
}

/// An SVID that is being made.
pub struct Issue<'a> {
    authority: &'a Authority,
    params: CertificateParams,
    id: String,
    serial: u64,
}

impl Issue<'_> {
    /// Valid between these two, to the second.
    #[must_use]
    pub fn valid(mut self, from: SystemTime, to: SystemTime) -> Self {
        let since = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        let seconds = |at: SystemTime| Duration::from_secs(since(at).as_secs());
        let epoch = date_time_ymd(1970, 1, 1);
        (self.params.not_before, self.params.not_after) = (epoch + seconds(from), epoch + seconds(to));
        self
    }

    /// Valid from a minute ago and for this long.
    #[must_use]
    pub fn ttl(self, ttl: Duration) -> Self {
        let now = SystemTime::now();
        self.valid(now - EARLIER, now + ttl)
    }

    /// It ended an hour ago.
    #[must_use]
    pub fn expired(self) -> Self {
        let now = SystemTime::now();
        self.valid(now - DAY, now - DAY / 24)
    }

    /// It begins in an hour.
    #[must_use]
    pub fn early(self) -> Self {
        let now = SystemTime::now();
        self.valid(now + DAY / 24, now + DAY)
    }

    /// One more URI, which need not be a SPIFFE id.
    #[must_use]
    pub fn and_uri(mut self, text: &str) -> Self {
        self.params.subject_alt_names.push(uri(text));
        self
    }

    /// One more DNS name.
    #[must_use]
    pub fn and_dns(mut self, name: &str) -> Self {
        let name = name.try_into().expect("a DNS name in a certificate is ASCII");
        self.params.subject_alt_names.push(SanType::DnsName(name));
        self
    }

    /// No URI at all, but this DNS name.
    #[must_use]
    pub fn without_uri(mut self, dns: &str) -> Self {
        self.params.subject_alt_names.clear();
        self.and_dns(dns)
    }

    /// Another subject than none.
    #[must_use]
    pub fn subject(mut self, common_name: &str) -> Self {
        self.params.distinguished_name.push(DnType::CommonName, common_name);
        self
    }

    /// Other key usages; none: it has no such extension.
    #[must_use]
    pub fn key_usages(mut self, usages: &[KeyUsagePurpose]) -> Self {
        self.params.key_usages = usages.to_vec();
        self
    }

    /// Other extended key usages; none: it has no such extension.
    #[must_use]
    pub fn extended_key_usages(mut self, usages: &[ExtendedKeyUsagePurpose]) -> Self {
        self.params.extended_key_usages = usages.to_vec();
        self
    }

    /// It may issue certificates itself, which no SVID may.
    #[must_use]
    pub fn authority(mut self) -> Self {
        self.params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        self
    }

    /// A serial of the test's choice.
    #[must_use]
    pub fn serial(mut self, serial: u64) -> Self {
        self.serial = serial;
        self
    }

    /// The SVID.
    pub fn make(self) -> Svid {
        let Self { authority, mut params, id, serial } = self;
        params.serial_number = Some(SerialNumber::from(serial));
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &authority.issuer).expect("a signature");
        Svid {
            id,
            serial: format!("{serial:x}"),
            certificate_pem: certificate.pem() + &authority.between,
            key_pem: key.serialize_pem(),
            bundle_pem: authority.bundle_pem(),
        }
    }
}

/// A certificate with its key and the bundle of its trust domain.
#[derive(Clone)]
pub struct Svid {
    /// The id that was asked for.
    pub id: String,
    /// The serial, in lower-case hexadecimal digits.
    pub serial: String,
    /// The certificate, then those between it and the root.
    pub certificate_pem: String,
    /// Its key, PKCS #8.
    pub key_pem: String,
    /// The root.
    pub bundle_pem: String,
}

impl Svid {
    /// Puts [`CERTIFICATE`], [`KEY`] and [`BUNDLE`] into `folder`, which is made where it is not there, so that a reader
    /// sees either all of the last ones or all of these: through one link, as Kubernetes mounts a Secret.
    ///
    /// # Panics
    /// When the folder cannot be written.
    pub fn write_to(&self, folder: &Path) {
        self.try_write_to(folder).expect("the folder of a test can be written");
    }

    fn try_write_to(&self, folder: &Path) -> io::Result<()> {
        let whole = format!("..{}", self.serial);
        fs::create_dir_all(folder.join(&whole))?;
        for (name, text) in
            [(CERTIFICATE, &self.certificate_pem), (KEY, &self.key_pem), (BUNDLE, &self.bundle_pem)]
        {
            fs::write(folder.join(&whole).join(name), text)?;
        }
        let (link, next) = (folder.join("..data"), folder.join("..data_next"));
        let former = fs::read_link(&link).ok();
        let _ = fs::remove_file(&next);
        symlink(&whole, &next)?;
        fs::rename(&next, &link)?;
        for name in [CERTIFICATE, KEY, BUNDLE] {
            if fs::symlink_metadata(folder.join(name)).is_err() {
                symlink(Path::new("..data").join(name), folder.join(name))?;
            }
        }
        match former.filter(|former| *former != Path::new(&whole)) {
            Some(former) => fs::remove_dir_all(folder.join(former)),
            None => Ok(()),
        }
    }

    /// A client that shows this certificate, offers `alpn` in order, and believes any server: whether the proxy takes it is
    /// what the test asks. It speaks TLS 1.3.
    pub fn client(&self, alpn: &[&str]) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider has it")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyPeer(provider())));
        let (chain, key) = self.der();
        let mut config = builder.with_client_auth_cert(chain, key).expect("a key that belongs to it");
        config.alpn_protocols = protocols(alpn);
        config
    }

    /// A server that shows this certificate, chooses among `alpn`, and believes any client that shows one. It speaks
    /// TLS 1.3.
    pub fn server(&self, alpn: &[&str]) -> ServerConfig {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider has it")
            .with_client_cert_verifier(Arc::new(AnyPeer(provider())));
        let (chain, key) = self.der();
        let mut config = builder.with_single_cert(chain, key).expect("a key that belongs to it");
        config.alpn_protocols = protocols(alpn);
        config
    }

    /// The certificates and the key.
    pub fn der(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain = CertificateDer::pem_slice_iter(self.certificate_pem.as_bytes());
        let chain = chain.collect::<Result<_, _>>().expect("certificates");
        (chain, PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).expect("a key"))
    }
}

/// A client of the trust domain without a certificate of its own, which is how a stranger calls.
pub fn stranger(alpn: &[&str]) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyPeer(provider())))
        .with_no_client_auth();
    config.alpn_protocols = protocols(alpn);
    config
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn protocols(alpn: &[&str]) -> Vec<Vec<u8>> {
    alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::within;
    use rustls::pki_types::ServerName;
    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    #[tokio::test]
    async fn two_svids_shake_hands() {
        let authority = Authority::new("cluster.local");
        let callee = authority.intermediate().svid(&authority.account("shop", "cart"));
        let caller = authority.svid("spiffe://cluster.local/ns/shop/sa/web");
        assert_ne!(callee.serial, caller.serial);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(callee.server(&["outrigger-h2", "outrigger-tcp"])));
        let server = async { acceptor.accept(listener.accept().await.unwrap().0).await.unwrap() };
        let connector = TlsConnector::from(Arc::new(caller.client(&["outrigger-tcp"])));
        let name = ServerName::from(address.ip());
        let client =
            async { connector.connect(name, TcpStream::connect(address).await.unwrap()).await.unwrap() };
        let (server, client) = within("a handshake", async { tokio::join!(server, client) }).await;
        assert_eq!(server.get_ref().1.alpn_protocol(), Some(&b"outrigger-tcp"[..]));
        assert_eq!(server.get_ref().1.peer_certificates().unwrap(), caller.der().0);
        assert_eq!(client.get_ref().1.peer_certificates().unwrap().len(), 2, "leaf and intermediate");
    }

    #[test]
    fn a_second_svid_replaces_the_first_whole() {
        let authority = Authority::new("cluster.local");
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..3 {
            let svid = authority.svid("spiffe://cluster.local/ns/shop/sa/cart");
            svid.write_to(folder.path());
            let read = |name| fs::read_to_string(folder.path().join(name)).unwrap();
            assert_eq!(read(CERTIFICATE), svid.certificate_pem);
            assert_eq!((read(KEY), read(BUNDLE)), (svid.key_pem, authority.bundle_pem()));
        }
        // Three names, the link, and the folder that it leads to.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 5);
    }
}
