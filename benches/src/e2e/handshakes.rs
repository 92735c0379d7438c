//! Connections to the far side of a pair: a full mutual handshake and one request each. Whoever checks no certificate, or
//! resumes a session, would not be compared with the others, so the client offers nothing to resume.

use std::sync::Arc;

use anyhow::{Context, ensure};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustls::{
    ClientConfig, ProtocolVersion, RootCertStore,
    client::Resumption,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::OTHER_CORE;
use super::peers::certificates::{self, Certificates};
use super::peers::{Kind, PATH, Peer};

/// Connections at a time.
const AT_A_TIME: u64 = 8;

/// What connections cost the far side of one pair.
pub(super) struct Handshakes {
    pub(super) kind: Kind,
    /// CPU of the far process, microseconds per connection.
    pub(super) cpu_us: f64,
    pub(super) per_second: f64,
    /// The key exchange that the peer chose out of X25519MLKEM768, X25519, P-256, P-384.
    pub(super) key_exchange: String,
}

/// Makes `count` connections to each pair, and a tenth of that before, to warm up.
pub(super) async fn measure(peers: &[Peer], count: u64) -> anyhow::Result<Vec<Handshakes>> {
    let core: usize = OTHER_CORE.parse()?;
    let mut own = CpuSet::new();
    own.set(core);
    sched_setaffinity(None, &own).context("cannot stay on one core")?;
    let mut measured = Vec::new();
    for peer in peers.iter().filter(|peer| peer.kind.is_pair()) {
        eprintln!("handshakes with {}", peer.kind.name());
        let client = client(peer)?;
        connections(peer, &client, count / 10 + 1).await?;
        let (before, start) = (peer.far_cpu_us()?, Instant::now());
        let key_exchange = connections(peer, &client, count).await?;
        let per_second = count as f64 / start.elapsed().as_secs_f64();
        let cpu_us = (peer.far_cpu_us()? - before) / count as f64;
        measured.push(Handshakes { kind: peer.kind, cpu_us, per_second, key_exchange });
    }
    Ok(measured)
}

/// A client with the caller's certificate, that speaks HTTP/1.1 as the peer names it.
fn client(peer: &Peer) -> anyhow::Result<Arc<ClientConfig>> {
    let Certificates { authority, caller, .. } =
        peer.certificates.as_ref().context("a pair has certificates")?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority)?)?;
    let chain = vec![CertificateDer::from_pem_file(&caller.certificate)?];
    let key = PrivateKeyDer::from_pem_file(&caller.key)?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    config.resumption = Resumption::disabled();
    let protocol: &[u8] = if peer.is_outrigger() { b"outrigger-http/1.1" } else { b"http/1.1" };
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(Arc::new(config))
}

async fn connections(peer: &Peer, client: &Arc<ClientConfig>, count: u64) -> anyhow::Result<String> {
    let port = peer.ports.inner[0];
    let mut tasks = JoinSet::new();
    for task in 0..AT_A_TIME {
        let client = client.clone();
        let own = count / AT_A_TIME + u64::from(task < count % AT_A_TIME);
        tasks.spawn(async move {
            let mut chosen = String::new();
            for _ in 0..own {
                chosen = one(&client, port).await?;
            }
            anyhow::Ok(chosen)
        });
    }
    let mut chosen = String::new();
    while let Some(done) = tasks.join_next().await {
        let name = done??;
        if !name.is_empty() {
            chosen = name;
        }
    }
    Ok(chosen)
}

/// One connection and one request on it: a peer that refuses our certificate says so only after its handshake.
async fn one(client: &Arc<ClientConfig>, port: u16) -> anyhow::Result<String> {
    let socket = TcpStream::connect(("127.0.0.1", port)).await?;
    socket.set_nodelay(true)?;
    let name = ServerName::try_from(certificates::NAME)?;
    let mut stream = TlsConnector::from(client.clone()).connect(name, socket).await?;
    let session = stream.get_ref().1;
    ensure!(session.protocol_version() == Some(ProtocolVersion::TLSv1_3), "not TLS 1.3");
    let group = session.negotiated_key_exchange_group().context("no key exchange")?;
    let chosen = format!("{:?}", group.name());
    let request = format!("GET {PATH} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    // Not everybody ends TLS before TCP.
    let _ = stream.read_to_end(&mut answer).await;
    ensure!(answer.starts_with(b"HTTP/1.1 200"), "no 200: {}", String::from_utf8_lossy(&answer));
    Ok(chosen)
}
