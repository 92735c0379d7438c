//! The strict request check for HTTP/2 callers: raw frames into a real proxy, and the bytes that an HTTP/1 backend got.
//!
//! The frames are written by hand, because a client library would not send most of these heads. Heads that h2 refuses
//! by itself end their stream; the others are refused by us, with a status.

use std::{net::SocketAddr, time::Duration};

use outrigger_proxy::app::{App, Options};
use outrigger_tests::{
    raw::RawClient,
    verbatim::{Request, Verbatim},
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

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
        let files = tempfile::tempdir().expect("a folder");
        let path = files.path().join("policy.yaml");
        std::fs::write(&path, policy(backend.address()) + more).expect("a file");
        let mut options = Options::new(vec![path]);
        options.workers = Some(1);
        let app = App::start(options).unwrap_or_else(|error| panic!("{error}"));
        Self { app, backend, runtime, _files: files }
    }

    fn at(&self, side: Side) -> SocketAddr {
        match side {
            Side::Inbound => self.app.inbound(0),
            Side::Outbound => self.app.outbound(0),
        }
        .expect("the policy has one listener a side")
    }

    fn call(&self, side: Side, fields: &[(&str, &str)], body: Option<&str>) -> Outcome {
        self.runtime.block_on(async {
            let mut client = RawClient::connect(self.at(side)).await;
            let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, b"")].concat();
            let end = if body.is_none() { END_STREAM } else { 0 };
            bytes.extend(headers(end, &block(fields)));
            if let Some(body) = body {
                bytes.extend(frame(DATA, END_STREAM, 1, body.as_bytes()));
            }
            client.send(bytes).await;
            outcome(&mut client).await
        })
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a test's frame is small");
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block in frames of at most 16 KiB.
fn headers(flags: u8, block: &[u8]) -> Vec<u8> {
    let mut pieces = block.chunks(16 * 1024).peekable();
    let (mut bytes, mut kind, mut flags) = (Vec::new(), HEADERS, flags);
    while let Some(piece) = pieces.next() {
        let last = if pieces.peek().is_none() { END_HEADERS } else { 0 };
        bytes.extend(frame(kind, flags | last, 1, piece));
        (kind, flags) = (CONTINUATION, 0);
    }
    bytes
}

/// A header block of literals without indexing (RFC 7541 6.2.2), so that any name and value can stand in it.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            integer(text.len(), &mut block);
            block.extend(text.as_bytes());
        }
    }
    block
}

/// An integer with a prefix of seven bits (RFC 7541 5.1).
fn integer(mut number: usize, into: &mut Vec<u8>) {
    if number < 127 {
        return into.push(number as u8);
    }
    into.push(127);
    number -= 127;
    while number >= 128 {
        into.push((number % 128 + 128) as u8);
        number /= 128;
    }
    into.push(number as u8);
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Status(u16),
    /// The stream or the connection was ended by h2.
    Refused,
}

use Outcome::{Refused, Status};

/// Reads frames until stream 1 is answered or refused.
async fn outcome(client: &mut RawClient) -> Outcome {
    let mut at = 0;
    let mut bytes = Vec::new();
    loop {
        while bytes.len() < at + 9 || bytes.len() < at + 9 + length(&bytes[at..]) {
            let Some(more) = client.read_more().await else { return Refused };
            bytes = more;
        }
        let payload = &bytes[at + 9..at + 9 + length(&bytes[at..])];
        match bytes[at + 3] {
            HEADERS => return Status(status(payload)),
            RST_STREAM | GOAWAY => return Refused,
            _ => at += 9 + payload.len(),
        }
    }
}

fn length(frame: &[u8]) -> usize {
    u32::from_be_bytes([0, frame[0], frame[1], frame[2]]) as usize
}

/// The status, which is the first field of an answer's block: an entry of the static table, or a literal with a name of
/// it and three digits, in Huffman code or not.
fn status(block: &[u8]) -> u16 {
    let block = match block {
        // Size updates of the dynamic table come first.
        [0x20..=0x3e, rest @ ..] | [0x3f, _, _, rest @ ..] => rest,
        block => block,
    };
    match block {
        [index @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500][usize::from(index - 0x88)],
        [0x48 | 0x08, 3, digits @ ..] => {
            std::str::from_utf8(&digits[..3]).expect("digits").parse().expect("a status")
        }
        [0x48 | 0x08, length, code @ ..] => huffman_digits(&code[..usize::from(length & 0x7f)]),
        block => panic!("not a status: {block:02x?}"),
    }
}

/// `0`, `1` and `2` have five bits in HPACK's code, the other digits six.
fn huffman_digits(code: &[u8]) -> u16 {
    let bits = code.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (32 - 8 * code.len());
    let (mut bits, mut number) = (bits, 0);
    for _ in 0..3 {
        let (digit, width) = match bits >> 27 {
            short @ 0..=2 => (short, 5),
            _ => ((bits >> 26) - 0b01_1001 + 3, 6),
        };
        number = number * 10 + digit as u16;
        bits <<= width;
    }
    number
}

/// A head with these fields after the four that every request has.
fn head<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut fields = vec![(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
    fields.extend(more);
    fields.push(("x-request-id", "r"));
    fields
}

/// The same, with other pseudo fields.
fn pseudo<'a>(pseudo: &[(&'a str, &'a str)], more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut fields = vec![(":method", "GET"), (":scheme", "http")];
    fields.extend(pseudo);
    fields.extend(more);
    fields.push(("x-request-id", "r"));
    fields
}

fn expect_at_backend(request: &Request, line: &str, fields: &[&str], side: Side) -> Result<(), String> {
    let mut expected = fields.to_vec();
    expected.push("x-request-id: r");
    if side == Side::Inbound {
        expected.extend(["x-forwarded-for: 127.0.0.1", "x-forwarded-proto: http"]);
    }
    expected.sort_unstable();
    if !request.whole || request.line() != line || request.fields() != expected {
        return Err(format!("expected {line:?} {expected:?}, the backend got {request:?}"));
    }
    Ok(())
}

#[test]
fn what_passes() {
    let mesh = Mesh::start("");
    let cert =
        [("x-forwarded-client-cert", "By=x"), ("x_outrigger_attempt", "1"), ("x-outrigger-attempt", "1")];
    type Row<'a> = (&'a str, Vec<(&'a str, &'a str)>, &'a str, &'a [&'a str]);
    let rows: [Row<'_>; 8] = [
        ("plain", head(&[]), "GET / HTTP/1.1", &["host: a"]),
        (":authority wins", head(&[("host", "b")]), "GET / HTTP/1.1", &["host: a"]),
        ("host alone", pseudo(&[(":path", "/")], &[("host", "b:81")]), "GET / HTTP/1.1", &["host: b:81"]),
        (
            "one path",
            pseudo(&[(":authority", "a"), (":path", "/a/../b//c/%2e%2e/d?x=//")], &[]),
            "GET /b/d?x=// HTTP/1.1",
            &["host: a"],
        ),
        (
            "fragment",
            pseudo(&[(":authority", "a"), (":path", "/a?b#c")], &[]),
            "GET /a?b HTTP/1.1",
            &["host: a"],
        ),
        (
            "crumbs",
            head(&[("cookie", "a=1"), ("cookie", "b=2")]),
            "GET / HTTP/1.1",
            &["cookie: a=1; b=2", "host: a"],
        ),
        ("te", head(&[("te", "trailers")]), "GET / HTTP/1.1", &["host: a", "te: trailers"]),
        ("ours", head(&cert[1..]), "GET / HTTP/1.1", &["host: a"]),
    ];
    let mut failures = Vec::new();
    for (name, fields, line, expected) in rows {
        for side in SIDES {
            let outcome = mesh.call(side, &fields, None);
            let requests = mesh.backend.take();
            let judged = match requests.as_slice() {
                [request] if outcome == Status(200) => expect_at_backend(request, line, expected, side),
                requests => Err(format!("{outcome:?}, the backend got {requests:?}")),
            };
            failures.extend(judged.err().map(|what| format!("{name}, {side:?}: {what}")));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));

    assert_eq!(mesh.call(Side::Inbound, &head(&cert), None), Status(200));
    let request = &mesh.backend.take()[0];
    assert!(!request.text.contains("client-cert"), "{request:?}");
}

#[test]
fn what_is_refused() {
    let mesh = Mesh::start("");
    let path = |path| pseudo(&[(":authority", "a"), (":path", path)], &[]);
    let long = "a".repeat(61 * 1024);
    let uri = format!("/{}", "a".repeat(16 * 1024));
    let many = vec![("x-a", "1"); 101];
    let connect = vec![(":method", "CONNECT"), (":authority", "a:80")];
    let options = vec![(":method", "OPTIONS"), (":scheme", "http"), (":authority", "a"), (":path", "*")];
    let rows = [
        ("no authority", pseudo(&[(":path", "/")], &[]), Status(400)),
        ("two hosts", head(&[("host", "a"), ("host", "a")]), Status(400)),
        ("user in the authority", pseudo(&[(":authority", "u@a"), (":path", "/")], &[]), Status(400)),
        ("empty authority", pseudo(&[(":authority", ""), (":path", "/")], &[]), Refused),
        ("different lengths", head(&[("content-length", "0"), ("content-length", "1")]), Refused),
        ("list of lengths", head(&[("content-length", "0, 0")]), Refused),
        ("transfer-encoding", head(&[("transfer-encoding", "chunked")]), Refused),
        ("connection", head(&[("connection", "x-a")]), Refused),
        ("te: gzip", head(&[("te", "gzip")]), Refused),
        ("upper case", head(&[("X-A", "1")]), Refused),
        ("line end in a value", head(&[("x-a", "1\r\nx-b: 2")]), Refused),
        ("climbing", path("/../a"), Status(400)),
        ("not ASCII", path("/\u{e9}"), Status(400)),
        ("escaped NUL", path("/a%00"), Status(400)),
        ("NUL", path("/a\0"), Refused),
        ("no slash", path("a"), Refused),
        ("connect", connect, Status(405)),
        ("asterisk", options, Status(405)),
        ("long uri", path(&uri), Status(414)),
        ("large head", head(&[("x-a", &long)]), Status(431)),
        ("many fields", head(&many), Status(431)),
    ];
    let mut failures = Vec::new();
    for (name, fields, expected) in rows {
        for side in SIDES {
            let outcome = mesh.call(side, &fields, None);
            let requests = mesh.backend.take();
            if outcome != expected || !requests.is_empty() {
                failures.push(format!("{name}, {side:?}: {outcome:?}, the backend got {requests:?}"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// A body whose length is not what was promised is cut upstream, not ended.
#[test]
fn a_body_that_breaks_its_length_is_not_ended() {
    let mesh = Mesh::start("");
    for side in SIDES {
        for body in ["ab", "abcd"] {
            let fields = [
                (":method", "POST"),
                (":scheme", "http"),
                (":authority", "a"),
                (":path", "/"),
                ("content-length", "3"),
            ];
            assert_eq!(mesh.call(side, &fields, Some(body)), Refused, "{side:?} {body}");
            for request in mesh.backend.take() {
                assert!(!request.whole, "{side:?} {body}: {request:?}");
            }
        }
    }
}

const QUICK: &str = r#"
---
apiVersion: outrigger.dev/v1alpha1
kind: Mesh
metadata: {name: default}
spec:
  limits: {headerTimeout: 200ms}
"#;

/// Fifty header timeouts, and less than what the harness waits for anything.
const BOUND: Duration = Duration::from_secs(10);

/// Heads that never end are not waited for, in either protocol, wherever they stall.
#[test]
fn heads_that_stall() {
    let mesh = Mesh::start(QUICK);
    let settings = frame(SETTINGS, 0, 0, b"");
    let open = frame(HEADERS, END_STREAM, 1, &block(&head(&[])));
    let whole = frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&head(&[])));
    for (name, bytes) in [
        ("silence", vec![]),
        ("half a preface", PREFACE[..10].to_vec()),
        ("a preface alone", PREFACE.to_vec()),
        ("settings alone", [PREFACE, &settings].concat()),
        ("half a frame header", [PREFACE, &settings, &open[..5]].concat()),
        ("half a block", [PREFACE, &settings, &whole[..20]].concat()),
        ("a block without end", [PREFACE, &settings, &open].concat()),
        (
            "a block without end, after a request",
            [PREFACE, &settings, &whole, &frame(HEADERS, END_STREAM, 3, b"")].concat(),
        ),
        ("a request line", b"GET / HTTP/1.1\r\n".to_vec()),
        ("half a head", b"GET / HTTP/1.1\r\nHost: a\r\nX-A".to_vec()),
        ("half a head after a request", b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HT".to_vec()),
    ] {
        for side in SIDES {
            let ended = mesh.runtime.block_on(async {
                let mut client = RawClient::connect(mesh.at(side)).await;
                client.send(&bytes).await;
                tokio::time::timeout(BOUND, client.read_to_end()).await.is_ok()
            });
            assert!(ended, "{name}, {side:?}");
        }
    }
}
