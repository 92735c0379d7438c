//! `outlierDetection`: endpoints that are left out for a while because requests to them fail.

use crate::{
    convert::{Bounded, Factor, Percent, Setting, Spanned, Strict, object},
    duration::GepDuration,
    model::{FailurePercent, OutlierDetection, SuccessRate},
};

/// A number of failures in a row.
pub(crate) type Run = Setting<Spanned<Bounded<1, 1_000_000>>>;

object! {
    /// Which endpoints are ejected, that is left out for a while, because of what requests to them came to. On by
    /// default, with the three detectors of failures in a row. Each proxy judges by its own requests. After its time an
    /// ejected endpoint gets one request at a time, until one succeeds. The last usable endpoint is never ejected.
    pub(crate) struct OutlierDetectionBody {
        /// So many answers of 500 and more in a row eject. A gRPC status counts as the HTTP status that it corresponds to:
        /// UNKNOWN, INTERNAL, DATA_LOSS and UNIMPLEMENTED are 5xx, UNAVAILABLE and DEADLINE_EXCEEDED are gateway errors.
        consecutive_5xx("consecutive5xx"): Run = OutlierDetection::default().consecutive_5xx,
        /// So many answers of 502, 503 or 504 in a row eject.
        consecutive_gateway_errors("consecutiveGatewayErrors"): Run =
            OutlierDetection::default().consecutive_gateway_errors,
        /// So many failures without a whole answer in a row eject: no connection, a time limit, a reset, bytes that are
        /// no HTTP, an answer that breaks off. Where this is null, they count as 502, 503 or 504 for the other two.
        consecutive_local_errors("consecutiveLocalErrors"): Run =
            OutlierDetection::default().consecutive_local_errors,
        /// How often rates are judged, at least 10ms. Each interval that an endpoint is in use throughout takes one off the number
        /// of ejections by which its next one is lengthened.
        interval("interval"): Strict<Spanned<GepDuration>> = OutlierDetection::default().interval,
        /// How long the first ejection lasts, at least 10ms; the next one twice as long, then three times.
        base_ejection("baseEjection"): Strict<Spanned<GepDuration>> = OutlierDetection::default().base_ejection,
        /// How long any lasts at most; not shorter than `baseEjection` (OR146).
        max_ejection("maxEjection"): Strict<Spanned<GepDuration>> = OutlierDetection::default().max_ejection,
        /// How many of the endpoints may be out at once, in percent, rounded down; one always may. What is not
        /// ejected because of this is counted in `outrigger_ejections_withheld_total`.
        max_ejection_percent("maxEjectionPercent"): Strict<Percent> =
            OutlierDetection::default().max_ejection_percent,
        /// Endpoints that succeed far less often than the others; off unless written.
        success_rate("successRate"): Setting<SuccessRateBody>,
        /// Endpoints of whose requests many fail; off unless written.
        failure_percent("failurePercent"): Setting<FailurePercentBody>,
    }
}

object! {
    /// After each `interval`, ejects endpoints whose share of successes is below the mean of all by more than
    /// `stdevFactor` standard deviations. 5xx and failures without a whole answer are no successes.
    pub(crate) struct SuccessRateBody {
        /// Standard deviations, 0 to 10, fractions included.
        stdev_factor("stdevFactor"): Strict<Factor> = SuccessRate::default().stdev_factor,
        /// Judged from so many endpoints on that had `minRequests`.
        min_hosts("minHosts"): Strict<Bounded<1, 10_000>> = SuccessRate::default().min_hosts,
        /// An endpoint with fewer requests in the interval is not looked at.
        min_requests("minRequests"): Strict<Bounded<1, 1_000_000>> = SuccessRate::default().min_requests,
    }
}

object! {
    /// After each `interval`, ejects endpoints of whose requests at least `threshold` percent failed: 5xx, or no whole
    /// answer.
    pub(crate) struct FailurePercentBody {
        /// Percent of the requests.
        threshold("threshold"): Strict<Percent> = FailurePercent::default().threshold,
        /// Judged from so many endpoints on that had `minRequests`.
        min_hosts("minHosts"): Strict<Bounded<1, 10_000>> = FailurePercent::default().min_hosts,
        /// An endpoint with fewer requests in the interval is not looked at.
        min_requests("minRequests"): Strict<Bounded<1, 1_000_000>> = FailurePercent::default().min_requests,
    }
}
