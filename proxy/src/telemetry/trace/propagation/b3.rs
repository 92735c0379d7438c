//! B3, Zipkin's form of trace context: in one header, or one header for each part.

use http::{HeaderMap, HeaderName, HeaderValue};
use outrigger_config::model::Propagation;

use super::{Context, Found, Parent, Text, TraceId, hex, only, span_id, trace_id};

const SINGLE: HeaderName = HeaderName::from_static("b3");
const TRACE: HeaderName = HeaderName::from_static("x-b3-traceid");
const SPAN: HeaderName = HeaderName::from_static("x-b3-spanid");
const PARENT: HeaderName = HeaderName::from_static("x-b3-parentspanid");
const SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
const FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");

/// Trace id, span id, decision, parent span id, and the dashes between.
const LENGTH: usize = 32 + 1 + 16 + 1 + 1 + 1 + 16;

/// What a caller decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Not,
    Sampled,
    Debug,
}

impl Decision {
    fn of_single(text: &[u8]) -> Option<Self> {
        match text {
            b"0" => Some(Self::Not),
            b"1" => Some(Self::Sampled),
            b"d" => Some(Self::Debug),
            _ => None,
        }
    }

    fn is_sampled(self) -> bool {
        self != Self::Not
    }
}

/// Reads `b3`.
pub(super) fn extract_single(headers: &HeaderMap) -> Found {
    only(headers, &SINGLE).and_then(parse_single).unwrap_or(Found::Nothing)
}

/// `{trace}-{span}`, with `-{decision}` and then `-{parent}` where they are known; or the decision alone.
fn parse_single(text: &[u8]) -> Option<Found> {
    let mut parts = text.split(|byte| *byte == b'-');
    let first = parts.next()?;
    let Some(span) = parts.next() else {
        return Some(Found::Decision(Decision::of_single(first)?.is_sampled()));
    };
    let decision = match parts.next() {
        Some(decision) => Some(Decision::of_single(decision)?),
        None => None,
    };
    if let Some(parent) = parts.next() {
        hex::<16>(parent)?;
    }
    if parts.next().is_some() {
        return None;
    }
    context(first, span, decision, Propagation::B3)
}

/// Reads `x-b3-*`.
pub(super) fn extract_multi(headers: &HeaderMap) -> Found {
    parse_multi(headers).unwrap_or(Found::Nothing)
}

fn parse_multi(headers: &HeaderMap) -> Option<Found> {
    let sampled = match only(headers, &SAMPLED) {
        // Words are what early libraries sent.
        Some(b"1" | b"true") => Some(Decision::Sampled),
        Some(b"0" | b"false") => Some(Decision::Not),
        Some(_) => return None,
        None if headers.contains_key(SAMPLED) => return None,
        None => None,
    };
    let debug = only(headers, &FLAGS) == Some(b"1");
    let decision = if debug { Some(Decision::Debug) } else { sampled };
    match (headers.contains_key(TRACE), headers.contains_key(SPAN)) {
        (false, false) => decision.map(|decision| Found::Decision(decision.is_sampled())),
        _ => context(only(headers, &TRACE)?, only(headers, &SPAN)?, decision, Propagation::B3Multi),
    }
}

fn context(trace: &[u8], span: &[u8], decision: Option<Decision>, form: Propagation) -> Option<Found> {
    let trace = match trace.len() {
        // The other half of an id of 64 bits is 0.
        16 => TraceId::new(hex::<16>(trace)?)?,
        _ => trace_id(trace)?,
    };
    Some(Found::Parent(Parent {
        trace,
        span: span_id(span)?,
        sampled: decision.map(Decision::is_sampled),
        debug: decision == Some(Decision::Debug),
        random: false,
        form,
    }))
}

/// Writes `b3`.
pub(super) fn inject_single(context: &Context, headers: &mut HeaderMap) {
    let mut text = Text::<LENGTH>::new();
    text.hex(context.trace.get(), 32).byte(b'-').hex(context.span.get().into(), 16).byte(b'-');
    text.byte(match (context.debug, context.sampled) {
        (true, _) => b'd',
        (false, true) => b'1',
        (false, false) => b'0',
    });
    if let Some(parent) = context.parent {
        text.byte(b'-').hex(parent.get().into(), 16);
    }
    headers.insert(SINGLE, text.value());
}

/// Writes `x-b3-*`.
pub(super) fn inject_multi(context: &Context, headers: &mut HeaderMap) {
    headers.insert(TRACE, Text::<32>::new().hex(context.trace.get(), 32).value());
    headers.insert(SPAN, Text::<16>::new().hex(context.span.get().into(), 16).value());
    match context.parent {
        Some(parent) => headers.insert(PARENT, Text::<16>::new().hex(parent.get().into(), 16).value()),
        None => headers.remove(PARENT),
    };
    // Debug implies the decision, which is then left out.
    if context.debug {
        headers.insert(FLAGS, HeaderValue::from_static("1"));
        headers.remove(SAMPLED);
    } else {
        let sampled = if context.sampled { "1" } else { "0" };
        headers.insert(SAMPLED, HeaderValue::from_static(sampled));
        headers.remove(FLAGS);
    }
}
