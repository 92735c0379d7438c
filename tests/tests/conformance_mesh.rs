//! Routes on Services, as the mesh part of the Gateway API's conformance suite has them: producers and consumers, ports,
//! what a Service's frontend is, named rules. Each test bears the suite's name for it.

use outrigger_tests::{
    backend::Backend,
    client::Client,
    conformance::{World, get},
    mesh,
    unreachable::Refuses,
};

/// An HTTPRoute with this name and namespace on this parent; it sets `x-header-set` in the answer and sends to `v1`.
fn marking(name: &str, parent: &str, value: &str) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}}}\nspec:\n  \
         parentRefs: [{{group: \"\", kind: Service, {parent}}}]\n  rules:\n  - filters:\n    \
         - {{type: ResponseHeaderModifier, responseHeaderModifier: {{set: [{{name: x-header-set, value: {value}}}]}}}}\n    \
         backendRefs: [{{name: v1, namespace: default, port: 8080}}]\n"
    )
}

/// Without any route a Service works by all its names.
#[tokio::test]
async fn basic() {
    let world = World::start("").await;
    let hosts = ["web", "web.default", "web.default.svc", "web.default.svc.cluster.local", "web:80"];
    world.check(&hosts.map(|host| get("/any").host(host).to("v1"))).await;
}

/// A route holds for the Service that it names, not for others with the same endpoints.
#[tokio::test]
async fn frontend() {
    let other = "---\napiVersion: outrigger.dev/v1alpha1\nkind: MeshService\nmetadata: {name: other}\n\
                 spec: {ports: [{port: 80}], endpoints: [{address: \"{v1}\"}]}\n";
    let world = World::start(&(marking("web", "name: web", "set") + other)).await;
    let cases = [
        get("/").to("v1").gets("x-header-set", "set"),
        get("/").host("web.default").to("v1").gets("x-header-set", "set"),
        get("/").host("other").to("v1").gets("x-header-set", ""),
        // The backend of the route, called by its own name: its own routes, of which there are none.
        get("/").host("v1:8080").to("v1").gets("x-header-set", ""),
    ];
    world.check(&cases).await;
}

/// `port` in a parentRef means that port, none means every port.
#[tokio::test]
async fn ports() {
    let service = |name: &str| {
        format!(
            "---\napiVersion: outrigger.dev/v1alpha1\nkind: MeshService\nmetadata: {{name: {name}}}\n\
             spec: {{ports: [{{port: 80}}, {{port: 8080}}], endpoints: [{{address: \"{{v1}}\"}}]}}\n"
        )
    };
    let documents = service("one")
        + &service("two")
        + &marking("one", "name: one, port: 80", "v1")
        + &marking("two", "name: two", "v2");
    let cases = [
        get("/").host("one").to("v1").gets("x-header-set", "v1"),
        get("/").host("one:8080").to("v1").gets("x-header-set", ""),
        get("/").host("two").to("v1").gets("x-header-set", "v2"),
        get("/").host("two:8080").to("v1").gets("x-header-set", "v2"),
    ];
    World::start(&documents).await.check(&cases).await;
}

/// A port may be named too, where the Service names its ports.
#[tokio::test]
async fn port_by_section_name() {
    let nobody = Refuses::new();
    let service = format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: named}}\n\
         spec: {{clusterIP: 10.96.0.1, ports: [{{name: web, port: 80}}, {{name: admin, port: 81}}]}}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: named, labels: {{kubernetes.io/service-name: named}}}}\naddressType: IPv4\n\
         ports: [{{name: web, port: {0}}}, {{name: admin, port: {0}}}]\nendpoints: [{{addresses: [127.0.0.1]}}]\n",
        nobody.address().port()
    );
    let documents = service + &marking("named", "name: named, sectionName: admin", "admin");
    let cases = [
        get("/").host("named:81").to("v1").gets("x-header-set", "admin"),
        // The other port goes to its own endpoint, where nothing listens.
        get("/").host("named").refused(503),
    ];
    World::start(&documents).await.check(&cases).await;
}

/// A producer's route serves every namespace; a consumer's serves its own alone, and replaces the producer's there.
#[tokio::test]
async fn consumer_route() {
    let in_namespace = |route: String, namespace: &str| {
        route.replacen("metadata: {name:", &format!("metadata: {{namespace: {namespace}, name:"), 1)
    };
    let documents = marking("producer", "name: web", "producer")
        + &in_namespace(marking("consumer", "name: web, namespace: default", "consumer"), "consumer");
    for (namespace, expected) in [("default", "producer"), ("consumer", "consumer"), ("third", "producer")] {
        let world = World::of(&documents, namespace).await;
        let case = get("/").host("web.default").to("v1").gets("x-header-set", expected);
        world.check(&[case]).await;
    }
}

/// The name of a rule is what logs, metrics and policies know it by; it changes nothing for requests.
#[tokio::test]
async fn named_rule() {
    let rules = "  - name: named-rule\n    matches: [{path: {type: PathPrefix, value: /named}}]\n    \
                 backendRefs: [{name: v1, port: 8080}]\n  \
                 - matches: [{path: {type: PathPrefix, value: /unnamed}}]\n    backendRefs: [{name: v2, port: 8080}]\n";
    let world = World::start(&mesh::route("web", rules)).await;
    world.check(&[get("/named").to("v1"), get("/unnamed").to("v2"), get("/")]).await;
    let metrics = world.proxy().metrics().await;
    let count = |route| metrics.sum("outrigger_requests_total", &[("route", route)]);
    assert_eq!((count("default/web/named-rule"), count("default/web/1")), (2.0, 2.0));
}

/// Shares of a Service's callers between it and another one.
#[tokio::test]
async fn split() {
    let rules = "  - matches: [{path: {type: Exact, value: /v1}}]\n    backendRefs: [{name: v1, port: 8080}]\n  \
                 - matches: [{path: {type: Exact, value: /v2}}]\n    backendRefs: [{name: v2, port: 8080}]\n  \
                 - matches: [{path: {type: Exact, value: /half}}]\n    \
                 backendRefs: [{name: v1, port: 8080}, {name: v2, port: 8080}]\n";
    let world = World::start(&mesh::route("web", rules)).await;
    let cases = [get("/v1").to("v1"), get("/v2").to("v2"), get("/v3")];
    world.check(&cases).await;
    let mut client = Client::http1(world.proxy().outbound(0), "web").await;
    let mut first = 0;
    for _ in 0..200 {
        first += u32::from(client.get("/half").await.header("x-backend") == "v1");
    }
    assert!((65..=135).contains(&first), "{first} of 200 at weight 1 of 2");
}

/// Backends of every kind of Service that has endpoints: with a cluster IP, headless, and one that has none ready.
#[tokio::test]
async fn service_types() {
    let service = |name: &str, cluster_ip: &str, ready: bool| {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n\
             spec: {{clusterIP: {cluster_ip}, ports: [{{port: 8080}}]}}\n---\n\
             apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: {name}, labels: {{kubernetes.io/service-name: {name}}}}}\naddressType: IPv4\n\
             ports: [{{port: {{port}}}}]\n\
             endpoints: [{{addresses: [127.0.0.1], conditions: {{ready: {ready}}}}}]\n"
        )
    };
    let backend = Backend::http1("v2").await;
    let services = service("with-ip", "10.96.0.1", true)
        + &service("headless", "None", true)
        + &service("nobody", "10.96.0.2", false);
    let rule = |name: &str| {
        format!(
            "  - matches: [{{path: {{value: /{name}}}}}]\n    backendRefs: [{{name: {name}, port: 8080}}]\n"
        )
    };
    let route = mesh::route("web", &["with-ip", "headless", "nobody"].map(rule).concat());
    let documents = route + &services.replace("{port}", &backend.address().port().to_string());
    let world = World::start(&documents).await;
    let mut client = Client::http1(world.proxy().outbound(0), "web").await;
    for (path, status, header) in [
        ("/with-ip", 200, ("x-backend", "v2")),
        ("/headless", 200, ("x-backend", "v2")),
        ("/nobody", 503, ("x-outrigger-error", "no_endpoint")),
    ] {
        let answer = client.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.header(header.0)), (status, header.1), "{path}");
    }
}
