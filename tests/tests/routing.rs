//! Which rule and which backend a request gets, through real proxies: matches, precedence, weights, header changes,
//! refusals, hosts, egress, namespaces.

use std::net::SocketAddr;

use http::HeaderMap;
use outrigger_tests::{
    backend::{Answer as Says, Backend},
    client::{Answer, Client},
    proxy::Proxy,
};

/// A Sidecar in namespace `shop` with one by-authority listener.
const SIDECAR: &str = r#"apiVersion: outrigger.dev/v1alpha1
kind: Sidecar
metadata: {name: test, namespace: shop}
spec:
  admin: {bind: "127.0.0.1:0"}
  outbound: [{bind: "127.0.0.1:0"}]
"#;

fn mesh_service(name: &str, namespace: &str, at: SocketAddr) -> String {
    format!(
        "---\napiVersion: outrigger.dev/v1alpha1\nkind: MeshService\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {{ports: [{{port: 80}}], endpoints: [{{address: \"{at}\"}}]}}\n"
    )
}

/// A route in namespace `shop` on the Service `web` there; `rules` is YAML, indented by two.
fn route(name: &str, rules: &str) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n\
         metadata: {{name: {name}, namespace: shop}}\nspec:\n  \
         parentRefs: [{{group: \"\", kind: Service, name: web}}]\n  rules:\n{rules}"
    )
}

/// A rule that answers with its name in `x-rule`.
fn rule(name: &str, matches: &str) -> String {
    format!(
        "  - name: {name}\n    matches: [{matches}]\n    backendRefs: [{{name: web, port: 80}}]\n    filters:\n    \
         - {{type: ResponseHeaderModifier, responseHeaderModifier: {{set: [{{name: x-rule, value: {name}}}]}}}}\n"
    )
}

async fn ask(at: SocketAddr, method: &str, host: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut client = Client::http1(at, host).await;
    let mut request = client.request(method, path, "");
    for (name, value) in headers {
        request.headers_mut().append(
            http::HeaderName::from_bytes(name.as_bytes()).expect("a name"),
            value.parse().expect("a value"),
        );
    }
    client.call(request).await.unwrap_or_else(|error| panic!("{method} {host} {path}: {error:?}"))
}

/// Method, path, headers, and the rule that must take it; `404` where none may.
type Case = (&'static str, &'static str, &'static [(&'static str, &'static str)], &'static str);

#[tokio::test]
async fn each_request_gets_the_rule_of_the_specification() {
    let web = Backend::http1("web").await;
    let rules = [
        rule("prefix", "{path: {type: PathPrefix, value: /a}}"),
        rule("longer", "{path: {type: PathPrefix, value: /a/b/}}"),
        rule("exact", "{path: {type: Exact, value: /a/b/c}}"),
        rule("regex", r#"{path: {type: RegularExpression, value: "/a/[0-9]+"}}"#),
        rule("post", "{path: {type: PathPrefix, value: /a}, method: POST}"),
        rule("header", "{path: {type: PathPrefix, value: /h}, headers: [{name: X-Kind, value: green}]}"),
        rule(
            "headers",
            r#"{path: {type: PathPrefix, value: /h}, headers: [{name: x-kind, value: green}, {name: x-size, type: RegularExpression, value: "[0-9]+"}]}"#,
        ),
        rule("query", r#"{path: {type: PathPrefix, value: /h}, queryParams: [{name: v, value: "2"}]}"#),
        rule("either", "{path: {type: Exact, value: /x}}, {path: {type: Exact, value: /y}}"),
        rule("first", "{path: {type: Exact, value: /same}}"),
        rule("second", "{path: {type: Exact, value: /same}}"),
    ];
    let policy = SIDECAR.to_owned()
        + &mesh_service("web", "shop", web.address())
        + &route("a", &rules.concat())
        + &route("b", &rule("younger", "{path: {type: Exact, value: /same}}"));
    let proxy = Proxy::start(&policy);
    let green = &[("x-kind", "green")];
    let cases: [Case; 28] = [
        ("GET", "/a", &[], "prefix"),
        ("GET", "/a/", &[], "prefix"),
        ("GET", "/a/z?b=/c", &[], "prefix"),
        ("GET", "/ab", &[], "404"),
        ("GET", "/A", &[], "404"),
        ("GET", "/", &[], "404"),
        ("GET", "/a/b", &[], "longer"),
        ("GET", "/a/b/", &[], "longer"),
        ("GET", "/a/bb", &[], "prefix"),
        ("GET", "/a/b/c", &[], "exact"),
        ("GET", "/a/b/c?q", &[], "exact"),
        ("GET", "/a/b/c/", &[], "longer"),
        ("GET", "/a/x/../b/c", &[], "exact"),
        ("GET", "//a/./b//c", &[], "exact"),
        ("GET", "/a/b/%63", &[], "exact"),
        ("GET", "/a/12", &[], "regex"),
        ("GET", "/a/12/3", &[], "prefix"),
        ("POST", "/a/12", &[], "regex"),
        ("POST", "/a/z", &[], "post"),
        ("POST", "/a/b/z", &[], "longer"),
        ("GET", "/h", green, "header"),
        ("GET", "/h", &[("X-KIND", "green")], "header"),
        ("GET", "/h", &[("x-kind", "greenish")], "404"),
        ("GET", "/h", &[("x-kind", "green"), ("x-size", "12")], "headers"),
        ("GET", "/h?v=2", green, "header"),
        ("GET", "/h?w=1&v=2&v=3", &[], "query"),
        ("GET", "/y", &[], "either"),
        ("GET", "/same", &[], "first"),
    ];
    for (method, path, headers, expected) in cases {
        let answer = ask(proxy.outbound(0), method, "web", path, headers).await;
        let got = match answer.status.as_u16() {
            404 => "404",
            _ => answer.header("x-rule"),
        };
        assert_eq!(got, expected, "{method} {path} {headers:?}: {answer:?}");
        if expected == "404" {
            assert_eq!(answer.header("x-outrigger-error"), "no_route");
        }
    }
}

#[tokio::test]
async fn weights_are_shares_and_a_backend_that_is_not_there_fails_its_share() {
    let (a, b) = (Backend::http1("a").await, Backend::http1("b").await);
    let rules = "  - matches: [{path: {value: /split}}]\n    backendRefs: [{name: a, port: 80, weight: 3}, \
                 {name: b, port: 80}, {name: none, port: 80, weight: 0}]\n  \
                 - matches: [{path: {value: /half}}]\n    backendRefs: [{name: a, port: 80}, {name: none, port: 80}]\n  \
                 - matches: [{path: {value: /empty}}]\n";
    let policy = SIDECAR.to_owned()
        + &mesh_service("web", "shop", a.address())
        + &mesh_service("a", "shop", a.address())
        + &mesh_service("b", "shop", b.address())
        + &route("web", rules);
    let proxy = Proxy::start(&policy);
    let mut client = Client::http1(proxy.outbound(0), "web").await;

    // 400 throws at 3:1: five standard deviations are 43.
    for _ in 0..400 {
        assert_eq!(client.get("/split").await.status, 200);
    }
    let share = a.requests();
    assert!((257..=343).contains(&share), "{share} of 400 at weight 3 of 4");
    assert_eq!(share + b.requests(), 400);

    let mut failed = 0;
    for _ in 0..200 {
        let answer = client.get("/half").await;
        if answer.status == 500 {
            assert_eq!(answer.header("x-outrigger-error"), "no_backend");
            failed += 1;
        } else {
            assert_eq!((answer.status.as_u16(), answer.header("x-backend")), (200, "a"));
        }
    }
    assert!((65..=135).contains(&failed), "{failed} of 200 at weight 1 of 2");
    let answer = client.get("/empty").await;
    assert_eq!((answer.status.as_u16(), answer.header("x-outrigger-error")), (500, "no_backend"));
    let metrics = proxy.metrics().await;
    let count = |flag, code| metrics.sum("outrigger_requests_total", &[("flag", flag), ("code", code)]);
    assert_eq!((count("NR", "500"), count("-", "200")), (f64::from(failed) + 1.0, 600.0 - f64::from(failed)));
}

fn all<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    headers.get_all(name).iter().map(|value| value.to_str().expect("text")).collect()
}

#[tokio::test]
async fn headers_are_set_added_and_removed_on_rules_and_backends() {
    let web = Backend::http1("web").await;
    web.answer(|_| {
        let said = Says::text("ok").header("x-set", "app").header("x-add", "app").header("x-gone", "app");
        said.header("set-cookie", "a=1").header("x-both", "app")
    });
    let rules = r#"  - filters:
    - type: RequestHeaderModifier
      requestHeaderModifier:
        set: [{name: X-Set, value: rule}, {name: x-both, value: rule}]
        add: [{name: x-add, value: rule}, {name: x-new, value: rule}]
        remove: [x-gone]
    - type: ResponseHeaderModifier
      responseHeaderModifier:
        set: [{name: x-set, value: rule}]
        add: [{name: x-add, value: rule}, {name: set-cookie, value: b=2}, {name: x-both, value: rule}]
        remove: [X-Gone]
    backendRefs:
    - name: web
      port: 80
      filters:
      - type: RequestHeaderModifier
        requestHeaderModifier: {add: [{name: x-both, value: backend}], remove: [x-late]}
      - type: ResponseHeaderModifier
        responseHeaderModifier: {add: [{name: x-both, value: backend}]}
"#;
    let policy = SIDECAR.to_owned() + &mesh_service("web", "shop", web.address()) + &route("web", rules);
    let proxy = Proxy::start(&policy);
    let sent = [
        ("x-set", "caller"),
        ("x-set", "again"),
        ("x-add", "one"),
        ("x-add", "two"),
        ("x-gone", "x"),
        ("x-late", "x"),
    ];
    let answer = ask(proxy.outbound(0), "GET", "web", "/", &sent).await;
    let seen = web.last().headers;
    assert_eq!(all(&seen, "x-set"), ["rule"]);
    assert_eq!(all(&seen, "x-add"), ["one,two,rule"]);
    assert_eq!(all(&seen, "x-new"), ["rule"]);
    assert_eq!(all(&seen, "x-both"), ["rule,backend"]);
    assert!(!seen.contains_key("x-gone") && !seen.contains_key("x-late"), "{seen:?}");
    assert_eq!(all(&answer.headers, "x-set"), ["rule"]);
    assert_eq!(all(&answer.headers, "x-add"), ["app,rule"]);
    assert_eq!(all(&answer.headers, "x-both"), ["app,backend,rule"]);
    assert_eq!(all(&answer.headers, "set-cookie"), ["a=1", "b=2"], "cookies are never joined");
    assert!(!answer.headers.contains_key("x-gone"));
}

#[tokio::test]
async fn a_service_answers_to_all_its_names() {
    let (shop, other) = (Backend::http1("shop").await, Backend::http1("other").await);
    let two_ports = format!(
        "---\napiVersion: outrigger.dev/v1alpha1\nkind: MeshService\nmetadata: {{name: two, namespace: shop}}\n\
         spec: {{hosts: [two.example.com], ports: [{{port: 80}}, {{port: 8080}}], endpoints: [{{address: \"{}\"}}]}}\n",
        other.address()
    );
    let policy = SIDECAR.to_owned()
        + &mesh_service("web", "shop", shop.address())
        + &mesh_service("web", "far", other.address())
        + &two_ports
        + "---\napiVersion: outrigger.dev/v1alpha1\nkind: Mesh\nmetadata: {name: default}\n\
           spec: {egress: {mode: Deny}}\n";
    let proxy = Proxy::start(&policy);
    let cases = [
        ("web", "shop"),
        ("web:80", "shop"),
        ("WEB", "shop"),
        ("web.", "shop"),
        ("web.shop", "shop"),
        ("web.shop:80", "shop"),
        ("Web.Shop.Svc", "shop"),
        ("web.shop.svc.", "shop"),
        ("web.shop.svc.cluster.local", "shop"),
        ("web.shop.svc.cluster.local:80", "shop"),
        ("WEB.SHOP.SVC.CLUSTER.LOCAL.:80", "shop"),
        ("web.far", "other"),
        ("web.far.svc.cluster.local", "other"),
        ("two", "other"),
        ("two:8080", "other"),
        ("two.example.com:8080", "other"),
        ("TWO.EXAMPLE.COM", "other"),
        ("web:81", "404"),
        ("two:81", "404"),
        ("web.nowhere", "404"),
        ("web.shop.svc.cluster", "404"),
        ("xweb", "404"),
        ("example.com", "404"),
    ];
    for (host, expected) in cases {
        let http1 = ask(proxy.outbound(0), "GET", host, "/", &[]).await;
        let mut http2 = Client::http2(proxy.outbound(0), host).await;
        for answer in [http1, http2.get("/").await] {
            let got = if answer.status == 404 { "404" } else { answer.header("x-backend") };
            assert_eq!(got, expected, "{host}: {answer:?}");
            if expected == "404" {
                assert_eq!(answer.header("x-outrigger-error"), "no_service", "{host}");
            }
        }
    }
    assert_eq!(shop.requests() + other.requests(), 2 * cases.iter().filter(|case| case.1 != "404").count());
}

#[tokio::test]
async fn unknown_hosts_go_out_or_not_as_egress_says() {
    let (web, outside) = (Backend::http1("web").await, Backend::http1("outside").await);
    let address = outside.address().to_string();
    let named = format!("localhost:{}", outside.address().port());
    // Mode, the answer by Host, the answer by absolute URI.
    let modes =
        [(None, 200, 404), (Some("Allow"), 200, 200), (Some("Log"), 200, 200), (Some("Deny"), 404, 404)];
    for (mode, by_host, by_uri) in modes {
        let mut policy = SIDECAR.to_owned() + &mesh_service("web", "shop", web.address());
        if let Some(mode) = mode {
            policy += &format!(
                "---\napiVersion: outrigger.dev/v1alpha1\nkind: Mesh\nmetadata: {{name: default}}\n\
                 spec: {{egress: {{mode: {mode}}}}}\n"
            );
        }
        let proxy = Proxy::start(&policy);
        for host in [&address, &named] {
            let answer = ask(proxy.outbound(0), "GET", host, "/", &[]).await;
            assert_eq!(answer.status.as_u16(), by_host, "{mode:?} {host}: {answer:?}");
            let answer =
                ask(proxy.outbound(0), "GET", "somewhere.else", &format!("http://{host}/p?q"), &[]).await;
            assert_eq!(answer.status.as_u16(), by_uri, "{mode:?} http://{host}/p?q: {answer:?}");
            if by_uri == 200 {
                assert_eq!((&*outside.last().path, &*outside.last().authority), ("/p?q", &**host));
            } else {
                assert_eq!(answer.header("x-outrigger-error"), "no_service");
            }
        }
        // A Service's name in an absolute URI is no egress.
        assert_eq!(ask(proxy.outbound(0), "GET", "x", "http://web/", &[]).await.status, 200, "{mode:?}");
    }
}

#[tokio::test]
async fn routes_of_the_callers_namespace_replace_those_of_the_service() {
    let web = Backend::http1("web").await;
    let attached = |namespace: &str, rule: &str| {
        format!(
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n\
             metadata: {{name: {rule}, namespace: {namespace}}}\nspec:\n  \
             parentRefs: [{{group: \"\", kind: Service, name: web, namespace: far}}]\n  rules:\n  \
             - matches: [{{path: {{value: /{rule}}}}}]\n    backendRefs: [{{name: web, namespace: far, port: 80}}]\n"
        )
    };
    // Two workloads in one set of files: one in the namespace that has a route of its own, one elsewhere.
    let policy = SIDECAR.to_owned()
        + "---\n"
        + &SIDECAR.replace("namespace: shop", "namespace: bank")
        + &mesh_service("web", "far", web.address())
        + &attached("far", "producer")
        + &attached("shop", "consumer")
        + &attached("third", "bystander");
    let start = |namespace: &str| {
        let name = outrigger_config::model::ObjectName::new(namespace, "test");
        Proxy::with(&policy, |options| options.sidecar = Some(name))
    };
    for (namespace, holds, never) in [("shop", "/consumer", "/producer"), ("bank", "/producer", "/consumer")]
    {
        let proxy = start(namespace);
        let at = proxy.outbound(0);
        assert_eq!(ask(at, "GET", "web.far", holds, &[]).await.status, 200, "{namespace}");
        for path in [never, "/bystander", "/"] {
            let answer = ask(at, "GET", "web.far", path, &[]).await;
            assert_eq!(answer.status, 404, "{namespace} {path}");
            assert_eq!(answer.header("x-outrigger-error"), "no_route", "{namespace} {path}");
        }
    }
}
