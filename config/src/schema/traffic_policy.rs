//! `TrafficPolicy`: how to talk to a Service, or along a route.

use super::{Metadata, TargetRef};
use crate::{
    convert::{Any, Bounded, Flag, List, Percent, Setting, Spanned, Strict, choice, object},
    duration::GepDuration,
};

object! {
    /// How to talk to a Service or along a route. What is more specific wins, field by field.
    pub(crate) struct TrafficPolicy {
        /// Name and namespace; the targets stand in the same namespace.
        metadata("metadata"): Metadata,
        /// The policy.
        spec("spec"): TrafficPolicySpec,
    }
    ignored { "apiVersion": Any, "kind": Any, "status": Any, }
}

object! {
    /// The policy.
    pub(crate) struct TrafficPolicySpec {
        /// What it holds for, at least one.
        target_refs("targetRefs"): List<TargetRef, 16>,
        /// Time limits; null switches all off.
        timeouts("timeouts"): Setting<TimeoutsBody>,
        /// When a failed attempt is repeated; null switches it off.
        retry("retry"): Setting<RetryBody>,
        /// How an endpoint is chosen; for a Service only.
        load_balancer("loadBalancer"): Strict<LoadBalancerBody>,
    }
}

object! {
    /// The settings of a policy without its targets: what `Mesh.spec.defaults` holds.
    pub(crate) struct TrafficBody {
        /// Time limits; null switches all off.
        timeouts("timeouts"): Setting<TimeoutsBody>,
        /// When a failed attempt is repeated; null switches it off.
        retry("retry"): Setting<RetryBody>,
        /// How an endpoint is chosen.
        load_balancer("loadBalancer"): Strict<LoadBalancerBody>,
    }
}

object! {
    /// Time limits. `0s` and null are off.
    pub(crate) struct TimeoutsBody {
        /// From the complete head of the request to the last byte of the answer. Off unless set.
        request("request"): Setting<Spanned<GepDuration>>,
        /// From hand-over of the request to the head of the answer. Off unless set.
        attempt("attempt"): Setting<Spanned<GepDuration>>,
        /// To make a connection; 1s unless set.
        connect("connect"): Setting<Spanned<GepDuration>>,
        /// Without a byte either way; 5m unless set, and off for gRPC streams and upgrades unless set.
        stream_idle("streamIdle"): Setting<Spanned<GepDuration>>,
    }
}

object! {
    /// When a failed attempt is repeated. Nothing here lets a request be done twice that must not be.
    pub(crate) struct RetryBody {
        /// Repeats after the first try; 0 unless set.
        attempts("attempts"): Setting<Spanned<Bounded<0, 20>>>,
        /// What is repeated; connect-failure, refused-stream, reset, gateway-error and unavailable unless set.
        on("on"): List<Spanned<Condition>>,
        /// The statuses that `retriable-status` means.
        statuses("statuses"): List<Spanned<Bounded<400, 599>>>,
        /// Pauses between attempts.
        backoff("backoff"): Strict<BackoffBody>,
        /// What all requests to the Service may spend on repeats.
        budget("budget"): Strict<BudgetBody>,
        /// Any method may be repeated.
        idempotent("idempotent"): Strict<Flag>,
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

object! {
    /// Pauses between attempts, with full jitter.
    pub(crate) struct BackoffBody {
        /// The first pause at most; 25ms unless set.
        base("base"): Strict<Spanned<GepDuration>>,
        /// Any pause at most; 250ms unless set.
        max("max"): Strict<Spanned<GepDuration>>,
    }
}

object! {
    /// What all requests to a Service may spend on repeats.
    pub(crate) struct BudgetBody {
        /// Of the requests of the last `ttl`; 20 unless set.
        percent("percent"): Strict<Percent>,
        /// Always allowed; 10 unless set.
        min_per_second("minPerSecond"): Strict<Bounded<0, 100_000>>,
        /// How long a request counts; 10s unless set, 1s to 60s.
        ttl("ttl"): Strict<Spanned<GepDuration>>,
    }
}

object! {
    /// How an endpoint is chosen.
    pub(crate) struct LoadBalancerBody {
        /// The rule; leastRequest unless set.
        policy("policy"): Strict<Balance>,
    }
}

choice! {
    /// How an endpoint is chosen.
    pub(crate) enum Balance {
        /// The one with fewer open requests of two.
        LeastRequest = "leastRequest",
        /// The one with the lower peak-sensitive latency of two.
        PeakEwma = "peakEwma",
        /// One after the other.
        RoundRobin = "roundRobin",
        /// Any.
        Random = "random",
    }
}
