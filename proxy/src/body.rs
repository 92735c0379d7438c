//! The bodies that a request and its answer can have, each one enum: no boxed body on the path.
//!
//! Bodies stream with back-pressure: a frame is taken from one side only when the other can take it. This file moves
//! frames, counts bytes and knows when a body is whole; it decides nothing.

mod answer;
mod copied;
mod gate;
mod request;

pub(crate) use answer::{AnswerBody, Finish, ReadOut, UpstreamBody};
pub(crate) use copied::{CopiedBody, Fate, Inflow, Kept, Watch, copied};
pub(crate) use gate::{Gate, Key, PATIENCE};
pub(crate) use request::{Inlet, RequestBody};

use std::cell::Cell;

use tokio::time::Instant;

/// What one exchange has moved so far; shared by its two bodies and read by timers and logs.
#[derive(Debug)]
pub(crate) struct Flow {
    /// Body bytes from the caller.
    pub(crate) bytes_in: Cell<u64>,
    /// Body bytes to the caller.
    pub(crate) bytes_out: Cell<u64>,
    /// When the last frame moved, either way.
    pub(crate) touched: Cell<Instant>,
    /// The caller's body has been read to its end.
    pub(crate) request_done: Cell<bool>,
    /// The caller's body broke off.
    pub(crate) request_broken: Cell<bool>,
}

impl Flow {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            bytes_in: Cell::new(0),
            bytes_out: Cell::new(0),
            touched: Cell::new(now),
            request_done: Cell::new(false),
            request_broken: Cell::new(false),
        }
    }
}

/// Why a body ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    /// The caller went away, or its framing was broken.
    #[error("the caller's body broke off")]
    Downstream,
    /// Trailers above the limit.
    #[error("trailers above the limit")]
    Trailers,
    /// The attempt that this body belonged to was given up.
    #[error("the attempt was given up")]
    Superseded,
    /// The upstream's body broke off.
    #[error("the upstream's body broke off")]
    Upstream,
    /// A time limit passed.
    #[error("time limit")]
    Timeout,
}
