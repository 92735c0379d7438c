//! A proxy with a control plane: changes reach it, and what is away, bad or started again takes nothing from it.

use std::{net::SocketAddr, path::PathBuf};

use outrigger_config::{model::ObjectName, wire::ResourceType};
use outrigger_tests::{
    backend::Backend,
    client,
    control_plane::ControlPlane,
    proxy::Proxy,
    wait::{until, within},
};

/// The proxy's own file: a listener for everything, and one for `web`.
const SIDECAR: &str = r#"
apiVersion: outrigger.dev/v1alpha1
kind: Sidecar
metadata: {name: cart, namespace: shop}
spec:
  admin: {bind: "127.0.0.1:0"}
  outbound: [{bind: "127.0.0.1:0", service: {name: web, port: 80}}]
"#;

/// A Service with one endpoint.
fn service(name: &str, backend: SocketAddr) -> String {
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: MeshService\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec: {{ports: [{{port: 80}}], endpoints: [{{address: \"{backend}\"}}]}}\n"
    )
}

/// A route of `web` whose answers say `version`.
fn route(version: &str) -> String {
    format!(
        r#"apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: web, namespace: shop}}
spec:
  parentRefs: [{{group: outrigger.dev, kind: MeshService, name: web}}]
  rules:
  - filters:
    - {{type: ResponseHeaderModifier, responseHeaderModifier: {{set: [{{name: x-version, value: "{version}"}}]}}}}
    backendRefs: [{{group: outrigger.dev, kind: MeshService, name: web, port: 80}}]
"#
    )
}

fn proxy(from: &ControlPlane, state: Option<PathBuf>) -> Proxy {
    let from = from.options(state);
    Proxy::with("", |options| {
        options.control_plane = Some(from);
        options.sidecar = Some(ObjectName::new("shop", "cart"));
    })
}

/// Waits until the proxy's answers say `version`.
async fn answers(proxy: &Proxy, version: &str) {
    let at = proxy.outbound(0);
    until(&format!("version {version}"), || async move {
        let answer = client::get(at, "/").await;
        assert_eq!(answer.status, 200);
        (answer.header("x-version") == version).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_change_of_policy_and_of_endpoints_reaches_the_proxy() {
    let (one, two) = (Backend::http1("one").await, Backend::http1("two").await);
    let plane = ControlPlane::start(&[
        ("cart.yaml", SIDECAR),
        ("web.yaml", &service("web", one.address())),
        ("route.yaml", &route("1")),
    ]);
    let proxy = proxy(&plane, None);
    assert_eq!(client::get(proxy.admin(), "/ready").await.status, 200);
    answers(&proxy, "1").await;
    assert_eq!(one.requests(), 1);

    plane.write("route.yaml", &route("2"));
    answers(&proxy, "2").await;

    plane.write("web.yaml", &service("web", two.address()));
    let at = proxy.outbound(0);
    until("the other endpoint to be called", || async {
        client::get(at, "/").await;
        (two.requests() > 0).then_some(())
    })
    .await;
    let metrics = plane.metrics().await;
    assert_eq!(metrics.sum("outrigger_control_plane_nacks_total", &[]), 0.0);
    assert_eq!(metrics.sum("outrigger_control_plane_streams", &[]), 1.0);
    assert_eq!(metrics.sum("outrigger_control_plane_resources_total", &[("type", "workload")]), 1.0);
}

#[tokio::test]
async fn a_control_plane_that_is_killed_and_comes_back_takes_nothing_and_tells_nothing_twice() {
    let web = Backend::http1("web").await;
    let mut plane = ControlPlane::start(&[
        ("cart.yaml", SIDECAR),
        ("web.yaml", &service("web", web.address())),
        ("route.yaml", &route("1")),
    ]);
    let proxy = proxy(&plane, None);
    answers(&proxy, "1").await;
    let generation = proxy.generation().await;
    plane.kill();
    until("the proxy to notice", || async {
        let stale = proxy.metrics().await.sum("outrigger_config_stale_seconds", &[]);
        (stale > 0.0).then_some(())
    })
    .await;
    answers(&proxy, "1").await;

    plane.start_again();
    until("the proxy to be back", || async {
        let all = plane.metrics().await.sum("outrigger_control_plane_acks_total", &[]);
        (all == 4.0).then_some(())
    })
    .await;
    let metrics = plane.metrics().await;
    assert_eq!(metrics.sum("outrigger_control_plane_resources_total", &[]), 0.0, "all is as it was");
    until("the policy to be fresh", || async {
        let stale = proxy.metrics().await.sum("outrigger_config_stale_seconds", &[]);
        (stale == 0.0).then_some(())
    })
    .await;
    assert_eq!(proxy.generation().await, generation, "nothing was built anew");

    plane.write("route.yaml", &route("2"));
    answers(&proxy, "2").await;
}

#[tokio::test]
async fn a_proxy_starts_with_the_policy_that_it_kept_and_takes_up_the_newer_one() {
    let web = Backend::http1("web").await;
    let mut plane = ControlPlane::start(&[
        ("cart.yaml", SIDECAR),
        ("web.yaml", &service("web", web.address())),
        ("route.yaml", &route("1")),
    ]);
    let state = tempfile::tempdir().unwrap();
    let first = proxy(&plane, Some(state.path().to_path_buf()));
    let file = state.path().join("shop.cart.policy");
    until("the policy to be kept", || async { file.exists().then_some(()) }).await;
    drop(first);
    plane.kill();

    let second = proxy(&plane, Some(state.path().to_path_buf()));
    assert_eq!(client::get(second.admin(), "/ready").await.status, 200);
    answers(&second, "1").await;
    plane.write("route.yaml", &route("2"));
    plane.start_again();
    answers(&second, "2").await;
}

#[tokio::test]
async fn a_kept_policy_that_was_cut_is_left_aside() {
    let web = Backend::http1("web").await;
    let plane = ControlPlane::start(&[
        ("cart.yaml", SIDECAR),
        ("web.yaml", &service("web", web.address())),
        ("route.yaml", &route("1")),
    ]);
    let state = tempfile::tempdir().unwrap();
    std::fs::write(state.path().join("shop.cart.policy"), b"outrigger last-known-good 1\ncut").unwrap();
    let proxy = proxy(&plane, Some(state.path().to_path_buf()));
    answers(&proxy, "1").await;
}

#[tokio::test]
async fn a_proxy_without_a_policy_waits_for_the_control_plane() {
    let web = Backend::http1("web").await;
    let mut plane =
        ControlPlane::start(&[("cart.yaml", SIDECAR), ("web.yaml", &service("web", web.address()))]);
    plane.kill();
    let from = plane.options(None);
    let (started, starting) = tokio::sync::oneshot::channel();
    // Not a task of the runtime: that would wait for it even if this test fails.
    std::thread::spawn(|| {
        let proxy = Proxy::with("", |options| {
            options.control_plane = Some(from);
            options.sidecar = Some(ObjectName::new("shop", "cart"));
        });
        // Nobody waits any more where the test has failed.
        let _ = started.send(proxy);
    });
    // The first attempt fails for certain; the next come within seconds.
    tokio::task::yield_now().await;
    plane.start_again();
    let proxy = within("the proxy to start", starting).await.unwrap();
    assert_eq!(client::get(proxy.outbound(0), "/").await.status, 200);
}

#[tokio::test]
async fn a_bad_object_is_left_out_and_the_others_flow() {
    let web = Backend::http1("web").await;
    let plane = ControlPlane::start(&[
        ("cart.yaml", SIDECAR),
        ("web.yaml", &service("web", web.address())),
        ("route.yaml", &route("1")),
    ]);
    let proxy = proxy(&plane, None);
    answers(&proxy, "1").await;
    plane.write("bad.yaml", &service("bad", web.address()).replace("port: 80", "port: 80000"));
    until("the bad object to be left out", || async {
        let left_out = plane.metrics().await.sum("outrigger_control_plane_left_out_documents", &[]);
        (left_out == 1.0).then_some(())
    })
    .await;
    plane.write("route.yaml", &route("2"));
    answers(&proxy, "2").await;
    plane.write("bad.yaml", &service("bad", web.address()));
    until("the object to be good", || async {
        let left_out = plane.metrics().await.sum("outrigger_control_plane_left_out_documents", &[]);
        (left_out == 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_resource_that_the_proxy_cannot_use_is_refused_by_name_and_the_others_are_taken() {
    let web = Backend::http1("web").await;
    let plane = ControlPlane::start(&[
        ("cart.yaml", SIDECAR),
        ("web.yaml", &service("web", web.address())),
        ("route.yaml", &route("1")),
    ]);
    let proxy = proxy(&plane, None);
    answers(&proxy, "1").await;
    let tls = "{ports: [{port: 80}], tls: {mode: Simple, serverName: a.test, trustBundle: /nowhere/ca.pem}, endpoints";
    let outside = service("outside", web.address()).replace("{ports: [{port: 80}], endpoints", tls);
    plane.write("route.yaml", &format!("{}---\n{outside}", route("2")));
    answers(&proxy, "2").await;
    let refused = until("the refusal", || async {
        let nacks =
            plane.metrics().await.sum("outrigger_control_plane_nacks_total", &[("type", "destination")]);
        (nacks == 1.0).then_some(proxy.config_dump().await)
    })
    .await;
    let text = refused["rejected"]["text"].as_str().unwrap_or_default();
    assert!(text.starts_with("destination `shop/outside`: ") && text.contains("/nowhere/ca.pem"), "{text}");
    let metrics = proxy.metrics().await;
    let name = "outrigger_discovery_refused_resources_total";
    assert_eq!(metrics.sum(name, &[("type", "destination")]), 1.0);
}

#[tokio::test]
async fn two_replicas_tell_the_same_in_the_same_bytes() {
    let web: SocketAddr = ([127, 0, 0, 1], 9).into();
    let (service, other, route) = (service("web", web), service("other", web), route("1"));
    let mut files =
        vec![("cart.yaml", SIDECAR), ("web.yaml", &service), ("other.yaml", &other), ("route.yaml", &route)];
    let one = ControlPlane::start(&files);
    files.reverse();
    let two = ControlPlane::start(&files);
    for kind in ResourceType::ALL {
        let (one, two) = (one.told("shop/cart", kind).await, two.told("shop/cart", kind).await);
        assert!(!one.resources.is_empty());
        assert_eq!(one, two, "{kind:?}");
    }
}
