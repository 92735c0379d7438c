//! Terminates the mesh's TLS on a caller's connection: the handshake, who the caller is by it, and what it goes on with.
//!
//! It begins with the bytes that were read to tell the caller from others (`sni.rs`), and has what is left of the time in
//! which a first head must come. Who is not believed gets TLS's own alert and nothing else: there is no way from
//! here back to plaintext. What a certificate must be is judged in `identity/`.

use std::{io, pin::Pin, rc::Rc};

use bytes::Bytes;
use rustls::server::Acceptor;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::Instant,
};
use tokio_rustls::server::{StartHandshake, TlsStream};

use super::{carry, connection::closing, detect, http, stream::Stream, tcp::Incoming};
use crate::{
    ctx::Side,
    identity::{Identity, MeshProtocol, Peer, PeerFault},
    telemetry::{
        metrics::{CallerFault, MeshFault, TlsFault},
        record::Arrival,
    },
    upstream::io::MeteredIo,
    worker::Worker,
};

/// The version of the frame with which opaque bytes begin.
const FRAME_VERSION: u8 = 1;
/// Bytes that follow version and length: the port.
const FRAME_LENGTH: u8 = 2;

/// Whether a connection of this arrival may be one of a proxy of the mesh: this proxy can show who it is, and nobody has
/// shown it here yet.
pub(super) fn is_spoken(worker: &Worker, arrival: &Arrival) -> bool {
    arrival.listener.side == Side::Inbound
        && arrival.authenticated.is_none()
        && worker.snapshot().identity.is_some()
}

/// Serves a connection whose ClientHello, which was read, is that of a proxy of the mesh. Its first byte came after `since`.
pub(super) async fn serve(worker: &Rc<Worker>, incoming: Incoming, since: Instant) {
    let Incoming { io: Stream::Plain(io), link, mut arrival, read } = incoming else { return };
    let snapshot = worker.snapshot();
    let (identity, timeout) = (snapshot.identity.clone(), snapshot.mesh.limits.header_timeout);
    drop(snapshot);
    let Some(identity) = identity else { return };
    let timer = worker.deadlines.at(since + timeout);
    let listener = arrival.listener.clone();
    let opened = tokio::select! {
        biased;
        opened = open(&identity, io, &read) => opened,
        () = timer.expired() => Err(CallerFault::Timeout.into()),
        // Nothing is open yet that could be finished.
        () = closing(worker, &listener) => return,
    };
    let opened = match opened {
        Ok(opened) => opened,
        Err(why) => return refused(worker, &arrival, why),
    };
    worker.metrics.mesh_handshake(Side::Inbound, Ok(()));
    arrival.authenticated = Some(opened.peer);
    arrival.named_port = opened.port;
    let incoming = Incoming { io: Stream::Tls(Box::new(opened.tls)), link, arrival, read: Bytes::new() };
    let spoken = match opened.protocol {
        MeshProtocol::Http2 => detect::Verdict::Http2,
        MeshProtocol::Http1 => detect::Verdict::Http1,
        MeshProtocol::Tcp => {
            // What is within is served as any connection is, which leads through here: a type without end, but for the box.
            let within: Pin<Box<dyn Future<Output = ()>>> = Box::pin(carry(worker.clone(), incoming));
            return within.await;
        }
    };
    http::serve_as(worker.clone(), incoming, Ok(spoken), since).await;
}

/// A connection whose caller is known.
struct Opened {
    tls: TlsStream<MeteredIo>,
    peer: Rc<Peer>,
    protocol: MeshProtocol,
    /// The port that the caller says it has dialled; with opaque bytes alone.
    port: Option<u16>,
}

/// The handshake, and the frame with which opaque bytes begin.
async fn open(identity: &Identity, io: MeteredIo, hello: &[u8]) -> Result<Opened, MeshFault> {
    let credentials = identity.current();
    let config = credentials.server()?;
    let start = accepted(io, hello).await?;
    let mut tls = start.into_stream(config).await.map_err(|error| why(&error))?;
    let session = tls.get_ref().1;
    let peer = Peer::of(session, credentials.svid())?;
    let protocol = session.alpn_protocol().and_then(MeshProtocol::of_alpn).ok_or(TlsFault::Alpn)?;
    let port = match protocol {
        MeshProtocol::Tcp => Some(frame(&mut tls).await?),
        MeshProtocol::Http2 | MeshProtocol::Http1 => None,
    };
    Ok(Opened { tls, peer: Rc::new(peer), protocol, port })
}

/// Gives TLS the bytes that were read before.
async fn accepted(mut io: MeteredIo, mut hello: &[u8]) -> Result<StartHandshake<MeteredIo>, MeshFault> {
    let mut acceptor = Acceptor::default();
    while !hello.is_empty() {
        // It takes no more than a handshake may begin with.
        acceptor.read_tls(&mut hello).map_err(|_| TlsFault::Protocol)?;
    }
    match acceptor.accept() {
        Ok(Some(accepted)) => Ok(StartHandshake::from_parts(accepted, io)),
        // The record goes on behind the ClientHello, which no proxy of the mesh has a reason for.
        Ok(None) => Err(TlsFault::Protocol.into()),
        Err((_, mut alert)) => {
            let mut bytes = Vec::new();
            if alert.write_all(&mut bytes).is_ok() {
                // The caller may be gone already.
                let _ = io.write_all(&bytes).await;
            }
            Err(TlsFault::Protocol.into())
        }
    }
}

/// The frame before opaque bytes: version, length, and the port that the caller has dialled.
async fn frame(tls: &mut TlsStream<MeteredIo>) -> Result<u16, MeshFault> {
    let mut head = [0; 2];
    tls.read_exact(&mut head).await.map_err(|error| why(&error))?;
    if head != [FRAME_VERSION, FRAME_LENGTH] {
        return Err(CallerFault::Frame.into());
    }
    tls.read_u16().await.map_err(|error| why(&error))
}

/// What the error of a handshake says.
fn why(error: &io::Error) -> MeshFault {
    use rustls::{AlertDescription, Error};
    if let Some(fault) = PeerFault::of(error) {
        return fault.into();
    }
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match tls {
        Some(Error::NoApplicationProtocol) => TlsFault::Alpn,
        Some(Error::AlertReceived(AlertDescription::CloseNotify)) | None => TlsFault::Closed,
        Some(Error::AlertReceived(_)) => TlsFault::Refused,
        Some(_) => TlsFault::Protocol,
    }
    .into()
}

/// One count, and one log line, for a caller that is not believed.
fn refused(worker: &Worker, arrival: &Arrival, why: MeshFault) {
    worker.metrics.mesh_handshake(Side::Inbound, Err(why));
    if !worker.refusals.admits(Instant::now()) {
        return;
    }
    tracing::info!(
        listener = %arrival.listener.bound,
        peer = %arrival.peer,
        reason = why.as_str(),
        "connection closed: the handshake of a proxy of the mesh came to nothing"
    );
}
