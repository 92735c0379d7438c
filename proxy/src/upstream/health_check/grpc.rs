//! The gRPC health protocol (`grpc.health.v1`, as gRPC's `doc/health-checking.md` has it), as far as a caller needs it.

use bytes::{BufMut, Bytes, BytesMut};
use h2::RecvStream;
use http::{HeaderMap, response};
use prost::Message;

use super::ask::Failed;
use crate::telemetry::metrics::CheckOutcome;

/// The method.
pub(super) const PATH: &str = "/grpc.health.v1.Health/Check";

/// An answer is a few bytes long.
const MOST: usize = 1024;

#[derive(Clone, PartialEq, Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, Message)]
struct HealthCheckResponse {
    /// 0 UNKNOWN, 1 SERVING, 2 NOT_SERVING, 3 SERVICE_UNKNOWN.
    #[prost(int32, tag = "1")]
    status: i32,
}

const SERVING: i32 = 1;

/// The question about a service, with gRPC's prefix.
pub(super) fn request(service: &str) -> Bytes {
    let message = HealthCheckRequest { service: service.to_owned() }.encode_to_vec();
    let mut framed = BytesMut::with_capacity(5 + message.len());
    framed.put_u8(0);
    // The name comes from a policy file: it is shorter than 4 GiB.
    framed.put_u32(message.len() as u32);
    framed.put_slice(&message);
    framed.freeze()
}

/// Whether an answer says SERVING.
pub(super) async fn judge(head: &response::Parts, mut body: RecvStream) -> Result<(), Failed> {
    let bad = |reason: String| Err(Failed::new(CheckOutcome::BadAnswer, reason));
    if head.status != 200 {
        return bad(format!("status {}", head.status.as_u16()));
    }
    if let Some(code) = code(&head.headers) {
        return bad(format!("gRPC status {code}"));
    }
    let mut message = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data.map_err(|error| Failed::broken(&error))?;
        if message.len() + data.len() > MOST {
            return bad("the answer is no health message".to_owned());
        }
        message.extend_from_slice(&data);
    }
    let trailers = body.trailers().await.map_err(|error| Failed::broken(&error))?.unwrap_or_default();
    match code(&trailers).as_deref() {
        Some("0") => {}
        Some(code) => return bad(format!("gRPC status {code}")),
        None => return bad("the answer has no gRPC status".to_owned()),
    }
    match read(&message) {
        Some(SERVING) => Ok(()),
        Some(2) => bad("NOT_SERVING".to_owned()),
        Some(3) => bad("SERVICE_UNKNOWN".to_owned()),
        Some(_) => bad("UNKNOWN".to_owned()),
        None => bad("the answer is no health message".to_owned()),
    }
}

fn code(fields: &HeaderMap) -> Option<String> {
    Some(fields.get("grpc-status")?.to_str().ok()?.to_owned())
}

/// The status of an answer's one message, which is not compressed since nobody offered to take that.
fn read(framed: &[u8]) -> Option<i32> {
    let (prefix, message) = framed.split_at_checked(5)?;
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
    (prefix[0] == 0 && length as usize == message.len()).then_some(())?;
    HealthCheckResponse::decode(message).ok().map(|answer| answer.status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_what_the_protocol_says() {
        assert_eq!(&request("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&request("a.B")[..], [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'B']);
        assert_eq!(read(&[0, 0, 0, 0, 2, 8, 1]), Some(SERVING));
        assert_eq!(read(&[0, 0, 0, 0, 2, 8, 2]), Some(2));
        assert_eq!(read(&[0, 0, 0, 0, 0]), Some(0), "UNKNOWN is not written");
        for rubbish in
            [&[][..], &[0, 0, 0, 0], &[1, 0, 0, 0, 2, 8, 1], &[0, 0, 0, 0, 3, 8, 1], &[0, 0, 0, 0, 1, 8]]
        {
            assert_eq!(read(rubbish), None, "{rubbish:?}");
        }
    }
}
