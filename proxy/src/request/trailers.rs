//! Which trailers are passed on: all but those that frame, route or identify.
//!
//! A trailer arrives after every decision was made on the head, so it must not be able to say what only a head may say.
//! Names are compared with `_` and `.` read as `-`, as an app may read them.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::names::{elements, same_name};

/// Never a trailer (RFC 9110 6.5.1): framing, routing, and what tells an app who calls. `x-outrigger-*` beside these.
const FORBIDDEN: [&str; 27] = [
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-client-cert",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
];

const MESH_PREFIX: &str = "x-outrigger-";

/// What gRPC sends as trailers, announced to HTTP/1 callers.
const GRPC_TRAILERS: HeaderValue =
    HeaderValue::from_static("grpc-status, grpc-message, grpc-status-details-bin");

/// The trailers are larger than the limit: the stream is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("trailers are larger than the limit")]
pub struct TrailersTooLarge;

/// Takes off every trailer that may not be one; returns how many went.
///
/// # Errors
/// [`TrailersTooLarge`] when names and values, with 4 bytes each as HTTP/1 writes them, exceed `limit`.
pub fn filter(trailers: &mut HeaderMap, limit: u32) -> Result<u32, TrailersTooLarge> {
    let mut bytes = 0;
    let mut refused = 0;
    for (name, value) in trailers.iter() {
        bytes += name.as_str().len() + value.len() + 4;
        refused += u32::from(is_forbidden(name.as_str().as_bytes()));
    }
    if bytes > limit as usize {
        return Err(TrailersTooLarge);
    }
    if refused > 0 {
        let names: Vec<HeaderName> =
            trailers.keys().filter(|name| is_forbidden(name.as_str().as_bytes())).cloned().collect();
        for name in names {
            trailers.remove(name);
        }
    }
    Ok(refused)
}

fn is_forbidden(name: &[u8]) -> bool {
    let mesh = name.get(..MESH_PREFIX.len()).is_some_and(|start| same_name(start, MESH_PREFIX.as_bytes()));
    mesh || FORBIDDEN.iter().any(|forbidden| same_name(name, forbidden.as_bytes()))
}

/// Announces the trailers of a gRPC answer to an HTTP/1 caller: a chunked body can carry only announced ones. What the
/// answer announces itself stays.
pub(super) fn announce_grpc(headers: &mut HeaderMap) {
    let announced = headers
        .get_all(header::TRAILER)
        .iter()
        .any(|value| elements(value.as_bytes()).any(|element| element.eq_ignore_ascii_case(b"grpc-status")));
    if !announced {
        headers.append(header::TRAILER, GRPC_TRAILERS);
    }
}

/// How many of `trailers` a `Trailer` field announces not: an HTTP/1 caller will not see these.
pub fn unannounced(head: &HeaderMap, trailers: &HeaderMap) -> usize {
    trailers
        .keys()
        .filter(|name| {
            !head.get_all(header::TRAILER).iter().any(|value| {
                elements(value.as_bytes())
                    .any(|element| element.eq_ignore_ascii_case(name.as_str().as_bytes()))
            })
        })
        .count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn map(names: &[&str]) -> HeaderMap {
        names
            .iter()
            .map(|name| (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static("v")))
            .collect()
    }

    #[test]
    fn what_may_not_be_a_trailer_goes() {
        let mut trailers = map(&[
            "grpc-status",
            "grpc-message",
            "x-checksum",
            "content-length",
            "Content_Length",
            "transfer-encoding",
            "host",
            "x-forwarded-client-cert",
            "x_forwarded.client_cert",
            "x-outrigger-error",
            "x.outrigger.attempt",
            "authorization",
        ]);
        assert_eq!(filter(&mut trailers, 16 * 1024), Ok(9));
        assert_eq!(trailers, map(&["grpc-status", "grpc-message", "x-checksum"]));
    }

    #[test]
    fn a_limit_on_bytes() {
        let mut trailers = HeaderMap::new();
        trailers.insert("a", HeaderValue::from_str(&"v".repeat(95)).unwrap());
        assert_eq!(filter(&mut trailers.clone(), 100), Ok(0));
        trailers.insert("b", HeaderValue::from_static(""));
        assert_eq!(filter(&mut trailers, 100), Err(TrailersTooLarge));
    }

    #[test]
    fn grpc_trailers_are_announced_once() {
        let mut headers = HeaderMap::new();
        announce_grpc(&mut headers);
        announce_grpc(&mut headers);
        assert_eq!(headers.get_all("trailer").iter().count(), 1);
        assert_eq!(unannounced(&headers, &map(&["grpc-status", "x-checksum"])), 1);
    }

    proptest! {
        /// However a name is written, what is left could not be read as forbidden.
        #[test]
        fn no_alias_passes(at in 0..FORBIDDEN.len(), mask: u64) {
            let alias: String = FORBIDDEN[at]
                .chars()
                .enumerate()
                .map(|(at, c)| if c == '-' { ['-', '_', '.'][(mask >> (2 * at) & 3) as usize % 3] } else { c })
                .collect();
            let mut trailers = map(&[&alias]);
            prop_assert_eq!(filter(&mut trailers, 1024), Ok(1));
            prop_assert!(trailers.is_empty());
        }
    }
}
