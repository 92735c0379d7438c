//! The backend's end of a connection: a TCP stream that can be told to end with RST instead of FIN.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::wait::Gate;

/// Ends one connection from anywhere. Clones are the same connection's.
#[derive(Clone)]
pub(super) struct Kill {
    gate: Gate,
    reset: Arc<AtomicBool>,
}

impl Default for Kill {
    fn default() -> Self {
        Self { gate: Gate::closed(), reset: Arc::default() }
    }
}

impl Kill {
    /// The connection ends with RST.
    pub(super) fn reset(&self) {
        self.reset.store(true, Ordering::Release);
        self.gate.open();
    }

    /// The connection ends with FIN, whatever was still to be sent.
    pub(super) fn close(&self) {
        self.gate.open();
    }

    /// Returns once the connection is to end.
    pub(super) async fn killed(&self) {
        self.gate.pass().await;
    }
}

/// A stream that ends as its [`Kill`] says.
pub(super) struct Wire {
    stream: TcpStream,
    kill: Kill,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, kill: Kill) -> Self {
        Self { stream, kill }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.kill.reset.load(Ordering::Acquire) {
            // With no linger, close sends RST. A socket that is already dead needs none.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
