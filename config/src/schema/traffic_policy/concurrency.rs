//! `concurrency`: how many requests a Service works on at once.

use crate::{
    convert::{Bounded, HeaderName, HeaderValue, List, Setting, Spanned, Strict, object},
    model::Concurrency,
};

object! {
    /// How many requests a Service works on at once. The proxy before the service holds it, each proxy for its own app. A
    /// request counts from its head to the end of its answer; one that becomes a tunnel, until then. What is too much is
    /// answered 503 `concurrency_limit` with `x-outrigger-overloaded`, a gRPC call with code 14.
    pub(crate) struct ConcurrencyBody {
        /// A limit that finds its own value: it rises while the app answers as fast as without load, and falls when it
        /// takes longer. Null switches it off, and with it all of this.
        adaptive("adaptive"): Setting<AdaptiveBody>,
        /// Which requests are let in when there is not enough room for all; null: all alike.
        priority("priority"): Setting<PriorityBody>,
    }
}

object! {
    /// A limit that finds its own value.
    pub(crate) struct AdaptiveBody {
        /// It never falls below this. So many at once should be no load: every now and then it is what is let in, to see how
        /// fast the app answers then.
        min_limit("minLimit"): Strict<Spanned<Bounded<1, 1_000_000>>> = Concurrency::MIN_LIMIT,
        /// It never rises above this; not below `minLimit` (OR146).
        max_limit("maxLimit"): Strict<Spanned<Bounded<1, 1_000_000>>> = Concurrency::MAX_LIMIT,
    }
}

object! {
    /// Which requests are let in when there is not enough room for all. Requests of low priority may fill 75 % of the
    /// limit, most requests 90 %, those of high priority all of it.
    pub(crate) struct PriorityBody {
        /// The request header that says it. Its first value counts, to the letter.
        header("header"): Spanned<HeaderName>,
        /// Values that mean high priority. A caller can write any value: have something before set it.
        high("high"): List<Spanned<HeaderValue>, 64>,
        /// Values that mean low priority.
        low("low"): List<Spanned<HeaderValue>, 64>,
    }
}
