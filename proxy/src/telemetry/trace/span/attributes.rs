//! Attributes of spans, and what the conventions say of single values.

use std::{borrow::Cow, net::SocketAddr};

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_semantic_conventions::attribute as name;

use crate::request::forwarded::Scheme;

/// What stands for a value that is not one of the known ones.
pub(super) const OTHER: &str = "_OTHER";

/// Attributes in the order in which they are set.
#[derive(Debug, Default)]
pub(crate) struct Attributes(pub(super) Vec<KeyValue>);

impl Attributes {
    /// A text.
    pub(crate) fn text(&mut self, key: &str, value: impl Into<String>) {
        self.push(key, Value::StringValue(value.into()));
    }

    /// A text that may be missing.
    pub(crate) fn maybe(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    /// A number.
    pub(in crate::telemetry::trace) fn number(&mut self, key: &str, value: i64) {
        self.push(key, Value::IntValue(value));
    }

    /// A number that may be missing.
    pub(in crate::telemetry::trace) fn maybe_number(&mut self, key: &str, value: Option<i64>) {
        if let Some(value) = value {
            self.number(key, value);
        }
    }

    /// The name and port that the request was sent to, out of its authority.
    pub(super) fn host(&mut self, authority: &str, scheme: Scheme) {
        let usual = match scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        };
        let bracket = authority.rfind(']').unwrap_or(0);
        let (host, port) = match authority[bracket..].rfind(':') {
            Some(colon) => (&authority[..bracket + colon], authority[bracket + colon + 1..].parse().ok()),
            None => (authority, None),
        };
        if !host.is_empty() {
            self.text(name::SERVER_ADDRESS, host.trim_start_matches('[').trim_end_matches(']'));
            self.number(name::SERVER_PORT, port.map_or(usual, |port: u16| port.into()));
        }
    }

    /// The other end of the connection.
    pub(in crate::telemetry::trace) fn peer(&mut self, peer: SocketAddr) {
        self.text(name::NETWORK_PEER_ADDRESS, peer.ip().to_canonical().to_string());
        self.number(name::NETWORK_PEER_PORT, peer.port().into());
    }

    fn push(&mut self, key: &str, value: Value) {
        let value = Some(AnyValue { value: Some(value) });
        self.0.push(KeyValue { key: key.to_owned(), value, ..KeyValue::default() });
    }
}

/// The method, where the conventions know it.
pub(super) fn method_name(method: &str) -> &str {
    const KNOWN: &[&str] =
        &["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"];
    if KNOWN.contains(&method) { method } else { OTHER }
}

/// The method of a gRPC call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GrpcMethod<'a> {
    /// `package.Service/Method`, which a server has answered for.
    Known(&'a str),
    /// Whatever a caller wrote: no server has said that it has such a method.
    Other(&'a str),
}

impl<'a> GrpcMethod<'a> {
    /// The method that a path names; `status` is what a server has answered.
    pub(super) fn of(path: &'a str, status: Option<u32>) -> Self {
        const UNIMPLEMENTED: u32 = 12;
        let name = path.strip_prefix('/').unwrap_or(path);
        let named = name.split_once('/').is_some_and(|(service, method)| {
            !service.is_empty() && !method.is_empty() && !method.contains('/')
        });
        match status {
            Some(status) if named && status != UNIMPLEMENTED => Self::Known(name),
            _ => Self::Other(name),
        }
    }
}

/// The name of a gRPC status code.
pub(super) fn grpc_code(code: u32) -> String {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    // A code that nobody has defined reads as UNKNOWN to every gRPC library.
    NAMES.get(code as usize).unwrap_or(&NAMES[2]).to_string()
}

/// Codes by which a server says that it has failed, and not its caller: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL,
/// UNAVAILABLE, DATA_LOSS, and what is no code.
pub(super) fn is_server_error(code: u32) -> bool {
    matches!(code, 2 | 4 | 12 | 13 | 14 | 15 | 17..)
}

/// A query without the values of parameters that are signatures or keys, by the conventions' list.
pub(super) fn redacted(query: &str) -> Cow<'_, str> {
    const SECRET: &[&str] = &["AWSAccessKeyId", "Signature", "sig", "X-Goog-Signature"];
    let is_secret = |pair: &str| {
        pair.split_once('=').is_some_and(|(key, value)| !value.is_empty() && SECRET.contains(&key))
    };
    if !query.split('&').any(is_secret) {
        return Cow::Borrowed(query);
    }
    let clean = query.split('&').map(|pair| match pair.split_once('=') {
        Some((key, _)) if is_secret(pair) => Cow::Owned(format!("{key}=REDACTED")),
        _ => Cow::Borrowed(pair),
    });
    Cow::Owned(clean.collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods() {
        assert_eq!(method_name("GET"), "GET");
        assert_eq!(method_name("get"), OTHER);
        assert_eq!(method_name("PROPFIND"), OTHER);
    }

    #[test]
    fn methods_of_grpc_are_known_once_a_server_has_answered() {
        let of = GrpcMethod::of;
        assert_eq!(of("/a.B/C", Some(0)), GrpcMethod::Known("a.B/C"));
        assert_eq!(of("/a.B/C", Some(13)), GrpcMethod::Known("a.B/C"));
        assert_eq!(of("/a.B/C", Some(12)), GrpcMethod::Other("a.B/C"));
        assert_eq!(of("/a.B/C", None), GrpcMethod::Other("a.B/C"));
        for path in ["/", "/a", "//C", "/a/", "/a/b/c", "a"] {
            assert!(matches!(of(path, Some(0)), GrpcMethod::Other(_)), "{path}");
        }
    }

    #[test]
    fn codes() {
        assert_eq!(grpc_code(0), "OK");
        assert_eq!(grpc_code(14), "UNAVAILABLE");
        assert_eq!(grpc_code(16), "UNAUTHENTICATED");
        assert_eq!(grpc_code(17), "UNKNOWN");
        let errors: Vec<u32> = (0..=17).filter(|code| is_server_error(*code)).collect();
        assert_eq!(errors, [2, 4, 12, 13, 14, 15, 17]);
    }

    #[test]
    fn hosts() {
        let host = |authority: &str| {
            let mut fields = Attributes::default();
            fields.host(authority, Scheme::Http);
            let values: Vec<_> =
                fields.0.into_iter().map(|field| field.value.unwrap().value.unwrap()).collect();
            match values.as_slice() {
                [Value::StringValue(host), Value::IntValue(port)] => Some((host.clone(), *port)),
                _ => None,
            }
        };
        assert_eq!(host("reviews"), Some(("reviews".to_owned(), 80)));
        assert_eq!(host("reviews:8080"), Some(("reviews".to_owned(), 8080)));
        assert_eq!(host("[::1]:8080"), Some(("::1".to_owned(), 8080)));
        assert_eq!(host("[::1]"), Some(("::1".to_owned(), 80)));
        assert_eq!(host("a:x"), Some(("a".to_owned(), 80)));
        assert_eq!(host(""), None);
        assert_eq!(host(":80"), None);
    }

    #[test]
    fn signatures_are_taken_out_of_queries() {
        assert_eq!(redacted("a=1&b=2"), "a=1&b=2");
        assert_eq!(redacted("a=1&sig=abc&Signature=&sig"), "a=1&sig=REDACTED&Signature=&sig");
        assert_eq!(redacted("X-Goog-Signature=x=y"), "X-Goog-Signature=REDACTED");
    }
}
