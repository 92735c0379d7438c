//! Fields that hold between two neighbours only (RFC 9110 7.6.1): what `Connection` lists, and the names known to be
//! so. They are taken off before the proxy adds fields of its own, so that `Connection` can never name one of ours.

use http::{HeaderMap, HeaderName, header};

use super::names::{Class, class, elements};

/// What is framed or routed by, and so stays even when `Connection` lists it: a message must not lose its Host or its
/// length because its sender says so.
const NEVER_LISTED: [HeaderName; 2] = [header::HOST, header::CONTENT_LENGTH];

/// Takes off `Connection` and every field that it lists. Nothing is allocated when it says only `keep-alive`, `close`
/// or `upgrade`.
pub(super) fn strip_connection(headers: &mut HeaderMap) {
    let mut listed = Vec::new();
    for value in headers.get_all(header::CONNECTION) {
        for element in elements(value.as_bytes()) {
            if is_connection_option(element) {
                continue;
            }
            // `te` is answered by the Te rules; a `te: trailers` that stays is ours.
            match HeaderName::from_bytes(element) {
                Ok(name) if name != header::TE && !NEVER_LISTED.contains(&name) => listed.push(name),
                _ => {}
            }
        }
    }
    headers.remove(header::CONNECTION);
    for name in listed {
        while headers.remove(&name).is_some() {}
    }
}

fn is_connection_option(element: &[u8]) -> bool {
    element.eq_ignore_ascii_case(b"keep-alive")
        || element.eq_ignore_ascii_case(b"close")
        || element.eq_ignore_ascii_case(b"upgrade")
}

/// Takes off every field of `headers` whose class `drop` selects. For names that come seldom: it allocates when there
/// is one.
pub(super) fn strip_where(headers: &mut HeaderMap, drop: impl Fn(Class) -> bool) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| drop(class(name))).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn listed_fields_go() {
        let mut headers = map(&[
            ("connection", "X-A, close"),
            ("connection", "x-b,, ,TE"),
            ("x-a", "1"),
            ("x-a", "2"),
            ("x-b", "3"),
            ("x-c", "4"),
            ("te", "trailers"),
        ]);
        strip_connection(&mut headers);
        assert_eq!(headers, map(&[("x-c", "4"), ("te", "trailers")]));
    }

    #[test]
    fn host_and_length_stay() {
        let mut headers =
            map(&[("connection", "host, content-length, bad name"), ("host", "a"), ("content-length", "1")]);
        strip_connection(&mut headers);
        assert_eq!(headers, map(&[("host", "a"), ("content-length", "1")]));
    }
}
