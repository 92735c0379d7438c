//! The downstream side of a connection: accept, what it speaks, how long its heads may take, HTTP, and the answers made
//! here.

pub mod answer;
pub mod detect;
pub mod header_watch;
pub mod sni;
pub mod sniff;

pub(crate) mod accept;
pub(crate) mod connection;
pub(crate) mod guard;
pub(crate) mod http;
pub(crate) mod near;
pub(crate) mod original_dst;
pub(crate) mod own;
pub(crate) mod stream;
pub(crate) mod tcp;
pub(crate) mod tls;
pub(crate) mod undeclared;

mod reach;

use std::{net::SocketAddr, rc::Rc, sync::Arc};

use bytes::Bytes;
use tokio::{net::TcpStream, sync::watch, time::Instant};

use accept::Accepted;
use original_dst::Dialled;
use stream::Stream;

use crate::{
    ctx::Side,
    decide::{Heard, Opening},
    runtime::{
        snapshot::{ListenerKey, Snapshot},
        status::BoundListener,
    },
    telemetry::{metrics::ListenerMetrics, record::Arrival},
    upstream::io::MeteredIo,
    worker::Worker,
};

/// Serves one connection to its end: request by request, or passed on whole.
pub(crate) async fn serve(worker: Rc<Worker>, accepted: Accepted) {
    let Accepted { stream, peer, listener, seat } = accepted;
    let Ok(stream) = TcpStream::from_std(stream) else { return };
    let (metrics, id) = (listener.metrics.clone(), worker.id);
    metrics.connection_opened(id);
    let dialled = Dialled::of(&worker, &listener, &stream);
    let accepted = Instant::now();
    let arrival = Arrival { listener, peer, authenticated: None, named_port: None, dialled, accepted };
    let (io, link) = MeteredIo::new(stream);
    let incoming = tcp::Incoming { io: Stream::Plain(io), link, arrival, read: Bytes::new() };
    carry(worker, incoming).await;
    // Who sees the connection counted as closed finds its place free.
    drop(seat);
    metrics.connection_closed(id);
}

/// Serves a connection of which nothing was read yet, as policy says.
async fn carry(worker: Rc<Worker>, incoming: tcp::Incoming) {
    let dice = worker.dice();
    match tcp::opening(&worker, &incoming.arrival, Heard::Nothing, dice) {
        Opening::Http => http::serve(worker, incoming).await,
        // On the heap: connections that carry requests, most of all, need no room for these.
        Opening::Detect(other) => Box::pin(undeclared::serve(worker, incoming, *other, dice)).await,
        Opening::Await(other) => Box::pin(undeclared::serve_opaque(worker, incoming, *other, dice)).await,
        opening => Box::pin(tcp::serve(&worker, incoming, opening, dice)).await,
    }
}

/// One listening address.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Which way its requests go.
    pub(crate) side: Side,
    /// Its name across reloads.
    pub(crate) key: ListenerKey,
    /// The address that it got.
    pub(crate) bound: SocketAddr,
    /// The same for logs.
    pub(crate) label: Box<str>,
    /// Its counters.
    pub(crate) metrics: Arc<ListenerMetrics>,
    /// Set once the policy has it no more: its connections finish what is open and end.
    retired: watch::Sender<bool>,
}

impl Listener {
    /// The listener that got the address `bound`.
    pub(crate) fn new(key: ListenerKey, bound: SocketAddr, metrics: Arc<ListenerMetrics>) -> Self {
        let label = bound.to_string().into();
        Self { side: key.side, key, bound, label, metrics, retired: watch::Sender::new(false) }
    }

    /// Lets its connections finish.
    pub(crate) fn retire(&self) {
        self.retired.send_replace(true);
    }

    /// Ready once its connections are to finish.
    pub(crate) fn retired(&self) -> impl Future<Output = ()> + use<> {
        let mut retired = self.retired.subscribe();
        async move {
            // Every connection holds its listener, so the sender lives as long as anyone waits.
            let _ = retired.wait_for(|retired| *retired).await;
        }
    }

    /// As the admin API shows it, where this policy is in use.
    pub(crate) fn shown(&self, snapshot: &Snapshot) -> BoundListener {
        let intercepted = snapshot.is_intercepted(self.key);
        BoundListener { side: self.side, bind: self.key.bind, bound: self.bound, intercepted }
    }
}
