//! W3C Trace Context: `traceparent` and `tracestate` (levels 1 and 2).

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue};
use outrigger_config::model::Propagation;

use super::{Context, Found, Parent, Text, hex, only, span_id, trace_id};

const PARENT: HeaderName = HeaderName::from_static("traceparent");
const STATE: HeaderName = HeaderName::from_static("tracestate");

/// `00-` trace id `-` span id `-` flags.
const LENGTH: usize = 55;
const SAMPLED: u8 = 1;
const RANDOM: u8 = 2;

/// Members of `tracestate`; a list with more is no list (3.3.1.1).
const MOST_MEMBERS: usize = 32;
/// Characters of `tracestate` that everybody must be able to carry; what is longer is cut (3.3.1.5).
const MOST_STATE: usize = 512;
/// Members above this length are the first to go.
const LONG_MEMBER: usize = 128;

/// Reads `traceparent`.
pub(super) fn extract(headers: &HeaderMap) -> Found {
    only(headers, &PARENT).and_then(parse).map_or(Found::Nothing, Found::Parent)
}

/// Version 00 to the letter; of later versions, what they must have in common with it.
fn parse(text: &[u8]) -> Option<Parent> {
    let (known, rest) = text.split_at_checked(LENGTH)?;
    let version = hex::<2>(&known[..2])?;
    let dashes = [known[2], known[35], known[52]] == [b'-'; 3];
    let ends = match version {
        0xff => false,
        0 => rest.is_empty(),
        _ => rest.first().is_none_or(|byte| *byte == b'-'),
    };
    if !dashes || !ends {
        return None;
    }
    let flags = hex::<2>(&known[53..])? as u8;
    Some(Parent {
        trace: trace_id(&known[3..35])?,
        span: span_id(&known[36..52])?,
        sampled: Some(flags & SAMPLED != 0),
        debug: false,
        random: flags & RANDOM != 0,
        form: Propagation::W3c,
    })
}

/// Writes `traceparent`, and leaves of `tracestate` what is valid and belongs to the trace.
pub(super) fn inject(context: &Context, headers: &mut HeaderMap) {
    let flags = if context.sampled { SAMPLED } else { 0 } | if context.random { RANDOM } else { 0 };
    let mut text = Text::<LENGTH>::new();
    text.hex(0, 2).byte(b'-').hex(context.trace.get(), 32).byte(b'-');
    text.hex(context.span.get().into(), 16).byte(b'-').hex(flags.into(), 2);
    headers.insert(PARENT, text.value());
    if !headers.contains_key(STATE) {
        return;
    }
    let state = if context.keep_state { read_state(headers) } else { State::Invalid };
    match state {
        State::Whole => {}
        State::Cut(rest) if !rest.is_empty() => match HeaderValue::from_str(&rest) {
            Ok(value) => drop(headers.insert(STATE, value)),
            Err(_) => drop(headers.remove(STATE)),
        },
        State::Cut(_) | State::Invalid => drop(headers.remove(STATE)),
    }
}

/// `tracestate` as one text, when it is valid.
pub(crate) fn state(headers: &HeaderMap) -> Option<Box<str>> {
    if !headers.contains_key(STATE) {
        return None;
    }
    match read_state(headers) {
        State::Invalid => None,
        State::Cut(text) => Some(text.into()),
        State::Whole => {
            let fields = headers.get_all(STATE).iter();
            let texts: Vec<&str> = fields.filter_map(|field| field.to_str().ok()).collect();
            Some(texts.join(",").into())
        }
    }
}

/// What `tracestate` is worth.
#[derive(Debug, PartialEq, Eq)]
enum State {
    /// Good as it stands.
    Whole,
    /// Valid and too long: this much goes on.
    Cut(String),
    /// Nothing of it may be used.
    Invalid,
}

fn read_state(headers: &HeaderMap) -> State {
    let mut members: Vec<&str> = Vec::new();
    let mut length = 0;
    for field in headers.get_all(STATE) {
        let Ok(text) = field.to_str() else { return State::Invalid };
        length += text.len() + 1;
        for member in text.split(',').map(|member| member.trim_matches([' ', '\t'])) {
            if member.is_empty() {
                continue;
            }
            let Some((key, value)) = member.split_once('=') else { return State::Invalid };
            let taken = |other: &&str| other.split_once('=').is_some_and(|(other, _)| other == key);
            if members.len() == MOST_MEMBERS
                || !is_key(key.as_bytes())
                || !is_value(value.as_bytes())
                || members.iter().any(taken)
            {
                return State::Invalid;
            }
            members.push(member);
        }
    }
    // One comma less than fields.
    if length <= MOST_STATE + 1 { State::Whole } else { State::Cut(cut(members)) }
}

/// Whole members: the long ones go first, then the last, which are the oldest.
fn cut(mut members: Vec<&str>) -> String {
    let length =
        |members: &[&str]| members.iter().map(|member| member.len() + 1).sum::<usize>().saturating_sub(1);
    while length(&members) > MOST_STATE {
        match members.iter().rposition(|member| member.len() > LONG_MEMBER) {
            Some(long) => drop(members.remove(long)),
            None => drop(members.pop()),
        }
    }
    let mut text = String::with_capacity(MOST_STATE);
    for member in members {
        let comma = if text.is_empty() { "" } else { "," };
        // Writing to a String cannot fail.
        let _ = write!(text, "{comma}{member}");
    }
    text
}

/// A key by level 2, which has all keys of level 1: `vendor` and `tenant@vendor`.
fn is_key(key: &[u8]) -> bool {
    let first = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let more = |byte: &u8| first(byte) || matches!(byte, b'_' | b'-' | b'*' | b'/' | b'@');
    key.len() <= 256 && key.first().is_some_and(first) && key.iter().all(more)
}

/// Printable ASCII without `,` and `=`; no space at its end.
fn is_value(value: &[u8]) -> bool {
    let printable = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b',' | b'=');
    (1..=256).contains(&value.len()) && value.iter().all(printable) && value.last() != Some(&b' ')
}
