//! What one request came to: counted and logged once, when its answer has ended or its caller is gone.
//!
//! A record is made with the request and rides on the answer's body. Its `Drop` writes it: a caller that goes away ends
//! a request by dropping it, and no other code runs then. This and that of `connection.rs` are the only `Drop`s in the
//! product that do more than release and count.

mod connection;

pub(crate) use connection::{Arrival, ConnectionRecord};

use std::{net::SocketAddr, rc::Rc, sync::Arc, time::SystemTime};

use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version, header::HOST, request::Parts};
use outrigger_config::SpiffeId;
use tokio::time::Instant;

use super::{
    access_log::Entry,
    metrics::FallbackKind,
    trace::{End, Ended, Trace},
};
use crate::{
    body::Flow,
    error::{Failure, Flag},
    listen::connection::Connection,
    request::forwarded::REQUEST_ID,
    runtime::snapshot::Rule,
};

/// One request's entry in metrics and log.
#[derive(Debug)]
pub(crate) struct Record {
    connection: Rc<Connection>,
    flow: Rc<Flow>,
    started: Instant,
    rule: Option<Arc<Rule>>,
    status: StatusCode,
    grpc_status: Option<u32>,
    failure: Option<Failure>,
    fallback: Option<FallbackKind>,
    /// It was delayed on purpose.
    delayed: bool,
    /// No body can follow this answer, so the server drops it unread.
    bodyless: bool,
    complete: bool,
    attempts: u32,
    upstream: Option<SocketAddr>,
    /// What becomes spans.
    pub(crate) trace: Trace,
    /// Only where there is an access log.
    line: Option<Box<Line>>,
}

/// What the access log says of a request's head; cheap copies, made before policy changes it.
#[derive(Debug)]
struct Line {
    time: SystemTime,
    method: Method,
    uri: Uri,
    host: Option<HeaderValue>,
    version: Version,
    request_id: Option<HeaderValue>,
    dice: Option<u64>,
}

impl Record {
    /// Opens the record of a request whose head is complete; `logged` where there is an access log.
    pub(crate) fn open(connection: &Rc<Connection>, head: &Parts, flow: &Rc<Flow>, logged: bool) -> Self {
        let line = logged.then(|| {
            Box::new(Line {
                time: SystemTime::now(),
                method: head.method.clone(),
                uri: head.uri.clone(),
                host: head.headers.get(HOST).cloned(),
                version: head.version,
                request_id: None,
                dice: None,
            })
        });
        Self {
            connection: connection.clone(),
            flow: flow.clone(),
            started: flow.touched.get(),
            rule: None,
            status: StatusCode::OK,
            grpc_status: None,
            failure: None,
            fallback: None,
            delayed: false,
            bodyless: head.method == Method::HEAD,
            complete: false,
            attempts: 0,
            upstream: None,
            trace: Trace::Pass,
            line,
        }
    }

    /// The rule under which the request counts, and what drove the choice.
    pub(crate) fn ruled(&mut self, rule: &Arc<Rule>, headers: &HeaderMap, dice: u64) {
        rule.metrics.opened(self.connection.worker.id);
        self.rule = Some(rule.clone());
        self.trace.named(headers);
        if let Some(line) = &mut self.line {
            line.request_id = headers.get(REQUEST_ID).cloned();
            line.dice = Some(dice);
        }
    }

    /// It is delayed on purpose.
    pub(crate) fn delayed(&mut self) {
        self.delayed = true;
    }

    /// The flag of its failure, or that it was delayed on purpose.
    fn flag(&self) -> Option<Flag> {
        let flag = self.failure.map(|failure| failure.form().flag);
        flag.or(self.delayed.then_some(Flag::DI))
    }

    /// What its attempts came to.
    pub(crate) fn attempted(&mut self, made: u32, upstream: Option<SocketAddr>) {
        self.attempts = made;
        self.upstream = upstream;
    }

    /// The answer's head.
    pub(crate) fn answered(&mut self, status: StatusCode, headers: &HeaderMap) {
        self.status = status;
        self.trace.answered(status);
        self.trailers(headers);
        self.bodyless |= matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    }

    /// The proxy answers itself.
    pub(crate) fn refused(&mut self, failure: Failure, grpc: bool) {
        let form = failure.form();
        self.status = form.status;
        self.trace.answered(if grpc { StatusCode::OK } else { form.status });
        self.grpc_status = grpc.then_some(u32::from(form.grpc));
        self.failure = Some(failure);
    }

    /// Something else stands for the Service's answer, because of this failure if it is one of the proxy's own.
    pub(crate) fn fell_back(&mut self, kind: FallbackKind, failure: Option<Failure>) {
        self.fallback = Some(kind);
        self.failure = failure;
    }

    /// Looks for a gRPC status among trailers, or in the head of an answer without a body.
    pub(crate) fn trailers(&mut self, fields: &HeaderMap) {
        if let Some(value) = fields.get("grpc-status") {
            self.grpc_status = value.to_str().ok().and_then(|code| code.parse().ok());
        }
    }

    /// The caller will not see the answer's trailers.
    pub(crate) fn trailers_lost(&self) {
        self.connection.worker.metrics.trailers_dropped();
    }

    /// The answer has ended as it should.
    pub(crate) fn complete(mut self) {
        self.complete = true;
    }

    /// The answer has ended early.
    pub(crate) fn broke(mut self, failure: Failure) {
        self.failure = Some(failure);
        self.complete = true;
    }

    fn log(&self, line: &Line, elapsed: std::time::Duration) {
        let form = self.failure.map(Failure::form);
        let authority = line.uri.authority().map(|authority| authority.as_str().as_bytes());
        self.connection.worker.log.log(&Entry {
            time: line.time,
            side: self.connection.listener.side,
            listener: &self.connection.listener.label,
            peer: Some(self.connection.peer),
            peer_identity: self.connection.identity().map(SpiffeId::as_str),
            method: line.method.as_str(),
            authority: authority.or(line.host.as_ref().map(HeaderValue::as_bytes)).unwrap_or_default(),
            // A CONNECT has none.
            path: match line.uri.path_and_query() {
                Some(path) => path.as_str().as_bytes(),
                None if line.method == Method::CONNECT => b"",
                None => b"/",
            },
            protocol: match line.version {
                Version::HTTP_10 => "HTTP/1.0",
                Version::HTTP_2 => "HTTP/2",
                _ => "HTTP/1.1",
            },
            status: self.status.as_u16(),
            grpc_status: self.grpc_status,
            flag: self.flag(),
            reason: form.map(|form| form.reason),
            fallback: self.fallback.map(FallbackKind::as_str),
            bytes_in: self.flow.bytes_in.get(),
            bytes_out: self.flow.bytes_out.get(),
            duration: elapsed,
            attempts: self.attempts,
            upstream: self.upstream,
            service: self.rule.as_ref().map(|rule| &*rule.service).filter(|name| !name.is_empty()),
            route: self.rule.as_ref().map(|rule| &*rule.route).filter(|name| !name.is_empty()),
            request_id: line.request_id.as_ref().map(HeaderValue::as_bytes),
            trace_id: self.trace.id(),
            dice: line.dice,
        });
    }

    /// What spans say of the request's end.
    fn end(&mut self, ended: Instant) -> End {
        End {
            ended,
            side: self.connection.listener.side,
            peer: self.connection.peer,
            local: self.connection.listener.bound,
            rule: self.rule.take(),
            grpc_status: self.grpc_status,
            failure: self.failure,
            bytes_in: self.flow.bytes_in.get(),
            bytes_out: self.flow.bytes_out.get(),
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let connection = &self.connection;
        let now = Instant::now();
        connection.watch.borrow_mut().answer_done(now.into_std());
        if !self.complete && !self.bodyless {
            let why = if std::thread::panicking() { Failure::Internal } else { Failure::DownstreamGone };
            self.failure = Some(why);
            self.status = why.form().status;
        }
        let worker = &connection.worker;
        let elapsed = now.duration_since(self.started);
        let flag = self.flag();
        let status = self.status.as_u16();
        match &self.rule {
            Some(rule) => {
                rule.metrics.record(worker.id, status, flag, elapsed);
                rule.metrics.closed(worker.id);
            }
            None => worker.unruled(connection.listener.side).record(worker.id, status, flag, elapsed),
        }
        if let Some(line) = &self.line {
            self.log(line, elapsed);
        }
        if let Some(finished) = std::mem::take(&mut self.trace).finish(|| self.end(now)) {
            self.connection.worker.spans.push(Ended::Request(finished));
        }
    }
}
