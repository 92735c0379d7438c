//! The downstream side of a connection: accept, what it speaks, how long its heads may take, HTTP, and the answers made
//! here.

pub mod answer;
pub mod detect;
pub mod header_watch;
pub mod sni;

pub(crate) mod accept;
pub(crate) mod connection;
pub(crate) mod guard;
pub(crate) mod http;
pub(crate) mod near;
pub(crate) mod own;
pub(crate) mod tcp;

use std::{net::SocketAddr, rc::Rc, sync::Arc};

use tokio::sync::watch;

use accept::Accepted;

use crate::{
    ctx::Side,
    decide::{Heard, Opening},
    runtime::{snapshot::ListenerKey, status::BoundListener},
    telemetry::metrics::ListenerMetrics,
    worker::Worker,
};

/// Serves one connection to its end: request by request, or passed on whole.
pub(crate) async fn serve(worker: Rc<Worker>, accepted: Accepted) {
    let dice = worker.dice();
    match tcp::opening(&worker, accepted.listener.key, accepted.peer, (Heard::Nothing, dice)) {
        Opening::Http => http::serve(worker, accepted).await,
        // On the heap: connections that carry requests, most of all, need no room for it.
        opening => Box::pin(tcp::serve(worker, accepted, opening, dice)).await,
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

    /// As the admin API shows it.
    pub(crate) fn shown(&self) -> BoundListener {
        BoundListener { side: self.side, bind: self.key.bind, bound: self.bound }
    }
}
