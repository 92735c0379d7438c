//! The Fetch standard's CORS protocol and the Gateway API's conformance cases, without a socket.

use std::sync::Arc;

use outrigger_config::model::Origin;

use super::*;

fn listed(names: &[&str]) -> Names {
    match names {
        ["*"] => Names::Any,
        names => Names::Listed(names.iter().map(|name| Arc::from(*name)).collect()),
    }
}

fn web(secure: bool, host: &str, port: u16) -> OriginPattern {
    let host = match host.strip_prefix('*') {
        Some("") => HostPattern::Any,
        Some(suffix) => HostPattern::Below(suffix.into()),
        None => HostPattern::Exact(host.into()),
    };
    OriginPattern::Web { secure, host, port }
}

fn policy(origins: &[OriginPattern], credentials: bool, names: [&[&str]; 3]) -> Cors {
    let [methods, headers, expose] = names.map(listed);
    let origin = Origin { file: "x".into(), line: 1, column: 1 };
    let model =
        model::Cors { origins: origins.to_vec(), credentials, methods, headers, expose, max_age: 5, origin };
    Cors::compile(&model).unwrap()
}

fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(*name, HeaderValue::from_static(value));
    }
    map
}

/// The fields, short: without `access-control-`.
fn shown(map: &HeaderMap) -> String {
    let mut lines: Vec<String> = map
        .iter()
        .map(|(name, value)| {
            let name = name.as_str().trim_start_matches("access-control-");
            format!("{name}: {}", value.to_str().unwrap())
        })
        .collect();
    lines.sort();
    lines.join("; ")
}

fn preflight(cors: &Cors, request: &[(&'static str, &'static str)]) -> String {
    let mut answer = HeaderMap::new();
    cors.on_preflight(&map(request), &mut answer);
    shown(&answer)
}

fn answer(cors: &Cors, origin: &'static str, upstream: &[(&'static str, &'static str)]) -> String {
    let mut answer = map(upstream);
    cors.on_answer(Some(&HeaderValue::from_static(origin)), &mut answer);
    shown(&answer)
}

#[test]
fn origins_match_by_scheme_host_and_port() {
    let some = [
        web(true, "www.foo.com", 443),
        web(true, "*.bar.com", 443),
        web(false, "*", 8080),
        web(true, "10.0.0.1", 8443),
    ];
    let cors = policy(&some, false, [&[], &[], &[]]);
    for (origin, allowed) in [
        ("https://www.foo.com", true),
        ("https://www.foo.com:443", true),
        ("https://WWW.foo.com", true),
        ("http://www.foo.com", false),
        ("https://www.foo.com:8443", false),
        ("https://foo.com", false),
        ("https://www.bar.com", true),
        ("https://xpto.www.bar.com", true),
        ("https://bar.com", false),
        ("https://.bar.com", false),
        ("https://foobar.com", false),
        ("https://evil-bar.com", false),
        ("https://www.bar.com.evil.com", false),
        ("http://anything:8080", true),
        ("http://anything", false),
        ("http://:8080", false),
        ("https://10.0.0.1:8443", true),
        ("null", false),
        ("", false),
        ("https://", false),
        ("ftp://www.foo.com", false),
        ("https://www.foo.com:x", false),
        ("https://[::1]", false),
        ("http://[::1]:8080", true),
    ] {
        let value = HeaderValue::from_static(origin);
        assert_eq!(cors.lists(&value), allowed, "{origin}");
        let told = answer(&cors, origin, &[]);
        let expected =
            if allowed { format!("allow-origin: {origin}; vary: Origin") } else { "vary: Origin".into() };
        assert_eq!(told, expected);
    }
    let bytes = HeaderValue::from_bytes(b"https://\xff").unwrap();
    assert!(!cors.lists(&bytes));
}

/// The cases of the Gateway API's conformance test `HTTPRouteCORS`.
#[test]
fn preflights_are_told_what_is_allowed() {
    let origins = [web(true, "www.foo.com", 443), web(true, "*.bar.com", 443)];
    let full = policy(&origins, true, [&["GET", "OPTIONS"], &["x-header-1", "x-header-2"], &["x-3", "x-4"]]);
    let asking = |origin| {
        let headers = ("access-control-request-headers", "x-header-1, x-header-2");
        [("origin", origin), ("access-control-request-method", "PUT"), headers]
    };
    assert_eq!(
        preflight(&full, &asking("https://www.bar.com")),
        "allow-credentials: true; allow-headers: x-header-1, x-header-2; allow-methods: GET, OPTIONS; \
         allow-origin: https://www.bar.com; expose-headers: x-3, x-4; max-age: 5; vary: Origin"
    );
    assert_eq!(preflight(&full, &asking("https://foobar.com")), "vary: Origin");
    let wild = policy(&[OriginPattern::Any], false, [&["*"], &["*"], &["*"]]);
    assert_eq!(
        preflight(&wild, &asking("https://a")),
        "allow-headers: x-header-1, x-header-2; allow-methods: *; allow-origin: *; expose-headers: *; max-age: 5"
    );
    let wild = policy(&[OriginPattern::Any], true, [&["*"], &["*"], &["*"]]);
    assert_eq!(
        preflight(&wild, &asking("https://a")),
        "allow-credentials: true; allow-headers: x-header-1, x-header-2; allow-methods: PUT; \
         allow-origin: https://a; max-age: 5; vary: Origin"
    );
    // What was not asked for is not told: never a star with credentials.
    assert_eq!(
        preflight(&wild, &[("origin", "null"), ("access-control-request-method", "PUT")]),
        "allow-credentials: true; allow-methods: PUT; allow-origin: null; max-age: 5; vary: Origin"
    );
    let bare = policy(&[OriginPattern::Any], false, [&[], &[], &[]]);
    assert_eq!(preflight(&bare, &asking("https://a")), "allow-origin: *; max-age: 5");
}

#[test]
fn the_upstreams_word_does_not_count() {
    let upstream = [
        ("access-control-allow-origin", "*"),
        ("access-control-allow-origin", "https://evil.com"),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-methods", "DELETE"),
        ("access-control-expose-headers", "x-secret"),
        ("x-own", "1"),
        ("vary", "accept-encoding, Origin"),
    ];
    let cors = policy(&[web(true, "a", 443)], false, [&[], &[], &["x-own"]]);
    let told = answer(&cors, "https://a", &upstream);
    assert_eq!(
        told,
        "allow-origin: https://a; expose-headers: x-own; vary: accept-encoding, Origin; x-own: 1"
    );
    for origin in ["https://b", "null"] {
        assert_eq!(answer(&cors, origin, &upstream), "vary: accept-encoding, Origin; x-own: 1");
    }
    let mut without = map(&upstream);
    cors.on_answer(None, &mut without);
    assert_eq!(shown(&without), "vary: accept-encoding, Origin; x-own: 1");
    assert_eq!(answer(&cors, "https://b", &[("vary", "*")]), "vary: *");
    assert_eq!(answer(&cors, "https://b", &[("vary", "x-origin")]), "vary: Origin; vary: x-origin");
}

#[test]
fn a_star_is_never_told_with_credentials() {
    let upstream = [("x-one", "1"), ("x-two", "2"), ("x-two", "3")];
    let any = policy(&[OriginPattern::Any], true, [&["*"], &["*"], &["*"]]);
    assert_eq!(
        answer(&any, "https://a", &upstream),
        "allow-credentials: true; allow-origin: https://a; expose-headers: x-one, x-two, vary; vary: Origin; \
         x-one: 1; x-two: 2; x-two: 3"
    );
    let open = policy(&[OriginPattern::Any], false, [&["*"], &["*"], &["*"]]);
    assert_eq!(answer(&open, "https://a", &[]), "allow-origin: *; expose-headers: *");
}

#[test]
fn only_options_with_origin_and_method_is_a_preflight() {
    let ask = |method: Method, fields: &[(&'static str, &'static str)]| {
        let headers = map(fields);
        let head = Head { method: &method, path: "/", query: None, host: "a", port: None, headers: &headers };
        asked(&head)
    };
    let whole = [("origin", "https://a"), ("access-control-request-method", "PUT")];
    assert_eq!(ask(Method::OPTIONS, &whole), Some(Method::PUT));
    assert_eq!(ask(Method::GET, &whole), None);
    assert_eq!(ask(Method::OPTIONS, &whole[..1]), None);
    assert_eq!(ask(Method::OPTIONS, &whole[1..]), None);
    assert_eq!(ask(Method::OPTIONS, &[whole[0], ("access-control-request-method", "P T")]), None);
}
