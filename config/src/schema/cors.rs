//! The `CORS` filter of HTTPRoutes (GEP-1767).

use schemars::{Schema, json_schema};

use crate::{
    convert::{Bounded, Flag, HeaderName, Host, List, Problem, Spanned, choice, object, parsed},
    diagnostic::Code,
    model::{self, HostPattern, OriginPattern},
};

object! {
    /// Which pages of other origins may use the answers, and how. The proxy answers a preflight (OPTIONS with `Origin`
    /// and `Access-Control-Request-Method`) itself, with 200, by the rule that holds for the request which it asks about: by
    /// the method of that, and by their path. Conditions on headers see the preflight's own, as Envoy does: a browser sends
    /// a preflight without the header of the request to come, so a rule that wants `x-tester` answers none. Write the filter on
    /// a rule without such a condition.
    ///
    /// Of an answer to any other request, the upstream's own `Access-Control-*` headers are taken off, and those that
    /// follow from this filter are set, whoever made the answer. An origin that is not allowed gets none of them; its
    /// request is served all the same, since it is the browser that keeps the answer from the page.
    pub(crate) struct Cors {
        /// Who may: `*`, or `http` or `https` origins, such as `https://example.com:8443`. The host may be `*`, or begin
        /// with `*.` for any number of labels. A port that is not written is the scheme's own. Without any, nobody may
        /// (OR152).
        allow_origins("allowOrigins"): List<Spanned<CorsOrigin>, 64>,
        /// Whether with cookies and the like. Then `*` is never sent: what is asked for is repeated instead.
        allow_credentials("allowCredentials"): Option<Spanned<Flag>> = false,
        /// Methods; GET, HEAD and POST are always allowed.
        allow_methods("allowMethods"): List<Spanned<CorsMethod>, 9>,
        /// Request headers, or `*`; letter case does not count.
        allow_headers("allowHeaders"): List<Spanned<HeaderName>, 64>,
        /// Headers of the answer that a page may read, or `*`; letter case does not count.
        expose_headers("exposeHeaders"): List<Spanned<HeaderName>, 64>,
        /// How long a browser may rely on a preflight, in seconds.
        max_age("maxAge"): Option<Bounded<1, 2_147_483_647>> = model::Cors::MAX_AGE,
    }
}

choice! {
    /// A method that a page may use.
    pub(crate) enum CorsMethod {
        /// Any; must stand alone.
        Any = "*",
        /// GET.
        Get = "GET",
        /// HEAD.
        Head = "HEAD",
        /// POST.
        Post = "POST",
        /// PUT.
        Put = "PUT",
        /// DELETE.
        Delete = "DELETE",
        /// CONNECT.
        Connect = "CONNECT",
        /// OPTIONS.
        Options = "OPTIONS",
        /// TRACE.
        Trace = "TRACE",
        /// PATCH.
        Patch = "PATCH",
    }
}

/// An origin, or a pattern of origins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CorsOrigin(pub(crate) OriginPattern);

impl CorsOrigin {
    fn parse(text: &str) -> Result<Self, Problem> {
        let problem = |help: &str| Problem::new(Code::Name, format!("`{text}` is not an origin"), help);
        if text == "*" {
            return Ok(Self(OriginPattern::Any));
        }
        let form =
            "`*`, or scheme and host, such as `https://www.example.com` or `https://*.example.com:8443`";
        let (scheme, authority) = text.split_once("://").ok_or_else(|| problem(form))?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(problem("the scheme of an origin is `http` or `https`")),
        };
        if authority.contains(['/', '?', '#']) {
            return Err(problem("an origin has no path: it ends with the host or the port"));
        }
        let (host, port) = match authority.rsplit_once(':') {
            None => (authority, OriginPattern::own_port(secure)),
            Some((host, port)) => {
                let port = port.parse::<u16>().ok().filter(|port| *port > 0);
                (host, port.ok_or_else(|| problem("a port is a number from 1 to 65535"))?)
            }
        };
        let name = |host: &str| Host::parse(host).map(|host| host.0).map_err(|_| problem(form));
        let host = match host.strip_prefix("*.") {
            _ if host == "*" => HostPattern::Any,
            Some(rest) => HostPattern::Below(format!(".{}", name(rest)?).into()),
            None if host.contains('*') => {
                return Err(problem(
                    "a `*` stands for the whole host, or for its first labels, as `*.example.com`",
                ));
            }
            None => HostPattern::Exact(name(host)?),
        };
        Ok(Self(OriginPattern::Web { secure, host, port }))
    }

    fn schema() -> Schema {
        json_schema!({"type": "string", "description": "An origin, such as `https://*.example.com:8443`, or `*`."})
    }
}

parsed!(CorsOrigin);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_shown_in_one_form() {
        for (text, shown) in [
            ("*", "*"),
            ("https://example.com", "https://example.com"),
            ("HTTPS://Example.com:443", "https://example.com"),
            ("http://example.com:443", "http://example.com:443"),
            ("http://*:8080", "http://*:8080"),
            ("https://*.a.example.com:8443", "https://*.a.example.com:8443"),
            ("http://10.0.0.1:80", "http://10.0.0.1"),
        ] {
            assert_eq!(CorsOrigin::parse(text).unwrap().0.to_string(), shown, "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "example.com",
            "null",
            "ftp://example.com",
            "https://",
            "https://a/",
            "https://a:0",
            "https://a:x",
            "https://a.*.com",
            "https://a*.com",
            "https://*.*.com",
            "https://**",
            "https://a b",
            "https://user@a",
            "*.example.com",
        ] {
            assert!(CorsOrigin::parse(text).is_err(), "{text}");
        }
    }
}
