//! Text and what is parsed out of it: names, hosts, addresses, headers.
//!
//! A text is taken only where no YAML reader would take it for something else: `off`, `010` and `1.5` want quotes.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use schemars::{Schema, json_schema};

use super::{Context, parsed};
use crate::{
    diagnostic::{Code, Fault},
    suggest,
    yaml::{Node, ScalarKind, Span},
};

/// Reads nodes as text.
pub(crate) struct TextValue;

impl TextValue {
    /// The text, or `None` after a fault.
    pub(crate) fn read<'n>(node: &'n Node, cx: &mut Context<'_>) -> Option<&'n str> {
        let (text, kind) = match node.scalar() {
            Some((text, ScalarKind::String)) => return Some(text),
            Some(other) => other,
            None => {
                cx.wrong_type(node, "a string", None);
                return None;
            }
        };
        let help = match kind {
            ScalarKind::Null => None,
            ScalarKind::LooseBool(value) => {
                Some(format!("YAML 1.1 readers take `{text}` for {value}; write `\"{text}\"`"))
            }
            _ => Some(format!("write `\"{text}\"`")),
        };
        cx.wrong_type(node, "a string", help);
        None
    }

    /// As `read`, for one of some words: what is no string is none of them.
    pub(crate) fn read_word<'n>(node: &'n Node, words: &[&str], cx: &mut Context<'_>) -> Option<&'n str> {
        match node.scalar() {
            Some((text, ScalarKind::String)) => Some(text),
            other => {
                let allowed = suggest::list(words);
                let help = match other {
                    Some((text, ScalarKind::LooseBool(value))) => {
                        format!("YAML 1.1 readers take `{text}` for {value}; allowed: {allowed}")
                    }
                    _ => format!("allowed: {allowed}"),
                };
                cx.wrong_type(node, "a word", Some(help));
                None
            }
        }
    }
}

/// Why a text was refused.
#[derive(Debug)]
pub(crate) struct Problem {
    code: Code,
    message: String,
    help: Option<String>,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        self.help.as_ref().map_or(Ok(()), |help| write!(f, "; {help}"))
    }
}

impl Problem {
    /// A problem with a remedy.
    pub(crate) fn new(code: Code, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { code, message: message.into(), help: Some(help.into()) }
    }

    /// The fault at its place.
    pub(crate) fn at(self, span: Span) -> Fault {
        Fault::error(self.code, span, self.message).maybe_help(self.help)
    }
}

/// Any text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text(pub(crate) Arc<str>);

impl Text {
    fn parse(text: &str) -> Result<Self, Problem> {
        Ok(Self(text.into()))
    }

    fn schema() -> Schema {
        json_schema!({"type": "string"})
    }
}

/// A DNS label (RFC 1123): lower-case letters, digits and `-`, at most 63 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Label(pub(crate) Arc<str>);

impl Label {
    fn parse(text: &str) -> Result<Self, Problem> {
        if is_label(text) {
            return Ok(Self(text.into()));
        }
        let help =
            "lower-case letters, digits and `-`; a letter or digit at both ends; at most 63 characters";
        Err(Problem::new(Code::Name, format!("`{text}` is not a valid name"), help))
    }

    fn schema() -> Schema {
        json_schema!({"title": "name of one label, such as `cart`", "type": "string", "minLength": 1, "maxLength": 63})
    }
}

/// A DNS subdomain (RFC 1123): labels with dots between, at most 253 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subdomain(pub(crate) Arc<str>);

impl Subdomain {
    fn parse(text: &str) -> Result<Self, Problem> {
        if is_subdomain(text) {
            return Ok(Self(text.into()));
        }
        let help = "lower-case letters, digits, `-` and `.`; a letter or digit at both ends of each part";
        Err(Problem::new(Code::Name, format!("`{text}` is not a valid name"), help))
    }

    fn schema() -> Schema {
        json_schema!({"title": "name, such as `cart` or `cart.v2`", "type": "string", "minLength": 1, "maxLength": 253})
    }
}

/// A host name that requests carry: lower-cased, without trailing dot, port or wildcard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host(pub(crate) Arc<str>);

impl Host {
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        let folded = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if is_host(&folded) {
            return Ok(Self(folded.into()));
        }
        let help = if text.contains("://") || text.contains('/') {
            "write the name alone, without scheme and path"
        } else if text.contains('*') {
            "wildcards are not possible here; write each host"
        } else if text.contains(':') {
            "write the name without the port"
        } else {
            "a host name such as `reviews.example.com`"
        };
        Err(Problem::new(Code::Name, format!("`{text}` is not a valid host name"), help))
    }

    fn schema() -> Schema {
        json_schema!({"title": "host name, such as `reviews.internal`", "type": "string", "minLength": 1})
    }
}

/// An address and a port; port 0 is any free port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SocketAddress(pub(crate) SocketAddr);

impl SocketAddress {
    fn parse(text: &str) -> Result<Self, Problem> {
        text.parse().map(Self).map_err(|_| {
            let help = match text.rsplit_once(':') {
                Some((_, port)) if port.parse::<u64>().is_ok_and(|port| port > 65535) => {
                    "a port is at most 65535".to_owned()
                }
                Some(("", port)) => format!("write the address too, such as `0.0.0.0:{port}`"),
                Some(("localhost", port)) => format!("write the address, `127.0.0.1:{port}`"),
                Some((host, _)) if host.contains(':') && !host.starts_with('[') => {
                    "an IPv6 address stands in brackets, such as `[::1]:8080`".to_owned()
                }
                _ => "an IP address and a port, such as `127.0.0.1:8080`".to_owned(),
            };
            Problem::new(Code::Address, format!("`{text}` is not a socket address"), help)
        })
    }

    fn schema() -> Schema {
        json_schema!({"title": "IP address and port, such as `127.0.0.1:8080`", "type": "string"})
    }
}

/// An IP address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ip(pub(crate) IpAddr);

impl Ip {
    fn parse(text: &str) -> Result<Self, Problem> {
        text.parse().map(Self).map_err(|_| {
            Problem::new(
                Code::Address,
                format!("`{text}` is not an IP address"),
                "such as `10.0.0.1` or `fd00::1`",
            )
        })
    }

    fn schema() -> Schema {
        json_schema!({"title": "IP address", "type": "string"})
    }
}

/// A network in CIDR form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cidr(#[allow(dead_code, reason = "read only to be checked")] pub(crate) ipnet::IpNet);

impl Cidr {
    fn parse(text: &str) -> Result<Self, Problem> {
        text.parse().map(Self).map_err(|_| {
            let long =
                text.split_once('/').is_some_and(|(_, bits)| bits.parse::<u32>().is_ok_and(|n| n > 32));
            let help =
                if long { "a prefix is at most /32, or /128 for IPv6" } else { "such as `10.0.0.0/8`" };
            Problem::new(Code::Address, format!("`{text}` is not a network"), help)
        })
    }

    fn schema() -> Schema {
        json_schema!({"title": "network, such as `10.0.0.0/8`", "type": "string"})
    }
}

/// A host name, or address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DnsTarget {
    /// The name, lower-cased.
    pub(crate) host: Arc<str>,
    /// The port.
    pub(crate) port: u16,
}

impl DnsTarget {
    fn parse(text: &str) -> Result<Self, Problem> {
        let problem = |help: &str| {
            Problem::new(Code::Address, format!("`{text}` is not a host name with a port"), help.to_owned())
        };
        let (host, port) =
            text.rsplit_once(':').ok_or_else(|| problem("add the port, such as `reviews.internal:8080`"))?;
        let port = port.parse::<u16>().ok().filter(|port| *port > 0);
        let port = port.ok_or_else(|| problem("a port is a number from 1 to 65535"))?;
        if host.parse::<IpAddr>().is_ok() || host.starts_with('[') {
            return Err(problem("this is an address; write it as `address`, not `dns`"));
        }
        let Host(host) = Host::parse(host).map_err(|_| problem("such as `reviews.internal:8080`"))?;
        Ok(Self { host, port })
    }

    fn schema() -> Schema {
        json_schema!({"title": "host name and port, such as `reviews.internal:8080`", "type": "string"})
    }
}

/// A header name, lower-cased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeaderName(pub(crate) Arc<str>);

impl HeaderName {
    fn parse(text: &str) -> Result<Self, Problem> {
        match http::HeaderName::from_bytes(text.as_bytes()) {
            Ok(name) if text.len() <= 256 => Ok(Self(name.as_str().into())),
            _ => {
                let help = if text.starts_with(':') {
                    "pseudo headers have fields of their own, such as `method`"
                } else {
                    "letters, digits and `-`, at most 256 characters"
                };
                Err(Problem::new(Code::Header, format!("`{text}` is not a header name"), help))
            }
        }
    }

    fn schema() -> Schema {
        json_schema!({"title": "header name", "type": "string", "minLength": 1, "maxLength": 256})
    }
}

/// A header value: visible characters, spaces and tabs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeaderValue(pub(crate) Arc<str>);

impl HeaderValue {
    fn parse(text: &str) -> Result<Self, Problem> {
        let valid = http::HeaderValue::from_str(text).is_ok() && text.len() <= 4096 && text.trim() == text;
        if valid {
            return Ok(Self(text.into()));
        }
        let help = "one line of ASCII without spaces at the ends, at most 4096 characters";
        Err(Problem::new(Code::Header, "the text is not a valid header value", help))
    }

    fn schema() -> Schema {
        json_schema!({"title": "header value", "type": "string", "maxLength": 4096})
    }
}

/// A creation time as the Kubernetes API writes it; it sorts as text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timestamp(pub(crate) Arc<str>);

impl Timestamp {
    fn parse(text: &str) -> Result<Self, Problem> {
        let form = "0000-00-00T00:00:00Z";
        let fits = text.len() == form.len()
            && text
                .bytes()
                .zip(form.bytes())
                .all(|(b, f)| if f == b'0' { b.is_ascii_digit() } else { b == f });
        if fits {
            return Ok(Self(text.into()));
        }
        Err(Problem::new(Code::Name, format!("`{text}` is not a time"), "such as `2026-01-31T12:00:00Z`"))
    }

    fn schema() -> Schema {
        json_schema!({"title": "time, such as `2026-01-31T12:00:00Z`", "type": "string", "format": "date-time"})
    }
}

parsed!(Text);
parsed!(Label);
parsed!(Subdomain);
parsed!(Host);
parsed!(SocketAddress);
parsed!(Ip);
parsed!(Cidr);
parsed!(DnsTarget);
parsed!(HeaderName);
parsed!(HeaderValue);
parsed!(Timestamp);

/// RFC 1123 label.
pub(crate) fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// RFC 1123 subdomain.
pub(crate) fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

/// As a subdomain, but with `_`, which hosts on real networks have. An IPv4 address is one too: requests carry it.
fn is_host(text: &str) -> bool {
    text.len() <= 253
        && text
            .split('.')
            .all(|label| is_label(&label.replace('_', "-")) && !label.starts_with('_') || is_srv(label))
}

fn is_srv(label: &str) -> bool {
    label.strip_prefix('_').is_some_and(is_label)
}
