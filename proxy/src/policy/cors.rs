//! Cross-origin policy: what browsers are told about answers that pages of other origins want to use (CORS, GEP-1767).
//!
//! Pure: the policy and header fields in, header fields out. The protocol is that of the Fetch standard, section 3.2; it
//! is the browser that keeps an answer from a page, so nothing is ever refused here. A request's credentials are not looked
//! at: without `Access-Control-Allow-Credentials` a browser keeps the answer to a request with credentials to itself,
//! whatever else it says.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
        ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
        ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
    },
};
use outrigger_config::model::{self, HostPattern, Names, OriginPattern};

use crate::{decide::Head, route::modifier::header_value, runtime::BuildError};

/// What the answer to a request may say, none of which an upstream's word counts for.
const ANSWERS: [HeaderName; 6] = [
    ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_ALLOW_CREDENTIALS,
    ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE,
];

const ANY: HeaderValue = HeaderValue::from_static("*");

/// The policy of a rule or of a backend, ready to be told.
#[derive(Debug)]
pub(crate) struct Cors {
    origins: Box<[OriginPattern]>,
    credentials: bool,
    methods: Told,
    headers: Told,
    expose: Told,
    max_age: HeaderValue,
}

/// Names as they are told.
#[derive(Debug)]
enum Told {
    Nothing,
    These(HeaderValue),
    Any,
}

impl Told {
    fn new(names: &Names) -> Result<Self, BuildError> {
        match names {
            Names::Any => Ok(Self::Any),
            Names::Listed(names) if names.is_empty() => Ok(Self::Nothing),
            Names::Listed(names) => header_value(&names.join(", ")).map(Self::These),
        }
    }
}

/// The method that a preflight asks about; `None`: the request is none.
pub(crate) fn asked(head: &Head<'_>) -> Option<Method> {
    if *head.method != Method::OPTIONS || !head.headers.contains_key(ORIGIN) {
        return None;
    }
    Method::from_bytes(head.headers.get(ACCESS_CONTROL_REQUEST_METHOD)?.as_bytes()).ok()
}

impl Cors {
    pub(crate) fn compile(from: &model::Cors) -> Result<Self, BuildError> {
        Ok(Self {
            origins: from.origins.as_slice().into(),
            credentials: from.credentials,
            methods: Told::new(&from.methods)?,
            headers: Told::new(&from.headers)?,
            expose: Told::new(&from.expose)?,
            max_age: HeaderValue::from(from.max_age),
        })
    }

    /// The header of the answer to a preflight.
    pub(crate) fn on_preflight(&self, request: &HeaderMap, answer: &mut HeaderMap) {
        if !self.allow(request.get(ORIGIN), answer) {
            return;
        }
        let mut tell = |name, told: &Told, asked: Option<&HeaderValue>| {
            let value = match told {
                Told::Nothing => None,
                Told::These(names) => Some(names),
                // To all browsers `*` is but a name where there are credentials, and of headers it never means Authorization.
                Told::Any if self.credentials || name == ACCESS_CONTROL_ALLOW_HEADERS => asked,
                Told::Any => Some(&ANY),
            };
            if let Some(value) = value {
                answer.insert(name, value.clone());
            }
        };
        tell(ACCESS_CONTROL_ALLOW_METHODS, &self.methods, request.get(ACCESS_CONTROL_REQUEST_METHOD));
        tell(ACCESS_CONTROL_ALLOW_HEADERS, &self.headers, request.get(ACCESS_CONTROL_REQUEST_HEADERS));
        tell(ACCESS_CONTROL_EXPOSE_HEADERS, &self.expose, None);
        answer.insert(ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
    }

    /// Changes the header of any other answer, the proxy's own too. `origin` is that of the request.
    pub(crate) fn on_answer(&self, origin: Option<&HeaderValue>, answer: &mut HeaderMap) {
        if !self.allow(origin, answer) {
            return;
        }
        let value = match &self.expose {
            Told::Nothing => None,
            Told::These(names) => Some(names.clone()),
            Told::Any if self.credentials => names_of(answer),
            Told::Any => Some(ANY),
        };
        if let Some(value) = value {
            answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, value);
        }
    }

    /// Takes off what others said, and says whether the origin may use the answer; `false` if not.
    fn allow(&self, origin: Option<&HeaderValue>, answer: &mut HeaderMap) -> bool {
        for name in &ANSWERS {
            answer.remove(name);
        }
        let everybody = self.origins.contains(&OriginPattern::Any);
        if !everybody || self.credentials {
            // Whoever keeps the answer must not give it to another origin.
            vary(answer);
        }
        let Some(origin) = origin.filter(|origin| everybody || self.lists(origin)) else { return false };
        let told = if everybody && !self.credentials { ANY } else { origin.clone() };
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, told);
        if self.credentials {
            answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        true
    }

    fn lists(&self, origin: &HeaderValue) -> bool {
        let Some((secure, host, port)) = origin.to_str().ok().and_then(parts) else { return false };
        self.origins.iter().any(|pattern| match pattern {
            OriginPattern::Any => true,
            OriginPattern::Web { secure: wanted, host: pattern, port: number } => {
                (*wanted, *number) == (secure, port) && host_matches(pattern, host)
            }
        })
    }
}

/// Scheme, host and port of an origin (RFC 6454, section 6.2); `None` where it is of no such form, as `null` is.
fn parts(origin: &str) -> Option<(bool, &str, u16)> {
    let (scheme, authority) = origin.split_once("://")?;
    let secure = match scheme {
        "https" => true,
        "http" => false,
        _ => return None,
    };
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => Some((secure, host, port.parse().ok()?)),
        _ => Some((secure, authority, OriginPattern::own_port(secure))),
    }
}

fn host_matches(pattern: &HostPattern, host: &str) -> bool {
    match pattern {
        HostPattern::Any => !host.is_empty(),
        HostPattern::Exact(name) => host.eq_ignore_ascii_case(name),
        HostPattern::Below(suffix) => match host.len().checked_sub(suffix.len()) {
            Some(at @ 1..) => host.get(at..).is_some_and(|end| end.eq_ignore_ascii_case(suffix)),
            _ => false,
        },
    }
}

/// Adds `Origin` to what the answer hangs on, unless it is there.
fn vary(answer: &mut HeaderMap) {
    let names = answer.get_all(VARY).iter().filter_map(|value| value.to_str().ok());
    let told = names.flat_map(|value| value.split(',')).map(str::trim);
    if !told.into_iter().any(|name| name == "*" || name.eq_ignore_ascii_case("origin")) {
        answer.append(VARY, HeaderValue::from_static("Origin"));
    }
}

/// The names of an answer's fields: with credentials, `*` would be but a name. `None`: there are none.
fn names_of(answer: &HeaderMap) -> Option<HeaderValue> {
    let names: Vec<&str> =
        answer.keys().filter(|name| !ANSWERS.contains(name)).map(HeaderName::as_str).collect();
    (!names.is_empty()).then(|| HeaderValue::from_str(&names.join(", ")).ok())?
}

#[cfg(test)]
mod tests;
