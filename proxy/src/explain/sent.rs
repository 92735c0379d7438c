//! The request as an endpoint gets it, by the same stages that the data path runs.

use std::time::Duration;

use http::{Method, Version, header::HOST, request::Parts, uri::Scheme};
use outrigger_config::model::{self, AppProtocol, PathRewrite};

use super::report::{Change, HeaderChange, Sent};
use crate::{
    decide::Forward,
    error::Failure,
    policy::{deadline, headers, mirror::Copies},
    request::{strict::Checked, switch::Switch, target, websocket},
};

/// Runs the stages that change a head, up to the form of the upstream's version. `left` is what a gRPC upstream is told.
///
/// # Errors
/// What the proxy would answer instead.
pub(super) fn sent(
    head: &Parts,
    forward: Option<&Forward>,
    checked: &Checked,
    (protocol, scheme): (AppProtocol, &Scheme),
    left: Option<Duration>,
) -> Result<Sent, Failure> {
    let mut head = head.clone();
    // Copies for mirrors are made on the way, and sent by nobody here.
    headers::on_request(&mut head, forward, &mut Copies::default())?;
    if let Some(left) = left.filter(|_| checked.grpc) {
        deadline::tell(&mut head.headers, left);
    }
    let upgrade = match checked.switch.as_deref() {
        Some(Switch::Upgrade(upgrade)) => Some(upgrade),
        Some(Switch::Connect) | None => None,
    };
    let version = match protocol {
        AppProtocol::Http1 | AppProtocol::Tcp | AppProtocol::Tls => {
            target::for_http1(&mut head, checked.framing);
            upgrade.into_iter().for_each(|upgrade| upgrade.ask(&mut head.headers));
            "HTTP/1.1"
        }
        AppProtocol::Http2 | AppProtocol::Grpc => {
            target::for_http2(&mut head, scheme).map_err(|_| Failure::Internal)?;
            if upgrade.is_some() {
                head.method = Method::CONNECT;
                head.headers.remove(websocket::KEY);
            }
            "HTTP/2"
        }
    };
    let authority = match head.uri.authority() {
        Some(authority) => authority.to_string(),
        None => head.headers.remove(HOST).map(text).unwrap_or_default(),
    };
    head.headers.remove(HOST);
    Ok(Sent {
        version,
        method: head.method.to_string(),
        path: head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        authority,
        headers: fields(&head.headers),
        changes: Vec::new(),
    })
}

/// What the strict check did to a head.
pub(super) fn changed(before: &Parts, after: &Parts) -> Vec<String> {
    let mut changes = Vec::new();
    let (was, is) = (before.uri.path(), after.uri.path());
    if was != is {
        changes.push(format!("path {was} is read as {is}"));
    }
    let host = |head: &Parts| head.headers.get(HOST).map(|host| format!("{host:?}"));
    if before.version != Version::HTTP_2 && host(before) != host(after) {
        changes.push(format!("Host becomes {}", host(after).unwrap_or_default().trim_matches('"')));
    }
    for name in before.headers.keys() {
        match (before.headers.get_all(name).iter().count(), after.headers.get_all(name).iter().count()) {
            (_, 0) => changes.push(format!("header {name} is taken off")),
            (many, 1) if many > 1 => changes.push(format!("header {name} becomes one field")),
            _ => {}
        }
    }
    changes
}

/// Header fields as pairs.
pub(super) fn fields(headers: &http::HeaderMap) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| (name.to_string(), text(value.clone()))).collect()
}

fn text(value: http::HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// The version in words.
pub(super) fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

/// What a rule or a backend changes in a request, in words.
pub(super) fn changes(
    by: &'static str,
    modifiers: &[model::HeaderModifier],
    rewrite: Option<&model::Rewrite>,
) -> Vec<Change> {
    let fields = header_changes(modifiers).into_iter().map(|change| match change.value {
        Some(value) => format!("{} {}: {value}", change.action, change.name),
        None => format!("{} {}", change.action, change.name),
    });
    let host =
        rewrite.and_then(|rewrite| rewrite.host.as_ref()).map(|host| format!("rewrite host to {host}"));
    let path = rewrite.and_then(|rewrite| rewrite.path.as_ref()).map(|path| match path {
        PathRewrite::Full(full) => format!("rewrite path to {full}"),
        PathRewrite::Prefix { matched, replacement } => {
            format!("rewrite path prefix {} to {}", or_root(matched), or_root(replacement))
        }
    });
    fields.chain(host).chain(path).map(|what| Change { by, what }).collect()
}

fn or_root(prefix: &str) -> &str {
    if prefix.is_empty() { "/" } else { prefix }
}

/// What modifiers do to a header, in the order in which they do it.
pub(super) fn header_changes(modifiers: &[model::HeaderModifier]) -> Vec<HeaderChange> {
    let change = |action, name: &str, value: Option<&str>| HeaderChange {
        action,
        name: name.to_owned(),
        value: value.map(str::to_owned),
    };
    let of = |modifier: &model::HeaderModifier| {
        let set = modifier.set.iter().map(|(name, value)| change("set", name, Some(value)));
        let add = modifier.add.iter().map(|(name, value)| change("add", name, Some(value)));
        let remove = modifier.remove.iter().map(|name| change("remove", name, None));
        set.chain(add).chain(remove).collect::<Vec<_>>()
    };
    modifiers.iter().flat_map(of).collect()
}
