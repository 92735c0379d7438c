//! Exact bytes: a client that sends just what the test wrote, and a backend that keeps just what it got.
//!
//! For everything that a well-behaved HTTP library would correct on the way, or hide.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use crate::wait::{Gate, within};

/// A raw connection. Dropping it closes the connection.
pub struct RawClient {
    stream: TcpStream,
    got: Vec<u8>,
}

/// How a peer ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With FIN.
    Fin,
    /// With RST.
    Reset,
}

impl RawClient {
    /// Connects.
    ///
    /// # Panics
    /// When nothing listens there.
    pub async fn connect(to: SocketAddr) -> Self {
        let stream = within("a connection", TcpStream::connect(to))
            .await
            .unwrap_or_else(|error| panic!("cannot connect to {to}: {error}"));
        stream.set_nodelay(true).expect("a connected socket takes TCP_NODELAY");
        Self { stream, got: Vec::new() }
    }

    /// Sends these bytes.
    ///
    /// # Panics
    /// When the connection does not take them.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes)
            .await
            .unwrap_or_else(|error| panic!("sending: {error}; got so far: {}", self.text()));
    }

    /// Sends these bytes, for a peer that may have closed.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        within("the peer to read", self.stream.write_all(bytes.as_ref())).await
    }

    /// Sends FIN: the peer sees the end, its answer can still come.
    pub async fn finish(&mut self) {
        self.stream.shutdown().await.expect("the connection is still open");
    }

    /// Closes with RST.
    pub fn reset(self) {
        self.stream.set_zero_linger().expect("a connected socket takes SO_LINGER");
    }

    /// Reads until what came contains `needle`; gives everything so far.
    ///
    /// # Panics
    /// When the connection ends before.
    pub async fn read_until(&mut self, needle: impl AsRef<[u8]>) -> Vec<u8> {
        let needle = needle.as_ref();
        let what = format!("{:?} to come", String::from_utf8_lossy(needle));
        within(&what, async {
            while !contains(&self.got, needle) {
                let more = self.stream.read_buf(&mut self.got).await;
                assert!(matches!(more, Ok(1..)), "{what}, but the connection ended after: {}", self.text());
            }
        })
        .await;
        self.got.clone()
    }

    /// Waits for more; gives everything so far, or `None` once the connection has ended.
    pub async fn read_more(&mut self) -> Option<Vec<u8>> {
        match within("more bytes, or the end", self.stream.read_buf(&mut self.got)).await {
            Ok(1..) => Some(self.got.clone()),
            Ok(0) | Err(_) => None,
        }
    }

    /// Reads until the peer ends the connection; gives everything since the start, and how it ended.
    pub async fn read_to_end(&mut self) -> (Vec<u8>, Ended) {
        let ended = within("the connection to end", async {
            loop {
                match self.stream.read_buf(&mut self.got).await {
                    Ok(0) => return Ended::Fin,
                    Ok(_) => {}
                    Err(_) => return Ended::Reset,
                }
            }
        })
        .await;
        (self.got.clone(), ended)
    }

    /// Whether nothing comes and nothing ends for `time`.
    pub async fn is_silent_for(&mut self, time: Duration) -> bool {
        tokio::time::timeout(time, self.stream.read_buf(&mut self.got)).await.is_err()
    }

    /// Everything that came so far, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.got).into_owned()
    }

    /// Forgets what came so far: for the next answer on the same connection.
    pub fn clear(&mut self) {
        self.got.clear();
    }
}

/// Sends `bytes` on a connection of its own, then FIN if `finish`; gives all that came back, and how it ended.
pub async fn exchange(to: SocketAddr, bytes: impl AsRef<[u8]>) -> (String, Ended) {
    let mut client = RawClient::connect(to).await;
    // A peer that refuses early may close before it has read everything; its answer still counts.
    let _ = client.try_send(bytes).await;
    let (_, ended) = client.read_to_end().await;
    (client.text(), ended)
}

/// A backend that keeps every byte and answers each connection with fixed bytes.
pub struct RawBackend {
    address: SocketAddr,
    shared: Arc<Shared>,
    accept: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    received: Mutex<Vec<Vec<u8>>>,
    ended: Mutex<Vec<Option<Ended>>>,
    changed: watch::Sender<u64>,
}

/// What a [`RawBackend`] does with a connection.
#[derive(Clone, Debug)]
pub enum Reply {
    /// These bytes each time a whole request head (up to the empty line) has come.
    EachHead(Vec<u8>),
    /// These bytes once what came contains the needle, then FIN.
    OnceAndClose {
        /// What must have come.
        after: Vec<u8>,
        /// The answer.
        bytes: Vec<u8>,
    },
    /// These bytes at once, before anything came, and then nothing.
    AtOnce(Vec<u8>),
    /// A greeting at once, then all that comes, and once the caller has ended its half, a farewell and FIN.
    Echo {
        /// What comes first.
        greeting: Vec<u8>,
        /// What comes last.
        farewell: Vec<u8>,
    },
    /// Nothing; what comes is read once the gate opens.
    SilentUntil(Gate),
    /// Nothing, but all is read.
    Silent,
}

impl RawBackend {
    /// A backend that answers every request head with a fixed 200 and keeps the connection.
    pub async fn ok() -> Self {
        Self::start(Reply::EachHead(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec())).await
    }

    /// A backend on a free port that replies like this on every connection.
    pub async fn start(reply: Reply) -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)), reply).await
    }

    /// The same on a given address.
    ///
    /// # Panics
    /// When that cannot be had.
    pub async fn at(address: SocketAddr, reply: Reply) -> Self {
        let listener = TcpListener::bind(address)
            .await
            .unwrap_or_else(|error| panic!("cannot listen on {address}: {error}"));
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared::default());
        let accept = tokio::spawn(accept(listener, reply, shared.clone()));
        Self { address, shared, accept }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What came, a connection each, in order of arrival.
    pub fn received(&self) -> Vec<Vec<u8>> {
        self.shared.received.lock().expect("no test panics while it holds this").clone()
    }

    /// What came on all connections, joined, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.received().concat()).into_owned()
    }

    /// How the connections ended; `None` is open.
    pub fn ended(&self) -> Vec<Option<Ended>> {
        self.shared.ended.lock().expect("no test panics while it holds this").clone()
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.received().len()
    }

    /// Waits until what came on all connections contains `needle`; gives it all.
    pub async fn wait_for(&self, needle: impl AsRef<[u8]>) -> String {
        let needle = needle.as_ref();
        self.wait(&format!("{:?} at the raw backend", String::from_utf8_lossy(needle)), || {
            contains(&self.received().concat(), needle)
        })
        .await;
        self.text()
    }

    /// Waits until the first connection has ended, and says how.
    pub async fn wait_end(&self) -> Ended {
        self.wait("the proxy to end its connection", || self.ended().first().is_some_and(Option::is_some))
            .await;
        self.ended()[0].expect("just waited for it")
    }

    async fn wait(&self, what: &str, holds: impl Fn() -> bool) {
        let mut changed = self.shared.changed.subscribe();
        let _ = within(what, changed.wait_for(|_| holds())).await;
    }
}

impl Drop for RawBackend {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

async fn accept(listener: TcpListener, reply: Reply, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let index = {
            let mut received = shared.received.lock().expect("no test panics while it holds this");
            received.push(Vec::new());
            shared.ended.lock().expect("no test panics while it holds this").push(None);
            received.len() - 1
        };
        shared.changed.send_modify(|n| *n += 1);
        let (reply, shared) = (reply.clone(), shared.clone());
        tokio::spawn(async move {
            let ended = serve(stream, reply, &shared, index).await;
            shared.ended.lock().expect("no test panics while it holds this")[index] = Some(ended);
            shared.changed.send_modify(|n| *n += 1);
        });
    }
}

async fn serve(mut stream: TcpStream, reply: Reply, shared: &Shared, index: usize) -> Ended {
    match &reply {
        Reply::SilentUntil(gate) => gate.pass().await,
        // A peer that is gone shows in the next read.
        Reply::AtOnce(bytes) | Reply::Echo { greeting: bytes, .. } => drop(stream.write_all(bytes).await),
        _ => {}
    }
    let mut answered = 0;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let (so_far, count) = match stream.read(&mut buffer).await {
            Ok(0) => {
                if let Reply::Echo { farewell, .. } = &reply {
                    let _ = stream.write_all(farewell).await;
                    let _ = stream.shutdown().await;
                }
                return Ended::Fin;
            }
            Err(_) => return Ended::Reset,
            Ok(n) => {
                let mut received = shared.received.lock().expect("no test panics while it holds this");
                received[index].extend_from_slice(&buffer[..n]);
                (received[index].clone(), n)
            }
        };
        shared.changed.send_modify(|n| *n += 1);
        let sent = match &reply {
            Reply::Echo { .. } => {
                let last = so_far[so_far.len() - count..].to_vec();
                stream.write_all(&last).await
            }
            Reply::EachHead(bytes) => {
                let heads = so_far.windows(4).filter(|window| window == b"\r\n\r\n").count();
                let due = bytes.repeat(heads.saturating_sub(answered));
                answered = answered.max(heads);
                stream.write_all(&due).await
            }
            Reply::OnceAndClose { after, bytes } if contains(&so_far, after) => {
                let sent = stream.write_all(bytes).await;
                // A peer that reset has closed already.
                let _ = stream.shutdown().await;
                sent
            }
            _ => Ok(()),
        };
        if sent.is_err() {
            return Ended::Reset;
        }
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || haystack.windows(needle.len()).any(|window| window == needle)
}
