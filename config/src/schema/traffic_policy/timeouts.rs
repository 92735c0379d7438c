//! `timeouts`: how long things may take.

use crate::{
    convert::{Setting, Spanned, object},
    duration::GepDuration,
    model::Timeouts,
};

object! {
    /// Time limits. `0s` and null are off. A limit inside another one that is longer never expires: refused (OR146).
    pub(crate) struct TimeoutsBody {
        /// From the complete head of the request to the last byte of the answer, repeats and pauses included. When it
        /// passes: 504 `request_timeout`, or a reset if the answer has begun. Of a gRPC call the smaller of this and
        /// its `grpc-timeout` counts. It ends where a request becomes a tunnel: with the 101 of an upgrade, the 200 of CONNECT.
        request("request"): Setting<Spanned<GepDuration>> = Timeouts::default().request,
        /// From the hand-over of the request to a connection until the head of the answer. When it passes: a failed
        /// attempt, repeated as a 504 would be, else 504 `attempt_timeout`.
        attempt("attempt"): Setting<Spanned<GepDuration>> = Timeouts::default().attempt,
        /// To make a connection. When it passes: a failed attempt that another endpoint may take, else 503
        /// `connect_timeout`.
        connect("connect"): Setting<Spanned<GepDuration>> = Timeouts::default().connect,
        /// Without a byte either way, before or after the head of the answer. When it passes: 504
        /// `stream_idle_timeout`, or a reset if the answer has begun. The built-in value leaves gRPC streams, upgrades and
        /// CONNECT alone; one that is written binds them too, and connections that are passed on whole (TCP, TLS), which
        /// are reset.
        stream_idle("streamIdle"): Setting<Spanned<GepDuration>> = Timeouts::default().stream_idle,
    }
}
