//! A sidecar as a caller's proxy sees it: TLS with an SVID and the mesh's protocols, before backends in plaintext.
//!
//! What comes by each protocol goes to a backend of its own, half-closes as half-closes and resets as resets: so what is
//! promised for plaintext is asked for links between sidecars with the same backends. Who may call is what is under test,
//! or for [`MeshCallee::believing`] to say.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use rustls::ServerConfig;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy, split},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{
    authority::Svid,
    wait::{until, within},
};

/// Requests of many callers.
pub const HTTP2: &str = "outrigger-h2";
/// One request that becomes something else.
pub const HTTP1: &str = "outrigger-http/1.1";
/// Bytes that are passed on.
pub const TCP: &str = "outrigger-tcp";

/// Where what comes by each protocol goes; nowhere: the link is reset.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backends {
    /// Requests, in HTTP/2 with prior knowledge.
    pub http2: Option<SocketAddr>,
    /// Requests that become something else, in HTTP/1.1.
    pub http1: Option<SocketAddr>,
    /// Bytes, without the frame before them.
    pub tcp: Option<SocketAddr>,
}

/// A link, as the callee saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The protocol that was chosen.
    pub alpn: String,
    /// The name that was asked for (SNI).
    pub name: Option<String>,
    /// The caller's certificate, DER.
    pub certificate: Vec<u8>,
    /// What comes before bytes that are passed on.
    pub frame: Option<Vec<u8>>,
    /// It has ended.
    pub ended: bool,
}

type Links = Arc<Mutex<Vec<Link>>>;

/// Takes TLS off, as a sidecar does. Dropping it accepts no more.
pub struct MeshCallee {
    address: SocketAddr,
    links: Links,
    cut: watch::Sender<u64>,
    accept: JoinHandle<()>,
}

impl MeshCallee {
    /// One that shows `svid`, believes whoever calls, and chooses among the protocols that have a backend.
    pub async fn start(svid: &Svid, to: Backends) -> Self {
        Self::believing(svid.server(&[HTTP2, HTTP1, TCP]), to).await
    }

    /// One with this configuration.
    pub async fn believing(config: ServerConfig, to: Backends) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port on loopback");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (links, cut) = (Links::default(), watch::Sender::new(0));
        let (seen, cuts) = (links.clone(), cut.subscribe());
        let accept = tokio::spawn(async move {
            let acceptor = TlsAcceptor::from(Arc::new(config));
            while let Ok((near, _)) = listener.accept().await {
                near.set_nodelay(true).expect("a connected socket takes TCP_NODELAY");
                tokio::spawn(serve(acceptor.clone(), near, to, seen.clone(), cuts.clone()));
            }
        });
        Self { address, links, cut, accept }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every link whose handshake came to its end, in order.
    pub fn links(&self) -> Vec<Link> {
        self.links.lock().expect("no test panics while it holds this").clone()
    }

    /// The protocol of each link, in order.
    pub fn alpns(&self) -> Vec<String> {
        self.links().into_iter().map(|link| link.alpn).collect()
    }

    /// Waits until so many links are open.
    pub async fn wait_open(&self, count: usize) {
        let open = || self.links().iter().filter(|link| !link.ended).count();
        until(&format!("{count} open links"), || async { (open() == count).then_some(()) }).await;
    }

    /// Ends every link with a reset.
    pub fn reset_all(&self) {
        self.cut.send_modify(|times| *times += 1);
    }
}

impl Drop for MeshCallee {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

async fn serve(
    acceptor: TlsAcceptor,
    near: TcpStream,
    to: Backends,
    links: Links,
    mut cuts: watch::Receiver<u64>,
) {
    // A handshake that fails is the test's business.
    let Ok(mut near) = acceptor.accept(near).await else { return };
    let mut link = seen(&near);
    let to = match &*link.alpn {
        HTTP2 => to.http2,
        HTTP1 => to.http1,
        _ => to.tcp,
    };
    if link.alpn == TCP {
        let mut frame = vec![0; 4];
        if near.read_exact(&mut frame).await.is_err() {
            return;
        }
        link.frame = Some(frame);
    }
    let index = {
        let mut all = links.lock().expect("no test panics while it holds this");
        all.push(link);
        all.len() - 1
    };
    cuts.mark_unchanged();
    let carried = async {
        match to {
            Some(to) => carry(&mut near, to).await,
            None => Err(io::ErrorKind::NotFound.into()),
        }
    };
    let carried = tokio::select! {
        carried = carried => carried,
        _ = cuts.changed() => Err(io::ErrorKind::ConnectionReset.into()),
    };
    if carried.is_err() {
        // The caller may have closed already.
        let _ = near.get_ref().0.set_zero_linger();
    }
    drop(near);
    links.lock().expect("no test panics while it holds this")[index].ended = true;
}

fn seen(near: &TlsStream<TcpStream>) -> Link {
    let session = near.get_ref().1;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let certificate = session.peer_certificates().and_then(|chain| chain.first());
    Link {
        alpn: session.alpn_protocol().map(text).unwrap_or_default(),
        name: session.server_name().map(str::to_owned),
        certificate: certificate.map(|leaf| leaf.to_vec()).unwrap_or_default(),
        frame: None,
        ended: false,
    }
}

async fn carry(near: &mut TlsStream<TcpStream>, to: SocketAddr) -> io::Result<()> {
    let far = within("a backend", TcpStream::connect(to)).await?;
    far.set_nodelay(true)?;
    let ((mut near_read, mut near_write), (mut far_read, mut far_write)) = (split(near), split(far));
    let up = async {
        copy(&mut near_read, &mut far_write).await?;
        far_write.shutdown().await
    };
    let down = async {
        copy(&mut far_read, &mut near_write).await?;
        near_write.shutdown().await
    };
    let carried = tokio::try_join!(up, down);
    if carried.is_err() {
        // The backend may have closed already.
        let _ = far_read.unsplit(far_write).set_zero_linger();
    }
    carried.map(drop)
}
