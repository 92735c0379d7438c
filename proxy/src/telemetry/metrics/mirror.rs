//! Counters of one destination port as a mirror: copies of requests by what became of them, and how many are open.
//!
//! Copies are counted nowhere else: not under the rule of the request that they are of, and not among the attempts of
//! the Service that takes them.

use super::super::shard::{Cell, Cells, PerWorker, label_values};

label_values! {
    /// What became of a copy.
    MirrorOutcome {
        /// An answer below 500 whose gRPC status, where its head has one, is 0; it was read to its end.
        Success = "success",
        /// An answer of 500 or more.
        Http5xx = "http_5xx",
        /// An answer that is only trailers, with a gRPC status other than 0.
        GrpcError = "grpc_error",
        /// There was no endpoint to send it to.
        NoEndpoint = "no_endpoint",
        /// The endpoint is one of our own listeners.
        Loop = "loop",
        /// No connection could be made, or no TLS on it.
        ConnectFailed = "connect_failed",
        /// The connection ended before the answer did, or the endpoint broke its protocol.
        Reset = "reset",
        /// It took longer than it may.
        Timeout = "timeout",
        /// The answer was longer than what is read of one.
        AnswerTooLong = "answer_too_long",
        /// The mirror took the body too slowly: the copy fell behind and was given up.
        Abandoned = "abandoned",
        /// The request that it is a copy of broke off, or was answered before its body had come.
        Cancelled = "cancelled",
        /// Too many copies were open, or the mirror's circuit breaker had no room: it was never sent.
        Shed = "shed",
    }
}

#[derive(Debug, Default)]
struct Block {
    begun: Cell,
    ended: Cells<{ MirrorOutcome::ALL.len() }>,
}

/// Counters of one mirror. Every call names the worker that makes it; a worker counts for itself only.
#[derive(Debug)]
pub struct MirrorMetrics {
    pub(super) service: Box<str>,
    blocks: PerWorker<Block>,
}

impl Block {
    fn open(&self) -> u64 {
        let ended = MirrorOutcome::ALL.iter().map(|outcome| self.ended.at(*outcome as usize).get());
        self.begun.get().wrapping_sub(ended.fold(0, u64::wrapping_add))
    }
}

impl MirrorMetrics {
    pub(super) fn new(workers: usize, service: Box<str>) -> Self {
        Self { service, blocks: PerWorker::new(workers) }
    }

    /// A copy is about to be sent, or shed.
    pub fn begun(&self, worker: usize) {
        self.blocks.of(worker).begun.add(1);
    }

    /// A copy that had begun has ended.
    pub fn ended(&self, worker: usize, outcome: MirrorOutcome) {
        self.blocks.of(worker).ended.at(outcome as usize).add(1);
    }

    /// Copies that are open on one worker.
    pub fn open_on(&self, worker: usize) -> u64 {
        self.blocks.of(worker).open()
    }

    /// Copies that are open; `None` if there has never been one.
    pub(super) fn open(&self) -> Option<u64> {
        self.blocks.sum(Block::open)
    }

    pub(super) fn count(&self, outcome: MirrorOutcome) -> u64 {
        self.blocks.sum(|block| block.ended.at(outcome as usize).get()).unwrap_or(0)
    }
}
