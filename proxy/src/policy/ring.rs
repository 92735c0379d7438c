//! Counts over a sliding time, shared by the workers without a lock: a ring of slots, each `number << 32 | count`.
//!
//! Pure: the caller says which slot it is, counted from 1 (0 is the number of slots that were never used). A slot is
//! reused as soon as a larger number wants its place, so a ring that nobody touches costs nothing. Nothing here knows
//! what is counted.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// Slots that cover the time: what is old is forgotten at most a tenth of it early.
pub(super) const SLOTS: usize = 10;

/// Counts by slot.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Ring {
    slots: [AtomicU64; SLOTS],
}

impl Ring {
    /// Counts one into slot `number`.
    pub(super) fn add(&self, number: u32) {
        let slot = &self.slots[number as usize % SLOTS];
        let fresh = u64::from(number) << 32;
        let mut seen = slot.load(Relaxed);
        loop {
            // A worker whose `now` is a whole round behind counts into the current slot: it is never lost.
            let next =
                if seen < fresh { fresh + 1 } else { seen.saturating_add(u64::from(count(seen) < u32::MAX)) };
            match slot.compare_exchange_weak(seen, next, Relaxed, Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// Undoes one `add(number)`, unless the slot was reused in between: then it is forgotten already.
    pub(super) fn give_back(&self, number: u32) {
        let slot = &self.slots[number as usize % SLOTS];
        let mut seen = slot.load(Relaxed);
        while (seen >> 32) as u32 == number && count(seen) > 0 {
            match slot.compare_exchange_weak(seen, seen - 1, Relaxed, Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// The sum of the window that ends with `number`.
    pub(super) fn sum(&self, number: u32) -> u64 {
        let oldest = number.saturating_sub(SLOTS as u32 - 1).max(1);
        self.slots
            .iter()
            .map(|slot| slot.load(Relaxed))
            .filter(|seen| (seen >> 32) as u32 >= oldest)
            .map(|seen| u64::from(count(seen)))
            .sum()
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.slots.iter().for_each(|slot| slot.store(0, Relaxed));
    }
}

fn count(slot: u64) -> u32 {
    slot as u32
}

/// The slot that `now` falls into, from 1, where a slot lasts `slot` and the first began at `start`.
pub(super) fn number(start: Instant, now: Instant, slot: Duration) -> u32 {
    (now.saturating_duration_since(start).as_nanos() / slot.as_nanos()) as u32 + 1
}

/// How long a slot lasts in a ring that covers `whole`.
pub(super) fn slot_of(whole: Duration) -> Duration {
    (whole / SLOTS as u32).max(Duration::from_millis(1))
}
