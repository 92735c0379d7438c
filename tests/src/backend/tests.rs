//! The backend does what the tests rely on: it answers, holds, cuts and ends as it was told.

use bytes::Bytes;
use http::HeaderMap;

use super::{Answer, Backend, Fault, Speaks};
use crate::{
    client::{self, Client},
    raw::{Ended, RawClient},
    wait::Gate,
};

async fn client(backend: &Backend, speaks: Speaks) -> Client {
    match speaks {
        Speaks::Http1 => Client::http1(backend.address(), "a.test").await,
        Speaks::Http2 => Client::http2(backend.address(), "a.test").await,
    }
}

#[tokio::test]
async fn describes_what_it_saw() {
    for speaks in [Speaks::Http1, Speaks::Http2] {
        let backend = Backend::at("127.0.0.1:0".parse().unwrap(), speaks, "b1").await;
        let answer = client(&backend, speaks).await.post("/x?y=1", "hello").await;
        let seen = answer.json();
        assert_eq!((seen["path"].as_str(), seen["bodyBytes"].as_u64()), (Some("/x?y=1"), Some(5)));
        assert_eq!((seen["authority"].as_str(), answer.header("x-backend")), (Some("a.test"), "b1"));
        assert!(backend.last().complete && backend.requests_to("/x") == 1);
    }
}

#[tokio::test]
async fn holds_streams_and_trails() {
    let backend = Backend::http2("b").await;
    let gate = Gate::closed();
    let (held, mut trailers) = (gate.clone(), HeaderMap::new());
    trailers.insert("x-t", "1".parse().unwrap());
    backend.answer(move |_| {
        Answer::text("a").then_wait(&held).then("b").then_trailers(trailers.clone()).header("x-h", "2")
    });
    let mut client = client(&backend, Speaks::Http2).await;
    let request = client.request("GET", "/", Bytes::new());
    let response = client.send(request).await.unwrap();
    gate.open();
    let answer = client::Answer::read(response).await.unwrap();
    assert_eq!(
        (answer.text(), answer.header("x-h"), answer.trailers["x-t"].as_bytes()),
        ("ab".into(), "2", &b"1"[..])
    );
}

#[tokio::test]
async fn faults_show_on_the_wire() {
    let backend = Backend::http1("b").await;
    for (fault, ended) in [(Fault::Reset, Ended::Reset), (Fault::Close, Ended::Fin)] {
        backend.answer(move |_| Answer::fail(fault));
        let mut raw = RawClient::connect(backend.address()).await;
        raw.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(raw.read_to_end().await, (Vec::new(), ended));
    }
    backend.answer(|_| Answer::text("abc").then("def").then_fail(Fault::Close));
    let mut raw = RawClient::connect(backend.address()).await;
    raw.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    raw.read_to_end().await;
    assert!(raw.text().ends_with("3\r\nabc\r\n3\r\ndef\r\n"), "{}", raw.text());
}

#[tokio::test]
async fn refuses_a_stream_and_goes_away() {
    let backend = Backend::http2("b").await;
    backend
        .answer(|seen| if seen.index == 0 { Answer::fail(Fault::RefuseStream) } else { Answer::status(204) });
    let mut client = client(&backend, Speaks::Http2).await;
    let refused = client.request("GET", "/", Bytes::new());
    assert!(client.call(refused).await.is_err());
    assert_eq!(client.get("/").await.status, 204);
    backend.go_away();
    backend.wait_open_connections(0).await;
}

#[tokio::test]
async fn a_stopped_backend_refuses_and_another_may_take_its_place() {
    let mut backend = Backend::http1("first").await;
    let address = backend.address();
    backend.stop().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
    let _second = Backend::at(address, Speaks::Http1, "second").await;
    assert_eq!(client::get(address, "/").await.header("x-backend"), "second");
}

#[tokio::test]
async fn echoes_a_body_as_it_comes() {
    let backend = Backend::http1("b").await;
    backend.answer(|_| Answer::echo());
    let answer = client(&backend, Speaks::Http1).await.post("/", vec![7; 300_000]).await;
    assert_eq!(answer.body, vec![7; 300_000]);
}
