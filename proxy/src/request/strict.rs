//! The strict request check: the first thing that happens to a head, before any route or rule reads it.
//!
//! A head that two servers may read differently is refused; what holds only between neighbours is taken off; and the
//! rest is brought to one spelling, in place. Whoever reads the head afterwards reads what the upstream will read.
//! hyper and h2 refuse malformed bytes before; this is for what they let through.
//!
//! After [`check`] said yes:
//! * the path of the URI is canonical; an HTTP/1 URI is in origin form;
//! * there is exactly one Host, and it is the effective authority;
//! * there is at most one Content-Length, and no Transfer-Encoding, Connection, Upgrade or other hop-by-hop field;
//!   `te` is absent or exactly `trailers`, kept because the proxy itself passes trailers on;
//! * no field claims to be ours.
//!
//! What the connection is to become stands beside the head, in [`Checked::switch`]. A CONNECT has an authority and no
//! path; an extended CONNECT of HTTP/2 has become a GET.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Uri, Version, header, request::Parts, uri::PathAndQuery};
use outrigger_config::model::Limits;

pub use super::path::PathRules;
use super::{
    Authority, hop,
    names::Class,
    path,
    seen::{Coding, Expect, Length, Seen, Te, Upgrade, number},
    switch::{self, ConnectRule, Switch},
};
pub use crate::ctx::Side;
use crate::error::{Failure, Malformed};

/// Header that counts the attempts of the caller's proxy, from 0.
pub const ATTEMPT: &str = "x-outrigger-attempt";
/// Header that carries what is left of the caller's deadline, in milliseconds.
pub const TIMEOUT_MS: &str = "x-outrigger-timeout-ms";
/// Header that carries the HTTP version that the caller's proxy got.
pub const ORIG_PROTO: &str = "x-outrigger-orig-proto";

/// What the check knows beside the head.
#[derive(Clone, Copy, Debug)]
pub struct StrictContext<'a> {
    /// Which way the request goes.
    pub side: Side,
    /// `Policy` where a route or a rule decides by path.
    pub path_rules: PathRules,
    /// The peer proved to be a proxy of the mesh: its `x-outrigger-*` are read.
    pub peer_authenticated: bool,
    /// Whether CONNECT is served here.
    pub connect: ConnectRule,
    /// The request's body is known to be at its end (`Body::is_end_stream`).
    pub body_ended: bool,
    /// Host of an HTTP/1.0 request that has none: the pinned Service or the app. `None`: such a request is refused.
    pub fallback_host: Option<&'a HeaderValue>,
}

/// A head that passed.
#[derive(Clone, Debug)]
pub struct Checked {
    /// What the request is for.
    pub authority: Authority,
    /// The version in which it came.
    pub version: Version,
    /// How its body ends.
    pub framing: Framing,
    /// The caller waits for a 100 before it sends the body. The `Expect` field is kept.
    pub expect_continue: bool,
    /// Content-Type says gRPC.
    pub grpc: bool,
    /// The caller takes trailers (`te: trailers`).
    pub trailers: bool,
    /// What the connection is to become; the fields that ask for it are taken off. Boxed: few requests have one.
    pub switch: Option<Box<Switch>>,
    /// What the proxy of an authenticated caller says.
    pub mesh: MeshHints,
}

impl Checked {
    /// The version that the app gets which may have either: the one that the request's own caller speaks, not that of the
    /// link between two proxies. HTTP/1.0 counts as 1.1.
    pub fn spoken(&self) -> Version {
        let first = self.mesh.orig_proto.as_ref().map(HeaderValue::as_bytes);
        match first {
            Some(first) if first.starts_with(b"HTTP/1.") => Version::HTTP_11,
            Some(b"HTTP/2") => Version::HTTP_2,
            _ => self.version,
        }
    }
}

/// How a request's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Ended,
    /// After so many bytes.
    Length(u64),
    /// When it says so: chunked, or the end of an HTTP/2 stream.
    Open,
}

/// `x-outrigger-*` of an authenticated caller; all absent for everybody else. Values that cannot be read are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeshHints {
    /// Which attempt of the caller's proxy this is, from 0.
    pub attempt: Option<u32>,
    /// What is left of the caller's deadline.
    pub timeout: Option<Duration>,
    /// The version that the caller's proxy got.
    pub orig_proto: Option<HeaderValue>,
}

/// Checks a head and normalises it in place.
///
/// # Errors
/// The first rule that the head breaks. The head is then good for nothing but
/// [`Caller::of`](crate::listen::answer::Caller::of).
pub fn check(parts: &mut Parts, limits: &Limits, cx: &StrictContext<'_>) -> Result<Checked, Failure> {
    let seen = Seen::of(&parts.headers);
    within_limits(parts, &seen, limits)?;
    let switch = switch::read(parts, &seen, cx.connect)?;
    method_is_served(parts)?;
    let framing = framing(parts.version, &seen, cx)?;
    let authority = effective_authority(parts, &seen, cx)?;
    match switch.as_deref() {
        Some(Switch::Connect) => tunnel_is_clear(&authority, framing)?,
        _ => normalise_uri(parts, cx.path_rules)?,
    }
    let mesh = mesh_hints(&parts.headers, &seen, cx);
    strip(&mut parts.headers, &seen, parts.version, cx.side);
    Ok(Checked {
        authority,
        version: parts.version,
        framing,
        expect_continue: seen.expect == Expect::Continue
            && parts.version != Version::HTTP_10
            && framing != Framing::Ended,
        grpc: seen.grpc,
        trailers: seen.te.wants_trailers(),
        switch,
        mesh,
    })
}

fn within_limits(parts: &Parts, seen: &Seen, limits: &Limits) -> Result<(), Failure> {
    let uri = parts.uri.path_and_query().map_or(0, |path| path.as_str().len())
        + parts.uri.authority().map_or(0, |authority| authority.as_str().len());
    if uri > limits.uri_bytes as usize {
        return Err(Failure::UriTooLong);
    }
    if seen.bytes + uri > limits.header_bytes as usize || parts.headers.len() > limits.header_count as usize {
        return Err(Failure::HeaderTooLarge);
    }
    Ok(())
}

fn method_is_served(parts: &Parts) -> Result<(), Failure> {
    let asterisk = || parts.uri.path() == "*";
    match parts.method {
        Method::OPTIONS if asterisk() => Err(Failure::MethodNotAllowed),
        _ => Ok(()),
    }
}

/// Judges Content-Length and Transfer-Encoding. hyper drops a Content-Length that stands beside a Transfer-Encoding
/// before anybody sees it, and closes the connection after the answer: then chunked wins.
fn framing(version: Version, seen: &Seen, cx: &StrictContext<'_>) -> Result<Framing, Failure> {
    let bad = |what| Err(Failure::BadRequest(what));
    match (seen.coding, version) {
        (Coding::Absent, _) => {}
        (_, Version::HTTP_10 | Version::HTTP_2) => return bad(Malformed::TransferEncoding),
        _ if seen.length != Length::Absent => return bad(Malformed::LengthAndCoding),
        (Coding::Chunked, _) => return Ok(Framing::Open),
        (Coding::Unsupported, _) => return Err(Failure::TransferCoding),
        (Coding::Invalid, _) => return bad(Malformed::TransferEncoding),
    }
    match seen.length {
        Length::Invalid => bad(Malformed::ContentLength),
        Length::One(0) | Length::Repeated(0) => Ok(Framing::Ended),
        Length::One(length) | Length::Repeated(length) => Ok(Framing::Length(length)),
        Length::Absent if version == Version::HTTP_2 && !cx.body_ended => Ok(Framing::Open),
        Length::Absent => Ok(Framing::Ended),
    }
}

/// The authority of the URI wins over Host everywhere, and Host is rewritten to it (RFC 9112 3.2.2, RFC 9113 8.3.1).
fn effective_authority(parts: &mut Parts, seen: &Seen, cx: &StrictContext<'_>) -> Result<Authority, Failure> {
    let bad = |what| Err(Failure::BadRequest(what));
    if seen.hosts > 1 {
        return bad(Malformed::DuplicateHost);
    }
    match parts.uri.scheme_str() {
        None | Some("http") => {}
        // An app that would have its proxy speak TLS for it: it would believe that its bytes are safe from here on.
        Some("https") if parts.version != Version::HTTP_2 && cx.side == Side::Outbound => {
            return bad(Malformed::HttpsProxyForm);
        }
        Some("https") => {}
        Some(_) => return bad(Malformed::Scheme),
    }
    if seen.hosts == 0 && parts.version == Version::HTTP_11 {
        return bad(Malformed::MissingHost);
    }
    let host = parts.headers.get(header::HOST);
    let replacement = match (parts.uri.authority(), host) {
        (Some(authority), Some(host)) if authority.as_str() == host => None,
        (Some(authority), _) => Some(
            HeaderValue::from_str(authority.as_str())
                .map_err(|_| Failure::BadRequest(Malformed::InvalidHost))?,
        ),
        (None, Some(_)) => None,
        (None, None) => match cx.fallback_host {
            Some(fallback) if parts.version == Version::HTTP_10 => Some(fallback.clone()),
            _ => return bad(Malformed::MissingHost),
        },
    };
    if let Some(value) = replacement {
        let authority = Authority::parse(&value).map_err(Failure::BadRequest)?;
        parts.headers.insert(header::HOST, value);
        return Ok(authority);
    }
    match host {
        Some(host) => Authority::parse(host).map_err(Failure::BadRequest),
        None => bad(Malformed::MissingHost),
    }
}

/// A CONNECT says which port it means, and what follows it are the tunnel's bytes, not its body (RFC 9110 section 9.3.6).
fn tunnel_is_clear(authority: &Authority, framing: Framing) -> Result<(), Failure> {
    match (authority.port(), framing) {
        (None, _) => Err(Failure::BadRequest(Malformed::InvalidHost)),
        (_, Framing::Ended) => Ok(()),
        (_, Framing::Length(_)) => Err(Failure::BadRequest(Malformed::ContentLength)),
        (_, Framing::Open) => Err(Failure::BadRequest(Malformed::TransferEncoding)),
    }
}

/// Makes the path canonical and, for HTTP/1, the URI origin form. The common URI is left as it is.
fn normalise_uri(parts: &mut Parts, rules: PathRules) -> Result<(), Failure> {
    let bad = |_| Failure::BadRequest(Malformed::Path);
    let Some(written) = parts.uri.path_and_query() else {
        return Err(Failure::BadRequest(Malformed::Path));
    };
    let canonical = path::canonical(written.path(), rules).map_err(Failure::BadRequest)?;
    let absolute = parts.version != Version::HTTP_2 && parts.uri.authority().is_some();
    // `http://host?query` has a path, `/`, that its text lacks.
    let whole = written.as_str().starts_with('/');
    if canonical.is_none() && !absolute && whole {
        return Ok(());
    }
    let path = canonical.as_deref().unwrap_or(written.path());
    let target = match written.query() {
        Some(query) => PathAndQuery::from_maybe_shared(bytes::Bytes::from(format!("{path}?{query}"))),
        None if canonical.is_none() && whole => Ok(written.clone()),
        None => PathAndQuery::try_from(path),
    };
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    uri.path_and_query = Some(target.map_err(|_| Failure::BadRequest(Malformed::Path))?);
    if absolute {
        uri.scheme = None;
        uri.authority = None;
    }
    parts.uri = Uri::from_parts(uri).map_err(|_| bad(()))?;
    Ok(())
}

fn mesh_hints(headers: &HeaderMap, seen: &Seen, cx: &StrictContext<'_>) -> MeshHints {
    if !seen.mesh || !cx.peer_authenticated || cx.side != Side::Inbound {
        return MeshHints::default();
    }
    let read = |name| headers.get(name).and_then(|value| number(value.as_bytes()));
    MeshHints {
        attempt: read(ATTEMPT).and_then(|attempt| u32::try_from(attempt).ok()),
        timeout: read(TIMEOUT_MS).map(Duration::from_millis),
        orig_proto: headers.get(ORIG_PROTO).cloned(),
    }
}

/// Takes off what must not go on. `Connection` first: what it lists is the neighbour's, never ours.
fn strip(headers: &mut HeaderMap, seen: &Seen, version: Version, side: Side) {
    if seen.connection {
        hop::strip_connection(headers);
    }
    if seen.coding != Coding::Absent {
        headers.remove(header::TRANSFER_ENCODING);
    }
    if seen.upgrade != Upgrade::Absent {
        headers.remove(header::UPGRADE);
    }
    if matches!(seen.length, Length::Repeated(_))
        && let Some(length) = headers.remove(header::CONTENT_LENGTH)
    {
        headers.insert(header::CONTENT_LENGTH, length);
    }
    match seen.te {
        Te::Absent | Te::Trailers => {}
        Te::Mixed => {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
        Te::Other => {
            headers.remove(header::TE);
        }
    }
    if seen.expect != Expect::Absent && version == Version::HTTP_10 {
        headers.remove(header::EXPECT);
    }
    if seen.cookies > 1 && version == Version::HTTP_2 {
        join_cookies(headers);
    }
    if seen.hop || seen.mesh || seen.identity {
        hop::strip_where(headers, |class| match class {
            Class::Hop | Class::Mesh => true,
            Class::Identity => side == Side::Inbound,
            _ => false,
        });
    }
}

/// HTTP/2 callers may split Cookie for better compression; elsewhere there is only one (RFC 9113 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_maybe_shared(bytes::Bytes::from(crumbs.join(&b"; "[..]))) {
        headers.insert(header::COOKIE, joined);
    }
}

#[cfg(test)]
mod tests;
