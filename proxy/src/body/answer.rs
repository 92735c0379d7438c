//! The answer's body on its way to the caller, from an upstream or made by the proxy.
//!
//! [`Finish`] rides on it: the request's remaining timers, its counters and its record, so that all of them live exactly
//! as long as the exchange does. An answer that breaks off never looks complete: the stream is reset, or a gRPC caller
//! gets trailers that say so.

use std::{
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::RecvStream;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::{task::AbortHandle, time::Instant};

use super::{BodyError, Flow};
use crate::{
    error::Failure,
    policy::{concurrency::Permit, deadline::Deadline, fallback::Keeping, target::Held},
    request::trailers,
    telemetry::record::Record,
    upstream::{far::Far, http1, http2},
    worker::deadline::Deadlines,
};

/// An unwanted answer is read to its end for at most this long, and this much of it: cheaper than a new connection.
const DISCARD_TIME: Duration = Duration::from_secs(1);
const DISCARD_BYTES: usize = 16 * 1024;

/// An answer's body as the upstream sends it.
#[derive(Debug)]
pub(crate) struct UpstreamBody {
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    Ended,
    Http1 {
        body: Incoming,
        lease: http1::Lease,
    },
    Http2 {
        body: RecvStream,
        place: http2::Place,
        upload: Option<AbortHandle>,
    },
    /// No body: the connection has become something else.
    Switched(Box<Far>),
}

/// What came of an answer that is read and thrown away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadOut {
    /// It was read to its end.
    Whole,
    /// It broke off.
    Cut,
    /// The rest was left unread.
    TooLong,
}

impl UpstreamBody {
    pub(crate) fn http1(body: Incoming, lease: http1::Lease) -> Self {
        Self { inner: Inner::Http1 { body, lease } }
    }

    pub(crate) fn http2(body: RecvStream, place: http2::Place, upload: Option<AbortHandle>) -> Self {
        Self { inner: Inner::Http2 { body, place, upload } }
    }

    /// What comes is not a body.
    pub(crate) fn switched(far: Far) -> Self {
        Self { inner: Inner::Switched(Box::new(far)) }
    }

    /// Whether the connection is HTTP no more.
    pub(crate) fn is_switched(&self) -> bool {
        matches!(self.inner, Inner::Switched(_))
    }

    /// What the connection has become, if it is HTTP no more.
    pub(crate) fn take_switched(&mut self) -> Option<Box<Far>> {
        match std::mem::replace(&mut self.inner, Inner::Ended) {
            Inner::Switched(far) => Some(far),
            _ => None,
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.inner {
            Inner::Ended | Inner::Switched(_) => Poll::Ready(None),
            Inner::Http1 { body, .. } => Pin::new(body)
                .poll_frame(cx)
                .map(|frame| frame.map(|got| got.map_err(|_| BodyError::Upstream))),
            Inner::Http2 { body, place, .. } => poll_http2(body, place, cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Ended | Inner::Switched(_) => true,
            Inner::Http1 { body, .. } => body.is_end_stream(),
            Inner::Http2 { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Http1 { body, .. } => body.size_hint(),
            Inner::Ended | Inner::Switched(_) => SizeHint::with_exact(0),
            Inner::Http2 { .. } => SizeHint::default(),
        }
    }

    /// Nobody wants this answer: reads what little is left so that an HTTP/1 connection can be used again.
    pub(crate) fn discard(mut self, request_done: bool, deadlines: &Rc<Deadlines>) {
        if !request_done || !matches!(self.inner, Inner::Http1 { .. }) {
            return;
        }
        if self.is_end_stream() {
            return self.end(true);
        }
        let timer = deadlines.after(DISCARD_TIME);
        tokio::task::spawn_local(async move {
            let mut left = DISCARD_BYTES;
            let read = poll_fn(|cx| match timer.poll_expired(cx) {
                Poll::Ready(()) => Poll::Ready(ReadOut::TooLong),
                Poll::Pending => self.poll_read_out(&mut left, cx),
            });
            if read.await == ReadOut::Whole {
                self.end(true);
            }
        });
    }

    /// Reads an answer that nobody wants to its end, at most `limit` bytes of it. Its connection can be used again if
    /// the request was sent whole by then.
    pub(crate) async fn read_out(mut self, limit: usize, request_done: impl FnOnce() -> bool) -> ReadOut {
        let mut left = limit;
        let read = poll_fn(|cx| self.poll_read_out(&mut left, cx)).await;
        if read == ReadOut::Whole {
            self.end(request_done());
        }
        read
    }

    fn poll_read_out(&mut self, left: &mut usize, cx: &mut Context<'_>) -> Poll<ReadOut> {
        loop {
            let Some(frame) = ready!(self.poll_frame(cx)) else { return Poll::Ready(ReadOut::Whole) };
            let Ok(frame) = frame else { return Poll::Ready(ReadOut::Cut) };
            let size = frame.data_ref().map_or(0, Bytes::len);
            let Some(rest) = left.checked_sub(size) else { return Poll::Ready(ReadOut::TooLong) };
            *left = rest;
        }
    }

    /// The last byte was read: an HTTP/1 connection goes back to its pool if the request was sent whole.
    fn end(&mut self, request_done: bool) {
        match std::mem::replace(&mut self.inner, Inner::Ended) {
            Inner::Http1 { lease, .. } if request_done => lease.give_back(),
            _ => {}
        }
    }
}

impl Drop for UpstreamBody {
    fn drop(&mut self) {
        if let Inner::Http2 { upload: Some(upload), .. } = &self.inner {
            upload.abort();
        }
    }
}

fn poll_http2(
    body: &mut RecvStream,
    place: &http2::Place,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
    if let Some(data) = ready!(body.poll_data(cx)) {
        let Ok(data) = data else {
            return Poll::Ready(Some(Err(BodyError::Upstream)));
        };
        // Taken by the other side, which only asks when it has room: the window may open again.
        let _ = body.flow_control().release_capacity(data.len());
        place.took(data.len());
        return Poll::Ready(Some(Ok(Frame::data(data))));
    }
    match ready!(body.poll_trailers(cx)) {
        Ok(Some(fields)) => Poll::Ready(Some(Ok(Frame::trailers(fields)))),
        Ok(None) => Poll::Ready(None),
        Err(_) => Poll::Ready(Some(Err(BodyError::Upstream))),
    }
}

/// What has to happen when the answer has ended, and what may end it early.
#[derive(Debug)]
pub(crate) struct Finish {
    /// Written to metrics and log at the end.
    pub(crate) record: Record,
    /// The request's remaining limits.
    pub(crate) deadline: Deadline,
    /// Counters of both bodies.
    pub(crate) flow: Rc<Flow>,
    /// Limit for trailers.
    pub(crate) trailer_bytes: u32,
    /// A gRPC caller hears of a failure in trailers.
    pub(crate) grpc: bool,
    /// The caller's version or form cannot carry trailers: what comes is counted.
    pub(crate) trailers_lost: bool,
    /// Keeps the answer for a fallback.
    pub(crate) keep: Option<Box<Keeping>>,
    /// What the request takes up until then.
    pub(crate) held: Held,
    /// Its place before the app.
    pub(crate) _permit: Option<Permit>,
}

/// The body that the caller gets.
#[derive(Debug)]
pub(crate) struct AnswerBody {
    source: Source,
    finish: Option<Box<Finish>>,
}

#[derive(Debug)]
enum Source {
    Fixed(Option<Bytes>),
    Upstream(UpstreamBody),
}

impl AnswerBody {
    /// A body that the proxy made.
    pub(crate) fn fixed(body: Option<Bytes>, finish: Option<Box<Finish>>) -> Self {
        Self { source: Source::Fixed(body), finish }
    }

    /// A body that an upstream sends.
    pub(crate) fn upstream(body: UpstreamBody, finish: Box<Finish>) -> Self {
        let mut made = Self { source: Source::Upstream(body), finish: Some(finish) };
        if made.is_end_stream() {
            made.ended();
        }
        made
    }

    fn ended(&mut self) {
        if let Source::Upstream(body) = &mut self.source {
            body.end(self.finish.as_ref().is_none_or(|finish| finish.flow.request_done.get()));
        }
        if let Some(mut finish) = self.finish.take() {
            finish.held.whole();
            if let Some(keep) = finish.keep.take() {
                keep.done();
            }
            finish.record.complete();
        }
    }

    /// The answer broke off: closes the upstream side and tells the caller in the only way that is left.
    fn broken(&mut self, failure: Failure) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.source = Source::Fixed(None);
        let Some(mut finish) = self.finish.take() else { return Poll::Ready(None) };
        let grpc = finish.grpc;
        finish.held.broke(failure);
        finish.record.broke(failure);
        if grpc {
            return Poll::Ready(Some(Ok(Frame::trailers(grpc_trailers(failure)))));
        }
        Poll::Ready(Some(Err(match failure {
            Failure::RequestTimeout | Failure::StreamIdle => BodyError::Timeout,
            _ => BodyError::Upstream,
        })))
    }
}

fn grpc_trailers(failure: Failure) -> HeaderMap {
    let form = failure.form();
    let mut fields = HeaderMap::with_capacity(2);
    fields.insert(HeaderName::from_static("grpc-status"), HeaderValue::from(u16::from(form.grpc)));
    fields.insert(HeaderName::from_static("grpc-message"), HeaderValue::from_static(form.reason));
    fields
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let upstream = match &mut this.source {
            Source::Fixed(body) => {
                let frame = body.take().map(|data| Ok(Frame::data(data)));
                this.ended();
                return Poll::Ready(frame);
            }
            Source::Upstream(body) => body,
        };
        let frame = match upstream.poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                let Some(finish) = &mut this.finish else { return Poll::Pending };
                let failure = ready!(finish.deadline.poll_passed(cx));
                return this.broken(failure);
            }
        };
        let mut frame = match frame {
            None => {
                this.ended();
                return Poll::Ready(None);
            }
            Some(Err(_)) => return this.broken(Failure::UpstreamCut),
            Some(Ok(frame)) => frame,
        };
        if let Some(finish) = &mut this.finish {
            finish.flow.touched.set(Instant::now());
            if let Some(data) = frame.data_ref() {
                finish.flow.bytes_out.set(finish.flow.bytes_out.get() + data.len() as u64);
                finish.held.data();
                finish.keep.take_if(|keep| !keep.data(data));
            } else if let Some(fields) = frame.trailers_mut() {
                if trailers::filter(fields, finish.trailer_bytes).is_err() {
                    return this.broken(Failure::UpstreamProtocol);
                }
                finish.record.trailers(fields);
                if finish.grpc {
                    finish.held.trailers(fields);
                }
                finish.keep = None;
                if finish.trailers_lost && !fields.is_empty() {
                    finish.record.trailers_lost();
                }
            }
        }
        if frame.is_trailers() || this.is_end_stream() {
            this.ended();
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Fixed(body) => body.is_none(),
            Source::Upstream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Fixed(body) => SizeHint::with_exact(body.as_ref().map_or(0, |data| data.len() as u64)),
            Source::Upstream(body) => body.size_hint(),
        }
    }
}
