//! Storage of counters: one block per worker, written by that worker alone and read by a scrape.
//!
//! One writer per cell makes a count a plain load and store: no locked instruction, no cache line that two workers
//! fight over. A block is allocated when its worker first counts something, so a policy with 10,000 routes costs
//! memory only for those that carry traffic. [`Shared`] is for events that are rare or come from any thread; it must
//! not be used once per request.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// A counter with one writer. Two writers lose counts but break nothing.
#[derive(Debug, Default)]
pub(crate) struct Cell(AtomicU64);

impl Cell {
    /// Adds `n`; only the owning worker may call this.
    #[inline]
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// The count as it stands.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A counter or gauge that any thread may write.
#[derive(Debug, Default)]
pub(crate) struct Shared(AtomicU64);

impl Shared {
    /// Adds `n`.
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Takes `n` off a gauge.
    pub(crate) fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Relaxed);
    }

    /// Replaces the value.
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// The value as it stands.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Keeps a block on cache lines of its own (two: the neighbour is prefetched along).
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<B>(B);

/// One block of counters per worker.
#[derive(Debug)]
pub(crate) struct PerWorker<B> {
    blocks: Box<[OnceLock<Box<Padded<B>>>]>,
}

impl<B: Default> PerWorker<B> {
    /// Room for `workers` blocks; none is allocated yet.
    pub(crate) fn new(workers: usize) -> Self {
        Self { blocks: (0..workers).map(|_| OnceLock::new()).collect() }
    }

    /// The block of `worker`, which must be below the number of workers and must be the caller.
    #[inline]
    pub(crate) fn of(&self, worker: usize) -> &B {
        &self.blocks[worker].get_or_init(Box::default).0
    }

    /// The blocks that have been used.
    pub(crate) fn used(&self) -> impl Iterator<Item = &B> {
        self.blocks.iter().filter_map(|block| block.get().map(|padded| &padded.0))
    }

    /// The sum of one cell over all workers; `None` if no worker has counted anything.
    pub(crate) fn sum(&self, cell: impl Fn(&B) -> u64) -> Option<u64> {
        self.used().map(cell).reduce(u64::wrapping_add)
    }
}

/// Declares a closed set of label values: an enum, its order, and the word for each.
macro_rules! label_values {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }

        impl $name {
            /// Every value, in the order of the metric cells.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// The value as metrics print it.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)+ }
            }
        }
    };
}
pub(crate) use label_values;

/// One cell per value of a closed set.
#[derive(Debug)]
pub(crate) struct Cells<const N: usize>([Cell; N]);

impl<const N: usize> Default for Cells<N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Cell::default()))
    }
}

impl<const N: usize> Cells<N> {
    /// The cell at `index`.
    #[inline]
    pub(crate) fn at(&self, index: usize) -> &Cell {
        &self.0[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_allocated_on_first_use_and_summed() {
        let shards: PerWorker<Cell> = PerWorker::new(3);
        assert_eq!(shards.sum(Cell::get), None, "nothing was counted");
        shards.of(0).add(2);
        shards.of(2).add(3);
        assert_eq!(shards.used().count(), 2);
        assert_eq!(shards.sum(Cell::get), Some(5));
    }
}
