//! TLS to endpoints outside the mesh (`MeshService.spec.tls`): who they must be, what is shown to them, and how a
//! handshake that fails is told.
//!
//! A connection's TLS belongs to one destination: the pool keeps those of two destinations apart, also where they share
//! an address. There is no fallback to plaintext: a destination whose TLS cannot be had answers nothing. Certificates
//! are checked by rustls; nothing here looks into one.

mod fault;
mod material;

pub(crate) use fault::is_refusal;
pub(crate) use material::SystemRoots;

use std::{
    fmt, io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use outrigger_config::model::{AppProtocol, Destination, ObjectName, OutwardTls, Resources};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::io::MeteredIo;
use crate::{pem::Unusable, telemetry::metrics::TlsFault};

/// TLS to the endpoints of one destination, ready for handshakes.
pub(crate) struct Outward {
    source: Arc<OutwardTls>,
    /// Tells other contents of the files that `source` names.
    contents: u64,
    /// `None`: nobody has read the files, so no connection can be made.
    ready: Option<Ready>,
    /// Tells its connections from all others in the pool.
    id: u64,
}

struct Ready {
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
}

/// Names no file's contents: they are secret.
impl fmt::Debug for Outward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outward").field("source", &self.source).field("id", &self.id).finish_non_exhaustive()
    }
}

/// Two are equal where the policy is the same and the files hold the same.
impl PartialEq for Outward {
    fn eq(&self, other: &Self) -> bool {
        (&self.source, self.contents, self.ready.is_some())
            == (&other.source, other.contents, other.ready.is_some())
    }
}

impl Outward {
    /// Ids start at 1: 0 is plaintext.
    fn next_id() -> u64 {
        static LAST: AtomicU64 = AtomicU64::new(0);
        LAST.fetch_add(1, Relaxed) + 1
    }

    /// TLS whose files nobody has read: for decisions that send nothing.
    pub(crate) fn unread(source: Arc<OutwardTls>) -> Self {
        Self { source, contents: 0, ready: None, id: Self::next_id() }
    }

    /// Reads the files that `source` names, and makes of them what handshakes need.
    pub(crate) fn read(
        source: Arc<OutwardTls>,
        read: impl Fn(&Path) -> io::Result<Vec<u8>>,
        roots: &SystemRoots,
    ) -> Result<Self, Unusable> {
        let (name, config, contents) = material::client(&source, read, roots)?;
        let ready = Some(Ready { name, config: Arc::new(config) });
        Ok(Self { source, contents, ready, id: Self::next_id() })
    }

    /// Tells its connections from all others.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Speaks TLS on a connected socket. The peer must choose the protocol that the connection is for; what is passed on
    /// whole has none.
    pub(crate) async fn handshake(
        &self,
        io: MeteredIo,
        protocol: AppProtocol,
    ) -> Result<TlsStream<MeteredIo>, TlsFault> {
        let ready = self.ready.as_ref().ok_or(TlsFault::Unread)?;
        let wanted: Option<&[u8]> = match protocol {
            AppProtocol::Http1 => Some(b"http/1.1"),
            AppProtocol::Http2 | AppProtocol::Grpc => Some(b"h2"),
            AppProtocol::Tcp | AppProtocol::Tls => None,
        };
        let connector = TlsConnector::from(ready.config.clone());
        let offered = wanted.iter().map(|wanted| wanted.to_vec()).collect();
        let connected = connector.with_alpn(offered).connect(ready.name.clone(), io).await;
        let stream = connected.map_err(|error| TlsFault::of(&error))?;
        match (stream.get_ref().1.alpn_protocol(), protocol) {
            // HTTP/1.1 is what servers without ALPN speak.
            (None, AppProtocol::Http1) => Ok(stream),
            (chosen, _) if chosen == wanted => Ok(stream),
            _ => Err(TlsFault::Alpn),
        }
    }
}

/// The TLS of every destination that has one.
#[derive(Debug, Default)]
pub(crate) struct Connectors(foldhash::HashMap<ObjectName, Arc<Outward>>);

impl Connectors {
    /// Makes it for every destination that has one, out of the files that its TLS names.
    ///
    /// # Errors
    /// Every file, or lack of one, that makes TLS to a destination impossible.
    pub(crate) fn read(
        resources: &Resources,
        read: impl Fn(&Path) -> io::Result<Vec<u8>>,
    ) -> Result<Self, Vec<Unusable>> {
        let roots = SystemRoots::default();
        let mut connectors = Self::default();
        let mut unusable = Vec::new();
        for destination in &resources.destinations {
            let Some(source) = &destination.tls else { continue };
            match Outward::read(source.clone(), &read, &roots) {
                Ok(outward) => {
                    connectors.0.insert(destination.name.clone(), Arc::new(outward));
                }
                Err(error) => unusable.push(error),
            }
        }
        if unusable.is_empty() { Ok(connectors) } else { Err(unusable) }
    }

    /// The TLS of a destination; `None`: it has none. Where nobody has read its files it makes no connection.
    pub(crate) fn of(&self, destination: &Destination) -> Option<Arc<Outward>> {
        let source = destination.tls.as_ref()?;
        let read = self.0.get(&destination.name).cloned();
        Some(read.unwrap_or_else(|| Arc::new(Outward::unread(source.clone()))))
    }
}

#[cfg(test)]
mod tests;
