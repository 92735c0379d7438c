//! What a Service port declares to speak: the words of `appProtocol`, and port names that begin with one.
//!
//! The words are those of Kubernetes and Istio. Any other word is legal, since IANA's service names are, and means a
//! protocol that is passed as it is. Nothing here knows what a port does with its protocol.

use crate::model::AppProtocol;

/// Words that mean something else than an opaque stream of bytes.
const WORDS: &[(&str, AppProtocol)] = &[
    ("http", AppProtocol::Http1),
    ("http1", AppProtocol::Http1),
    ("kubernetes.io/ws", AppProtocol::Http1),
    ("h2c", AppProtocol::Http2),
    ("http2", AppProtocol::Http2),
    ("kubernetes.io/h2c", AppProtocol::Http2),
    // As Istio has it: gRPC-Web over HTTP/2.
    ("grpc-web", AppProtocol::Http2),
    ("grpc", AppProtocol::Grpc),
    ("https", AppProtocol::Tls),
    ("kubernetes.io/wss", AppProtocol::Tls),
    ("tls", AppProtocol::Tls),
];

/// Istio's names of ports, longer ones before those that they begin with.
const NAMES: &[&str] =
    &["grpc-web", "grpc", "http2", "https", "http", "mongo", "mysql", "redis", "tcp", "tls"];

/// What an `appProtocol` means; letter case does not count (RFC 6335).
pub(crate) fn of_word(word: &str) -> AppProtocol {
    let known = WORDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(word));
    known.map_or(AppProtocol::Tcp, |(_, protocol)| *protocol)
}

/// What the name of a port declares: `<protocol>` or `<protocol>-<suffix>`.
pub(crate) fn of_name(name: &str) -> Option<AppProtocol> {
    let begins =
        |word: &&&str| name.strip_prefix(**word).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    NAMES.iter().find(begins).map(|word| of_word(word))
}

/// The word with a meaning of its own that was perhaps meant by one without.
pub(crate) fn meant(word: &str) -> Option<&'static str> {
    let opaque =
        ["tcp", "mongo", "mysql", "redis", "ftp", "sftp", "smtp", "ntp", "nntp", "ldap", "ldaps", "rtsp"];
    let known = WORDS.iter().map(|(known, _)| *known);
    if known.clone().any(|known| known.eq_ignore_ascii_case(word)) || opaque.contains(&word) {
        return None;
    }
    crate::suggest::nearest(word, known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_names_of_ports() {
        for (word, protocol) in [
            ("http", AppProtocol::Http1),
            ("HTTP2", AppProtocol::Http2),
            ("kubernetes.io/h2c", AppProtocol::Http2),
            ("kubernetes.io/ws", AppProtocol::Http1),
            ("kubernetes.io/wss", AppProtocol::Tls),
            ("https", AppProtocol::Tls),
            ("grpc", AppProtocol::Grpc),
            ("tcp", AppProtocol::Tcp),
            ("postgresql", AppProtocol::Tcp),
            ("example.com/own", AppProtocol::Tcp),
        ] {
            assert_eq!(of_word(word), protocol, "{word}");
        }
        for (name, protocol) in [
            ("http", Some(AppProtocol::Http1)),
            ("http-web", Some(AppProtocol::Http1)),
            ("https-web", Some(AppProtocol::Tls)),
            ("grpc-web", Some(AppProtocol::Http2)),
            ("grpc-website", Some(AppProtocol::Grpc)),
            ("grpc-web-x", Some(AppProtocol::Http2)),
            ("tcp-db", Some(AppProtocol::Tcp)),
            ("redis", Some(AppProtocol::Tcp)),
            ("httpd", None),
            ("web", None),
            ("my-http", None),
            ("", None),
        ] {
            assert_eq!(of_name(name), protocol, "{name}");
        }
    }

    #[test]
    fn a_slip_is_told_from_another_protocol() {
        assert_eq!(meant("htpp"), Some("http"));
        assert_eq!(meant("kubernetes.io/hc2"), Some("kubernetes.io/h2c"));
        for word in ["HTTP", "tcp", "smtp", "amqp", "postgresql", "kafka", "mqtt", "nats.io/client"] {
            assert_eq!(meant(word), None, "{word}");
        }
    }
}
