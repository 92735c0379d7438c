//! Matches of rules in words: what each wants, and what the request has instead.
//!
//! It judges nothing: which condition fails is what the decision said.

use std::{borrow::Cow, collections::HashMap};

use http::header::CONTENT_TYPE;
use outrigger_config::model::{CallMatch, Origin, PathMatch, RouteMatch, RouteRule, RuleId, StringMatch};

use super::{
    hears::{self, Missed},
    report::{Candidate, Miss},
};
use crate::{
    decide::Head,
    route::{
        call::named,
        matcher::{header_value, parameter},
    },
};

/// The rules of one port by name and place: a route may have a rule named `1` beside its second one.
pub(super) type Sources<'a> = HashMap<(&'a RuleId, &'a Origin), &'a RouteRule>;

/// All candidates, in the order in which they were heard.
pub(super) fn told(heard: &[hears::Candidate], sources: &Sources<'_>, head: &Head<'_>) -> Vec<Candidate> {
    let mut taken = false;
    let mut told = Vec::with_capacity(heard.len());
    for candidate in heard {
        let Some((id, origin)) = &candidate.rule else { continue };
        let source = sources.get(&(id, origin)).and_then(|rule| rule.matches.get(candidate.match_index));
        let holds = candidate.miss.is_none();
        told.push(Candidate {
            rule: id.to_string(),
            origin: source.map_or(origin, |source| &source.origin).to_string(),
            match_index: candidate.match_index,
            conditions: source.map(conditions).unwrap_or_default(),
            holds,
            taken: holds && !taken,
            miss: source.zip(candidate.miss.as_ref()).map(|(source, missed)| miss(source, missed, head)),
        });
        taken |= holds;
    }
    told
}

/// What a match wants, one condition each.
fn conditions(of: &RouteMatch) -> Vec<String> {
    let mut conditions = path(&of.path);
    conditions.extend(of.method.iter().map(|method| format!("method {method}")));
    conditions.extend(of.headers.iter().map(|one| format!("header {} {}", one.name, value(&one.value))));
    conditions.extend(of.query.iter().map(|one| format!("query {} {}", one.name, value(&one.value))));
    conditions
}

fn miss(of: &RouteMatch, missed: &Missed, head: &Head<'_>) -> Miss {
    let miss =
        |what: &str, wanted: String, found: Option<String>| Miss { what: what.to_owned(), wanted, found };
    let call = |part: fn(&CallMatch) -> &Option<StringMatch>| match &of.path {
        PathMatch::Grpc(call) => part(call).as_ref().map(value).unwrap_or_default(),
        _ => String::new(),
    };
    let named = || named(head.path).unwrap_or_default();
    match missed {
        Missed::Path => miss("path", path(&of.path).join(", "), Some(head.path.to_owned())),
        Missed::NotGrpc => {
            let kind =
                header_value(head.headers, &CONTENT_TYPE).map_or_else(|| "no content-type".to_owned(), text);
            miss("gRPC", "POST, application/grpc".to_owned(), Some(format!("{}, {kind}", head.method)))
        }
        Missed::GrpcService => miss("gRPC service", call(|call| &call.service), Some(named().0.to_owned())),
        Missed::GrpcMethod => miss("gRPC method", call(|call| &call.method), Some(named().1.to_owned())),
        Missed::Method => {
            let wanted = of.method.as_deref().unwrap_or_default().to_owned();
            miss("method", wanted, Some(head.method.to_string()))
        }
        Missed::Header(name) => {
            let wanted = of.headers.iter().find(|one| *one.name == *name.as_str()).map(|one| &one.value);
            let found = header_value(head.headers, name).map(text);
            miss(&format!("header {name}"), wanted.map(value).unwrap_or_default(), found)
        }
        Missed::Query(name) => {
            let wanted = of.query.iter().find(|one| *one.name == **name).map(|one| &one.value);
            let found = parameter(head.query, name).map(text);
            miss(&format!("query {name}"), wanted.map(value).unwrap_or_default(), found)
        }
    }
}

fn path(of: &PathMatch) -> Vec<String> {
    match of {
        PathMatch::Exact(path) => vec![format!("path = {path}")],
        PathMatch::Prefix(path) => vec![format!("path prefix {path}")],
        PathMatch::Regex(pattern) => vec![format!("path matches {pattern}")],
        PathMatch::Grpc(CallMatch { service: None, method: None }) => vec!["any gRPC call".to_owned()],
        PathMatch::Grpc(CallMatch { service, method }) => {
            let service = service.iter().map(|one| format!("gRPC service {}", value(one)));
            let method = method.iter().map(|one| format!("gRPC method {}", value(one)));
            service.chain(method).collect()
        }
    }
}

fn value(of: &StringMatch) -> String {
    match of {
        StringMatch::Exact(value) => format!("= {value}"),
        StringMatch::Regex(pattern) => format!("matches {pattern}"),
    }
}

fn text(bytes: Cow<'_, [u8]>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}
