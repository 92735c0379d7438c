//! `Mesh`: settings for every proxy.

use super::{Metadata, TrafficBody};
use crate::{
    convert::{Any, Bounded, Setting, Spanned, Strict, choice, object},
    duration::GepDuration,
    spiffe::TrustDomain,
};

object! {
    /// Settings for every proxy; one object for all.
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
        /// The trust domain of all identities; `cluster.local` unless set.
        trust_domain("trustDomain"): Strict<TrustDomain>,
        /// Destinations that no Service names.
        egress("egress"): Option<EgressBody>,
        /// Resource limits of each proxy.
        limits("limits"): Option<LimitsBody>,
        /// A TrafficPolicy body for everything.
        defaults("defaults"): Option<TrafficBody>,
        /// What is reported.
        telemetry("telemetry"): Option<Telemetry>,
    }
    ignored { "mtls": Mtls, }
}

object! {
    /// Mutual TLS between proxies.
    pub(crate) struct Mtls {}
    ignored { "mode": MtlsMode, }
}

choice! {
    /// Whether proxies speak mutual TLS.
    pub(crate) enum MtlsMode {
        /// They do not.
        Disabled = "Disabled",
    }
}

object! {
    /// Destinations that no Service names.
    pub(crate) struct EgressBody {
        /// What happens to requests for them. Unless set: Allow, and Deny for those in HTTP-proxy form (absolute URI).
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
        /// They are answered 404.
        Deny = "Deny",
    }
}

object! {
    /// Resource limits of each proxy.
    pub(crate) struct LimitsBody {
        /// Bytes of a request head; 61440 unless set. More is answered 431.
        header_bytes("headerBytes"): Strict<Bounded<1024, 1_048_576>>,
        /// Fields of a request head; 100 unless set. More is answered 431.
        header_count("headerCount"): Strict<Bounded<1, 1000>>,
        /// Bytes of a URI; 16384 unless set. More is answered 414.
        uri_bytes("uriBytes"): Strict<Bounded<256, 1_048_576>>,
        /// Bytes of trailers; 16384 unless set.
        trailer_bytes("trailerBytes"): Strict<Bounded<256, 1_048_576>>,
        /// For a whole request head; 10s unless set.
        header_timeout("headerTimeout"): Strict<Spanned<GepDuration>>,
        /// Open HTTP/2 streams of one caller's connection; 250 unless set.
        max_concurrent_streams("maxConcurrentStreams"): Strict<Bounded<1, 100_000>>,
        /// A caller's connection without a request is closed after this; 1h unless set.
        connection_idle("connectionIdle"): Strict<Spanned<GepDuration>>,
        /// An idle HTTP/1 connection to an endpoint is kept this long at most; 3s unless set.
        pool_idle("poolIdle"): Strict<Spanned<GepDuration>>,
        /// Open connections of callers; the smaller of 50000 and half the file limit unless set.
        max_connections("maxConnections"): Strict<Bounded<1, 10_000_000>>,
        /// Bytes of a request body that are kept for a repeat; 65536 unless set.
        replay_bytes("replayBytes"): Strict<Bounded<0, 16_777_216>>,
    }
}

object! {
    /// What is reported.
    pub(crate) struct Telemetry {
        /// One line per request on standard output; none unless set.
        access_log("accessLog"): Setting<AccessLogBody>,
    }
}

object! {
    /// The access log.
    pub(crate) struct AccessLogBody {
        /// The form of a line; json unless set.
        format("format"): Strict<AccessLogFormat>,
    }
}

choice! {
    /// The form of an access log line.
    pub(crate) enum AccessLogFormat {
        /// One JSON object a line.
        Json = "json",
    }
}
