//! Servers that change protocols: HTTP/1.1 upgrades, HTTP/2 extended CONNECT (RFC 8441), and after that an echo. And a
//! caller of HTTP/2 that asks for it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use h2::{RecvStream, SendStream, client::SendRequest, ext::Protocol};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use crate::{
    raw::Ended,
    wait::{Gate, within},
};

/// The key of RFC 6455 section 1.3.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// What belongs to [`KEY`].
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// What came on one connection, or stream.
#[derive(Clone, Debug, Default)]
pub struct Came {
    /// The request's head, as text; of HTTP/2 its method, path and fields.
    pub head: String,
    /// Everything behind it.
    pub bytes: Vec<u8>,
    /// How the caller ended; `None` is open.
    pub ended: Option<Ended>,
}

impl Came {
    /// The value of a field of the head, in lower case as all of the head.
    pub fn header(&self, name: &str) -> Option<String> {
        let head = self.head.to_ascii_lowercase();
        head.lines().find_map(|line| Some(line.strip_prefix(&format!("{name}: "))?.to_owned()))
    }
}

#[derive(Default)]
struct Shared {
    came: Mutex<Vec<Came>>,
    changed: watch::Sender<u64>,
}

impl Shared {
    fn open(&self, head: String) -> usize {
        let mut all = self.came.lock().expect("no test panics while it holds this");
        all.push(Came { head, ..Came::default() });
        all.len() - 1
    }

    fn note(&self, index: usize, change: impl FnOnce(&mut Came)) {
        change(&mut self.came.lock().expect("no test panics while it holds this")[index]);
        self.changed.send_modify(|n| *n += 1);
    }
}

/// A server that answers a request as it is told, and echoes what follows a 101 or, on HTTP/2, a 200 to CONNECT. Dropping
/// it accepts no more.
pub struct Switching {
    address: SocketAddr,
    shared: Arc<Shared>,
    cut: watch::Sender<bool>,
    accept: JoinHandle<()>,
}

/// What a head is answered with: of HTTP/1 the whole text, behind which bytes of the new protocol may stand.
type Answer = Arc<dyn Fn(&Came) -> String + Send + Sync>;

impl Switching {
    /// Over HTTP/1.1. The answer is sent once `gate` is open.
    pub async fn http1(gate: &Gate, answer: impl Fn(&Came) -> String + Send + Sync + 'static) -> Self {
        let (answer, gate): (Answer, _) = (Arc::new(answer), gate.clone());
        Self::accepting(move |stream, shared, cut| serve(stream, shared, cut, (gate.clone(), answer.clone())))
            .await
    }

    /// Over HTTP/1.1, a WebSocket handshake done right, at once.
    pub async fn websocket() -> Self {
        let gate = Gate::closed();
        gate.open();
        Self::http1(&gate, |came| {
            let key = came.head.lines().find_map(|line| line.strip_prefix("sec-websocket-key: "));
            let accept = outrigger_proxy::request::websocket::accept(&key.unwrap_or_default().parse().expect("a key"));
            let accept = accept.to_str().expect("base64");
            format!("HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nUpgrade: websocket\r\nsec-websocket-accept: {accept}\r\n\r\n")
        })
        .await
    }

    /// Over HTTP/2, agreeing to extended CONNECT with 200; `offered`: whether it says that it takes it.
    pub async fn http2(offered: Offer) -> Self {
        Self::accepting(move |stream, shared, _| serve_http2(stream, shared, offered)).await
    }

    async fn accepting<F>(
        serve: impl Fn(TcpStream, Arc<Shared>, watch::Receiver<bool>) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port on loopback");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::<Shared>::default();
        let cut = watch::Sender::new(false);
        let (all, cuts) = (shared.clone(), cut.clone());
        let accept = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).expect("a connected socket takes TCP_NODELAY");
                tokio::spawn(serve(stream, all.clone(), cuts.subscribe()));
            }
        });
        Self { address, shared, cut, accept }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What came so far, a request each.
    pub fn came(&self) -> Vec<Came> {
        self.shared.came.lock().expect("no test panics while it holds this").clone()
    }

    /// Waits until what came holds this, and gives it.
    pub async fn wait(&self, what: &str, holds: impl Fn(&[Came]) -> bool) -> Vec<Came> {
        let mut changed = self.shared.changed.subscribe();
        let _ = within(what, changed.wait_for(|_| holds(&self.came()))).await;
        self.came()
    }

    /// Waits until the first caller has ended, and says how.
    pub async fn wait_end(&self) -> Ended {
        let ended = |came: &[Came]| came.first().and_then(|came| came.ended);
        let came = self.wait("the first caller to end", |came| ended(came).is_some()).await;
        ended(&came).expect("just waited for it")
    }

    /// Resets every connection of HTTP/1.
    pub fn reset_all(&self) {
        self.cut.send_replace(true);
    }
}

impl Drop for Switching {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    shared: Arc<Shared>,
    mut cut: watch::Receiver<bool>,
    (gate, answer): (Gate, Answer),
) {
    let mut read = Vec::new();
    let head = loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if !matches!(stream.read_buf(&mut read).await, Ok(1..)) {
            return;
        }
    };
    let index = shared.open(String::from_utf8_lossy(&read[..head]).into_owned());
    shared.note(index, |came| came.bytes = read[head..].to_vec());
    gate.pass().await;
    let came = shared.came.lock().expect("no test panics while it holds this")[index].clone();
    let text = answer(&came);
    // A caller that is gone shows in the next read.
    let _ = stream.write_all(text.as_bytes()).await;
    let echoes = text.starts_with("HTTP/1.1 101");
    if echoes {
        let _ = stream.write_all(&read[head..]).await;
    }
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = tokio::select! {
            read = stream.read(&mut buffer) => read,
            _ = cut.wait_for(|cut| *cut) => {
                stream.set_zero_linger().expect("a connected socket takes SO_LINGER");
                return;
            }
        };
        match read {
            Ok(0) => {
                shared.note(index, |came| came.ended = Some(Ended::Fin));
                let _ = stream.shutdown().await;
                return;
            }
            Err(_) => return shared.note(index, |came| came.ended = Some(Ended::Reset)),
            Ok(n) => {
                shared.note(index, |came| came.bytes.extend_from_slice(&buffer[..n]));
                if echoes {
                    let _ = stream.write_all(&buffer[..n]).await;
                }
            }
        }
    }
}

/// What an HTTP/2 server says in its SETTINGS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// It takes extended CONNECT.
    ExtendedConnect,
    /// It takes extended CONNECT, and declines each with 403.
    Declined,
    /// Nothing.
    Nothing,
}

async fn serve_http2(stream: TcpStream, shared: Arc<Shared>, offer: Offer) {
    let mut builder = h2::server::Builder::new();
    if offer != Offer::Nothing {
        builder.enable_connect_protocol();
    }
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let shared = shared.clone();
        tokio::spawn(async move {
            let (head, body) = request.into_parts();
            let protocol = head.extensions.get::<Protocol>().map_or("", |protocol| protocol.as_str());
            let mut text = format!("{} {} {protocol}\n", head.method, head.uri);
            for (name, value) in &head.headers {
                text.push_str(&format!("{name}: {}\n", value.to_str().unwrap_or_default()));
            }
            let index = shared.open(text);
            shared.note(index, |_| {});
            let agrees = head.method == Method::CONNECT && offer == Offer::ExtendedConnect;
            let answer = Response::builder().header("sec-websocket-protocol", "chat");
            let answer = answer.status(if agrees { 200 } else { 403 }).body(()).expect("a head");
            let Ok(send) = respond.send_response(answer, !agrees) else { return };
            if agrees {
                echo(&shared, index, (send, body)).await;
            }
        });
    }
}

async fn echo(shared: &Shared, index: usize, (mut send, mut recv): (SendStream<Bytes>, RecvStream)) {
    while let Some(data) = recv.data().await {
        let Ok(data) = data else {
            return shared.note(index, |came| came.ended = Some(Ended::Reset));
        };
        let _ = recv.flow_control().release_capacity(data.len());
        shared.note(index, |came| came.bytes.extend_from_slice(&data));
        let _ = send.send_data(data, false);
    }
    shared.note(index, |came| came.ended = Some(Ended::Fin));
    let _ = send.send_data(Bytes::new(), true);
}

/// A caller over HTTP/2 that asks for tunnels.
pub struct Http2Caller {
    send: SendRequest<Bytes>,
}

/// A tunnel over a stream.
pub struct StreamTunnel {
    /// The answer's head.
    pub status: StatusCode,
    /// Its fields.
    pub headers: HeaderMap,
    send: SendStream<Bytes>,
    recv: RecvStream,
    got: Vec<u8>,
}

impl Http2Caller {
    /// Connects.
    ///
    /// # Panics
    /// When nothing speaks HTTP/2 there.
    pub async fn connect(to: SocketAddr) -> Self {
        let stream = within("a connection", TcpStream::connect(to)).await.expect("something listens");
        let (send, connection) = h2::client::handshake(stream).await.expect("it speaks HTTP/2");
        tokio::spawn(connection);
        Self { send }
    }

    /// Whether the server has said that it takes extended CONNECT.
    pub fn may_extend(&self) -> bool {
        self.send.is_extended_connect_protocol_enabled()
    }

    /// Extended CONNECT with this `:protocol`.
    pub async fn extended(
        &mut self,
        protocol: &str,
        authority: &str,
        fields: &[(&str, &str)],
    ) -> StreamTunnel {
        let uri = Uri::builder().scheme("http").authority(authority).path_and_query("/chat?room=1");
        let mut request = Request::builder().method("CONNECT").uri(uri.build().expect("a URI"));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.extension(Protocol::from(protocol)).body(()).expect("a head");
        self.ask(request).await
    }

    /// CONNECT.
    pub async fn tunnel(&mut self, authority: &str) -> StreamTunnel {
        let uri = Uri::builder().authority(authority).build().expect("an authority");
        self.ask(Request::builder().method("CONNECT").uri(uri).body(()).expect("a head")).await
    }

    async fn ask(&mut self, request: Request<()>) -> StreamTunnel {
        let mut send = self.send.clone().ready().await.expect("the connection is open");
        let (answer, stream) = send.send_request(request, false).expect("a request that can be sent");
        let (head, recv) = within("an answer", answer).await.expect("an answer").into_parts();
        StreamTunnel { status: head.status, headers: head.headers, send: stream, recv, got: Vec::new() }
    }
}

impl StreamTunnel {
    /// The first value of a field, `""` where it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: impl Into<Bytes>) {
        self.send.send_data(bytes.into(), false).expect("the stream is open");
    }

    /// Ends the stream in order.
    pub fn finish(&mut self) {
        self.send.send_data(Bytes::new(), true).expect("the stream is open");
    }

    /// Resets the stream.
    pub fn reset(&mut self) {
        self.send.send_reset(h2::Reason::CANCEL);
    }

    /// Waits until all that came is this much; gives it.
    pub async fn read(&mut self, count: usize) -> Vec<u8> {
        within("bytes on the stream", async {
            while self.got.len() < count {
                let data = self.recv.data().await.expect("the stream goes on").expect("the stream is whole");
                let _ = self.recv.flow_control().release_capacity(data.len());
                self.got.extend_from_slice(&data);
            }
        })
        .await;
        self.got.clone()
    }

    /// Waits for the stream's end; gives all that came, and how it ended.
    pub async fn read_to_end(&mut self) -> (Vec<u8>, Ended) {
        let ended = within("the stream to end", async {
            loop {
                match self.recv.data().await {
                    None => return Ended::Fin,
                    Some(Err(_)) => return Ended::Reset,
                    Some(Ok(data)) => {
                        let _ = self.recv.flow_control().release_capacity(data.len());
                        self.got.extend_from_slice(&data);
                    }
                }
            }
        })
        .await;
        (self.got.clone(), ended)
    }
}
