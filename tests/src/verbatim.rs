//! A backend that reads one HTTP/1 request per connection, keeps its bytes as they came, and answers with fixed bytes.
//!
//! For tests about what exactly the proxy sends: the connection closes after each answer, so every request has one of
//! its own, and the end of a request is found by its framing and not by its neighbours.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use crate::wait::within;

/// The backend. Dropping it stops it.
pub struct Verbatim {
    address: SocketAddr,
    shared: Arc<Shared>,
    accept: JoinHandle<()>,
}

struct Shared {
    answer: Mutex<Vec<u8>>,
    requests: Mutex<Vec<Request>>,
    count: watch::Sender<usize>,
}

/// A request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The bytes.
    pub text: String,
    /// Whether its framing says that it is all there; otherwise the connection ended early.
    pub whole: bool,
}

impl Request {
    /// The request line.
    pub fn line(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }

    /// The fields, `name: value`, sorted: their order means nothing.
    pub fn fields(&self) -> Vec<&str> {
        let head = self.text.split("\r\n\r\n").next().unwrap_or_default();
        let mut fields: Vec<&str> = head.split("\r\n").skip(1).collect();
        fields.sort_unstable();
        fields
    }

    /// What follows the head, as it came: chunks are not joined.
    pub fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }
}

impl Verbatim {
    /// A backend on a free port that answers 200 `ok`.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port on loopback");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            answer: Mutex::new(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec()),
            requests: Mutex::default(),
            count: watch::Sender::new(0),
        });
        let accept = tokio::spawn(accept(listener, shared.clone()));
        Self { address, shared, accept }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it answers from now on.
    pub fn answer(&self, bytes: impl AsRef<[u8]>) {
        *self.shared.answer.lock().expect("no test panics while it holds this") = bytes.as_ref().to_vec();
    }

    /// The requests since the last call.
    pub fn take(&self) -> Vec<Request> {
        std::mem::take(&mut *self.shared.requests.lock().expect("no test panics while it holds this"))
    }

    /// Waits until `n` requests came, whole or cut, since the start.
    pub async fn wait(&self, n: usize) {
        let mut count = self.shared.count.subscribe();
        let _ = within("requests at the backend", count.wait_for(|count| *count >= n)).await;
    }

    /// How many requests came since the start.
    pub fn count(&self) -> usize {
        *self.shared.count.borrow()
    }
}

impl Drop for Verbatim {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, shared.clone()));
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    let mut bytes = Vec::new();
    let whole = loop {
        if is_whole(&bytes) {
            break true;
        }
        match stream.read_buf(&mut bytes).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => break false,
        }
    };
    if !whole && bytes.is_empty() {
        return;
    }
    let request = Request { text: String::from_utf8_lossy(&bytes).into_owned(), whole };
    shared.requests.lock().expect("no test panics while it holds this").push(request);
    shared.count.send_modify(|count| *count += 1);
    if whole {
        let answer = shared.answer.lock().expect("no test panics while it holds this").clone();
        // The proxy may have gone; then there is nobody to tell.
        let _ = stream.write_all(&answer).await;
        let _ = stream.shutdown().await;
    }
}

/// Whether these bytes are a whole request by their framing.
fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let head = head.to_ascii_lowercase();
    if head.contains("\r\ntransfer-encoding: chunked") {
        // The last chunk, and trailers that end with an empty line.
        let last = if body.starts_with("0\r\n") { Some(0) } else { body.find("\r\n0\r\n").map(|at| at + 2) };
        return last.is_some_and(|at| body[at + 1..].ends_with("\r\n\r\n"));
    }
    let length =
        head.split("\r\n").find_map(|field| field.strip_prefix("content-length: ")?.parse::<usize>().ok());
    body.len() >= length.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::is_whole;

    #[test]
    fn framing() {
        for (text, whole) in [
            ("", false),
            ("GET / HTTP/1.1\r\nhost: a\r\n", false),
            ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", true),
            ("POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nab", false),
            ("POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc", true),
            ("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", false),
            ("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", false),
            ("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", false),
            ("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", true),
            ("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", true),
            ("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: 1\r\n", false),
            ("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: 1\r\n\r\n", true),
        ] {
            assert_eq!(is_whole(text.as_bytes()), whole, "{text:?}");
        }
    }
}
