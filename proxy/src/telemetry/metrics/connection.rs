//! Counters of one rule for connections that are passed on whole: how many, by flag, for how long, how many bytes.
//!
//! Bytes count as they move, since such a connection may stay for days.

use std::time::Duration;

use super::super::{
    histogram::{Histogram, Sum},
    shard::{Cell, Cells, PerWorker, label_values},
};
use crate::{ctx::Side, error::Flag};

/// Flags, and none.
const FLAGS: usize = Flag::ALL.len() + 1;

label_values! {
    /// Which way bytes moved.
    Direction {
        /// From the caller.
        In = "in",
        /// To the caller.
        Out = "out",
    }
}

#[derive(Debug, Default)]
struct Block {
    begun: Cell,
    ended: Cells<FLAGS>,
    bytes: Cells<{ Direction::ALL.len() }>,
    duration: Histogram,
}

/// Counters of one rule on one side. Every call names the worker that makes it; a worker counts for itself only.
#[derive(Debug)]
pub struct ConnectionMetrics {
    pub(super) side: Side,
    pub(super) service: Box<str>,
    pub(super) route: Box<str>,
    blocks: PerWorker<Block>,
}

impl ConnectionMetrics {
    pub(super) fn new(workers: usize, side: Side, service: Box<str>, route: Box<str>) -> Self {
        Self { side, service, route, blocks: PerWorker::new(workers) }
    }

    /// A connection has begun: it counts as open until it is [`ConnectionMetrics::ended`].
    pub fn begun(&self, worker: usize) {
        self.blocks.of(worker).begun.add(1);
    }

    /// A connection is over: the flag of what ended it, if that was no orderly end, and the time since it was accepted.
    pub fn ended(&self, worker: usize, flag: Option<Flag>, elapsed: Duration) {
        let block = self.blocks.of(worker);
        block.ended.at(flag.map_or(0, |flag| flag as usize + 1)).add(1);
        block.duration.record(elapsed);
    }

    /// Bytes were passed on.
    #[inline]
    pub fn moved(&self, worker: usize, direction: Direction, bytes: u64) {
        self.blocks.of(worker).bytes.at(direction as usize).add(bytes);
    }

    /// How many connections are open; `None` if there has never been one.
    pub fn open(&self) -> Option<u64> {
        let ended = |block: &Block| (0..FLAGS).map(|flag| block.ended.at(flag).get()).sum::<u64>();
        self.blocks.sum(|block| block.begun.get().wrapping_sub(ended(block)))
    }

    pub(super) fn duration(&self) -> Sum {
        let mut sum = Sum::default();
        self.blocks.used().for_each(|block| sum.add(&block.duration));
        sum
    }

    pub(super) fn bytes(&self, direction: Direction) -> u64 {
        self.blocks.sum(|block| block.bytes.at(direction as usize).get()).unwrap_or(0)
    }

    /// Calls `each` with flag and count of what has ended.
    pub(super) fn each_ended(&self, mut each: impl FnMut(&'static str, u64)) {
        let flags = std::iter::once("-").chain(Flag::ALL.into_iter().map(Flag::as_str));
        for (index, flag) in flags.enumerate() {
            if let Some(count @ 1..) = self.blocks.sum(|block| block.ended.at(index).get()) {
                each(flag, count);
            }
        }
    }
}
