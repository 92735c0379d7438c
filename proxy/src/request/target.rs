//! The last step before a head goes upstream: the form that the upstream's HTTP version wants.
//!
//! Host is what the request is for, as routing left it; this writes it where the version reads it.

use http::{
    HeaderValue, Method, Uri, Version, header,
    request::Parts,
    uri::{Authority, Scheme},
};

use super::strict::Framing;

/// Makes `parts` an HTTP/1.1 request: origin form, Host as it stands, and `transfer-encoding: chunked` where a GET or a
/// HEAD has a body of unknown length (hyper would leave that body out).
pub fn for_http1(parts: &mut Parts, framing: Framing) {
    parts.version = Version::HTTP_11;
    if parts.uri.authority().is_some() || parts.uri.scheme().is_some() {
        let mut uri = std::mem::take(&mut parts.uri).into_parts();
        uri.scheme = None;
        uri.authority = None;
        // A path alone is always a URI.
        parts.uri = Uri::from_parts(uri).unwrap_or_default();
    }
    if framing == Framing::Open && matches!(parts.method, Method::GET | Method::HEAD) {
        parts.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// Makes `parts` an HTTP/2 request: Host becomes `:authority`, beside the scheme.
///
/// # Errors
/// The Host is not an authority. The strict check lets none such in; a header filter can put one there.
pub fn for_http2(parts: &mut Parts, scheme: &Scheme) -> Result<(), http::uri::InvalidUri> {
    parts.version = Version::HTTP_2;
    let host = parts.headers.remove(header::HOST);
    let unchanged = match (&host, parts.uri.authority()) {
        (Some(host), Some(authority)) => authority.as_str() == host,
        (None, Some(_)) => true,
        _ => false,
    };
    if unchanged && parts.uri.scheme() == Some(scheme) {
        return Ok(());
    }
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    if !unchanged && let Some(host) = host {
        uri.authority = Some(Authority::try_from(host.as_bytes())?);
    }
    uri.scheme = uri.authority.as_ref().map(|_| scheme.clone());
    // An authority, a scheme and a path that begins with a slash are always a URI.
    parts.uri = Uri::from_parts(uri).unwrap_or_default();
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn parts(uri: &str, host: Option<&str>) -> Parts {
        let mut builder = Request::builder().uri(uri);
        if let Some(host) = host {
            builder = builder.header("host", host);
        }
        builder.body(()).unwrap().into_parts().0
    }

    #[test]
    fn http1_is_origin_form() {
        let mut head = parts("http://a:80/x?y", Some("b"));
        for_http1(&mut head, Framing::Ended);
        assert_eq!(head.uri, "/x?y");
        assert_eq!(head.headers["host"], "b");
        assert_eq!(head.version, Version::HTTP_11);
        assert!(!head.headers.contains_key("transfer-encoding"));
    }

    #[test]
    fn a_get_keeps_its_body() {
        let mut head = parts("/", Some("b"));
        for_http1(&mut head, Framing::Open);
        assert_eq!(head.headers["transfer-encoding"], "chunked");
    }

    #[test]
    fn http2_takes_host_as_authority() {
        for (uri, host, expected) in [
            ("/x?y", Some("b:80"), "http://b:80/x?y"),
            ("http://a/x", Some("a"), "http://a/x"),
            ("http://a/x", Some("b"), "http://b/x"),
            ("https://a/x", Some("a"), "http://a/x"),
            ("http://a/x", None, "http://a/x"),
        ] {
            let mut head = parts(uri, host);
            for_http2(&mut head, &Scheme::HTTP).unwrap();
            assert_eq!(head.uri, expected);
            assert!(!head.headers.contains_key("host"));
        }
        assert!(for_http2(&mut parts("/", Some("a b")), &Scheme::HTTP).is_err());
    }
}
