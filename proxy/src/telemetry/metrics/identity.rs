//! Who this proxy is to other sidecars: how long its certificate lasts, what became of those that followed it, and why a
//! peer's is refused.

use std::time::{Duration, SystemTime};

use super::{
    super::shard::{Shared, label_values},
    Metrics,
};

label_values! {
    /// What became of another certificate, key or bundle.
    Rotation {
        /// It is in use.
        Taken = "ok",
        /// It is of no use; what was in use stays.
        Refused = "rejected",
    }
}

label_values! {
    /// Why the certificate of a peer is refused.
    PeerFault {
        /// It shows none.
        NoCertificate = "no_certificate",
        /// It cannot be read.
        MalformedCertificate = "malformed_certificate",
        /// It names no URI.
        NoUri = "no_uri",
        /// It names more than one URI.
        SeveralUris = "several_uris",
        /// One of its names cannot be read.
        MalformedName = "malformed_name",
        /// Its URI is no `spiffe://`.
        NotSpiffe = "not_spiffe",
        /// Its id is longer than 2048 bytes.
        IdTooLong = "id_too_long",
        /// The trust domain of its id has other letters than it may have.
        MalformedTrustDomain = "malformed_trust_domain",
        /// The path of its id has other letters than it may have, or is empty.
        PathNotAllowed = "path_not_allowed",
        /// It is an authority's.
        LeafIsCa = "leaf_is_ca",
        /// It may not sign handshakes, or may sign certificates.
        WrongKeyUsage = "wrong_key_usage",
        /// It is not for both ends of a connection.
        WrongExtendedKeyUsage = "wrong_extended_key_usage",
        /// It is of another trust domain.
        WrongTrustDomain = "wrong_trust_domain",
        /// No authority of the trust domain has issued it.
        UnknownAuthority = "unknown_authority",
        /// It, or one between it and the authority, has expired.
        Expired = "expired",
        /// It, or one between it and the authority, is not valid yet.
        NotYetValid = "not_yet_valid",
        /// Those between it and the authority break a rule of theirs.
        BadChain = "bad_chain",
        /// The peer does not have its key.
        BadSignature = "bad_signature",
        /// It is for somebody else than was called.
        IdentityMismatch = "identity_mismatch",
    }
}

/// The cells.
#[derive(Debug, Default)]
pub(super) struct IdentityCounts {
    /// Unix time in seconds; 0: there is no certificate.
    not_after: Shared,
    rotations: [Shared; Rotation::ALL.len()],
}

impl IdentityCounts {
    pub(super) fn not_after(&self) -> Option<u64> {
        Some(self.not_after.get()).filter(|seconds| *seconds > 0)
    }

    pub(super) fn rotations(&self) -> impl Iterator<Item = (Rotation, u64)> {
        Rotation::ALL.iter().copied().zip(self.rotations.iter().map(Shared::get))
    }
}

impl Metrics {
    /// A certificate that ends then is in use; `None`: there is none any more.
    pub(crate) fn identity_in_use(&self, not_after: Option<SystemTime>) {
        let since = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        self.counters.identity.not_after.set(not_after.map_or(0, |at| since(at).as_secs()));
    }

    /// Another certificate, key or bundle was there.
    pub(crate) fn identity_rotation(&self, result: Rotation) {
        self.counters.identity.rotations[result as usize].add(1);
    }
}
