//! What a finished request looks like to a collector: its spans as OTLP messages, by the semantic conventions of
//! [`SCHEMA`].
//!
//! Pure, and called on the background runtime: a request in, a server span and its client spans out. Names of spans are
//! made of methods, rules and services, never of what a caller chose freely; what it did choose stands in attributes.

mod attributes;

pub(super) use attributes::Attributes;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use http::Version;
use opentelemetry_proto::tonic::{
    common::v1::KeyValue,
    trace::v1::{Span, SpanFlags, Status, span::SpanKind, status::StatusCode},
};
use opentelemetry_semantic_conventions::attribute as name;
use outrigger_config::model::AppProtocol;
use tokio::time::Instant;

use super::{Attempt, Recorded, SpanId, Target};
use crate::{
    ctx::Side, error::Failure, request::forwarded::Scheme, runtime::snapshot::Rule,
    telemetry::metrics::AttemptOutcome,
};
use attributes::{GrpcMethod, grpc_code, is_server_error, method_name};

/// The conventions that names and values here keep to.
pub(super) const SCHEMA: &str = opentelemetry_semantic_conventions::SCHEMA_URL;

/// Flags of a recorded trace, as W3C has them.
pub(super) const SAMPLED: u32 = 1;
pub(super) const RANDOM: u32 = 2;

/// A request that has ended, with what its spans are made of.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(super) recorded: Box<Recorded>,
    pub(super) end: End,
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) ended: Instant,
    pub(crate) side: Side,
    /// The caller's address.
    pub(crate) peer: SocketAddr,
    /// The listener's.
    pub(crate) local: SocketAddr,
    pub(crate) rule: Option<Arc<Rule>>,
    pub(crate) grpc_status: Option<u32>,
    pub(crate) failure: Option<Failure>,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

/// What a span says of success.
struct Verdict {
    /// `error.type` of one that failed.
    error: Option<String>,
}

impl Verdict {
    fn status(&self) -> Status {
        let code = if self.error.is_some() { StatusCode::Error } else { StatusCode::Unset };
        Status { message: String::new(), code: code.into() }
    }
}

impl Finished {
    /// How many spans it makes.
    pub(crate) fn count(&self) -> u64 {
        1 + self.recorded.attempts.borrow().len() as u64
    }

    /// Its spans: the server span, then a client span per attempt.
    pub(super) fn spans(self) -> Vec<Span> {
        let attempts = self.recorded.attempts.take();
        let mut spans = Vec::with_capacity(1 + attempts.len());
        spans.push(self.server(attempts.len()));
        for (index, attempt) in attempts.iter().enumerate() {
            spans.push(self.client(attempt, index));
        }
        spans
    }

    fn server(&self, attempts: usize) -> Span {
        let (recorded, end) = (&*self.recorded, &self.end);
        let verdict = self.server_verdict();
        let mut fields = Attributes::default();
        self.request(&mut fields);
        fields.text(name::URL_SCHEME, "http");
        fields.text(name::URL_PATH, &*recorded.target.path);
        if let Some(query) = &recorded.target.query {
            fields.text(name::URL_QUERY, attributes::redacted(query));
        }
        fields.host(&recorded.target.host, Scheme::Http);
        fields.text(name::NETWORK_PROTOCOL_VERSION, version(recorded.version));
        fields.text(name::CLIENT_ADDRESS, end.peer.ip().to_canonical().to_string());
        fields.peer(end.peer);
        fields.text(name::NETWORK_LOCAL_ADDRESS, end.local.ip().to_canonical().to_string());
        fields.number(name::NETWORK_LOCAL_PORT, end.local.port().into());
        fields.maybe(name::USER_AGENT_ORIGINAL, recorded.agent.as_deref());
        fields.maybe_number(name::HTTP_RESPONSE_STATUS_CODE, recorded.status.map(i64::from));
        fields.maybe_number(name::HTTP_REQUEST_BODY_SIZE, i64::try_from(end.bytes_in).ok());
        fields.maybe_number(name::HTTP_RESPONSE_BODY_SIZE, i64::try_from(end.bytes_out).ok());
        fields.maybe(name::ERROR_TYPE, verdict.error.as_deref());
        self.rpc(self.grpc_status(), &mut fields);
        fields.text("outrigger.side", end.side.as_str());
        fields.maybe("outrigger.request_id", recorded.request_id.as_deref());
        if let Some(rule) = end.rule.as_deref() {
            fields.text("outrigger.service", &*rule.service);
            if rule.id.is_some() {
                fields.text(name::HTTP_ROUTE, &*rule.route);
            }
            fields.maybe("outrigger.rule.origin", rule.origin.as_ref().map(ToString::to_string).as_deref());
        }
        if let Some(form) = end.failure.map(Failure::form) {
            fields.text("outrigger.flag", form.flag.as_str());
            fields.text("outrigger.reason", form.reason);
        }
        fields.number("outrigger.attempts", attempts as i64);
        let parent = recorded.parent.map(|parent| (parent, true));
        let times = (recorded.began.1, end.ended);
        let mut span = self.span(recorded.span, parent, times, SpanKind::Server);
        span.name = self.name(end.rule.as_deref().map(Rule::target));
        span.status = Some(verdict.status());
        span.attributes = fields.into();
        span
    }

    fn client(&self, attempt: &Attempt, index: usize) -> Span {
        let recorded = &*self.recorded;
        let verdict = self.client_verdict(attempt);
        let mut fields = Attributes::default();
        self.request(&mut fields);
        let sent = recorded.sent.get().unwrap_or(&recorded.target);
        fields.text(name::URL_FULL, url(attempt.scheme, sent));
        fields.host(&sent.host, attempt.scheme);
        fields.peer(attempt.addr);
        let spoken = match attempt.protocol {
            AppProtocol::Http1 | AppProtocol::Tcp | AppProtocol::Tls => "1.1",
            AppProtocol::Http2 | AppProtocol::Grpc => "2",
        };
        fields.text(name::NETWORK_PROTOCOL_VERSION, spoken);
        fields.maybe_number(name::HTTP_RESPONSE_STATUS_CODE, attempt.status.map(i64::from));
        fields.maybe_number(
            name::HTTP_REQUEST_RESEND_COUNT,
            i64::try_from(index).ok().filter(|count| *count > 0),
        );
        fields.maybe(name::ERROR_TYPE, verdict.error.as_deref());
        self.rpc(self.grpc_status_of(attempt), &mut fields);
        let backend = attempt.backend.service();
        fields.text("outrigger.backend", backend);
        fields.maybe("outrigger.retry.reason", attempt.reason.map(|reason| reason.as_str()));
        fields.maybe("outrigger.outcome", attempt.outcome.map(AttemptOutcome::as_str));
        let times = (attempt.began, attempt.ended.unwrap_or(self.end.ended));
        let mut span = self.span(attempt.span, Some((recorded.span, false)), times, SpanKind::Client);
        span.name = self.name(Some(backend));
        span.status = Some(verdict.status());
        span.attributes = fields.into();
        span
    }

    /// What every span of the trace has in common.
    fn span(
        &self,
        id: SpanId,
        parent: Option<(SpanId, bool)>,
        (began, ended): (Instant, Instant),
        kind: SpanKind,
    ) -> Span {
        let recorded = &*self.recorded;
        let mut flags = SAMPLED | SpanFlags::ContextHasIsRemoteMask as u32;
        if recorded.random {
            flags |= RANDOM;
        }
        if parent.is_some_and(|(_, remote)| remote) {
            flags |= SpanFlags::ContextIsRemoteMask as u32;
        }
        Span {
            trace_id: recorded.trace.get().to_be_bytes().to_vec(),
            span_id: id.get().to_be_bytes().to_vec(),
            parent_span_id: parent.map(|(id, _)| id.get().to_be_bytes().to_vec()).unwrap_or_default(),
            trace_state: recorded.state.as_deref().unwrap_or_default().to_owned(),
            flags,
            kind: kind.into(),
            start_time_unix_nano: self.wall(began),
            end_time_unix_nano: self.wall(ended),
            ..Span::default()
        }
    }

    /// Nanoseconds since 1970.
    fn wall(&self, at: Instant) -> u64 {
        let (wall, began) = self.recorded.began;
        let since = wall.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let nanoseconds = (since + at.saturating_duration_since(began)).as_nanos();
        u64::try_from(nanoseconds).unwrap_or(u64::MAX)
    }

    fn request(&self, fields: &mut Attributes) {
        let method = self.recorded.method.as_str();
        let known = method_name(method);
        fields.text(name::HTTP_REQUEST_METHOD, known);
        if known != method {
            fields.text(name::HTTP_REQUEST_METHOD_ORIGINAL, method);
        }
    }

    /// The method of the call, where the request is gRPC.
    fn grpc_method(&self) -> Option<GrpcMethod<'_>> {
        let recorded = &*self.recorded;
        let answered = self.end.failure.is_none();
        recorded
            .grpc
            .then(|| GrpcMethod::of(&recorded.target.path, self.end.grpc_status.filter(|_| answered)))
    }

    fn rpc(&self, status: Option<u32>, fields: &mut Attributes) {
        let Some(method) = self.grpc_method() else { return };
        fields.text(name::RPC_SYSTEM_NAME, "grpc");
        match method {
            GrpcMethod::Known(method) => fields.text(name::RPC_METHOD, method),
            GrpcMethod::Other(original) => {
                fields.text(name::RPC_METHOD, attributes::OTHER);
                fields.text(name::RPC_METHOD_ORIGINAL, original);
            }
        }
        fields.maybe(name::RPC_RESPONSE_STATUS_CODE, status.map(grpc_code).as_deref());
    }

    /// `GET shop/reviews/canary`, or the call of gRPC.
    fn name(&self, target: Option<&str>) -> String {
        match self.grpc_method() {
            Some(GrpcMethod::Known(method)) => return method.to_owned(),
            Some(GrpcMethod::Other(_)) => return "grpc".to_owned(),
            None => {}
        }
        let method = match method_name(self.recorded.method.as_str()) {
            attributes::OTHER => "HTTP",
            known => known,
        };
        match target {
            Some(target) if !target.is_empty() => format!("{method} {target}"),
            _ => method.to_owned(),
        }
    }

    fn grpc_status(&self) -> Option<u32> {
        self.end.grpc_status.or_else(|| {
            let failure = self.end.failure.filter(|failure| *failure != Failure::DownstreamGone)?;
            Some(failure.form().grpc.into())
        })
    }

    /// The status that came in the answer's head, or in its trailers where this attempt is the one that was answered.
    fn grpc_status_of(&self, attempt: &Attempt) -> Option<u32> {
        let last = attempt.ended.is_none() && self.end.failure.is_none();
        attempt.grpc_status.or(self.end.grpc_status.filter(|_| last))
    }

    /// A server's span failed where the server did: what a caller did wrong is no error here.
    fn server_verdict(&self) -> Verdict {
        if let Some(code) = self.grpc_status().filter(|_| self.recorded.grpc) {
            return Verdict { error: is_server_error(code).then(|| grpc_code(code)) };
        }
        let status = self.recorded.status;
        let error = match self.end.failure.map(Failure::form) {
            // The answer says it all, and that the caller is to blame.
            Some(form) if status == Some(form.status.as_u16()) && form.status.as_u16() < 500 => None,
            Some(form) => Some(form.reason.to_owned()),
            None => status.filter(|status| *status >= 500).map(|status| status.to_string()),
        };
        Verdict { error }
    }

    /// A client's span failed where the call did not come to what was asked for.
    fn client_verdict(&self, attempt: &Attempt) -> Verdict {
        let outcome = || attempt.outcome.unwrap_or(AttemptOutcome::Cancelled).as_str().to_owned();
        // What broke the request while this attempt's answer was on its way.
        let broke = self.end.failure.filter(|_| attempt.ended.is_none());
        let error = match (attempt.failure, attempt.status, broke) {
            (Some(_), ..) | (None, None, _) => Some(outcome()),
            (None, Some(status @ 400..), _) => Some(status.to_string()),
            (None, Some(_), Some(failure)) => Some(failure.form().reason.to_owned()),
            (None, Some(_), None) if self.recorded.grpc => {
                self.grpc_status_of(attempt).filter(|code| *code != 0).map(grpc_code)
            }
            (None, Some(_), None) => None,
        };
        Verdict { error }
    }
}

/// The version as the conventions write it.
fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}

fn url(scheme: Scheme, target: &Target) -> String {
    let scheme = match scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    };
    let mut url = format!("{scheme}://{}{}", target.host, target.path);
    if let Some(query) = &target.query {
        url.push('?');
        url.push_str(&attributes::redacted(query));
    }
    url
}

impl From<Attributes> for Vec<KeyValue> {
    fn from(attributes: Attributes) -> Self {
        attributes.0
    }
}

#[cfg(test)]
mod tests;
