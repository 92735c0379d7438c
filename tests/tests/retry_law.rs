//! The retry law on HTTP/1, through real proxies: what may be sent again is, what may have been done once is not, and a
//! caller is never shown a part as the whole.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use outrigger_tests::{
    backend::{Answer as Says, Backend, Fault},
    client::Client,
    mesh::{Proxy, pinned, service, traffic},
    raw::exchange,
    wait::within,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// Lists every condition, with a budget that is never the reason.
const EAGER: &str = "attempts: 3, on: [connect-failure, refused-stream, reset, gateway-error, 5xx], \
                     backoff: {base: 1ms, max: 1ms}, budget: {minPerSecond: 10000}";

fn policy(retry: &str, endpoints: &[SocketAddr]) -> String {
    let web = service("web", "http1", endpoints);
    pinned("web", &[&web, &traffic("web", &format!("  retry: {{{retry}}}\n"))])
}

/// A backend that fails its first `times` requests as `fault` says and answers the others with their body.
async fn failing(times: usize, fault: Says) -> Backend {
    let backend = Backend::http1("web").await;
    backend.answer(move |seen| if seen.index < times { fault.clone() } else { Says::echo() });
    backend
}

async fn denied(proxy: &Proxy, reason: &str) -> f64 {
    proxy.metrics().await.sum("outrigger_retries_denied_total", &[("reason", reason)])
}

// A peer that breaks off at a byte.

/// How a [`Cutter`] ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// RST once this many bytes of a request have come.
    Request(usize),
    /// RST after this many bytes of the answer.
    Answer(usize),
    /// FIN after this many bytes of the answer.
    Truncate(usize),
}

/// A server that ends every connection in the middle, and counts the connections on which a request began.
struct Cutter {
    address: SocketAddr,
    began: Arc<AtomicUsize>,
    plan: watch::Sender<(Cut, &'static [u8])>,
    accept: JoinHandle<()>,
}

impl Cutter {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let began = Arc::new(AtomicUsize::new(0));
        let plan = watch::Sender::new((Cut::Request(0), &b""[..]));
        let (count, plans) = (began.clone(), plan.subscribe());
        let accept = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (cut, answer) = *plans.borrow();
                // Each connection is a request; what the peer makes of its end is what the test looks at.
                tokio::spawn(cut_off(stream, cut, answer, count.clone()));
            }
        });
        Self { address, began, plan, accept }
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

async fn cut_off(
    mut stream: TcpStream,
    cut: Cut,
    answer: &[u8],
    began: Arc<AtomicUsize>,
) -> std::io::Result<()> {
    let most = if let Cut::Request(bytes) = cut { bytes } else { usize::MAX };
    let mut got = Vec::new();
    while got.len() < most && !got.ends_with(BODY) {
        let mut buffer = vec![0; (most - got.len()).min(4096)];
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            break;
        }
        if got.is_empty() {
            began.fetch_add(1, Relaxed);
        }
        got.extend_from_slice(&buffer[..count]);
    }
    match cut {
        Cut::Request(_) => stream.set_zero_linger()?,
        Cut::Answer(bytes) => {
            stream.write_all(&answer[..bytes]).await?;
            stream.set_zero_linger()?;
        }
        Cut::Truncate(bytes) => {
            stream.write_all(&answer[..bytes]).await?;
            stream.shutdown().await?;
        }
    }
    Ok(())
}

const BODY: &[u8] = b"the-body-of-the-order-ends-here";
const LENGTH: &[u8] =
    b"HTTP/1.1 200 OK\r\nx-a: b\r\ncontent-length: 40\r\n\r\n0123456789012345678901234567890123456789";
const CHUNKED: &[u8] =
    b"HTTP/1.1 200 OK\r\nx-a: b\r\ntransfer-encoding: chunked\r\n\r\n14\r\n01234567890123456789\r\n14\r\n01234567890123456789\r\n0\r\n\r\n";
const UNTIL_CLOSE: &[u8] = b"HTTP/1.1 200 OK\r\nx-a: b\r\n\r\n0123456789012345678901234567890123456789";

/// What a caller makes of an answer that came as these bytes.
fn looks_complete(text: &str) -> bool {
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let head = head.to_ascii_lowercase();
    if let Some((_, length)) = head.split_once("content-length: ") {
        let length: usize = length.lines().next().unwrap_or_default().parse().expect("a length");
        return body.len() >= length;
    }
    if head.contains("transfer-encoding: chunked") {
        return body.ends_with("0\r\n\r\n");
    }
    true
}

/// Sends a POST through the proxy to the cutter and checks what the law and the caller's eyes ask for.
async fn check(proxy: &Proxy, cutter: &Cutter, cut: Cut, answer: &'static [u8]) {
    cutter.plan.send_replace((cut, answer));
    let before = cutter.began.load(Relaxed);
    let mut request = format!(
        "POST /order HTTP/1.1\r\nhost: web\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        BODY.len()
    )
    .into_bytes();
    request.extend_from_slice(BODY);
    let (text, _) = exchange(proxy.outbound(0), request).await;
    let began = cutter.began.load(Relaxed) - before;
    assert!(began <= 1, "{cut:?}: the POST was sent {began} times");
    if text.starts_with("HTTP/1.1 503") {
        // A reset that comes with the accept is seen by the connect itself.
        let unmade = cut == Cut::Request(0) && text.contains("x-outrigger-error: connect_failed");
        assert!(unmade || text.contains("x-outrigger-error: upstream_reset"), "{cut:?}: {text}");
    } else {
        // An end that came together with the head can cut the answer before its first byte has gone out.
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 200"), "{cut:?}: {text}");
        assert!(!looks_complete(&text), "{cut:?}: the caller takes this for the whole answer: {text}");
    }
}

#[tokio::test]
async fn a_reset_at_any_byte_of_a_post_never_sends_it_twice() {
    let cutter = Cutter::start().await;
    let proxy = Proxy::start(&policy(EAGER, &[cutter.address])).await;
    // The head that goes out is a little over a hundred bytes, the body follows.
    for offset in 0..160 {
        check(&proxy, &cutter, Cut::Request(offset), b"").await;
    }
}

#[tokio::test]
async fn an_answer_cut_at_any_byte_never_looks_complete() {
    let cutter = Cutter::start().await;
    let proxy = Proxy::start(&policy(EAGER, &[cutter.address])).await;
    for answer in [LENGTH, CHUNKED, UNTIL_CLOSE] {
        for offset in 0..answer.len() {
            check(&proxy, &cutter, Cut::Answer(offset), answer).await;
            // The end of the connection is the proper end of an answer without a length.
            if answer != UNTIL_CLOSE || offset < answer.len() - 40 {
                check(&proxy, &cutter, Cut::Truncate(offset), answer).await;
            }
        }
    }
}

// What may be repeated.

#[tokio::test]
async fn a_refused_connection_costs_no_request_while_another_endpoint_is_up() {
    let refusing = tokio::net::TcpSocket::new_v4().expect("a socket");
    refusing.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let dead = refusing.local_addr().expect("it is bound");
    let alive = failing(0, Says::echo()).await;
    // Without any TrafficPolicy.
    let web = service("web", "http1", &[dead, alive.address()]);
    let proxy = Proxy::start(&pinned("web", &[&web])).await;
    let mut client = Client::http1(proxy.outbound(0), "web").await;
    for number in 0..40 {
        let body = format!("order {number}");
        let answer = client.post("/", body.clone()).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, body), "{answer:?}");
    }
    assert_eq!(alive.requests(), 40);
    let met = proxy.metrics().await.sum("outrigger_retries_total", &[("reason", "connect-failure")]);
    assert!(met > 0.0, "the dead endpoint was never chosen");

    let proxy = Proxy::start(&pinned("web", &[&service("web", "http1", &[dead])])).await;
    let answer = Client::http1(proxy.outbound(0), "web").await.post("/", "x").await;
    assert_eq!((answer.status.as_u16(), answer.header("x-outrigger-error")), (503, "connect_failed"));
}

#[tokio::test]
async fn a_get_is_repeated_on_what_is_listed_and_on_nothing_else() {
    let reset = || Says::fail(Fault::Reset);
    let cases = [
        ("gateway-error", Says::status(503), true),
        ("gateway-error", Says::status(502), true),
        ("gateway-error", Says::status(500), false),
        ("gateway-error", reset(), false),
        ("5xx", Says::status(500), true),
        ("5xx", Says::status(429), false),
        ("reset", reset(), true),
        ("reset", Says::fail(Fault::Close), true),
        ("reset", Says::status(503), false),
        ("retriable-status", Says::status(409), true),
        ("retriable-status", Says::status(503), false),
        ("retriable-status", reset(), false),
    ];
    for (on, fault, repeated) in cases {
        let statuses = if on == "retriable-status" { ", statuses: [409]" } else { "" };
        let retry = format!("attempts: 1, on: [{on}]{statuses}, backoff: {{base: 1ms, max: 1ms}}");
        let backend = failing(1, fault.clone()).await;
        let proxy = Proxy::start(&policy(&retry, &[backend.address()])).await;
        let answer = Client::http1(proxy.outbound(0), "web").await.get("/").await;
        assert_eq!(answer.status == 200, repeated, "{on} {fault:?}: {answer:?}");
        assert_eq!(backend.requests(), 1 + usize::from(repeated), "{on} {fault:?}");

        let backend = failing(1, fault.clone()).await;
        let proxy = Proxy::start(&policy(&retry, &[backend.address()])).await;
        let answer = Client::http1(proxy.outbound(0), "web").await.post("/", "x").await;
        assert_ne!(answer.status, 200, "{on} {fault:?}: a POST is not repeated: {answer:?}");
        assert_eq!(backend.requests(), 1, "{on} {fault:?}");
        assert_eq!(denied(&proxy, "law").await, f64::from(u8::from(repeated)), "{on} {fault:?}");
    }
}

#[tokio::test]
async fn an_idempotent_post_is_repeated_with_its_whole_body() {
    let body: String = (0..6000).map(|number| format!("{number:08}|")).collect();
    let faults = [
        Says::status(503),
        Says::fail(Fault::Reset),
        // Refused before the body has come.
        Says::status(503).early(),
        Says::fail(Fault::Reset).early(),
    ];
    for fault in faults {
        let backend = failing(2, fault.clone()).await;
        let proxy = Proxy::start(&policy(&format!("{EAGER}, idempotent: true"), &[backend.address()])).await;
        let to = proxy.outbound(0);
        for mut client in [Client::http1(to, "web").await, Client::http2(to, "web").await] {
            let answer = client.post("/", body.clone()).await;
            assert_eq!(answer.status, 200, "{fault:?}: {answer:?}");
            assert!(answer.body == body, "{fault:?}: {} bytes of {}", answer.body.len(), body.len());
        }
        assert_eq!(backend.requests(), 4, "{fault:?}");
    }
}

#[tokio::test]
async fn a_body_above_the_replay_buffer_is_sent_once() {
    let mesh = "apiVersion: outrigger.dev/v1alpha1\nkind: Mesh\nmetadata: {name: default}\n\
                spec: {limits: {replayBytes: 1024}}\n";
    for (bytes, requests) in [(1024, 2), (1025, 1), (100_000, 1)] {
        let backend = failing(1, Says::status(503)).await;
        let text = policy(&format!("{EAGER}, idempotent: true"), &[backend.address()]) + "---\n" + mesh;
        let proxy = Proxy::start(&text).await;
        let answer = Client::http1(proxy.outbound(0), "web").await.post("/", "x".repeat(bytes)).await;
        assert_eq!(answer.status == 200, requests == 2, "{bytes}: {answer:?}");
        assert_eq!(backend.requests(), requests, "{bytes}");
        assert_eq!(denied(&proxy, "replay_overflow").await, f64::from(u8::from(requests == 1)), "{bytes}");
    }
}

// What bounds the repeats.

#[tokio::test]
async fn attempts_are_bounded() {
    for (attempts, fault, status) in [
        (0, Says::status(503), 503),
        (1, Says::status(503), 503),
        (4, Says::status(502), 502),
        (4, Says::fail(Fault::Reset), 503),
    ] {
        let backend = failing(usize::MAX, fault).await;
        let retry =
            format!("attempts: {attempts}, on: [gateway-error, reset], backoff: {{base: 1ms, max: 1ms}}");
        let proxy = Proxy::start(&policy(&retry, &[backend.address()])).await;
        let answer = Client::http1(proxy.outbound(0), "web").await.get("/").await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(backend.requests(), attempts + 1);
        assert_eq!(denied(&proxy, "attempts").await, 1.0);
    }
}

#[tokio::test]
async fn the_budget_bounds_the_repeats_of_all_requests() {
    // Requests, the budget, and the repeats that it allows them; a window is longer than the test.
    let cases = [
        (5, "percent: 0, minPerSecond: 0", 0),
        (10, "percent: 50, minPerSecond: 0", 5),
        (70, "percent: 0, minPerSecond: 1", 60),
    ];
    for (requests, budget, repeats) in cases {
        let backend = failing(usize::MAX, Says::status(503)).await;
        let retry = format!(
            "attempts: 1, on: [gateway-error], backoff: {{base: 1ms, max: 1ms}}, budget: {{{budget}, ttl: 60s}}"
        );
        let proxy = Proxy::start(&policy(&retry, &[backend.address()])).await;
        let mut client = Client::http1(proxy.outbound(0), "web").await;
        for _ in 0..requests {
            assert_eq!(client.get("/").await.status, 503);
        }
        assert_eq!(backend.requests(), requests + repeats, "{budget}");
        assert_eq!(denied(&proxy, "budget").await, (requests - repeats) as f64, "{budget}");
    }
}

#[tokio::test]
async fn a_retry_after_beyond_the_deadline_is_handed_on_and_not_waited_for() {
    let backend = failing(usize::MAX, Says::status(503).header("retry-after", "1")).await;
    let text = pinned(
        "web",
        &[
            &service("web", "http1", &[backend.address()]),
            &traffic("web", &format!("  timeouts: {{request: 900ms}}\n  retry: {{{EAGER}}}\n")),
        ],
    );
    let proxy = Proxy::start(&text).await;
    let answer = Client::http1(proxy.outbound(0), "web").await.get("/").await;
    // Its own 503 and not our 504: nobody waited.
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "1"), "{answer:?}");
    assert_eq!(answer.header("x-outrigger-error"), "");
    assert_eq!(backend.requests(), 1);
    assert_eq!(denied(&proxy, "deadline").await, 1.0);
}

// The idle-close race.

/// A server that answers a random number of requests on each connection and then closes it, idle.
struct Fickle {
    address: SocketAddr,
    orders: Arc<Mutex<Vec<String>>>,
    /// Connections that it has closed.
    closed: watch::Receiver<usize>,
    /// Connections that it has closed or is about to: counted before their last answer goes out.
    closing: Arc<AtomicUsize>,
    accept: JoinHandle<()>,
}

impl Fickle {
    async fn start(seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (orders, closing) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let (count, closed) = watch::channel(0);
        let (kept, promised) = (orders.clone(), closing.clone());
        let accept = tokio::spawn(async move {
            let mut dice = StdRng::seed_from_u64(seed);
            while let Ok((stream, _)) = listener.accept().await {
                let mut visit = Visit {
                    stream,
                    answers: dice.random_range(1..4),
                    turns: dice.random_range(0..6),
                    ending: false,
                    orders: kept.clone(),
                    closing: promised.clone(),
                };
                let count = count.clone();
                tokio::spawn(async move {
                    // A peer that goes first ends the visit too.
                    let _ = visit.serve().await;
                    let ending = visit.ending;
                    drop(visit);
                    if ending {
                        count.send_modify(|closed| *closed += 1);
                    }
                });
            }
        });
        Self { address, orders, closed, closing, accept }
    }

    /// Waits until every connection that was to be closed is.
    async fn settle(&mut self) {
        let closing = self.closing.load(Relaxed);
        let settled = self.closed.wait_for(|closed| *closed >= closing);
        within("the server to close", settled).await.expect("the server is running");
    }
}

impl Drop for Fickle {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

struct Visit {
    stream: TcpStream,
    answers: u32,
    turns: u32,
    /// The last answer is due: this end closes.
    ending: bool,
    orders: Arc<Mutex<Vec<String>>>,
    closing: Arc<AtomicUsize>,
}

impl Visit {
    async fn serve(&mut self) -> std::io::Result<()> {
        let mut got = Vec::new();
        for left in (0..self.answers).rev() {
            got.clear();
            // Every request ends with `;` and has no other.
            while !got.ends_with(b";") {
                if self.stream.read_buf(&mut got).await? == 0 {
                    return Ok(());
                }
            }
            let text = String::from_utf8_lossy(&got).into_owned();
            let order = text.rsplit("\r\n\r\n").next().unwrap_or_default().to_owned();
            self.orders.lock().expect("nobody panics while holding it").push(order);
            if left == 0 {
                self.ending = true;
                self.closing.fetch_add(1, Relaxed);
            }
            self.stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await?;
        }
        for _ in 0..self.turns {
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

/// Sends `requests` of this method one after the other; before each, the server is through with its closes or not.
async fn race(method: &str, seed: u64, requests: usize, settled: impl Fn(usize) -> bool) {
    let mut server = Fickle::start(seed).await;
    let proxy = Proxy::start(&policy(EAGER, &[server.address])).await;
    let mut client = Client::http1(proxy.outbound(0), "web").await;
    for number in 0..requests {
        if settled(number) {
            server.settle().await;
        }
        let request = client.request(method, "/", format!("{number};"));
        let answer = client.call(request).await.unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "ok".to_owned()), "seed {seed} {answer:?}");
    }
    let seen = server.orders.lock().expect("nobody panics while holding it").clone();
    let expected: Vec<String> = (0..requests).map(|number| format!("{number};")).collect();
    assert_eq!(seen, expected, "seed {seed}: each of them once, in order");
}

#[tokio::test]
async fn connections_closed_while_idle_show_no_caller_an_error() {
    for seed in [1, 2, 3] {
        race("POST", seed, 150, |_| true).await;
        // A close that crosses a request on its way: only what may be repeated is safe.
        race("PUT", seed, 150, |number| number % 3 == 0).await;
    }
}
