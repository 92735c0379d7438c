//! `Mesh`: settings for every proxy.

use super::{Metadata, MtlsBody, Telemetry, TrafficBody};
use crate::{
    convert::{Any, Bounded, Spanned, Strict, choice, object},
    duration::GepDuration,
    model::Limits,
    spiffe::TrustDomain,
};

object! {
    /// Settings for every proxy; one object for all.
    ///
    /// Without one every setting has its built-in value. A second Mesh object is an error (OR140).
    pub(crate) struct Mesh {
        /// Its name.
        metadata("metadata"): Metadata,
        /// The settings.
        spec("spec"): MeshSpec,
    }
    ignored { "apiVersion": Any, "kind": Any, "status": Any, }
}

object! {
    /// The settings.
    pub(crate) struct MeshSpec {
        /// The trust domain of all identities: lower-case letters, digits, `.`, `-`, `_`.
        trust_domain("trustDomain"): Strict<TrustDomain> = TrustDomain::BUILT_IN,
        /// Mutual TLS between Sidecars that have an identity.
        mtls("mtls"): Option<MtlsBody>,
        /// Destinations that no Service names.
        egress("egress"): Option<EgressBody>,
        /// Resource limits of each proxy.
        limits("limits"): Option<LimitsBody>,
        /// A TrafficPolicy body for everything: what holds where no TrafficPolicy says otherwise.
        defaults("defaults"): Option<TrafficBody>,
        /// What is reported.
        telemetry("telemetry"): Option<Telemetry>,
    }
}

object! {
    /// Destinations that no Service names.
    pub(crate) struct EgressBody {
        /// What happens to requests for them. Unless set: Allow, and Deny for those in HTTP-proxy form (absolute URI); what
        /// is set holds for both.
        mode("mode"): Strict<EgressMode>,
    }
}

choice! {
    /// What happens to requests for unknown destinations.
    pub(crate) enum EgressMode {
        /// They go to the authority's own address.
        Allow = "Allow",
        /// As Allow, with a log line each.
        Log = "Log",
        /// They are answered 404 `no_service`.
        Deny = "Deny",
    }
}

object! {
    /// Resource limits of each proxy. They hold for every listener, before any route is looked at.
    pub(crate) struct LimitsBody {
        /// Bytes of a request head, names and values together. More is answered 431 `header_too_large`.
        header_bytes("headerBytes"): Strict<Bounded<1024, 1_048_576>> = Limits::default().header_bytes,
        /// Fields of a request head. More is answered 431 `header_too_large`.
        header_count("headerCount"): Strict<Bounded<1, 1000>> = Limits::default().header_count,
        /// Bytes of a request URI. More is answered 414 `uri_too_long`.
        uri_bytes("uriBytes"): Strict<Bounded<256, 1_048_576>> = Limits::default().uri_bytes,
        /// Bytes of trailers, either way. With more the stream is reset.
        trailer_bytes("trailerBytes"): Strict<Bounded<256, 1_048_576>> = Limits::default().trailer_bytes,
        /// From the first byte of a request head to its end, and from the accepted connection to its first complete
        /// head. When it passes the connection is closed. Not 0.
        header_timeout("headerTimeout"): Strict<Spanned<GepDuration>> = Limits::default().header_timeout,
        /// Where nobody has declared what a redirected connection speaks: from its caller's first byte to what tells HTTP or TLS
        /// from anything else. When it passes the connection is passed on whole. Not 0.
        detect_timeout("detectTimeout"): Strict<Spanned<GepDuration>> = Limits::default().detect_timeout,
        /// Open HTTP/2 streams of one caller's connection; further ones are refused, and may be sent again.
        max_concurrent_streams("maxConcurrentStreams"): Strict<Bounded<1, 100_000>> = Limits::default().max_concurrent_streams,
        /// A caller's connection without an open request is closed after this; one that is passed on whole, after this long
        /// without a byte, unless a `timeouts.streamIdle` is written for it. Not 0.
        connection_idle("connectionIdle"): Strict<Spanned<GepDuration>> = Limits::default().connection_idle,
        /// An idle HTTP/1 connection to an endpoint is kept this long at most; shorter where the endpoint says so
        /// (`Keep-Alive`), or was seen to close earlier.
        pool_idle("poolIdle"): Strict<Spanned<GepDuration>> = Limits::default().pool_idle,
        /// Open connections of callers, all listeners together. A further one is closed at once and counted. Unless set:
        /// 50000, or half the limit on open files if that is less; never more than that half.
        max_connections("maxConnections"): Strict<Bounded<1, 10_000_000>>,
        /// Bytes of a request body that are kept for a repeat. A longer body is passed on and its request cannot be
        /// repeated once more than this was sent; 0 keeps nothing.
        replay_bytes("replayBytes"): Strict<Bounded<0, 16_777_216>> = Limits::default().replay_bytes,
    }
}
