//! The upstream socket with its counters: how an attempt is proved unsent and a dead pooled connection is not taken.
//!
//! Counters have one writer, the connection's own task, and are read by the requests that use the connection.
//! Nothing here retries, times out or decides.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};

/// What is known about a connection without touching its socket.
#[derive(Debug)]
pub(crate) struct Link {
    stream: TcpStream,
    written: AtomicU64,
    read: AtomicU64,
    peer_closed: AtomicBool,
    refused: AtomicBool,
}

impl Link {
    /// The peer has ended the connection for want of a certificate that it trusts, before it served anything.
    pub(crate) fn refuse(&self) {
        self.refused.store(true, Relaxed);
    }

    /// Whether [`Link::refuse`] was called.
    pub(crate) fn is_refused(&self) -> bool {
        self.refused.load(Relaxed)
    }

    /// Bytes handed to the kernel since the connection was made.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }

    /// Bytes received since the connection was made.
    pub(crate) fn received(&self) -> u64 {
        self.read.load(Relaxed)
    }

    /// Whether the peer is known to have closed, or sent what nobody asked for, as far as the last look of the event
    /// loop tells. Costs no system call on a quiet connection.
    pub(crate) fn looks_dead(&self) -> bool {
        if self.peer_closed.load(Relaxed) {
            return true;
        }
        let seen = self.stream.try_io(Interest::READABLE, || self.peek());
        !matches!(seen, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// As [`Link::looks_dead`], but asks the kernel: for requests that must not be sent twice.
    pub(crate) fn is_dead(&self) -> bool {
        self.peer_closed.load(Relaxed)
            || !matches!(self.peek(), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// The peer is to see a reset when the socket closes, not an orderly end.
    pub(crate) fn reset_on_close(&self) {
        // A socket that refuses is closed already.
        let _ = rustix::net::sockopt::set_socket_linger(&self.stream, Some(std::time::Duration::ZERO));
    }

    /// Takes [`Link::reset_on_close`] back: the peer is to see an orderly end.
    pub(crate) fn end_on_close(&self) {
        // As above.
        let _ = rustix::net::sockopt::set_socket_linger(&self.stream, None);
    }

    /// Waits until the kernel reports an error on the socket, a reset above all: half-closed callers are left in peace.
    pub(crate) async fn failed(&self) {
        // An error of `ready` itself means that the runtime is going away, and this connection with it.
        let _ = self.stream.ready(Interest::ERROR).await;
    }

    /// Waits until the peer has said something, or ended, or broken off. Nothing is read.
    pub(crate) async fn readable(&self) {
        // As above.
        let _ = self.stream.readable().await;
    }

    /// A short read emptied the socket: forget its readiness, which saves the read that would only say so. Sound
    /// because the worker's own thread both reads and turns the event loop, so no new readiness can be lost between.
    fn drained(&self) {
        let _ = self
            .stream
            .try_io(Interest::READABLE, || Err::<(), _>(io::Error::from(io::ErrorKind::WouldBlock)));
    }

    fn peek(&self) -> io::Result<usize> {
        let mut byte = [0_u8; 1];
        let flags = rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT;
        let (count, _) = rustix::net::recv(&self.stream, &mut byte, flags)?;
        Ok(count)
    }
}

/// The socket as the HTTP client drives it.
#[derive(Debug)]
pub(crate) struct MeteredIo {
    link: Arc<Link>,
}

impl MeteredIo {
    /// Wraps a connected socket.
    pub(crate) fn new(stream: TcpStream) -> (Self, Arc<Link>) {
        let link = Arc::new(Link {
            stream,
            written: AtomicU64::new(0),
            read: AtomicU64::new(0),
            peer_closed: AtomicBool::new(false),
            refused: AtomicBool::new(false),
        });
        (Self { link: link.clone() }, link)
    }

    /// What is known about the connection.
    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    fn wrote(&self, result: &io::Result<usize>) {
        if let Ok(count) = result {
            self.link.written.store(self.link.written() + *count as u64, Relaxed);
        }
    }
}

impl AsyncRead for MeteredIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let link = &self.link;
        loop {
            ready!(link.stream.poll_read_ready(cx))?;
            match link.stream.try_read(buf.initialize_unfilled()) {
                Ok(count) => {
                    let wanted = buf.remaining();
                    buf.advance(count);
                    if count > 0 && count < wanted {
                        link.drained();
                    }
                    link.read.store(link.received() + count as u64, Relaxed);
                    if count == 0 {
                        link.peer_closed.store(true, Relaxed);
                    }
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    link.peer_closed.store(true, Relaxed);
                    return Poll::Ready(Err(error));
                }
            }
        }
    }
}

impl AsyncWrite for MeteredIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.link.stream.poll_write_ready(cx))?;
            match self.link.stream.try_write(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => {
                    self.wrote(&result);
                    return Poll::Ready(result);
                }
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.link.stream.poll_write_ready(cx))?;
            match self.link.stream.try_write_vectored(bufs) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => {
                    self.wrote(&result);
                    return Poll::Ready(result);
                }
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = rustix::net::shutdown(&self.link.stream, rustix::net::Shutdown::Write);
        // The peer may have closed first: then there is nothing left to end.
        Poll::Ready(result.or_else(|error| match error {
            rustix::io::Errno::NOTCONN => Ok(()),
            other => Err(other.into()),
        }))
    }
}
