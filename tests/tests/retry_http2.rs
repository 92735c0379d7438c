//! The retry law on HTTP/2, against a server that writes its frames by hand: what the peer says about a stream, and
//! not how the connection ends, decides whether a POST goes out again.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use outrigger_tests::{
    client::{Answer, Client},
    mesh::{Proxy, pinned, service, traffic},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

/// What the server does with a request, once all of it has come.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// 200.
    Answer,
    /// RST_STREAM with this code.
    Reset(u32),
    /// GOAWAY for all after stream `last`, with `code`; then nothing.
    GoAway { last: u32, code: u32 },
    /// The same, then FIN.
    GoAwayAndClose { last: u32, code: u32 },
    /// The same with the stream's own id, then 200 all the same.
    GoAwayAndAnswer,
    /// FIN.
    Close,
}

/// A server that treats its first requests, on whatever connection, as the script says and answers the others.
struct Frames {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<Arrived>>>,
    accept: JoinHandle<()>,
}

/// A request that came: on which connection, on which stream, with how many bytes of body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Arrived {
    connection: usize,
    stream: u32,
    body: usize,
}

impl Frames {
    async fn start(script: &[Act]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (script, shared): (Arc<[Act]>, _) = (script.into(), heads.clone());
        let accept = tokio::spawn(async move {
            let mut connection = 0;
            while let Ok((stream, _)) = listener.accept().await {
                let server = Connection { stream, number: connection, heads: shared.clone() };
                // A connection that breaks is the proxy's to notice.
                tokio::spawn(server.serve(script.clone()));
                connection += 1;
            }
        });
        Self { address, heads, accept }
    }

    fn arrived(&self) -> Vec<Arrived> {
        self.heads.lock().expect("nobody panics while holding it").clone()
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

struct Connection {
    stream: TcpStream,
    number: usize,
    heads: Arc<Mutex<Vec<Arrived>>>,
}

impl Connection {
    async fn serve(mut self, script: Arc<[Act]>) -> std::io::Result<()> {
        let mut preface = [0; 24];
        self.stream.read_exact(&mut preface).await?;
        self.write(SETTINGS, 0, 0, &[]).await?;
        let mut body = 0;
        loop {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let (kind, flags) = (head[3], head[4]);
            let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
            let mut payload = vec![0; length];
            self.stream.read_exact(&mut payload).await?;
            match kind {
                SETTINGS if flags & ACK == 0 => self.write(SETTINGS, ACK, 0, &[]).await?,
                PING if flags & ACK == 0 => self.write(PING, ACK, 0, &payload).await?,
                DATA => body += length,
                _ => {}
            }
            if !matches!(kind, DATA | HEADERS) || flags & END_STREAM == 0 {
                continue;
            }
            let index = {
                let mut heads = self.heads.lock().expect("nobody panics while holding it");
                let body = std::mem::take(&mut body);
                heads.push(Arrived { connection: self.number, stream: id, body });
                heads.len() - 1
            };
            if !self.act(script.get(index).copied().unwrap_or(Act::Answer), id).await? {
                return self.stream.shutdown().await;
            }
        }
    }

    /// Whether the connection goes on.
    async fn act(&mut self, act: Act, id: u32) -> std::io::Result<bool> {
        match act {
            Act::Answer => self.answer(id).await?,
            Act::Reset(code) => self.write(RST_STREAM, 0, id, &code.to_be_bytes()).await?,
            Act::GoAway { last, code } => self.go_away(last, code).await?,
            Act::GoAwayAndClose { last, code } => {
                self.go_away(last, code).await?;
                return Ok(false);
            }
            Act::GoAwayAndAnswer => {
                self.go_away(id, 0).await?;
                self.answer(id).await?;
            }
            Act::Close => return Ok(false),
        }
        Ok(true)
    }

    async fn answer(&mut self, id: u32) -> std::io::Result<()> {
        // 0x88 is `:status: 200` of the static table.
        self.write(HEADERS, END_HEADERS, id, &[0x88]).await?;
        self.write(DATA, END_STREAM, id, b"done").await
    }

    async fn go_away(&mut self, last: u32, code: u32) -> std::io::Result<()> {
        self.write(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat()).await
    }

    async fn write(&mut self, kind: u8, flags: u8, id: u32, payload: &[u8]) -> std::io::Result<()> {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend_from_slice(&[kind, flags]);
        frame.extend_from_slice(&id.to_be_bytes());
        frame.extend_from_slice(payload);
        self.stream.write_all(&frame).await
    }
}

/// A policy that lists all there is to list.
const EAGER: &str = "  retry: {attempts: 3, on: [reset, gateway-error, 5xx, refused-stream], backoff: {base: 1ms, max: 1ms}}\n";

async fn proxy(server: &Frames, policy: &str) -> Proxy {
    let web = service("web", "http2", &[server.address]);
    match policy {
        "" => Proxy::start(&pinned("web", &[&web])).await,
        policy => Proxy::start(&pinned("web", &[&web, &traffic("web", policy)])).await,
    }
}

/// One request through a proxy of its own: its answer and what the server saw.
async fn send(method: &str, body: &'static str, policy: &str, script: &[Act]) -> (Answer, Vec<Arrived>) {
    let server = Frames::start(script).await;
    let proxy = proxy(&server, policy).await;
    let mut client = Client::http1(proxy.outbound(0), "web").await;
    let request = client.request(method, "/", body);
    let answer = client.call(request).await.unwrap_or_else(|error| panic!("{script:?}: {error:?}"));
    (answer, server.arrived())
}

fn arrived(connection: usize, stream: u32, body: usize) -> Arrived {
    Arrived { connection, stream, body }
}

#[tokio::test]
async fn a_refused_stream_is_repeated_once_on_the_same_connection() {
    for body in ["", "once"] {
        let (answer, seen) = send("POST", body, "", &[Act::Reset(REFUSED_STREAM)]).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "done".to_owned()), "{answer:?}");
        assert_eq!(seen, [arrived(0, 1, body.len()), arrived(0, 3, body.len())]);
    }
    let (answer, seen) = send("POST", "x", "", &[Act::Reset(REFUSED_STREAM); 9]).await;
    assert_eq!((answer.status.as_u16(), answer.header("x-outrigger-error")), (503, "upstream_reset"));
    assert_eq!(seen.len(), 2, "without a policy: one repeat");
}

#[tokio::test]
async fn a_goaway_below_the_stream_moves_it_to_a_new_connection() {
    for code in [0, ENHANCE_YOUR_CALM] {
        for act in [Act::GoAway { last: 0, code }, Act::GoAwayAndClose { last: 0, code }] {
            let (answer, seen) = send("POST", "body", "", &[act]).await;
            assert_eq!(
                (answer.status.as_u16(), answer.text()),
                (200, "done".to_owned()),
                "{act:?} {answer:?}"
            );
            assert_eq!(seen, [arrived(0, 1, 4), arrived(1, 1, 4)], "{act:?}");
        }
    }
}

#[tokio::test]
async fn what_may_have_started_is_not_repeated() {
    let acts = [
        Act::GoAwayAndClose { last: 1, code: 0 },
        Act::GoAwayAndClose { last: 1, code: ENHANCE_YOUR_CALM },
        Act::GoAwayAndClose { last: 0x7fff_ffff, code: 0 },
        Act::Reset(CANCEL),
        Act::Reset(INTERNAL_ERROR),
        Act::Close,
    ];
    for act in acts {
        let (answer, seen) = send("POST", "body", EAGER, &[act]).await;
        let told = (answer.status.as_u16(), answer.header("x-outrigger-error"));
        assert_eq!(told, (503, "upstream_reset"), "{act:?} {answer:?}");
        assert_eq!(seen, [arrived(0, 1, 4)], "{act:?}");
        let (answer, seen) = send("GET", "", EAGER, &[act]).await;
        assert_eq!((answer.status.as_u16(), seen.len()), (200, 2), "{act:?} {answer:?}");
    }
}

#[tokio::test]
async fn streams_up_to_the_last_one_finish_and_later_ones_move() {
    let server = Frames::start(&[Act::Answer, Act::GoAwayAndAnswer]).await;
    let proxy = proxy(&server, "").await;
    let mut client = Client::http1(proxy.outbound(0), "web").await;
    for _ in 0..4 {
        let answer = client.post("/", "body").await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "done".to_owned()), "{answer:?}");
    }
    let expected = [arrived(0, 1, 4), arrived(0, 3, 4), arrived(1, 1, 4), arrived(1, 3, 4)];
    assert_eq!(server.arrived(), expected);
}
