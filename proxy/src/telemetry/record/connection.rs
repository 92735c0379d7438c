//! What one connection that is passed on whole came to: counted and logged once, when it has ended.
//!
//! As with requests, `Drop` writes it: when the grace of a drain is over, open connections are dropped and no other
//! code runs.

use std::{net::SocketAddr, rc::Rc, sync::Arc, time::SystemTime};

use tokio::time::Instant;

use crate::{
    error::Failure,
    identity::Peer,
    listen::{Listener, original_dst::Dialled},
    runtime::opaque::ConnectionRule,
    telemetry::{
        access_log::ConnectionEntry,
        metrics::Direction,
        trace::{Ended, FinishedPassage, Passed, PassedEnd, Tracing},
    },
    tunnel::{self, End},
    worker::Worker,
};

/// One connection's entry in metrics and log.
#[derive(Debug)]
pub(crate) struct ConnectionRecord {
    worker: Rc<Worker>,
    listener: Arc<Listener>,
    peer: SocketAddr,
    authenticated: Option<Rc<Peer>>,
    named_port: Option<u16>,
    rule: Arc<ConnectionRule>,
    accepted: Instant,
    server_name: Option<Box<str>>,
    tls: bool,
    bytes_in: u64,
    bytes_out: u64,
    attempts: u32,
    upstream: Option<SocketAddr>,
    failure: Option<Failure>,
    complete: bool,
    dice: u64,
    logged: bool,
    /// What becomes a span.
    trace: Option<Passed>,
}

/// Who connected, where and when.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) listener: Arc<Listener>,
    pub(crate) peer: SocketAddr,
    /// Who the caller has proved to be; `None`: it is anonymous.
    pub(crate) authenticated: Option<Rc<Peer>>,
    /// The port that the caller's proxy says it has dialled.
    pub(crate) named_port: Option<u16>,
    pub(crate) dialled: Dialled,
    pub(crate) accepted: Instant,
}

impl ConnectionRecord {
    /// Opens the record of a connection that the rule has taken, and what drove the choice; `logged` where there is an access log.
    pub(crate) fn open(
        worker: &Rc<Worker>,
        arrival: &Arrival,
        (rule, dice): (&Arc<ConnectionRule>, u64),
        logged: bool,
        tracing: Option<Tracing>,
    ) -> Self {
        rule.metrics.begun(worker.id);
        Self {
            worker: worker.clone(),
            listener: arrival.listener.clone(),
            peer: arrival.peer,
            authenticated: arrival.authenticated.clone(),
            named_port: arrival.named_port,
            rule: rule.clone(),
            accepted: arrival.accepted,
            server_name: None,
            tls: false,
            bytes_in: 0,
            bytes_out: 0,
            attempts: 0,
            upstream: None,
            failure: None,
            complete: false,
            dice,
            logged,
            trace: tracing.and_then(|tracing| tracing.passed(arrival.accepted)),
        }
    }

    /// The caller sent a ClientHello, with this server name.
    pub(crate) fn hello(&mut self, server_name: Option<&str>) {
        self.tls = true;
        self.server_name = server_name.map(Into::into);
    }

    /// An endpoint is tried.
    pub(crate) fn attempted(&mut self, upstream: SocketAddr) {
        self.attempts += 1;
        self.upstream = Some(upstream);
    }

    /// Bytes were passed on.
    pub(crate) fn moved(&mut self, from: tunnel::Peer, bytes: u64) {
        let (sum, direction) = match from {
            tunnel::Peer::Caller => (&mut self.bytes_in, Direction::In),
            tunnel::Peer::Upstream => (&mut self.bytes_out, Direction::Out),
        };
        *sum += bytes;
        self.rule.metrics.moved(self.worker.id, direction, bytes);
    }

    /// The connection is ended by the proxy.
    pub(crate) fn refused(mut self, failure: Failure) {
        self.failure = Some(failure);
        self.complete = true;
    }

    /// The connection has ended.
    pub(crate) fn ended(mut self, end: End) {
        self.failure = match end {
            End::Closed(_) => None,
            End::Reset(tunnel::Peer::Caller) => Some(Failure::DownstreamGone),
            End::Reset(tunnel::Peer::Upstream) => Some(Failure::UpstreamCut),
            End::Idle => Some(Failure::StreamIdle),
        };
        self.complete = true;
    }

    /// What its span says of its end.
    fn end(&mut self, ended: Instant) -> PassedEnd {
        PassedEnd {
            ended,
            side: self.listener.side,
            peer: self.peer,
            local: self.listener.bound,
            rule: self.rule.clone(),
            server_name: self.server_name.take(),
            upstream: self.upstream,
            attempts: self.attempts,
            failure: self.failure,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
        }
    }

    fn log(&self, now: Instant) {
        let form = self.failure.map(Failure::form);
        let duration = now.duration_since(self.accepted);
        self.worker.log.log_connection(&ConnectionEntry {
            time: SystemTime::now().checked_sub(duration).unwrap_or(SystemTime::UNIX_EPOCH),
            side: self.listener.side,
            listener: &self.listener.label,
            peer: self.peer,
            peer_identity: self.authenticated.as_ref().map(|peer| peer.id().as_str()),
            named_port: self.named_port,
            protocol: if self.tls { "TLS" } else { "TCP" },
            server_name: self.server_name.as_deref(),
            flag: form.map(|form| form.flag),
            reason: form.map(|form| form.reason),
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            duration,
            attempts: self.attempts,
            upstream: self.upstream,
            service: &self.rule.service,
            route: &self.rule.route,
            trace_id: self.trace.as_ref().map(Passed::id),
            dice: self.dice,
        });
    }
}

impl Drop for ConnectionRecord {
    fn drop(&mut self) {
        if !self.complete {
            let why = if std::thread::panicking() { Failure::Internal } else { Failure::Drained };
            self.failure = Some(why);
        }
        let now = Instant::now();
        let flag = self.failure.map(|failure| failure.form().flag);
        self.rule.metrics.ended(self.worker.id, flag, now.duration_since(self.accepted));
        if self.logged {
            self.log(now);
        }
        if let Some(passed) = self.trace.take() {
            let end = self.end(now);
            self.worker.spans.push(Ended::Connection(Box::new(FinishedPassage { passed, end })));
        }
    }
}
