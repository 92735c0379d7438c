//! Counters of spans: what waits, what the collector has taken, what was lost and why.
//!
//! Only sampled requests come here, so one cell for all workers will do.

use super::{
    super::shard::{Shared, label_values},
    Metrics,
};

label_values! {
    /// Why no collector got a span.
    SpansDropped {
        /// As many wait as may: the collector is slower than the requests that are sampled.
        QueueFull = "queue_full",
        /// The collector could not be reached for too long.
        Unreachable = "unreachable",
        /// The collector refused the whole message.
        Refused = "refused",
        /// The collector took the message without these spans.
        Rejected = "rejected",
        /// The process ended before they were sent.
        Shutdown = "shutdown",
    }
}

/// The cells.
#[derive(Debug, Default)]
pub(super) struct SpanCounts {
    queued: Shared,
    exported: Shared,
    dropped: [Shared; SpansDropped::ALL.len()],
}

impl SpanCounts {
    pub(super) fn queued(&self) -> u64 {
        self.queued.get()
    }

    pub(super) fn exported(&self) -> u64 {
        self.exported.get()
    }

    pub(super) fn dropped(&self) -> impl Iterator<Item = (SpansDropped, u64)> {
        SpansDropped::ALL.iter().copied().zip(self.dropped.iter().map(Shared::get))
    }

    /// Whether there was ever a span.
    pub(super) fn any(&self) -> bool {
        self.queued() + self.exported() + self.dropped().map(|(_, count)| count).sum::<u64>() > 0
    }
}

impl Metrics {
    /// `spans` wait to be sent; each is exported or dropped later.
    pub(crate) fn spans_queued(&self, spans: u64) {
        self.counters.spans.queued.add(spans);
    }

    /// The collector has taken `spans`.
    pub(crate) fn spans_exported(&self, spans: u64) {
        self.counters.spans.exported.add(spans);
        self.counters.spans.queued.sub(spans);
    }

    /// `spans` are lost.
    pub(crate) fn spans_dropped(&self, reason: SpansDropped, spans: u64) {
        self.counters.spans.dropped[reason as usize].add(spans);
        self.counters.spans.queued.sub(spans);
    }

    /// All spans that were lost so far.
    pub(crate) fn spans_dropped_so_far(&self) -> u64 {
        self.counters.spans.dropped().map(|(_, count)| count).sum()
    }

    /// What waits is lost, since the process ends; gives how many they are.
    pub(crate) fn spans_lost(&self) -> u64 {
        let spans = self.counters.spans.queued();
        self.spans_dropped(SpansDropped::Shutdown, spans);
        spans
    }
}
