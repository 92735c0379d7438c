//! One worker's view of all endpoint cells: the current set of each at hand, and its round robin state.
//!
//! A pick costs one atomic load to see that the set is still current; no shared reference count but the chosen
//! endpoint's is touched. Must not leave its worker.

use std::{
    cell::RefCell,
    net::SocketAddr,
    sync::{Arc, Weak},
};

use outrigger_config::model::Balance;

use super::{Ask, EndpointCell, EndpointSet, Turns, Visit, pick, random};
use crate::decide::Dice;

/// Below this many slots nobody looks for cells that are gone.
const SWEEP_FROM: usize = 64;

/// One worker's balancing state.
#[derive(Debug, Default)]
pub struct Balancer {
    slots: RefCell<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    /// By the cell's address, which cannot be given to another cell while the slot's `Weak` holds it.
    by_cell: foldhash::HashMap<*const EndpointCell, Slot>,
    sweep_at: usize,
}

#[derive(Debug)]
struct Slot {
    cell: Weak<EndpointCell>,
    set: Arc<EndpointSet>,
    turns: Turns,
}

impl Balancer {
    /// Begins an attempt at an endpoint of the cell's current set; `None`: the set is empty. One on trial that has no
    /// probe comes first.
    pub fn pick(
        &self,
        cell: &Arc<EndpointCell>,
        policy: Balance,
        ask: Ask<'_>,
        dice: &mut Dice,
    ) -> Option<Visit> {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.of(cell);
        if slot.set.version() != cell.version() {
            slot.set = cell.load();
        }
        let set = &slot.set;
        // A session stays where it is, and is nobody's probe.
        let stays = |own: SocketAddr| set.endpoints().iter().any(|endpoint| endpoint.address == own);
        let stays = ask.stay.is_some_and(|own| !ask.tried.contains(&own) && stays(own));
        let on_trial = set.on_trial().iter().filter(|endpoint| !ask.tried.contains(&endpoint.address));
        let mut probes = on_trial.filter_map(|endpoint| Visit::probe(endpoint, ask.now));
        if let Some(probe) = (!stays).then(|| probes.next()).flatten() {
            return Some(probe);
        }
        if let Some(left) = set.last_resort(ask.tried) {
            return Some(Visit::begin(left.clone(), ask.now));
        }
        let mut picked = pick(set, policy, &mut slot.turns, ask, dice)?;
        if set.passes_over(&picked) {
            // Seldom, and not for long: until it was judged and the next set is here.
            let rest =
                set.only(|endpoint| !set.passes_over(endpoint) && !ask.tried.contains(&endpoint.address));
            picked = rest.and_then(|rest| random::choose(&rest, dice)).unwrap_or(picked);
        }
        Some(Visit::begin(picked, ask.now))
    }

    /// How many cells it keeps a set of.
    #[cfg(test)]
    pub(super) fn known(&self) -> usize {
        self.slots.borrow().by_cell.len()
    }
}

impl Slots {
    fn of(&mut self, cell: &Arc<EndpointCell>) -> &mut Slot {
        let key = Arc::as_ptr(cell);
        if self.by_cell.len() > self.sweep_at.max(SWEEP_FROM) {
            self.by_cell.retain(|_, slot| slot.cell.strong_count() > 0);
            self.sweep_at = self.by_cell.len() * 2;
        }
        self.by_cell.entry(key).or_insert_with(|| Slot {
            cell: Arc::downgrade(cell),
            set: cell.load(),
            turns: Turns::default(),
        })
    }
}
