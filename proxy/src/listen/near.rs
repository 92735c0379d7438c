//! The caller's side of a tunnel: a socket that speaks HTTP no more, or one stream of HTTP/2.
//!
//! hyper gives such a stream out as bytes, and hides two things that a tunnel must know: a caller's cancel reads as an
//! orderly end, and dropping the bytes ends the stream in order. Both show in the task by which hyper sends the stream's
//! data: it ends when the caller resets, and ending it resets. [`StreamTask`] holds on to it.

use std::{
    cell::{Cell, RefCell},
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
    task::AbortHandle,
};

use super::stream::Stream;

/// The caller's side of a tunnel.
#[derive(Debug)]
pub(crate) enum Near {
    /// All of a connection.
    Socket(Stream),
    /// One stream.
    Stream(StreamIo),
}

impl Near {
    /// A stream that hyper has given out, whose data goes out by `task`.
    pub(crate) fn stream(upgraded: Upgraded, task: &Rc<StreamTask>) -> Self {
        Self::Stream(StreamIo { io: TokioIo::new(upgraded), task: task.clone(), end: StreamEnd::Open })
    }
}

/// One stream of HTTP/2 as bytes.
#[derive(Debug)]
pub(crate) struct StreamIo {
    io: TokioIo<Upgraded>,
    task: Rc<StreamTask>,
    end: StreamEnd,
}

/// What is known of the caller's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StreamEnd {
    Open,
    /// It reads as one, and may be a reset.
    Doubtful,
    Certain,
}

impl StreamIo {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            return Poll::Ready(Ok(()));
        }
        match self.end {
            StreamEnd::Certain => Poll::Ready(Ok(())),
            // A reset wakes the sending task together with us: by the next turn it has ended.
            StreamEnd::Open => {
                self.end = StreamEnd::Doubtful;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            StreamEnd::Doubtful if self.task.has_failed() => {
                Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
            }
            StreamEnd::Doubtful => {
                self.end = StreamEnd::Certain;
                Poll::Ready(Ok(()))
            }
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.task.ours.set(true);
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl Drop for StreamIo {
    fn drop(&mut self) {
        // Without an end of our own it is a reset.
        if !self.task.ours.get() {
            self.task.abort();
        }
    }
}

impl AsyncRead for Near {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Near::Socket(io) => Pin::new(io).poll_read(cx, buf),
            Near::Stream(stream) => stream.poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Near {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Near::Socket(io) => Pin::new(io).poll_write(cx, buf),
            Near::Stream(stream) => Pin::new(&mut stream.io).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Near::Socket(io) => Pin::new(io).poll_flush(cx),
            Near::Stream(stream) => Pin::new(&mut stream.io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Near::Socket(io) => Pin::new(io).poll_shutdown(cx),
            Near::Stream(stream) => stream.poll_shutdown(cx),
        }
    }
}

/// The task by which hyper sends the data of one caller's stream.
#[derive(Debug, Default)]
pub(crate) struct StreamTask {
    handle: RefCell<Option<AbortHandle>>,
    ended: Cell<bool>,
    /// The end that it comes to is ours.
    ours: Cell<bool>,
    failed: Notify,
}

impl StreamTask {
    /// One that has not begun.
    pub(crate) fn new() -> Rc<Self> {
        Rc::default()
    }

    /// Runs it.
    pub(crate) fn spawn(self: Rc<Self>, sending: impl Future<Output = ()> + 'static) {
        let task = self.clone();
        let handle = tokio::task::spawn_local(async move {
            sending.await;
            task.ended.set(true);
            task.failed.notify_one();
        });
        *self.handle.borrow_mut() = Some(handle.abort_handle());
    }

    fn has_failed(&self) -> bool {
        self.ended.get() && !self.ours.get()
    }

    /// Ready once the caller has given the stream up.
    pub(crate) async fn failed(&self) {
        while !self.has_failed() {
            self.failed.notified().await;
            if self.ended.get() && self.ours.get() {
                // It has come to its end, and can fail no more.
                std::future::pending::<()>().await;
            }
        }
    }

    fn abort(&self) {
        if let Some(handle) = self.handle.borrow_mut().take() {
            handle.abort();
        }
    }
}

/// Where a request leaves what its connection's server takes up behind its back.
#[derive(Debug)]
pub(crate) struct Handover<T>(RefCell<Option<T>>);

impl<T> Default for Handover<T> {
    fn default() -> Self {
        Self(RefCell::new(None))
    }
}

impl<T> Handover<T> {
    /// Leaves it.
    pub(crate) fn set(&self, value: T) {
        *self.0.borrow_mut() = Some(value);
    }

    /// Takes it up.
    pub(crate) fn take(&self) -> Option<T> {
        self.0.borrow_mut().take()
    }
}
