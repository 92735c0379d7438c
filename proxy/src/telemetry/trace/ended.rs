//! What goes to the background when it has ended: requests, and connections that were passed on whole.

use opentelemetry_proto::tonic::trace::v1::Span;

use super::{Finished, FinishedPassage};

/// What has ended, with what its spans are made of.
#[derive(Debug)]
pub(crate) enum Ended {
    /// A request.
    Request(Finished),
    /// A connection that was passed on whole.
    Connection(Box<FinishedPassage>),
}

impl Ended {
    /// How many spans it makes.
    pub(super) fn count(&self) -> u64 {
        match self {
            Self::Request(finished) => finished.count(),
            Self::Connection(_) => 1,
        }
    }

    pub(super) fn spans(self) -> Vec<Span> {
        match self {
            Self::Request(finished) => finished.spans(),
            Self::Connection(finished) => vec![finished.span()],
        }
    }
}
