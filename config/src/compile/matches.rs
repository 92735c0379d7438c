//! Matches of routes: what was written becomes conditions, with the defaults of the Gateway API filled in.

use std::sync::Arc;

use super::Scope;
use crate::{
    model::{CallMatch, HeaderMatch, PathMatch, QueryMatch, RouteKind, RouteMatch, StringMatch},
    schema::{CallRule, CallType, HeaderRule, HttpMatch, Match, PathType, ValueType},
};

/// The conditions of one match.
pub(super) fn route_match(scope: &Scope<'_>, written: &Match) -> RouteMatch {
    let (query, method) = match written {
        Match::Http(one) => (query(one), one.method.map(|method| method.word().into())),
        Match::Grpc(_) => (Vec::new(), None),
    };
    let (path, headers) = (target(written), headers(written));
    RouteMatch { path, headers, query, method, origin: scope.origin(&written.span()) }
}

/// What a match asks of the path where nothing is written.
pub(crate) fn everything(kind: RouteKind) -> PathMatch {
    match kind {
        // Routes of connections have no matches, and nobody asks for theirs.
        RouteKind::HTTPRoute | RouteKind::TLSRoute | RouteKind::TCPRoute => PathMatch::Prefix("/".into()),
        RouteKind::GRPCRoute => PathMatch::Grpc(CallMatch { service: None, method: None }),
    }
}

/// The condition on the path, or on the call that a path names.
pub(crate) fn target(written: &Match) -> PathMatch {
    match written {
        Match::Http(one) => path(one),
        Match::Grpc(one) => one.method.as_ref().map_or_else(|| everything(RouteKind::GRPCRoute), call),
    }
}

fn path(written: &HttpMatch) -> PathMatch {
    let rule = written.path.as_ref();
    let value =
        rule.and_then(|path| path.value.as_ref()).map_or_else(|| "/".into(), |value| value.value.0.clone());
    match rule.and_then(|path| path.kind).unwrap_or(PathType::PathPrefix) {
        PathType::Exact => PathMatch::Exact(value),
        PathType::RegularExpression => PathMatch::Regex(value),
        PathType::PathPrefix => {
            let trimmed = value.trim_end_matches('/');
            PathMatch::Prefix(if trimmed.is_empty() { "/".into() } else { trimmed.into() })
        }
    }
}

fn call(written: &CallRule) -> PathMatch {
    let is_regex = written.kind == Some(CallType::RegularExpression);
    let of = |name: &Arc<str>| match is_regex {
        true => StringMatch::Regex(name.clone()),
        false => StringMatch::Exact(name.clone()),
    };
    // protobuf writes a full name with a dot before it; no request does.
    let service = written.service.as_ref().map(|service| match service.value.0.strip_prefix('.') {
        Some(bare) if !is_regex => StringMatch::Exact(bare.into()),
        _ => of(&service.value.0),
    });
    PathMatch::Grpc(CallMatch { service, method: written.method.as_ref().map(|method| of(&method.value.0)) })
}

/// The conditions on headers. Of two on one header the first counts, as upstream has it.
pub(crate) fn headers(written: &Match) -> Vec<HeaderMatch> {
    let rules: &[HeaderRule] = match written {
        Match::Http(one) => &one.headers,
        Match::Grpc(one) => &one.headers,
    };
    let mut headers: Vec<HeaderMatch> = Vec::new();
    for rule in rules {
        let name = rule.name.value.0.clone();
        if headers.iter().all(|header| header.name != name) {
            headers.push(HeaderMatch { name, value: string_match(rule.kind, &rule.value.value.0) });
        }
    }
    headers
}

/// The conditions on query parameters. Of two on one parameter the first counts, as upstream has it.
pub(crate) fn query(written: &HttpMatch) -> Vec<QueryMatch> {
    let mut query: Vec<QueryMatch> = Vec::new();
    for rule in written.query.iter() {
        let name = rule.name.value.0.clone();
        if query.iter().all(|parameter| parameter.name != name) {
            query.push(QueryMatch { name, value: string_match(rule.kind, &rule.value.value.0) });
        }
    }
    query
}

fn string_match(kind: Option<ValueType>, value: &Arc<str>) -> StringMatch {
    match kind {
        None | Some(ValueType::Exact) => StringMatch::Exact(value.clone()),
        Some(ValueType::RegularExpression) => StringMatch::Regex(value.clone()),
    }
}
