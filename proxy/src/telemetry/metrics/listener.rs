//! Counters of one listener: the connections that it accepted.

use crate::ctx::Side;

use super::super::shard::{Cell, PerWorker, Shared, label_values};

label_values! {
    /// Why the bytes of a caller could not be read as HTTP.
    ParseError {
        /// A head that breaks the grammar of HTTP/1.
        Malformed = "malformed",
        /// A head larger than the reader's buffer, or with too many fields.
        HeadTooLarge = "head_too_large",
        /// A URI longer than the reader takes.
        UriTooLong = "uri_too_long",
        /// The connection ended inside a message.
        Incomplete = "incomplete",
        /// A head, or the first of them, did not arrive in time.
        HeaderTimeout = "header_timeout",
        /// The caller broke HTTP/2.
        Http2 = "http2",
        /// The first bytes are not HTTP at all.
        NotHttp = "not_http",
    }
}

#[derive(Debug, Default)]
struct Block {
    opened: Cell,
    closed: Cell,
}

/// Counters of one listener. Every call that names a worker must come from that worker.
#[derive(Debug)]
pub struct ListenerMetrics {
    pub(super) side: Side,
    pub(super) bind: Box<str>,
    blocks: PerWorker<Block>,
    pub(super) refused: Shared,
}

impl ListenerMetrics {
    pub(super) fn new(workers: usize, side: Side, bind: Box<str>) -> Self {
        Self { side, bind, blocks: PerWorker::new(workers), refused: Shared::default() }
    }

    /// `worker` took over an accepted connection.
    pub fn connection_opened(&self, worker: usize) {
        self.blocks.of(worker).opened.add(1);
    }

    /// A connection that `worker` had taken over has ended.
    pub fn connection_closed(&self, worker: usize) {
        self.blocks.of(worker).closed.add(1);
    }

    /// A connection was closed at once because the limit is reached; from any thread.
    pub fn connection_refused(&self) {
        self.refused.add(1);
    }

    pub(super) fn connections(&self) -> Option<u64> {
        self.blocks.sum(|block| block.opened.get())
    }

    /// How many connections are open; `None` if there has never been one.
    pub fn connections_open(&self) -> Option<u64> {
        self.blocks.sum(|block| block.opened.get().wrapping_sub(block.closed.get()))
    }
}
