//! Keeps what was sent of a request body, so that an attempt which provably changed nothing can be repeated whole.
//!
//! One buffer per request, at most `limits.replayBytes`. A body that outgrows it is passed on without being kept and
//! can no longer be repeated. Only the newest attempt may read on: an older one that the HTTP client still holds gets an
//! error, never a byte.

use std::{
    cell::RefCell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use crate::body::{BodyError, Inlet};

/// The kept body of one request.
#[derive(Debug)]
pub(crate) struct Replay {
    shared: Rc<RefCell<Kept>>,
}

#[derive(Debug)]
struct Kept {
    source: Inlet,
    size: SizeHint,
    chunks: Vec<Bytes>,
    bytes: usize,
    limit: usize,
    overflown: bool,
    trailers: Option<HeaderMap>,
    ended: bool,
    attempt: u32,
}

impl Replay {
    /// Keeps up to `limit` bytes of `source`.
    pub(crate) fn new(source: Inlet, limit: u32) -> Self {
        let size = source.size_hint();
        let kept = Kept {
            source,
            size,
            chunks: Vec::new(),
            bytes: 0,
            limit: limit as usize,
            overflown: false,
            trailers: None,
            ended: false,
            attempt: 0,
        };
        Self { shared: Rc::new(RefCell::new(kept)) }
    }

    /// Whether a further attempt could send the whole body.
    pub(crate) fn whole(&self) -> bool {
        !self.shared.borrow().overflown
    }

    /// The body for the next attempt; those handed out before are cut off.
    pub(crate) fn next(&self) -> ReplayBody {
        let mut kept = self.shared.borrow_mut();
        kept.attempt += 1;
        ReplayBody { shared: self.shared.clone(), attempt: kept.attempt, position: 0, done: false }
    }
}

/// One attempt's view of the kept body.
#[derive(Debug)]
pub(crate) struct ReplayBody {
    shared: Rc<RefCell<Kept>>,
    attempt: u32,
    position: usize,
    done: bool,
}

impl Kept {
    fn keep(&mut self, data: &Bytes) {
        if self.overflown {
            return;
        }
        self.bytes += data.len();
        if self.bytes > self.limit {
            self.overflown = true;
            self.chunks = Vec::new();
        } else {
            self.chunks.push(data.clone());
        }
    }
}

impl Body for ReplayBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let mut kept = this.shared.borrow_mut();
        if kept.attempt != this.attempt {
            return Poll::Ready(Some(Err(BodyError::Superseded)));
        }
        if this.done {
            return Poll::Ready(None);
        }
        if let Some(chunk) = kept.chunks.get(this.position) {
            this.position += 1;
            return Poll::Ready(Some(Ok(Frame::data(chunk.clone()))));
        }
        if kept.ended {
            this.done = true;
            return Poll::Ready(kept.trailers.clone().map(|fields| Ok(Frame::trailers(fields))));
        }
        let Some(frame) = ready!(Pin::new(&mut kept.source).poll_frame(cx)) else {
            kept.ended = true;
            this.done = true;
            return Poll::Ready(None);
        };
        let frame = frame?;
        if let Some(data) = frame.data_ref() {
            kept.keep(data);
            this.position = kept.chunks.len();
        } else if let Some(fields) = frame.trailers_ref() {
            kept.trailers = Some(fields.clone());
            kept.ended = true;
            this.done = true;
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        let kept = self.shared.borrow();
        self.done
            || (self.position >= kept.chunks.len()
                && kept.trailers.is_none()
                && (kept.ended || kept.source.is_end_stream()))
    }

    fn size_hint(&self) -> SizeHint {
        let kept = self.shared.borrow();
        match kept.size.exact() {
            Some(total) if self.position == 0 => SizeHint::with_exact(total),
            _ => SizeHint::default(),
        }
    }
}
