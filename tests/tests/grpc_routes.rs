//! GRPCRoutes through real proxies: which rule and which backend a call gets, what its caller is told where there is none,
//! and what else may come to a port that has GRPCRoutes. The semantics are those of the Gateway API's conformance suite.

use outrigger_tests::{
    backend::{Answer, Backend},
    client::Client,
    grpc::{GrpcClient, GrpcService, HANG, Outcome, UNARY},
    mesh::{self, Proxy},
};

/// A gRPC backend that answers every call with OK and its own name.
async fn named(name: &str) -> Backend {
    let backend = Backend::http2(name).await;
    backend.answer(|_| {
        Answer::status(200).header("content-type", "application/grpc").header("grpc-status", "0")
    });
    backend
}

/// A rule that tells its name in `x-rule`.
fn rule(name: &str, matches: &str) -> String {
    format!(
        "  - name: {name}\n    matches: [{matches}]\n    backendRefs: [{{name: cart, port: 80}}]\n    filters:\n    \
         - {{type: ResponseHeaderModifier, responseHeaderModifier: {{set: [{{name: x-rule, value: {name}}}]}}}}\n"
    )
}

async fn before(cart: &Backend, documents: &[&str]) -> Proxy {
    let service = mesh::service("cart", "grpc", &[cart.address()]);
    let mut all = vec![service.as_str()];
    all.extend(documents);
    Proxy::start(&mesh::pinned("cart", &all)).await
}

async fn call(client: &mut GrpcClient, path: &str, metadata: &[(&str, &str)]) -> Outcome {
    let mut call = client.open(path, metadata).await;
    call.finish();
    call.end().await
}

fn header<'a>(outcome: &'a Outcome, name: &str) -> &'a str {
    outcome.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Path, metadata, and the rule that must take it; `none` where none may.
type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str);

#[tokio::test]
async fn each_call_gets_the_rule_of_the_specification() {
    let cart = named("cart").await;
    let rules = [
        rule("header", "{headers: [{name: Version, value: one}]}"),
        rule("headers", "{headers: [{name: version, value: two}, {name: color, value: orange}]}"),
        rule("either", "{headers: [{name: color, value: blue}]}, {headers: [{name: color, value: green}]}"),
        rule("method", "{method: {method: Ping}}"),
        rule("service", "{method: {service: shop.v1.Cart}}"),
        rule("add", "{method: {type: Exact, service: shop.v1.Cart, method: Add}}"),
        rule(
            "add-blue",
            "{method: {service: shop.v1.Cart, method: Add}, headers: [{name: color, value: blue}]}",
        ),
        rule(
            "regex",
            r#"{method: {type: RegularExpression, service: 'shop\.v[0-9]\.(Stock|Cart)', method: "Get.*"}}"#,
        ),
        rule("dotted", "{method: {service: .shop.v1.Stock, method: Put}}"),
        rule("second", "{method: {service: shop.v1.Cart, method: Add}}"),
    ];
    let proxy = before(&cart, &[&mesh::grpc_route("cart", &rules.concat())]).await;
    let mut client = GrpcClient::connect(proxy.outbound(0), "cart").await;
    let cases: [Case; 18] = [
        ("/shop.v1.Cart/Add", &[], "add"),
        ("/shop.v1.Cart/Add", &[("color", "blue")], "add-blue"),
        ("/shop.v1.Cart/Add", &[("version", "one")], "add"),
        ("/shop.v1.Cart/Remove", &[], "service"),
        ("/shop.v1.Cart/GetAll", &[], "regex"),
        ("/shop.v1.Cart/add", &[], "service"),
        ("/shop.v2.Cart/GetAll", &[], "regex"),
        ("/shop.v1.Stock/GetAll", &[("color", "blue")], "regex"),
        ("/shop.v1.Stock/Put", &[], "dotted"),
        ("/shop.v1.CartX/Ping", &[], "method"),
        ("/shop.v1.CartX/Pong", &[], "none"),
        ("/shop.v1.cart/Add", &[], "none"),
        ("/x.Y/Z", &[("version", "one")], "header"),
        ("/x.Y/Z", &[("Version", "one")], "header"),
        ("/x.Y/Z", &[("version", "two")], "none"),
        ("/x.Y/Z", &[("version", "two"), ("color", "orange")], "headers"),
        ("/x.Y/Z", &[("color", "green")], "either"),
        ("/x.Y/Z", &[("color", "red")], "none"),
    ];
    for (path, metadata, expected) in cases {
        let outcome = call(&mut client, path, metadata).await;
        if expected == "none" {
            assert_eq!((outcome.status, outcome.trailers_only), (Some(12), true), "{path} {metadata:?}");
            assert_eq!(header(&outcome, "x-outrigger-error"), "no_route");
        } else {
            assert_eq!(outcome.status, Some(0), "{path} {metadata:?}: {outcome:?}");
            assert_eq!(header(&outcome, "x-rule"), expected, "{path} {metadata:?}");
        }
    }
}

#[tokio::test]
async fn only_grpc_calls_are_routed() {
    let cart = named("cart").await;
    let proxy = before(&cart, &[&mesh::grpc_route("cart", &rule("all", "{}"))]).await;
    let grpc = [("content-type", "application/grpc+proto")];
    let json = [("content-type", "application/json")];
    let web = [("content-type", "application/grpc-web")];
    let mut http1 = Client::http1(proxy.outbound(0), "cart").await;
    let mut http2 = Client::http2(proxy.outbound(0), "cart").await;
    for client in [&mut http1, &mut http2] {
        for (method, headers, status) in [
            ("POST", &grpc[..], 200),
            ("POST", &json[..], 404),
            ("POST", &web[..], 404),
            ("POST", &[], 404),
            ("GET", &[], 404),
        ] {
            let mut request = client.request(method, "/shop.v1.Cart/Add", "");
            for (name, value) in headers {
                request.headers_mut().insert(*name, value.parse().expect("a value"));
            }
            let answer = client.call(request).await.expect("an answer");
            assert_eq!(answer.status.as_u16(), status, "{method} {headers:?}: {answer:?}");
            let reason = if status == 404 { "no_route" } else { "" };
            assert_eq!(answer.header("x-outrigger-error"), reason);
        }
    }
    assert_eq!(cart.requests(), 2);
}

#[tokio::test]
async fn weights_are_shares_and_a_backend_that_is_not_there_is_unavailable() {
    let (cart, a, b) = (named("cart").await, named("a").await, named("b").await);
    let rules = "  - matches: [{method: {method: Split}}]\n    backendRefs: [{name: a, port: 80, weight: 7}, \
                 {name: b, port: 80, weight: 3}, {name: cart, port: 80, weight: 0}]\n  \
                 - matches: [{method: {method: Half}}]\n    backendRefs: [{name: a, port: 80}, {name: none, port: 80}]\n  \
                 - matches: [{method: {method: Empty}}]\n";
    let services = [
        mesh::service("a", "grpc", &[a.address()]),
        mesh::service("b", "grpc", &[b.address()]),
        mesh::grpc_route("cart", rules),
    ];
    let services: Vec<&str> = services.iter().map(String::as_str).collect();
    let proxy = before(&cart, &services).await;
    let mut client = GrpcClient::connect(proxy.outbound(0), "cart").await;
    // 400 throws at 7:3: five standard deviations are 46.
    for _ in 0..400 {
        assert_eq!(call(&mut client, "/x.Y/Split", &[]).await.status, Some(0));
    }
    assert!((234..=326).contains(&a.requests()), "{} of 400 at weight 7 of 10", a.requests());
    assert_eq!((a.requests() + b.requests(), cart.requests()), (400, 0));
    let mut failed = 0;
    for _ in 0..200 {
        match call(&mut client, "/x.Y/Half", &[]).await.status {
            Some(0) => {}
            Some(14) => failed += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!((65..=135).contains(&failed), "{failed} of 200 at weight 1 of 2");
    let empty = call(&mut client, "/x.Y/Empty", &[]).await;
    assert_eq!((empty.status, header(&empty, "x-outrigger-error")), (Some(14), "no_backend"));
}

#[tokio::test]
async fn headers_change_on_rules_and_backends() {
    let cart = named("cart").await;
    let rules = r#"  - filters:
    - type: RequestHeaderModifier
      requestHeaderModifier:
        set: [{name: X-Set, value: rule}]
        add: [{name: x-add, value: rule}]
        remove: [x-gone]
    - {type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: x-backend, value: rule}]}}
    backendRefs:
    - name: cart
      port: 80
      filters:
      - {type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: x-add, value: backend}]}}
      - {type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: x-backend, value: backend}]}}
"#;
    let proxy = before(&cart, &[&mesh::grpc_route("cart", rules)]).await;
    let mut client = GrpcClient::connect(proxy.outbound(0), "cart").await;
    let sent = [("x-set", "caller"), ("x-add", "caller"), ("x-gone", "x"), ("x-bin", "kept")];
    let outcome = call(&mut client, "/x.Y/Z", &sent).await;
    assert_eq!((outcome.status, header(&outcome, "x-backend")), (Some(0), "cart,backend,rule"));
    let seen = cart.last();
    assert_eq!((seen.header("x-set"), seen.header("x-add")), ("rule", "caller,rule,backend"));
    assert_eq!((seen.header("x-gone"), seen.header("x-bin")), ("", "kept"));
    assert_eq!((seen.path.as_str(), seen.header("te")), ("/x.Y/Z", "trailers"));
}

/// A named rule is what a TrafficPolicy's `sectionName` means; streams pass as they do without routes.
#[tokio::test]
async fn a_policy_on_a_named_rule_holds_for_its_calls() {
    let service = GrpcService::start().await;
    let rules = "  - name: hang\n    matches: [{method: {service: test.Echo, method: Hang}}]\n    \
                 backendRefs: [{name: cart, port: 80}]\n  \
                 - name: rest\n    backendRefs: [{name: cart, port: 80}]\n";
    let policy = "apiVersion: outrigger.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: hang}\nspec:\n  \
                  targetRefs: [{kind: GRPCRoute, name: cart, sectionName: hang}]\n  timeouts: {request: 50ms}\n";
    let document = mesh::service("cart", "grpc", &[service.address()]);
    let route = mesh::grpc_route("cart", rules);
    let proxy = Proxy::start(&mesh::outbound(&[&document, &route, policy])).await;
    let mut client = GrpcClient::connect(proxy.outbound(0), "cart.default").await;
    let late = call(&mut client, HANG, &[]).await;
    assert_eq!(late.status, Some(4), "{late:?}");
    let unary = client.call(UNARY, &["hello"]).await;
    assert_eq!((unary.status, unary.messages.len()), (Some(0), 1));
    assert_eq!(unary.trailers["x-trailer"], "kept");
    let metrics = proxy.metrics().await;
    let count = |route| metrics.sum("outrigger_requests_total", &[("route", route)]);
    assert_eq!((count("default/cart/hang"), count("default/cart/rest")), (1.0, 1.0));
}

/// A port has routes of one kind: the GRPCRoute's, also against an older HTTPRoute; another port keeps the HTTPRoute.
#[tokio::test]
async fn a_grpc_route_displaces_http_routes_of_its_port() {
    let cart = named("cart").await;
    let service = format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: MeshService\nmetadata: {{name: cart}}\nspec:\n  \
         ports: [{{port: 80, protocol: grpc}}, {{port: 81, protocol: http2}}]\n  \
         endpoints: [{{address: \"{}\"}}]\n",
        cart.address()
    );
    let http = mesh::route("cart", "  - {backendRefs: [{name: cart, port: 81}]}\n")
        .replace("{name: cart}\nspec", "{name: cart, creationTimestamp: \"2020-01-01T00:00:00Z\"}\nspec");
    let calls = mesh::grpc_route("cart", &rule("all", "{method: {service: x.Y}}"))
        .replace("name: cart}]\n  rules", "name: cart, port: 80}]\n  rules");
    let proxy = Proxy::start(&mesh::outbound(&[&service, &http, &calls])).await;
    let mut client = GrpcClient::connect(proxy.outbound(0), "cart").await;
    assert_eq!(header(&call(&mut client, "/x.Y/Z", &[]).await, "x-rule"), "all");
    assert_eq!(call(&mut client, "/x.Z/Z", &[]).await.status, Some(12));
    assert_eq!(Client::http1(proxy.outbound(0), "cart").await.get("/any").await.status, 404);
    assert_eq!(Client::http1(proxy.outbound(0), "cart:81").await.get("/any").await.status, 200);
}

/// `examples/grpc-routes.yaml`, with services behind it.
#[tokio::test]
async fn the_example_does_what_its_first_lines_say() {
    let (primary, replica, search) = (named("primary").await, named("replica").await, named("v2").await);
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/grpc-routes.yaml");
    let text = std::fs::read_to_string(example).expect("the example is there");
    let policy = [("50061", &primary), ("50062", &replica), ("50063", &replica), ("50064", &search)]
        .iter()
        .fold(text, |text, (port, at)| text.replace(&format!("127.0.0.1:{port}"), &at.address().to_string()))
        .replace("127.0.0.1:15001\"}", "127.0.0.1:0\"}\n  admin: {bind: \"127.0.0.1:0\"}");
    let proxy = Proxy::start(&policy).await;
    let mut client = GrpcClient::connect(proxy.outbound(0), "catalog:50051").await;
    for (method, backend) in [("GetItem", "replica"), ("ListItems", "replica"), ("Put", "primary")] {
        let outcome = call(&mut client, &format!("/shop.v1.Catalog/{method}"), &[]).await;
        assert_eq!(header(&outcome, "x-backend"), backend, "{method}");
    }
    assert_eq!(primary.last().header("x-primary"), "yes");
    // Never the primary; the new version in 200 throws at 1:9 with all but certainty.
    for _ in 0..200 {
        assert_eq!(call(&mut client, "/shop.v1.Catalog/Search", &[]).await.status, Some(0));
    }
    assert_eq!((primary.requests(), replica.requests() + search.requests()), (1, 202));
    assert!((1..=60).contains(&search.requests()), "{} of 200", search.requests());
    assert_eq!(call(&mut client, "/shop.v1.Admin/Drop", &[]).await.status, Some(12));
}

/// A Service that does not say what it speaks, as most in a cluster, is spoken to as gRPC where a GRPCRoute sends calls.
#[tokio::test]
async fn a_backend_that_says_nothing_is_spoken_to_as_grpc() {
    let cart = named("cart").await;
    let services = ["cart", "calls", "web"].map(|name| {
        let protocol = if name == "web" { "http1" } else { "grpc" };
        mesh::service(name, protocol, &[cart.address()]).replace(", protocol: grpc", "")
    });
    let route = mesh::grpc_route(
        "cart",
        "  - matches: [{method: {method: Own}}]\n    backendRefs: [{name: cart, port: 80}]\n  \
         - matches: [{method: {method: Other}}]\n    backendRefs: [{name: calls, port: 80}]\n  \
         - matches: [{method: {method: Web}}]\n    backendRefs: [{name: web, port: 80}]\n",
    );
    let documents: Vec<&str> = services.iter().chain([&route]).map(String::as_str).collect();
    let proxy = Proxy::start(&mesh::pinned("cart", &documents)).await;
    let mut client = GrpcClient::connect(proxy.outbound(0), "cart").await;
    for (path, status) in [("/x.Y/Own", 0), ("/x.Y/Other", 0), ("/x.Y/Web", 14)] {
        assert_eq!(call(&mut client, path, &[]).await.status, Some(status), "{path}");
    }
}
