//! A proxy of the mesh as a callee's proxy sees it: TLS with an SVID and one of the mesh's protocols.
//!
//! [`MeshCaller`] is an address to which any plaintext client of these tests connects, and which carries its bytes on
//! through TLS, its half-closes as `close_notify` and its resets as resets: so what is promised for plaintext is asked for
//! TLS with the same clients. [`dial`] gives one connection for what such a client cannot say.

use std::{io, net::SocketAddr, sync::Arc};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy, split},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::wait::within;

/// Requests of many callers.
pub const HTTP2: &str = "outrigger-h2";
/// One request that becomes something else.
pub const HTTP1: &str = "outrigger-http/1.1";
/// Bytes that are passed on.
pub const TCP: &str = "outrigger-tcp";

/// The frame with which bytes that are passed on begin.
pub fn frame(port: u16) -> Vec<u8> {
    [&[1, 2][..], &port.to_be_bytes()].concat()
}

/// Makes one connection to `to`.
///
/// # Errors
/// When the handshake comes to nothing. With TLS 1.3 a callee may refuse later: then the first read says so.
pub async fn dial(to: SocketAddr, config: ClientConfig) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let connector = TlsConnector::from(Arc::new(config));
    within("a handshake", connector.connect(ServerName::from(to.ip()), stream)).await
}

/// Makes one connection to `to`, and waits for what the callee thinks of it: `None` where it says nothing against it until
/// `probe` was answered by any byte.
pub async fn refusal(to: SocketAddr, config: ClientConfig, probe: &[u8]) -> Option<io::Error> {
    let mut tls = match dial(to, config).await {
        Ok(tls) => tls,
        Err(error) => return Some(error),
    };
    if let Err(error) = tls.write_all(probe).await {
        return Some(error);
    }
    within("an answer, or a refusal", tls.read_u8()).await.err()
}

/// Carries plaintext connections to a proxy as one of the mesh would. Dropping it accepts no more.
pub struct MeshCaller {
    address: SocketAddr,
    accept: JoinHandle<()>,
}

impl MeshCaller {
    /// Calls `to`, with `first` before everything that comes.
    pub async fn new(to: SocketAddr, config: ClientConfig, first: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port on loopback");
        let address = listener.local_addr().expect("a bound socket has an address");
        let accept = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                near.set_nodelay(true).expect("a connected socket takes TCP_NODELAY");
                tokio::spawn(carry(near, to, config.clone(), first.clone()));
            }
        });
        Self { address, accept }
    }

    /// Where plaintext goes in.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for MeshCaller {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

async fn carry(near: TcpStream, to: SocketAddr, config: ClientConfig, first: Vec<u8>) {
    let mut far = match dial(to, config).await {
        Ok(far) => far,
        Err(_) => return near.set_zero_linger().expect("a connected socket takes SO_LINGER"),
    };
    let begun = async {
        far.write_all(&first).await?;
        far.flush().await
    };
    if begun.await.is_err() {
        return near.set_zero_linger().expect("a connected socket takes SO_LINGER");
    }
    let ((mut near_read, mut near_write), (mut far_read, mut far_write)) = (split(near), split(far));
    let up = async {
        copy(&mut near_read, &mut far_write).await?;
        far_write.shutdown().await
    };
    let down = async {
        copy(&mut far_read, &mut near_write).await?;
        near_write.shutdown().await
    };
    if tokio::try_join!(up, down).is_err() {
        let (near, far) = (near_read.unsplit(near_write), far_read.unsplit(far_write));
        // The other side may be closed already.
        let _ = (near.set_zero_linger(), far.get_ref().0.set_zero_linger());
    }
}
