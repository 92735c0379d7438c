//! `TrafficPolicy`: how to talk to a Service, or along a route.

mod circuit_breaker;
mod concurrency;
mod fault;
mod health_check;
mod load_balancer;
mod outlier_detection;
mod rate_limit;
mod retry;
mod timeouts;

pub(crate) use circuit_breaker::{
    CircuitBreakerBody, FallbackBody, OpenBody, ResponseBody, ServiceLimitsBody, TripBody,
};
pub(crate) use concurrency::{AdaptiveBody, ConcurrencyBody};
pub(crate) use fault::FaultBody;
pub(crate) use health_check::HealthCheckBody;
pub(crate) use load_balancer::{Balance, HashOnBody, LoadBalancerBody, LocalityBody, Prefer, SlowStartBody};
pub(crate) use outlier_detection::{FailurePercentBody, OutlierDetectionBody, Run, SuccessRateBody};
pub(crate) use rate_limit::{RateLimitBody, RateLimitBy};
pub(crate) use retry::{Condition, RetryBody};
pub(crate) use timeouts::TimeoutsBody;

use super::{Metadata, TargetRef};
use crate::{
    convert::{Any, List, Setting, Strict, object},
    yaml::Span,
};

/// Declares an object whose fields are the blocks of a policy, after those of its own.
macro_rules! policy_body {
    (
        $(#[doc = $doc:literal])*
        pub(crate) struct $name:ident { $( $own:tt )* }
    ) => {
        object! {
            $(#[doc = $doc])*
            pub(crate) struct $name {
                $( $own )*
                /// Time limits; null switches all off.
                timeouts("timeouts"): Setting<TimeoutsBody>,
                /// When a failed attempt is repeated; null switches it off. Refused on a TCPRoute or TLSRoute (OR151).
                retry("retry"): Setting<RetryBody>,
                /// How an endpoint is chosen; refused on a route (OR151), since the Service that answers has its own.
                load_balancer("loadBalancer"): Strict<LoadBalancerBody>,
                /// Limits on what a proxy has open to the Service, when it is called no more, and what requests get instead;
                /// null switches all off. On a route only `fallback` may stand (OR151).
                circuit_breaker("circuitBreaker"): Setting<CircuitBreakerBody>,
                /// How many requests a Service takes in a time; null takes those of less specific policies away. Refused on a
                /// route (OR151), since the proxy before the service holds it.
                rate_limit("rateLimit"): Setting<RateLimitBody>,
                /// How many requests a Service works on at once; null switches it off. Refused on a route (OR151), since the proxy
                /// before the service holds it.
                concurrency("concurrency"): Setting<ConcurrencyBody>,
                /// Failures and delays that are made on purpose; null switches all off. Refused on a TCPRoute or TLSRoute (OR151).
                fault("fault"): Setting<FaultBody>,
                /// Which endpoints are left out for a while because requests to them fail; null switches it off. Refused on
                /// a route (OR151).
                outlier_detection("outlierDetection"): Setting<OutlierDetectionBody>,
                /// How endpoints are asked whether they are well; null switches it off. Refused on a route (OR151).
                health_check("healthCheck"): Setting<HealthCheckBody>,
            }
        }

        impl $name {
            /// Its blocks.
            pub(crate) fn blocks(&self) -> Blocks<'_> {
                Blocks {
                    timeouts: &self.timeouts,
                    retry: &self.retry,
                    load_balancer: &self.load_balancer,
                    circuit_breaker: &self.circuit_breaker,
                    rate_limit: &self.rate_limit,
                    concurrency: &self.concurrency,
                    fault: &self.fault,
                    outlier_detection: &self.outlier_detection,
                    health_check: &self.health_check,
                }
            }
        }
    };
}

object! {
    /// How to talk to a Service, or along a route: time limits, repeats, balancing.
    ///
    /// It acts in the proxies of the callers; `timeouts.request` of a Service also in the proxy before the service.
    /// Several policies may reach one request. They are merged field by field, the most specific first: on a rule of a
    /// route (`sectionName`), on the route, on the Service, then `Mesh.spec.defaults`, then the built-in value. The
    /// fields that a route rule itself has (`timeouts`, `retry` of an HTTPRoute) come before all of them.
    pub(crate) struct TrafficPolicy {
        /// Name and namespace; the targets stand in the same namespace.
        metadata("metadata"): Metadata,
        /// The policy.
        spec("spec"): TrafficPolicySpec,
    }
    ignored { "apiVersion": Any, "kind": Any, "status": Any, }
}

policy_body! {
    /// The policy.
    pub(crate) struct TrafficPolicySpec {
        /// What it holds for. Of two policies for one target the older wins field by field, with a warning (OR147). Only a
        /// policy that holds nothing but `rateLimit` and `concurrency` may go without: it holds for every Service of its
        /// namespace.
        target_refs("targetRefs"): List<TargetRef, 16>,
    }
}

policy_body! {
    /// The settings of a policy without its targets: what `Mesh.spec.defaults` holds.
    pub(crate) struct TrafficBody {}
}

/// The blocks of one policy body.
#[derive(Clone, Copy)]
pub(crate) struct Blocks<'a> {
    pub(crate) timeouts: &'a Setting<TimeoutsBody>,
    pub(crate) retry: &'a Setting<RetryBody>,
    pub(crate) load_balancer: &'a Strict<LoadBalancerBody>,
    pub(crate) circuit_breaker: &'a Setting<CircuitBreakerBody>,
    pub(crate) rate_limit: &'a Setting<RateLimitBody>,
    pub(crate) concurrency: &'a Setting<ConcurrencyBody>,
    pub(crate) fault: &'a Setting<FaultBody>,
    pub(crate) outlier_detection: &'a Setting<OutlierDetectionBody>,
    pub(crate) health_check: &'a Setting<HealthCheckBody>,
}

impl Blocks<'_> {
    /// Whether none is written.
    pub(crate) fn are_absent(&self) -> bool {
        self.of_callers_are_absent() && self.of_callees_are_absent()
    }

    /// Whether none of those is written that the callers' proxies heed.
    pub(crate) fn of_callers_are_absent(&self) -> bool {
        self.timeouts.is_unset()
            && self.retry.is_unset()
            && self.load_balancer.0.is_none()
            && self.circuit_breaker.is_unset()
            && self.fault.is_unset()
            && self.outlier_detection.is_unset()
            && self.health_check.is_unset()
    }

    /// Whether none of those is written that the proxy before the service heeds.
    pub(crate) fn of_callees_are_absent(&self) -> bool {
        self.rate_limit.is_unset() && self.concurrency.is_unset()
    }

    /// Whether nothing is written but a rate limit.
    pub(crate) fn are_rate_limit_alone(&self) -> bool {
        self.of_callers_are_absent() && self.concurrency.is_unset() && !self.rate_limit.is_unset()
    }

    /// The written ones that act on the endpoints of a Service, whatever route leads there, with where they stand; what
    /// null switches off has no place but that of the `whole`.
    pub(crate) fn of_service_alone(&self, whole: Span) -> impl Iterator<Item = (&'static str, Span)> {
        let load_balancer = self.load_balancer.0.as_ref().map(|body| ("loadBalancer", body.span));
        let outliers = self.outlier_detection.place(whole, |body| body.span);
        let outliers = outliers.map(|span| ("outlierDetection", span));
        let checks = self.health_check.place(whole, |body| body.span).map(|span| ("healthCheck", span));
        let breaker = match self.circuit_breaker {
            Setting::Set(body) => body.of_service_alone(),
            Setting::Unset | Setting::Off => None,
        };
        let own = load_balancer.into_iter().chain(outliers).chain(checks);
        own.chain(breaker).chain(self.of_callees(whole))
    }

    /// Those that the proxy before the service heeds, with where they stand.
    pub(crate) fn of_callees(&self, whole: Span) -> impl Iterator<Item = (&'static str, Span)> {
        let rate_limit = self.rate_limit.place(whole, |body| body.span);
        let concurrency = self.concurrency.place(whole, |body| body.span).map(|span| ("concurrency", span));
        rate_limit.map(|span| ("rateLimit", span)).into_iter().chain(concurrency)
    }

    /// The written ones that act on requests, and not on connections that are passed on whole, in the same way.
    pub(crate) fn of_requests_alone(&self, whole: Span) -> impl Iterator<Item = (&'static str, Span)> {
        let retry = self.retry.place(whole, |body| body.span).map(|span| ("retry", span));
        let fault = self.fault.place(whole, |body| body.span).map(|span| ("fault", span));
        retry.into_iter().chain(fault)
    }
}
