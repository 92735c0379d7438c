//! The bytes of a connection to an endpoint, in plaintext or through TLS.
//!
//! TLS lies above the metered socket: its counters see what the kernel sees. A handshake is over before a connection is
//! handed to a request, so its bytes count for no request; and bytes that TLS holds back are not written yet.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use super::{io::MeteredIo, tls::is_refusal};

/// A connection to an endpoint.
#[derive(Debug)]
pub(crate) enum Stream {
    /// As it is.
    Plain(MeteredIo),
    /// Through TLS.
    Tls(Box<Secured>),
}

/// TLS, until the peer has shown that it takes us.
#[derive(Debug)]
pub(crate) struct Secured {
    tls: TlsStream<MeteredIo>,
    /// The peer has sent something of its own.
    heard: bool,
}

impl Stream {
    /// A connection whose handshake is over.
    pub(crate) fn secured(tls: TlsStream<MeteredIo>) -> Self {
        Self::Tls(Box::new(Secured { tls, heard: false }))
    }
}

impl Secured {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.tls).poll_read(cx, buf));
        match &read {
            Err(error) if !self.heard && is_refusal(error) => self.tls.get_ref().0.link().refuse(),
            Ok(()) => self.heard |= buf.filled().len() > before,
            Err(_) => {}
        }
        Poll::Ready(read)
    }

    /// A peer that refuses us closes at once, and writing may fail before its reason is read: the error waits until that
    /// was tried. A closed socket is readable, so it does not wait for ever. What else is read is lost with the connection.
    fn wrote<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if matches!(written, Poll::Ready(Err(_))) && !self.heard {
            let mut bytes = [0; 64];
            let _ = ready!(self.poll_read(cx, &mut ReadBuf::new(&mut bytes)));
        }
        written
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Stream::Tls(secured) => secured.poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(io) => Pin::new(io).poll_write(cx, buf),
            Stream::Tls(secured) => {
                let written = Pin::new(&mut secured.tls).poll_write(cx, buf);
                secured.wrote(cx, written)
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Stream::Tls(secured) => {
                let written = Pin::new(&mut secured.tls).poll_write_vectored(cx, bufs);
                secured.wrote(cx, written)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Plain(io) => io.is_write_vectored(),
            Stream::Tls(secured) => secured.tls.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(io) => Pin::new(io).poll_flush(cx),
            Stream::Tls(secured) => {
                let written = Pin::new(&mut secured.tls).poll_flush(cx);
                secured.wrote(cx, written)
            }
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Stream::Tls(secured) => Pin::new(&mut secured.tls).poll_shutdown(cx),
        }
    }
}
