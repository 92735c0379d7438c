//! The caller's body on its way onto a stream: as far as the peer's windows reach, until it has ended or nobody wants more.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;

use crate::body::RequestBody;

/// The caller's body on its way onto the stream.
pub(super) struct Upload {
    stream: SendStream<Bytes>,
    body: RequestBody,
    chunk: Bytes,
}

/// The caller's body broke off; the stream has been reset.
pub(super) struct BrokenOff;

impl Upload {
    pub(super) fn new(stream: SendStream<Bytes>, body: RequestBody) -> Self {
        Self { stream, body, chunk: Bytes::new() }
    }

    /// Ready when all is sent, or when the peer wants no more of it.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BrokenOff>> {
        loop {
            if !self.chunk.is_empty() {
                self.stream.reserve_capacity(self.chunk.len());
                let room = match ready!(self.stream.poll_capacity(cx)) {
                    Some(Ok(room)) => room,
                    // Reset or answered early: the answer says which.
                    Some(Err(_)) | None => return Poll::Ready(Ok(())),
                };
                let part = self.chunk.split_to(room.min(self.chunk.len()));
                let last = self.chunk.is_empty() && self.body.is_end_stream();
                if self.stream.send_data(part, last).is_err() || last {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            if let Poll::Ready(reset) = self.stream.poll_reset(cx) {
                // NO_ERROR: the peer has answered without the rest. Others: the answer carries the error.
                let _ = reset;
                return Poll::Ready(Ok(()));
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => {
                    let _ = self.stream.send_data(Bytes::new(), true);
                    return Poll::Ready(Ok(()));
                }
                Some(Err(_)) => {
                    self.stream.send_reset(Reason::CANCEL);
                    return Poll::Ready(Err(BrokenOff));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() && self.body.is_end_stream() => {
                        let _ = self.stream.send_data(data, true);
                        return Poll::Ready(Ok(()));
                    }
                    Ok(data) => self.chunk = data,
                    Err(frame) => {
                        if let Ok(fields) = frame.into_trailers() {
                            let _ = self.stream.send_trailers(fields);
                            return Poll::Ready(Ok(()));
                        }
                    }
                },
            }
        }
    }
}
