//! Which answers may be kept and served again when their Service fails, and the keeping of one while it goes by.
//!
//! The rules are those of a shared cache (RFC 9111) that is asked only where nobody better answers: what a person, a
//! cookie or a credential may have changed is never kept, and what its server forbids to be served stale is not either.
//! Pure, but for the bytes that are copied.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts, response};
use std::sync::Arc;

use super::Store;
use crate::{
    request::strict::{Checked, Framing},
    runtime::snapshot::Rule,
};

/// Bytes of one body that is kept.
const MOST_BYTES: usize = 1024 * 1024;

/// Directives of an answer's Cache-Control with which it is not kept, or not served stale (RFC 9111 section 4.2.4).
const FORBIDDEN: [&str; 6] =
    ["no-store", "private", "no-cache", "must-revalidate", "proxy-revalidate", "s-maxage"];

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    service: Arc<str>,
    /// Rules may answer the same path differently.
    route: Arc<str>,
    method: Method,
    authority: HeaderValue,
    target: Box<str>,
}

impl Question {
    /// `None`: its answer is nobody else's.
    pub(super) fn of(rule: &Rule, head: &Parts, checked: &Checked) -> Option<Self> {
        if checked.framing != Framing::Ended || checked.grpc || !may_ask(&head.method, &head.headers) {
            return None;
        }
        Some(Self {
            service: rule.service.clone(),
            route: rule.route.clone(),
            method: head.method.clone(),
            authority: checked.authority.as_written().clone(),
            target: head.uri.path_and_query().map_or("/", |target| target.as_str()).into(),
        })
    }

    /// About how many bytes it takes.
    pub(super) fn weight(&self) -> usize {
        self.target.len() + self.authority.len()
    }

    #[cfg(test)]
    pub(super) fn made_up(target: &str) -> Self {
        Self {
            service: "shop/cart:80".into(),
            route: "default".into(),
            method: Method::GET,
            authority: HeaderValue::from_static("cart"),
            target: target.into(),
        }
    }
}

/// Whether the answer to such a request may be kept.
fn may_ask(method: &Method, headers: &HeaderMap) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
        && !headers.contains_key(header::AUTHORIZATION)
        && !headers.contains_key(header::COOKIE)
        && !directives(headers).any(|word| word == "no-store")
}

/// The headers of the request on which such an answer depends; `None`: it may not be kept.
pub(super) fn may_keep(status: StatusCode, headers: &HeaderMap) -> Option<Vec<HeaderName>> {
    if !matches!(status.as_u16(), 200 | 203 | 300 | 301 | 404 | 410)
        || headers.contains_key(header::SET_COOKIE)
        || directives(headers).any(|word| FORBIDDEN.contains(&word.as_str()))
    {
        return None;
    }
    let mut names = Vec::new();
    for name in
        headers.get_all(header::VARY).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
    {
        match name.trim_ascii() {
            b"" => {}
            b"*" => return None,
            name => names.push(HeaderName::from_bytes(name).ok()?),
        }
    }
    names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    names.dedup();
    Some(names)
}

/// The names of all Cache-Control directives, lower-cased. One that cannot be read stands for `no-store`.
fn directives(headers: &HeaderMap) -> impl Iterator<Item = String> {
    let values = headers.get_all(header::CACHE_CONTROL).iter();
    values.flat_map(|value| value.to_str().unwrap_or("no-store").split(',')).map(|directive| {
        let name = directive.split_once('=').map_or(directive, |(name, _)| name);
        name.trim().to_ascii_lowercase()
    })
}

/// The values of each header on which an answer depends.
pub(super) type Variant = Box<[Box<[HeaderValue]>]>;

/// What a request says in the headers on which an answer depends.
pub(super) fn variant(names: &[HeaderName], request: &HeaderMap) -> Variant {
    names.iter().map(|name| request.get_all(name).iter().cloned().collect()).collect()
}

/// An answer that is kept.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// An answer that is being kept while it goes by. Dropped before its end, it is forgotten.
#[derive(Debug)]
pub(crate) struct Keeping {
    question: Question,
    names: Vec<HeaderName>,
    variant: Variant,
    status: StatusCode,
    headers: HeaderMap,
    body: BytesMut,
    store: Arc<Store>,
}

impl Keeping {
    /// `None`: it may not be kept, or is known to be too long.
    pub(super) fn begin(
        question: Question,
        request: &HeaderMap,
        answer: &response::Parts,
        store: &Arc<Store>,
    ) -> Option<Self> {
        let names = may_keep(answer.status, &answer.headers)?;
        let length = answer.headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if question.method == Method::GET && length.is_some_and(|length| length > MOST_BYTES) {
            return None;
        }
        let mut headers = answer.headers.clone();
        // It is the connection's own, and not the answer's.
        headers.remove(header::CONNECTION);
        Some(Self {
            variant: variant(&names, request),
            names,
            question,
            status: answer.status,
            headers,
            body: BytesMut::new(),
            store: store.clone(),
        })
    }

    /// Copies bytes of the body; `false`: it has become too long. What came is a part of a larger buffer, which must not be
    /// kept with it.
    pub(crate) fn data(&mut self, data: &Bytes) -> bool {
        if self.body.len() + data.len() > MOST_BYTES {
            return false;
        }
        self.body.extend_from_slice(data);
        true
    }

    /// The answer has ended as it should.
    pub(crate) fn done(self) {
        // What a buffer has grown beyond its bytes would not be counted.
        let body = Bytes::copy_from_slice(&self.body);
        let answer = Answer { status: self.status, headers: self.headers, body };
        self.store.put(self.question, (self.names, self.variant), answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn only_requests_whose_answer_is_everybodys() {
        assert!(may_ask(&Method::GET, &headers(&[("accept", "*/*"), ("cache-control", "no-cache")])));
        assert!(may_ask(&Method::HEAD, &headers(&[])));
        for (method, fields) in [
            (Method::POST, &[][..]),
            (Method::DELETE, &[]),
            (Method::GET, &[("authorization", "Bearer x")]),
            (Method::GET, &[("cookie", "a=b")]),
            (Method::GET, &[("cache-control", "max-age=0, No-Store")]),
        ] {
            assert!(!may_ask(&method, &headers(fields)), "{method} {fields:?}");
        }
    }

    #[test]
    fn only_answers_that_a_shared_cache_may_serve_stale() {
        for status in [200, 203, 300, 301, 404, 410] {
            assert!(may_keep(StatusCode::from_u16(status).unwrap(), &headers(&[])).is_some(), "{status}");
        }
        for status in [201, 204, 206, 302, 304, 400, 500, 503] {
            assert!(may_keep(StatusCode::from_u16(status).unwrap(), &headers(&[])).is_none(), "{status}");
        }
        for fields in [
            ("set-cookie", "a=b"),
            ("cache-control", "private"),
            ("cache-control", "max-age=60, no-store"),
            ("cache-control", "private=\"x\""),
            ("cache-control", "must-revalidate"),
            ("vary", "accept, *"),
        ] {
            assert!(may_keep(StatusCode::OK, &headers(&[fields])).is_none(), "{fields:?}");
        }
        assert!(may_keep(StatusCode::OK, &headers(&[("cache-control", "public, max-age=60")])).is_some());
    }

    #[test]
    fn what_an_answer_varies_by_tells_variants_apart() {
        let vary = headers(&[("vary", "Accept-Language, accept"), ("vary", "accept")]);
        let names = may_keep(StatusCode::OK, &vary).unwrap();
        assert_eq!(names, [header::ACCEPT, header::ACCEPT_LANGUAGE]);
        let english = variant(&names, &headers(&[("accept-language", "en"), ("x-other", "1")]));
        assert_eq!(english, variant(&names, &headers(&[("accept-language", "en")])));
        assert_ne!(english, variant(&names, &headers(&[("accept-language", "de")])));
        assert_ne!(english, variant(&names, &headers(&[])));
    }
}
