//! Another protocol on a stream of HTTP/2: extended CONNECT (RFC 8441).
//!
//! The connection is the stream's own, so that a tunnel whose reader pauses holds back nobody else's bytes. The request
//! comes as the GET that HTTP/1.1 would send, and an agreement is told as the 101 that HTTP/1.1 would answer.

use std::future::poll_fn;

use bytes::Bytes;
use h2::{Ping, ext::Protocol};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header, response};

use super::{Place, classify, not_started};
use crate::{
    body::{RequestBody, UpstreamBody},
    error::Failure,
    request::{switch::Upgrade, target, websocket},
    upstream::{
        attempt::{AttemptError, Class},
        far::{Far, FarIo, StreamIo},
    },
};

/// Asks the endpoint for another protocol on a stream of a connection that has [`settled`].
pub(crate) async fn send(
    place: Place,
    request: Request<RequestBody>,
    upgrade: &Upgrade,
) -> Result<Response<UpstreamBody>, AttemptError> {
    let protocol = one_protocol(upgrade).ok_or(UNSUPPORTED)?;
    if !place.0.send.borrow().is_extended_connect_protocol_enabled() {
        return Err(UNSUPPORTED);
    }
    let (mut head, _) = request.into_parts();
    let key = head.headers.remove(websocket::KEY);
    target::for_http2(&mut head, &place.0.scheme)
        .map_err(|_| AttemptError::new(Failure::Internal, Class::Caller))?;
    head.method = Method::CONNECT;
    head.extensions.insert(Protocol::from(protocol));
    let mut sender = place.0.send.borrow().clone();
    poll_fn(|cx| sender.poll_ready(cx)).await.map_err(|error| place.0.failed(not_started(&error)))?;
    let sent = sender.send_request(Request::from_parts(head, ()), false);
    let (answer, mut stream) = sent.map_err(|error| place.0.failed(not_started(&error)))?;
    let answer = answer.await.map_err(|error| place.0.failed(classify(&error)))?;
    let (mut head, body) = answer.into_parts();
    if !head.status.is_success() {
        // Declined: an ordinary answer. A peer that has reset its stream needs no end of ours.
        let _ = stream.send_data(Bytes::new(), true);
        return Ok(Response::from_parts(head, UpstreamBody::http2(body, place, None)));
    }
    agree(&mut head, protocol, key.as_ref());
    let io = FarIo::Stream(StreamIo::new(stream, body, place));
    let far = Far { io, said: Bytes::new(), link: None, counted: None };
    Ok(Response::from_parts(head, UpstreamBody::switched(far)))
}

const UNSUPPORTED: AttemptError =
    AttemptError { failure: Failure::UpgradeUnsupported, class: Class::Protocol };

/// `:protocol` is one name, without a version.
fn one_protocol(upgrade: &Upgrade) -> Option<&str> {
    let name = upgrade.protocols.to_str().ok()?;
    (!name.contains([',', '/'])).then_some(name)
}

/// Waits until the peer has said whether it takes extended CONNECT. It says so in its SETTINGS, which come before all else
/// that it sends: an answered ping tells that they have come.
pub(super) async fn settled(place: &Place) -> Result<(), AttemptError> {
    if place.0.send.borrow().is_extended_connect_protocol_enabled() {
        return Ok(());
    }
    let Some(mut ping) = place.0.ping.take() else { return Ok(()) };
    let answered = ping.ping(Ping::opaque()).await;
    answered.map(drop).map_err(|error| place.0.failed(not_started(&error)))
}

/// Brings an agreement to the form of HTTP/1.1.
fn agree(head: &mut response::Parts, protocol: &str, key: Option<&HeaderValue>) {
    head.status = StatusCode::SWITCHING_PROTOCOLS;
    head.version = Version::HTTP_11;
    if let Ok(protocol) = HeaderValue::from_str(protocol) {
        head.headers.insert(header::UPGRADE, protocol);
    }
    if let Some(key) = key {
        head.headers.insert(websocket::ACCEPT, websocket::accept(key));
    }
}
