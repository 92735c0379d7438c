//! Authorities that are addresses: a Service's cluster IP means that Service with its routes, whatever Host says; an
//! endpoint's own address goes straight there, past all routes, with the Service's own policy. It is what interception
//! will do by the address that was dialled, said by Host or in HTTP-proxy form.

use std::net::SocketAddr;

use outrigger_tests::{
    backend::{Answer as Says, Backend, Speaks},
    client::{Answer, Client},
    mesh::{self, Proxy},
    wait::Gate,
};

const MESH: &str = "apiVersion: outrigger.dev/v1alpha1\nkind: Mesh\nmetadata: {name: default}\n\
                    spec: {egress: {mode: Deny}}\n";

/// The Service `web` with this cluster IP and port before one endpoint. Its route takes `/routed` alone.
fn documents(frontend: SocketAddr, endpoint: SocketAddr, protocol: &str) -> [String; 2] {
    let family = if endpoint.is_ipv4() { "IPv4" } else { "IPv6" };
    let service = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\n\
         spec: {{clusterIP: \"{}\", ports: [{{name: p, port: {}, appProtocol: {protocol}}}]}}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: web-1, labels: {{kubernetes.io/service-name: web}}}}\naddressType: {family}\n\
         ports: [{{name: p, port: {}}}]\nendpoints: [{{addresses: [\"{}\"]}}]\n",
        frontend.ip(),
        frontend.port(),
        endpoint.port(),
        endpoint.ip()
    );
    let rule = format!(
        "  - matches: [{{path: {{value: /routed}}}}]\n    filters:\n    \
         - {{type: ResponseHeaderModifier, responseHeaderModifier: {{set: [{{name: x-route, value: web}}]}}}}\n    \
         backendRefs: [{{name: web, port: {}}}]\n",
        frontend.port()
    );
    [service, mesh::route("web", &rule)]
}

async fn before(frontend: SocketAddr, endpoint: SocketAddr, protocol: &str, more: &[&str]) -> Proxy {
    let [service, route] = documents(frontend, endpoint, protocol);
    let mut all = vec![service.as_str(), route.as_str(), MESH];
    all.extend(more);
    Proxy::start(&mesh::outbound(&all)).await
}

/// By Host over both versions, then as an HTTP proxy is asked, with a Host that says something else.
async fn every_way(proxy: &Proxy, authority: &str, path: &str) -> Vec<Answer> {
    let at = proxy.outbound(0);
    let mut answers = vec![
        Client::http1(at, authority).await.get(path).await,
        Client::http2(at, authority).await.get(path).await,
    ];
    let mut proxied = Client::http1(at, "somewhere.else").await;
    answers.push(proxied.get(&format!("http://{authority}{path}")).await);
    answers
}

fn brief(answer: &Answer) -> (u16, &str, &str) {
    let [backend, error] = ["x-backend", "x-outrigger-error"].map(|name| answer.header(name));
    (answer.status.as_u16(), if backend.is_empty() { error } else { backend }, answer.header("x-route"))
}

/// A real server stands at the cluster IP, which nobody may call: a cluster IP is a name, not a place.
#[tokio::test]
async fn a_cluster_ip_means_its_service_with_its_routes() {
    let web = Backend::http1("web").await;
    let decoy = Backend::at("127.31.0.9:0".parse().expect("an address"), Speaks::Http1, "decoy").await;
    for frontend in [decoy.address(), "[fd00::9]:8080".parse().expect("an address")] {
        let proxy = before(frontend, web.address(), "http", &[]).await;
        let authority = frontend.to_string();
        for answer in every_way(&proxy, &authority, "/routed").await {
            assert_eq!(brief(&answer), (200, "web", "web"), "{authority}");
        }
        for answer in every_way(&proxy, &authority, "/other").await {
            assert_eq!(brief(&answer), (404, "no_route", ""), "{authority}");
        }
    }
    assert_eq!((web.requests(), decoy.requests()), (6, 0));
}

/// Port 80 needs not be written; another port of the IP is no Service's, and egress is denied.
#[tokio::test]
async fn a_cluster_ip_goes_with_its_port() {
    let web = Backend::http1("web").await;
    let proxy = before("127.31.0.9:80".parse().expect("an address"), web.address(), "http", &[]).await;
    for authority in ["127.31.0.9", "127.31.0.9:80"] {
        for answer in every_way(&proxy, authority, "/routed").await {
            assert_eq!(brief(&answer), (200, "web", "web"), "{authority}");
        }
    }
    for authority in ["127.31.0.9:81", "127.31.0.8"] {
        for answer in every_way(&proxy, authority, "/routed").await {
            assert_eq!(brief(&answer), (404, "no_service", ""), "{authority}");
        }
    }
}

/// No route changes or refuses it; it is counted under its Service, and spoken to as that one says.
#[tokio::test]
async fn an_endpoints_address_goes_straight_there() {
    let frontend = "127.31.0.9:80".parse().expect("an address");
    for (backend, protocol) in
        [(Backend::http1("web").await, "http"), (Backend::http2("web").await, "kubernetes.io/h2c")]
    {
        let proxy = before(frontend, backend.address(), protocol, &[]).await;
        let authority = backend.address().to_string();
        for path in ["/routed", "/other"] {
            for answer in every_way(&proxy, &authority, path).await {
                assert_eq!(brief(&answer), (200, "web", ""), "{protocol} {path}");
            }
        }
        assert_eq!(backend.last().authority, authority);
        let metrics = proxy.metrics().await;
        let labels = [("service", "default/web:80"), ("route", "default"), ("code", "200")];
        assert_eq!(metrics.sum("outrigger_requests_total", &labels), 6.0);
    }
}

#[tokio::test]
async fn the_services_own_policy_holds_for_its_endpoints() {
    let web = Backend::http1("web").await;
    let gate = Gate::closed();
    let held = gate.clone();
    web.answer(move |_| Says::status(200).hold_for(&held));
    let limit = mesh::traffic("web", "  timeouts: {request: 100ms}\n");
    let proxy = before("127.31.0.9:80".parse().expect("an address"), web.address(), "http", &[&limit]).await;
    for answer in every_way(&proxy, &web.address().to_string(), "/").await {
        assert_eq!(brief(&answer), (504, "request_timeout", ""));
    }
}

/// All that comes to a pinned listener means its Service, whatever address stands in the authority.
#[tokio::test]
async fn a_pinned_listener_comes_before_any_address() {
    let (web, other) = (Backend::http1("web").await, Backend::http1("other").await);
    let [service, route] = documents("127.31.0.9:80".parse().expect("an address"), web.address(), "http");
    let second = mesh::service("other", "http1", &[other.address()]);
    let proxy = Proxy::start(&mesh::pinned("web", &[&service, &route, &second])).await;
    for answer in every_way(&proxy, &other.address().to_string(), "/routed").await {
        assert_eq!(brief(&answer), (200, "web", "web"));
    }
    assert_eq!(other.requests(), 0);
}
