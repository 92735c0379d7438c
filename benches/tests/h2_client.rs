//! What the `h2` crate and hyper's client show of an upstream's refusals: the facts under `h2_client.md`.
//!
//! The upstream is a script of raw frames over an in-memory pipe, so that no server library softens what is sent.

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
/// RST_STREAM of stream 1, REFUSED_STREAM.
const REFUSED: &[u8] = &[0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 7];
/// GOAWAY, last stream 1, NO_ERROR.
const GOAWAY_1: &[u8] = &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
/// HEADERS of stream 1: 103, more to come.
const EARLY_HINTS: &[u8] = &[0, 0, 5, 1, 4, 0, 0, 0, 1, 0x08, 3, b'1', b'0', b'3'];
/// HEADERS of stream 1: 200, and its end.
const OK_1: &[u8] = &[0, 0, 1, 1, 5, 0, 0, 0, 1, 0x88];

/// Plays `frames` once `requests` request heads have come, and keeps the connection open.
async fn upstream(mut io: DuplexStream, requests: usize, frames: &'static [&'static [u8]]) {
    io.read_exact(&mut [0; 24]).await.expect("the preface");
    io.write_all(SETTINGS).await.expect("the client reads");
    let mut heads = 0;
    let mut frame = [0; 9];
    while io.read_exact(&mut frame).await.is_ok() {
        let length = u32::from_be_bytes([0, frame[0], frame[1], frame[2]]) as usize;
        io.read_exact(&mut vec![0; length]).await.expect("the payload");
        heads += usize::from(frame[3] == 1);
        if heads == requests && frame[3] == 1 {
            io.write_all(&frames.concat()).await.expect("the client reads");
        }
    }
}

fn request() -> Request<()> {
    Request::get("http://upstream/").body(()).expect("a valid request")
}

async fn h2_client(requests: usize, frames: &'static [&'static [u8]]) -> h2::client::SendRequest<Bytes> {
    let (ours, theirs) = duplex(64 * 1024);
    tokio::spawn(upstream(theirs, requests, frames));
    let (sender, connection) = h2::client::handshake(ours).await.expect("a handshake");
    tokio::spawn(connection);
    sender
}

async fn hyper_error(requests: usize, frames: &'static [&'static [u8]]) -> hyper::Error {
    let (ours, theirs) = duplex(64 * 1024);
    tokio::spawn(upstream(theirs, requests, frames));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(ours))
            .await
            .expect("a handshake");
    tokio::spawn(connection);
    let mut answers = Vec::new();
    for _ in 0..requests {
        sender.ready().await.expect("an open connection");
        answers.push(sender.send_request(request().map(|()| Empty::<Bytes>::new())));
    }
    let last = answers.pop().expect("at least one request");
    let kept: Vec<_> = answers.into_iter().map(tokio::spawn).collect();
    let error = last.await.expect_err("a refusal");
    assert!(kept.iter().all(|answer| !answer.is_finished()), "earlier streams go on");
    error
}

fn is_refused(error: &h2::Error) -> bool {
    error.is_remote() && error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM)
}

#[tokio::test]
async fn h2_shows_a_refused_stream() {
    let mut sender = h2_client(1, &[REFUSED]).await.ready().await.expect("ready");
    let (answer, _) = sender.send_request(request(), true).expect("sent");
    assert!(is_refused(&answer.await.expect_err("a refusal")));
}

#[tokio::test]
async fn hyper_shows_a_refused_stream_through_its_source() {
    let error = hyper_error(1, &[REFUSED]).await;
    let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref());
    assert!(source.is_some_and(is_refused), "{error:?}");
}

#[tokio::test]
async fn h2_fails_only_the_streams_above_a_goaway() {
    let sender = h2_client(2, &[GOAWAY_1, OK_1]).await;
    let mut sender = sender.ready().await.expect("ready");
    let (first, _) = sender.send_request(request(), true).expect("sent");
    let mut sender = sender.ready().await.expect("ready");
    let (second, _) = sender.send_request(request(), true).expect("sent");
    let refused = second.await.expect_err("above the last stream");
    assert!(refused.is_remote() && refused.is_go_away(), "{refused:?}");
    assert_eq!(first.await.expect("at or below the last stream").status(), 200);
    let late = sender.ready().await.expect_err("no new stream");
    assert!(late.is_remote() && late.is_go_away(), "{late:?}");
}

#[tokio::test]
async fn hyper_shows_a_goaway_below_the_stream_through_its_source() {
    let error = hyper_error(2, &[GOAWAY_1]).await;
    let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<h2::Error>());
    assert!(source.is_some_and(|source| source.is_remote() && source.is_go_away()), "{error:?}");
}

#[tokio::test]
async fn h2_shows_informational_answers() {
    let mut sender = h2_client(1, &[EARLY_HINTS, OK_1]).await.ready().await.expect("ready");
    let (mut answer, _) = sender.send_request(request(), true).expect("sent");
    let early = std::future::poll_fn(|cx| answer.poll_informational(cx)).await;
    assert_eq!(early.expect("one").expect("no error").status(), 103);
    assert_eq!(answer.await.expect("an answer").status(), 200);
}
