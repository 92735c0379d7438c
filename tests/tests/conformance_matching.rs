//! Which rule of an HTTPRoute gets a request: the cases of the Gateway API's conformance suite for paths, headers, query
//! parameters, methods and precedence, through a real proxy. Each test bears the suite's name for it.

use outrigger_tests::{
    conformance::{World, get},
    mesh,
};

/// A rule with these matches, to this backend.
fn rule(matches: &str, backend: &str) -> String {
    format!("  - matches: [{matches}]\n    backendRefs: [{{name: {backend}, port: 8080}}]\n")
}

async fn world(rules: &[String]) -> World {
    World::start(&mesh::route("web", &rules.concat())).await
}

#[tokio::test]
async fn simple_same_namespace() {
    let world = world(&["  - backendRefs: [{name: v1, port: 8080}]\n".to_owned()]).await;
    world.check(&[get("/").to("v1"), get("/any/path?q").to("v1")]).await;
}

#[tokio::test]
async fn exact_path_matching() {
    let rules =
        [rule("{path: {type: Exact, value: /one}}", "v1"), rule("{path: {type: Exact, value: /two}}", "v2")];
    let cases = [
        get("/one").to("v1"),
        get("/two").to("v2"),
        get("/two?a=b").to("v2"),
        get("/"),
        get("/one/"),
        get("/one/example"),
        get("/two/"),
        get("/Two"),
    ];
    world(&rules).await.check(&cases).await;
}

/// The suite's HTTPRouteMatching and MeshHTTPRouteMatching.
#[tokio::test]
async fn matching() {
    let rules = [
        rule("{path: {type: PathPrefix, value: /}}, {headers: [{name: version, value: one}]}", "v1"),
        rule("{path: {type: PathPrefix, value: /v2}}, {headers: [{name: version, value: two}]}", "v2"),
    ];
    let cases = [
        get("/").to("v1"),
        get("/example").to("v1"),
        get("/").with("Version", "one").to("v1"),
        get("/v2").to("v2"),
        get("/v2/").to("v2"),
        get("/v2/example").to("v2"),
        get("/").with("Version", "two").to("v2"),
        get("/v2example").to("v1"),
        get("/foo/v2/example").to("v1"),
        get("/v2").with("Version", "one").to("v2"),
    ];
    world(&rules).await.check(&cases).await;
}

/// Hostnames tell nothing apart on a Service, so all rules of both routes hold for each host of it.
#[tokio::test]
async fn matching_across_routes() {
    let one = mesh::route(
        "web",
        &[
            rule("{path: {type: PathPrefix, value: /}}, {headers: [{name: version, value: one}]}", "v1"),
            rule("{path: {type: Exact, value: /same}}", "v1"),
        ]
        .concat(),
    );
    let two = mesh::route(
        "web",
        &[
            rule("{path: {type: PathPrefix, value: /v2}}, {headers: [{name: version, value: two}]}", "v2"),
            rule("{path: {type: Exact, value: /same}}", "v2"),
        ]
        .concat(),
    )
    .replace("metadata: {name: web}", "metadata: {name: part-two}");
    let cases = |same| {
        [
            get("/").to("v1"),
            get("/example").to("v1"),
            get("/").with("version", "one").to("v1"),
            get("/v2").to("v2"),
            get("/").with("version", "two").to("v2"),
            get("/v2/").with("version", "one").to("v2"),
            get("/v2example").to("v1"),
            get("/foo/v2/example").to("v1"),
            get("/same").host("web.default.svc.cluster.local").to(same),
        ]
    };
    // Equal matches: the first by name, unless another one is older.
    let documents = format!("{two}---\n{one}");
    World::start(&documents).await.check(&cases("v2")).await;
    let older = documents
        .replace("{name: web}\nspec", "{name: web, creationTimestamp: \"2020-01-01T00:00:00Z\"}\nspec");
    World::start(&older).await.check(&cases("v1")).await;
}

#[tokio::test]
async fn header_matching() {
    let header = |name: &str, value: &str| format!("{{name: {name}, value: {value}}}");
    let rules = [
        rule(&format!("{{headers: [{}]}}", header("version", "one")), "v1"),
        rule(&format!("{{headers: [{}]}}", header("version", "two")), "v2"),
        rule(&format!("{{headers: [{}, {}]}}", header("version", "two"), header("color", "orange")), "v1"),
        rule(
            &format!(
                "{{headers: [{}]}}, {{headers: [{}]}}",
                header("color", "blue"),
                header("color", "green")
            ),
            "v1",
        ),
        rule(
            &format!(
                "{{headers: [{}]}}, {{headers: [{}]}}",
                header("color", "red"),
                header("color", "yellow")
            ),
            "v2",
        ),
    ];
    let cases = [
        get("/").with("Version", "one").to("v1"),
        get("/").with("version", "two").to("v2"),
        get("/").with("version", "two").with("Color", "orange").to("v1"),
        get("/").with("color", "blue").to("v1"),
        get("/").with("color", "green").to("v1"),
        get("/").with("color", "red").to("v2"),
        get("/").with("color", "yellow").to("v2"),
        get("/").with("color", "purple"),
        get("/").with("color", "orange"),
        get("/").with("version", "One"),
        get("/").with("version", "two, three"),
        get("/"),
        // Several matches with as many headers: the first of them.
        get("/").with("version", "one").with("color", "red").to("v1"),
    ];
    world(&rules).await.check(&cases).await;
}

/// Name and value are compared as they are, letter case included; the first of repeated parameters counts.
#[tokio::test]
async fn query_param_matching() {
    let animal = |name: &str| format!("{{name: animal, value: {name}}}");
    let version = |number: &str| format!("headers: [{{name: version, value: {number}}}]");
    let rules = [
        rule(&format!("{{queryParams: [{}]}}", animal("whale")), "v1"),
        rule(&format!("{{queryParams: [{}]}}", animal("dolphin")), "v2"),
        rule(&format!("{{queryParams: [{}, {{name: color, value: blue}}]}}", animal("dolphin")), "v3"),
        rule("{queryParams: [{name: ANIMAL, value: Whale}]}", "v3"),
        rule(&format!("{{path: {{value: /path1}}, queryParams: [{}]}}", animal("whale")), "v1"),
        rule(&format!("{{{}, queryParams: [{}]}}", version("one"), animal("whale")), "v2"),
        rule(
            &format!("{{path: {{value: /path2}}, {}, queryParams: [{}]}}", version("two"), animal("whale")),
            "v3",
        ),
        rule(
            &format!(
                "{{path: {{value: /path3}}, queryParams: [{}]}}, {{path: {{value: /path4}}, {}, queryParams: [{}]}}",
                animal("shark"),
                version("three"),
                animal("kraken")
            ),
            "v1",
        ),
        rule(&format!("{{path: {{value: /path5}}, queryParams: [{}]}}", animal("hydra")), "v1"),
        rule(&format!("{{{}, queryParams: [{}]}}", version("four"), animal("hydra")), "v3"),
    ];
    let cases = [
        get("/?animal=whale").to("v1"),
        get("/?animal=dolphin").to("v2"),
        get("/?animal=dolphin&color=blue").to("v3"),
        get("/?color=blue&animal=dolphin").to("v3"),
        get("/?ANIMAL=Whale").to("v3"),
        get("/?animal=whale&otherparam=irrelevant").to("v1"),
        get("/?animal=dolphin&color=yellow").to("v2"),
        get("/?animal=w%68ale").to("v1"),
        get("/?animal=whale&animal=dog").to("v1"),
        get("/?animal=dog&animal=whale"),
        get("/?color=blue"),
        get("/?animal=dog"),
        get("/?animal=whaledolphin"),
        get("/?animal"),
        get("/"),
        get("/path1?animal=whale").to("v1"),
        get("/?animal=whale").with("version", "one").to("v2"),
        get("/path2?animal=whale").with("version", "two").to("v3"),
        get("/path3?animal=shark").to("v1"),
        get("/path4?animal=kraken").with("version", "three").to("v1"),
        get("/?animal=shark"),
        get("/path4?animal=kraken"),
        get("/path5?animal=hydra").to("v1"),
        get("/path5?animal=hydra").with("version", "four").to("v1"),
        get("/?animal=hydra").with("version", "four").to("v3"),
    ];
    world(&rules).await.check(&cases).await;
}

#[tokio::test]
async fn method_matching() {
    let version = |number: &str| format!("headers: [{{name: version, value: {number}}}]");
    let rules = [
        rule("{method: POST}", "v1"),
        rule("{method: GET}", "v2"),
        rule("{path: {value: /path1}, method: GET}", "v1"),
        rule(&format!("{{{}, method: PUT}}", version("one")), "v2"),
        rule(&format!("{{path: {{value: /path2}}, {}, method: POST}}", version("two")), "v3"),
        rule(
            &format!(
                "{{path: {{value: /path3}}, method: PATCH}}, {{path: {{value: /path4}}, {}, method: DELETE}}",
                version("three")
            ),
            "v1",
        ),
        rule("{path: {value: /path5}, method: PATCH}", "v1"),
        rule(&format!("{{{}, method: PATCH}}", version("four")), "v2"),
    ];
    let cases = [
        get("/").method("POST").to("v1"),
        get("/").to("v2"),
        get("/").method("HEAD"),
        get("/path1").to("v1"),
        get("/").method("PUT").with("version", "one").to("v2"),
        get("/path2").method("POST").with("version", "two").to("v3"),
        get("/path3").method("PATCH").to("v1"),
        get("/path4").method("DELETE").with("version", "three").to("v1"),
        get("/").method("PUT"),
        get("/path4").method("DELETE"),
        get("/path5").method("PATCH").to("v1"),
        get("/path5").method("PATCH").with("version", "four").to("v1"),
        get("/").method("PATCH").with("version", "four").to("v2"),
    ];
    world(&rules).await.check(&cases).await;
}

/// Exact before prefix, the longer prefix before the shorter, whatever their order.
#[tokio::test]
async fn path_match_order() {
    let rules = [
        rule("{path: {type: PathPrefix, value: /match/prefix/}}", "v1"),
        rule("{path: {type: PathPrefix, value: /match/prefix/one}}", "v2"),
        rule("{path: {type: Exact, value: /match/exact}}", "v2"),
        rule("{path: {type: PathPrefix, value: /match/exact}}", "v1"),
        rule("{path: {type: Exact, value: /match/exact/one}}", "v3"),
        rule("{path: {type: Exact, value: /match}}", "v1"),
        rule("{path: {type: PathPrefix, value: /match}}", "v3"),
    ];
    let cases = [
        get("/match/exact/one").to("v3"),
        get("/match/exact").to("v2"),
        get("/match/exact/two").to("v1"),
        get("/match").to("v1"),
        get("/match/").to("v3"),
        get("/match/prefix/one/any").to("v2"),
        get("/match/prefix/any").to("v1"),
        get("/match/prefix").to("v1"),
        get("/match/any").to("v3"),
        get("/matched"),
    ];
    world(&rules).await.check(&cases).await;
}

/// Of conditions that are equally specific by path: a method, then most headers, then most query parameters.
#[tokio::test]
async fn precedence_on_one_path() {
    let rules = [
        rule("{path: {value: /p}, queryParams: [{name: a, value: \"1\"}, {name: b, value: \"1\"}]}", "v1"),
        rule("{path: {value: /p}, headers: [{name: x, value: \"1\"}]}", "v2"),
        rule("{path: {value: /p}, method: POST}", "v3"),
        rule("{path: {type: RegularExpression, value: \"/p/[0-9]+\"}}", "v3"),
    ];
    let cases = [
        get("/p?a=1&b=1").to("v1"),
        get("/p?a=1&b=1").with("x", "1").to("v2"),
        get("/p?a=1&b=1").with("x", "1").method("POST").to("v3"),
        get("/p/12").with("x", "1").to("v3"),
        get("/p/12x").with("x", "1").to("v2"),
        get("/p?a=1"),
    ];
    world(&rules).await.check(&cases).await;
}
