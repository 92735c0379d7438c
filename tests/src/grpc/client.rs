//! The client: one connection, calls that a test drives message by message.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, client::SendRequest};
use http::{HeaderMap, Request, StatusCode};
use tokio::net::TcpStream;

use super::{Deframer, frame, service::send};
use crate::wait::within;

/// One HTTP/2 connection for gRPC calls.
pub struct GrpcClient {
    sender: SendRequest<Bytes>,
    authority: String,
}

/// How a call ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The HTTP status; `None` where the stream was reset before the head.
    pub http: Option<StatusCode>,
    /// `grpc-status`, from the trailers or from the head; `None` where there was none.
    pub status: Option<u8>,
    /// Whether the status came in the head.
    pub trailers_only: bool,
    /// The headers.
    pub headers: HeaderMap,
    /// The trailers.
    pub trailers: HeaderMap,
    /// Messages that were not taken before.
    pub messages: Vec<Bytes>,
    /// The code of RST_STREAM, where the stream ended so.
    pub reset: Option<Reason>,
}

impl GrpcClient {
    /// Connects; `authority` is the `:authority` of every call.
    ///
    /// # Panics
    /// When nothing there speaks HTTP/2.
    pub async fn connect(to: SocketAddr, authority: &str) -> Self {
        let stream = within("a connection", TcpStream::connect(to)).await.expect("something listens there");
        stream.set_nodelay(true).expect("a connected socket takes TCP_NODELAY");
        let (sender, connection) =
            within("a handshake", h2::client::handshake(stream)).await.expect("it speaks HTTP/2");
        tokio::spawn(connection);
        Self { sender, authority: authority.to_owned() }
    }

    /// Opens a call; its head is sent, no message yet.
    ///
    /// # Panics
    /// When the connection takes no new stream.
    pub async fn open(&mut self, method: &str, metadata: &[(&str, &str)]) -> Call {
        let mut request = Request::post(format!("http://{}{method}", self.authority))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in metadata {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("the test wrote valid metadata");
        let mut sender =
            within("room for a stream", self.sender.clone().ready()).await.expect("an open connection");
        let (response, out) = sender.send_request(request, false).expect("an open connection");
        Call {
            response: Some(response),
            out,
            input: None,
            head: None,
            deframer: Deframer::default(),
            reset: None,
        }
    }

    /// A whole call: these messages, then the end of the caller's side, then the outcome.
    pub async fn call<M: AsRef<[u8]>>(&mut self, method: &str, messages: &[M]) -> Outcome {
        let mut call = self.open(method, &[]).await;
        for message in messages {
            call.send(message).await;
        }
        call.finish();
        call.end().await
    }
}

/// A call that is open. Dropping it cancels it.
pub struct Call {
    response: Option<h2::client::ResponseFuture>,
    out: SendStream<Bytes>,
    input: Option<RecvStream>,
    head: Option<http::response::Parts>,
    deframer: Deframer,
    reset: Option<Reason>,
}

impl Call {
    /// Sends a message. One that the peer does not want any more is dropped: [`Call::end`] tells why.
    pub async fn send(&mut self, message: impl AsRef<[u8]>) {
        let _ = within("room for a message", send(&mut self.out, frame(message))).await;
    }

    /// Ends the caller's side.
    pub fn finish(&mut self) {
        // A stream that is reset is finished already.
        let _ = self.out.send_data(Bytes::new(), true);
    }

    /// Cancels the call.
    pub fn cancel(mut self) {
        self.out.send_reset(Reason::CANCEL);
    }

    /// Waits for the head; `None` where the stream was reset instead.
    pub async fn head(&mut self) -> Option<&http::response::Parts> {
        if let Some(response) = self.response.take() {
            match within("the head of a gRPC answer", response).await {
                Ok(response) => {
                    let (head, body) = response.into_parts();
                    (self.head, self.input) = (Some(head), Some(body));
                }
                Err(error) => self.note(&error),
            }
        }
        self.head.as_ref()
    }

    /// The next message; `None` at the end, however it came.
    pub async fn message(&mut self) -> Option<Bytes> {
        self.head().await?;
        loop {
            if let Some(message) = self.deframer.next_message() {
                return Some(message);
            }
            let input = self.input.as_mut()?;
            match within("a gRPC message", input.data()).await? {
                Ok(data) => {
                    self.deframer.push(&data);
                    // A stream that was reset meanwhile has no window to give back to.
                    let _ = input.flow_control().release_capacity(data.len());
                }
                Err(error) => {
                    self.note(&error);
                    return None;
                }
            }
        }
    }

    /// Reads to the end.
    pub async fn end(mut self) -> Outcome {
        let mut messages = Vec::new();
        while let Some(message) = self.message().await {
            messages.push(message);
        }
        let mut trailers = HeaderMap::new();
        if let (Some(input), None) = (&mut self.input, self.reset) {
            match within("gRPC trailers", input.trailers()).await {
                Ok(fields) => trailers = fields.unwrap_or_default(),
                Err(error) => self.note(&error),
            }
        }
        let (http, headers) = match self.head {
            Some(head) => (Some(head.status), head.headers),
            None => (None, HeaderMap::new()),
        };
        let code = |fields: &HeaderMap| fields.get("grpc-status")?.to_str().ok()?.parse().ok();
        let in_head = code(&headers);
        Outcome {
            http,
            status: code(&trailers).or(in_head),
            trailers_only: in_head.is_some(),
            headers,
            trailers,
            messages,
            reset: self.reset,
        }
    }

    fn note(&mut self, error: &h2::Error) {
        self.reset = Some(error.reason().unwrap_or(Reason::INTERNAL_ERROR));
    }
}
