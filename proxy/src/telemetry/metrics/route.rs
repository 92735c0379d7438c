//! Counters of one route on one side: requests by status and flag, their duration, how many are open.

use std::{sync::OnceLock, time::Duration};

use super::super::{
    histogram::{Histogram, Sum},
    shard::{Cell, Cells, PerWorker, label_values},
};
use crate::{ctx::Side, error::Flag};

/// Statuses that have a cell of their own. Any other counts with its class, so an upstream cannot make series.
const CODES: [u16; 47] = [
    101, 200, 201, 202, 203, 204, 205, 206, 301, 302, 303, 304, 307, 308, 400, 401, 402, 403, 404, 405, 406,
    408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 421, 422, 425, 426, 428, 429, 431, 451, 499, 500, 501,
    502, 503, 504, 505, 508,
];
const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "invalid"];
const CELLS: usize = CODES.len() + CLASSES.len();
const FLAGS: usize = Flag::ALL.len();

/// The cell of every status up to 599.
const CELL_OF: [u8; 600] = {
    let first_class = CODES.len() as u8;
    let mut cells = [first_class + 5; 600];
    let mut status = 100;
    while status < 600 {
        cells[status] = first_class + (status / 100 - 1) as u8;
        status += 1;
    }
    let mut index = 0;
    while index < CODES.len() {
        cells[CODES[index] as usize] = index as u8;
        index += 1;
    }
    cells
};

fn cell_of(status: u16) -> usize {
    let invalid = CELLS - 1;
    CELL_OF.get(usize::from(status)).map_or(invalid, |cell| usize::from(*cell))
}

/// The `code` label of a cell.
fn code_of(cell: usize) -> String {
    match CODES.get(cell) {
        Some(code) => code.to_string(),
        None => CLASSES[cell - CODES.len()].to_owned(),
    }
}

label_values! {
    /// What a request's connection has become.
    TunnelKind {
        /// WebSocket, by an upgrade of HTTP/1.1 or an extended CONNECT of HTTP/2.
        WebSocket = "websocket",
        /// Another protocol.
        Upgrade = "upgrade",
        /// A tunnel, by CONNECT.
        Connect = "connect",
    }
}

label_values! {
    /// What was done to a request on purpose.
    FaultKind {
        /// It was delayed.
        Delay = "delay",
        /// It got an answer that no service made.
        Abort = "abort",
    }
}

label_values! {
    /// What became of a session when its request was answered.
    SessionOutcome {
        /// It goes on, with the endpoint that it had.
        Kept = "kept",
        /// The request had no token.
        New = "new",
        /// It had lasted for `absoluteTimeout`.
        Expired = "expired",
        /// It had been unused for `idleTimeout`.
        Idle = "idle",
        /// Its token does not open: made for another rule, or changed.
        Invalid = "invalid",
        /// Its endpoint, or backend, is no longer there.
        Gone = "gone",
        /// Its endpoint was there, and another has answered: after a repeat, mostly.
        Moved = "moved",
    }
}

/// Flagged requests are rare: their cells (5 KiB) are allocated with the first.
type Flagged = Cells<{ CELLS * FLAGS }>;

#[derive(Debug, Default)]
struct Block {
    duration: Histogram,
    codes: Cells<CELLS>,
    begun: Cell,
    ended: Cell,
    tunnels: Cells<{ TunnelKind::ALL.len() }>,
    tunnels_ended: Cell,
    faults: Cells<{ FaultKind::ALL.len() }>,
    sessions: OnceLock<Box<Cells<{ SessionOutcome::ALL.len() }>>>,
    flagged: OnceLock<Box<Flagged>>,
}

/// Counters of one route on one side. Every call names the worker that makes it; a worker counts for itself only.
#[derive(Debug)]
pub struct RouteMetrics {
    pub(super) side: Side,
    pub(super) service: Box<str>,
    pub(super) route: Box<str>,
    blocks: PerWorker<Block>,
}

impl RouteMetrics {
    pub(super) fn new(workers: usize, side: Side, service: Box<str>, route: Box<str>) -> Self {
        Self { side, service, route, blocks: PerWorker::new(workers) }
    }

    /// A request has begun: it counts as open until [`RouteMetrics::closed`].
    #[inline]
    pub fn opened(&self, worker: usize) {
        self.blocks.of(worker).begun.add(1);
    }

    /// A request that was [`RouteMetrics::opened`] is over, whether it was recorded or not.
    #[inline]
    pub fn closed(&self, worker: usize) {
        self.blocks.of(worker).ended.add(1);
    }

    /// Counts one ended request: the status that the caller got (499 if it went away), the access-log flag, and the
    /// time from the complete request head to the last byte of the answer.
    #[inline]
    pub fn record(&self, worker: usize, status: u16, flag: Option<Flag>, elapsed: Duration) {
        let block = self.blocks.of(worker);
        block.duration.record(elapsed);
        let cell = cell_of(status);
        match flag {
            None => block.codes.at(cell).add(1),
            Some(flag) => {
                let flagged = block.flagged.get_or_init(Box::default);
                flagged.at(flag as usize * CELLS + cell).add(1);
            }
        }
    }

    /// A request's connection has become a tunnel.
    pub fn tunnel_opened(&self, worker: usize, kind: TunnelKind) {
        self.blocks.of(worker).tunnels.at(kind as usize).add(1);
    }

    /// A tunnel has ended.
    pub fn tunnel_closed(&self, worker: usize) {
        self.blocks.of(worker).tunnels_ended.add(1);
    }

    /// A fault was made on purpose.
    pub fn fault(&self, worker: usize, kind: FaultKind) {
        self.blocks.of(worker).faults.at(kind as usize).add(1);
    }

    pub(super) fn faults(&self, kind: FaultKind) -> u64 {
        self.blocks.sum(|block| block.faults.at(kind as usize).get()).unwrap_or(0)
    }

    /// A request of a rule with sessions was answered.
    pub fn session(&self, worker: usize, outcome: SessionOutcome) {
        self.blocks.of(worker).sessions.get_or_init(Box::default).at(outcome as usize).add(1);
    }

    pub(super) fn sessions(&self, outcome: SessionOutcome) -> u64 {
        let counted =
            |block: &Block| block.sessions.get().map_or(0, |cells| cells.at(outcome as usize).get());
        self.blocks.sum(counted).unwrap_or(0)
    }

    pub(super) fn tunnels(&self, kind: TunnelKind) -> u64 {
        self.blocks.sum(|block| block.tunnels.at(kind as usize).get()).unwrap_or(0)
    }

    pub(super) fn tunnels_ended(&self) -> u64 {
        self.blocks.sum(|block| block.tunnels_ended.get()).unwrap_or(0)
    }

    /// How many requests are open; `None` if there has never been one.
    pub fn open(&self) -> Option<u64> {
        self.blocks.sum(|block| block.begun.get().wrapping_sub(block.ended.get()))
    }

    /// The durations of all requests.
    pub(super) fn duration(&self) -> Sum {
        let mut sum = Sum::default();
        self.blocks.used().for_each(|block| sum.add(&block.duration));
        sum
    }

    /// Calls `each` with code, flag and count of what has been counted.
    pub(super) fn each_count(&self, mut each: impl FnMut(&str, &'static str, u64)) {
        let flags = std::iter::once(None).chain(Flag::ALL.into_iter().map(Some));
        for flag in flags {
            for cell in 0..CELLS {
                let count = self.blocks.sum(|block| match flag {
                    None => block.codes.at(cell).get(),
                    Some(flag) => {
                        let flagged = block.flagged.get();
                        flagged.map_or(0, |cells| cells.at(flag as usize * CELLS + cell).get())
                    }
                });
                if let Some(count @ 1..) = count {
                    each(&code_of(cell), flag.map_or("-", Flag::as_str), count);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_cell() {
        for code in CODES {
            assert_eq!(code_of(cell_of(code)), code.to_string());
        }
        for (status, code) in [
            (100, "1xx"),
            (299, "2xx"),
            (399, "3xx"),
            (418, "4xx"),
            (599, "5xx"),
            (0, "invalid"),
            (999, "invalid"),
        ] {
            assert_eq!(code_of(cell_of(status)), code);
        }
    }

    #[test]
    fn flags_count_in_the_order_of_their_list() {
        for (index, flag) in Flag::ALL.into_iter().enumerate() {
            assert_eq!(flag as usize, index, "{flag:?}");
        }
    }
}
