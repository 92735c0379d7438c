//! A redirected connection of which nobody has declared what it speaks: HTTP if its first bytes say so, passed on whole if
//! not.
//!
//! Whoever speaks first decides. A caller that says nothing for a moment may be waiting for the server, so the connection
//! is made that passing it on needs, and both sides are listened to: protocols in which the server speaks first lose no more than
//! that moment, and a caller that keeps an HTTP connection in store is still heard when it has a request. Only a first word that
//! is begun and not finished has a time limit. What bytes mean is judged in `sniff.rs`; where they go was decided before.

use std::{io, rc::Rc, time::Duration};

use bytes::BytesMut;
use tokio::{io::AsyncReadExt as _, time::Instant};

use super::{
    connection::closing,
    detect, http,
    reach::{Reach, Reached},
    sniff::{self, Verdict},
    tcp::{self, Incoming},
    tls,
};
use crate::{
    decide::{Heard, Opening},
    error::Failure,
    telemetry::metrics::Detected,
    worker::Worker,
};

/// A caller that speaks first has begun by then: one that is an app beside this proxy, or one whose first bytes came with
/// the last of its handshake. Dialling at once would make a connection in vain for every one of HTTP.
const MOMENT: Duration = Duration::from_millis(10);

/// The first byte of a ClientHello, as of every handshake record.
const CLIENT_HELLO: u8 = 22;

/// What was heard.
struct Heeded {
    detected: Detected,
    /// When the caller's first byte came.
    since: Instant,
    /// The other side, where it was dialled meanwhile.
    reached: Option<Result<Reached, Failure>>,
}

/// Serves one connection to its end. It comes to `otherwise` if it does not carry HTTP.
pub(crate) async fn serve(worker: Rc<Worker>, mut incoming: Incoming, otherwise: Opening, dice: u64) {
    let listener = incoming.arrival.listener.clone();
    let heeded = tokio::select! {
        biased;
        heeded = heed(&worker, &mut incoming, (&otherwise, dice), Declared::Nothing) => heeded,
        // Nothing is open yet that could be finished.
        () = closing(&worker, &listener) => return,
    };
    let Some(Heeded { detected, since, reached }) = heeded else { return };
    if let Some(address) = incoming.arrival.dialled.original() {
        worker.metrics.detected(listener.side, address.port(), detected);
    }
    match detected {
        Detected::Http1 => http::serve_as(worker, incoming, Ok(detect::Verdict::Http1), since).await,
        Detected::Http2 => http::serve_as(worker, incoming, Ok(detect::Verdict::Http2), since).await,
        Detected::Tls => {
            // The name in it is for the log, unless policy has come meanwhile that asks for it.
            drop(reached);
            tcp::serve_hello(&worker, incoming, since, dice).await;
        }
        Detected::Other | Detected::Timeout | Detected::ServerFirst | Detected::Closed => {
            let otherwise = of_now(&worker, &incoming, otherwise, dice);
            tcp::pass(&worker, incoming, otherwise, (Heard::Other, dice), reached).await;
        }
    }
}

/// The same where it is declared that bytes are passed on whole, and a proxy of the mesh may call, whose ClientHello is
/// waited for.
pub(crate) async fn serve_opaque(worker: Rc<Worker>, mut incoming: Incoming, otherwise: Opening, dice: u64) {
    let listener = incoming.arrival.listener.clone();
    let heeded = tokio::select! {
        biased;
        heeded = heed(&worker, &mut incoming, (&otherwise, dice), Declared::Opaque) => heeded,
        () = closing(&worker, &listener) => return,
    };
    let Some(Heeded { detected, since, reached }) = heeded else { return };
    if detected == Detected::Tls {
        drop(reached);
        tcp::serve_hello(&worker, incoming, since, dice).await;
        return;
    }
    let otherwise = of_now(&worker, &incoming, otherwise, dice);
    tcp::pass(&worker, incoming, otherwise, (Heard::Other, dice), reached).await;
}

/// What becomes of an anonymous connection that has been silent for a while: whether it is refused is what policy says
/// by now.
fn of_now(worker: &Worker, incoming: &Incoming, before: Opening, dice: u64) -> Opening {
    let is_refused =
        |opening: &Opening| matches!(opening, Opening::Refuse { failure: Failure::NoIdentity, .. });
    match tcp::opening(worker, &incoming.arrival, Heard::Other, dice) {
        now if is_refused(&now) || is_refused(&before) => now,
        _ => before,
    }
}

/// What is declared of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Declared {
    Nothing,
    /// It is passed on whole, unless a proxy of the mesh calls.
    Opaque,
}

impl Declared {
    fn sniff(self, bytes: &[u8]) -> Verdict {
        match (self, bytes) {
            (Self::Opaque, [first, ..]) if *first != CLIENT_HELLO => Verdict::Other,
            _ => sniff::sniff(bytes),
        }
    }
}

/// Listens until somebody has said enough; `None`: the caller is gone, or has been quiet for too long.
async fn heed(
    worker: &Rc<Worker>,
    incoming: &mut Incoming,
    (otherwise, dice): (&Opening, u64),
    declared: Declared,
) -> Option<Heeded> {
    let mut read = BytesMut::with_capacity(4096);
    let moment = worker.deadlines.after(MOMENT);
    let first = tokio::select! {
        biased;
        first = incoming.io.read_buf(&mut read) => Some(first),
        () = moment.expired() => None,
    };
    let (first, reached) = match first {
        Some(first) => (First::Caller(first), None),
        None => both(worker, incoming, otherwise, (&mut read, dice)).await,
    };
    let since = Instant::now();
    let detected = match first {
        First::Nobody | First::Caller(Err(_)) => return None,
        First::Server => Detected::ServerFirst,
        First::Caller(Ok(0)) => Detected::Closed,
        First::Caller(Ok(_)) => told(worker, incoming, &mut read, declared).await,
    };
    incoming.read = read.freeze();
    Some(Heeded { detected, since, reached })
}

/// Who spoke first.
enum First {
    Caller(io::Result<usize>),
    /// The other side has spoken, or ended, or could not be reached.
    Server,
    Nobody,
}

/// Connects to the other side, if there is one, and listens to both.
async fn both(
    worker: &Rc<Worker>,
    incoming: &mut Incoming,
    otherwise: &Opening,
    (read, dice): (&mut BytesMut, u64),
) -> (First, Option<Result<Reached, Failure>>) {
    let limits = worker.snapshot().mesh.limits.clone();
    let (passage, patience) = match otherwise {
        Opening::Pass(passage) => (Some(passage), limits.connection_idle),
        _ => (None, limits.header_timeout),
    };
    let patience = worker.deadlines.after(patience);
    let held_until = incoming.arrival.accepted + limits.detect_timeout;
    let hold = tls::is_spoken(worker, &incoming.arrival).then(|| worker.deadlines.at(held_until));
    let (peer, link) = (incoming.arrival.peer, incoming.link.clone());
    let mut reached = None;
    let server = async {
        let Some(passage) = passage else { return std::future::pending().await };
        let reach = Reach { worker, passage, peer, heard: Heard::Other, dice };
        let made = reach.run(&mut Vec::new()).await;
        let far = made.as_ref().ok().map(|made| made.connected.link.clone());
        reached = Some(made);
        if let Some(far) = far {
            far.readable().await;
        }
        // A proxy of the mesh never gets the greeting in plaintext: it is held for as long as one may take to speak.
        if let Some(hold) = &hold {
            hold.expired().await;
        }
    };
    let first = tokio::select! {
        biased;
        count = incoming.io.read_buf(read) => First::Caller(count),
        () = server => First::Server,
        () = link.failed() => First::Nobody,
        () = patience.expired() => First::Nobody,
    };
    (first, reached)
}

/// Reads on until the caller's first bytes tell what they are, for as long as they may take.
async fn told(worker: &Worker, incoming: &mut Incoming, read: &mut BytesMut, declared: Declared) -> Detected {
    let timer = worker.deadlines.after(worker.snapshot().mesh.limits.detect_timeout);
    loop {
        match declared.sniff(read) {
            Verdict::Http1 => return Detected::Http1,
            Verdict::Http2 => return Detected::Http2,
            Verdict::Tls => return Detected::Tls,
            Verdict::Other => return Detected::Other,
            Verdict::NeedMore => {}
        }
        let count = tokio::select! {
            biased;
            count = incoming.io.read_buf(read) => count,
            () = timer.expired() => return Detected::Timeout,
        };
        // What came is passed on, and then the end, or the failure, that came after it.
        if !matches!(count, Ok(1..)) {
            return Detected::Other;
        }
    }
}
