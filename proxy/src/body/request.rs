//! The caller's body on its way upstream, plain or kept for a repeat, and what of it goes to mirrors.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::{BodyError, CopiedBody, Flow, Gate, Inflow};
use crate::{policy::replay::ReplayBody, request::trailers};

/// The caller's body as it arrives: counted, its trailers filtered.
#[derive(Debug)]
pub(crate) struct Inlet {
    body: Incoming,
    flow: Rc<Flow>,
    trailer_bytes: u32,
    gate: Option<Gate>,
    /// Mirrors that get a copy; none is the rule.
    mirrors: Vec<Inflow>,
}

impl Inlet {
    pub(crate) fn new(body: Incoming, flow: Rc<Flow>, trailer_bytes: u32, gate: Option<Gate>) -> Self {
        flow.request_done.set(body.is_end_stream());
        Self { body, flow, trailer_bytes, gate, mirrors: Vec::new() }
    }

    /// Copies all that is read from now on.
    pub(crate) fn copy_to(&mut self, mirror: Inflow) {
        self.mirrors.push(mirror);
    }

    fn ended(&mut self) {
        self.flow.request_done.set(true);
        self.mirrors.drain(..).for_each(|mirror| mirror.end());
    }
}

impl Body for Inlet {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(gate) = &self.gate {
            ready!(gate.poll_open(cx));
            self.gate = None;
        }
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            None => {
                self.ended();
                return Poll::Ready(None);
            }
            Some(Err(_)) => {
                self.flow.request_broken.set(true);
                self.mirrors.clear();
                return Poll::Ready(Some(Err(BodyError::Downstream)));
            }
            Some(Ok(frame)) => frame,
        };
        self.flow.touched.set(Instant::now());
        if let Some(data) = frame.data_ref() {
            self.flow.bytes_in.set(self.flow.bytes_in.get() + data.len() as u64);
            self.mirrors.iter().for_each(|mirror| mirror.data(data));
        }
        match frame.into_trailers() {
            Err(data) => {
                if self.body.is_end_stream() {
                    self.ended();
                }
                Poll::Ready(Some(Ok(data)))
            }
            Ok(mut fields) => {
                self.flow.request_done.set(true);
                if trailers::filter(&mut fields, self.trailer_bytes).is_err() {
                    self.mirrors.clear();
                    return Poll::Ready(Some(Err(BodyError::Trailers)));
                }
                self.mirrors.drain(..).for_each(|mirror| mirror.trailers(&fields));
                Poll::Ready(Some(Ok(Frame::trailers(fields))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What an attempt sends.
#[derive(Debug)]
pub(crate) enum RequestBody {
    /// No body, as GET has it.
    Empty,
    /// Straight from the caller; this attempt is the only one.
    Stream(Inlet),
    /// From the shared replay buffer.
    Replay(ReplayBody),
    /// Beside another request: a mirror's.
    Copied(CopiedBody),
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            RequestBody::Empty => Poll::Ready(None),
            RequestBody::Stream(body) => Pin::new(body).poll_frame(cx),
            RequestBody::Replay(body) => Pin::new(body).poll_frame(cx),
            RequestBody::Copied(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            RequestBody::Empty => true,
            RequestBody::Stream(body) => body.is_end_stream(),
            RequestBody::Replay(body) => body.is_end_stream(),
            RequestBody::Copied(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            RequestBody::Empty => SizeHint::with_exact(0),
            RequestBody::Stream(body) => body.size_hint(),
            RequestBody::Replay(body) => body.size_hint(),
            RequestBody::Copied(body) => body.size_hint(),
        }
    }
}
