//! Answers of the admin API, by form. None may be kept by a cache.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde::Serialize;

fn build(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Plain text.
pub(super) fn text(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    build(status, "text/plain; charset=utf-8", body.to_owned())
}

/// A page that runs no script and stands in no frame.
pub(super) fn html(body: String) -> Response<Full<Bytes>> {
    let mut response = build(StatusCode::OK, "text/html; charset=utf-8", body);
    let policy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'";
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}

/// Anything else.
pub(super) fn typed(content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    build(StatusCode::OK, content_type, body)
}

/// JSON, indented for people.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_string_pretty(value) {
        Ok(text) => build(status, "application/json", text + "\n"),
        Err(problem) => error(StatusCode::INTERNAL_SERVER_ERROR, &problem.to_string()),
    }
}

/// `{"error": ...}`.
pub(super) fn error(status: StatusCode, message: &str) -> Response<Full<Bytes>> {
    build(status, "application/json", serde_json::json!({ "error": message }).to_string() + "\n")
}

/// 405 with `allow`.
pub(super) fn method_not_allowed(allow: &'static str) -> Response<Full<Bytes>> {
    let mut response = error(StatusCode::METHOD_NOT_ALLOWED, &format!("this path takes {allow}"));
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}
