//! The answer to a request that the proxy ends itself: status, reason and one line of text, or gRPC's form of these.
//!
//! The caller learns the reason, never policy: no rule, endpoint or address is named.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, Version, header, request::Parts};

use crate::{
    error::{Failure, Flag, Form, Malformed},
    request::{is_grpc, strict::Checked},
};

/// Why the proxy answered.
pub const ERROR: HeaderName = HeaderName::from_static("x-outrigger-error");
/// The proxy, or the Service, has as much as it can take: a caller may go elsewhere, or wait.
pub const OVERLOADED: HeaderName = HeaderName::from_static("x-outrigger-overloaded");

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// What the form of an answer depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The version that the caller speaks.
    pub version: Version,
    /// The caller speaks gRPC.
    pub grpc: bool,
    /// The request is a HEAD.
    pub head: bool,
    /// The request is a CONNECT: no answer of success may be given but with the tunnel.
    pub connect: bool,
}

impl Caller {
    /// Reads the caller from a request's head, checked or not.
    pub fn of(parts: &Parts) -> Self {
        Self::new(&parts.method, parts.version, &parts.headers)
    }

    /// The same from a request that was not taken apart yet.
    pub fn of_request<B>(request: &http::Request<B>) -> Self {
        Self::new(request.method(), request.version(), request.headers())
    }

    /// The same from a checked head.
    pub fn of_checked(checked: &Checked, method: &Method) -> Self {
        let connect = method == Method::CONNECT;
        let grpc = checked.grpc && !connect;
        Self { version: checked.version, grpc, head: method == Method::HEAD, connect }
    }

    fn new(method: &Method, version: Version, headers: &HeaderMap) -> Self {
        let connect = method == Method::CONNECT;
        // gRPC's form of a failure is a 200.
        let grpc =
            headers.get(header::CONTENT_TYPE).is_some_and(|value| is_grpc(value.as_bytes())) && !connect;
        Self { version, grpc, head: method == Method::HEAD, connect }
    }
}

/// The answer to `failure`. Its body is whole; an empty one ends the stream with the head, as gRPC's trailers-only form
/// and HEAD want. A HEAD's Content-Length is that of the text that a GET would get.
pub fn answer(failure: Failure, caller: Caller) -> Response<Bytes> {
    let form = failure.form();
    let mut response =
        if caller.grpc { grpc(form, describe(failure)) } else { plain(form, describe(failure), caller) };
    let headers = response.headers_mut();
    headers.insert(ERROR, HeaderValue::from_static(form.reason));
    if form.flag == Flag::UO {
        headers.insert(OVERLOADED, HeaderValue::from_static("true"));
    }
    // Bytes that a caller has sent for a tunnel must not be read as its next request.
    let doubtful = framing_is_doubtful(failure) || caller.connect || failure == Failure::NoIdentity;
    if caller.version != Version::HTTP_2 && doubtful {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// HTTP 200 and the status in the head, which ends the stream: gRPC's trailers-only form.
fn grpc(form: Form, text: &'static str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.reserve(5);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(form.grpc)));
    headers.insert(GRPC_MESSAGE, grpc_message(text));
    response
}

fn plain(form: Form, text: &'static str, caller: Caller) -> Response<Bytes> {
    let body = Bytes::from(format!("{}: {text}\n", form.reason));
    let length = HeaderValue::from(body.len());
    let mut response = Response::new(if caller.head { Bytes::new() } else { body });
    *response.status_mut() = form.status;
    let headers = response.headers_mut();
    headers.reserve(5);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CONTENT_LENGTH, length);
    response
}

/// Where the request's end is in doubt, nothing that follows on the connection may be read as a request.
fn framing_is_doubtful(failure: Failure) -> bool {
    matches!(
        failure,
        Failure::TransferCoding
            | Failure::BadRequest(
                Malformed::ContentLength | Malformed::LengthAndCoding | Malformed::TransferEncoding
            )
    )
}

/// A value for `grpc-message`: all but printable ASCII, and `%` itself, percent-encoded (gRPC over HTTP/2).
pub fn grpc_message(text: &str) -> HeaderValue {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(byte),
            _ => out.extend([b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
        }
    }
    HeaderValue::from_maybe_shared(Bytes::from(out)).expect("only printable ASCII is left")
}

/// One line for a person. The reason, in `x-outrigger-error`, is for programs.
pub(crate) fn describe(failure: Failure) -> &'static str {
    match failure {
        Failure::BadRequest(what) => describe_malformed(what),
        Failure::UriTooLong => "the URI is longer than this proxy takes",
        Failure::HeaderTooLarge => "the header is larger, or has more fields, than this proxy takes",
        Failure::TransferCoding => "the only transfer coding served is chunked",
        Failure::MethodNotAllowed => "this method is not served here",
        Failure::NoRoute => "no rule of the attached routes matches this request",
        Failure::NoService => "no Service answers to this authority",
        Failure::NoBackend => "the matching rule has no backend that exists",
        Failure::NoPolicy => "no policy for this destination has arrived yet",
        Failure::NoEndpoint => "the destination has no endpoint",
        Failure::ConnectFailed => "the endpoint could not be reached",
        Failure::ConnectTimeout => "the endpoint did not accept the connection in time",
        Failure::TlsFailed => "TLS to the endpoint could not be had",
        Failure::AlpnMismatch => "the endpoint does not speak the protocol that policy gives it",
        Failure::UpstreamReset => "the connection ended before the answer began",
        Failure::UpstreamCut => "the answer was cut off",
        Failure::UpstreamProtocol => "the upstream broke its protocol",
        Failure::UpgradeUnsupported => "the endpoint does not change protocols as this request asks",
        Failure::RequestTimeout => "the request took longer than its timeout",
        Failure::AttemptTimeout => "the upstream did not answer within the attempt timeout",
        Failure::StreamIdle => "no byte moved within the idle timeout",
        Failure::CircuitOpen => "the destination has failed too often and is left in peace for a while",
        Failure::RequestLimit => "as many requests as may be are open to the destination",
        Failure::ConnectionLimit => "no connection to the destination became free in time",
        Failure::PendingLimit => "as many requests as may wait for the destination do",
        Failure::Overloaded => "a limit is reached",
        Failure::ConcurrencyLimit => "this service works on as many requests as it can",
        Failure::RateLimited => "more requests came than a limit of this service lets through",
        Failure::NoIdentity => "this service takes callers with an identity only",
        Failure::FaultInjected(_) => "policy lets this request fail, to see what happens then",
        Failure::InvalidFault => "the fault that this request asks for cannot be read",
        Failure::Loop => "the request would come back to this proxy",
        Failure::NoClientHello => "the first bytes are no TLS ClientHello",
        Failure::Drained => "this proxy has ended",
        Failure::DownstreamGone => "the caller went away",
        Failure::Internal => "an error inside the proxy",
    }
}

fn describe_malformed(what: Malformed) -> &'static str {
    match what {
        Malformed::MissingHost => "the request has no Host",
        Malformed::DuplicateHost => "the request has more than one Host",
        Malformed::InvalidHost => "the Host is not a host with an optional port",
        Malformed::ContentLength => "Content-Length is not one number",
        Malformed::LengthAndCoding => "Content-Length and Transfer-Encoding stand together",
        Malformed::TransferEncoding => {
            "Transfer-Encoding is not exactly one chunked, or has no place in this version"
        }
        Malformed::Path => "the path has no safe reading",
        Malformed::Scheme => "the scheme is neither http nor https",
        Malformed::HttpsProxyForm => {
            "https in HTTP-proxy form: send CONNECT, or http to a Service whose policy adds TLS"
        }
        Malformed::Header => "a header field breaks its rule",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HTTP1: Caller = Caller { version: Version::HTTP_11, grpc: false, head: false, connect: false };
    const GRPC: Caller = Caller { version: Version::HTTP_2, grpc: true, head: false, connect: false };

    #[test]
    fn plain_text() {
        let response = answer(Failure::NoRoute, HTTP1);
        assert_eq!(response.status(), 404);
        assert_eq!(response.headers()["x-outrigger-error"], "no_route");
        assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
        assert_eq!(response.headers()["content-length"], response.body().len().to_string());
        assert_eq!(response.body(), "no_route: no rule of the attached routes matches this request\n");
        assert!(!response.headers().contains_key("connection"));
        assert!(!response.headers().contains_key("x-outrigger-overloaded"));
    }

    #[test]
    fn head_has_the_length_and_no_body() {
        let response = answer(Failure::NoRoute, Caller { head: true, ..HTTP1 });
        assert!(response.body().is_empty());
        assert_ne!(response.headers()["content-length"], "0");
    }

    #[test]
    fn grpc_is_trailers_only() {
        let response = answer(Failure::Overloaded, GRPC);
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/grpc");
        assert_eq!(response.headers()["grpc-status"], "14");
        assert_eq!(response.headers()["grpc-message"], "a limit is reached");
        assert_eq!(response.headers()["x-outrigger-error"], "overloaded");
        assert_eq!(response.headers()["x-outrigger-overloaded"], "true");
        assert!(response.body().is_empty());
    }

    #[test]
    fn doubtful_framing_closes() {
        let failure = Failure::BadRequest(Malformed::LengthAndCoding);
        assert_eq!(answer(failure, HTTP1).headers()["connection"], "close");
        assert!(
            !answer(failure, Caller { version: Version::HTTP_2, ..HTTP1 })
                .headers()
                .contains_key("connection")
        );
        assert_eq!(answer(Failure::TransferCoding, HTTP1).status(), 501);
    }

    #[test]
    fn connect_gets_no_200_and_no_next_request() {
        let request =
            http::Request::connect("a:1").header("content-type", "application/grpc").body(()).unwrap();
        let response = answer(Failure::NoService, Caller::of_request(&request));
        assert_eq!(
            (response.status().as_u16(), &response.headers()["connection"]),
            (404, &"close".parse().unwrap())
        );
    }

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(grpc_message("a 100% é\n"), "a 100%25 %C3%A9%0A");
    }

    proptest! {
        #[test]
        fn any_message_is_a_header(text: String) {
            prop_assert!(grpc_message(&text).as_bytes().iter().all(|byte| (b' '..=b'~').contains(byte)));
        }
    }
}
