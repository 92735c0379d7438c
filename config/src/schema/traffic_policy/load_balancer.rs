//! `loadBalancer`: how an endpoint is chosen.

use crate::{
    convert::{HeaderName, Percent, Setting, Spanned, Strict, Text, choice, object},
    duration::GepDuration,
    model,
};

object! {
    /// How an endpoint is chosen. A retry prefers an endpoint that was not tried.
    pub(crate) struct LoadBalancerBody {
        /// The rule; endpoint weights count in all of them.
        policy("policy"): Strict<Balance> = Balance::LeastRequest.word(),
        /// What of a request `ringHash` and `maglev` hash; needed beside them (OR112), without effect elsewhere (OR152).
        hash_on("hashOn"): Strict<HashOnBody>,
        /// Whether endpoints of the proxy's own zone come first; null switches it off.
        locality("locality"): Setting<LocalityBody>,
        /// How an endpoint that is new, or usable again, comes to its share; null switches it off.
        slow_start("slowStart"): Setting<SlowStartBody>,
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
        /// The one that the hash of the request leads to, on a ring of 512 points for each endpoint of the least weight. An
        /// endpoint that comes or goes moves only the requests that it gets or had. Shares are near the weights, by some percent.
        RingHash = "ringHash",
        /// The one that the hash of the request leads to, in a table of 65,537 places. Shares are the weights, very nearly; an endpoint
        /// that comes or goes moves a few more requests than `ringHash` does.
        Maglev = "maglev",
    }
}

object! {
    /// What is hashed, as the caller sent it. Requests of which it is the same go to the same endpoint, by whatever proxy;
    /// one that has no such thing goes to any. A retry goes on to the next endpoint of the ring or table. Copies for mirrors
    /// go to any endpoint, as do connections that are passed on whole, but by `sourceIp`.
    pub(crate) struct HashOnBody {
        /// A header; of several with that name all count.
        header("header"): Option<Spanned<HeaderName>>,
        /// A cookie; the first of that name. Letter case counts.
        cookie("cookie"): Option<Spanned<Text>>,
        /// A query parameter, after percent-decoding; the first of that name. Letter case counts.
        query("query"): Option<Spanned<Text>>,
        /// The address from which the caller's connection comes.
        source_ip("sourceIp"): Option<SourceIpBody>,
    }
    exactly_one ["header", "cookie", "query", "sourceIp"]
}

object! {
    /// Endpoints near by come first.
    ///
    /// The proxy's own zone is its Sidecar's `zone`; an endpoint's is the `zone` of a MeshService's endpoint or of an
    /// EndpointSlice's. While the usable part of the zone's endpoints, by weight, is at least `spillBelow` percent, all requests
    /// stay in the zone. Below it the zone gets its usable percent over `spillBelow`, and the other zones the rest: with 70, a
    /// zone of which 35 percent are usable gets half. A retry that has tried all of the zone goes elsewhere. Without a
    /// zone of its own, or endpoints in it, a proxy makes no difference.
    pub(crate) struct LocalityBody {
        /// What is near.
        prefer("prefer"): Prefer,
        /// Percent of the zone's endpoints, by weight, that must be usable for all requests to stay in it; 0: whichever are.
        spill_below("spillBelow"): Strict<Percent> = model::Locality::SPILL_BELOW,
    }
}

choice! {
    /// What is near.
    pub(crate) enum Prefer {
        /// The same zone.
        Zone = "zone",
    }
}

object! {
    /// A share that grows. An endpoint begins with a tenth of its weight when it comes into use, and has all of it after the
    /// window; in between it grows evenly, in steps of a twentieth of the window. Endpoints that all begin at once share as ever.
    /// It counts for the policies that draw by weight, not for `ringHash` and `maglev` (OR152).
    pub(crate) struct SlowStartBody {
        /// How long it grows; `0s` is off.
        window("window"): Spanned<GepDuration>,
    }
}

object! {
    /// Nothing to set: `{}`.
    pub(crate) struct SourceIpBody {}
}
