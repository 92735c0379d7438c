//! A host outside the mesh: authorities, certificates, and a TLS front before a backend.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    date_time_ymd,
};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};

use crate::wait::within;

/// Issues certificates.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl Authority {
    /// A new one.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate of its own");
        Self { issuer }
    }

    /// Its own certificate, as PEM.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for names or addresses.
    pub fn issue(&self, names: &[&str]) -> Identity {
        self.issue_with(names, |_| {})
    }

    /// A certificate that expired long ago.
    pub fn issue_expired(&self, names: &[&str]) -> Identity {
        self.issue_with(names, |params| {
            params.not_before = date_time_ymd(2019, 1, 1);
            params.not_after = date_time_ymd(2020, 1, 1);
        })
    }

    /// A certificate that is valid long hence.
    pub fn issue_early(&self, names: &[&str]) -> Identity {
        self.issue_with(names, |params| params.not_before = date_time_ymd(2999, 1, 1))
    }

    fn issue_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names that a certificate can have");
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a signature");
        Identity { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

/// Calls `to` with TLS, asking for `name`, of which `authority` must have issued the certificate. An IP address asks for
/// nothing: it is no server name.
///
/// # Errors
/// When the handshake comes to nothing.
pub async fn greet(to: SocketAddr, name: &str, authority: &Authority) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(to).await?;
    let connector = TlsConnector::from(Arc::new(trusting(authority)));
    within("a handshake", connector.connect(server_name(name), stream)).await
}

/// The first bytes that a client sends who asks for `name`.
pub fn client_hello(name: &str, authority: &Authority) -> Vec<u8> {
    let mut client =
        ClientConnection::new(Arc::new(trusting(authority)), server_name(name)).expect("a client");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("memory takes bytes");
    bytes
}

fn server_name(name: &str) -> ServerName<'static> {
    ServerName::try_from(name.to_owned()).expect("a name or an address")
}

fn trusting(authority: &Authority) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(authority.issuer.der().clone()).expect("an authority");
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// A handshake as the front saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// The name that was asked for (SNI).
    pub name: Option<String>,
    /// The protocol that was chosen.
    pub alpn: Option<String>,
    /// The caller showed a certificate.
    pub certificate: bool,
    /// An earlier session went on.
    pub resumed: bool,
}

/// Takes TLS off and passes what is inside to a backend. Dropping it accepts no more.
pub struct TlsFront {
    address: SocketAddr,
    greetings: Arc<Mutex<Vec<Greeting>>>,
    accept: JoinHandle<()>,
}

impl TlsFront {
    /// Before `backend`, with this identity, choosing among these protocols; none: it knows no ALPN.
    pub async fn start(backend: SocketAddr, identity: &Identity, alpn: &[&str]) -> Self {
        Self::with(backend, server(identity, None), alpn).await
    }

    /// As [`TlsFront::start`], but callers must show a certificate that `clients` issued.
    pub async fn mutual(
        backend: SocketAddr,
        identity: &Identity,
        alpn: &[&str],
        clients: &Authority,
    ) -> Self {
        Self::with(backend, server(identity, Some(clients)), alpn).await
    }

    async fn with(backend: SocketAddr, mut config: ServerConfig, alpn: &[&str]) -> Self {
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port on loopback");
        let address = listener.local_addr().expect("a bound socket has an address");
        let greetings = Arc::default();
        let accept = tokio::spawn(accept(listener, backend, config.into(), Arc::clone(&greetings)));
        Self { address, greetings, accept }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every handshake that came to its end.
    pub fn greetings(&self) -> Vec<Greeting> {
        self.greetings.lock().expect("no test panics while it holds this").clone()
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

fn server(identity: &Identity, clients: Option<&Authority>) -> ServerConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let chain = vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes()).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("a key");
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("the provider has them");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.issuer.der().clone()).expect("an authority");
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build();
            builder.with_client_cert_verifier(verifier.expect("a verifier"))
        }
    };
    builder.with_single_cert(chain, key).expect("a key that belongs to the certificate")
}

async fn accept(
    listener: TcpListener,
    backend: SocketAddr,
    config: Arc<ServerConfig>,
    greetings: Arc<Mutex<Vec<Greeting>>>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, greetings) = (TlsAcceptor::from(config.clone()), greetings.clone());
        tokio::spawn(async move {
            // A handshake that fails is the test's business, not the front's.
            let Ok(mut near) = acceptor.accept(stream).await else { return };
            let session = near.get_ref().1;
            let alpn = session.alpn_protocol().map(|chosen| String::from_utf8_lossy(chosen).into_owned());
            let greeting = Greeting {
                name: session.server_name().map(str::to_owned),
                alpn,
                certificate: session.peer_certificates().is_some_and(|chain| !chain.is_empty()),
                resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
            };
            greetings.lock().expect("no test panics while it holds this").push(greeting);
            if let Ok(mut far) = TcpStream::connect(backend).await {
                // Whoever ends the connection ends it for the other side too.
                let _ = copy_bidirectional(&mut near, &mut far).await;
            }
        });
    }
}
