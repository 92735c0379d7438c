//! `retry`: when a failed attempt is repeated.

use crate::{
    convert::{Bounded, Flag, List, Percent, Setting, Spanned, Strict, choice, object},
    duration::GepDuration,
    model::{Backoff, Retry, RetryBudget},
};

object! {
    /// When a failed attempt is repeated. Nothing here lets a request be done twice that must not be: see the retry law.
    pub(crate) struct RetryBody {
        /// Repeats after the first try. 0 still repeats once what provably never started: a connection that could not be
        /// made, a stream that was refused.
        attempts("attempts"): Setting<Spanned<Bounded<0, 20>>> = Retry::default().attempts,
        /// What is repeated. A list that is written replaces that of less specific policies.
        on("on"): List<Spanned<Condition>> = Condition::BUILT_IN.map(Condition::word),
        /// The statuses that `retriable-status` means; without it they have no effect (OR152).
        statuses("statuses"): List<Spanned<Bounded<400, 599>>>,
        /// Pauses between attempts.
        backoff("backoff"): Strict<BackoffBody>,
        /// What all requests to the Service may spend on repeats. When it is spent, the failure is the answer, and
        /// `outrigger_retries_denied_total{reason="budget"}` rises.
        budget("budget"): Strict<BudgetBody>,
        /// Whether any method may be repeated, POST and gRPC calls too. Without it only GET, HEAD, OPTIONS, PUT, DELETE
        /// and TRACE are.
        idempotent("idempotent"): Strict<Flag> = Retry::default().idempotent,
    }
}

choice! {
    /// A condition on which an attempt is repeated.
    pub(crate) enum Condition {
        /// The connection could not be made.
        ConnectFailure = "connect-failure",
        /// The server refused the stream before it did anything.
        RefusedStream = "refused-stream",
        /// The connection ended before the head of the answer.
        Reset = "reset",
        /// 502, 503, 504.
        GatewayError = "gateway-error",
        /// Any status from 500.
        ServerError = "5xx",
        /// One of `statuses`.
        RetriableStatus = "retriable-status",
        /// gRPC code 1.
        Cancelled = "cancelled",
        /// gRPC code 2.
        Unknown = "unknown",
        /// gRPC code 4.
        DeadlineExceeded = "deadline-exceeded",
        /// gRPC code 8.
        ResourceExhausted = "resource-exhausted",
        /// gRPC code 10.
        Aborted = "aborted",
        /// gRPC code 13.
        Internal = "internal",
        /// gRPC code 14.
        Unavailable = "unavailable",
        /// gRPC code 15.
        DataLoss = "data-loss",
    }
}

impl Condition {
    /// Whether it is a gRPC code.
    pub(crate) fn is_grpc(self) -> bool {
        matches!(
            self,
            Condition::Cancelled
                | Condition::Unknown
                | Condition::DeadlineExceeded
                | Condition::ResourceExhausted
                | Condition::Aborted
                | Condition::Internal
                | Condition::Unavailable
                | Condition::DataLoss
        )
    }

    /// What is repeated where no policy says so: failures before the service did anything, and answers with which a
    /// service says to come again.
    pub(crate) const BUILT_IN: [Self; 5] = [
        Condition::ConnectFailure,
        Condition::RefusedStream,
        Condition::Reset,
        Condition::GatewayError,
        Condition::Unavailable,
    ];
}

object! {
    /// Pauses between attempts, with full jitter: anything from 0 to `base`, doubled with each repeat up to `max`. A
    /// `Retry-After` that is longer is honoured, as far as the request's limit allows. Where a connection could not be
    /// made and another endpoint is left, there is no pause.
    pub(crate) struct BackoffBody {
        /// The first pause at most.
        base("base"): Strict<Spanned<GepDuration>> = Backoff::default().base,
        /// Any pause at most; not shorter than `base` (OR146).
        max("max"): Strict<Spanned<GepDuration>> = Backoff::default().max,
    }
}

object! {
    /// What all requests to a Service may spend on repeats, counted by each proxy for itself. Repeats of what provably
    /// never started are free.
    pub(crate) struct BudgetBody {
        /// Percent of the requests of the last `ttl`; 100 holds nothing back (OR154).
        percent("percent"): Strict<Percent> = RetryBudget::default().percent,
        /// Repeats per second that are always allowed, however few requests there are.
        min_per_second("minPerSecond"): Strict<Bounded<0, 100_000>> = RetryBudget::default().min_per_second,
        /// How long a request counts; 1s to 60s.
        ttl("ttl"): Strict<Spanned<GepDuration>> = RetryBudget::default().ttl,
    }
}
