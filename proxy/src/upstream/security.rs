//! How an endpoint is spoken to: in plaintext, through TLS to a host outside the mesh, or by mutual TLS within it.
//!
//! One place decides it, for requests, connections, checks and explanations alike, and by policy alone: never by
//! probing, and never anything less because something failed. Pure; handshakes are made in `tls.rs` and `mesh.rs`.

use std::sync::Arc;

use http::uri::Scheme;
use outrigger_config::model::{AppProtocol, MtlsMode};

use super::tls::Outward;
use crate::{balance::PinnedPeer, identity::Identity};

/// How an endpoint is spoken to; `I` is who we are, `P` who it must be, `O` what TLS to a host outside needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Means<I, P, O> {
    /// By mutual TLS.
    Mesh {
        /// Who we are.
        own: I,
        /// Who it must be.
        peer: P,
    },
    /// Through TLS as `MeshService.spec.tls` says.
    Outward(O),
    /// In plaintext.
    Plain(Why),
}

/// Why an endpoint is spoken to in plaintext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Policy says so, for its port or the whole mesh.
    Disabled,
    /// Policy gives the endpoint no identity: it has no sidecar, or one without.
    NoPeer,
    /// This proxy has no identity that it could show.
    NoIdentity,
    /// It is this proxy's own app, or whatever the app has dialled: no endpoint of policy.
    NoEndpoint,
    /// The caller brings TLS of its own.
    CallersTls,
}

impl Why {
    /// For people.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Disabled => "mutual TLS is Disabled for the port",
            Self::NoPeer => "the endpoint has no identity",
            Self::NoIdentity => "this Sidecar has no identity",
            Self::NoEndpoint => "it is no endpoint of a Service",
            Self::CallersTls => "the caller speaks TLS itself",
        }
    }
}

/// Decides how an endpoint is spoken to. Policy files give an endpoint an identity or its destination TLS for hosts
/// outside, not both; where both come, who it is says more than which name it has.
pub(crate) fn choose<I, P, O>(
    own: Option<I>,
    peer: Option<P>,
    mode: MtlsMode,
    outward: Option<O>,
) -> Means<I, P, O> {
    let why = match (mode, own, peer) {
        (MtlsMode::Disabled, ..) => Why::Disabled,
        (MtlsMode::Permissive | MtlsMode::Strict, Some(own), Some(peer)) => return Means::Mesh { own, peer },
        (MtlsMode::Permissive | MtlsMode::Strict, _, None) => Why::NoPeer,
        (MtlsMode::Permissive | MtlsMode::Strict, None, Some(_)) => Why::NoIdentity,
    };
    outward.map_or(Means::Plain(why), Means::Outward)
}

/// How an endpoint is spoken to, with what that needs.
pub(crate) type Security<'a> = Means<&'a Arc<Identity>, &'a Arc<PinnedPeer>, &'a Outward>;

impl Security<'_> {
    /// Tells connections apart that must not be used for one another.
    pub(crate) fn key(&self) -> (u8, u64) {
        match self {
            Self::Plain(_) => (0, 0),
            Self::Outward(tls) => (1, tls.id()),
            Self::Mesh { peer, .. } => (2, peer.id()),
        }
    }

    /// The generation of our own certificate that is shown; 0 where none is.
    pub(crate) fn generation(&self) -> u64 {
        match self {
            Self::Mesh { own, .. } => own.generation(),
            Self::Plain(_) | Self::Outward(_) => 0,
        }
    }

    /// Whether the other end proves who it is, to a proxy that does so too.
    pub(crate) fn is_mesh(&self) -> bool {
        matches!(self, Self::Mesh { .. })
    }

    /// What requests are spoken in to an endpoint of this protocol: between sidecars it is always HTTP/2.
    pub(crate) fn spoken(&self, protocol: AppProtocol) -> AppProtocol {
        if self.is_mesh() { AppProtocol::Http2 } else { protocol }
    }

    /// What a request is for, as far as the endpoint can tell: what sidecars put around it is not the request's.
    pub(crate) fn scheme(&self) -> Scheme {
        if matches!(self, Self::Outward(_)) { Scheme::HTTPS } else { Scheme::HTTP }
    }
}

/// What the endpoints of one Service port have in common in this.
#[derive(Clone, Debug, Default)]
pub(crate) struct Protection {
    /// TLS of a destination outside; `None`: it is in the mesh, or speaks plaintext.
    pub(crate) outward: Option<Arc<Outward>>,
    /// Who we are; `None`: nobody.
    pub(crate) own: Option<Arc<Identity>>,
    /// What policy says of the port; `None`: it is no Service's.
    pub(crate) mode: Option<MtlsMode>,
}

impl Protection {
    /// How the endpoint with this peer is spoken to.
    pub(crate) fn of<'a>(&'a self, peer: Option<&'a Arc<PinnedPeer>>) -> Security<'a> {
        match self.mode {
            None => Means::Plain(Why::NoEndpoint),
            Some(mode) => choose(self.own.as_ref(), peer, mode, self.outward.as_deref()),
        }
    }
}

/// Two are equal where every connection made by one could have been made by the other.
impl PartialEq for Protection {
    fn eq(&self, other: &Self) -> bool {
        let own = match (&self.own, &other.own) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        own && (self.mode, &self.outward) == (other.mode, &other.outward)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutual_tls_is_spoken_where_both_have_an_identity_and_policy_does_not_forbid_it() {
        use MtlsMode::{Disabled, Permissive, Strict};
        let (own, peer, outward) = (Some("own"), Some("peer"), Some("outward"));
        let mesh = Means::Mesh { own: "own", peer: "peer" };
        for mode in [Permissive, Strict] {
            assert_eq!(choose(own, peer, mode, None::<&str>), mesh);
            assert_eq!(choose(own, peer, mode, outward), mesh, "who it is says more than its name");
            assert_eq!(choose(own, None::<&str>, mode, None::<&str>), Means::Plain(Why::NoPeer));
            assert_eq!(choose(None::<&str>, peer, mode, None::<&str>), Means::Plain(Why::NoIdentity));
            assert_eq!(choose(None::<&str>, None::<&str>, mode, None::<&str>), Means::Plain(Why::NoPeer));
            assert_eq!(choose(None::<&str>, peer, mode, outward), Means::Outward("outward"));
        }
        assert_eq!(choose(own, peer, Disabled, None::<&str>), Means::Plain(Why::Disabled));
        assert_eq!(choose(own, peer, Disabled, outward), Means::Outward("outward"));
    }

    #[test]
    fn an_endpoint_of_no_service_is_plaintext() {
        let peer = PinnedPeer::new(outrigger_config::SpiffeId::of_account("cluster.local", "shop", "cart"));
        assert_eq!(Protection::default().of(Some(&peer)).key(), (0, 0));
        let permissive = Protection { mode: Some(MtlsMode::Permissive), ..Protection::default() };
        assert!(matches!(permissive.of(Some(&peer)), Means::Plain(Why::NoIdentity)));
        assert!(matches!(permissive.of(None), Means::Plain(Why::NoPeer)));
    }
}
