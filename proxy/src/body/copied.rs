//! A request body on its way to a mirror, beside the original, which never waits for it.
//!
//! What the mirror has not taken yet is kept within two bounds: 1 MiB for one copy, 32 MiB for all copies of a worker.
//! A copy that would go beyond either is given up, and the original goes on as if nothing had happened.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::BodyError;

/// What one copy may keep. A mirror that reads is never this far behind, but for the time in which its connection is made.
const KEPT: usize = 1024 * 1024;

/// What all copies of one worker may keep.
const KEPT_BY_ALL: usize = 32 * 1024 * 1024;

/// What a chunk costs beside its bytes, so that tiny ones are not free.
const CHUNK: usize = 128;

/// What all copies of one worker keep now.
pub(crate) type Kept = Rc<Cell<usize>>;

/// How a copy stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// More may come.
    Open,
    /// The original has ended as it should, and so does the copy.
    Ended,
    /// The mirror was too slow.
    Abandoned,
    /// The original broke off, or nobody reads it any more.
    BrokenOff,
    /// Nobody reads the copy any more.
    Unwanted,
}

/// One copy, as both of its ends see it.
#[derive(Debug)]
struct Pipe {
    fate: Fate,
    chunks: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    cost: usize,
    kept: Kept,
    /// The whole length, as long as nothing was taken and it is known.
    length: Option<u64>,
    /// Who sends the copy.
    reader: Option<Waker>,
    /// Who decides how long it may go on.
    watcher: Option<Waker>,
}

type Shared = Rc<RefCell<Pipe>>;

/// Where the original goes in, frame by frame.
#[derive(Debug)]
pub(crate) struct Inflow(Shared);

/// The copy as a body.
#[derive(Debug)]
pub(crate) struct CopiedBody(Shared);

/// Sees how the copy stands.
#[derive(Debug)]
pub(crate) struct Watch(Shared);

/// A copy of a body of this length, if it is known.
pub(crate) fn copied(length: Option<u64>, kept: &Kept) -> (Inflow, CopiedBody, Watch) {
    let pipe = Rc::new(RefCell::new(Pipe {
        fate: Fate::Open,
        chunks: VecDeque::new(),
        trailers: None,
        cost: 0,
        kept: kept.clone(),
        length,
        reader: None,
        watcher: None,
    }));
    (Inflow(pipe.clone()), CopiedBody(pipe.clone()), Watch(pipe))
}

impl Pipe {
    fn end(&mut self, fate: Fate) {
        if self.fate == Fate::Open {
            self.fate = fate;
            if fate != Fate::Ended {
                self.clear();
            }
            self.wake();
        }
    }

    fn clear(&mut self) {
        self.chunks = VecDeque::new();
        self.kept.set(self.kept.get() - self.cost);
        self.cost = 0;
    }

    fn wake(&mut self) {
        for waker in [self.reader.take(), self.watcher.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

impl Inflow {
    /// The next bytes of the original.
    pub(crate) fn data(&self, data: &Bytes) {
        let mut pipe = self.0.borrow_mut();
        if pipe.fate != Fate::Open || data.is_empty() {
            return;
        }
        let cost = data.len() + CHUNK;
        if pipe.cost + cost > KEPT || pipe.kept.get() + cost > KEPT_BY_ALL {
            return pipe.end(Fate::Abandoned);
        }
        pipe.cost += cost;
        pipe.kept.set(pipe.kept.get() + cost);
        pipe.chunks.push_back(data.clone());
        if let Some(reader) = pipe.reader.take() {
            reader.wake();
        }
    }

    /// The original has ended with these trailers.
    pub(crate) fn trailers(&self, fields: &HeaderMap) {
        let mut pipe = self.0.borrow_mut();
        if pipe.fate == Fate::Open {
            pipe.trailers = Some(fields.clone());
        }
        pipe.end(Fate::Ended);
    }

    /// The original has ended.
    pub(crate) fn end(&self) {
        self.0.borrow_mut().end(Fate::Ended);
    }
}

impl Drop for Inflow {
    /// An original that is let go before its end has broken off.
    fn drop(&mut self) {
        self.0.borrow_mut().end(Fate::BrokenOff);
    }
}

impl Watch {
    /// How the copy stands. The task is woken when that changes.
    pub(crate) fn fate(&self, cx: &Context<'_>) -> Fate {
        let mut pipe = self.0.borrow_mut();
        if pipe.fate == Fate::Open {
            pipe.watcher = Some(cx.waker().clone());
        }
        pipe.fate
    }

    /// Whether the copy was taken to its end.
    pub(crate) fn is_taken(&self) -> bool {
        let pipe = self.0.borrow();
        pipe.fate == Fate::Ended && pipe.chunks.is_empty() && pipe.trailers.is_none()
    }
}

impl Body for CopiedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut pipe = self.0.borrow_mut();
        pipe.length = None;
        if let Some(chunk) = pipe.chunks.pop_front() {
            let cost = chunk.len() + CHUNK;
            pipe.cost -= cost;
            pipe.kept.set(pipe.kept.get() - cost);
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        match pipe.fate {
            Fate::Open => {
                pipe.reader = Some(cx.waker().clone());
                Poll::Pending
            }
            Fate::Ended => Poll::Ready(pipe.trailers.take().map(|fields| Ok(Frame::trailers(fields)))),
            Fate::Abandoned | Fate::BrokenOff | Fate::Unwanted => {
                Poll::Ready(Some(Err(BodyError::Superseded)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let pipe = self.0.borrow();
        pipe.fate == Fate::Ended && pipe.chunks.is_empty() && pipe.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.borrow().length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for CopiedBody {
    /// Nobody will read on: nothing more is kept.
    fn drop(&mut self) {
        let mut pipe = self.0.borrow_mut();
        pipe.end(Fate::Unwanted);
        pipe.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn poll(body: &mut CopiedBody) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()))
    }

    fn taken(body: &mut CopiedBody) -> usize {
        match poll(body) {
            Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap().len(),
            other => panic!("{other:?}"),
        }
    }

    fn fate(watch: &Watch) -> Fate {
        watch.fate(&Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_copy_is_what_the_original_was() {
        let kept = Kept::default();
        let (inflow, mut body, watch) = copied(Some(8), &kept);
        assert_eq!(body.size_hint().exact(), Some(8));
        assert!(poll(&mut body).is_pending());
        inflow.data(&Bytes::from_static(b"hello"));
        inflow.data(&Bytes::from_static(b"you"));
        assert_eq!(kept.get(), 8 + 2 * CHUNK);
        assert_eq!(taken(&mut body), 5);
        let mut fields = HeaderMap::new();
        fields.insert("x-sum", http::HeaderValue::from_static("1"));
        inflow.trailers(&fields);
        drop(inflow);
        assert_eq!(taken(&mut body), 3);
        assert!(!body.is_end_stream() && !watch.is_taken());
        let Poll::Ready(Some(Ok(frame))) = poll(&mut body) else { panic!("trailers") };
        assert_eq!(frame.into_trailers().unwrap(), fields);
        assert!(body.is_end_stream() && watch.is_taken());
        assert!(matches!(poll(&mut body), Poll::Ready(None)));
        assert_eq!((fate(&watch), kept.get()), (Fate::Ended, 0));
    }

    #[test]
    fn what_falls_behind_is_given_up_and_kept_no_longer() {
        let kept = Kept::default();
        let (inflow, mut body, watch) = copied(None, &kept);
        let chunk = Bytes::from(vec![0; 64 * 1024]);
        (0..15).for_each(|_| inflow.data(&chunk));
        assert_eq!(fate(&watch), Fate::Open);
        assert!(kept.get() <= KEPT);
        inflow.data(&chunk);
        inflow.data(&chunk);
        assert_eq!((fate(&watch), kept.get()), (Fate::Abandoned, 0));
        inflow.end();
        assert!(matches!(poll(&mut body), Poll::Ready(Some(Err(BodyError::Superseded)))));
    }

    #[test]
    fn tiny_chunks_are_not_free_and_all_copies_share_one_bound() {
        let kept = Kept::default();
        let (inflow, _body, watch) = copied(None, &kept);
        let tiny = Bytes::from_static(b"x");
        (0..KEPT / CHUNK).for_each(|_| inflow.data(&tiny));
        assert_eq!(fate(&watch), Fate::Abandoned);
        kept.set(KEPT_BY_ALL);
        let (inflow, body, watch) = copied(None, &kept);
        inflow.data(&tiny);
        assert_eq!(fate(&watch), Fate::Abandoned);
        drop((inflow, body));
        assert_eq!(kept.get(), KEPT_BY_ALL);
    }

    #[test]
    fn either_end_tells_the_other_that_it_is_gone() {
        let kept = Kept::default();
        let (inflow, mut body, watch) = copied(None, &kept);
        inflow.data(&Bytes::from_static(b"half"));
        drop(inflow);
        assert_eq!((fate(&watch), kept.get()), (Fate::BrokenOff, 0));
        assert!(matches!(poll(&mut body), Poll::Ready(Some(Err(_)))));
        let (inflow, body, watch) = copied(None, &kept);
        inflow.data(&Bytes::from_static(b"half"));
        drop(body);
        inflow.data(&Bytes::from_static(b"more"));
        assert_eq!((fate(&watch), kept.get()), (Fate::Unwanted, 0));
    }
}
