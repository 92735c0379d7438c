//! What rules of an HTTPRoute change, answer and limit: the cases of the Gateway API's conformance suite for filters,
//! time limits and backends, through a real proxy. Each test bears the suite's name for it.

use outrigger_tests::{
    backend::Answer,
    client::Client,
    conformance::{Case, World, get},
    mesh,
    wait::Gate,
};

/// A rule for a path prefix to `v1`, with these filters.
fn filtered(path: &str, filters: &str) -> String {
    format!(
        "  - matches: [{{path: {{type: PathPrefix, value: {path}}}}}]\n    filters: [{filters}]\n    \
         backendRefs: [{{name: v1, port: 8080}}]\n"
    )
}

/// A rule for a path prefix that redirects.
fn redirects(path: &str, redirect: &str) -> String {
    format!(
        "  - matches: [{{path: {{type: PathPrefix, value: {path}}}}}]\n    \
         filters: [{{type: RequestRedirect, requestRedirect: {redirect}}}]\n"
    )
}

async fn world(rules: &[String]) -> World {
    World::start(&mesh::route("web", &rules.concat())).await
}

const MODIFIERS: [(&str, &str); 5] = [
    ("/set", "set: [{name: X-Header-Set, value: set-overwrites-values}]"),
    ("/add", "add: [{name: X-Header-Add, value: add-appends-values}]"),
    ("/remove", "remove: [X-Header-Remove]"),
    (
        "/multiple",
        "set: [{name: X-Header-Set-1, value: header-set-1}, {name: X-Header-Set-2, value: header-set-2}], \
         add: [{name: X-Header-Add-1, value: header-add-1}, {name: X-Header-Add-2, value: header-add-2}, \
         {name: X-Header-Add-3, value: header-add-3}], \
         remove: [X-Header-Remove-1, X-Header-Remove-2]",
    ),
    (
        "/case-insensitivity",
        "set: [{name: X-Header-Set, value: header-set}], add: [{name: X-Header-Add, value: header-add}], \
         remove: [X-Header-Remove]",
    ),
];

/// Names and values.
type Headers = &'static [(&'static str, &'static str)];

/// What the modifiers make of headers that `send` writes, told by `expect`.
fn modified(send: fn(Case, &str, &str) -> Case, expect: fn(Case, &str, &str) -> Case) -> Vec<Case> {
    let table: [(&str, Headers, Headers); 8] = [
        (
            "/set",
            &[("Some-Other-Header", "val")],
            &[("some-other-header", "val"), ("x-header-set", "set-overwrites-values")],
        ),
        (
            "/set",
            &[("Some-Other-Header", "val"), ("X-Header-Set", "some-other-value")],
            &[("some-other-header", "val"), ("x-header-set", "set-overwrites-values")],
        ),
        (
            "/set",
            &[("X-Header-Set", "one"), ("X-Header-Set", "two")],
            &[("x-header-set", "set-overwrites-values")],
        ),
        ("/add", &[("Some-Other-Header", "val")], &[("x-header-add", "add-appends-values")]),
        (
            "/add",
            &[("X-Header-Add", "some-other-value")],
            &[("x-header-add", "some-other-value,add-appends-values")],
        ),
        ("/remove", &[("X-Header-Remove", "val")], &[("x-header-remove", "")]),
        (
            "/multiple",
            &[
                ("X-Header-Set-2", "set-val-2"),
                ("X-Header-Add-2", "add-val-2"),
                ("X-Header-Remove-2", "remove-val-2"),
                ("Another-Header", "another-header-val"),
            ],
            &[
                ("x-header-set-1", "header-set-1"),
                ("x-header-set-2", "header-set-2"),
                ("x-header-add-1", "header-add-1"),
                ("x-header-add-2", "add-val-2,header-add-2"),
                ("x-header-add-3", "header-add-3"),
                ("another-header", "another-header-val"),
                ("x-header-remove-1", ""),
                ("x-header-remove-2", ""),
            ],
        ),
        (
            "/case-insensitivity",
            &[
                ("x-header-set", "original-val-set"),
                ("x-header-add", "original-val-add"),
                ("x-header-remove", "original-val-remove"),
                ("Another-Header", "another-header-val"),
            ],
            &[
                ("x-header-set", "header-set"),
                ("x-header-add", "original-val-add,header-add"),
                ("x-header-remove", ""),
                ("another-header", "another-header-val"),
            ],
        ),
    ];
    let case = |(path, sent, expected): (&str, Headers, Headers)| {
        let case = sent.iter().fold(get(path).to("v1"), |case, (name, value)| send(case, name, value));
        expected.iter().fold(case, |case, (name, value)| expect(case, name, value))
    };
    table.map(case).into()
}

#[tokio::test]
async fn request_header_modifier() {
    let rule = |(path, body): &(&str, &str)| {
        filtered(path, &format!("{{type: RequestHeaderModifier, requestHeaderModifier: {{{body}}}}}"))
    };
    let rules: Vec<String> = MODIFIERS.iter().map(rule).collect();
    world(&rules).await.check(&modified(Case::with, Case::sees)).await;
}

#[tokio::test]
async fn response_header_modifier() {
    let rule = |(path, body): &(&str, &str)| {
        filtered(path, &format!("{{type: ResponseHeaderModifier, responseHeaderModifier: {{{body}}}}}"))
    };
    let rules: Vec<String> = MODIFIERS.iter().map(rule).collect();
    world(&rules).await.check(&modified(Case::echo, Case::gets)).await;
}

/// The same on a backend alone: its share has the changes, and no other.
#[tokio::test]
async fn backend_request_header_modifier() {
    let rule = |(path, body): &(&str, &str)| {
        format!(
            "  - matches: [{{path: {{type: PathPrefix, value: {path}}}}}]\n    backendRefs:\n    - name: v1\n      \
             port: 8080\n      filters: [{{type: RequestHeaderModifier, requestHeaderModifier: {{{body}}}}}]\n    \
             - {{name: v2, port: 8080, weight: 0}}\n"
        )
    };
    let rules: Vec<String> = MODIFIERS.iter().map(rule).collect();
    world(&rules).await.check(&modified(Case::with, Case::sees)).await;
}

#[tokio::test]
async fn redirect_host_and_status() {
    let mut rules = vec![
        redirects("/hostname-redirect", "{hostname: example.org}"),
        redirects("/host-and-status", "{hostname: example.org, statusCode: 301}"),
    ];
    rules.extend([302, 303, 307, 308].map(|status| {
        redirects(&format!("/{status}"), &format!("{{hostname: example.org, statusCode: {status}}}"))
    }));
    let mut cases = vec![
        get("/hostname-redirect").redirected(302, "http://example.org/hostname-redirect"),
        get("/hostname-redirect?a=b&c").redirected(302, "http://example.org/hostname-redirect?a=b&c"),
        get("/host-and-status").redirected(301, "http://example.org/host-and-status"),
    ];
    cases.extend([302, 303, 307, 308].map(|status| {
        get(&format!("/{status}/x")).redirected(status, &format!("http://example.org/{status}/x"))
    }));
    world(&rules).await.check(&cases).await;
}

#[tokio::test]
async fn redirect_path() {
    let prefix = "path: {type: ReplacePrefixMatch, replacePrefixMatch: /replacement-prefix}";
    let full = "path: {type: ReplaceFullPath, replaceFullPath: /replacement-full}";
    let rules = [
        redirects("/original-prefix", &format!("{{{prefix}}}")),
        redirects("/full", &format!("{{{full}}}")),
        redirects("/path-and-host", &format!("{{hostname: example.org, {prefix}}}")),
        redirects("/path-and-status", &format!("{{statusCode: 301, {prefix}}}")),
        redirects("/full-path-and-host", &format!("{{hostname: example.org, {full}}}")),
        redirects("/full-path-and-status", &format!("{{statusCode: 301, {full}}}")),
    ];
    let cases = [
        get("/original-prefix/lemon").redirected(302, "http://web/replacement-prefix/lemon"),
        get("/original-prefix").redirected(302, "http://web/replacement-prefix"),
        get("/original-prefixes"),
        get("/full/path/original").redirected(302, "http://web/replacement-full"),
        get("/full?q=1").redirected(302, "http://web/replacement-full?q=1"),
        get("/path-and-host").redirected(302, "http://example.org/replacement-prefix"),
        get("/path-and-status").redirected(301, "http://web/replacement-prefix"),
        get("/full-path-and-host").redirected(302, "http://example.org/replacement-full"),
        get("/full-path-and-status").redirected(301, "http://web/replacement-full"),
    ];
    world(&rules).await.check(&cases).await;
}

#[tokio::test]
async fn redirect_port() {
    let rules = [
        redirects("/port", "{port: 8083}"),
        redirects("/port-and-host", "{port: 8083, hostname: example.org}"),
        redirects("/port-and-status", "{port: 8083, statusCode: 301}"),
        redirects("/port-and-host-and-status", "{port: 8083, hostname: example.org, statusCode: 307}"),
    ];
    let cases = [
        get("/port").redirected(302, "http://web:8083/port"),
        get("/port-and-host").redirected(302, "http://example.org:8083/port-and-host"),
        get("/port-and-status").redirected(301, "http://web:8083/port-and-status"),
        get("/port-and-host-and-status").redirected(307, "http://example.org:8083/port-and-host-and-status"),
    ];
    world(&rules).await.check(&cases).await;
}

#[tokio::test]
async fn redirect_scheme() {
    let rules = [
        redirects("/scheme", "{scheme: https}"),
        redirects("/scheme-and-host", "{scheme: https, hostname: example.org}"),
        redirects("/scheme-and-status", "{scheme: https, statusCode: 301}"),
    ];
    let cases = [
        get("/scheme").redirected(302, "https://web/scheme"),
        get("/scheme-and-host").redirected(302, "https://example.org/scheme-and-host"),
        get("/scheme-and-status").redirected(301, "https://web/scheme-and-status"),
    ];
    world(&rules).await.check(&cases).await;
}

/// Filters of backendRefs are the implementation's own affair in the Gateway API; here a redirect there answers its share.
#[tokio::test]
async fn redirect_of_one_backend() {
    let redirect = |weight: u32| {
        format!(
            "{{name: v2, port: 8080, weight: {weight}, filters: [\
             {{type: RequestRedirect, requestRedirect: {{hostname: example.org, statusCode: 307, \
             path: {{type: ReplacePrefixMatch, replacePrefixMatch: /there}}}}}}, \
             {{type: ResponseHeaderModifier, responseHeaderModifier: {{add: [{{name: x-a, value: backend}}]}}}}]}}"
        )
    };
    let rule = |path: &str, (plain, redirects): (u32, u32)| {
        format!(
            "  - matches: [{{path: {{value: {path}}}}}]\n    filters:\n    - {{type: ResponseHeaderModifier, \
             responseHeaderModifier: {{add: [{{name: x-a, value: rule}}]}}}}\n    - {{type: URLRewrite, urlRewrite: \
             {{hostname: inner.example.org}}}}\n    backendRefs:\n    - {{name: v1, port: 8080, weight: {plain}}}\n    \
             - {}\n",
            redirect(redirects)
        )
    };
    let gone = rule("/gone", (0, 1)).replace("name: v2", "name: gone");
    let world = world(&[rule("/all", (0, 1)), rule("/none", (1, 0)), rule("/half", (1, 1)), gone]).await;
    let cases = [
        get("/all/x?q=1").redirected(307, "http://example.org/there/x?q=1").gets("x-a", "backend,rule"),
        get("/none").to("v1").sees_host("inner.example.org").gets("x-a", "rule"),
        get("/gone").refused(500),
    ];
    world.check(&cases).await;
    let mut client = Client::http1(world.proxy().outbound(0), "web").await;
    let mut seen = [0, 0];
    for _ in 0..100 {
        match client.get("/half").await.status.as_u16() {
            200 => seen[0] += 1,
            307 => seen[1] += 1,
            other => panic!("{other}"),
        }
    }
    assert!(seen.iter().all(|count| *count > 20), "{seen:?}");
    let got = ["v1", "v2"].map(|name| world.backend(name).requests());
    assert_eq!(got[1], 0, "its backend is never asked");
}

/// Service ports 80 and 8080 stand for the suite's listeners of these ports.
#[tokio::test]
async fn redirect_port_and_scheme() {
    let rules: Vec<String> = [
        ("nil-nil", ""),
        ("nil-80", ", port: 80"),
        ("nil-8080", ", port: 8080"),
        ("http-nil", ", scheme: http"),
        ("http-80", ", scheme: http, port: 80"),
        ("http-8080", ", scheme: http, port: 8080"),
        ("https-nil", ", scheme: https"),
        ("https-443", ", scheme: https, port: 443"),
        ("https-8443", ", scheme: https, port: 8443"),
    ]
    .iter()
    .map(|(path, fields)| redirects(&format!("/{path}"), &format!("{{hostname: example.org{fields}}}")))
    .chain([redirects("/self", "{statusCode: 301}")])
    .collect();
    let high = "---\napiVersion: outrigger.dev/v1alpha1\nkind: MeshService\nmetadata: {name: high}\n\
                spec: {ports: [{port: 8080}], endpoints: [{address: \"{v1}\"}]}\n";
    let parents =
        "parentRefs: [{group: \"\", kind: Service, name: web}, {group: \"\", kind: Service, name: high}]";
    let route = mesh::route("web", &rules.concat())
        .replace("parentRefs: [{group: \"\", kind: Service, name: web}]", parents);
    let world = World::start(&(route + high)).await;
    let location = |origin: &str, path: &str| format!("{origin}/{path}");
    let mut cases = Vec::new();
    for (path, on_80, on_8080) in [
        ("nil-nil", "http://example.org", "http://example.org:8080"),
        ("nil-80", "http://example.org", "http://example.org"),
        ("nil-8080", "http://example.org:8080", "http://example.org:8080"),
        ("http-nil", "http://example.org", "http://example.org"),
        ("http-80", "http://example.org", "http://example.org"),
        ("http-8080", "http://example.org:8080", "http://example.org:8080"),
        ("https-nil", "https://example.org", "https://example.org"),
        ("https-443", "https://example.org", "https://example.org"),
        ("https-8443", "https://example.org:8443", "https://example.org:8443"),
    ] {
        cases.push(get(&format!("/{path}")).redirected(302, &location(on_80, path)));
        for host in ["high", "high:8080"] {
            cases.push(get(&format!("/{path}")).host(host).redirected(302, &location(on_8080, path)));
        }
    }
    // Nothing but a status: the same place, by the port of the request or else that of the Service.
    cases.extend([
        get("/self").redirected(301, "http://web/self"),
        get("/self").host("web:80").redirected(301, "http://web/self"),
        get("/self").host("HIGH.default").redirected(301, "http://high.default:8080/self"),
        get("/self").host("high:8080").redirected(301, "http://high:8080/self"),
    ]);
    world.check(&cases).await;
}

#[tokio::test]
async fn rewrite_host() {
    let host = "{type: URLRewrite, urlRewrite: {hostname: one.example.org}}";
    let headers =
        "{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-set, value: \"1\"}]}}";
    let rules = [filtered("/one", host), filtered("/two", &format!("{headers}, {host}")), filtered("/", "")];
    let cases = [
        get("/one").to("v1").sees_host("one.example.org"),
        get("/two").host("web:80").to("v1").sees_host("one.example.org").sees("x-set", "1"),
        get("/three").host("web:80").to("v1"),
    ];
    world(&rules).await.check(&cases).await;
}

#[tokio::test]
async fn rewrite_path() {
    let rewrite = |path: &str| format!("{{type: URLRewrite, urlRewrite: {{path: {{{path}}}}}}}");
    let prefix = |to: &str| rewrite(&format!("type: ReplacePrefixMatch, replacePrefixMatch: {to}"));
    let full = |to: &str| rewrite(&format!("type: ReplaceFullPath, replaceFullPath: {to}"));
    let headers = "{type: RequestHeaderModifier, requestHeaderModifier: {\
                   set: [{name: X-Header-Set, value: set-overwrites-values}], \
                   add: [{name: X-Header-Add, value: header-val-1}, {name: X-Header-Add-Append, value: header-val-2}], \
                   remove: [X-Header-Remove]}}";
    let rules = [
        filtered("/prefix/one", &prefix("/one")),
        filtered("/strip-prefix", &prefix("/")),
        filtered("/full/one", &full("/one")),
        filtered("/full/rewrite-path-and-modify-headers", &format!("{}, {headers}", full("/test"))),
        filtered("/prefix/rewrite-path-and-modify-headers", &format!("{}, {headers}", prefix("/prefix"))),
    ];
    let changed = |path: &str| {
        let sent = get(path).to("v1").with("X-Header-Remove", "remove-val").with("X-Header-Set", "set-val");
        sent.with("X-Header-Add-Append", "append-val-1")
            .sees("x-header-add", "header-val-1")
            .sees("x-header-add-append", "append-val-1,header-val-2")
            .sees("x-header-set", "set-overwrites-values")
            .sees("x-header-remove", "")
    };
    let cases = [
        get("/prefix/one/two").to("v1").sees_path("/one/two"),
        get("/prefix/one").to("v1").sees_path("/one"),
        get("/prefix/one?q=1").to("v1").sees_path("/one?q=1"),
        get("/strip-prefix/three").to("v1").sees_path("/three"),
        get("/strip-prefix").to("v1").sees_path("/"),
        get("/full/one/two").to("v1").sees_path("/one"),
        changed("/full/rewrite-path-and-modify-headers/test").sees_path("/test"),
        changed("/prefix/rewrite-path-and-modify-headers/one").sees_path("/prefix/one"),
    ];
    world(&rules).await.check(&cases).await;
}

/// A limit of 0 is off; where both are written each holds for itself.
#[tokio::test]
async fn timeouts() {
    let rule = |path: &str, limits: &str| {
        format!(
            "  - matches: [{{path: {{value: {path}}}}}]\n    timeouts: {{{limits}}}\n    \
             backendRefs: [{{name: v1, port: 8080}}]\n"
        )
    };
    let world = world(&[
        rule("/request-timeout", "request: 100ms"),
        rule("/backend-timeout", "request: 1m, backendRequest: 100ms"),
        rule("/disabled", "request: 0s, backendRequest: 0s"),
    ])
    .await;
    let gate = Gate::closed();
    let held = gate.clone();
    world.backend("v1").answer(move |seen| match seen.header("x-late") {
        "" => Answer::status(200),
        _ => Answer::status(200).hold_for(&held),
    });
    world.check(&["/request-timeout", "/backend-timeout", "/disabled"].map(|path| get(path).to("v1"))).await;
    let at = world.proxy().outbound(0);
    for (path, reason) in [("/request-timeout", "request_timeout"), ("/backend-timeout", "attempt_timeout")] {
        for mut client in [Client::http1(at, "web").await, Client::http2(at, "web").await] {
            let mut request = client.request("GET", path, "");
            request.headers_mut().insert("x-late", http::HeaderValue::from_static("yes"));
            let answer = client.call(request).await.expect("an answer");
            assert_eq!((answer.status.as_u16(), answer.header("x-outrigger-error")), (504, reason));
        }
    }
    let mut client = Client::http1(at, "web").await;
    let mut request = client.request("GET", "/disabled", "");
    request.headers_mut().insert("x-late", http::HeaderValue::from_static("yes"));
    let before = world.backend("v1").requests();
    let call = tokio::spawn(async move { client.call(request).await });
    world.backend("v1").wait_requests(before + 1).await;
    gate.open();
    assert_eq!(call.await.expect("the call ends").expect("an answer").status, 200);
}

/// A reference to nothing, to a port that is not there or to a kind that is no backend: its share is answered 500, and
/// only its share.
#[tokio::test]
async fn invalid_backend_refs() {
    let rule = |path: &str, refs: &str| {
        format!("  - matches: [{{path: {{value: {path}}}}}]\n    backendRefs: [{refs}]\n")
    };
    let none = "{name: none, port: 8080}";
    let world = world(&[
        rule("/non-existent", none),
        rule("/no-port", "{name: v1, port: 9}"),
        rule("/unknown-kind", "{group: unknown.example.com, kind: NonExistent, name: v1, port: 8080}"),
        rule("/cross-namespace", "{name: v1, namespace: other, port: 8080}"),
        rule("/partly", &format!("{{name: v1, port: 8080, weight: 1}}, {none}")),
        rule("/unused", &format!("{{name: v1, port: 8080}}, {}", none.replace("8080", "8080, weight: 0"))),
        rule("/valid", "{name: v2, port: 8080}"),
    ])
    .await;
    let refused = ["/non-existent", "/no-port", "/unknown-kind", "/cross-namespace"];
    let mut cases: Vec<Case> = refused.map(|path| get(path).refused(500)).into();
    cases.extend([get("/valid").to("v2"), get("/unused").to("v1")]);
    world.check(&cases).await;
    let mut client = Client::http1(world.proxy().outbound(0), "web").await;
    let mut failed = 0;
    for _ in 0..200 {
        match client.get("/partly").await.status.as_u16() {
            200 => {}
            500 => failed += 1,
            other => panic!("{other}"),
        }
    }
    assert!((65..=135).contains(&failed), "{failed} of 200 at weight 1 of 2");
}

/// The suite sends 500 requests to weights 70, 30 and 0, and wants each share within 5 of 100: here within five standard
/// deviations.
#[tokio::test]
async fn weight() {
    let world = world(&["  - backendRefs: [{name: v1, port: 8080, weight: 70}, \
                         {name: v2, port: 8080, weight: 30}, {name: v3, port: 8080, weight: 0}]\n"
        .to_owned()])
    .await;
    let mut client = Client::http2(world.proxy().outbound(0), "web").await;
    for _ in 0..500 {
        assert_eq!(client.get("/").await.status, 200);
    }
    let [first, second, third] = ["v1", "v2", "v3"].map(|name| world.backend(name).requests());
    assert!((298..=402).contains(&first), "{first} of 500 at weight 70 of 100");
    assert_eq!((first + second, third), (500, 0));
}
