//! The two-way copy between two byte streams: what one peer sends the other gets, until both have ended.
//!
//! Each peer's end (FIN) is passed on alone, so a peer may end its half and go on reading. A peer that breaks off breaks
//! the other off too: sockets are set to reset when they close and only an orderly end takes that back, so a tunnel that
//! is cut in any way, the end of its process included, never looks complete. Nothing is read that the other side cannot
//! take: a half keeps at most [`CHUNK`] bytes, and a quiet tunnel keeps none, since all tunnels of a worker read into one
//! scratch buffer. Nothing here knows what the bytes mean, who may send them, or how a tunnel is counted and logged.

use std::{
    cell::RefCell,
    future::{pending, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use crate::{upstream::io::Link, worker::deadline::Deadlines};

/// The most that is read at once, and the most that one half keeps for a side that does not take it.
const CHUNK: usize = 16 * 1024;

thread_local! {
    /// What is read before it is written on, within one poll: no tunnel needs it longer.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into_boxed_slice());
}

/// One of the two sides of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Who asked for the tunnel.
    Caller,
    /// Whom the caller talks to.
    Upstream,
}

/// How a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Both peers have ended; this one was the first.
    Closed(Peer),
    /// This peer broke off, and so the other was reset.
    Reset(Peer),
    /// No byte moved for too long; both were reset.
    Idle,
}

/// One side: its bytes, and the socket beneath them.
#[derive(Debug)]
pub(crate) struct Leg<S> {
    io: S,
    /// `None` where dropping the stream resets it by itself, as it does a stream of HTTP/2.
    link: Option<Arc<Link>>,
}

impl<S> Leg<S> {
    /// `link` is that of the socket which ends with `io`.
    pub(crate) fn new(io: S, link: Option<Arc<Link>>) -> Self {
        Self { io, link }
    }

    /// Ready once the socket has failed; a side that is not read or written says so only here.
    fn failed(&self) -> impl Future<Output = ()> + use<S> {
        let link = self.link.clone();
        async move {
            match link {
                Some(link) => link.failed().await,
                None => pending().await,
            }
        }
    }
}

/// Two sides that are about to be joined.
#[derive(Debug)]
pub(crate) struct Tunnel<C, U> {
    caller: Leg<C>,
    upstream: Leg<U>,
    /// From the caller to the upstream.
    up: Half,
    /// From the upstream to the caller.
    down: Half,
}

impl<C, U> Tunnel<C, U>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    /// Joins the two.
    pub(crate) fn new(caller: Leg<C>, upstream: Leg<U>) -> Self {
        Self { caller, upstream, up: Half::default(), down: Half::default() }
    }

    /// What was read from the caller before, to find out where it wants to go: the first bytes for the upstream.
    pub(crate) fn after(mut self, read: Bytes) -> Self {
        self.up.kept = read;
        self
    }

    /// What the upstream has said before, behind its agreement to the tunnel: the first bytes for the caller.
    pub(crate) fn answered(mut self, read: Bytes) -> Self {
        self.down.kept = read;
        self
    }

    /// Copies until both peers have ended, one breaks off, or no byte moves for `idle`. `moved` hears, while the tunnel
    /// runs, who sent how many bytes that the other side has taken.
    pub(crate) async fn run(
        mut self,
        idle: Option<Duration>,
        deadlines: &Rc<Deadlines>,
        mut moved: impl FnMut(Peer, u64),
    ) -> End {
        let links = [self.caller.link.clone(), self.upstream.link.clone()];
        links.iter().flatten().for_each(|link| link.reset_on_close());
        let mut caller_failed = pin!(self.caller.failed());
        let mut upstream_failed = pin!(self.upstream.failed());
        let mut touched = Instant::now();
        let timer = idle.map(|idle| (idle, deadlines.at(touched + idle)));
        let mut first = None;
        let end = poll_fn(|cx| {
            let mut any = false;
            let mut count = |peer, bytes| {
                any = true;
                moved(peer, bytes);
            };
            if let Poll::Ready(end) = self.poll_copy(cx, &mut first, &mut count) {
                return Poll::Ready(end);
            }
            // What a failed socket still held has been read by now, or nobody takes it.
            if caller_failed.as_mut().poll(cx).is_ready() {
                return Poll::Ready(End::Reset(Peer::Caller));
            }
            if upstream_failed.as_mut().poll(cx).is_ready() {
                return Poll::Ready(End::Reset(Peer::Upstream));
            }
            let Some((idle, timer)) = &timer else { return Poll::Pending };
            if any {
                touched = Instant::now();
            }
            // The timer is not moved for every chunk: it looks back when it fires.
            while timer.poll_expired(cx).is_ready() {
                if touched + *idle <= Instant::now() {
                    return Poll::Ready(End::Idle);
                }
                timer.reset(touched + *idle);
            }
            Poll::Pending
        })
        .await;
        if matches!(end, End::Closed(_)) {
            links.iter().flatten().for_each(|link| link.end_on_close());
        }
        end
    }

    /// Moves what can be moved now; ready once both halves have ended, or one is broken.
    fn poll_copy(
        &mut self,
        cx: &mut Context<'_>,
        first: &mut Option<Peer>,
        moved: &mut impl FnMut(Peer, u64),
    ) -> Poll<End> {
        SCRATCH.with_borrow_mut(|scratch| {
            let (caller, upstream) = (&mut self.caller.io, &mut self.upstream.io);
            // Down first: what an upstream said before it broke off is passed on before its end is noticed.
            let mut down =
                self.down.poll(cx, (upstream, caller), scratch, &mut |bytes| moved(Peer::Upstream, bytes));
            let up = self.up.poll(cx, (caller, upstream), scratch, &mut |bytes| moved(Peer::Caller, bytes));
            if matches!(up, Poll::Ready(Err(Broken::Sink))) && down.is_pending() {
                // The upstream takes no more, yet it may have answered in between.
                down = self
                    .down
                    .poll(cx, (upstream, caller), scratch, &mut |bytes| moved(Peer::Upstream, bytes));
            }
            if let Poll::Ready(Err(broken)) = down {
                return Poll::Ready(End::Reset(broken.whose(Peer::Upstream)));
            }
            if let Poll::Ready(Err(broken)) = up {
                return Poll::Ready(End::Reset(broken.whose(Peer::Caller)));
            }
            match (up.is_ready(), down.is_ready()) {
                (true, true) => Poll::Ready(End::Closed(first.unwrap_or(Peer::Upstream))),
                (true, false) => {
                    first.get_or_insert(Peer::Caller);
                    Poll::Pending
                }
                (false, true) => {
                    first.get_or_insert(Peer::Upstream);
                    Poll::Pending
                }
                (false, false) => Poll::Pending,
            }
        })
    }
}

/// Which side of a half is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    /// The side that is read.
    Source,
    /// The side that is written to.
    Sink,
}

impl Broken {
    fn whose(self, source: Peer) -> Peer {
        match (self, source) {
            (Broken::Source, peer) => peer,
            (Broken::Sink, Peer::Caller) => Peer::Upstream,
            (Broken::Sink, Peer::Upstream) => Peer::Caller,
        }
    }
}

/// One direction.
#[derive(Debug, Default)]
struct Half {
    /// Read and not taken yet: nothing more is read before it is gone.
    kept: Bytes,
    /// Written and perhaps still held by the stream itself.
    unflushed: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// The source has ended and the sink does not know yet.
    Ended,
    Done,
}

impl Half {
    /// Moves what can be moved now; ready once the sink knows that the source has ended.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        (source, sink): (&mut (impl AsyncRead + Unpin), &mut (impl AsyncWrite + Unpin)),
        scratch: &mut [u8],
        moved: &mut impl FnMut(u64),
    ) -> Poll<Result<(), Broken>> {
        loop {
            while !self.kept.is_empty() {
                let count = ready!(write(cx, sink, &self.kept))?;
                self.kept.advance(count);
                self.unflushed = true;
                moved(count as u64);
            }
            // An empty slice still holds on to what it was cut from.
            self.kept = Bytes::new();
            match self.state {
                State::Open => {
                    let mut buffer = ReadBuf::new(scratch);
                    match Pin::new(&mut *source).poll_read(cx, &mut buffer) {
                        Poll::Pending => {
                            ready!(self.flush(cx, sink))?;
                            return Poll::Pending;
                        }
                        Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Source)),
                        Poll::Ready(Ok(())) if buffer.filled().is_empty() => self.state = State::Ended,
                        Poll::Ready(Ok(())) => self.pass_on(cx, sink, buffer.filled(), moved)?,
                    }
                }
                State::Ended => {
                    ready!(self.flush(cx, sink))?;
                    let ended = ready!(Pin::new(&mut *sink).poll_shutdown(cx));
                    self.state = State::Done;
                    return Poll::Ready(ended.map_err(|_| Broken::Sink));
                }
                State::Done => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Writes what was read, and keeps what the sink does not take.
    fn pass_on(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut (impl AsyncWrite + Unpin),
        mut read: &[u8],
        moved: &mut impl FnMut(u64),
    ) -> Result<(), Broken> {
        while !read.is_empty() {
            match write(cx, sink, read) {
                Poll::Ready(count) => {
                    let count = count?;
                    read = &read[count..];
                    self.unflushed = true;
                    moved(count as u64);
                }
                Poll::Pending => {
                    self.kept = Bytes::copy_from_slice(read);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn flush(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<Result<(), Broken>> {
        if self.unflushed {
            ready!(Pin::new(sink).poll_flush(cx)).map_err(|_| Broken::Sink)?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

fn write(
    cx: &mut Context<'_>,
    sink: &mut (impl AsyncWrite + Unpin),
    bytes: &[u8],
) -> Poll<Result<usize, Broken>> {
    match ready!(Pin::new(sink).poll_write(cx, bytes)) {
        Ok(0) | Err(_) => Poll::Ready(Err(Broken::Sink)),
        Ok(count) => Poll::Ready(Ok(count)),
    }
}

#[cfg(test)]
mod tests;
