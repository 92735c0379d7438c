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
pub(crate) mod own;

use std::{net::SocketAddr, sync::Arc};

use tokio::sync::watch;

use crate::{
    ctx::Side,
    runtime::{snapshot::ListenerKey, status::BoundListener},
    telemetry::metrics::ListenerMetrics,
};

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
