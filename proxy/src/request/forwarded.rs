//! What the proxy tells the app about its caller: `x-forwarded-for`, `x-forwarded-proto`, `x-forwarded-client-cert`,
//! `x-request-id`.
//!
//! Inbound only, but for the request id. The app sees the sidecar's address as its peer, so it learns the caller's
//! here, as behind any reverse proxy: the peer's IP is appended to `x-forwarded-for` (what stood before came from the
//! peer and is worth what the peer is worth), and `x-forwarded-proto` is set where it is absent. Outbound, the caller
//! is the app itself, whose loopback address tells nobody anything: both are passed on as the app wrote them.
//!
//! `via` is not added, as Envoy and Linkerd do not: servers take it for a cache (nginx stops compressing answers), and
//! loops are found by addresses, not by headers.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, header::Entry};

use super::names::FORWARDED_CLIENT_CERT;

/// The chain of addresses that a request came through.
pub const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The scheme that the caller used.
pub const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Names one request in the logs of all who handle it.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A peer's address as a header value. Made once per connection: a request then only takes a reference.
#[derive(Clone, Debug)]
pub struct PeerAddress(HeaderValue);

impl PeerAddress {
    /// The IP of `peer`; an IPv4 address that came through an IPv6 socket is written as IPv4.
    pub fn new(peer: IpAddr) -> Self {
        let text = peer.to_canonical().to_string();
        Self(HeaderValue::from_str(&text).expect("an IP address is visible ASCII"))
    }
}

/// The scheme of the caller's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Plaintext.
    Http,
    /// TLS.
    Https,
}

/// Tells the app who called. For inbound requests, after the strict check.
pub fn tell_app(headers: &mut HeaderMap, peer: &PeerAddress, scheme: Scheme) {
    match headers.entry(FORWARDED_FOR) {
        Entry::Vacant(vacant) => {
            vacant.insert(peer.0.clone());
        }
        Entry::Occupied(mut occupied) => {
            // One field, because some servers read the first one only.
            let mut joined = Vec::with_capacity(64);
            for value in occupied.iter() {
                joined.extend_from_slice(value.as_bytes());
                joined.extend_from_slice(b", ");
            }
            joined.extend_from_slice(peer.0.as_bytes());
            if let Ok(value) = HeaderValue::from_maybe_shared(bytes::Bytes::from(joined)) {
                occupied.insert(value);
            }
        }
    }
    if let Entry::Vacant(vacant) = headers.entry(FORWARDED_PROTO) {
        vacant.insert(match scheme {
            Scheme::Http => HeaderValue::from_static("http"),
            Scheme::Https => HeaderValue::from_static("https"),
        });
    }
}

/// Tells the app by which certificate its caller is known.
pub fn tell_certificate(headers: &mut HeaderMap, value: &HeaderValue) {
    headers.insert(FORWARDED_CLIENT_CERT, value.clone());
}

/// Gives the request an id where it has none: a version 4 UUID made of `random`. Ids of callers are kept, so that one
/// id follows a request through the whole mesh.
pub fn ensure_request_id(headers: &mut HeaderMap, random: (u64, u64)) {
    if let Entry::Vacant(vacant) = headers.entry(REQUEST_ID) {
        vacant.insert(uuid(random));
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// RFC 9562 5.4: 122 random bits, version 4, variant 10.
fn uuid((high, low): (u64, u64)) -> HeaderValue {
    let high = high & 0xffff_ffff_ffff_0fff | 0x4000;
    let low = low & 0x3fff_ffff_ffff_ffff | 0x8000_0000_0000_0000;
    let mut text = [b'-'; 36];
    let mut digits = [high, low].into_iter().flat_map(u64::to_be_bytes);
    let mut at = 0;
    for bytes in [4, 2, 2, 2, 6] {
        for byte in digits.by_ref().take(bytes) {
            text[at] = HEX[usize::from(byte >> 4)];
            text[at + 1] = HEX[usize::from(byte & 15)];
            at += 2;
        }
        at += 1;
    }
    let mut id = HeaderValue::from_bytes(&text).expect("hexadecimal digits and hyphens are visible ASCII");
    // Never seen twice on a connection: HTTP/2 must not push useful fields out of its table for it (RFC 7541, 7.1.3).
    id.set_sensitive(true);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peer_is_appended() {
        let peer = PeerAddress::new("::ffff:10.0.0.1".parse().unwrap());
        let mut headers = HeaderMap::new();
        tell_app(&mut headers, &peer, Scheme::Http);
        assert_eq!(headers[FORWARDED_FOR], "10.0.0.1");
        assert_eq!(headers[FORWARDED_PROTO], "http");

        let mut headers = HeaderMap::new();
        headers.append(FORWARDED_FOR, HeaderValue::from_static("1.1.1.1, 2.2.2.2"));
        headers.append(FORWARDED_FOR, HeaderValue::from_static("3.3.3.3"));
        headers.append(FORWARDED_PROTO, HeaderValue::from_static("https"));
        tell_app(&mut headers, &peer, Scheme::Http);
        assert_eq!(headers.get_all(FORWARDED_FOR).iter().count(), 1);
        assert_eq!(headers[FORWARDED_FOR], "1.1.1.1, 2.2.2.2, 3.3.3.3, 10.0.0.1");
        assert_eq!(headers[FORWARDED_PROTO], "https");
    }

    #[test]
    fn ids_are_uuids_and_are_kept() {
        let mut headers = HeaderMap::new();
        ensure_request_id(&mut headers, (0, 0));
        assert_eq!(headers[REQUEST_ID], "00000000-0000-4000-8000-000000000000");
        ensure_request_id(&mut headers, (1, 1));
        assert_eq!(headers[REQUEST_ID], "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid((u64::MAX, u64::MAX)), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(
            uuid((0x0123_4567_89ab_cdef, 0x0123_4567_89ab_cdef)),
            "01234567-89ab-4def-8123-456789abcdef"
        );
    }
}
