//! `circuitBreaker`: what a proxy has open to a Service, when the Service is called no more, and what requests get then.

use crate::{
    convert::{Bounded, List, Percent, Setting, Spanned, Strict, Text, object},
    duration::GepDuration,
    model::{OpenTime, Trip},
    schema::{HeaderPair, ServiceRef},
    yaml::Span,
};

object! {
    /// Limits on what a proxy has open to the Service, when it is called no more, and what requests get instead. Nothing
    /// acts that is not written. Each port of the Service has its own state in each caller's proxy, shared by its workers
    /// and kept over a reload.
    pub(crate) struct CircuitBreakerBody {
        /// What one proxy may have open; null is unlimited.
        limits("limits"): Setting<ServiceLimitsBody>,
        /// When the breaker opens; `{}` takes the defaults below, null switches it off. While it is open, attempts are
        /// refused with 503 `circuit_open`. Unless it is written, there is no breaker.
        trip("trip"): Setting<TripBody>,
        /// How long the breaker stays open; without `trip` it has no effect (OR152).
        open("open"): Strict<OpenBody>,
        /// How the Service is tried again; without `trip` it has no effect (OR152).
        probe("probe"): Strict<ProbeBody>,
        /// What a request gets that the Service does not answer: while the breaker is open, at a limit, and when all of
        /// its attempts have failed as `trip` counts failures. null switches it off. It may stand on a route too.
        fallback("fallback"): Setting<FallbackBody>,
    }
}

object! {
    /// What one proxy may have open to one port of the Service, over all of its workers. What is not written is unlimited;
    /// so is null.
    pub(crate) struct ServiceLimitsBody {
        /// Connections to all endpoints, idle ones among them; tunnels and connections that are passed on whole count too. At
        /// the limit a request waits for one, for `timeouts.connect` at most, then 503 `connection_limit`.
        connections("connections"): Setting<Spanned<Bounded<1, 1_000_000>>>,
        /// Requests that wait at another limit, first come first served. One more is refused with 503 `pending_limit`.
        /// Unless it is written, any number waits for a connection, and none for `requests`.
        pending_requests("pendingRequests"): Setting<Spanned<Bounded<0, 1_000_000>>>,
        /// Open requests, until their answers have ended. At the limit a request waits where `pendingRequests` is written and
        /// has room; else 503 `request_limit`.
        requests("requests"): Setting<Spanned<Bounded<1, 1_000_000>>>,
        /// Requests that are on a repeat. At the limit nothing is repeated: the failure is the answer, and
        /// `outrigger_retries_denied_total{reason="limit"}` rises.
        retries("retries"): Setting<Spanned<Bounded<0, 1_000_000>>>,
    }
}

object! {
    /// When the breaker opens. Failures are connections that could not be made or ended before the answer, answers that
    /// did not come in time or were cut off, statuses from 500, and the gRPC codes 2, 4, 13, 14 and 15. What its caller
    /// gave up counts as nothing.
    pub(crate) struct TripBody {
        /// Percent of the attempts of the last `window` that fail; more than 0.
        failure_percent("failurePercent"): Strict<Spanned<Percent>> = Trip::default().failure_percent,
        /// How long an attempt counts; 1s to 10m.
        window("window"): Strict<Spanned<GepDuration>> = Trip::default().window,
        /// Attempts in `window` below which nothing is concluded.
        min_requests("minRequests"): Strict<Spanned<Bounded<1, 1_000_000>>> = Trip::default().min_requests,
    }
}

object! {
    /// How long the breaker stays open: `initial`, doubled with each probe that fails.
    pub(crate) struct OpenBody {
        /// The first time; 100ms to 1h.
        initial("initial"): Strict<Spanned<GepDuration>> = OpenTime::default().initial,
        /// Any time at most; not shorter than `initial` (OR146), and 24h at most. Probes that have no answer after this have
        /// failed.
        max("max"): Strict<Spanned<GepDuration>> = OpenTime::default().max,
    }
}

object! {
    /// How the Service is tried again once the breaker's time of being open is over.
    pub(crate) struct ProbeBody {
        /// Real requests that are let through, and no more until they have ended. If all succeed the breaker closes; with
        /// the first that fails it opens again.
        requests("requests"): Strict<Spanned<Bounded<1, 100>>> = Trip::default().probe_requests,
    }
}

object! {
    /// What a request gets that the Service does not answer; the answer says which in `x-outrigger-fallback`. A request
    /// that asks for a tunnel (an upgrade, CONNECT) has none.
    pub(crate) struct FallbackBody {
        /// The last good answer to the same request (`stale`), if it is not older than this. Kept are whole answers to GET
        /// and HEAD that RFC 9111 lets a shared cache keep and serve stale, up to 1 MiB each and 64 MiB in all; the
        /// oldest go first.
        stale_for("staleFor"): Option<Spanned<GepDuration>>,
        /// A fixed answer (`response`). gRPC calls have none: they get the failure.
        response("response"): Option<ResponseBody>,
        /// The answer of another Service (`service`), with its own circuit breaker and no further fallback. It is asked
        /// only where the retry law lets the request be sent again.
        service("service"): Option<ServiceRef>,
    }
    exactly_one ["staleFor", "response", "service"]
}

object! {
    /// A fixed answer.
    pub(crate) struct ResponseBody {
        /// The status.
        status("status"): Spanned<Bounded<200, 599>>,
        /// The header fields. Those that frame an answer, and the mesh's own, are the proxy's (OR123).
        headers("headers"): List<HeaderPair, 16>,
        /// The body, up to 64 KiB.
        body("body"): Option<Spanned<Text>>,
    }
}

impl CircuitBreakerBody {
    /// The first of what acts on the endpoints of a Service, whatever route leads there.
    pub(super) fn of_service_alone(&self) -> Option<(&'static str, Span)> {
        let limits = match &self.limits {
            Setting::Set(body) => Some(("circuitBreaker.limits", body.span)),
            Setting::Unset | Setting::Off => None,
        };
        let trip = match &self.trip {
            Setting::Set(body) => Some(("circuitBreaker.trip", body.span)),
            Setting::Unset | Setting::Off => None,
        };
        let open = self.open.0.as_ref().map(|body| ("circuitBreaker.open", body.span));
        let probe = self.probe.0.as_ref().map(|body| ("circuitBreaker.probe", body.span));
        limits.or(trip).or(open).or(probe)
    }
}
