//! The two fields by which the ends of a WebSocket handshake know that they understood each other (RFC 6455 section 4.2.2).
//!
//! HTTP/2 has no need of them (RFC 8441 section 5): where one side of the proxy speaks HTTP/1.1 and the other HTTP/2, the
//! proxy makes, checks or drops them. They are no secret and no proof of anything.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
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

fn base64(bytes: &[u8]) -> HeaderValue {
    HeaderValue::try_from(STANDARD.encode(bytes)).expect("base64 is visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_6455() {
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept(&key), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(super::key((u64::MAX, 0)), "//////////8AAAAAAAAAAA==");
    }
}
