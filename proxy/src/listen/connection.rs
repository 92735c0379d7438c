//! A caller's connection: its socket wrapped so that header deadlines, idleness and a vanished caller are noticed.
//!
//! [`CallerIo`] feeds every byte that arrives to the header watch; [`drive`] runs hyper's connection future beside the
//! watch's deadline, the drain signal and the socket's error state. Nothing here knows requests.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    io::{self, IoSlice},
    net::SocketAddr,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use outrigger_config::{SpiffeId, model::Limits};

use super::{
    Listener,
    header_watch::{Expiry, HeaderWatch},
    near::{Handover, StreamTask},
    original_dst::Dialled,
    stream::Stream,
};
use crate::{
    identity::Peer, request::forwarded::PeerAddress, switched::Waiting, upstream::io::Link, worker::Worker,
};

/// What requests know of the connection that they came on.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) worker: Rc<Worker>,
    pub(crate) listener: Arc<Listener>,
    pub(crate) peer: SocketAddr,
    /// Who the peer has proved to be; `None`: it is anonymous.
    pub(crate) authenticated: Option<Rc<Peer>>,
    pub(crate) dialled: Dialled,
    /// The peer's address as a header value.
    pub(crate) address: PeerAddress,
    pub(crate) watch: RefCell<HeaderWatch>,
    /// HTTP/1: the tunnel that the connection becomes.
    pub(crate) switched: Handover<Waiting>,
    /// HTTP/2: the next task that hyper starts sends this stream's data.
    pub(crate) sending: Handover<Rc<StreamTask>>,
    /// What is open is finished, and no more is taken.
    pub(crate) ending: Cell<bool>,
}

impl Connection {
    /// The identity that the peer has proved.
    pub(crate) fn identity(&self) -> Option<&SpiffeId> {
        self.authenticated.as_ref().map(|peer| peer.id())
    }
}

/// The caller's bytes as hyper reads it.
#[derive(Debug)]
pub(crate) struct CallerIo {
    io: Stream,
    prefix: Bytes,
    connection: Rc<Connection>,
}

impl CallerIo {
    /// `prefix` was read before, to detect the protocol; the watch has not seen it yet.
    pub(crate) fn new(io: Stream, prefix: Bytes, connection: Rc<Connection>) -> Self {
        Self { io, prefix, connection }
    }

    /// The socket, and what of the prefix nobody has read.
    pub(crate) fn into_parts(self) -> (Stream, Bytes) {
        (self.io, self.prefix)
    }
}

impl AsyncRead for CallerIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = if this.prefix.is_empty() {
            Pin::new(&mut this.io).poll_read(cx, buf)
        } else {
            let count = this.prefix.len().min(buf.remaining());
            buf.put_slice(&this.prefix[..count]);
            this.prefix.advance(count);
            Poll::Ready(Ok(()))
        };
        let got = &buf.filled()[before..];
        if !got.is_empty() {
            this.connection.watch.borrow_mut().bytes_read(got, std::time::Instant::now());
        }
        polled
    }
}

impl AsyncWrite for CallerIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// hyper's connection future, HTTP/1 or HTTP/2.
pub(crate) trait Served: Future<Output = hyper::Result<()>> {
    /// Finishes what is open and takes no more.
    fn finish(self: Pin<&mut Self>);
}

/// How a connection ended.
#[derive(Debug)]
pub(crate) enum End {
    /// By itself.
    Served(hyper::Result<()>),
    /// The caller vanished.
    Reset,
    /// A head did not come in time.
    HeaderTimeout,
}

/// Ready once connections of `listener` are to finish: the proxy ends, or the policy has no such listener any more.
pub(crate) async fn closing(worker: &Worker, listener: &Listener) {
    tokio::select! {
        () = worker.drain.closing(listener.side) => {}
        () = listener.retired() => {}
    }
}

/// How often a connection without any deadline is looked at: one whose requests are open has other watchers.
const LOOK: Duration = Duration::from_secs(10);

/// Serves `served` until it ends, the caller vanishes or a deadline passes.
pub(crate) async fn drive(
    mut served: Pin<&mut impl Served>,
    connection: &Rc<Connection>,
    link: &Arc<Link>,
    limits: &Limits,
) -> End {
    let worker = &connection.worker;
    let timer = worker.deadlines.at(due(connection, limits).0);
    let mut failed = pin!(link.failed());
    let mut closing = pin!(closing(worker, &connection.listener));
    let mut finishing = false;
    poll_fn(|cx| {
        if let Poll::Ready(result) = served.as_mut().poll(cx) {
            return Poll::Ready(End::Served(result));
        }
        if failed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(End::Reset);
        }
        let mut finish = !finishing && (connection.ending.get() || closing.as_mut().poll(cx).is_ready());
        while timer.poll_expired(cx).is_ready() {
            match due(connection, limits) {
                (at, _) if at > Instant::now() => timer.reset(at),
                (_, Some(Expiry::Idle)) => {
                    finish = true;
                    timer.reset(Instant::now() + LOOK);
                }
                _ => return Poll::Ready(End::HeaderTimeout),
            }
        }
        if finish && !finishing {
            finishing = true;
            served.as_mut().finish();
            return served.as_mut().poll(cx).map(End::Served);
        }
        Poll::Pending
    })
    .await
}

/// When to look again, and what has expired if that time has come. The watch moves with every head; the timer does
/// not: it is set at most [`LOOK`] ahead, so that a head that opens meanwhile is seen in time.
fn due(connection: &Connection, limits: &Limits) -> (Instant, Option<Expiry>) {
    let look = Instant::now() + limits.header_timeout.min(LOOK);
    match connection.watch.borrow().deadline(limits) {
        None => (look, None),
        Some((at, why)) => (Instant::from_std(at).min(look), Some(why)),
    }
}
