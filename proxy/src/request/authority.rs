//! The authority that a request is for: a host and, where written, a port.
//!
//! Only letters, digits, `-`, `.`, `_` and `~` make a host here, or an IP address; user information, escapes and the
//! other characters that RFC 3986 allows have no use in a Host and many ways to be read differently.

use std::net::{IpAddr, Ipv6Addr};

use http::HeaderValue;

use crate::error::Malformed;

/// The longest host name that DNS allows, with a dot at its end.
const MAX_HOST: usize = 254;

/// A valid authority.
#[derive(Clone, Debug)]
pub struct Authority {
    written: HeaderValue,
    /// The host in lower case, where `written` is not.
    lowered: Option<Box<str>>,
    host_len: u8,
    port: Option<u16>,
}

impl Authority {
    /// Reads a Host field or the authority of a URI. Allocates only for a host with upper-case letters.
    ///
    /// # Errors
    /// [`Malformed::InvalidHost`] for what is not a host with an optional port of 1 to 65535.
    pub fn parse(written: &HeaderValue) -> Result<Self, Malformed> {
        let shape = Shape::of(written.as_bytes()).ok_or(Malformed::InvalidHost)?;
        let text = written.to_str().map_err(|_| Malformed::InvalidHost)?;
        let lowered =
            shape.upper.then(|| text[..usize::from(shape.host_len)].to_ascii_lowercase().into_boxed_str());
        Ok(Self { written: written.clone(), lowered, host_len: shape.host_len, port: shape.port })
    }

    /// The host: lower case, without port and without a dot at its end. An IPv6 address keeps its brackets.
    pub fn host(&self) -> &str {
        match &self.lowered {
            Some(lowered) => lowered,
            // `parse` saw ASCII.
            None => self.written.to_str().map_or("", |text| &text[..usize::from(self.host_len)]),
        }
    }

    /// The port, where one was written. Never 0.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The host as an address, where it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        let host = self.host();
        match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            None => host.parse().ok(),
        }
    }

    /// The authority as the caller wrote it: the value of Host.
    pub fn as_written(&self) -> &HeaderValue {
        &self.written
    }
}

struct Shape {
    host_len: u8,
    port: Option<u16>,
    upper: bool,
}

impl Shape {
    fn of(text: &[u8]) -> Option<Self> {
        if text.first() == Some(&b'[') {
            return Self::of_ipv6(text);
        }
        let mut upper = false;
        let mut end = text.len();
        for (at, &byte) in text.iter().enumerate() {
            match byte {
                b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => {}
                // No empty labels.
                b'.' if at > 0 && text[at - 1] != b'.' => {}
                b'A'..=b'Z' => upper = true,
                b':' => {
                    end = at;
                    break;
                }
                _ => return None,
            }
        }
        let port = port(&text[end..])?;
        let host = &text[..end];
        let host = host.strip_suffix(b".").unwrap_or(host);
        if host.is_empty() || host.len() > MAX_HOST {
            return None;
        }
        Some(Self { host_len: u8::try_from(host.len()).ok()?, port, upper })
    }

    fn of_ipv6(text: &[u8]) -> Option<Self> {
        let close = text.iter().position(|&byte| byte == b']')?;
        let inner = std::str::from_utf8(&text[1..close]).ok()?;
        inner.parse::<Ipv6Addr>().ok()?;
        let port = port(&text[close + 1..])?;
        let upper = inner.bytes().any(|byte| byte.is_ascii_uppercase());
        Some(Self { host_len: u8::try_from(close + 1).ok()?, port, upper })
    }
}

/// Reads what follows the host: nothing, or a colon and a port.
fn port(rest: &[u8]) -> Option<Option<u16>> {
    let Some((colon, digits)) = rest.split_first() else { return Some(None) };
    if *colon != b':' || digits.is_empty() || digits.len() > 5 {
        return None;
    }
    let mut number = 0u32;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        number = number * 10 + u32::from(digit - b'0');
    }
    u16::try_from(number).ok().filter(|port| *port != 0).map(Some)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Authority, Malformed> {
        Authority::parse(&HeaderValue::from_bytes(text.as_bytes()).unwrap())
    }

    #[test]
    fn accepted() {
        for (written, host, port) in [
            ("reviews", "reviews", None),
            ("Reviews.Shop:80", "reviews.shop", Some(80)),
            ("reviews.", "reviews", None),
            ("reviews.:8080", "reviews", Some(8080)),
            ("10.0.0.1:65535", "10.0.0.1", Some(65535)),
            ("[::1]", "[::1]", None),
            ("[2001:DB8::1]:443", "[2001:db8::1]", Some(443)),
            ("a_b~c", "a_b~c", None),
        ] {
            let authority = parse(written).unwrap();
            assert_eq!((authority.host(), authority.port()), (host, port), "{written}");
            assert_eq!(authority.as_written(), written);
        }
        assert_eq!(parse("[::1]:80").unwrap().ip(), Some("::1".parse().unwrap()));
        assert_eq!(parse("127.0.0.1").unwrap().ip(), Some("127.0.0.1".parse().unwrap()));
        assert_eq!(parse("localhost").unwrap().ip(), None);
    }

    #[test]
    fn refused() {
        for written in [
            "",
            ".",
            "..",
            ".a",
            "a..",
            "a..b",
            ":80",
            "a:",
            "a:0",
            "a:65536",
            "a:123456",
            "a:8x",
            "a:80:80",
            "user@host",
            "a b",
            "a,b",
            "a/b",
            "a%41",
            "a?b",
            "a#b",
            "[::1",
            "[::1]x",
            "[::1]:",
            "[1.2.3.4]",
            "[fe80::1%25eth0]",
            "::1",
            "höst",
            "a\\b",
        ] {
            assert_eq!(parse(written).err(), Some(Malformed::InvalidHost), "{written}");
        }
        assert!(parse(&"a".repeat(254)).is_ok());
        assert!(parse(&"a".repeat(255)).is_err());
    }

    proptest! {
        #[test]
        fn never_panics(written in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(value) = HeaderValue::from_bytes(&written)
                && let Ok(authority) = Authority::parse(&value)
            {
                prop_assert!(!authority.host().is_empty());
                let again = parse(authority.host()).unwrap();
                prop_assert_eq!(again.host(), authority.host());
            }
        }
    }
}
