//! The conditions of one route match, compiled. Each answers for one head: it holds, or which condition does not.
//!
//! Regular expressions match whole values, as the Gateway API leaves open and every implementation does, and are
//! linear in the length of their input. This file must not know about the precedence between matches.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, Method};
use outrigger_config::model::{HeaderMatch, PathMatch, QueryMatch, RouteMatch, StringMatch};
use regex::bytes::{Regex, RegexBuilder};

use super::{call::Call, modifier::header_name};
use crate::{
    decide::{Head, NotMatched},
    runtime::BuildError,
};

/// Bytes that one compiled expression may take.
const REGEX_SIZE: usize = 1 << 20;

/// Compiles expressions, equal ones once: one expression on every route of a large mesh is common.
#[derive(Debug, Default)]
pub(crate) struct Regexes {
    compiled: foldhash::HashMap<String, Regex>,
}

impl Regexes {
    /// An expression that holds for whole values only.
    pub(crate) fn whole(&mut self, pattern: &str) -> Result<Regex, BuildError> {
        if let Some(known) = self.compiled.get(pattern) {
            return Ok(known.clone());
        }
        let build = |wrapped: &str| RegexBuilder::new(wrapped).size_limit(REGEX_SIZE).build();
        let regex = build(&format!(r"\A(?:{pattern})\z"))
            // A pattern in `x` mode may end in a comment, which would swallow our closing parenthesis.
            .or_else(|error| build(&format!("\\A(?:{pattern}\n)\\z")).map_err(|_| error))
            .map_err(|error| BuildError::Regex { pattern: pattern.into(), reason: error.to_string() })?;
        self.compiled.insert(pattern.to_owned(), regex.clone());
        Ok(regex)
    }
}

/// What a value must be.
#[derive(Debug)]
pub(super) enum Value {
    Exact(Box<[u8]>),
    Regex(Regex),
}

impl Value {
    pub(super) fn compile(from: &StringMatch, regexes: &mut Regexes) -> Result<Self, BuildError> {
        Ok(match from {
            StringMatch::Exact(value) => Value::Exact(value.as_bytes().into()),
            StringMatch::Regex(pattern) => Value::Regex(regexes.whole(pattern)?),
        })
    }

    /// The value, or the expression.
    pub(super) fn text(&self) -> &str {
        match self {
            // Policy is text.
            Value::Exact(exact) => std::str::from_utf8(exact).unwrap_or_default(),
            Value::Regex(regex) => regex.as_str(),
        }
    }

    pub(super) fn holds(&self, value: &[u8]) -> bool {
        match self {
            Value::Exact(exact) => **exact == *value,
            Value::Regex(regex) => regex.is_match(value),
        }
    }
}

/// A condition on the path, or on the call that it names; the table looks most of them up.
#[derive(Debug)]
pub(super) enum Path {
    Exact(Box<str>),
    Prefix(Box<str>),
    Regex(Regex),
    /// Boxed, so that the matches of HTTPRoutes stay as small as they are without it.
    Call(Box<Call>),
}

impl Path {
    pub(super) fn compile(from: &PathMatch, regexes: &mut Regexes) -> Result<Self, BuildError> {
        Ok(match from {
            PathMatch::Exact(path) => Path::Exact((&**path).into()),
            PathMatch::Prefix(path) => Path::Prefix((&**path).into()),
            PathMatch::Regex(pattern) => Path::Regex(regexes.whole(pattern)?),
            PathMatch::Grpc(call) => Path::Call(Box::new(Call::compile(call, regexes)?)),
        })
    }

    /// Why the path of a request is not meant; whether the request is a call at all is not asked.
    pub(super) fn miss(&self, path: &str) -> Option<NotMatched<'static>> {
        let holds = match self {
            Path::Exact(exact) => **exact == *path,
            Path::Prefix(prefix) if **prefix == *"/" => true,
            Path::Prefix(prefix) => {
                path.strip_prefix(&**prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Path::Regex(regex) => regex.is_match(path.as_bytes()),
            Path::Call(call) => return call.miss(path),
        };
        (!holds).then_some(NotMatched::Path)
    }
}

/// All conditions of a match but the path's.
#[derive(Debug)]
pub(super) struct Conditions {
    method: Option<Method>,
    headers: Box<[(HeaderName, Value)]>,
    query: Box<[(Box<str>, Value)]>,
}

impl Conditions {
    /// Of several conditions on one name the first counts, as the Gateway API has it.
    pub(super) fn compile(from: &RouteMatch, regexes: &mut Regexes) -> Result<Self, BuildError> {
        let method = match &from.method {
            None => None,
            Some(method) => Some(
                Method::from_bytes(method.as_bytes()).map_err(|_| BuildError::Method((&**method).into()))?,
            ),
        };
        let mut headers: Vec<(HeaderName, Value)> = Vec::with_capacity(from.headers.len());
        for HeaderMatch { name, value } in &from.headers {
            let name = header_name(name)?;
            if headers.iter().all(|(other, _)| *other != name) {
                headers.push((name, Value::compile(value, regexes)?));
            }
        }
        let mut query: Vec<(Box<str>, Value)> = Vec::with_capacity(from.query.len());
        for QueryMatch { name, value } in &from.query {
            if query.iter().all(|(other, _)| **other != **name) {
                query.push(((&**name).into(), Value::compile(value, regexes)?));
            }
        }
        Ok(Self { method, headers: headers.into(), query: query.into() })
    }

    /// The first condition that fails.
    #[inline]
    pub(super) fn miss(&self, head: &Head<'_>) -> Option<NotMatched<'_>> {
        if self.method.as_ref().is_some_and(|method| method != head.method) {
            return Some(NotMatched::Method);
        }
        if let Some((name, _)) = self.headers.iter().find(|(name, value)| !header(head.headers, name, value))
        {
            return Some(NotMatched::Header(name));
        }
        self.query
            .iter()
            .find(|(name, value)| !parameter(head.query, name).is_some_and(|found| value.holds(&found)))
            .map(|(name, _)| NotMatched::Query(name))
    }
}

/// Whether a header is there and its value is what is wanted.
fn header(headers: &HeaderMap, name: &HeaderName, wanted: &Value) -> bool {
    header_value(headers, name).is_some_and(|value| wanted.holds(&value))
}

/// The value of a header as conditions read it: repeated ones are joined with `,`.
pub(crate) fn header_value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Cow<'a, [u8]>> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.as_bytes();
    let Some(second) = values.next() else { return Some(Cow::Borrowed(first)) };
    let mut joined = first.to_vec();
    for value in std::iter::once(second).chain(values) {
        joined.push(b',');
        joined.extend_from_slice(value.as_bytes());
    }
    Some(Cow::Owned(joined))
}

/// The first value of a query parameter, percent-decoded; `name` alone is an empty value.
pub(crate) fn parameter<'a>(query: Option<&'a str>, name: &str) -> Option<Cow<'a, [u8]>> {
    query?
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(key, _)| *decoded(key) == *name.as_bytes())
        .map(|(_, value)| decoded(value))
}

/// Percent-decodes; what is no valid escape stands for itself, and so does `+`.
fn decoded(text: &str) -> Cow<'_, [u8]> {
    if !text.contains('%') {
        return Cow::Borrowed(text.as_bytes());
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = match bytes[at..] {
            [b'%', high, low, ..] => hex(high).zip(hex(low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                out.push(high << 4 | low);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    Cow::Owned(out)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_whole_segments() {
        let prefix = |prefix: &str, path: &str| Path::Prefix(prefix.into()).miss(path).is_none();
        assert!(prefix("/api", "/api"));
        assert!(prefix("/api", "/api/"));
        assert!(prefix("/api", "/api/x"));
        assert!(!prefix("/api", "/apis"));
        assert!(!prefix("/api", "/ap"));
        assert!(prefix("/", "/"));
        assert!(prefix("/", "/anything"));
    }

    #[test]
    fn expressions_match_whole_values() {
        let mut regexes = Regexes::default();
        let mut holds =
            |pattern: &str, value: &str| regexes.whole(pattern).unwrap().is_match(value.as_bytes());
        assert!(holds("a|ab", "ab"));
        assert!(!holds("a", "ab"));
        assert!(!holds("b", "ab"));
        assert!(!holds("a$", "a\n"));
        assert!(holds("(?x) a b # a comment", "ab"));
        assert!(!holds("(?x) a b # a comment", "abc"));
        assert!(matches!(regexes.whole("(a"), Err(BuildError::Regex { .. })));
        assert!(matches!(regexes.whole(r"(\pL{100}){100}"), Err(BuildError::Regex { .. })), "too large");
    }

    #[test]
    fn repeated_headers_are_joined() {
        let mut headers = HeaderMap::new();
        let name = HeaderName::from_static("x");
        let is =
            |headers: &HeaderMap, value: &str| header(headers, &name, &Value::Exact(value.as_bytes().into()));
        assert!(!is(&headers, ""));
        headers.append("x", "a".parse().unwrap());
        assert!(is(&headers, "a"));
        headers.append("x", "b".parse().unwrap());
        headers.append("x", "c".parse().unwrap());
        assert!(is(&headers, "a,b,c"));
        assert!(!is(&headers, "a"));
    }

    #[test]
    fn the_first_query_parameter_counts_decoded() {
        let first = |query: &str, name: &str| {
            parameter(Some(query), name).map(|value| String::from_utf8(value.into_owned()).unwrap())
        };
        assert_eq!(first("a=1&a=2", "a").as_deref(), Some("1"));
        assert_eq!(first("b&a=x%20y%2", "a").as_deref(), Some("x y%2"));
        assert_eq!(first("b&a=1+1", "b").as_deref(), Some(""));
        assert_eq!(first("%61=%zz", "a").as_deref(), Some("%zz"));
        assert_eq!(first("b=1", "a"), None);
        assert_eq!(parameter(None, "a"), None);
    }
}
