//! Which header names matter to the proxy, told from a name alone.
//!
//! The strict check asks this once per field of every request, so it is one comparison of discriminants for the names
//! that the `http` crate knows, and one look at length and first byte for the others.

use http::{HeaderName, header};

/// What a field is to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Passed on untouched.
    Plain,
    Host,
    ContentLength,
    ContentType,
    TransferEncoding,
    Connection,
    Te,
    Trailer,
    Expect,
    Cookie,
    Upgrade,
    /// Holds between two neighbours only.
    Hop,
    /// Tells an app who calls: only ours may reach it.
    Identity,
    /// `x-outrigger-*`: spoken between proxies.
    Mesh,
}

/// Client certificate details, as Envoy names them.
pub(super) const FORWARDED_CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

const MESH_PREFIX: &[u8] = b"x-outrigger-";

#[inline]
pub(super) fn class(name: &HeaderName) -> Class {
    match *name {
        header::HOST => Class::Host,
        header::CONTENT_LENGTH => Class::ContentLength,
        header::CONTENT_TYPE => Class::ContentType,
        header::TRANSFER_ENCODING => Class::TransferEncoding,
        header::CONNECTION => Class::Connection,
        header::TE => Class::Te,
        header::TRAILER => Class::Trailer,
        header::EXPECT => Class::Expect,
        header::COOKIE => Class::Cookie,
        header::UPGRADE => Class::Upgrade,
        // Credentials for this proxy, which asks for none: they are not the app's to see.
        header::PROXY_AUTHORIZATION | header::PROXY_AUTHENTICATE => Class::Hop,
        _ => other(name.as_str().as_bytes()),
    }
}

#[inline]
fn other(name: &[u8]) -> Class {
    match (name.len(), name[0]) {
        (10, b'k') if name == b"keep-alive" => Class::Hop,
        (16, b'p') if name == b"proxy-connection" => Class::Hop,
        (14, b'h') if name == b"http2-settings" => Class::Hop,
        (12.., b'x') => extension(name),
        _ => Class::Plain,
    }
}

/// Names that begin with `x`. A server that turns names into variables reads `_` and `.` as `-`, so an alias is as
/// good as the name itself to whoever wants to be taken for somebody else.
fn extension(name: &[u8]) -> Class {
    if same_name(&name[..MESH_PREFIX.len()], MESH_PREFIX) {
        Class::Mesh
    } else if same_name(name, FORWARDED_CLIENT_CERT.as_str().as_bytes()) {
        Class::Identity
    } else {
        Class::Plain
    }
}

/// Whether `name` is `canonical` where `_` and `.` stand for `-`.
pub(super) fn same_name(name: &[u8], canonical: &[u8]) -> bool {
    name.len() == canonical.len()
        && name.iter().zip(canonical).all(|(&a, &b)| a == b || (b == b'-' && matches!(a, b'_' | b'.')))
}

/// The comma-separated elements of a list field, without the white space around them and without empty ones.
pub(super) fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// Whether `content-type` says gRPC: `application/grpc`, `application/grpc+proto`, `application/grpc;...`. gRPC-Web,
/// which is another protocol, is not.
pub(crate) fn is_grpc(content_type: &[u8]) -> bool {
    const TYPE: &[u8] = b"application/grpc";
    content_type.get(..TYPE.len()).is_some_and(|start| start.eq_ignore_ascii_case(TYPE))
        && matches!(content_type.get(TYPE.len()), None | Some(b'+' | b';' | b' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> Class {
        class(&HeaderName::from_bytes(name.as_bytes()).unwrap())
    }

    #[test]
    fn classes() {
        assert_eq!(of("Host"), Class::Host);
        assert_eq!(of("Keep-Alive"), Class::Hop);
        assert_eq!(of("Proxy-Connection"), Class::Hop);
        assert_eq!(of("HTTP2-Settings"), Class::Hop);
        assert_eq!(of("proxy-authorization"), Class::Hop);
        assert_eq!(of("accept"), Class::Plain);
        assert_eq!(of("x"), Class::Plain);
        assert_eq!(of("x-forwarded-for"), Class::Plain);
        assert_eq!(of("x-outrigger"), Class::Plain);
        assert_eq!(of("x-outriggers-a"), Class::Plain);
    }

    #[test]
    fn aliases() {
        for name in ["x-forwarded-client-cert", "X_Forwarded_Client_Cert", "x.forwarded-client_cert"] {
            assert_eq!(of(name), Class::Identity, "{name}");
        }
        for name in ["x-outrigger-attempt", "x_outrigger_attempt", "x.outrigger.", "X-Outrigger-Error"] {
            assert_eq!(of(name), Class::Mesh, "{name}");
        }
    }

    #[test]
    fn grpc_types() {
        for value in [
            "application/grpc",
            "application/grpc+proto",
            "application/grpc; charset=utf-8",
            "Application/GRPC",
        ] {
            assert!(is_grpc(value.as_bytes()), "{value}");
        }
        for value in ["", "application/grp", "application/grpc-web", "application/grpcx", "text/plain"] {
            assert!(!is_grpc(value.as_bytes()), "{value}");
        }
    }
}
