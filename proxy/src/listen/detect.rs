//! What a connection speaks, told from its first bytes.
//!
//! A pure core: the shell reads, feeds what it read, and replays all of it to whoever serves the connection.

/// The bytes that begin an HTTP/2 connection with prior knowledge (RFC 9113 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the bytes so far say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They begin as the HTTP/2 preface does, and it is not whole yet.
    NeedMore,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// The first byte may begin a request line; whether it is one, the HTTP/1 parser decides.
    Http1,
    /// A TLS ClientHello record.
    Tls,
    /// Neither: no method begins with this byte.
    Unknown,
}

/// Follows the first bytes of one connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Detector {
    matched: u8,
}

impl Detector {
    /// A detector that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes, in any chunking. Once it says something other than [`Verdict::NeedMore`] that is final,
    /// and it must not be fed again. At most 24 bytes are needed.
    pub fn feed(&mut self, bytes: &[u8]) -> Verdict {
        for &byte in bytes {
            let at = usize::from(self.matched);
            if PREFACE.get(at) == Some(&byte) {
                self.matched += 1;
                if usize::from(self.matched) == PREFACE.len() {
                    return Verdict::Http2;
                }
            } else if at > 0 {
                // `P` began it, so it may be POST, PUT or PATCH.
                return Verdict::Http1;
            } else {
                return first_byte(byte);
            }
        }
        Verdict::NeedMore
    }
}

fn first_byte(byte: u8) -> Verdict {
    match byte {
        // A TLS handshake record. No method has this byte.
        0x16 => Verdict::Tls,
        // An empty line before the request line is allowed (RFC 9112 2.2).
        b'\r' | b'\n' => Verdict::Http1,
        b'!'
        | b'#'..=b'\''
        | b'*'
        | b'+'
        | b'-'
        | b'.'
        | b'0'..=b'9'
        | b'A'..=b'Z'
        | b'^'..=b'z'
        | b'|'
        | b'~' => Verdict::Http1,
        _ => Verdict::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn whole_chunks() {
        for (bytes, expected) in [
            (&b""[..], Verdict::NeedMore),
            (b"P", Verdict::NeedMore),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", Verdict::NeedMore),
            (PREFACE, Verdict::Http2),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12", Verdict::Http2),
            (b"POST / HTTP/1.1\r\n", Verdict::Http1),
            (b"PRI * HTTP/1.1\r\n", Verdict::Http1),
            (b"GET / HTTP/1.1\r\n", Verdict::Http1),
            (b"\r\nGET / HTTP/1.1\r\n", Verdict::Http1),
            (b"\x16\x03\x01\x02\x00\x01", Verdict::Tls),
            (b"\0", Verdict::Unknown),
            (b"\xff", Verdict::Unknown),
            (b" GET", Verdict::Unknown),
        ] {
            assert_eq!(Detector::new().feed(bytes), expected, "{bytes:?}");
        }
    }

    proptest! {
        /// The verdict does not depend on how the bytes arrive.
        #[test]
        fn any_chunking(tail in proptest::collection::vec(any::<u8>(), 0..30), keep in 0usize..=24, cut in 1usize..8) {
            let mut bytes = PREFACE[..keep].to_vec();
            bytes.extend(tail);
            let whole = Detector::new().feed(&bytes);
            let mut detector = Detector::new();
            let chunked = bytes.chunks(cut).map(|chunk| detector.feed(chunk)).find(|v| *v != Verdict::NeedMore);
            prop_assert_eq!(chunked.unwrap_or(Verdict::NeedMore), whole);
        }
    }
}
