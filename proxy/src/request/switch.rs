//! What a request wants its connection to become: another protocol (RFC 9110 section 7.8, RFC 6455), or a tunnel (section
//! 9.3.6).
//!
//! Both versions of HTTP come to one form. HTTP/1.1 asks with `Connection: upgrade` and `Upgrade`; HTTP/2 with an extended
//! CONNECT (RFC 8441), which becomes a GET that wants the same. So routes, policy and endpoints need not know which it
//! was. Nothing here opens a tunnel.

use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header, request::Parts, response};
use hyper::ext::Protocol;

use super::{
    names::elements,
    seen::{Seen, Upgrade as Asked},
};
use crate::error::{Failure, Malformed};

/// What a request wants its connection to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Switch {
    /// Another protocol, after the endpoint's 101.
    Upgrade(Upgrade),
    /// A tunnel to the authority, after our 200.
    Connect,
}

/// The protocols that a caller would go on with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// As a value of `Upgrade`, without h2c.
    pub protocols: HeaderValue,
}

/// Whether CONNECT is served: by listeners that an app uses as its HTTP proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectRule {
    /// The authority says where to.
    Served,
    /// 405.
    Refused,
}

/// Reads what a request asks for, and brings an extended CONNECT to its form. The fields that ask are taken off later,
/// with all others that hold between neighbours only.
pub(super) fn read(
    parts: &mut Parts,
    seen: &Seen,
    connect: ConnectRule,
) -> Result<Option<Box<Switch>>, Failure> {
    if parts.method == Method::CONNECT {
        let protocol = parts.extensions.remove::<Protocol>().filter(|_| parts.version == Version::HTTP_2);
        return match (protocol, connect) {
            (Some(protocol), _) => extended(parts, &protocol).map(Some),
            (None, ConnectRule::Served) => Ok(Some(Box::new(Switch::Connect))),
            (None, ConnectRule::Refused) => Err(Failure::MethodNotAllowed),
        };
    }
    // HTTP/1.0 has no upgrades, and an `Upgrade` that `Connection` does not list is not meant for us.
    let asked = seen.upgrade == Asked::Other && parts.version == Version::HTTP_11 && seen.connection;
    if !asked || !lists_upgrade(&parts.headers) {
        return Ok(None);
    }
    let protocols = protocols(&parts.headers).ok_or(Failure::BadRequest(Malformed::Header))?;
    Ok(Some(Box::new(Switch::Upgrade(Upgrade { protocols }))))
}

/// An extended CONNECT becomes the GET that HTTP/1.1 would send.
fn extended(parts: &mut Parts, protocol: &Protocol) -> Result<Box<Switch>, Failure> {
    let name = protocol.as_str();
    let token = !name.is_empty() && name.bytes().all(is_token);
    if !token || name.eq_ignore_ascii_case("h2c") {
        return Err(Failure::BadRequest(Malformed::Header));
    }
    let protocols = HeaderValue::from_str(name).map_err(|_| Failure::BadRequest(Malformed::Header))?;
    parts.method = Method::GET;
    Ok(Box::new(Switch::Upgrade(Upgrade { protocols })))
}

/// RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn lists_upgrade(headers: &HeaderMap) -> bool {
    let mut listed = headers.get_all(header::CONNECTION).iter().flat_map(|value| elements(value.as_bytes()));
    listed.any(|element| element.eq_ignore_ascii_case(b"upgrade"))
}

/// Every protocol of all `Upgrade` fields but h2c, in one value; `None` where one is not `name` or `name/version`.
fn protocols(headers: &HeaderMap) -> Option<HeaderValue> {
    let all = headers.get_all(header::UPGRADE);
    let named: Vec<&[u8]> = all
        .iter()
        .flat_map(|value| elements(value.as_bytes()))
        .filter(|name| !name.eq_ignore_ascii_case(b"h2c"))
        .collect();
    let valid = |name: &[u8]| {
        let parts = name.split(|byte| *byte == b'/').collect::<Vec<_>>();
        parts.len() <= 2 && parts.iter().all(|part| !part.is_empty() && part.iter().copied().all(is_token))
    };
    let all_valid = named.iter().all(|name| valid(name));
    all_valid.then(|| HeaderValue::from_bytes(&named.join(&b", "[..])).ok())?
}

impl Upgrade {
    /// Asks an endpoint of HTTP/1.1 for it.
    pub fn ask(&self, headers: &mut HeaderMap) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, self.protocols.clone());
    }

    /// Whether the caller would speak WebSocket.
    pub fn is_websocket(&self) -> bool {
        self.names().any(|name| name.eq_ignore_ascii_case(b"websocket"))
    }

    /// The protocol that a 101 agrees to go on with, where it is one that was asked for (RFC 9110 section 15.2.2).
    pub fn agreed<'a>(&self, answer: &'a response::Parts) -> Option<&'a HeaderValue> {
        if answer.status != StatusCode::SWITCHING_PROTOCOLS {
            return None;
        }
        let mut values = answer.headers.get_all(header::UPGRADE).iter();
        let value = values.next().filter(|_| values.next().is_none())?;
        let known = |chosen: &[u8]| self.names().any(|asked| asked.eq_ignore_ascii_case(chosen));
        let mut chosen = elements(value.as_bytes()).peekable();
        (chosen.peek().is_some() && chosen.all(known)).then_some(value)
    }

    fn names(&self) -> impl Iterator<Item = &[u8]> {
        elements(self.protocols.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use proptest::prelude::*;

    use super::*;

    fn head(method: &str, version: Version, fields: &[(&'static str, &'static str)]) -> Parts {
        let mut builder = Request::builder().method(method).version(version).uri("/");
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap().into_parts().0
    }

    fn asked(parts: &mut Parts) -> Result<Option<Switch>, Failure> {
        let seen = Seen::of(&parts.headers);
        read(parts, &seen, ConnectRule::Refused).map(|switch| switch.map(|switch| *switch))
    }

    #[test]
    fn what_is_an_upgrade_and_what_is_none() {
        for (version, fields, expected) in [
            (Version::HTTP_11, &[("connection", "Upgrade"), ("upgrade", "websocket")][..], Some("websocket")),
            (
                Version::HTTP_11,
                &[("connection", "keep-alive, upgrade"), ("upgrade", "WebSocket")],
                Some("WebSocket"),
            ),
            (Version::HTTP_11, &[("connection", "upgrade"), ("upgrade", "h2c, a/1 ,b")], Some("a/1, b")),
            (
                Version::HTTP_11,
                &[("connection", "upgrade"), ("upgrade", "a"), ("upgrade", "b")],
                Some("a, b"),
            ),
            (Version::HTTP_11, &[("connection", "upgrade"), ("upgrade", "h2c")], None),
            (Version::HTTP_11, &[("connection", "close"), ("upgrade", "websocket")], None),
            (Version::HTTP_11, &[("upgrade", "websocket")], None),
            (Version::HTTP_10, &[("connection", "upgrade"), ("upgrade", "websocket")], None),
            (Version::HTTP_2, &[("connection", "upgrade"), ("upgrade", "websocket")], None),
        ] {
            let expected =
                expected.map(|names| Switch::Upgrade(Upgrade { protocols: HeaderValue::from_static(names) }));
            assert_eq!(asked(&mut head("GET", version, fields)), Ok(expected), "{version:?} {fields:?}");
        }
        for rubbish in ["a b", "a/b/c", "/1", "a/", "\"a\""] {
            let mut parts = head("GET", Version::HTTP_11, &[("connection", "upgrade")]);
            parts.headers.insert("upgrade", HeaderValue::from_str(rubbish).unwrap());
            assert_eq!(asked(&mut parts), Err(Failure::BadRequest(Malformed::Header)), "{rubbish}");
        }
    }

    #[test]
    fn an_extended_connect_is_a_get_that_asks() {
        let mut parts = head("CONNECT", Version::HTTP_2, &[]);
        parts.extensions.insert(Protocol::from_static("websocket"));
        assert!(matches!(asked(&mut parts), Ok(Some(Switch::Upgrade(upgrade))) if upgrade.is_websocket()));
        assert_eq!(parts.method, Method::GET);
        for (version, protocol) in [(Version::HTTP_2, "h2c"), (Version::HTTP_2, "a b"), (Version::HTTP_2, "")]
        {
            let mut parts = head("CONNECT", version, &[]);
            parts.extensions.insert(Protocol::from(protocol));
            assert!(asked(&mut parts).is_err(), "{protocol}");
        }
        assert_eq!(asked(&mut head("CONNECT", Version::HTTP_11, &[])), Err(Failure::MethodNotAllowed));
    }

    proptest! {
        /// Whatever stands in these fields, what is asked for upstream is a list of names, and h2c is none of them.
        #[test]
        fn any_fields(upgrade: Vec<String>, connection: String) {
            let mut parts = head("GET", Version::HTTP_11, &[("connection", "upgrade")]);
            for (name, value) in upgrade.iter().map(|value| ("upgrade", value)).chain([("connection", &connection)]) {
                if let Ok(value) = HeaderValue::from_str(value) {
                    parts.headers.append(name, value);
                }
            }
            if let Ok(Some(Switch::Upgrade(asked))) = asked(&mut parts) {
                prop_assert!(asked.names().next().is_some());
                for name in asked.names() {
                    prop_assert!(!name.eq_ignore_ascii_case(b"h2c"));
                    prop_assert!(name.iter().all(|byte| is_token(*byte) || *byte == b'/'));
                }
            }
        }
    }

    #[test]
    fn an_answer_agrees_to_what_was_asked_for_alone() {
        let upgrade = Upgrade { protocols: HeaderValue::from_static("websocket, a/1") };
        for (status, values, agreed) in [
            (101, &["WebSocket"][..], true),
            (101, &["a/1"], true),
            (101, &["a/2"], false),
            (101, &[""], false),
            (101, &[], false),
            (101, &["websocket", "a/1"], false),
            (200, &["websocket"], false),
        ] {
            let mut answer = Response::builder().status(status);
            for value in values {
                answer = answer.header("upgrade", *value);
            }
            let answer = answer.body(()).unwrap().into_parts().0;
            assert_eq!(upgrade.agreed(&answer).is_some(), agreed, "{status} {values:?}");
        }
    }
}
