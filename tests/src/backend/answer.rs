//! What a backend answers: a status, headers, a body in steps, or a fault instead of an answer.

use std::{
    collections::{BTreeMap, VecDeque},
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use hyper::body::{Body, Frame, Incoming};
use serde_json::json;

use super::{Seen, wire::Kill};
use crate::wait::Gate;

/// What happens instead of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection is reset (RST) before any byte of the answer.
    Reset,
    /// The connection is closed (FIN) before any byte of the answer.
    Close,
    /// HTTP/2: the stream is refused (REFUSED_STREAM). HTTP/1: as `Close`.
    RefuseStream,
    /// HTTP/2: the stream is reset with CANCEL. HTTP/1: as `Close`.
    CancelStream,
    /// Nothing, ever.
    Hang,
}

impl Fault {
    pub(super) async fn strike(self, kill: &Kill) -> h2::Error {
        match self {
            Fault::Reset => kill.reset(),
            Fault::Close => kill.close(),
            Fault::RefuseStream => return h2::Reason::REFUSED_STREAM.into(),
            Fault::CancelStream => return h2::Reason::CANCEL.into(),
            Fault::Hang => {}
        }
        // The connection's task sees the kill and drops this future with everything else.
        std::future::pending().await
    }
}

/// One answer. Made by [`Answer::describe`], [`Answer::status`] or [`Answer::text`], refined by the rest.
#[derive(Clone, Debug)]
pub struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    steps: Option<VecDeque<Step>>,
    hold: Option<Gate>,
    delay: Option<Duration>,
    fault: Option<Fault>,
    early: bool,
    echo: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Data(Bytes),
    Wait(Gate),
    Trailers(HeaderMap),
    End(Fault),
}

impl Answer {
    /// 200 with a JSON description of the request.
    pub fn describe() -> Self {
        Self {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            steps: None,
            hold: None,
            delay: None,
            fault: None,
            early: false,
            echo: false,
        }
    }

    /// This status, without a body.
    ///
    /// # Panics
    /// When `code` is no status.
    pub fn status(code: u16) -> Self {
        let status = StatusCode::from_u16(code).expect("a status from 100 to 999");
        Self { status, steps: Some(VecDeque::new()), ..Self::describe() }
    }

    /// 200 with this body, in one piece and with Content-Length.
    pub fn text(body: impl Into<Bytes>) -> Self {
        Self::status(200).then(body)
    }

    /// The fault instead of an answer.
    pub fn fail(fault: Fault) -> Self {
        Self { fault: Some(fault), ..Self::describe() }
    }

    /// 200 with the request's body as it comes, trailers included.
    pub fn echo() -> Self {
        Self { early: true, echo: true, ..Self::describe() }
    }

    /// Adds a header.
    ///
    /// # Panics
    /// When name or value is not valid.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().expect("a header name");
        self.headers.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a header value"));
        self
    }

    /// Adds a piece of body.
    pub fn then(self, data: impl Into<Bytes>) -> Self {
        self.step(Step::Data(data.into()))
    }

    /// The body goes on once `gate` is open.
    pub fn then_wait(self, gate: &Gate) -> Self {
        self.step(Step::Wait(gate.clone()))
    }

    /// Ends the body with trailers.
    pub fn then_trailers(self, trailers: HeaderMap) -> Self {
        self.step(Step::Trailers(trailers))
    }

    /// The body ends in a fault: the answer is cut off.
    pub fn then_fail(self, fault: Fault) -> Self {
        self.step(Step::End(fault))
    }

    /// The head is sent once `gate` is open.
    pub fn hold_for(mut self, gate: &Gate) -> Self {
        self.hold = Some(gate.clone());
        self
    }

    /// The head is sent after this time.
    pub fn delay(mut self, time: Duration) -> Self {
        self.delay = Some(time);
        self
    }

    /// Answers without reading the request's body.
    pub fn early(mut self) -> Self {
        self.early = true;
        self
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.get_or_insert_default().push_back(step);
        self
    }

    pub(super) async fn hold(&self) {
        if let Some(gate) = &self.hold {
            gate.pass().await;
        }
        if let Some(time) = self.delay {
            tokio::time::sleep(time).await;
        }
    }

    pub(super) fn fault(&self) -> Option<Fault> {
        self.fault
    }

    pub(super) fn reads_body(&self) -> bool {
        !self.early
    }

    pub(super) fn build(
        self,
        name: &str,
        seen: &Seen,
        body: Option<Incoming>,
        kill: Kill,
    ) -> Response<AnswerBody> {
        let mut headers = self.headers;
        let body = match (self.echo, self.steps) {
            (true, _) => AnswerBody::echo(body),
            (false, Some(steps)) => AnswerBody::steps(steps, kill, body),
            (false, None) => {
                headers.insert("content-type", HeaderValue::from_static("application/json"));
                AnswerBody::steps([Step::Data(describe(name, seen).into())].into(), kill, body)
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = headers;
        response
    }
}

fn describe(name: &str, seen: &Seen) -> String {
    let mut headers = BTreeMap::<&str, Vec<String>>::new();
    for (key, value) in &seen.headers {
        headers.entry(key.as_str()).or_default().push(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    json!({
        "backend": name,
        "method": seen.method,
        "path": seen.path,
        "authority": seen.authority,
        "version": seen.version,
        "headers": headers,
        "bodyBytes": seen.body_bytes,
    })
    .to_string()
}

/// The body of an answer.
pub struct AnswerBody {
    source: Source,
    /// A request body that nobody reads, kept so that the request is not cancelled.
    _unread: Option<Incoming>,
}

enum Source {
    Echo(Option<Incoming>),
    Steps { steps: VecDeque<Step>, waiting: Option<Waiting>, kill: Kill },
}

type Waiting = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

impl AnswerBody {
    fn echo(body: Option<Incoming>) -> Self {
        Self { source: Source::Echo(body), _unread: None }
    }

    fn steps(steps: VecDeque<Step>, kill: Kill, unread: Option<Incoming>) -> Self {
        Self { source: Source::Steps { steps, waiting: None, kill }, _unread: unread }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let (steps, waiting, kill) = match &mut self.source {
            Source::Echo(None) => return Poll::Ready(None),
            // A request that is cut off cuts its echo off.
            Source::Echo(Some(body)) => {
                return Pin::new(body).poll_frame(cx).map_err(|_| h2::Reason::CANCEL.into());
            }
            Source::Steps { steps, waiting, kill } => (steps, waiting, kill),
        };
        loop {
            if let Some(future) = waiting {
                std::task::ready!(future.as_mut().poll(cx));
                *waiting = None;
            }
            match steps.pop_front() {
                None => return Poll::Ready(None),
                Some(Step::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Some(Step::Trailers(fields)) => return Poll::Ready(Some(Ok(Frame::trailers(fields)))),
                Some(Step::Wait(gate)) => *waiting = Some(Box::pin(async move { gate.pass().await })),
                Some(Step::End(Fault::RefuseStream)) => {
                    return Poll::Ready(Some(Err(h2::Reason::REFUSED_STREAM.into())));
                }
                Some(Step::End(Fault::CancelStream)) => {
                    return Poll::Ready(Some(Err(h2::Reason::CANCEL.into())));
                }
                Some(Step::End(fault)) => {
                    let kill = kill.clone();
                    *waiting = Some(Box::pin(async move {
                        // One turn of the connection, so that what was answered so far is on the wire.
                        tokio::task::yield_now().await;
                        fault.strike(&kill).await;
                    }));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Echo(body) => body.as_ref().is_none_or(Incoming::is_end_stream),
            Source::Steps { steps, waiting, .. } => steps.is_empty() && waiting.is_none(),
        }
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match &self.source {
            Source::Echo(body) => body.as_ref().map(Incoming::size_hint).unwrap_or_default(),
            Source::Steps { steps, waiting: None, .. } => match announced(steps) {
                Some(length) => hyper::body::SizeHint::with_exact(length),
                None => hyper::body::SizeHint::default(),
            },
            Source::Steps { .. } => hyper::body::SizeHint::default(),
        }
    }
}

/// Bytes of a body of one piece or none; longer ones are chunked.
fn announced(steps: &VecDeque<Step>) -> Option<u64> {
    match (steps.front(), steps.len()) {
        (None, _) => Some(0),
        (Some(Step::Data(data)), 1) => Some(data.len() as u64),
        _ => None,
    }
}
