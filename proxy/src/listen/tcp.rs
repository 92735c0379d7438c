//! Serves a connection that is passed on whole: finds out where it goes, connects there, copies both ways.
//!
//! What is not passed on is reset, so that no caller takes it for a server that had nothing to say; only a TLS caller
//! whose server name nobody has is told so, by the alert for it. Where a connection goes is decided in
//! `decide/connection.rs`, and nothing here looks at its bytes but for the ClientHello, where that decides.

use std::{io, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use outrigger_config::model::{AppProtocol, Limits, TrafficSettings};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::Instant,
};

use super::{
    accept::Accepted,
    connection::closing,
    sni::{self, ServerName},
};
use crate::{
    balance::Verdict,
    decide::{self, ConnectionFacts, Dice, Heard, Opening, PassTo, Passage, Purpose, Silent},
    egress,
    error::Failure,
    policy::target::{Picked, Target, Wish},
    runtime::snapshot::ListenerKey,
    telemetry::{
        metrics::{AttemptOutcome, RetryReason},
        record::{Arrival, ConnectionRecord},
    },
    tunnel::{Leg, Tunnel},
    upstream::{
        attempt::Plan,
        connect::{self, Connected},
        io::{Link, MeteredIo},
    },
    worker::Worker,
};

/// Endpoints that are tried for one connection where the first cannot be reached. Nothing has been sent yet, so this
/// repeats no work.
const MOST_ENDPOINTS: usize = 4;

/// A fatal alert `unrecognized_name` (RFC 8446 6.2) in a record of its own.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// A caller's connection, as far as it has been read.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) io: MeteredIo,
    pub(crate) link: Arc<Link>,
    pub(crate) arrival: Arrival,
    /// What was read to find out what it is: the first bytes for the upstream.
    pub(crate) read: Bytes,
}

/// What becomes of a connection of `listener`, as the policy in force says.
pub(crate) fn opening(
    worker: &Worker,
    listener: ListenerKey,
    peer: SocketAddr,
    (heard, dice): (Heard<'_>, u64),
) -> Opening {
    // Callers dial us: nothing redirects them.
    let facts = ConnectionFacts { original_destination: None, peer: peer.ip(), heard, dice };
    decide::connection(&worker.snapshot(), listener, &facts, &mut Silent)
}

/// Serves one connection to its end; its first byte was not waited for.
pub(crate) async fn serve(worker: Rc<Worker>, accepted: Accepted, opening: Opening, dice: u64) {
    let Accepted { stream, peer, listener, seat } = accepted;
    let arrival = Arrival { listener: listener.clone(), peer, accepted: Instant::now() };
    let Ok(stream) = TcpStream::from_std(stream) else { return };
    listener.metrics.connection_opened(worker.id);
    let (io, link) = MeteredIo::new(stream);
    let incoming = Incoming { io, link, arrival, read: Bytes::new() };
    match opening {
        Opening::ReadHello => {
            let until = incoming.arrival.accepted + worker.snapshot().mesh.limits.header_timeout;
            serve_hello(&worker, incoming, until, dice).await;
        }
        opening => pass(&worker, incoming, opening, Heard::Nothing, dice).await,
    }
    // Who sees the connection counted as closed finds its place free.
    drop(seat);
    listener.metrics.connection_closed(worker.id);
}

/// Serves a connection whose ClientHello says where it goes; some of it may have been read. Gives back one that is for
/// a port of HTTP, where it is no request.
pub(crate) async fn serve_hello(
    worker: &Rc<Worker>,
    mut incoming: Incoming,
    until: Instant,
    dice: u64,
) -> Option<Incoming> {
    let listener = incoming.arrival.listener.clone();
    let read = tokio::select! {
        biased;
        read = read_hello(&mut incoming, worker, until) => read,
        // Nothing is open yet that could be finished.
        () = closing(worker, &listener) => Err(io::ErrorKind::UnexpectedEof.into()),
    };
    let heard = match &read {
        Ok(name) => Heard::Tls(name.as_ref().map(ServerName::as_str)),
        Err(_) => Heard::Other,
    };
    match opening(worker, listener.key, incoming.arrival.peer, (heard, dice)) {
        Opening::Http | Opening::ReadHello => Some(incoming),
        opening => {
            pass(worker, incoming, opening, heard, dice).await;
            None
        }
    }
}

/// Reads until the ClientHello is whole.
async fn read_hello(
    incoming: &mut Incoming,
    worker: &Worker,
    until: Instant,
) -> io::Result<Option<ServerName>> {
    let timer = worker.deadlines.at(until);
    let mut reader = sni::Reader::new();
    let mut read = BytesMut::from(&*incoming.read);
    let mut fed = 0;
    let result = loop {
        match reader.feed(&read[fed..]) {
            sni::Verdict::Hello(name) => break Ok(name),
            sni::Verdict::Malformed => break Err(io::ErrorKind::InvalidData.into()),
            sni::Verdict::NeedMore => fed = read.len(),
        }
        let count = tokio::select! {
            biased;
            count = incoming.io.read_buf(&mut read) => count,
            () = timer.expired() => break Err(io::ErrorKind::TimedOut.into()),
        };
        match count {
            Ok(0) => break Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) => break Err(error),
        }
    };
    incoming.read = read.freeze();
    result
}

/// Passes a connection on as it was decided.
async fn pass(worker: &Rc<Worker>, mut incoming: Incoming, opening: Opening, heard: Heard<'_>, dice: u64) {
    let snapshot = worker.snapshot();
    let (limits, logged) = (snapshot.mesh.limits.clone(), snapshot.mesh.access_log.is_some());
    let tracing = snapshot.tracing;
    drop(snapshot);
    let (passage, rule) = match opening {
        Opening::Pass(passage) => (Ok(passage.clone()), passage.rule),
        Opening::Refuse { failure, rule } => (Err(failure), rule),
        // Whoever calls has answered these.
        Opening::Http | Opening::ReadHello => return,
    };
    let mut record = ConnectionRecord::open(worker, &incoming.arrival, (&rule, dice), logged, tracing);
    if let Heard::Tls(name) = heard {
        record.hello(name);
    }
    let reached = match &passage {
        Ok(passage) => {
            let gone = incoming.link.failed();
            tokio::select! {
                biased;
                reached = reach(worker, passage, (heard, dice), &mut record) => reached,
                () = gone => Err(Failure::DownstreamGone),
            }
        }
        Err(failure) => Err(*failure),
    };
    let reached = match reached {
        Ok(reached) => reached,
        Err(failure) => {
            refuse(&mut incoming, failure, heard).await;
            return record.refused(failure);
        }
    };
    let caller = Leg::new(incoming.io, Some(incoming.link));
    let Reached { connected, picked } = reached;
    let upstream = Leg::new(connected.stream, Some(connected.link));
    let tunnel = Tunnel::new(caller, upstream).after(incoming.read);
    let idle = idle(&rule.settings, &limits);
    let end = tunnel.run(idle, &worker.deadlines, |from, bytes| record.moved(from, bytes)).await;
    // Both count the connection as open until here.
    drop((connected.counted, picked));
    record.ended(end);
}

/// A connection to the other side, and the endpoint that it was made to.
struct Reached {
    connected: Connected,
    picked: Picked,
}

/// Connects to an endpoint, and to another one where that cannot be reached.
async fn reach(
    worker: &Rc<Worker>,
    passage: &Passage,
    (heard, dice): (Heard<'_>, u64),
    record: &mut ConnectionRecord,
) -> Result<Reached, Failure> {
    let backend = passage.backend();
    let address = |addr| Target::Address { addr, protocol: AppProtocol::Tcp, backend: backend.clone() };
    let target = match &passage.to {
        PassTo::Backend(_) => Target::Service(backend.clone()),
        PassTo::Address { address: addr, log } => {
            egress::tell(*log, record.peer(), addr.ip(), addr.port());
            address(*addr)
        }
        PassTo::Host { host, port, log } => {
            egress::tell(*log, record.peer(), host, *port);
            address(egress::look_up(worker, host, *port).await?)
        }
    };
    let plan = Plan {
        metrics: &backend.metrics,
        protocol: AppProtocol::Tcp,
        switch: None,
        tls: passage.tls(heard),
        connect: passage.rule.settings.timeouts.connect,
        repeatable: true,
    };
    let mut tried = Vec::new();
    loop {
        let made = tried.len() as u32;
        let purpose = Purpose::Endpoint { attempt: made };
        let wish = Wish { tried: &tried, stay: None };
        let picked = target.pick(worker, wish, &mut Dice::split(dice, purpose))?;
        record.attempted(picked.addr);
        let started = Instant::now();
        let connected = connect::connect(worker, picked.addr, plan).await;
        let elapsed = started.elapsed();
        let failure = match connected {
            Ok(connected) => {
                picked.observe(elapsed);
                picked.tell(Verdict::Whole);
                backend.metrics.attempt(worker.id, AttemptOutcome::Success, elapsed);
                return Ok(Reached { connected, picked });
            }
            Err(error) => error.failure,
        };
        picked.tell(Verdict::LocalError);
        backend.metrics.attempt(worker.id, connect::outcome(failure), elapsed);
        tried.push(picked.addr);
        if tried.len() == MOST_ENDPOINTS || !target.has_other(&tried) {
            return Err(failure);
        }
        backend.metrics.retry(worker.id, RetryReason::ConnectFailure);
    }
}

/// Ends a connection that goes nowhere.
async fn refuse(incoming: &mut Incoming, failure: Failure, heard: Heard<'_>) {
    if is_told(failure, heard) {
        // The caller may be gone already.
        let _ = incoming.io.write_all(&UNRECOGNIZED_NAME).await;
        let _ = incoming.io.shutdown().await;
    } else {
        incoming.link.reset_on_close();
    }
}

/// Whether the caller is told, by TLS's own alert, that nobody has the name that it asked for.
pub(crate) fn is_told(failure: Failure, heard: Heard<'_>) -> bool {
    matches!(failure, Failure::NoRoute | Failure::NoService) && matches!(heard, Heard::Tls(_))
}

/// How long a connection may be quiet: what policy says, or as long as any connection may.
pub(crate) fn idle(settings: &TrafficSettings, limits: &Limits) -> Option<Duration> {
    let timeouts = &settings.timeouts;
    match timeouts.stream_idle {
        Some(_) if !timeouts.stream_idle_set => Some(limits.connection_idle),
        written => written,
    }
}
