//! The request that is asked about, and its head as the HTTP server would hand it over.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING},
    request::Parts,
    uri::{Authority, PathAndQuery, Scheme},
};
use outrigger_config::SpiffeId;

use crate::{decide::Form, request::is_grpc};

/// A request, and how it comes.
#[derive(Clone, Debug)]
pub struct Question {
    /// Its method.
    pub method: Method,
    /// Its URL as a person wrote it.
    pub url: String,
    /// Its header; a Host here replaces the URL's authority, as curl has it.
    pub headers: HeaderMap,
    /// Its version; `None`: HTTP/2 for gRPC, otherwise HTTP/1.1.
    pub version: Option<Version>,
    /// How it names its target.
    pub form: Form,
    /// The listener by which it comes.
    pub door: Door,
    /// The address that the caller dialled, where traffic is redirected.
    pub original_destination: Option<SocketAddr>,
    /// The caller's address.
    pub peer: IpAddr,
    /// The caller's identity.
    pub from: Option<SpiffeId>,
    /// What drives random choices; `None`: all shares are of interest.
    pub dice: Option<u64>,
    uri: Uri,
}

/// The listener by which a request comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Door {
    /// The first outbound listener that goes by authority; the first one where none does.
    #[default]
    Outbound,
    /// The first inbound listener.
    Inbound,
    /// The listener with this bind address.
    At(SocketAddr),
}

/// Why a question cannot be asked. No request that an HTTP server would hand over says this.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// Not a method.
    #[error("`{0}` is not a method; such as GET")]
    Method(String),
    /// Not a URL.
    #[error("`{0}` is not a URL: {1}; such as http://reviews/items?page=2")]
    Url(String, String),
    /// A scheme whose requests no listener reads.
    #[error(
        "`{0}`: only http is read here; a caller that encrypts needs a plain-text request to its own sidecar"
    )]
    Scheme(String),
    /// Not a connection.
    #[error("`{0}` is no connection: {1}; such as tcp://db:5432 or tls://db.example.com")]
    Connection(String, &'static str),
    /// Not a header.
    #[error("`{0}` is not a header; such as 'x-tester: yes'")]
    Header(String),
}

impl Question {
    /// Asks about a request without header, by the way that requests of the app take.
    ///
    /// # Errors
    /// When method or URL is none.
    pub fn new(method: &str, url: &str) -> Result<Self, QuestionError> {
        let bad = |why: &dyn std::fmt::Display| QuestionError::Url(url.to_owned(), why.to_string());
        let method =
            Method::from_bytes(method.as_bytes()).map_err(|_| QuestionError::Method(method.to_owned()))?;
        // A path, `*`, the authority of a CONNECT; or what curl takes: a host without a scheme.
        let bare = url.starts_with('/') || url == "*" || method == Method::CONNECT;
        let whole = if bare || url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let uri: Uri = whole.parse().map_err(|error: http::uri::InvalidUri| bad(&error))?;
        Ok(Self {
            method,
            url: url.to_owned(),
            headers: HeaderMap::new(),
            version: None,
            form: Form::Origin,
            door: Door::default(),
            original_destination: None,
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
            from: None,
            dice: None,
            uri,
        })
    }

    /// Adds a header field.
    ///
    /// # Errors
    /// When it is none.
    pub fn header(&mut self, name: &str, value: &str) -> Result<(), QuestionError> {
        let bad = || QuestionError::Header(format!("{name}: {value}"));
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| bad())?;
        self.headers.append(name, value);
        Ok(())
    }

    /// The version that it speaks.
    pub fn version(&self) -> Version {
        let grpc = || self.headers.get(CONTENT_TYPE).is_some_and(|value| is_grpc(value.as_bytes()));
        self.version.unwrap_or_else(|| if grpc() { Version::HTTP_2 } else { Version::HTTP_11 })
    }

    /// What a connection for it would be asked about as, without scheme.
    pub(super) fn destination(&self) -> String {
        let authority = self.uri.authority();
        let host = authority.map_or("HOST", Authority::host);
        let port = authority.and_then(Authority::port_u16).unwrap_or(80);
        format!("{host}:{port}")
    }

    /// Whether it has no body, as far as its header tells.
    pub(super) fn body_ended(&self) -> bool {
        !self.headers.contains_key(CONTENT_LENGTH) && !self.headers.contains_key(TRANSFER_ENCODING)
    }

    /// The head as the HTTP server hands it over.
    ///
    /// # Errors
    /// When it cannot be sent in its version.
    pub(super) fn head(&self) -> Result<Parts, QuestionError> {
        let (mut head, ()) = Request::new(()).into_parts();
        head.method = self.method.clone();
        head.version = self.version();
        head.headers = self.headers.clone();
        let bad = |error: http::Error| QuestionError::Url(self.url.clone(), error.to_string());
        match head.version {
            Version::HTTP_2 => self.http2(&mut head),
            _ => self.http1(&mut head),
        }
        .map_err(bad)?;
        let scheme = self.uri.scheme_str().filter(|_| self.form == Form::Origin);
        match scheme {
            None | Some("http") => Ok(head),
            Some(_) => Err(QuestionError::Scheme(self.url.clone())),
        }
    }

    fn http1(&self, head: &mut Parts) -> Result<(), http::Error> {
        if let Some(authority) = self.uri.authority()
            && !self.headers.contains_key(HOST)
        {
            let mut headers = HeaderMap::with_capacity(self.headers.len() + 1);
            headers.insert(HOST, HeaderValue::from_str(authority.as_str())?);
            headers.extend(std::mem::take(&mut head.headers));
            head.headers = headers;
        }
        head.uri = match self.form {
            Form::Absolute | Form::Connect => self.uri.clone(),
            Form::Origin if self.method == Method::CONNECT => self.uri.clone(),
            Form::Origin => Uri::from(self.path()?),
        };
        Ok(())
    }

    fn http2(&self, head: &mut Parts) -> Result<(), http::Error> {
        let mut hosts = self.headers.get_all(HOST).iter();
        let authority = match (hosts.next(), hosts.next()) {
            (Some(host), None) => {
                let authority = Authority::try_from(host.as_bytes())?;
                head.headers.remove(HOST);
                Some(authority)
            }
            _ => self.uri.authority().cloned(),
        };
        let mut parts = http::uri::Parts::default();
        if self.method != Method::CONNECT {
            parts.path_and_query = Some(self.path()?);
            parts.scheme = authority.as_ref().map(|_| Scheme::HTTP);
        }
        parts.authority = authority;
        head.uri = Uri::from_parts(parts)?;
        Ok(())
    }

    /// Path and query; a URL without a path means the root.
    fn path(&self) -> Result<PathAndQuery, http::Error> {
        let written = self.uri.path_and_query().map_or("/", |written| written.as_str());
        let whole = if written.starts_with('?') { format!("/{written}") } else { written.to_owned() };
        Ok(PathAndQuery::try_from(whole)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(url: &str, change: impl FnOnce(&mut Question)) -> String {
        let mut question = Question::new("GET", url).unwrap();
        change(&mut question);
        let head = question.head().unwrap();
        let fields = head.headers.iter().map(|(name, value)| format!(" {name}={}", value.to_str().unwrap()));
        format!("{:?} {}{}", head.version, head.uri, fields.collect::<String>())
    }

    #[test]
    fn heads_are_those_that_clients_send() {
        let same = |_: &mut Question| {};
        assert_eq!(head("http://a:81/b?c=1#d", same), "HTTP/1.1 /b?c=1 host=a:81");
        assert_eq!(head("a", same), "HTTP/1.1 / host=a");
        assert_eq!(head("http://a?b", same), "HTTP/1.1 /?b host=a");
        assert_eq!(head("/b", same), "HTTP/1.1 /b");
        let host = |question: &mut Question| question.header("Host", "x").unwrap();
        assert_eq!(head("http://a/b", host), "HTTP/1.1 /b host=x");
        let proxied = |question: &mut Question| question.form = Form::Absolute;
        assert_eq!(head("http://a/b", proxied), "HTTP/1.1 http://a/b host=a");
        let grpc = |question: &mut Question| question.header("content-type", "application/grpc").unwrap();
        assert_eq!(head("http://a/b", grpc), "HTTP/2.0 http://a/b content-type=application/grpc");
        let both = |question: &mut Question| {
            question.version = Some(Version::HTTP_2);
            question.header("host", "x").unwrap();
        };
        assert_eq!(head("http://a/b", both), "HTTP/2.0 http://x/b");
    }

    #[test]
    fn what_no_server_hands_over_is_no_question() {
        assert!(matches!(Question::new("G ET", "/"), Err(QuestionError::Method(_))));
        assert!(matches!(Question::new("GET", "http://a b/"), Err(QuestionError::Url(..))));
        assert!(matches!(Question::new("GET", ""), Err(QuestionError::Url(..))));
        let mut question = Question::new("GET", "https://a/").unwrap();
        assert!(matches!(question.head(), Err(QuestionError::Scheme(_))));
        assert!(matches!(question.header("a b", "c"), Err(QuestionError::Header(_))));
        assert!(matches!(question.header("a", "b\n"), Err(QuestionError::Header(_))));
    }
}
