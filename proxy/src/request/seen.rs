//! One pass over the fields of a head: what stands in it, before anything is judged or changed.
//!
//! Requests and answers are read by the same pass, so that a rule about framing holds for both.

use http::{HeaderMap, HeaderValue};

use super::names::{Class, class, elements, is_grpc};

/// What one pass found.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Bytes of all fields as HTTP/1 writes them: name, colon, space, value, line end.
    pub(super) bytes: usize,
    pub(super) hosts: u32,
    pub(super) cookies: u32,
    pub(super) length: Length,
    pub(super) coding: Coding,
    pub(super) te: Te,
    pub(super) expect: Expect,
    pub(super) grpc: bool,
    pub(super) connection: bool,
    pub(super) upgrade: Upgrade,
    pub(super) trailer: bool,
    /// A hop-by-hop field other than those above.
    pub(super) hop: bool,
    pub(super) identity: bool,
    pub(super) mesh: bool,
}

/// Content-Length.
#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
pub(super) enum Length {
    #[default]
    Absent,
    One(u64),
    /// Several fields that agree.
    Repeated(u64),
    /// Fields that differ, a list, or no number.
    Invalid,
}

/// Transfer-Encoding.
#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
pub(super) enum Coding {
    #[default]
    Absent,
    /// Exactly one `chunked`.
    Chunked,
    /// Other codings, and `chunked` once at their end.
    Unsupported,
    Invalid,
}

/// TE.
#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
pub(super) enum Te {
    #[default]
    Absent,
    /// Exactly `trailers`.
    Trailers,
    /// `trailers` and transfer codings, which are between neighbours.
    Mixed,
    /// No `trailers`.
    Other,
}

/// Expect.
#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
pub(super) enum Expect {
    #[default]
    Absent,
    Continue,
    Other,
}

/// Upgrade.
#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
pub(super) enum Upgrade {
    #[default]
    Absent,
    /// Only to HTTP/2 over plaintext, which nobody needs: prior knowledge does the same.
    H2c,
    Other,
}

impl Seen {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut seen = Self::default();
        for (name, value) in headers {
            seen.bytes += name.as_str().len() + value.len() + 4;
            match class(name) {
                Class::Plain => {}
                Class::Host => seen.hosts += 1,
                Class::Cookie => seen.cookies += 1,
                Class::ContentLength => seen.length = seen.length.and(value),
                Class::TransferEncoding => seen.coding = seen.coding.and(value),
                Class::ContentType => seen.grpc = is_grpc(value.as_bytes()),
                Class::Te => seen.te = seen.te.and(value),
                Class::Expect => seen.expect = expect(value),
                Class::Upgrade => seen.upgrade = seen.upgrade.and(value),
                Class::Connection => seen.connection = true,
                Class::Trailer => seen.trailer = true,
                Class::Hop => seen.hop = true,
                Class::Identity => seen.identity = true,
                Class::Mesh => seen.mesh = true,
            }
        }
        seen
    }
}

impl Length {
    fn and(self, value: &HeaderValue) -> Self {
        match (self, number(value.as_bytes())) {
            (Self::Absent, Some(number)) => Self::One(number),
            (Self::One(first) | Self::Repeated(first), Some(number)) if first == number => {
                Self::Repeated(number)
            }
            _ => Self::Invalid,
        }
    }
}

impl Coding {
    fn and(self, value: &HeaderValue) -> Self {
        let mut coding = self;
        let mut any = false;
        for element in elements(value.as_bytes()) {
            any = true;
            let chunked = element.eq_ignore_ascii_case(b"chunked");
            coding = match (coding, chunked) {
                (Self::Absent, true) => Self::Chunked,
                // Until a chunked follows, it is a coding that does not end in chunked.
                (Self::Absent | Self::Invalid, false) => Self::Invalid,
                (Self::Invalid, true) if self == Self::Absent => Self::Unsupported,
                _ => return Self::Invalid,
            };
        }
        if any { coding } else { Self::Invalid }
    }
}

impl Te {
    fn and(self, value: &HeaderValue) -> Self {
        let bytes = value.as_bytes();
        if self == Self::Absent && bytes == b"trailers" {
            return Self::Trailers;
        }
        let asked = elements(bytes).any(|element| element.eq_ignore_ascii_case(b"trailers"));
        if asked || matches!(self, Self::Trailers | Self::Mixed) { Self::Mixed } else { Self::Other }
    }

    /// Whether trailers are welcome.
    pub(super) fn wants_trailers(self) -> bool {
        matches!(self, Self::Trailers | Self::Mixed)
    }
}

impl Upgrade {
    fn and(self, value: &HeaderValue) -> Self {
        let h2c = elements(value.as_bytes()).all(|element| element.eq_ignore_ascii_case(b"h2c"));
        if h2c && self != Self::Other { Self::H2c } else { Self::Other }
    }
}

fn expect(value: &HeaderValue) -> Expect {
    if value.as_bytes().eq_ignore_ascii_case(b"100-continue") { Expect::Continue } else { Expect::Other }
}

/// A decimal number without sign or white space.
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, &digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: &[(&'static str, &'static str)]) -> Seen {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        Seen::of(&headers)
    }

    #[test]
    fn lengths() {
        let length = |values: &[&'static str]| {
            let fields: Vec<_> = values.iter().map(|value| ("content-length", *value)).collect();
            of(&fields).length
        };
        assert_eq!(length(&[]), Length::Absent);
        assert_eq!(length(&["5"]), Length::One(5));
        assert_eq!(length(&["5", "05"]), Length::Repeated(5));
        for values in [
            &["5", "6"][..],
            &["5, 5"],
            &[""],
            &["+5"],
            &["-1"],
            &["0x5"],
            &["5 "],
            &["18446744073709551616"],
        ] {
            assert_eq!(length(values), Length::Invalid, "{values:?}");
        }
    }

    #[test]
    fn codings() {
        let coding = |values: &[&'static str]| {
            let fields: Vec<_> = values.iter().map(|value| ("transfer-encoding", *value)).collect();
            of(&fields).coding
        };
        assert_eq!(coding(&["chunked"]), Coding::Chunked);
        assert_eq!(coding(&["Chunked"]), Coding::Chunked);
        assert_eq!(coding(&["gzip, chunked"]), Coding::Unsupported);
        assert_eq!(coding(&["gzip, br ,chunked"]), Coding::Unsupported);
        for values in [
            &["chunked, chunked"][..],
            &["chunked", "chunked"],
            &["gzip"],
            &["chunked, gzip"],
            &[""],
            &["identity"],
        ] {
            assert_eq!(coding(values), Coding::Invalid, "{values:?}");
        }
    }

    #[test]
    fn te() {
        assert_eq!(of(&[("te", "trailers")]).te, Te::Trailers);
        assert_eq!(of(&[("te", "gzip, Trailers")]).te, Te::Mixed);
        assert_eq!(of(&[("te", "gzip"), ("te", "trailers")]).te, Te::Mixed);
        assert_eq!(of(&[("te", "gzip")]).te, Te::Other);
    }

    #[test]
    fn upgrades() {
        assert_eq!(of(&[("upgrade", "h2c")]).upgrade, Upgrade::H2c);
        assert_eq!(of(&[("upgrade", "h2c"), ("upgrade", "websocket")]).upgrade, Upgrade::Other);
        assert_eq!(of(&[("upgrade", "websocket, h2c")]).upgrade, Upgrade::Other);
    }
}
