//! Serves a connection that is passed on whole: finds out where it goes, connects there, copies both ways.
//!
//! What is not passed on is reset, so that no caller takes it for a server that had nothing to say; only a TLS caller
//! whose server name nobody has is told so, by the alert for it. Where a connection goes is decided in
//! `decide/connection.rs`, and nothing here looks at its bytes but for the ClientHello, where that decides.

use std::{io, rc::Rc, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use outrigger_config::model::{Limits, TrafficSettings};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::Instant,
};

use super::{
    connection::closing,
    original_dst::Dialled,
    reach::{Reach, Reached},
    sni::{self, Hello, ServerName},
    stream::Stream,
    tls,
};
use crate::{
    decide::{self, ConnectionFacts, Heard, Opening, Silent},
    error::Failure,
    policy::mtls,
    runtime::opaque::ConnectionRule,
    telemetry::record::{Arrival, ConnectionRecord},
    tunnel::{Leg, Tunnel},
    upstream::io::Link,
    worker::Worker,
};

/// A fatal alert (RFC 8446 6.2) in a record of its own.
const fn fatal(description: u8) -> [u8; 7] {
    [21, 3, 3, 0, 2, 2, description]
}
/// Nobody has this name.
const UNRECOGNIZED_NAME: [u8; 7] = fatal(112);
/// Who calls here shows who it is; a person reads `certificate required`.
const CERTIFICATE_REQUIRED: [u8; 7] = fatal(116);

/// A caller's connection, as far as it has been read.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) io: Stream,
    pub(crate) link: Arc<Link>,
    pub(crate) arrival: Arrival,
    /// What was read to find out what it is: the first bytes for the upstream.
    pub(crate) read: Bytes,
}

/// What becomes of a connection, as the policy in force says.
pub(crate) fn opening(worker: &Worker, arrival: &Arrival, heard: Heard<'_>, dice: u64) -> Opening {
    let snapshot = worker.snapshot();
    if arrival.dialled == Dialled::Loop {
        let refused = Opening::Refuse { failure: Failure::Loop, rule: snapshot.egress_connections.clone() };
        return match heard {
            Heard::Nothing => Opening::Detect(Box::new(refused)),
            Heard::Tls(_) | Heard::Other => refused,
        };
    }
    let (original_destination, peer) = (arrival.dialled.original(), arrival.peer.ip());
    let identity = arrival.authenticated.as_ref().map(|peer| peer.id());
    let facts = ConnectionFacts { original_destination, peer, identity, heard, dice };
    decide::connection(&snapshot, arrival.listener.key, &facts, &mut Silent)
}

/// Serves one connection to its end; its first byte was not waited for.
pub(crate) async fn serve(worker: &Rc<Worker>, incoming: Incoming, opening: Opening, dice: u64) {
    match opening {
        Opening::ReadHello => {
            let accepted = incoming.arrival.accepted;
            serve_hello(worker, incoming, accepted, dice).await;
        }
        opening => pass(worker, incoming, opening, (Heard::Nothing, dice), None).await,
    }
}

/// Serves a connection whose ClientHello says where it goes, or that a proxy of the mesh calls; some of it may have been
/// read, and its first byte came after `since`. Gives back one that is for a port of HTTP, where it is no request.
pub(crate) async fn serve_hello(
    worker: &Rc<Worker>,
    mut incoming: Incoming,
    since: Instant,
    dice: u64,
) -> Option<Incoming> {
    let listener = incoming.arrival.listener.clone();
    let read = tokio::select! {
        biased;
        read = read_hello(&mut incoming, worker, since) => read,
        // Nothing is open yet that could be finished.
        () = closing(worker, &listener) => Err(io::ErrorKind::UnexpectedEof.into()),
    };
    if matches!(&read, Ok(hello) if hello.mesh) && tls::is_spoken(worker, &incoming.arrival) {
        tls::serve(worker, incoming, since).await;
        return None;
    }
    let heard = match &read {
        Ok(hello) => Heard::Tls(hello.name.as_ref().map(ServerName::as_str)),
        Err(_) => Heard::Other,
    };
    match opening(worker, &incoming.arrival, heard, dice) {
        Opening::Http | Opening::ReadHello | Opening::Detect(_) | Opening::Await(_) => Some(incoming),
        opening => {
            pass(worker, incoming, opening, (heard, dice), None).await;
            None
        }
    }
}

/// Reads until the ClientHello is whole.
async fn read_hello(incoming: &mut Incoming, worker: &Worker, since: Instant) -> io::Result<Hello> {
    let timer = worker.deadlines.at(since + worker.snapshot().mesh.limits.header_timeout);
    let mut reader = sni::Reader::new();
    let mut read = BytesMut::from(&*incoming.read);
    let mut fed = 0;
    let result = loop {
        match reader.feed(&read[fed..]) {
            sni::Verdict::Hello(hello) => break Ok(hello),
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

/// Passes a connection on as it was decided; over `reached`, if it was not waited for the decision to connect.
pub(super) async fn pass(
    worker: &Rc<Worker>,
    mut incoming: Incoming,
    opening: Opening,
    (heard, dice): (Heard<'_>, u64),
    reached: Option<Result<Reached, Failure>>,
) {
    let (passage, rule) = match opening {
        Opening::Pass(passage) => (Ok(passage.clone()), passage.rule),
        Opening::Refuse { failure, rule } => (Err(failure), rule),
        // Whoever calls has answered these.
        Opening::Http | Opening::ReadHello | Opening::Detect(_) | Opening::Await(_) => return,
    };
    let anonymous = matches!(passage, Err(Failure::NoIdentity));
    let mut record = recorded(worker, &incoming.arrival, (&rule, anonymous), (heard, dice));
    let mut tried = Vec::new();
    let reached = match (&passage, reached) {
        (Ok(_), Some(reached)) => reached,
        (Ok(passage), None) => {
            let gone = incoming.link.failed();
            let reach = Reach { worker, passage, peer: incoming.arrival.peer, heard, dice };
            tokio::select! {
                biased;
                reached = reach.run(&mut tried) => reached,
                () = gone => Err(Failure::DownstreamGone),
            }
        }
        (Err(failure), _) => Err(*failure),
    };
    let ways = reached.as_ref().map_or(&tried, |reached| &reached.tried);
    ways.iter().for_each(|upstream| record.attempted(*upstream));
    let reached = match reached {
        Ok(reached) => reached,
        Err(failure) => {
            refuse(&mut incoming, failure, heard).await;
            return record.refused(failure);
        }
    };
    let who = mtls::Anonymous::of(&incoming.arrival);
    let caller = Leg::new(incoming.io, Some(incoming.link));
    let Reached { connected, picked, .. } = reached;
    let upstream = Leg::new(connected.stream, Some(connected.link));
    let tunnel = Tunnel::new(caller, upstream).after(incoming.read);
    let idle = idle(&rule.settings, &worker.snapshot().mesh.limits);
    let end = tokio::select! {
        biased;
        end = tunnel.run(idle, &worker.deadlines, |from, bytes| record.moved(from, bytes)) => Some(end),
        () = mtls::refuses(worker, who) => None,
    };
    // Both count the connection as open until here.
    drop((connected.counted, picked));
    match end {
        Some(end) => record.ended(end),
        None => record.refused(Failure::NoIdentity),
    }
}

/// The record of a connection that is passed on, or refused because its caller is `anonymous`.
fn recorded(
    worker: &Rc<Worker>,
    arrival: &Arrival,
    (rule, anonymous): (&Arc<ConnectionRule>, bool),
    (heard, dice): (Heard<'_>, u64),
) -> ConnectionRecord {
    let snapshot = worker.snapshot();
    let (logged, tracing) = (snapshot.mesh.access_log.is_some(), snapshot.tracing);
    mtls::count_on(rule.security.as_deref(), worker.id, (arrival.authenticated.is_some(), anonymous));
    let mut record = ConnectionRecord::open(worker, arrival, (rule, dice), logged, tracing);
    if let Heard::Tls(name) = heard {
        record.hello(name);
    }
    record
}

/// Ends a connection that goes nowhere.
async fn refuse(incoming: &mut Incoming, failure: Failure, heard: Heard<'_>) {
    match told(failure, heard) {
        Some((alert, _)) => {
            // The caller may be gone already.
            let _ = incoming.io.write_all(&alert).await;
            let _ = incoming.io.shutdown().await;
        }
        None => incoming.link.reset_on_close(),
    }
}

/// By which alert of its own, and of which name, a caller of TLS is told why it is refused: nobody has the name that it
/// asked for, or it must show who it is.
pub(crate) fn told(failure: Failure, heard: Heard<'_>) -> Option<([u8; 7], &'static str)> {
    match (failure, heard) {
        (Failure::NoRoute | Failure::NoService, Heard::Tls(_)) => {
            Some((UNRECOGNIZED_NAME, "the alert unrecognized_name"))
        }
        (Failure::NoIdentity, Heard::Tls(_)) => {
            Some((CERTIFICATE_REQUIRED, "the alert certificate_required"))
        }
        _ => None,
    }
}

/// How long a connection may be quiet: what policy says, or as long as any connection may.
pub(crate) fn idle(settings: &TrafficSettings, limits: &Limits) -> Option<Duration> {
    let timeouts = &settings.timeouts;
    match timeouts.stream_idle {
        Some(_) if !timeouts.stream_idle_set => Some(limits.connection_idle),
        written => written,
    }
}
