//! The trace of one request: which trace it belongs to, what its spans will say, what the next hop is told.
//!
//! A server span for the request, and a client span below it for each attempt; the next hop's spans go below the client
//! span. Where policy has no tracing, [`Trace::Pass`] is all there is: no header is read, no clock, nothing is allocated.
//! Where a trace is not recorded, the cost is that of reading the context, and for traces that begin here of writing one.
//! Nothing here makes text or messages out of a span: what is known goes to the background as it stands
//! ([`export`]), and is laid out there ([`span`]).

pub(crate) mod propagation;

mod ended;
mod export;
mod passed;
mod sampler;
mod span;

pub(crate) use ended::Ended;
pub(crate) use export::{Exporter, SpanQueue};
pub(crate) use passed::{FinishedPassage, Passed, PassedEnd};
pub(crate) use span::{End, Finished};

use std::{
    cell::{Cell, OnceCell, RefCell},
    net::SocketAddr,
    sync::Arc,
    time::SystemTime,
};

use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode, Version,
    header::{CONTENT_TYPE, HOST, USER_AGENT},
    request::Parts,
};
use outrigger_config::model::{self, AppProtocol};
use tokio::time::Instant;

use super::metrics::{AttemptOutcome, BackendMetrics, RetryReason};
use crate::{
    body::UpstreamBody,
    error::Failure,
    request::{
        forwarded::{REQUEST_ID, Scheme},
        is_grpc,
    },
    upstream::attempt::{AttemptError, Plan},
};
use propagation::{Context, Forms, Found, Parent, SpanId, TraceId};
use sampler::Sampler;

/// What requests read of `Mesh.spec.telemetry.tracing`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tracing {
    forms: Forms,
    sampler: Sampler,
}

impl Tracing {
    /// Compiles the settings.
    pub(crate) fn new(settings: &model::Tracing) -> Self {
        Self { forms: Forms::new(&settings.propagation), sampler: Sampler::percent(settings.sample_percent) }
    }

    fn begin(self, head: &Parts, now: Instant) -> Trace {
        let parent = match self.forms.extract(&head.headers) {
            Found::Decision(false) | Found::Parent(Parent { sampled: Some(false), .. }) => {
                return Trace::Pass;
            }
            Found::Decision(true) => return Recorded::root(random_trace(), self.forms, head, now),
            Found::Parent(parent) => parent,
            Found::Nothing => {
                let trace = random_trace();
                return match self.sampler.samples(trace) {
                    true => Recorded::root(trace, self.forms, head, now),
                    false => Trace::Unrecorded(Unrecorded {
                        trace,
                        span: random_span(),
                        forms: self.forms,
                        random: true,
                    }),
                };
            }
        };
        if parent.sampled.is_none() && !self.sampler.samples(parent.trace) {
            let Parent { trace, span, random, .. } = parent;
            return Trace::Unrecorded(Unrecorded { trace, span, forms: self.forms, random });
        }
        Recorded::below(parent, self.forms, head, now)
    }
}

/// Ids come from the thread's own generator, seeded and renewed by the system: those of all proxies of a mesh must differ.
fn random_trace() -> TraceId {
    std::iter::repeat_with(rand::random).find_map(TraceId::new).expect("an endless sequence")
}

fn random_span() -> SpanId {
    std::iter::repeat_with(rand::random).find_map(SpanId::new).expect("an endless sequence")
}

/// One request's trace.
#[derive(Debug, Default)]
pub(crate) enum Trace {
    /// Policy wants no traces, or the caller has decided that this one is not recorded: headers pass as they are.
    #[default]
    Pass,
    /// The decision not to record was made here: the next hop is told, so that nobody records the rest.
    Unrecorded(Unrecorded),
    /// Spans are made.
    Recorded(Box<Recorded>),
}

/// What the next hop is told of a trace that nobody records.
#[derive(Debug)]
pub(crate) struct Unrecorded {
    trace: TraceId,
    span: SpanId,
    forms: Forms,
    random: bool,
}

impl Trace {
    /// Joins the trace that the request's headers name, or begins one.
    #[inline]
    pub(crate) fn begin(tracing: Option<Tracing>, head: &Parts, now: Instant) -> Self {
        match tracing {
            None => Self::Pass,
            Some(tracing) => tracing.begin(head, now),
        }
    }

    fn recorded(&self) -> Option<&Recorded> {
        match self {
            Self::Recorded(recorded) => Some(recorded),
            Self::Pass | Self::Unrecorded(_) => None,
        }
    }

    /// The id of a trace that is recorded, for the access log.
    pub(crate) fn id(&self) -> Option<u128> {
        self.recorded().map(|recorded| recorded.trace.get())
    }

    /// The request has its id.
    pub(crate) fn named(&mut self, headers: &HeaderMap) {
        if let Self::Recorded(recorded) = self {
            recorded.request_id = headers.get(REQUEST_ID).map(|id| clip(id.as_bytes(), MOST_ID));
        }
    }

    /// An answer's head has gone to the caller.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        if let Self::Recorded(recorded) = self {
            recorded.status = Some(status.as_u16());
        }
    }

    /// An attempt begins.
    pub(crate) fn attempt(&self, began: Instant, addr: SocketAddr, plan: &Plan<'_>) {
        if let Some(recorded) = self.recorded() {
            recorded.attempts.borrow_mut().push(Attempt {
                span: random_span(),
                began,
                ended: None,
                addr,
                protocol: plan.protocol,
                scheme: if plan.security.scheme() == http::uri::Scheme::HTTPS {
                    Scheme::Https
                } else {
                    Scheme::Http
                },
                backend: plan.metrics.clone(),
                reason: recorded.retry.take(),
                outcome: None,
                status: None,
                grpc_status: None,
                failure: None,
            });
        }
    }

    /// Tells the next hop, in the head that is about to be sent.
    pub(crate) fn tell(&self, head: &mut Parts) {
        match self {
            Self::Pass => {}
            Self::Unrecorded(unrecorded) => unrecorded.tell(&mut head.headers),
            Self::Recorded(recorded) => recorded.tell(head),
        }
    }

    /// An attempt has its answer's head, or has failed.
    pub(crate) fn attempted(
        &self,
        result: &Result<Response<UpstreamBody>, AttemptError>,
        outcome: AttemptOutcome,
    ) {
        let Some(recorded) = self.recorded() else { return };
        if let Some(attempt) = recorded.attempts.borrow_mut().last_mut() {
            attempt.outcome = Some(outcome);
            match result {
                // The answer's body is part of it: it ends with the request, or where it is repeated.
                Ok(answer) => {
                    attempt.status = Some(answer.status().as_u16());
                    attempt.grpc_status = grpc_status(answer.headers());
                }
                Err(error) => {
                    attempt.ended = Some(Instant::now());
                    attempt.failure = Some(error.failure);
                }
            }
        }
    }

    /// Another attempt follows, for this reason.
    pub(crate) fn repeated(&self, reason: RetryReason) {
        if let Some(recorded) = self.recorded() {
            recorded.retry.set(Some(reason));
            if let Some(attempt) = recorded.attempts.borrow_mut().last_mut() {
                attempt.ended.get_or_insert_with(Instant::now);
            }
        }
    }

    /// The request has ended: its spans, if there are any.
    pub(crate) fn finish(self, end: impl FnOnce() -> End) -> Option<Finished> {
        match self {
            Self::Recorded(recorded) => Some(Finished { recorded, end: end() }),
            Self::Pass | Self::Unrecorded(_) => None,
        }
    }
}

impl Unrecorded {
    fn tell(&self, headers: &mut HeaderMap) {
        let context = Context {
            trace: self.trace,
            span: self.span,
            parent: None,
            sampled: false,
            debug: false,
            random: self.random,
            keep_state: false,
        };
        self.forms.inject(&context, headers);
    }
}

/// Limits of what spans repeat of a request, in bytes, so that spans that wait for a collector hold little memory: with
/// all of them reached, a request holds 5 KiB, and a span of it is below 4 KiB when it is sent.
const MOST_TARGET: usize = 1024;
const MOST_HOST: usize = 255;
const MOST_AGENT: usize = 256;
const MOST_ID: usize = 128;

/// A trace that is recorded: what its spans will say. Text is copied out of the head, since a header value may hold on to
/// the whole buffer that its connection was read into.
#[derive(Debug)]
pub(crate) struct Recorded {
    forms: Forms,
    trace: TraceId,
    /// The server span.
    span: SpanId,
    /// The caller's span.
    parent: Option<SpanId>,
    debug: bool,
    random: bool,
    /// `tracestate`, where it belongs to the trace.
    state: Option<Box<str>>,
    /// One reading of both clocks: all other times are distances from it, so that no span is turned by a clock that is set.
    began: (SystemTime, Instant),
    method: Method,
    version: Version,
    grpc: bool,
    target: Target,
    agent: Option<Box<str>>,
    request_id: Option<Box<str>>,
    /// What the caller got.
    status: Option<u16>,
    /// What was asked for upstream.
    sent: OnceCell<Target>,
    attempts: RefCell<Vec<Attempt>>,
    retry: Cell<Option<RetryReason>>,
}

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    /// Host and port, as written.
    host: Box<str>,
    path: Box<str>,
    query: Option<Box<str>>,
}

/// One attempt.
#[derive(Debug)]
struct Attempt {
    span: SpanId,
    began: Instant,
    /// `None`: with the request.
    ended: Option<Instant>,
    addr: SocketAddr,
    protocol: AppProtocol,
    scheme: Scheme,
    backend: Arc<BackendMetrics>,
    /// Why it was made, after another.
    reason: Option<RetryReason>,
    outcome: Option<AttemptOutcome>,
    status: Option<u16>,
    grpc_status: Option<u32>,
    failure: Option<Failure>,
}

impl Recorded {
    fn root(trace: TraceId, forms: Forms, head: &Parts, now: Instant) -> Trace {
        Trace::Recorded(Box::new(Self {
            forms,
            trace,
            span: random_span(),
            parent: None,
            debug: false,
            random: true,
            state: None,
            began: (SystemTime::now(), now),
            method: head.method.clone(),
            version: head.version,
            grpc: head.headers.get(CONTENT_TYPE).is_some_and(|value| is_grpc(value.as_bytes())),
            target: Target::of(head),
            agent: head.headers.get(USER_AGENT).map(|agent| clip(agent.as_bytes(), MOST_AGENT)),
            request_id: None,
            status: None,
            sent: OnceCell::new(),
            attempts: RefCell::default(),
            retry: Cell::default(),
        }))
    }

    fn below(parent: Parent, forms: Forms, head: &Parts, now: Instant) -> Trace {
        let mut trace = Self::root(parent.trace, forms, head, now);
        if let Trace::Recorded(recorded) = &mut trace {
            recorded.parent = Some(parent.span);
            recorded.debug = parent.debug;
            recorded.random = parent.random;
            if parent.form == model::Propagation::W3c {
                recorded.state = propagation::state(&head.headers);
            }
        }
        trace
    }

    fn tell(&self, head: &mut Parts) {
        self.sent.get_or_init(|| Target::of(head));
        let attempts = self.attempts.borrow();
        let (span, parent) = match attempts.last() {
            Some(attempt) => (attempt.span, Some(self.span)),
            None => (self.span, self.parent),
        };
        let context = Context {
            trace: self.trace,
            span,
            parent,
            sampled: true,
            debug: self.debug,
            random: self.random,
            keep_state: self.state.is_some(),
        };
        self.forms.inject(&context, &mut head.headers);
    }
}

impl Target {
    fn of(head: &Parts) -> Self {
        let host = match head.uri.authority() {
            Some(authority) => authority.as_str().as_bytes(),
            None => head.headers.get(HOST).map(HeaderValue::as_bytes).unwrap_or_default(),
        };
        Self {
            host: clip(host, MOST_HOST),
            path: clip(head.uri.path().as_bytes(), MOST_TARGET),
            query: head.uri.query().map(|query| clip(query.as_bytes(), MOST_TARGET)),
        }
    }
}

/// The first `most` bytes as text; what is no UTF-8 becomes U+FFFD.
fn clip(bytes: &[u8], most: usize) -> Box<str> {
    let whole = String::from_utf8_lossy(&bytes[..bytes.len().min(most)]);
    whole.into_owned().into()
}

fn grpc_status(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
