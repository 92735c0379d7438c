//! The span of a connection that is passed on whole: a client span where an app calls, a server span before the app.
//!
//! Nothing in its bytes can hand a trace over, so each begins one of its own, and the share that policy samples is drawn
//! for it. As with requests, text is made of it on the background runtime.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use opentelemetry_proto::tonic::trace::v1::{Span, SpanFlags, Status, span::SpanKind, status::StatusCode};
use opentelemetry_semantic_conventions::attribute as name;
use tokio::time::Instant;

use super::{
    SpanId, TraceId, Tracing, random_span, random_trace,
    span::{Attributes, RANDOM, SAMPLED},
};
use crate::{ctx::Side, error::Failure, runtime::opaque::ConnectionRule};

/// A connection whose span is recorded.
#[derive(Debug)]
pub(crate) struct Passed {
    trace: TraceId,
    span: SpanId,
    /// One reading of both clocks.
    began: (SystemTime, Instant),
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct PassedEnd {
    pub(crate) ended: Instant,
    pub(crate) side: Side,
    /// The caller's address.
    pub(crate) peer: SocketAddr,
    /// The listener's.
    pub(crate) local: SocketAddr,
    pub(crate) rule: Arc<ConnectionRule>,
    /// The server name of the caller's ClientHello.
    pub(crate) server_name: Option<Box<str>>,
    /// The endpoint that was tried last.
    pub(crate) upstream: Option<SocketAddr>,
    pub(crate) attempts: u32,
    pub(crate) failure: Option<Failure>,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

/// A connection that has ended, with what its span is made of.
#[derive(Debug)]
pub(crate) struct FinishedPassage {
    pub(crate) passed: Passed,
    pub(crate) end: PassedEnd,
}

impl Tracing {
    /// Draws for a connection that was accepted then.
    pub(crate) fn passed(self, accepted: Instant) -> Option<Passed> {
        let trace = random_trace();
        self.sampler.samples(trace).then(|| {
            let wall = SystemTime::now().checked_sub(accepted.elapsed()).unwrap_or(UNIX_EPOCH);
            Passed { trace, span: random_span(), began: (wall, accepted) }
        })
    }
}

impl Passed {
    /// The trace's id, for the access log.
    pub(crate) fn id(&self) -> u128 {
        self.trace.get()
    }

    /// Nanoseconds since 1970.
    fn wall(&self, at: Instant) -> u64 {
        let (wall, began) = self.began;
        let since = wall.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        u64::try_from((since + at.saturating_duration_since(began)).as_nanos()).unwrap_or(u64::MAX)
    }
}

impl FinishedPassage {
    pub(super) fn span(self) -> Span {
        let Self { passed, end } = self;
        let failed = end.failure.map(Failure::form);
        let mut fields = Attributes::default();
        fields.text(name::NETWORK_TRANSPORT, "tcp");
        match end.side {
            Side::Outbound => end.upstream.iter().for_each(|upstream| fields.peer(*upstream)),
            Side::Inbound => fields.peer(end.peer),
        }
        fields.text(name::CLIENT_ADDRESS, end.peer.ip().to_canonical().to_string());
        fields.number(name::CLIENT_PORT, end.peer.port().into());
        fields.maybe(name::SERVER_ADDRESS, end.server_name.as_deref());
        fields.text(name::NETWORK_LOCAL_ADDRESS, end.local.ip().to_canonical().to_string());
        fields.number(name::NETWORK_LOCAL_PORT, end.local.port().into());
        fields.maybe(name::ERROR_TYPE, failed.map(|form| form.reason));
        fields.text("outrigger.side", end.side.as_str());
        fields.text("outrigger.service", &*end.rule.service);
        if end.rule.id.is_some() {
            fields.text("outrigger.route", &*end.rule.route);
        }
        fields.maybe("outrigger.rule.origin", end.rule.origin.as_ref().map(ToString::to_string).as_deref());
        if let Some(form) = failed {
            fields.text("outrigger.flag", form.flag.as_str());
            fields.text("outrigger.reason", form.reason);
        }
        fields.maybe_number("outrigger.bytes_in", i64::try_from(end.bytes_in).ok());
        fields.maybe_number("outrigger.bytes_out", i64::try_from(end.bytes_out).ok());
        fields.number("outrigger.attempts", end.attempts.into());
        let kind = match end.side {
            Side::Outbound => SpanKind::Client,
            Side::Inbound => SpanKind::Server,
        };
        let target = if end.rule.id.is_some() { &end.rule.route } else { &end.rule.service };
        let code = if failed.is_some() { StatusCode::Error } else { StatusCode::Unset };
        Span {
            trace_id: passed.trace.get().to_be_bytes().to_vec(),
            span_id: passed.span.get().to_be_bytes().to_vec(),
            flags: SAMPLED | RANDOM | SpanFlags::ContextHasIsRemoteMask as u32,
            name: format!("TCP {target}"),
            kind: kind.into(),
            start_time_unix_nano: passed.wall(passed.began.1),
            end_time_unix_nano: passed.wall(end.ended),
            status: Some(Status { message: String::new(), code: code.into() }),
            attributes: fields.into(),
            ..Span::default()
        }
    }
}
