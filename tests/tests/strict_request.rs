//! The strict request check over real sockets: raw bytes into a real proxy, the answer's bytes, and the bytes that the
//! backend got. Every row runs against an inbound and an outbound listener.
//!
//! A refusal is ours, with `x-outrigger-error`, or the HTTP parser's own, a bare status and the end of the connection.

use std::net::SocketAddr;

use outrigger_proxy::app::{App, Options};
use outrigger_tests::{
    raw::{RawBackend, RawClient, Reply, exchange},
    verbatim::{Request, Verbatim},
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A route that decides by path.
const ROUTE: &str = r#"
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: by-path}
spec:
  parentRefs: [{kind: MeshService, group: outrigger.dev, name: backend}]
  rules:
  - {name: all, matches: [{path: {type: PathPrefix, value: /a}}], backendRefs: [{kind: MeshService, group: outrigger.dev, name: backend, port: 80}]}
"#;

fn policy(backend: SocketAddr) -> String {
    format!(
        r#"
apiVersion: outrigger.dev/v1alpha1
kind: Sidecar
metadata: {{name: test}}
spec:
  inbound:
  - {{bind: "127.0.0.1:0", app: "{backend}", protocol: http1}}
  outbound:
  - {{bind: "127.0.0.1:0", service: {{name: backend, port: 80}}}}
  admin: {{bind: "127.0.0.1:0"}}
---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {{name: backend}}
spec:
  ports: [{{port: 80, protocol: http1}}]
  endpoints: [{{address: "{backend}"}}]
"#
    )
}

fn start(policy: &str) -> (App, TempDir) {
    let files = tempfile::tempdir().expect("a folder");
    let path = files.path().join("policy.yaml");
    std::fs::write(&path, policy).expect("a file");
    let mut options = Options::new(vec![path]);
    options.workers = Some(1);
    (App::start(options).unwrap_or_else(|error| panic!("{error}")), files)
}

/// A proxy in front of a backend, and the event loop of the test's own sockets.
struct Mesh {
    app: App,
    backend: Verbatim,
    runtime: Runtime,
    _files: TempDir,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Inbound,
    Outbound,
}

const SIDES: [Side; 2] = [Side::Inbound, Side::Outbound];

impl Mesh {
    fn start(more: &str) -> Self {
        let runtime = Runtime::new().expect("an event loop");
        let backend = runtime.block_on(Verbatim::start());
        let (app, files) = start(&(policy(backend.address()) + more));
        Self { app, backend, runtime, _files: files }
    }

    fn at(&self, side: Side) -> SocketAddr {
        match side {
            Side::Inbound => self.app.inbound(0),
            Side::Outbound => self.app.outbound(0),
        }
        .expect("the policy has one listener a side")
    }

    /// Sends `bytes` on a connection of its own and reads one answer to its end.
    fn call(&self, side: Side, bytes: &[u8]) -> Answer {
        self.runtime.block_on(async {
            let mut client = RawClient::connect(self.at(side)).await;
            // A proxy that refuses early may close before it has read everything.
            let _ = client.try_send(bytes).await;
            Answer::read(&mut client).await
        })
    }
}

/// One answer, as text.
struct Answer {
    head: String,
    body: String,
}

impl Answer {
    async fn read(client: &mut RawClient) -> Self {
        let text = String::from_utf8_lossy(&client.read_until("\r\n\r\n").await).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").expect("just waited for it");
        let head = head.to_ascii_lowercase();
        let length =
            field(&head, "content-length").and_then(|value| value.parse::<usize>().ok()).unwrap_or(0);
        let mut body = body.to_owned();
        if body.len() < length {
            // The fixed answers of these tests end in a byte that stands nowhere else in them.
            let last = if head.contains("x-outrigger-error") { "\n" } else { "ok" };
            let text = String::from_utf8_lossy(&client.read_until(last).await).into_owned();
            body = text.split_once("\r\n\r\n").expect("it came before").1.to_owned();
        }
        Self { head, body }
    }

    fn status(&self) -> u16 {
        self.head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.split("\r\n").skip(1).find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// What a row expects.
enum Expect {
    /// The backend gets this request line, these fields beside those of every request, and this body.
    Passed(&'static str, &'static [&'static str], &'static str),
    /// Refused by us: status and reason. Nothing reaches the backend.
    Ours(u16, &'static str),
    /// Refused by the parser. Nothing reaches the backend.
    Parser(u16),
}

use Expect::{Ours, Parser, Passed};

/// The fields of every request that the backend gets when the caller sent Host `a` and a request id.
fn common(side: Side) -> Vec<&'static str> {
    match side {
        Side::Inbound => vec!["x-forwarded-for: 127.0.0.1", "x-forwarded-proto: http", "x-request-id: r"],
        Side::Outbound => vec!["x-request-id: r"],
    }
}

/// `in:` and `out:` before a field: at that side only.
fn at_side(field: &'static str, side: Side) -> Option<&'static str> {
    match (field.split_once(':'), side) {
        (Some(("in", field)), Side::Inbound) | (Some(("out", field)), Side::Outbound) => Some(field),
        (Some(("in" | "out", _)), _) => None,
        _ => Some(field),
    }
}

fn run(mesh: &Mesh, rows: &[(&str, &str, Expect)]) {
    let mut failures = Vec::new();
    for (name, request, expect) in rows {
        // `B` stands for what every request needs.
        let bytes =
            request.replace("{B}", "Host: a\r\nX-Request-Id: r\r\n").replace("{ID}", "X-Request-Id: r\r\n");
        for side in SIDES {
            if let Err(what) = judge(mesh, side, bytes.as_bytes(), expect) {
                failures.push(format!("{name}, {side:?}: {what}"));
            }
        }
    }
    assert!(failures.is_empty(), "{} of {} rows:\n{}", failures.len(), rows.len() * 2, failures.join("\n"));
}

fn judge(mesh: &Mesh, side: Side, bytes: &[u8], expect: &Expect) -> Result<(), String> {
    let answer = mesh.call(side, bytes);
    let requests = mesh.backend.take();
    let (status, reason) = match expect {
        Passed(..) => (200, None),
        Ours(status, reason) => (*status, Some(*reason)),
        Parser(status) => (*status, None),
    };
    if answer.status() != status || answer.field("x-outrigger-error") != reason {
        return Err(format!("expected {status} {reason:?}, got {}", answer.head));
    }
    match (expect, requests.as_slice()) {
        (Passed(line, fields, body), [request]) => passed(request, line, fields, body, side),
        (Passed(..), requests) => Err(format!("the backend got {} requests: {requests:?}", requests.len())),
        (Parser(_), _) if answer.field("connection") != Some("close") => {
            Err("the connection stays open".into())
        }
        (_, []) => Ok(()),
        (_, requests) => Err(format!("refused, but the backend got {requests:?}")),
    }
}

fn passed(
    request: &Request,
    line: &str,
    fields: &[&'static str],
    body: &str,
    side: Side,
) -> Result<(), String> {
    let mut expected = common(side);
    expected.extend(fields.iter().filter_map(|field| at_side(field, side)));
    if !fields.iter().any(|field| field.starts_with("host:")) {
        expected.push("host: a");
    }
    expected.sort_unstable();
    if !request.whole || request.line() != line || request.fields() != expected || request.body() != body {
        return Err(format!("expected {line:?} {expected:?} {body:?}, the backend got {request:?}"));
    }
    Ok(())
}

#[test]
fn hosts_and_targets() {
    let mesh = Mesh::start("");
    run(
        &mesh,
        &[
            (
                "plain",
                "GET /x?y=1 HTTP/1.1\r\n{B}Accept: */*\r\n\r\n",
                Passed("GET /x?y=1 HTTP/1.1", &["accept: */*"], ""),
            ),
            ("no host", "GET / HTTP/1.1\r\n\r\n", Ours(400, "missing_host")),
            ("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Ours(400, "duplicate_host")),
            ("empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", Ours(400, "invalid_host")),
            ("user in host", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", Ours(400, "invalid_host")),
            ("list in host", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", Ours(400, "invalid_host")),
            ("bad port", "GET / HTTP/1.1\r\nHost: a:http\r\n\r\n", Ours(400, "invalid_host")),
            (
                "the uri wins",
                "GET http://b:81/x HTTP/1.1\r\n{B}\r\n",
                Passed("GET /x HTTP/1.1", &["host: b:81"], ""),
            ),
            (
                "uri without path",
                "GET http://b HTTP/1.1\r\n{B}\r\n",
                Passed("GET / HTTP/1.1", &["host: b"], ""),
            ),
            (
                "uri with query",
                "GET http://b?x HTTP/1.1\r\n{B}\r\n",
                Passed("GET /?x HTTP/1.1", &["host: b"], ""),
            ),
            ("uri without host", "GET http://b/ HTTP/1.1\r\n\r\n", Ours(400, "missing_host")),
            ("scheme", "GET ftp://b/ HTTP/1.1\r\n{B}\r\n", Ours(400, "invalid_scheme")),
            ("connect", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", Ours(405, "method_not_allowed")),
            ("asterisk", "OPTIONS * HTTP/1.1\r\n{B}\r\n", Ours(405, "method_not_allowed")),
            ("asterisk of another", "GET * HTTP/1.1\r\n{B}\r\n", Ours(400, "invalid_path")),
            ("1.0 with host", "GET / HTTP/1.0\r\n{B}\r\n", Passed("GET / HTTP/1.1", &[], "")),
        ],
    );
}

#[test]
fn framing() {
    let mesh = Mesh::start("");
    run(
        &mesh,
        &[
            (
                "length",
                "POST / HTTP/1.1\r\n{B}Content-Length: 3\r\n\r\nabc",
                Passed("POST / HTTP/1.1", &["content-length: 3"], "abc"),
            ),
            (
                "chunked",
                "POST / HTTP/1.1\r\n{B}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
                Passed("POST / HTTP/1.1", &["transfer-encoding: chunked"], "3\r\nabc\r\n0\r\n\r\n"),
            ),
            (
                "chunked GET keeps its body",
                "GET / HTTP/1.1\r\n{B}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
                Passed("GET / HTTP/1.1", &["transfer-encoding: chunked"], "3\r\nabc\r\n0\r\n\r\n"),
            ),
            (
                "equal lengths",
                "POST / HTTP/1.1\r\n{B}Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
                Passed("POST / HTTP/1.1", &["content-length: 3"], "abc"),
            ),
            (
                "different lengths",
                "POST / HTTP/1.1\r\n{B}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
                Parser(400),
            ),
            ("list of lengths", "POST / HTTP/1.1\r\n{B}Content-Length: 3, 3\r\n\r\nabc", Parser(400)),
            ("signed length", "POST / HTTP/1.1\r\n{B}Content-Length: +3\r\n\r\nabc", Parser(400)),
            (
                "gzip, chunked",
                "POST / HTTP/1.1\r\n{B}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
                Ours(501, "transfer_coding_not_supported"),
            ),
            ("gzip", "POST / HTTP/1.1\r\n{B}Transfer-Encoding: gzip\r\n\r\n", Parser(400)),
            ("chunked, gzip", "POST / HTTP/1.1\r\n{B}Transfer-Encoding: chunked, gzip\r\n\r\n", Parser(400)),
            (
                "twice in one",
                "POST / HTTP/1.1\r\n{B}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
                Ours(400, "invalid_transfer_encoding"),
            ),
            (
                "twice in two",
                "POST / HTTP/1.1\r\n{B}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                Ours(400, "invalid_transfer_encoding"),
            ),
            (
                "coding in 1.0",
                "POST / HTTP/1.0\r\n{B}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                Parser(400),
            ),
            ("obs-fold", "GET / HTTP/1.1\r\n{B}X-A: 1\r\n 2\r\n\r\n", Parser(400)),
            ("NUL in a value", "GET / HTTP/1.1\r\n{B}X-A: 1\0\r\n\r\n", Parser(400)),
            ("bare CR in a value", "GET / HTTP/1.1\r\n{B}X-A: 1\r2\r\n\r\n", Parser(400)),
            ("space before colon", "GET / HTTP/1.1\r\n{B}X-A : 1\r\n\r\n", Parser(400)),
            ("no method", " / HTTP/1.1\r\n{B}\r\n", Parser(400)),
        ],
    );
}

/// A Content-Length beside a coding never reaches anybody, the coding wins, and nothing that follows is a request.
#[test]
fn a_length_beside_a_coding_cannot_smuggle() {
    let mesh = Mesh::start("");
    for side in SIDES {
        for fields in [
            "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        ] {
            let bytes = format!(
                "POST / HTTP/1.1\r\nHost: a\r\nX-Request-Id: r\r\n{fields}\r\n3\r\nabc\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
            );
            let (text, _) = mesh.runtime.block_on(exchange(mesh.at(side), bytes));
            assert!(text.starts_with("HTTP/1.1 200"), "{side:?}: {text}");
            assert_eq!(text.matches("HTTP/1.1").count(), 1, "{side:?}: {text}");
            let requests = mesh.backend.take();
            assert_eq!(requests.len(), 1, "{side:?}: {requests:?}");
            passed(
                &requests[0],
                "POST / HTTP/1.1",
                &["transfer-encoding: chunked"],
                "3\r\nabc\r\n0\r\n\r\n",
                side,
            )
            .unwrap_or_else(|what| panic!("{side:?}: {what}"));
        }
    }
}

/// Where a body breaks its framing, the backend sees it cut, never ended.
#[test]
fn broken_chunks_are_never_ended() {
    let mesh = Mesh::start("");
    let mut sent = 0;
    for side in SIDES {
        for broken in
            ["zz\r\n", "3\r\nabcX\r\n0\r\n\r\n", "-1\r\n", "fffffffffffffffff\r\n", "3 \0\r\nabc\r\n"]
        {
            sent += 1;
            mesh.runtime.block_on(async {
                let mut client = RawClient::connect(mesh.at(side)).await;
                let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n";
                client.send(format!("{head}{broken}")).await;
                let (bytes, _) = client.read_to_end().await;
                let text = String::from_utf8_lossy(&bytes).into_owned();
                assert!(!text.starts_with("HTTP/1.1 2"), "{side:?} {broken:?}: {text}");
            });
            // The request may have been cut before its head went out; if it went out, it never ends.
            for request in mesh.backend.take() {
                assert!(!request.whole, "{side:?} {broken:?}: {request:?}");
                assert!(!request.body().contains("0\r\n\r\n"), "{side:?} {broken:?}: {request:?}");
            }
            // A cut request is seen when its connection ends, which may be a little later: only the sum is sure.
            assert!(mesh.backend.count() <= sent, "{side:?} {broken:?}: sent again");
        }
    }
}

#[test]
fn neighbours_fields() {
    let mesh = Mesh::start("");
    run(
        &mesh,
        &[
            (
                "listed",
                "GET / HTTP/1.1\r\n{B}Connection: X-A, x-b\r\nX-A: 1\r\nX-B: 2\r\nX-C: 3\r\n\r\n",
                Passed("GET / HTTP/1.1", &["x-c: 3"], ""),
            ),
            (
                "ours cannot be listed",
                "GET / HTTP/1.1\r\n{B}Connection: X-Forwarded-For, X-Forwarded-Proto, Host, Content-Length\r\nX-Forwarded-For: 6.6.6.6\r\nContent-Length: 2\r\n\r\nok",
                Passed("GET / HTTP/1.1", &["content-length: 2"], "ok"),
            ),
            (
                "hop by hop",
                "GET / HTTP/1.1\r\n{B}Connection: keep-alive\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\nProxy-Authorization: Basic eA==\r\nTE: gzip\r\n\r\n",
                Passed("GET / HTTP/1.1", &[], ""),
            ),
            (
                "te: trailers",
                "GET / HTTP/1.1\r\n{B}Connection: TE\r\nTE: trailers\r\n\r\n",
                Passed("GET / HTTP/1.1", &["te: trailers"], ""),
            ),
            (
                "h2c",
                "GET / HTTP/1.1\r\n{B}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
                Passed("GET / HTTP/1.1", &[], ""),
            ),
            (
                "websocket",
                "GET / HTTP/1.1\r\n{B}Connection: close, Upgrade\r\nUpgrade: websocket, h2c\r\n\r\n",
                Passed("GET / HTTP/1.1", &["connection: upgrade", "upgrade: websocket"], ""),
            ),
            (
                "websocket for somebody else",
                "GET / HTTP/1.1\r\n{B}Upgrade: websocket\r\n\r\n",
                Passed("GET / HTTP/1.1", &[], ""),
            ),
            (
                "identity",
                "GET / HTTP/1.1\r\n{B}X-Forwarded-Client-Cert: By=x\r\nX_Forwarded_Client_Cert: By=y\r\nx.forwarded.client.cert: By=z\r\n\r\n",
                Passed(
                    "GET / HTTP/1.1",
                    &[
                        "out:x-forwarded-client-cert: By=x",
                        "out:x_forwarded_client_cert: By=y",
                        "out:x.forwarded.client.cert: By=z",
                    ],
                    "",
                ),
            ),
            (
                "x-outrigger",
                "GET / HTTP/1.1\r\n{B}X-Outrigger-Attempt: 3\r\nX_Outrigger_Timeout_Ms: 5\r\nX-Outrigger-Orig-Proto: x\r\nx.outrigger.peer: x\r\n\r\n",
                Passed("GET / HTTP/1.1", &[], ""),
            ),
            (
                "cookies of HTTP/1",
                "GET / HTTP/1.1\r\n{B}Cookie: a=1\r\nCookie: b=2\r\n\r\n",
                Passed("GET / HTTP/1.1", &["cookie: a=1", "cookie: b=2"], ""),
            ),
        ],
    );
}

#[test]
fn the_peer_is_appended_for_the_app() {
    let mesh = Mesh::start("");
    mesh.call(
        Side::Inbound,
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\n\r\n",
    );
    let request = &mesh.backend.take()[0];
    assert!(request.fields().contains(&"x-forwarded-for: 1.1.1.1, 2.2.2.2, 127.0.0.1"), "{request:?}");
    let id =
        request.fields().into_iter().find_map(|field| field.strip_prefix("x-request-id: ").map(str::len));
    assert_eq!(id, Some(36), "{request:?}");
}

#[test]
fn paths() {
    let mesh = Mesh::start("");
    run(
        &mesh,
        &[
            (
                "canonical",
                "GET /a/../b//c/%2e%2E/./d?x=/../ HTTP/1.1\r\n{B}\r\n",
                Passed("GET /b/d?x=/../ HTTP/1.1", &[], ""),
            ),
            (
                "unreserved",
                "GET /%61%7E/caf%c3%a9 HTTP/1.1\r\n{B}\r\n",
                Passed("GET /a~/caf%C3%A9 HTTP/1.1", &[], ""),
            ),
            ("fragment", "GET /a?b#c HTTP/1.1\r\n{B}\r\n", Passed("GET /a?b HTTP/1.1", &[], "")),
            ("fragment in the path", "GET /a#/../b HTTP/1.1\r\n{B}\r\n", Passed("GET /a HTTP/1.1", &[], "")),
            ("climbing", "GET /../a HTTP/1.1\r\n{B}\r\n", Ours(400, "invalid_path")),
            ("climbing in disguise", "GET /%2e%2e/a HTTP/1.1\r\n{B}\r\n", Ours(400, "invalid_path")),
            ("not ASCII", "GET /\u{e9} HTTP/1.1\r\n{B}\r\n", Ours(400, "invalid_path")),
            ("NUL", "GET /a\0 HTTP/1.1\r\n{B}\r\n", Parser(400)),
            ("escaped NUL", "GET /a%00 HTTP/1.1\r\n{B}\r\n", Ours(400, "invalid_path")),
            ("broken escape", "GET /a%zz HTTP/1.1\r\n{B}\r\n", Ours(400, "invalid_path")),
            ("escaped slash", "GET /a%2fb HTTP/1.1\r\n{B}\r\n", Passed("GET /a%2Fb HTTP/1.1", &[], "")),
        ],
    );
}

/// Where a route decides by path, nothing passes that servers split differently.
#[test]
fn paths_under_a_path_policy() {
    let mesh = Mesh::start(ROUTE);
    for path in ["/a%2fb", "/a%2Fb", "/a%5cb", "/a/..;/b", "/a/%2e%2e;x/b"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = mesh.call(Side::Outbound, request.as_bytes());
        assert_eq!(
            (answer.status(), answer.field("x-outrigger-error")),
            (400, Some("invalid_path")),
            "{path}"
        );
    }
    assert_eq!(mesh.call(Side::Outbound, b"GET /a/b;v=1 HTTP/1.1\r\nHost: a\r\n\r\n").status(), 200);
}

#[test]
fn sizes() {
    let mesh = Mesh::start("");
    let uri = |length: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(length - 1));
    let bytes = |length: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX-A: {}\r\n\r\n", "a".repeat(length));
    let count = |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X-A: 1\r\n".repeat(count - 1));
    for side in SIDES {
        for (request, status, reason) in [
            (uri(16 * 1024), 200, None),
            (uri(16 * 1024 + 1), 414, Some("uri_too_long")),
            (bytes(60 * 1024 - 100), 200, None),
            (bytes(60 * 1024 + 1), 431, Some("header_too_large")),
            (bytes(200 * 1024), 431, None),
            (count(100), 200, None),
            (count(101), 431, Some("header_too_large")),
            (count(400), 431, None),
        ] {
            let answer = mesh.call(side, request.as_bytes());
            let what = format!("{side:?}, {} bytes", request.len());
            assert_eq!((answer.status(), answer.field("x-outrigger-error")), (status, reason), "{what}");
        }
    }
}

/// An HTTP/1.0 request needs no Host; it means what stands behind the listener.
#[test]
fn http10_without_host() {
    let mesh = Mesh::start("");
    for side in SIDES {
        assert_eq!(mesh.call(side, b"GET / HTTP/1.0\r\n\r\n").status(), 200, "{side:?}");
        let host = match side {
            Side::Inbound => format!("host: {}", mesh.backend.address()),
            Side::Outbound => "host: backend.default:80".to_owned(),
        };
        let request = &mesh.backend.take()[0];
        assert!(request.fields().contains(&host.as_str()), "{side:?}: {request:?}");
    }
}

/// HTTP/1.0 knows no chunks: the answer has a length, or ends with the connection.
#[test]
fn http10_callers_get_no_chunks() {
    let mesh = Mesh::start("");
    mesh.backend.answer("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    for side in SIDES {
        let (text, _) = mesh.runtime.block_on(exchange(mesh.at(side), "GET / HTTP/1.0\r\nHost: a\r\n\r\n"));
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.0 200"), "{side:?}: {text}");
        assert!(!head.contains("transfer-encoding"), "{side:?}: {text}");
        assert_eq!(body, "ok", "{side:?}");
    }
}

/// Answers that have no body end with their head, whatever their fields say.
#[test]
fn bodiless_answers_do_not_hang() {
    let mesh = Mesh::start("");
    for side in SIDES {
        for (method, answer, status) in [
            ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", "HTTP/1.1 200"),
            ("HEAD", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "HTTP/1.1 200"),
            ("GET", "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 204"),
            ("GET", "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", "HTTP/1.1 304"),
        ] {
            mesh.backend.answer(answer);
            let request = format!("{method} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            let (text, _) = mesh.runtime.block_on(exchange(mesh.at(side), request));
            assert!(
                text.starts_with(status) && text.ends_with("\r\n\r\n"),
                "{side:?} {method} {answer:?}: {text}"
            );
        }
    }
}

/// A refusal of a HEAD has no body either; one of a gRPC call has gRPC's form.
#[test]
fn refusals_take_the_callers_form() {
    let mesh = Mesh::start("");
    for side in SIDES {
        let (text, _) = mesh
            .runtime
            .block_on(exchange(mesh.at(side), "HEAD /%00 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
        assert!(text.starts_with("HTTP/1.1 400") && text.ends_with("\r\n\r\n"), "{side:?}: {text}");
        let call =
            b"POST /%00 HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n";
        let answer = mesh.call(side, call);
        assert_eq!(answer.status(), 200, "{side:?}: {}", answer.head);
        assert_eq!(answer.field("grpc-status"), Some("13"));
        assert_eq!(answer.field("x-outrigger-error"), Some("invalid_path"));
        assert_eq!(answer.body, "");
    }
}

/// What may not be a trailer is none; the others pass where they were announced.
#[test]
fn request_trailers() {
    let mesh = Mesh::start("");
    let request = "POST / HTTP/1.1\r\nHost: a\r\nX-Request-Id: r\r\nTransfer-Encoding: chunked\r\n\
        Trailer: x-sum, x-outrigger-attempt, x_forwarded_client_cert, content-length, host\r\n\r\n3\r\nabc\r\n0\r\n\
        x-sum: 1\r\nx-outrigger-attempt: 1\r\nx_forwarded_client_cert: By=x\r\ncontent-length: 3\r\nhost: b\r\n\r\n";
    for side in SIDES {
        let answer = mesh.call(side, request.as_bytes());
        assert_eq!(answer.status(), 200, "{side:?}: {}", answer.head);
        let request = &mesh.backend.take()[0];
        assert_eq!(request.body(), "3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n", "{side:?}");
    }
}

#[test]
fn expect_continue() {
    let mesh = Mesh::start("");
    for side in SIDES {
        let came = mesh.backend.count();
        mesh.runtime.block_on(async {
            let mut client = RawClient::connect(mesh.at(side)).await;
            client
                .send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
                .await;
            let text = String::from_utf8_lossy(&client.read_until("\r\n\r\n").await).into_owned();
            assert!(text.starts_with("HTTP/1.1 100"), "{side:?}: {text}");
            client.send("abc").await;
            client.read_until("HTTP/1.1 200").await;
            mesh.backend.wait(came + 1).await;
        });
        assert_eq!(mesh.backend.take()[0].body(), "abc");
    }
}

/// A final answer before the body was asked for ends the connection: the body never comes, and is never sent.
#[test]
fn an_early_answer_needs_no_body() {
    let runtime = Runtime::new().expect("an event loop");
    runtime.block_on(async {
        let full = b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n";
        let backend = RawBackend::start(Reply::EachHead(full.to_vec())).await;
        let (app, _files) = tokio::task::block_in_place(|| start(&policy(backend.address())));
        for to in [app.inbound(0), app.outbound(0)] {
            let mut client = RawClient::connect(to.expect("a listener")).await;
            client
                .send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
                .await;
            let (bytes, _) = client.read_to_end().await;
            let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
            assert!(text.starts_with("http/1.1 413"), "{text}");
            assert!(text.contains("connection: close"), "{text}");
        }
        assert!(!backend.text().contains("abc"));
        tokio::task::block_in_place(|| drop(app));
    });
}

/// Interim answers are not passed on over HTTP/1, and do not disturb the one that follows.
#[test]
fn interim_answers() {
    let mesh = Mesh::start("");
    mesh.backend.answer(
        "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    );
    for side in SIDES {
        let answer = mesh.call(side, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!((answer.status(), answer.body.as_str()), (200, "ok"), "{side:?}: {}", answer.head);
    }
}

/// The same rules for what an upstream says.
#[test]
fn answers() {
    let mesh = Mesh::start("");
    let get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for side in SIDES {
        mesh.backend.answer(
            "HTTP/1.1 200 OK\r\nConnection: x-a\r\nX-A: 1\r\nKeep-Alive: timeout=5\r\nX-Outrigger-Error: forged\r\nX_Outrigger_Overloaded: forged\r\nContent-Length: 2\r\nContent-Length: 2\r\nServer: s\r\n\r\nok",
        );
        let answer = mesh.call(side, get);
        assert_eq!((answer.status(), answer.body.as_str()), (200, "ok"), "{side:?}: {}", answer.head);
        let mut fields: Vec<&str> = answer.head.split("\r\n").skip(1).collect();
        fields.sort_unstable();
        assert_eq!(fields, ["content-length: 2", "server: s"], "{side:?}");

        for doubtful in
            ["Content-Length: 2\r\nContent-Length: 3", "Content-Length: x", "Transfer-Encoding: gzip"]
        {
            mesh.backend.answer(format!("HTTP/1.1 200 OK\r\n{doubtful}\r\n\r\nok"));
            let answer = mesh.call(side, get);
            assert_eq!(
                (answer.status(), answer.field("x-outrigger-error")),
                (502, Some("upstream_protocol")),
                "{side:?} {doubtful:?}: {}",
                answer.head
            );
        }
    }
}
