//! Label values of mutual TLS between sidecars: why a peer's certificate is refused.

use crate::telemetry::shard::label_values;

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
