//! Redirects and rewrites: another target for a request, or another place for its caller to go. Pure.
//!
//! The Gateway API's rules: a prefix is replaced by whole segments, the query stays, and a port that is the scheme's own
//! is not shown in a location.

use http::{HeaderValue, Uri, header::HOST, request::Parts, uri::PathAndQuery};
use outrigger_config::model::{PathRewrite, Redirect, Rewrite};

/// Changes the head of a request on its way to a backend.
///
/// # Errors
/// When the new target is none, which checked policy never has.
pub(crate) fn rewrite(head: &mut Parts, rewrite: &Rewrite) -> Result<(), http::Error> {
    if let Some(host) = &rewrite.host {
        head.headers.insert(HOST, HeaderValue::from_str(host)?);
    }
    if let Some(change) = &rewrite.path {
        let target = with_query(changed(change, head.uri.path()), head.uri.query());
        let mut parts = std::mem::take(&mut head.uri).into_parts();
        parts.path_and_query = Some(PathAndQuery::try_from(target)?);
        head.uri = Uri::from_parts(parts)?;
    }
    Ok(())
}

/// A redirect of a rule, on one port of a Service.
#[derive(Clone, Debug)]
pub struct Redirection {
    /// What policy says.
    pub redirect: Redirect,
    /// The Service's port, which stands for the listener of the Gateway API.
    pub service_port: u16,
}

impl Redirection {
    /// Where it leads a request for `host` (as the request wrote it, brackets included) and `port`.
    pub(crate) fn location(&self, host: &str, port: Option<u16>, uri: &Uri) -> String {
        let redirect = &self.redirect;
        // Callers reach this proxy in plain text.
        let scheme = redirect.scheme.as_deref().unwrap_or("http");
        let own = if scheme == "https" { 443 } else { 80 };
        let port = match (redirect.port, &redirect.scheme, &redirect.host) {
            (Some(port), ..) => port,
            (None, Some(_), _) => own,
            (None, None, Some(_)) => self.service_port,
            // Back to where the caller came by, which on a pinned listener is not the Service's port.
            (None, None, None) => port.unwrap_or(self.service_port),
        };
        let host = redirect.host.as_deref().unwrap_or(host);
        let port = if port == own { String::new() } else { format!(":{port}") };
        let path = match &redirect.path {
            Some(change) => changed(change, uri.path()),
            None => uri.path().to_owned(),
        };
        format!("{scheme}://{host}{port}{}", with_query(path, uri.query()))
    }
}

fn with_query(path: String, query: Option<&str>) -> String {
    match query {
        Some(query) => format!("{path}?{query}"),
        None => path,
    }
}

fn changed(change: &PathRewrite, path: &str) -> String {
    match change {
        PathRewrite::Full(full) if full.is_empty() => "/".to_owned(),
        PathRewrite::Full(full) => full.to_string(),
        PathRewrite::Prefix { matched, replacement } => {
            let rest = path.strip_prefix(&**matched).unwrap_or(path);
            let new = match rest {
                "" => replacement.to_string(),
                rest => format!("{}{rest}", replacement.trim_end_matches('/')),
            };
            if new.is_empty() { "/".to_owned() } else { new }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn prefix(matched: &str, replacement: &str) -> PathRewrite {
        PathRewrite::Prefix { matched: matched.into(), replacement: replacement.into() }
    }

    /// The table of the Gateway API's HTTPPathModifier, and the root.
    #[test]
    fn prefixes_are_replaced_by_whole_segments() {
        for (path, matched, replacement, expected) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            ("/a/b", "", "/v1", "/v1/a/b"),
            ("/", "", "/v1", "/v1/"),
        ] {
            assert_eq!(
                changed(&prefix(matched, replacement), path),
                expected,
                "{path} {matched} {replacement}"
            );
        }
    }

    #[test]
    fn locations_show_no_port_that_is_the_schemes_own() {
        let nothing = Redirect { scheme: None, host: None, path: None, port: None, status: 302 };
        let https = Redirect { scheme: Some("https".into()), ..nothing.clone() };
        let uri: Uri = "/a?q=1".parse().unwrap();
        for (redirect, port, expected) in [
            (nothing.clone(), None, "http://web/a?q=1"),
            (nothing.clone(), Some(8080), "http://web:8080/a?q=1"),
            (nothing.clone(), Some(80), "http://web/a?q=1"),
            (https.clone(), Some(8080), "https://web/a?q=1"),
            (Redirect { port: Some(8443), ..https.clone() }, None, "https://web:8443/a?q=1"),
            (Redirect { port: Some(443), ..https.clone() }, None, "https://web/a?q=1"),
            (Redirect { port: Some(443), ..nothing.clone() }, None, "http://web:443/a?q=1"),
            (Redirect { host: Some("x.y".into()), ..nothing.clone() }, Some(81), "http://x.y/a?q=1"),
            (Redirect { path: Some(PathRewrite::Full("/b".into())), ..nothing }, None, "http://web/b?q=1"),
        ] {
            let redirection = Redirection { redirect, service_port: 80 };
            assert_eq!(redirection.location("web", port, &uri), expected, "{redirection:?} {port:?}");
        }
    }

    #[test]
    fn without_port_and_scheme_it_is_the_callers_or_the_services_port() {
        let nothing = Redirect { scheme: None, host: None, path: None, port: None, status: 302 };
        let host = Redirect { host: Some("x.y".into()), ..nothing.clone() };
        let http = Redirect { scheme: Some("http".into()), ..host.clone() };
        let https = Redirect { scheme: Some("https".into()), ..nothing.clone() };
        for (redirect, service_port, port, expected) in [
            (&nothing, 8080, None, "http://web:8080/"),
            (&nothing, 8080, Some(8080), "http://web:8080/"),
            (&nothing, 8080, Some(9000), "http://web:9000/"),
            (&nothing, 8080, Some(80), "http://web/"),
            (&nothing, 80, None, "http://web/"),
            (&host, 8080, None, "http://x.y:8080/"),
            (&host, 8080, Some(9000), "http://x.y:8080/"),
            (&host, 80, Some(9000), "http://x.y/"),
            (&http, 8080, Some(9000), "http://x.y/"),
            (&https, 8080, Some(9000), "https://web/"),
        ] {
            let redirection = Redirection { redirect: redirect.clone(), service_port };
            assert_eq!(
                redirection.location("web", port, &Uri::from_static("/")),
                expected,
                "{redirection:?} {port:?}"
            );
        }
    }

    #[test]
    fn a_rewrite_keeps_query_and_what_it_does_not_name() {
        let head = |uri: &str| Request::get(uri).header(HOST, "web:81").body(()).unwrap().into_parts().0;
        let mut one = head("/foo/bar?q=1&q=2");
        rewrite(&mut one, &Rewrite { host: None, path: Some(prefix("/foo", "/v1")) }).unwrap();
        assert_eq!(
            (one.uri.to_string().as_str(), &one.headers[HOST]),
            ("/v1/bar?q=1&q=2", &"web:81".parse().unwrap())
        );
        let mut other = head("/foo");
        rewrite(&mut other, &Rewrite { host: Some("inner".into()), path: None }).unwrap();
        assert_eq!(
            (other.uri.to_string().as_str(), other.headers[HOST].to_str().unwrap()),
            ("/foo", "inner")
        );
    }
}
