//! `loadBalancer`: how an endpoint is chosen.

use crate::{
    convert::{Percent, Strict, choice, object},
    model,
};

object! {
    /// How an endpoint is chosen. A retry prefers an endpoint that was not tried.
    pub(crate) struct LoadBalancerBody {
        /// The rule; endpoint weights count in all of them.
        policy("policy"): Strict<Balance> = Balance::LeastRequest.word(),
        /// With fewer of the endpoints usable, in percent, all of them are used: where most seem broken, the view is more
        /// likely wrong than the endpoints, and the few would not bear the load. Usable is what is neither ejected nor
        /// unhealthy. 0 switches it off: with no usable endpoint the answer is then 503 `no_endpoint`.
        panic_below("panicBelow"): Strict<Percent> = model::LoadBalancer::default().panic_below,
    }
}

choice! {
    /// How an endpoint is chosen.
    pub(crate) enum Balance {
        /// The one of two with fewer open requests for its weight.
        LeastRequest = "leastRequest",
        /// The one of two with the lower latency times open requests; the average jumps up at once and sinks slowly.
        PeakEwma = "peakEwma",
        /// One after the other, interleaved by weight.
        RoundRobin = "roundRobin",
        /// Any, by weight.
        Random = "random",
    }
}
