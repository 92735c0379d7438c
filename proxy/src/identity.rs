//! Mutual TLS between sidecars: who this proxy is, whom it believes, and who the other end of a connection is.
//!
//! The order of a handshake: the [`Credentials`] of the moment give the configuration of one side, `verify.rs` judges
//! the certificate that the peer shows by the rules of `svid.rs`, and of the finished handshake comes the [`Peer`].
//! TLS 1.3 alone, both ends with a certificate, nothing resumed: each connection asks anew who is there. Nothing here
//! knows HTTP, opens a socket, or falls back to plaintext.

mod authority;
mod credentials;
mod fault;
mod files;
mod life;
mod peer;
mod rotation;
mod source;
mod svid;
mod verify;

pub(crate) use authority::Authority;
pub(crate) use credentials::{Credentials, Material, Terms, Unfit};
pub(crate) use peer::Peer;
pub(crate) use rotation::Follower;
pub(crate) use svid::Svid;

pub(crate) use crate::telemetry::metrics::PeerFault;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use outrigger_config::SpiffeId;
use outrigger_config::model::{self, IdentitySource};

use crate::pem::{Contents, Unusable};

/// Who this proxy is. It outlives reloads of the policy that name the same identity.
#[derive(Debug)]
pub(crate) struct Identity {
    source: model::Identity,
    current: ArcSwap<Credentials>,
    /// That of `current`, for who compares it with each request.
    generation: AtomicU64,
    /// That of what the source had at first.
    first_signature: u64,
    refused: ArcSwapOption<Refused>,
}

/// What came after the credentials in use and is of no use itself.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    /// When.
    pub(crate) at: SystemTime,
    /// What is wrong with it, and what helps.
    pub(crate) text: String,
}

impl Identity {
    /// Begins with what `source` has now.
    ///
    /// # Errors
    /// What is wrong with it, and what was read of it.
    pub(crate) fn read(source: &model::Identity, now: SystemTime) -> Result<Self, (Unusable, Contents)> {
        let IdentitySource::Files(files) = &source.source;
        let contents = Contents::read(&files::paths(files));
        let terms = Terms { trust_domain: source.trust_domain.clone(), expected: source.expected.clone() };
        match files::credentials(files, &contents, &terms, now) {
            Ok(first) => Ok(Self::new(source.clone(), first, contents.signature())),
            Err(unusable) => Err((unusable, contents)),
        }
    }

    /// Begins with these credentials, which were made for `source`.
    fn new(source: model::Identity, first: Credentials, first_signature: u64) -> Self {
        let generation = AtomicU64::new(first.generation());
        let (current, refused) = (ArcSwap::from_pointee(first), ArcSwapOption::empty());
        Self { source, current, generation, first_signature, refused }
    }

    fn first_signature(&self) -> u64 {
        self.first_signature
    }

    /// Whether policy means this one, wherever it says so.
    pub(crate) fn is(&self, source: &model::Identity) -> bool {
        let paths = |of: &model::Identity| match &of.source {
            IdentitySource::Files(files) => files::paths(files),
        };
        let terms = |of: &model::Identity| (of.trust_domain.clone(), of.expected.clone());
        paths(&self.source) == paths(source) && terms(&self.source) == terms(source)
    }

    /// What policy says of it.
    pub(crate) fn source(&self) -> &model::Identity {
        &self.source
    }

    /// The credentials of the moment. Take them once per connection: two calls may differ.
    pub(crate) fn current(&self) -> Arc<Credentials> {
        self.current.load_full()
    }

    /// The number of the credentials of the moment. It may lag behind [`Self::current`] for a moment, and never leads.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// What the next credentials must be: for whom policy says, or for whom these are.
    fn next_terms(&self) -> Terms {
        let same = || Some(self.current().svid().id().clone());
        let expected: Option<SpiffeId> = self.source.expected.clone().or_else(same);
        Terms { trust_domain: self.source.trust_domain.clone(), expected }
    }

    /// What came last, if it was refused.
    pub(crate) fn refused(&self) -> Option<Arc<Refused>> {
        self.refused.load_full()
    }

    fn set_refused(&self, refused: Option<Refused>) {
        self.refused.store(refused.map(Arc::new));
    }

    /// Puts the next credentials in use, for every handshake that begins from here on.
    fn rotate(&self, next: Credentials) {
        let generation = next.generation();
        self.current.store(Arc::new(next));
        self.generation.store(generation, Ordering::Release);
        self.set_refused(None);
    }
}

/// What two sidecars speak on one connection, as ALPN names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum MeshProtocol {
    /// HTTP/2: requests of many callers.
    Http2,
    /// HTTP/1.1: one request with Upgrade, or CONNECT.
    Http1,
    /// Bytes that are passed on, after a first frame.
    Tcp,
}

impl MeshProtocol {
    /// Every one, the commonest first.
    pub(crate) const ALL: [Self; 3] = [Self::Http2, Self::Http1, Self::Tcp];

    /// The name in ALPN.
    pub(crate) const fn alpn(self) -> &'static [u8] {
        match self {
            Self::Http2 => b"outrigger-h2",
            Self::Http1 => b"outrigger-http/1.1",
            Self::Tcp => b"outrigger-tcp",
        }
    }

    /// The protocol of a name in ALPN; `None`: not one between sidecars.
    pub(crate) fn of_alpn(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.alpn() == name)
    }
}

#[cfg(test)]
mod tests;
