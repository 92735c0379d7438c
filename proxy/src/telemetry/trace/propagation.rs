//! Trace context in headers: which trace a request belongs to, and how the next hop is told.
//!
//! Pure: headers in, a context out, and the other way round. What a caller sends is foreign: a context that breaks its
//! form's rules in any way is as good as none, and never half of one. Forms are looked for in the order in which policy
//! lists them, the first that is there and valid is taken, and all that are listed are written. Headers of a form that is
//! not listed pass untouched.

mod b3;
mod w3c;

use http::{HeaderMap, HeaderName, HeaderValue};
use outrigger_config::model::Propagation;

/// A trace, by 128 random bits; never 0. In halves, since a request's record has no room for the alignment of `u128`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TraceId {
    high: u64,
    low: u64,
}

/// A span within a trace; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpanId(u64);

impl TraceId {
    /// `None` for 0, which names no trace.
    pub(crate) fn new(id: u128) -> Option<Self> {
        (id != 0).then_some(Self { high: (id >> 64) as u64, low: id as u64 })
    }

    /// The number.
    pub(crate) fn get(self) -> u128 {
        u128::from(self.high) << 64 | u128::from(self.low)
    }
}

impl SpanId {
    /// `None` for 0, which names no span.
    pub(crate) fn new(id: u64) -> Option<Self> {
        (id != 0).then_some(Self(id))
    }

    /// The number.
    pub(crate) fn get(self) -> u64 {
        self.0
    }
}

/// What a caller says of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parent {
    pub(crate) trace: TraceId,
    /// The caller's span.
    pub(crate) span: SpanId,
    /// Whether the trace is recorded; B3 may leave that open.
    pub(crate) sampled: Option<bool>,
    /// B3's debug: recorded, whatever anybody else thinks.
    pub(crate) debug: bool,
    /// The caller says that the trace id is random (W3C level 2).
    pub(crate) random: bool,
    /// The form in which it came.
    pub(crate) form: Propagation,
}

/// What was found in a request's headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// No context, or none that is valid.
    Nothing,
    /// B3's decision without a trace: whoever begins the trace has to follow it.
    Decision(bool),
    /// A context.
    Parent(Parent),
}

/// What the next hop is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Context {
    pub(crate) trace: TraceId,
    /// The span that the next hop's spans belong under.
    pub(crate) span: SpanId,
    /// The span above that one, which B3 carries too.
    pub(crate) parent: Option<SpanId>,
    pub(crate) sampled: bool,
    pub(crate) debug: bool,
    pub(crate) random: bool,
    /// `tracestate` belongs to this trace: it came with a valid `traceparent`.
    pub(crate) keep_state: bool,
}

impl Context {
    /// The caller's own context, passed on; what a caller has left open is not recorded.
    pub(crate) fn of(parent: Parent) -> Self {
        Self {
            trace: parent.trace,
            span: parent.span,
            parent: None,
            sampled: parent.sampled.unwrap_or(false),
            debug: parent.debug,
            random: parent.random,
            keep_state: parent.form == Propagation::W3c,
        }
    }
}

/// The forms that policy lists, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forms([Option<Propagation>; 3]);

impl Forms {
    /// The first three; there are no more.
    pub(crate) fn new(listed: &[Propagation]) -> Self {
        let mut forms = Self([None; 3]);
        forms.0.iter_mut().zip(listed).for_each(|(form, listed)| *form = Some(*listed));
        forms
    }

    fn iter(self) -> impl Iterator<Item = Propagation> {
        self.0.into_iter().flatten()
    }

    /// The first valid context.
    pub(crate) fn extract(self, headers: &HeaderMap) -> Found {
        let read = |form| match form {
            Propagation::W3c => w3c::extract(headers),
            Propagation::B3 => b3::extract_single(headers),
            Propagation::B3Multi => b3::extract_multi(headers),
        };
        self.iter().map(read).find(|found| *found != Found::Nothing).unwrap_or(Found::Nothing)
    }

    /// Writes the context in all forms, over whatever stood there.
    pub(crate) fn inject(self, context: &Context, headers: &mut HeaderMap) {
        for form in self.iter() {
            match form {
                Propagation::W3c => w3c::inject(context, headers),
                Propagation::B3 => b3::inject_single(context, headers),
                Propagation::B3Multi => b3::inject_multi(context, headers),
            }
        }
    }
}

/// `tracestate` as a span carries it, when it is valid and belongs to the trace.
pub(crate) use w3c::state;

/// The only field of this name: of several, none can be believed.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    values.next().is_none().then_some(first.as_bytes())
}

/// A number of exactly `N` lower-case hexadecimal digits, 32 at most.
fn hex<const N: usize>(text: &[u8]) -> Option<u128> {
    if text.len() != N {
        return None;
    }
    text.iter().try_fold(0, |sum, &digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(sum << 4 | u128::from(value))
    })
}

fn trace_id(text: &[u8]) -> Option<TraceId> {
    TraceId::new(hex::<32>(text)?)
}

fn span_id(text: &[u8]) -> Option<SpanId> {
    SpanId::new(u64::try_from(hex::<16>(text)?).ok()?)
}

/// Text of hexadecimal digits and dashes, written without an allocation until it is a header value.
struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    fn new() -> Self {
        Self { bytes: [b'-'; N], len: 0 }
    }

    /// The last `digits` digits of `number`.
    fn hex(&mut self, number: u128, digits: usize) -> &mut Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        for at in (0..digits).rev() {
            let digit = number >> (4 * at) & 15;
            self.byte(DIGITS[digit as usize]);
        }
        self
    }

    fn byte(&mut self, byte: u8) -> &mut Self {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
        self
    }

    fn value(&self) -> HeaderValue {
        let mut value = HeaderValue::from_bytes(&self.bytes[..self.len])
            .expect("hexadecimal digits and dashes are visible ASCII");
        // Never seen twice on a connection: HTTP/2 must not push useful fields out of its table for it (RFC 7541, 7.1.3).
        value.set_sensitive(true);
        value
    }
}

#[cfg(test)]
mod tests;
