//! Counters of one destination port: attempts, retries and connections to its endpoints.

use std::time::Duration;

use super::{
    super::{
        histogram::{Histogram, Sum},
        shard::{Cell, Cells, PerWorker, label_values},
    },
    MeshFault,
};

label_values! {
    /// How an attempt ended.
    AttemptOutcome {
        /// An answer below 500 whose gRPC status, where the head has one, is 0.
        Success = "success",
        /// An answer of 500 or more.
        Http5xx = "http_5xx",
        /// An answer that is only trailers, with a gRPC status other than 0.
        GrpcError = "grpc_error",
        /// The connection was refused, or the endpoint could not be reached.
        ConnectFailed = "connect_failed",
        /// The connection was not made in time.
        ConnectTimeout = "connect_timeout",
        /// TLS could not be had on the connection.
        TlsFailed = "tls_failed",
        /// No answer's head within the attempt timeout.
        AttemptTimeout = "attempt_timeout",
        /// The total deadline passed during the attempt.
        RequestTimeout = "request_timeout",
        /// The connection ended before the answer's head.
        Reset = "reset",
        /// The endpoint refused the stream, or took the connection away before it was used.
        Refused = "refused",
        /// The endpoint broke its protocol.
        Protocol = "protocol",
        /// No byte moved for too long.
        StreamIdle = "stream_idle_timeout",
        /// The caller went away.
        Cancelled = "cancelled",
        /// A limit of the Service kept it from a connection.
        Limited = "limited",
        /// There was no endpoint to try.
        NoEndpoint = "no_endpoint",
    }
}

label_values! {
    /// What made a retry necessary, in the words of `retry.on`.
    RetryReason {
        /// The connection could not be made.
        ConnectFailure = "connect-failure",
        /// The endpoint refused the stream.
        RefusedStream = "refused-stream",
        /// The connection ended before the answer's head.
        Reset = "reset",
        /// 502, 503, 504, or an attempt that took too long.
        GatewayError = "gateway-error",
        /// Any other 5xx.
        ServerError = "5xx",
        /// A status of `retry.statuses`.
        RetriableStatus = "retriable-status",
        /// A gRPC code.
        GrpcCode = "grpc-code",
        /// The connection ended before anything of the request was written: such work never started.
        Unsent = "unsent",
    }
}

label_values! {
    /// Why a failed attempt was not repeated.
    RetryDenied {
        /// The retry budget is spent.
        Budget = "budget",
        /// The retry law: the method is not safe to repeat.
        Law = "law",
        /// The total deadline leaves no room.
        Deadline = "deadline",
        /// More of the body was sent than is kept.
        ReplayOverflow = "replay_overflow",
        /// All attempts are spent.
        Attempts = "attempts",
        /// Another hop repeats this request.
        Hop = "hop",
        /// As many requests as may be are on a repeat.
        Limit = "limit",
        /// The circuit breaker lets nothing through.
        CircuitOpen = "circuit_open",
    }
}

label_values! {
    /// Why TLS to an endpoint could not be had.
    TlsFault {
        /// The endpoint's certificate has expired.
        Expired = "expired",
        /// The endpoint's certificate is not valid yet.
        NotYetValid = "not_yet_valid",
        /// No authority that is trusted has issued the endpoint's certificate.
        UnknownIssuer = "unknown_issuer",
        /// The endpoint's certificate is for another name.
        NameMismatch = "name_mismatch",
        /// The endpoint's certificate is bad in another way, or there is none.
        BadCertificate = "bad_certificate",
        /// The endpoint does not speak the protocol that the connection is for (ALPN).
        Alpn = "alpn",
        /// The endpoint refused the handshake, most likely for want of a certificate that it trusts.
        Refused = "refused",
        /// The endpoint does not speak TLS, or no version or cipher that is spoken here.
        Protocol = "protocol",
        /// The connection ended during the handshake.
        Closed = "closed",
        /// The files of this TLS were not read: nothing can be sent.
        Unread = "unread",
        /// This proxy's own certificate has expired: it makes no handshake.
        OwnExpired = "own_certificate_expired",
    }
}

#[derive(Debug, Default)]
struct Block {
    attempts: Cells<{ AttemptOutcome::ALL.len() }>,
    attempt_duration: Histogram,
    retries: Cells<{ RetryReason::ALL.len() }>,
    denied: Cells<{ RetryDenied::ALL.len() }>,
    connections: Cell,
    connections_closed: Cell,
    connect_failures: Cell,
    tls_failures: Cells<{ MeshFault::COUNT }>,
}

/// Counters of one destination port. Every call names the worker that makes it; a worker counts for itself only.
#[derive(Debug)]
pub struct BackendMetrics {
    pub(super) service: Box<str>,
    blocks: PerWorker<Block>,
}

impl BackendMetrics {
    /// `namespace/name:port`, or what else it was asked for by.
    pub(crate) fn service(&self) -> &str {
        &self.service
    }

    pub(super) fn new(workers: usize, service: Box<str>) -> Self {
        Self { service, blocks: PerWorker::new(workers) }
    }

    /// An attempt has its answer's head, or has failed, `elapsed` after its start.
    #[inline]
    pub fn attempt(&self, worker: usize, outcome: AttemptOutcome, elapsed: Duration) {
        let block = self.blocks.of(worker);
        block.attempts.at(outcome as usize).add(1);
        block.attempt_duration.record(elapsed);
    }

    /// An attempt is repeated.
    pub fn retry(&self, worker: usize, reason: RetryReason) {
        self.blocks.of(worker).retries.at(reason as usize).add(1);
    }

    /// A failed attempt is not repeated.
    pub fn retry_denied(&self, worker: usize, reason: RetryDenied) {
        self.blocks.of(worker).denied.at(reason as usize).add(1);
    }

    /// A connection was made.
    pub fn connection_opened(&self, worker: usize) {
        self.blocks.of(worker).connections.add(1);
    }

    /// A connection that was made has ended.
    pub fn connection_closed(&self, worker: usize) {
        self.blocks.of(worker).connections_closed.add(1);
    }

    /// A connection could not be made.
    pub fn connect_failed(&self, worker: usize) {
        self.blocks.of(worker).connect_failures.add(1);
    }

    /// TLS could not be had on a connection.
    pub fn tls_failed(&self, worker: usize, why: impl Into<MeshFault>) {
        self.blocks.of(worker).tls_failures.at(why.into().index()).add(1);
    }

    pub(super) fn attempts(&self, outcome: AttemptOutcome) -> u64 {
        self.blocks.sum(|block| block.attempts.at(outcome as usize).get()).unwrap_or(0)
    }

    pub(super) fn attempt_duration(&self) -> Sum {
        let mut sum = Sum::default();
        self.blocks.used().for_each(|block| sum.add(&block.attempt_duration));
        sum
    }

    pub(super) fn retries(&self, reason: RetryReason) -> u64 {
        self.blocks.sum(|block| block.retries.at(reason as usize).get()).unwrap_or(0)
    }

    pub(super) fn denied(&self, reason: RetryDenied) -> u64 {
        self.blocks.sum(|block| block.denied.at(reason as usize).get()).unwrap_or(0)
    }

    pub(super) fn connections(&self) -> u64 {
        self.blocks.sum(|block| block.connections.get()).unwrap_or(0)
    }

    /// How many connections are open.
    pub fn connections_open(&self) -> u64 {
        let open =
            self.blocks.sum(|block| block.connections.get().wrapping_sub(block.connections_closed.get()));
        open.unwrap_or(0)
    }

    pub(super) fn connect_failures(&self) -> u64 {
        self.blocks.sum(|block| block.connect_failures.get()).unwrap_or(0)
    }

    pub(super) fn tls_failures(&self, why: MeshFault) -> u64 {
        self.blocks.sum(|block| block.tls_failures.at(why.index()).get()).unwrap_or(0)
    }
}
