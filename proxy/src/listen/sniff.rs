//! What a connection speaks of which nobody has declared it, told from its first bytes.
//!
//! A pure core. Stricter than `detect.rs`, which may take everything for HTTP that is not certainly something else: here what
//! is not certainly HTTP or TLS is passed on whole, so a request line is believed only when it is complete. The shell asks
//! again with more bytes until there is a verdict or no time left.

use super::detect::PREFACE;

/// The longest request line that is waited for.
pub const MOST: usize = 16 * 1024 + 64;

/// No method is longer, registered or not.
const METHOD: usize = 32;

/// What the bytes so far say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They may begin HTTP or TLS, and do not say yet.
    NeedMore,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// A request line of HTTP/1.
    Http1,
    /// A TLS record with a ClientHello.
    Tls,
    /// None of these.
    Other,
}

/// Judges all bytes that a connection began with.
pub fn sniff(bytes: &[u8]) -> Verdict {
    let bytes = &bytes[..bytes.len().min(MOST)];
    let shared = bytes.len().min(PREFACE.len());
    if bytes[..shared] == PREFACE[..shared] {
        return if shared == PREFACE.len() { Verdict::Http2 } else { Verdict::NeedMore };
    }
    match bytes {
        [22, ..] => client_hello(bytes),
        _ => request_line(bytes),
    }
}

/// A record of type handshake (RFC 8446 5.1) that begins a message of type client_hello.
fn client_hello(bytes: &[u8]) -> Verdict {
    match bytes {
        [22, 3, minor, _, _, 1, ..] if *minor <= 4 => Verdict::Tls,
        [22] | [22, 3] | [22, 3, _] | [22, 3, _, _] | [22, 3, _, _, _] => Verdict::NeedMore,
        _ => Verdict::Other,
    }
}

/// `method SP target SP HTTP/1.x` (RFC 9112, section 3), after an empty line if there is one.
fn request_line(bytes: &[u8]) -> Verdict {
    let line = match bytes {
        [b'\r'] => return Verdict::NeedMore,
        [b'\r', b'\n', line @ ..] | [b'\n', line @ ..] => line,
        line => line,
    };
    let Some(space) = line.iter().position(|byte| !is_token(*byte)) else {
        return if line.len() <= METHOD { Verdict::NeedMore } else { Verdict::Other };
    };
    if line[space] != b' ' || !(1..=METHOD).contains(&space) {
        return Verdict::Other;
    }
    let rest = &line[space + 1..];
    let end = rest.iter().position(|byte| *byte == b'\n');
    let target =
        rest[..end.unwrap_or(rest.len())].strip_suffix(b"\r").unwrap_or(&rest[..end.unwrap_or(rest.len())]);
    if target.iter().any(|byte| *byte < b' ' || *byte == 0x7f) {
        return Verdict::Other;
    }
    match (end, target) {
        (None, _) if bytes.len() < MOST => Verdict::NeedMore,
        (Some(_), [_, .., b' ', b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0'..=b'9']) => Verdict::Http1,
        _ => Verdict::Other,
    }
}

/// A byte of a token (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_of_many_protocols() {
        for (bytes, verdict) in [
            (&b""[..], Verdict::NeedMore),
            (b"GET / HTTP/1.1\r\n", Verdict::Http1),
            (b"get /x HTTP/1.0\n", Verdict::Http1),
            (b"\r\nPURGE-ALL * HTTP/1.1\r\n", Verdict::Http1),
            (b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n", Verdict::Http1),
            (b"GET / HTTP/1.1", Verdict::NeedMore),
            (b"GET / HTTP/1.1\r", Verdict::NeedMore),
            (b"GET /", Verdict::NeedMore),
            (b"P", Verdict::NeedMore),
            (b"PRI * HTTP/2.0\r\n\r\nSM", Verdict::NeedMore),
            (PREFACE, Verdict::Http2),
            (b"PRI * HTTP/1.1\r\n", Verdict::Http1),
            (b"GET / HTTP/2.0\r\n", Verdict::Other),
            (b"GET /\r\n", Verdict::Other),
            (b"GET  HTTP/1.1\r\n", Verdict::Other),
            // Redis, inline and not; SMTP; SSH; PostgreSQL; MongoDB; the PROXY protocol.
            (b"PING\r\n", Verdict::Other),
            (b"SET a b\r\n", Verdict::Other),
            (b"*1\r\n$4\r\nPING\r\n", Verdict::Other),
            (b"EHLO example.com\r\n", Verdict::Other),
            (b"SSH-2.0-OpenSSH_9.2\r\n", Verdict::Other),
            (b"\0\0\0\x08\x04\xd2\x16\x2f", Verdict::Other),
            (b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n", Verdict::Other),
            (b"\x16\x03\x01\x02\x00\x01\x00", Verdict::Tls),
            (b"\x16\x03\x01", Verdict::NeedMore),
            (b"\x16\x03\x01\x02\x00\x02", Verdict::Other),
            (b"\x16\x01", Verdict::Other),
        ] {
            assert_eq!(sniff(bytes), verdict, "{:?}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(sniff(&[b'a'; METHOD + 1]), Verdict::Other);
        let long = [b"GET /".as_slice(), &[b'a'; MOST]].concat();
        assert_eq!(sniff(&long), Verdict::Other);
    }

    #[test]
    fn what_is_told_does_not_change_with_more_bytes() {
        for whole in [
            &b"GET /a HTTP/1.1\r\nHost: b\r\n\r\n"[..],
            PREFACE,
            b"SET a b\r\nGET a\r\n",
            b"\x16\x03\x03\0\x40\x01\0",
        ] {
            let told: Vec<Verdict> = (1..=whole.len()).map(|end| sniff(&whole[..end])).collect();
            let first = told.iter().position(|verdict| *verdict != Verdict::NeedMore).unwrap();
            assert!(told[first..].iter().all(|verdict| *verdict == told[first]), "{told:?}");
        }
    }
}
