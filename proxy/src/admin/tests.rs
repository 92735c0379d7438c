//! Every path, every method, and who may tell the proxy something.

use std::time::SystemTime;

use http_body_util::{BodyExt as _, Empty};
use tower::ServiceExt as _;

use super::{services::*, *};
use crate::{
    ctx::Side,
    runtime::status::{BoundListener, Rejection},
};

fn state() -> Arc<AdminState> {
    let endpoint = EndpointView {
        address: "10.0.0.1:8080".parse().expect("an address"),
        weight: 2,
        warm_percent: None,
        zone: None,
        identity: Some("spiffe://cluster.local/ns/shop/sa/cart".to_owned()),
        security: "mtls",
        plaintext_because: None,
        requests_open: 3,
        state: crate::balance::State::Ejected,
        ejected_by: Some("consecutive5xx"),
        back_in_seconds: Some(12.4),
        ejections: 1,
        failures_in_a_row: RunsView { server_errors: 5, gateway_errors: 0, local_errors: 0 },
        health: None,
    };
    let port = PortView {
        port: 80,
        protocol: outrigger_config::model::AppProtocol::Grpc,
        circuit_breaker: None,
        panic: false,
        near_percent: None,
        endpoints: vec![endpoint],
    };
    let empty = PortView { port: 81, endpoints: Vec::new(), ..port.clone() };
    let service = ServiceView {
        name: "shop/cart".into(),
        hosts: vec!["cart".into()],
        ports: vec![port, empty],
        callee: None,
    };
    Arc::new(AdminState {
        status: Status::new(),
        metrics: Metrics::new(1),
        log_level: None,
        services: Box::new(move || vec![service.clone()]),
        certs: Box::new(|| CertsView { identity: None }),
    })
}

async fn send(state: &Arc<AdminState>, request: Request<Empty<Bytes>>) -> (StatusCode, HeaderMap, String) {
    let response = service(state.clone()).oneshot(request).await.expect("it never fails");
    let (head, body) = response.into_parts();
    let Ok(body) = body.collect().await else { panic!("a body from memory is whole") };
    (head.status, head.headers, String::from_utf8(body.to_bytes().to_vec()).expect("UTF-8"))
}

fn request(method: &str, uri: &str) -> Request<Empty<Bytes>> {
    Request::builder().method(method).uri(uri).body(Empty::new()).expect("a request")
}

async fn get(state: &Arc<AdminState>, uri: &str) -> (StatusCode, String) {
    let (status, _, body) = send(state, request("GET", uri)).await;
    (status, body)
}

#[tokio::test]
async fn ready_follows_the_life_of_the_proxy() {
    let state = state();
    assert_eq!(get(&state, "/live").await, (StatusCode::OK, "live\n".into()));
    let not_ready = (StatusCode::SERVICE_UNAVAILABLE, "not ready: no policy yet\n".into());
    assert_eq!(get(&state, "/ready").await, not_ready);
    state.status.set_ready();
    assert_eq!(get(&state, "/ready").await, (StatusCode::OK, "ready\n".into()));
    state.status.set_draining();
    assert_eq!(get(&state, "/ready").await.1, "not ready: draining\n");
}

#[tokio::test]
async fn what_changes_something_is_post_only() {
    let state = state();
    for (path, room, _) in ROOMS {
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
            let allowed = room.allow().split(", ").any(|allowed| allowed == method);
            if allowed && method == "POST" {
                continue;
            }
            let (status, headers, _) = send(&state, request(method, path)).await;
            assert_eq!(status != StatusCode::METHOD_NOT_ALLOWED, allowed, "{method} {path}");
            if !allowed {
                assert_eq!(headers["allow"], room.allow(), "{method} {path}");
            }
        }
    }
    for path in ["/drain", "/quit"] {
        assert_eq!(send(&state, request("POST", path)).await.0, StatusCode::ACCEPTED);
    }
    assert_eq!(state.status.asked_to_end(None).await, Asked::Quit);
}

#[tokio::test]
async fn unknown_paths_are_404_in_json() {
    let (status, body) = get(&state(), "/quti").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let value: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert!(value["error"].as_str().is_some_and(|text| text.contains("/quit")), "{value}");
}

#[tokio::test]
async fn a_foreign_page_cannot_tell_the_proxy_anything() {
    for (host, origin, status) in [
        ("127.0.0.1:15000", None, StatusCode::ACCEPTED),
        ("127.0.0.1:15000", Some("http://127.0.0.1:15000"), StatusCode::ACCEPTED),
        ("localhost:15000", Some("http://localhost:15000"), StatusCode::ACCEPTED),
        ("[::1]:15000", Some("http://[::1]:15000"), StatusCode::ACCEPTED),
        ("127.0.0.1:15000", Some("https://evil.example"), StatusCode::FORBIDDEN),
        ("127.0.0.1:15000", Some("null"), StatusCode::FORBIDDEN),
        ("evil.example:15000", Some("http://evil.example:15000"), StatusCode::FORBIDDEN),
    ] {
        let mut request = request("POST", "/drain");
        request.headers_mut().insert("host", host.parse().expect("a value"));
        if let Some(origin) = origin {
            request.headers_mut().insert("origin", origin.parse().expect("a value"));
        }
        assert_eq!(send(&state(), request).await.0, status, "{host} {origin:?}");
    }
}

#[tokio::test]
async fn config_dump_shows_listeners_and_what_was_refused() {
    let state = state();
    let finding = serde_json::json!({"file": "a.yaml", "line": 3, "column": 7});
    state.status.set_rejection(Rejection {
        at: SystemTime::UNIX_EPOCH,
        text: "a.yaml:3:7: error[OR110] <spec>".into(),
        findings: vec![finding.clone()],
    });
    let bind = "127.0.0.1:0".parse().expect("an address");
    let bound = "127.0.0.1:4711".parse().expect("an address");
    state.status.set_listeners(vec![BoundListener { side: Side::Outbound, bind, bound, intercepted: false }]);
    let (status, body) = get(&state, "/config_dump").await;
    assert_eq!(status, StatusCode::OK);
    let dump: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(dump["rejected"]["findings"][0], finding);
    assert_eq!(dump["listeners"][0]["bound"], "127.0.0.1:4711");
    assert_eq!(dump["generation"], serde_json::Value::Null);
    let (_, page) = get(&state, "/").await;
    assert!(page.contains("error[OR110] &lt;spec&gt;") && !page.contains("<spec>"), "{page}");
    assert!(ROOMS.iter().all(|(path, ..)| page.contains(&format!("\"{path}\""))), "{page}");
    state.status.clear_rejection();
    assert!(!get(&state, "/").await.1.contains("OR110"));
}

#[tokio::test]
async fn services_come_as_json_and_as_a_table() {
    let state = state();
    let value: serde_json::Value = serde_json::from_str(&get(&state, "/services").await.1).expect("JSON");
    assert_eq!(value[0]["ports"][0]["endpoints"][0]["requests_open"], 3);
    let (_, table) = get(&state, "/services?o=table").await;
    assert_eq!(
        table,
        "SERVICE    PORT  PROTOCOL  BREAKER  ENDPOINT       BY    WEIGHT  OPEN  STATE\n\
         shop/cart  80    grpc      -        10.0.0.1:8080  mtls  2       3     ejected (consecutive5xx), back in 12s\n\
         shop/cart  81    grpc      -        none           -     -       -     -\n"
    );
    assert_eq!(get(&state, "/services?o=xml").await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn metrics_have_their_content_type() {
    let (status, headers, body) = send(&state(), request("GET", "/metrics")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers["content-type"], "text/plain; version=0.0.4");
    assert!(body.contains("outrigger_config_generation 0\n"));
}

#[tokio::test]
async fn a_log_that_is_not_ours_is_not_changed() {
    assert_eq!(send(&state(), request("POST", "/logging?level=debug")).await.0, StatusCode::CONFLICT);
}

#[tokio::test]
async fn a_panic_costs_one_answer() {
    let mut state = state();
    let shared = Arc::get_mut(&mut state).expect("not shared yet");
    shared.services = Box::new(|| panic!("a bug"));
    assert_eq!(get(&state, "/services").await.0, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(get(&state, "/live").await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let mut request = request("POST", "/drain");
    request.headers_mut().insert("content-length", (BODY_BYTES + 1).into());
    assert_eq!(send(&state(), request).await.0, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn it_serves_on_a_socket() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let admin = Admin::bind("127.0.0.1:0".parse().expect("an address")).await.expect("a free port");
    let address = admin.local_addr().expect("bound");
    let serving = tokio::spawn(admin.serve(state()));
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(b"GET /live HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("read");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nlive\n"), "{answer}");
    serving.abort();
}

#[test]
fn parameters_are_decoded() {
    assert_eq!(
        parameter("a=1&level=outrigger_proxy%3Ddebug%2Cinfo", "level").as_deref(),
        Some("outrigger_proxy=debug,info")
    );
    assert_eq!(parameter("level=%zz%4", "level").as_deref(), Some("%zz%4"));
    assert_eq!(parameter("level", "level").as_deref(), Some(""));
    assert_eq!(parameter("levels=1", "level"), None);
}

#[tokio::test]
async fn a_proxy_without_identity_says_so() {
    assert_eq!(get(&state(), "/certs").await, (StatusCode::OK, "{\n  \"identity\": null\n}\n".into()));
}
