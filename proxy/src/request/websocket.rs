//! The two fields by which the ends of a WebSocket handshake know that they understood each other (RFC 6455 section 4.2.2).
//!
//! HTTP/2 has no need of them (RFC 8441 section 5): where one side of the proxy speaks HTTP/1.1 and the other HTTP/2, the
//! proxy makes, checks or drops them. They are no secret and no proof of anything.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use http::{HeaderName, HeaderValue};

/// A caller's nonce.
pub const KEY: HeaderName = HeaderName::from_static("sec-websocket-key");
/// What the endpoint makes of it.
pub const ACCEPT: HeaderName = HeaderName::from_static("sec-websocket-accept");

const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The value of [`KEY`] for 16 bytes of `random`.
pub fn key(random: (u64, u64)) -> HeaderValue {
    base64(&[random.0.to_be_bytes(), random.1.to_be_bytes()].concat())
}

/// The value of [`ACCEPT`] that belongs to a key.
pub fn accept(key: &HeaderValue) -> HeaderValue {
    base64(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key.as_bytes(), GUID].concat()).as_ref())
}

/// RFC 4648 section 4, with padding.
fn base64(bytes: &[u8]) -> HeaderValue {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let whole =
            chunk.iter().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = DIGITS[(whole >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= chunk.len() { digit } else { b'=' });
        }
    }
    HeaderValue::from_bytes(&text).expect("base64 is visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_rfc_4648() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn the_example_of_rfc_6455() {
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept(&key), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(super::key((u64::MAX, 0)), "//////////8AAAAAAAAAAA==");
    }
}
