//! The body of a request as its attempts take it: none, once, or as often as it is kept.

use super::replay::Replay;
use crate::body::{Inlet, RequestBody};

/// The body of one request.
pub(crate) enum Supply {
    /// There is none.
    Empty,
    /// Nothing of it is kept: the first attempt takes it.
    Once(Option<Inlet>),
    /// It is kept while it is small enough.
    Replay(Replay),
}

impl Supply {
    /// Of a body of which so many bytes may be kept.
    pub(crate) fn new(body: Inlet, replay_bytes: u32) -> Self {
        if http_body::Body::is_end_stream(&body) {
            Supply::Empty
        } else if replay_bytes == 0 {
            Supply::Once(Some(body))
        } else {
            Supply::Replay(Replay::new(body, replay_bytes))
        }
    }

    /// For the next attempt; `None`: it is spent.
    pub(crate) fn next(&mut self) -> Option<RequestBody> {
        match self {
            Supply::Empty => Some(RequestBody::Empty),
            Supply::Once(body) => body.take().map(RequestBody::Stream),
            Supply::Replay(replay) => Some(RequestBody::Replay(replay.next())),
        }
    }

    /// Whether a further attempt could send all of it.
    pub(crate) fn whole(&self) -> bool {
        match self {
            Supply::Empty => true,
            Supply::Once(body) => body.is_some(),
            Supply::Replay(replay) => replay.whole(),
        }
    }
}
