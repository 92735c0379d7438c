//! `loadBalancer`: how an endpoint is chosen.

use crate::convert::{Strict, choice, object};

object! {
    /// How an endpoint is chosen. A retry prefers an endpoint that was not tried.
    pub(crate) struct LoadBalancerBody {
        /// The rule; endpoint weights count in all of them.
        policy("policy"): Strict<Balance> = Balance::LeastRequest.word(),
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
