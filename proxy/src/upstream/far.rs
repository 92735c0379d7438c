//! The endpoint's side of a tunnel: a socket that speaks HTTP no more, or one stream of HTTP/2 (RFC 8441).
//!
//! It belongs to one request and goes back to no pool. Dropping it ends the socket, or resets the stream.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use h2::{RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{connect::Counted, http2::Place, io::Link, stream::Stream};

/// The endpoint's side of a tunnel.
#[derive(Debug)]
pub(crate) struct Far {
    /// Its bytes.
    pub(crate) io: FarIo,
    /// What it has said already, behind its answer's head.
    pub(crate) said: Bytes,
    /// Its socket, where that is its own.
    pub(crate) link: Option<Arc<Link>>,
    /// Counts its connection as open.
    pub(crate) counted: Option<Counted>,
}

/// The bytes of a tunnel's far side.
#[derive(Debug)]
pub(crate) enum FarIo {
    /// All of a connection.
    Socket(Stream),
    /// One stream.
    Stream(StreamIo),
}

/// One stream of HTTP/2 as bytes.
#[derive(Debug)]
pub(crate) struct StreamIo {
    send: SendStream<Bytes>,
    recv: RecvStream,
    /// Received and not read yet.
    chunk: Bytes,
    _place: Place,
}

impl StreamIo {
    pub(crate) fn new(send: SendStream<Bytes>, recv: RecvStream, place: Place) -> Self {
        Self { send, recv, chunk: Bytes::new(), _place: place }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.chunk.is_empty() {
            match ready!(self.recv.poll_data(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(chunk) => self.chunk = chunk.map_err(io::Error::other)?,
            }
        }
        let count = self.chunk.len().min(buf.remaining());
        buf.put_slice(&self.chunk[..count]);
        self.chunk.advance(count);
        // A stream that has ended has no window to open.
        let _ = self.recv.flow_control().release_capacity(count);
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.send.reserve_capacity(bytes.len());
        // What was assigned before and not used is not told again.
        while self.send.capacity() == 0 {
            match ready!(self.send.poll_capacity(cx)) {
                Some(room) => room.map_err(io::Error::other)?,
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            };
        }
        let count = self.send.capacity().min(bytes.len());
        self.send.send_data(Bytes::copy_from_slice(&bytes[..count]), false).map_err(io::Error::other)?;
        Poll::Ready(Ok(count))
    }

    fn poll_shutdown(&mut self) -> Poll<io::Result<()>> {
        Poll::Ready(self.send.send_data(Bytes::new(), true).map_err(io::Error::other))
    }
}

impl AsyncRead for FarIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            FarIo::Socket(stream) => Pin::new(stream).poll_read(cx, buf),
            FarIo::Stream(stream) => stream.poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for FarIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            FarIo::Socket(stream) => Pin::new(stream).poll_write(cx, buf),
            FarIo::Stream(stream) => stream.poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            FarIo::Socket(stream) => Pin::new(stream).poll_flush(cx),
            FarIo::Stream(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            FarIo::Socket(stream) => Pin::new(stream).poll_shutdown(cx),
            FarIo::Stream(stream) => stream.poll_shutdown(),
        }
    }
}
