//! The downstream side of a connection: accept, what it speaks, how long its heads may take, HTTP, and the answers made
//! here.

pub mod answer;
pub mod detect;
pub mod header_watch;

pub(crate) mod accept;
pub(crate) mod connection;
pub(crate) mod guard;
pub(crate) mod http;
pub(crate) mod own;

use std::{net::SocketAddr, sync::Arc};

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
}

impl Listener {
    /// As the admin API shows it.
    pub(crate) fn shown(&self) -> BoundListener {
        BoundListener { side: self.side, bind: self.key.bind, bound: self.bound }
    }
}
