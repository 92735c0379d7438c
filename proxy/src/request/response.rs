//! An upstream's answer on its way down: the same hygiene as for requests, and the form that the caller's version wants.
//!
//! An interim answer (1xx) never comes here: hyper takes those in on HTTP/1, and they are the upstream module's on
//! HTTP/2.

use http::{StatusCode, Version, header, response::Parts};

use super::{
    hop,
    names::Class,
    seen::{Coding, Length, Seen, Te, Upgrade},
    trailers,
};
use crate::error::Failure;

/// What is known beside the answer's head.
#[derive(Clone, Copy, Debug)]
pub struct ResponseContext {
    /// The version that the caller speaks.
    pub downstream: Version,
    /// The caller takes trailers ([`Checked::trailers`](super::strict::Checked::trailers)).
    pub trailers: bool,
    /// The upstream proved to be a proxy of the mesh: what it says in `x-outrigger-*` stays.
    pub upstream_authenticated: bool,
}

/// What the head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Content-Type says gRPC.
    pub grpc: bool,
    /// The length that was promised.
    pub length: Option<u64>,
    /// An HTTP/1 caller that does not take trailers, or the HTTP/1.0 form, which has none: what comes is lost, and
    /// wants counting.
    pub trailers_lost: bool,
}

/// Checks an answer's head and normalises it in place, for the version that the caller speaks. No field of ours is in it
/// afterwards, but for those of an authenticated upstream.
///
/// # Errors
/// [`Failure::UpstreamProtocol`] when the answer's length cannot be told for sure.
pub fn prepare(parts: &mut Parts, cx: &ResponseContext) -> Result<Answer, Failure> {
    let seen = Seen::of(&parts.headers);
    let length = length(parts.version, &seen)?;
    strip(parts, &seen, cx);
    let http1 = cx.downstream != Version::HTTP_2;
    if http1 && seen.grpc && cx.trailers && cx.downstream == Version::HTTP_11 {
        trailers::announce_grpc(&mut parts.headers);
    }
    // hyper downgrades to 1.0 by itself: length or close, never chunked. What the upstream spoke must not show.
    parts.version = if http1 { Version::HTTP_11 } else { Version::HTTP_2 };
    Ok(Answer {
        grpc: seen.grpc,
        length,
        trailers_lost: http1 && !(cx.trailers && cx.downstream == Version::HTTP_11),
    })
}

fn length(version: Version, seen: &Seen) -> Result<Option<u64>, Failure> {
    match (seen.coding, version) {
        (Coding::Absent, _) => {}
        // RFC 9112 6.3: the coding wins over a length, which is not passed on.
        (Coding::Chunked, Version::HTTP_11) => return Ok(None),
        // A body in a coding that we do not take off would go on without its label.
        _ => return Err(Failure::UpstreamProtocol),
    }
    match seen.length {
        Length::Absent => Ok(None),
        Length::One(length) | Length::Repeated(length) => Ok(Some(length)),
        Length::Invalid => Err(Failure::UpstreamProtocol),
    }
}

fn strip(parts: &mut Parts, seen: &Seen, cx: &ResponseContext) {
    let headers = &mut parts.headers;
    if seen.connection {
        hop::strip_connection(headers);
    }
    if seen.coding != Coding::Absent {
        headers.remove(header::TRANSFER_ENCODING);
    }
    let no_length = seen.coding != Coding::Absent || parts.status == StatusCode::NO_CONTENT;
    match seen.length {
        Length::Absent => {}
        _ if no_length => {
            headers.remove(header::CONTENT_LENGTH);
        }
        Length::Repeated(_) => {
            if let Some(length) = headers.remove(header::CONTENT_LENGTH) {
                headers.insert(header::CONTENT_LENGTH, length);
            }
        }
        Length::One(_) | Length::Invalid => {}
    }
    if seen.upgrade != Upgrade::Absent {
        headers.remove(header::UPGRADE);
    }
    if seen.te != Te::Absent {
        headers.remove(header::TE);
    }
    let mesh = seen.mesh && !cx.upstream_authenticated;
    if seen.hop || mesh {
        hop::strip_where(headers, |class| class == Class::Hop || (class == Class::Mesh && mesh));
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Response};

    use super::*;

    const CX: ResponseContext =
        ResponseContext { downstream: Version::HTTP_11, trailers: false, upstream_authenticated: false };

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn prepared(
        version: Version,
        fields: &[(&'static str, &'static str)],
        cx: ResponseContext,
    ) -> Result<(Answer, Parts), Failure> {
        let mut parts = Response::new(()).into_parts().0;
        parts.version = version;
        parts.headers = map(fields);
        prepare(&mut parts, &cx).map(|answer| (answer, parts))
    }

    #[test]
    fn neighbours_fields_go() {
        let fields = [
            ("connection", "x-a, keep-alive"),
            ("keep-alive", "timeout=5"),
            ("x-a", "1"),
            ("proxy-connection", "close"),
            ("upgrade", "h2c"),
            ("te", "trailers"),
            ("x-outrigger-error", "forged"),
            ("x_outrigger_overloaded", "forged"),
            ("server", "s"),
        ];
        let (_, parts) = prepared(Version::HTTP_11, &fields, CX).unwrap();
        assert_eq!(parts.headers, map(&[("server", "s")]));
        let mesh = ResponseContext { upstream_authenticated: true, ..CX };
        let (_, parts) = prepared(Version::HTTP_11, &fields, mesh).unwrap();
        assert_eq!(parts.headers["x-outrigger-error"], "forged");
        assert!(!parts.headers.contains_key("keep-alive"));
    }

    #[test]
    fn lengths() {
        let (answer, parts) =
            prepared(Version::HTTP_11, &[("content-length", "5"), ("content-length", "5")], CX).unwrap();
        assert_eq!(answer.length, Some(5));
        assert_eq!(parts.headers, map(&[("content-length", "5")]));
        for fields in [
            &[("content-length", "5"), ("content-length", "6")][..],
            &[("content-length", "5, 5")],
            &[("content-length", "x")],
            &[("transfer-encoding", "gzip")],
            &[("transfer-encoding", "gzip, chunked")],
        ] {
            assert_eq!(
                prepared(Version::HTTP_11, fields, CX).err(),
                Some(Failure::UpstreamProtocol),
                "{fields:?}"
            );
        }
        let both = [("content-length", "5"), ("transfer-encoding", "chunked")];
        let (answer, parts) = prepared(Version::HTTP_11, &both, CX).unwrap();
        assert_eq!((answer.length, parts.headers.len()), (None, 0));
        assert!(prepared(Version::HTTP_10, &both, CX).is_err());
        assert!(prepared(Version::HTTP_2, &both, CX).is_err());
    }

    #[test]
    fn no_content_has_no_length() {
        let mut parts =
            Response::builder().status(204).header("content-length", "0").body(()).unwrap().into_parts().0;
        prepare(&mut parts, &CX).unwrap();
        assert!(parts.headers.is_empty());
    }

    #[test]
    fn the_version_is_the_callers() {
        let (_, parts) = prepared(Version::HTTP_10, &[], CX).unwrap();
        assert_eq!(parts.version, Version::HTTP_11);
        let (_, parts) =
            prepared(Version::HTTP_11, &[], ResponseContext { downstream: Version::HTTP_2, ..CX }).unwrap();
        assert_eq!(parts.version, Version::HTTP_2);
    }

    #[test]
    fn grpc_trailers_are_announced_to_http1_callers_that_take_them() {
        let grpc = [("content-type", "application/grpc")];
        let takes = ResponseContext { trailers: true, ..CX };
        let (answer, parts) = prepared(Version::HTTP_2, &grpc, takes).unwrap();
        assert_eq!(parts.headers["trailer"], "grpc-status, grpc-message, grpc-status-details-bin");
        assert!(answer.grpc && !answer.trailers_lost);
        for cx in [
            CX,
            ResponseContext { downstream: Version::HTTP_10, ..takes },
            ResponseContext { downstream: Version::HTTP_2, ..takes },
        ] {
            let (answer, parts) = prepared(Version::HTTP_2, &grpc, cx).unwrap();
            assert!(!parts.headers.contains_key("trailer"));
            assert_eq!(answer.trailers_lost, cx.downstream != Version::HTTP_2);
        }
    }
}
