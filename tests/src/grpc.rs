//! gRPC by hand, on the `h2` crate: an echo service with the four kinds of call, and a client that shows every frame.
//!
//! Messages are bytes, never protobuf: a proxy must not care. What matters here is the framing (1 byte of flags, 4 bytes
//! of length), the trailers, and streams that stay open in both directions.

mod client;
mod service;

pub use client::{Call, GrpcClient, Outcome};
pub use service::GrpcService;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// `test.Echo/Unary`: one message, echoed.
pub const UNARY: &str = "/test.Echo/Unary";
/// `test.Echo/ServerStream`: one message, echoed as often as its first byte says.
pub const SERVER_STREAM: &str = "/test.Echo/ServerStream";
/// `test.Echo/ClientStream`: many messages, answered by one: all of them joined.
pub const CLIENT_STREAM: &str = "/test.Echo/ClientStream";
/// `test.Echo/Bidi`: each message is echoed as soon as it comes.
pub const BIDI: &str = "/test.Echo/Bidi";
/// `test.Echo/Fail`: trailers only, with the code that the request's `x-fail` header names.
pub const FAIL: &str = "/test.Echo/Fail";
/// `test.Echo/Hang`: headers, and then nothing until the caller gives up.
pub const HANG: &str = "/test.Echo/Hang";

/// Puts the gRPC prefix before a message.
pub fn frame(message: impl AsRef<[u8]>) -> Bytes {
    let message = message.as_ref();
    let mut framed = BytesMut::with_capacity(5 + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).expect("a test message is shorter than 4 GiB"));
    framed.put_slice(message);
    framed.freeze()
}

/// Takes messages out of a stream of bytes that is cut anywhere.
#[derive(Debug, Default)]
pub struct Deframer(BytesMut);

impl Deframer {
    /// Adds what came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The next whole message.
    pub fn next_message(&mut self) -> Option<Bytes> {
        let prefix = self.0.get(..5)?;
        let length = u32::from_be_bytes(prefix[1..].try_into().expect("four bytes")) as usize;
        if self.0.len() < 5 + length {
            return None;
        }
        self.0.advance(5);
        Some(self.0.split_to(length).freeze())
    }

    /// Whether nothing is left over.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_four_kinds_of_call() {
        let service = GrpcService::start().await;
        let mut client = GrpcClient::connect(service.address(), "echo.test").await;

        let unary = client.call(UNARY, &["hello"]).await;
        assert_eq!((unary.messages, unary.status), (vec![Bytes::from("hello")], Some(0)));

        let many = client.call(SERVER_STREAM, &[[3u8, b'x']]).await;
        assert_eq!((many.messages.len(), many.status), (3, Some(0)));

        let joined = client.call(CLIENT_STREAM, &["a", "b", "c"]).await;
        assert_eq!((joined.messages, joined.status), (vec![Bytes::from("abc")], Some(0)));

        let mut bidi = client.open(BIDI, &[]).await;
        for message in ["one", "two"] {
            bidi.send(message).await;
            assert_eq!(bidi.message().await.as_deref(), Some(message.as_bytes()));
        }
        bidi.finish();
        assert_eq!(bidi.end().await.status, Some(0));

        let mut failed = client.open(FAIL, &[("x-fail", "14")]).await;
        failed.finish();
        let failed = failed.end().await;
        assert_eq!((failed.status, failed.trailers_only), (Some(14), true));
        assert_eq!(service.calls(), 5);
    }
}
