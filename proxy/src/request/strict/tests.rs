//! Rows of the strict request check, one table per rule, from parsed heads. The raw-socket test tells the same from bytes.

use http::Request;
use proptest::prelude::*;

use super::*;

const CX: StrictContext<'static> = StrictContext {
    side: Side::Inbound,
    path_rules: PathRules::Plain,
    peer_authenticated: false,
    connect: ConnectRule::Refused,
    body_ended: true,
    fallback_host: None,
};
const OUTBOUND: StrictContext<'static> = StrictContext { side: Side::Outbound, ..CX };

fn head(version: Version, uri: &str, fields: &[(&str, &str)]) -> Parts {
    let mut builder = Request::builder().version(version).uri(uri);
    for (name, value) in fields {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap().into_parts().0
}

fn get(fields: &[(&str, &str)]) -> Parts {
    let mut fields = fields.to_vec();
    fields.insert(0, ("host", "a"));
    head(Version::HTTP_11, "/", &fields)
}

fn run(mut parts: Parts, cx: StrictContext<'_>) -> Result<(Checked, Parts), Failure> {
    check(&mut parts, &Limits::default(), &cx).map(|checked| (checked, parts))
}

fn fields(parts: &Parts) -> Vec<(&str, &str)> {
    let mut fields: Vec<_> =
        parts.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    fields.sort_unstable();
    fields
}

fn malformed(what: Malformed) -> Option<Failure> {
    Some(Failure::BadRequest(what))
}

#[test]
fn hosts() {
    use Malformed::*;
    for (version, uri, hosts, expected) in [
        (Version::HTTP_11, "/", &["Reviews.Shop.:80"][..], Ok("reviews.shop")),
        (Version::HTTP_11, "/", &[], Err(MissingHost)),
        (Version::HTTP_11, "/", &[""], Err(InvalidHost)),
        (Version::HTTP_11, "/", &["a", "a"], Err(DuplicateHost)),
        (Version::HTTP_11, "/", &["a b"], Err(InvalidHost)),
        (Version::HTTP_11, "/", &["u@a"], Err(InvalidHost)),
        (Version::HTTP_11, "http://b/", &["a"], Ok("b")),
        (Version::HTTP_11, "HTTP://b/", &["a"], Ok("b")),
        (Version::HTTP_11, "http://b/", &[], Err(MissingHost)),
        (Version::HTTP_11, "http://b/", &["a", "b"], Err(DuplicateHost)),
        (Version::HTTP_11, "http://u@b/", &["b"], Err(InvalidHost)),
        (Version::HTTP_11, "ftp://b/", &["b"], Err(Scheme)),
        (Version::HTTP_10, "/", &["a"], Ok("a")),
        (Version::HTTP_10, "/", &[], Err(MissingHost)),
        (Version::HTTP_10, "http://b/", &[], Ok("b")),
        (Version::HTTP_2, "http://b/", &[], Ok("b")),
        (Version::HTTP_2, "http://b/", &["a"], Ok("b")),
        (Version::HTTP_2, "/", &["a"], Ok("a")),
        (Version::HTTP_2, "/", &[], Err(MissingHost)),
        (Version::HTTP_2, "http://b/", &["b", "b"], Err(DuplicateHost)),
    ] {
        let hosts: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
        let result = run(head(version, uri, &hosts), CX);
        match (result, expected) {
            (Ok((checked, parts)), Ok(host)) => {
                assert_eq!(checked.authority.host(), host);
                assert_eq!(parts.headers.get_all("host").iter().count(), 1);
                assert_eq!(&parts.headers["host"], checked.authority.as_written());
            }
            (result, expected) => assert_eq!(
                result.err(),
                expected.err().map(Failure::BadRequest),
                "{version:?} {uri} {hosts:?} {expected:?}"
            ),
        }
    }
}

#[test]
fn http10_without_host_gets_the_fallback() {
    let fallback = HeaderValue::from_static("reviews:80");
    let cx = StrictContext { fallback_host: Some(&fallback), ..CX };
    let (checked, parts) = run(head(Version::HTTP_10, "/", &[]), cx).unwrap();
    assert_eq!((checked.authority.host(), checked.authority.port()), ("reviews", Some(80)));
    assert_eq!(parts.headers["host"], "reviews:80");
    assert_eq!(run(head(Version::HTTP_11, "/", &[]), cx).err(), malformed(Malformed::MissingHost));
}

#[test]
fn uris() {
    for (version, uri, expected) in [
        (Version::HTTP_11, "/a/%2e%2e//b?x=//..", "/b?x=//.."),
        (Version::HTTP_11, "/a?x", "/a?x"),
        (Version::HTTP_11, "/a#b", "/a"),
        (Version::HTTP_11, "http://a/b//c?d", "/b/c?d"),
        (Version::HTTP_11, "http://a", "/"),
        (Version::HTTP_11, "http://a?x", "/?x"),
        (Version::HTTP_2, "http://a/b//c?d", "http://a/b/c?d"),
        (Version::HTTP_2, "http://a/b", "http://a/b"),
    ] {
        let (_, parts) = run(head(version, uri, &[("host", "a")]), CX).unwrap();
        assert_eq!(parts.uri, expected, "{uri}");
        assert_eq!(parts.uri.to_string(), expected, "{uri}");
    }
}

#[test]
fn paths_refused() {
    for uri in ["/a%00", "/../a", "/a%", "/é", "a", "*"] {
        let result = run(head(Version::HTTP_11, uri, &[("host", "a")]), CX);
        assert_eq!(result.err(), malformed(Malformed::Path), "{uri}");
    }
    for uri in ["/a%2fb", "/a%5cb", "/..;/b"] {
        let parts = head(Version::HTTP_11, uri, &[("host", "a")]);
        assert!(run(parts.clone(), CX).is_ok());
        let cx = StrictContext { path_rules: PathRules::Policy, ..CX };
        assert_eq!(run(parts, cx).err(), malformed(Malformed::Path), "{uri}");
    }
}

#[test]
fn methods_refused() {
    let mut options = head(Version::HTTP_11, "*", &[("host", "a")]);
    options.method = Method::OPTIONS;
    assert_eq!(run(options, CX).err(), Some(Failure::MethodNotAllowed));
    let mut connect = head(Version::HTTP_11, "a:80", &[("host", "a:80")]);
    connect.method = Method::CONNECT;
    assert_eq!(run(connect, CX).err(), Some(Failure::MethodNotAllowed));
    let mut options = head(Version::HTTP_11, "/", &[("host", "a")]);
    options.method = Method::OPTIONS;
    assert!(run(options, CX).is_ok());
}

#[test]
fn framing_rules() {
    use Malformed::*;
    type Row<'a> = (Version, &'a [(&'a str, &'a str)], Result<Framing, Failure>);
    let bad = |what| Err(Failure::BadRequest(what));
    let rows: [Row<'_>; 15] = [
        (Version::HTTP_11, &[], Ok(Framing::Ended)),
        (Version::HTTP_11, &[("content-length", "0")], Ok(Framing::Ended)),
        (Version::HTTP_11, &[("content-length", "5")], Ok(Framing::Length(5))),
        (Version::HTTP_11, &[("content-length", "5"), ("content-length", "5")], Ok(Framing::Length(5))),
        (Version::HTTP_11, &[("content-length", "5"), ("content-length", "6")], bad(ContentLength)),
        (Version::HTTP_11, &[("content-length", "5, 5")], bad(ContentLength)),
        (Version::HTTP_11, &[("content-length", "+5")], bad(ContentLength)),
        (Version::HTTP_11, &[("transfer-encoding", "chunked")], Ok(Framing::Open)),
        (Version::HTTP_11, &[("transfer-encoding", "gzip, chunked")], Err(Failure::TransferCoding)),
        (Version::HTTP_11, &[("transfer-encoding", "chunked, chunked")], bad(TransferEncoding)),
        (Version::HTTP_11, &[("transfer-encoding", "identity")], bad(TransferEncoding)),
        (
            Version::HTTP_11,
            &[("transfer-encoding", "chunked"), ("content-length", "5")],
            bad(LengthAndCoding),
        ),
        (Version::HTTP_10, &[("transfer-encoding", "chunked")], bad(TransferEncoding)),
        (Version::HTTP_2, &[("transfer-encoding", "chunked")], bad(TransferEncoding)),
        (Version::HTTP_2, &[("content-length", "5"), ("content-length", "6")], bad(ContentLength)),
    ];
    for (version, given, expected) in rows {
        let mut all = given.to_vec();
        all.push(("host", "a"));
        match run(head(version, "/", &all), CX) {
            Ok((checked, parts)) => {
                assert_eq!(Ok(checked.framing), expected, "{version:?} {given:?}");
                assert!(!parts.headers.contains_key("transfer-encoding"));
                assert!(parts.headers.get_all("content-length").iter().count() <= 1);
            }
            Err(failure) => assert_eq!(Err(failure), expected, "{version:?} {given:?}"),
        }
    }
    let open = StrictContext { body_ended: false, ..CX };
    let (checked, _) = run(head(Version::HTTP_2, "http://a/", &[]), open).unwrap();
    assert_eq!(checked.framing, Framing::Open);
}

#[test]
fn neighbours_fields_go() {
    let (checked, parts) = run(
        get(&[
            ("connection", "X-Drop, HTTP2-Settings, Upgrade, host, keep-alive"),
            ("connection", "x-forwarded-for"),
            ("x-drop", "1"),
            ("x-forwarded-for", "1.1.1.1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic eA=="),
            ("http2-settings", "AAMAAABkAAQAoAAAAAIAAAAA"),
            ("upgrade", "h2c"),
            ("te", "gzip"),
            ("x-keep", "1"),
        ]),
        CX,
    )
    .unwrap();
    assert_eq!(fields(&parts), [("host", "a"), ("x-keep", "1")]);
    assert_eq!(checked.switch, None);
}

#[test]
fn an_upgrade_is_taken_off_and_told() {
    let (checked, parts) = run(get(&[("connection", "upgrade"), ("upgrade", "websocket")]), CX).unwrap();
    assert!(matches!(checked.switch.as_deref(), Some(Switch::Upgrade(upgrade)) if upgrade.is_websocket()));
    assert_eq!(fields(&parts), [("host", "a")]);
}

#[test]
fn a_connect_has_an_authority_with_a_port_and_no_body() {
    let served = StrictContext { connect: ConnectRule::Served, ..OUTBOUND };
    let connect = |authority: &str, fields: &[(&str, &str)]| {
        let mut parts = head(Version::HTTP_11, "/", &[&[("host", "other")], fields].concat());
        parts.method = Method::CONNECT;
        parts.uri = Uri::builder().authority(authority).build().unwrap();
        parts
    };
    let (checked, parts) = run(connect("Reviews.shop:80", &[("proxy-authorization", "x")]), served).unwrap();
    assert_eq!(checked.switch.as_deref(), Some(&Switch::Connect));
    assert_eq!((checked.authority.host(), checked.authority.port()), ("reviews.shop", Some(80)));
    assert_eq!(fields(&parts), [("host", "Reviews.shop:80")]);
    for (authority, fields, what) in [
        ("reviews", &[][..], Malformed::InvalidHost),
        ("reviews:0", &[], Malformed::InvalidHost),
        ("u@reviews:80", &[], Malformed::InvalidHost),
        ("reviews:80", &[("content-length", "3")], Malformed::ContentLength),
        ("reviews:80", &[("transfer-encoding", "chunked")], Malformed::TransferEncoding),
    ] {
        assert_eq!(run(connect(authority, fields), served).err(), malformed(what), "{authority}");
    }
    assert_eq!(run(connect("reviews:80", &[]), OUTBOUND).err(), Some(Failure::MethodNotAllowed));
}

#[test]
fn https_in_proxy_form_is_no_request_for_us() {
    let one = |version, side| {
        run(head(version, "https://b/", &[("host", "b")]), StrictContext { side, ..CX }).err()
    };
    assert_eq!(one(Version::HTTP_11, Side::Outbound), malformed(Malformed::HttpsProxyForm));
    assert_eq!(one(Version::HTTP_11, Side::Inbound), None);
    assert_eq!(one(Version::HTTP_2, Side::Outbound), None);
}

#[test]
fn te_keeps_only_trailers() {
    for (te, kept) in [("trailers", true), ("gzip, Trailers", true), ("gzip", false)] {
        let (checked, parts) = run(get(&[("te", te), ("connection", "te")]), CX).unwrap();
        assert_eq!(checked.trailers, kept);
        assert_eq!(
            parts.headers.get("te").map(HeaderValue::as_bytes),
            kept.then_some(&b"trailers"[..]),
            "{te}"
        );
    }
}

#[test]
fn identity_is_ours_to_tell() {
    let forged = [
        ("x-forwarded-client-cert", "By=x"),
        ("x_forwarded_client_cert", "By=x"),
        ("x.forwarded.client.cert", "By=x"),
        ("x-outrigger-attempt", "3"),
        ("x_outrigger_peer", "x"),
    ];
    let (checked, parts) = run(get(&forged), CX).unwrap();
    assert_eq!(fields(&parts), [("host", "a")]);
    assert_eq!(checked.mesh, MeshHints::default());
    let (_, parts) = run(get(&forged), OUTBOUND).unwrap();
    assert_eq!(fields(&parts).len(), 4, "an app may tell a service outside of the mesh about its own caller");
}

#[test]
fn only_an_authenticated_callee_side_reads_mesh_headers() {
    let said = [
        ("x-outrigger-attempt", "3"),
        ("x-outrigger-timeout-ms", "250"),
        ("x-outrigger-orig-proto", "http/1.0"),
    ];
    for (side, peer_authenticated, read) in
        [(Side::Inbound, true, true), (Side::Inbound, false, false), (Side::Outbound, true, false)]
    {
        let cx = StrictContext { side, peer_authenticated, ..CX };
        let (checked, parts) = run(get(&said), cx).unwrap();
        assert_eq!(fields(&parts), [("host", "a")]);
        let expected = MeshHints {
            attempt: Some(3),
            timeout: Some(Duration::from_millis(250)),
            orig_proto: Some(HeaderValue::from_static("http/1.0")),
        };
        assert_eq!(checked.mesh, if read { expected } else { MeshHints::default() });
    }
    let cx = StrictContext { peer_authenticated: true, ..CX };
    let (checked, _) =
        run(get(&[("x-outrigger-attempt", "-3"), ("x-outrigger-timeout-ms", "soon")]), cx).unwrap();
    assert_eq!(checked.mesh, MeshHints::default());
}

#[test]
fn limits_hold() {
    let limits = Limits::default();
    let path = |length: usize| format!("/{}", "a".repeat(length - 1));
    let uri = limits.uri_bytes as usize;
    assert!(run(head(Version::HTTP_11, &path(uri), &[("host", "a")]), CX).is_ok());
    assert_eq!(
        run(head(Version::HTTP_11, &path(uri + 1), &[("host", "a")]), CX).err(),
        Some(Failure::UriTooLong)
    );

    // Host, the path and this field: 9 + 1 + 5.
    let value = "v".repeat(limits.header_bytes as usize - 15);
    assert!(run(get(&[("a", &value)]), CX).is_ok());
    assert_eq!(run(get(&[("a", &value), ("b", "")]), CX).err(), Some(Failure::HeaderTooLarge));

    let count = limits.header_count as usize;
    assert!(run(get(&vec![("a", "1"); count - 1]), CX).is_ok());
    assert_eq!(run(get(&vec![("a", "1"); count]), CX).err(), Some(Failure::HeaderTooLarge));
}

#[test]
fn expectations() {
    let body = ("content-length", "5");
    let (checked, parts) = run(get(&[("expect", "100-Continue"), body]), CX).unwrap();
    assert!(checked.expect_continue && parts.headers.contains_key("expect"));
    assert!(
        !run(get(&[("expect", "100-continue")]), CX).unwrap().0.expect_continue,
        "there is no body to wait with"
    );
    assert!(!run(get(&[("expect", "miracles"), body]), CX).unwrap().0.expect_continue);
    let old = head(Version::HTTP_10, "/", &[("host", "a"), ("expect", "100-continue"), body]);
    let (checked, parts) = run(old, CX).unwrap();
    assert!(!checked.expect_continue && !parts.headers.contains_key("expect"));
}

#[test]
fn grpc_and_cookies() {
    let given =
        [("content-type", "application/grpc"), ("te", "trailers"), ("cookie", "a=1"), ("cookie", "b=2")];
    let (checked, parts) = run(head(Version::HTTP_2, "http://a/p.S/M", &given), CX).unwrap();
    assert!(checked.grpc && checked.trailers);
    assert_eq!(parts.headers["cookie"], "a=1; b=2");
    assert_eq!(parts.headers.get_all("cookie").iter().count(), 1);
}

proptest! {
    /// Whatever a head says, one that passes keeps every promise of the module, and passes again unchanged.
    #[test]
    fn what_passes_is_normal(
        version in prop_oneof![Just(Version::HTTP_10), Just(Version::HTTP_11), Just(Version::HTTP_2)],
        path in "/[a-b./%2eE;]{0,10}",
        fields in proptest::collection::vec(
            (
                proptest::sample::select(vec![
                    "host", "connection", "content-length", "transfer-encoding", "te", "upgrade", "keep-alive", "cookie",
                    "x-outrigger-a", "x_outrigger_a", "x-forwarded-client-cert", "x-a", "expect", "http2-settings",
                ]),
                proptest::sample::select(vec!["a", "x-a, te", "5", "5, 5", "chunked", "trailers", "h2c", "100-continue", ""]),
            ),
            0..8,
        ),
    ) {
        if let Ok((checked, parts)) = run(head(version, &path, &fields), CX) {
            let names = ["connection", "transfer-encoding", "upgrade", "keep-alive", "http2-settings",
                "x-outrigger-a", "x_outrigger_a", "x-forwarded-client-cert"];
            for name in names {
                prop_assert!(!parts.headers.contains_key(name), "{}", name);
            }
            prop_assert_eq!(parts.headers.get_all("host").iter().count(), 1);
            prop_assert!(parts.headers.get_all("content-length").iter().count() <= 1);
            prop_assert!(parts.headers.get("te").is_none_or(|te| te == "trailers"));
            let (again, unchanged) = run(parts.clone(), CX).unwrap();
            prop_assert_eq!(again.authority.host(), checked.authority.host());
            prop_assert_eq!(&unchanged.uri, &parts.uri);
            prop_assert_eq!(&unchanged.headers, &parts.headers);
        }
    }
}
