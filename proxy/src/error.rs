//! Every way a request can fail, with its status, gRPC code, access-log flag and reason from one exhaustive match.
//!
//! The table is the product's promise to callers and dashboards: a failure is added here or it does not exist.
//! Nothing here builds an answer; `listen/http.rs` does that from [`Failure::form`].

use http::StatusCode;

/// Writes an enum and the list of its plain variants with what they mean: the doc comments are the error reference.
macro_rules! told {
    (
        $(#[doc = $enum_doc:literal])*
        pub enum $name:ident { $( $(#[doc = $doc:literal])* $variant:ident $( ($inner:ty) )?, )* }
    ) => {
        $(#[doc = $enum_doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $( $(#[doc = $doc])* $variant $( ($inner) )?, )* }

        impl $name {
            /// Every variant that holds nothing, in order, with what it means.
            pub const MEANINGS: &[($name, &str)] =
                told!(@list $name [] $( $variant $( ($inner) )? = concat!($( $doc ),*), )*);
        }
    };
    (@list $name:ident [ $( $done:expr, )* ]) => { &[ $( $done ),* ] };
    (@list $name:ident [ $( $done:expr, )* ] $variant:ident ($inner:ty) = $doc:expr, $( $rest:tt )*) => {
        told!(@list $name [ $( $done, )* ] $( $rest )*)
    };
    (@list $name:ident [ $( $done:expr, )* ] $variant:ident = $doc:expr, $( $rest:tt )*) => {
        told!(@list $name [ $( $done, )* ($name::$variant, $doc), ] $( $rest )*)
    };
}

told! {
/// A failure that the proxy answers itself.
pub enum Failure {
    /// The head breaks a rule of the strict request check.
    BadRequest(Malformed),
    /// The URI is longer than the limit.
    UriTooLong,
    /// The head is larger than the limit, or has too many fields.
    HeaderTooLarge,
    /// A transfer coding that is not served.
    TransferCoding,
    /// CONNECT or `OPTIONS *` where nothing serves them.
    MethodNotAllowed,
    /// A route is attached to the Service and none of its rules matches.
    NoRoute,
    /// No Service answers to this authority and egress is denied.
    NoService,
    /// The rule's backendRef points at nothing that exists, or all weights are 0.
    NoBackend,
    /// No policy for this destination has arrived in time.
    NoPolicy,
    /// The destination has no endpoint.
    NoEndpoint,
    /// The endpoint refused the connection, or could not be reached.
    ConnectFailed,
    /// The endpoint did not accept the connection in time.
    ConnectTimeout,
    /// TLS to the endpoint could not be had.
    TlsFailed,
    /// The endpoint does not speak the protocol that policy gives it.
    AlpnMismatch,
    /// The connection ended before the answer's head.
    UpstreamReset,
    /// The upstream ended after its head: the answer is cut off.
    UpstreamCut,
    /// The upstream broke its protocol.
    UpstreamProtocol,
    /// The endpoint cannot change the protocol as the caller asks.
    UpgradeUnsupported,
    /// The whole request took too long.
    RequestTimeout,
    /// The last attempt took too long to answer.
    AttemptTimeout,
    /// No byte moved either way for too long.
    StreamIdle,
    /// The Service's circuit breaker is open.
    CircuitOpen,
    /// As many requests as may be are open to the Service.
    RequestLimit,
    /// No connection to the Service became free in time.
    ConnectionLimit,
    /// As many requests as may wait for the Service do.
    PendingLimit,
    /// A limit of the proxy is reached.
    Overloaded,
    /// The Service works on as many requests as it can.
    ConcurrencyLimit,
    /// A rate limit of the Service is reached.
    RateLimited,
    /// The Service takes callers with an identity only, and this one has shown none.
    NoIdentity,
    /// A fault that policy makes on purpose; the status is the one that policy, or the request itself, asks for.
    FaultInjected(Abort),
    /// The request asks for a fault, by the header that policy names, and the value cannot be read.
    InvalidFault,
    /// The request would come back to this proxy.
    Loop,
    /// The caller's first bytes are no TLS ClientHello, or none that came in time.
    NoClientHello,
    /// The proxy ended before the connection did.
    Drained,
    /// The caller went away; there is nobody to answer.
    DownstreamGone,
    /// A bug of ours.
    Internal,
}
}

/// With what a request is aborted on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Abort {
    /// HTTP status.
    pub status: StatusCode,
    /// `grpc-status` for a gRPC caller.
    pub grpc: u8,
}

told! {
/// Which rule of the strict request check a head breaks.
pub enum Malformed {
    /// No Host, no `:authority`.
    MissingHost,
    /// More than one Host.
    DuplicateHost,
    /// The authority is not a host with an optional port.
    InvalidHost,
    /// Content-Length differs from itself, is a list, or is not a number.
    ContentLength,
    /// Content-Length and Transfer-Encoding together.
    LengthAndCoding,
    /// Transfer-Encoding that is not exactly one `chunked`, or stands in HTTP/1.0 or HTTP/2.
    TransferEncoding,
    /// A path that is not ASCII, has a NUL or `%00`, or leaves the root.
    Path,
    /// An absolute URI with another scheme than http or https.
    Scheme,
    /// An absolute https URI, sent to a proxy.
    HttpsProxyForm,
    /// The head is more than this one field's rule allows.
    Header,
}
}

/// What a failure looks like from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// HTTP status.
    pub status: StatusCode,
    /// `grpc-status` for a gRPC caller.
    pub grpc: u8,
    /// Access-log flag.
    pub flag: Flag,
    /// `x-outrigger-error`, access-log reason.
    pub reason: &'static str,
}

told! {
/// Access-log flags, in Envoy's spelling where it has one.
pub enum Flag {
    /// Bad request, or a head too large.
    DPE,
    /// No route.
    NR,
    /// No endpoint.
    UH,
    /// Connect failure.
    UF,
    /// Upstream connection ended before the answer.
    UC,
    /// Upstream ended after its head.
    UR,
    /// Upstream protocol error.
    UPE,
    /// Timeout.
    UT,
    /// Overload.
    UO,
    /// Rate limit.
    RL,
    /// No identity.
    NI,
    /// Loop.
    LP,
    /// The caller went away.
    DC,
    /// Aborted on purpose.
    FI,
    /// Delayed on purpose; no failure by itself.
    DI,
    /// The proxy ended.
    DR,
    /// Our bug.
    IE,
}
}

impl Flag {
    /// Every flag, in a fixed order: the order of metric cells.
    pub const ALL: [Flag; 17] = [
        Flag::DPE,
        Flag::NR,
        Flag::UH,
        Flag::UF,
        Flag::UC,
        Flag::UR,
        Flag::UPE,
        Flag::UT,
        Flag::UO,
        Flag::RL,
        Flag::NI,
        Flag::LP,
        Flag::DC,
        Flag::FI,
        Flag::DI,
        Flag::DR,
        Flag::IE,
    ];

    /// The flag as logs and metrics print it.
    pub fn as_str(self) -> &'static str {
        match self {
            Flag::DPE => "DPE",
            Flag::NR => "NR",
            Flag::UH => "UH",
            Flag::UF => "UF",
            Flag::UC => "UC",
            Flag::UR => "UR",
            Flag::UPE => "UPE",
            Flag::UT => "UT",
            Flag::UO => "UO",
            Flag::RL => "RL",
            Flag::NI => "NI",
            Flag::LP => "LP",
            Flag::DC => "DC",
            Flag::FI => "FI",
            Flag::DI => "DI",
            Flag::DR => "DR",
            Flag::IE => "IE",
        }
    }
}

impl Malformed {
    /// The reason as `x-outrigger-error` prints it.
    pub fn as_str(self) -> &'static str {
        match self {
            Malformed::MissingHost => "missing_host",
            Malformed::DuplicateHost => "duplicate_host",
            Malformed::InvalidHost => "invalid_host",
            Malformed::ContentLength => "invalid_content_length",
            Malformed::LengthAndCoding => "length_and_transfer_encoding",
            Malformed::TransferEncoding => "invalid_transfer_encoding",
            Malformed::Path => "invalid_path",
            Malformed::Scheme => "invalid_scheme",
            Malformed::HttpsProxyForm => "https_in_proxy_form",
            Malformed::Header => "invalid_header",
        }
    }
}

impl Failure {
    /// A fault as most policies make it.
    const ANY_FAULT: Self = Self::FaultInjected(Abort { status: StatusCode::SERVICE_UNAVAILABLE, grpc: 14 });

    /// Every failure with what it means: the rules of the strict check first.
    pub fn all() -> impl Iterator<Item = (Failure, &'static str)> {
        let heads = Malformed::MEANINGS.iter().map(|(what, meaning)| (Failure::BadRequest(*what), *meaning));
        let plain = heads.chain(Failure::MEANINGS.iter().copied());
        plain.chain([(Self::ANY_FAULT, ANY_FAULT)]).map(|(failure, meaning)| (failure, meaning.trim()))
    }

    /// Status, gRPC code, flag and reason of this failure.
    pub fn form(self) -> Form {
        let (status, grpc, flag, reason) = match self {
            Failure::BadRequest(what) => (StatusCode::BAD_REQUEST, 13, Flag::DPE, what.as_str()),
            Failure::UriTooLong => (StatusCode::URI_TOO_LONG, 13, Flag::DPE, "uri_too_long"),
            Failure::HeaderTooLarge => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, 8, Flag::DPE, "header_too_large")
            }
            Failure::TransferCoding => {
                (StatusCode::NOT_IMPLEMENTED, 12, Flag::DPE, "transfer_coding_not_supported")
            }
            Failure::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, 12, Flag::DPE, "method_not_allowed")
            }
            Failure::NoRoute => (StatusCode::NOT_FOUND, 12, Flag::NR, "no_route"),
            Failure::NoService => (StatusCode::NOT_FOUND, 12, Flag::NR, "no_service"),
            // A GRPCRoute's share without a backend is UNAVAILABLE, says the Gateway API.
            Failure::NoBackend => (StatusCode::INTERNAL_SERVER_ERROR, 14, Flag::NR, "no_backend"),
            Failure::NoPolicy => (StatusCode::SERVICE_UNAVAILABLE, 14, Flag::NR, "no_policy"),
            Failure::NoEndpoint => (StatusCode::SERVICE_UNAVAILABLE, 14, Flag::UH, "no_endpoint"),
            Failure::ConnectFailed => (StatusCode::SERVICE_UNAVAILABLE, 14, Flag::UF, "connect_failed"),
            Failure::ConnectTimeout => (StatusCode::SERVICE_UNAVAILABLE, 14, Flag::UF, "connect_timeout"),
            Failure::TlsFailed => (StatusCode::SERVICE_UNAVAILABLE, 14, Flag::UF, "tls_failed"),
            Failure::AlpnMismatch => (StatusCode::BAD_GATEWAY, 13, Flag::UPE, "alpn_mismatch"),
            Failure::UpstreamReset => (StatusCode::SERVICE_UNAVAILABLE, 14, Flag::UC, "upstream_reset"),
            Failure::UpstreamCut => (StatusCode::BAD_GATEWAY, 14, Flag::UR, "upstream_cut"),
            Failure::UpstreamProtocol => (StatusCode::BAD_GATEWAY, 13, Flag::UPE, "upstream_protocol"),
            Failure::UpgradeUnsupported => (StatusCode::BAD_GATEWAY, 13, Flag::UPE, "upgrade_not_supported"),
            Failure::RequestTimeout => (StatusCode::GATEWAY_TIMEOUT, 4, Flag::UT, "request_timeout"),
            Failure::AttemptTimeout => (StatusCode::GATEWAY_TIMEOUT, 4, Flag::UT, "attempt_timeout"),
            Failure::StreamIdle => (StatusCode::GATEWAY_TIMEOUT, 4, Flag::UT, "stream_idle_timeout"),
            Failure::CircuitOpen => (StatusCode::SERVICE_UNAVAILABLE, 14, Flag::UO, "circuit_open"),
            Failure::RequestLimit => (StatusCode::SERVICE_UNAVAILABLE, 14, Flag::UO, "request_limit"),
            Failure::ConnectionLimit => (StatusCode::SERVICE_UNAVAILABLE, 14, Flag::UO, "connection_limit"),
            Failure::PendingLimit => (StatusCode::SERVICE_UNAVAILABLE, 14, Flag::UO, "pending_limit"),
            Failure::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, 14, Flag::UO, "overloaded"),
            Failure::ConcurrencyLimit => (StatusCode::SERVICE_UNAVAILABLE, 14, Flag::UO, "concurrency_limit"),
            Failure::RateLimited => (StatusCode::TOO_MANY_REQUESTS, 8, Flag::RL, "rate_limited"),
            Failure::NoIdentity => (StatusCode::UNAUTHORIZED, 16, Flag::NI, "no_identity"),
            Failure::FaultInjected(with) => (with.status, with.grpc, Flag::FI, "fault_injected"),
            Failure::InvalidFault => (StatusCode::BAD_REQUEST, 13, Flag::DPE, "invalid_fault"),
            Failure::Loop => (StatusCode::LOOP_DETECTED, 10, Flag::LP, "loop"),
            // These two end connections that have no answer.
            Failure::NoClientHello => (StatusCode::BAD_REQUEST, 13, Flag::DPE, "no_client_hello"),
            Failure::Drained => (StatusCode::SERVICE_UNAVAILABLE, 14, Flag::DR, "drained"),
            // Never sent: it is the code that the access log and the metrics carry (nginx's 499).
            Failure::DownstreamGone => (CLIENT_CLOSED, 1, Flag::DC, "downstream_gone"),
            Failure::Internal => (StatusCode::INTERNAL_SERVER_ERROR, 13, Flag::IE, "internal_error"),
        };
        Form { status, grpc, flag, reason }
    }
}

/// What every fault is, whatever its status.
const ANY_FAULT: &str = "A fault that policy makes on purpose; status and code are the policy's.";

/// The status that stands in logs and metrics for a caller that went away.
pub const CLIENT_CLOSED: StatusCode = match StatusCode::from_u16(499) {
    Ok(code) => code,
    Err(_) => unreachable!(),
};

/// The gRPC code for an HTTP answer that is not gRPC, as RELIABILITY's mapping has it.
pub fn grpc_of_http(status: StatusCode) -> u8 {
    match status.as_u16() {
        400 | 431 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}
