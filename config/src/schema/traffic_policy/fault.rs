//! `fault`: failures and delays that are made on purpose.

use crate::{
    convert::{Bounded, HeaderName, Percent, Setting, Spanned, Strict, object},
    duration::GepDuration,
    model::Fault,
};

object! {
    /// Failures and delays that are made on purpose, to see what callers do then. They are made in the proxy of the
    /// caller, before a request is sent anywhere: no endpoint is blamed for them, and nothing is repeated.
    ///
    /// A request may get both: the delay first, then the answer. Which requests get one, the dice of each decide:
    /// `outrigger explain --dice` tells.
    pub(crate) struct FaultBody {
        /// A pause before the request goes on. It counts in `timeouts.request`.
        delay("delay"): Setting<FaultDelayBody>,
        /// An answer instead of the service's.
        abort("abort"): Setting<FaultAbortBody>,
        /// The request header by which a request asks for a fault itself, such as `x-fault: delay=200ms, abort=503`, or
        /// `abort=grpc-14`. Such a request gets what it asks for, and none of the shares above; one that cannot be read is
        /// answered 400 `invalid_fault`. The header is taken off. Unset: nobody can ask. A name that begins with
        /// `x-outrigger-` never arrives (OR152).
        header("header"): Setting<Spanned<HeaderName>>,
        /// The longest delay that a request may ask for; a longer one is cut to it. More than 0, at most 1h (OR116).
        max_delay("maxDelay"): Strict<Spanned<GepDuration>> = Fault::MAX_DELAY,
    }
}

object! {
    /// A pause before the request goes on.
    pub(crate) struct FaultDelayBody {
        /// How many of the requests, in percent; fractions down to 0.0001 count.
        percent("percent"): Strict<Percent> = Fault::PERCENT,
        /// How long. More than 0, at most 1h (OR116).
        duration("duration"): Spanned<GepDuration>,
    }
}

object! {
    /// An answer instead of the service's, with `x-outrigger-error: fault_injected`. One of `status` and `grpcStatus`; the
    /// other is what callers of the other kind get.
    pub(crate) struct FaultAbortBody {
        /// How many of the requests, in percent; fractions down to 0.0001 count.
        percent("percent"): Strict<Percent> = Fault::PERCENT,
        /// The HTTP status.
        status("status"): Option<Spanned<Bounded<400, 599>>>,
        /// The gRPC code.
        grpc_status("grpcStatus"): Option<Spanned<Bounded<1, 16>>>,
    }
    exactly_one ["status", "grpcStatus"]
}
