//! The deadline list of one worker: every header, request, attempt and idle timer, in 10 ms ticks.
//!
//! A tokio timer per request would cost more than the rest of a mesh hop's bookkeeping, and nearly all of these timers
//! are armed and never fire. [`Wheel`] is the pure core: a hashed wheel with doubly linked slots in a slab, so arming
//! and cancelling are a few writes. [`Deadlines`] is the shell: it owns the clock and the one task that turns the wheel,
//! and sleeps while nothing is due. Deadlines are rounded up to the next tick: a timer never fires early.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

const TICK: Duration = Duration::from_millis(10);
const SLOTS: usize = 1024;
const NIL: u32 = u32::MAX;

/// The pure core: entries by tick. A key stays valid until it is removed.
#[derive(Debug)]
pub(crate) struct Wheel {
    /// All ticks up to and including this one have been turned.
    turned: u64,
    heads: Box<[u32]>,
    occupied: [u64; SLOTS / 64],
    entries: Vec<Entry>,
    free: u32,
    armed: usize,
}

#[derive(Debug)]
struct Entry {
    tick: u64,
    next: u32,
    prev: u32,
    state: State,
    waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Armed,
    Fired,
}

impl Wheel {
    pub(crate) fn new() -> Self {
        Self {
            turned: 0,
            heads: vec![NIL; SLOTS].into_boxed_slice(),
            occupied: [0; SLOTS / 64],
            entries: Vec::new(),
            free: NIL,
            armed: 0,
        }
    }

    /// Arms a new entry for `tick`; one that lies in the past fires on the next turn.
    pub(crate) fn insert(&mut self, tick: u64) -> u32 {
        let key = self.free;
        let key = if key == NIL {
            self.entries.push(Entry { tick: 0, next: NIL, prev: NIL, state: State::Free, waker: None });
            (self.entries.len() - 1) as u32
        } else {
            self.free = self.entries[key as usize].next;
            key
        };
        self.link(key, tick);
        key
    }

    /// Moves an entry to another tick, whatever its state.
    pub(crate) fn reset(&mut self, key: u32, tick: u64) {
        if self.entries[key as usize].state == State::Armed {
            self.unlink(key);
        }
        self.link(key, tick);
    }

    /// Forgets an entry.
    pub(crate) fn remove(&mut self, key: u32) {
        if self.entries[key as usize].state == State::Armed {
            self.unlink(key);
        }
        let entry = &mut self.entries[key as usize];
        entry.state = State::Free;
        entry.waker = None;
        entry.next = self.free;
        self.free = key;
    }

    /// Whether the entry's tick has been turned.
    pub(crate) fn fired(&self, key: u32) -> bool {
        self.entries[key as usize].state == State::Fired
    }

    /// Keeps the waker that is called when the entry fires.
    pub(crate) fn watch(&mut self, key: u32, waker: &Waker) {
        let slot = &mut self.entries[key as usize].waker;
        if !slot.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }

    /// Turns the wheel up to `now`; the wakers of all entries that fire go to `due`.
    pub(crate) fn turn(&mut self, now: u64, due: &mut Vec<Waker>) {
        if self.armed == 0 {
            self.turned = self.turned.max(now);
            return;
        }
        let span = now.saturating_sub(self.turned).min(SLOTS as u64);
        for tick in (now - span + 1)..=now {
            let slot = (tick % SLOTS as u64) as usize;
            let mut key = self.heads[slot];
            while key != NIL {
                let next = self.entries[key as usize].next;
                if self.entries[key as usize].tick <= now {
                    self.unlink(key);
                    self.entries[key as usize].state = State::Fired;
                    due.extend(self.entries[key as usize].waker.take());
                }
                key = next;
            }
        }
        self.turned = self.turned.max(now);
    }

    /// The next tick at which a turn may find something; entries more than one round away are looked at once a round.
    pub(crate) fn next_tick(&self) -> Option<u64> {
        if self.armed == 0 {
            return None;
        }
        let from = self.turned + 1;
        (from..from + SLOTS as u64).find(|tick| {
            let slot = (tick % SLOTS as u64) as usize;
            self.occupied[slot / 64] & (1 << (slot % 64)) != 0
        })
    }

    fn link(&mut self, key: u32, tick: u64) {
        let tick = tick.max(self.turned + 1);
        let slot = (tick % SLOTS as u64) as usize;
        let head = self.heads[slot];
        let entry = &mut self.entries[key as usize];
        (entry.tick, entry.next, entry.prev, entry.state) = (tick, head, NIL, State::Armed);
        if head != NIL {
            self.entries[head as usize].prev = key;
        }
        self.heads[slot] = key;
        self.occupied[slot / 64] |= 1 << (slot % 64);
        self.armed += 1;
    }

    fn unlink(&mut self, key: u32) {
        let Entry { tick, next, prev, .. } = self.entries[key as usize];
        let slot = (tick % SLOTS as u64) as usize;
        if next != NIL {
            self.entries[next as usize].prev = prev;
        }
        if prev != NIL {
            self.entries[prev as usize].next = next;
        } else {
            self.heads[slot] = next;
            if next == NIL {
                self.occupied[slot / 64] &= !(1 << (slot % 64));
            }
        }
        self.armed -= 1;
    }
}

/// The worker's deadlines: hands out [`Timer`]s and turns the wheel.
#[derive(Debug)]
pub(crate) struct Deadlines {
    wheel: RefCell<Wheel>,
    start: Instant,
    /// The tick until which the turning task sleeps; `u64::MAX` while nothing is armed.
    asleep_until: Cell<u64>,
    earlier: Notify,
}

impl Deadlines {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self {
            wheel: RefCell::new(Wheel::new()),
            start: Instant::now(),
            asleep_until: Cell::new(u64::MAX),
            earlier: Notify::new(),
        })
    }

    /// A timer that fires at `at` or up to one tick later.
    pub(crate) fn at(self: &Rc<Self>, at: Instant) -> Timer {
        let tick = self.tick_of(at);
        let key = self.wheel.borrow_mut().insert(tick);
        self.hurry(tick);
        Timer { deadlines: self.clone(), key }
    }

    /// A timer that fires `after` from now.
    pub(crate) fn after(self: &Rc<Self>, after: Duration) -> Timer {
        self.at(Instant::now() + after)
    }

    /// Turns the wheel for ever; the worker spawns this once.
    pub(crate) async fn run(self: Rc<Self>) {
        let mut due = Vec::new();
        loop {
            let next = self.wheel.borrow().next_tick();
            self.asleep_until.set(next.unwrap_or(u64::MAX));
            match next {
                None => self.earlier.notified().await,
                Some(tick) => {
                    let at = self.start + TICK * u32::try_from(tick).unwrap_or(u32::MAX);
                    tokio::select! {
                        () = tokio::time::sleep_until(at) => {}
                        () = self.earlier.notified() => {}
                    }
                }
            }
            let now = (self.start.elapsed().as_millis() / TICK.as_millis()) as u64;
            self.wheel.borrow_mut().turn(now, &mut due);
            due.drain(..).for_each(Waker::wake);
        }
    }

    fn tick_of(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.start).as_millis().div_ceil(TICK.as_millis()) as u64
    }

    fn hurry(&self, tick: u64) {
        if tick < self.asleep_until.get() {
            self.asleep_until.set(tick);
            self.earlier.notify_one();
        }
    }
}

/// One armed deadline; dropping it cancels it.
#[derive(Debug)]
pub(crate) struct Timer {
    deadlines: Rc<Deadlines>,
    key: u32,
}

impl Timer {
    /// Ready once the deadline has passed, and from then on.
    pub(crate) fn poll_expired(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut wheel = self.deadlines.wheel.borrow_mut();
        if wheel.fired(self.key) {
            return Poll::Ready(());
        }
        wheel.watch(self.key, cx.waker());
        Poll::Pending
    }

    /// Arms it anew.
    pub(crate) fn reset(&self, at: Instant) {
        let tick = self.deadlines.tick_of(at);
        self.deadlines.wheel.borrow_mut().reset(self.key, tick);
        self.deadlines.hurry(tick);
    }

    /// Waits for the deadline.
    pub(crate) async fn expired(&self) {
        std::future::poll_fn(|cx| self.poll_expired(cx)).await;
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.deadlines.wheel.borrow_mut().remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fires_at_its_tick_and_not_before() {
        let mut wheel = Wheel::new();
        let (near, far) = (wheel.insert(5), wheel.insert(5 + SLOTS as u64));
        let mut due = Vec::new();
        wheel.turn(4, &mut due);
        assert!(!wheel.fired(near));
        wheel.turn(5, &mut due);
        assert!(wheel.fired(near) && !wheel.fired(far));
        wheel.turn(5 + SLOTS as u64, &mut due);
        assert!(wheel.fired(far));
        assert_eq!(wheel.next_tick(), None);
    }

    #[test]
    fn a_long_pause_skips_nothing() {
        let mut wheel = Wheel::new();
        let keys: Vec<u32> = (1..5000).map(|tick| wheel.insert(tick)).collect();
        wheel.turn(1_000_000, &mut Vec::new());
        assert!(keys.iter().all(|key| wheel.fired(*key)));
    }

    proptest! {
        #[test]
        fn agrees_with_a_sorted_list(ops in prop::collection::vec((0u8..4, 0u64..3000), 1..200)) {
            let mut wheel = Wheel::new();
            let mut model: Vec<(u32, u64, bool)> = Vec::new();
            let mut now = 0;
            for (op, value) in ops {
                match op {
                    0 | 1 => model.push((wheel.insert(now + value), (now + value).max(now + 1), false)),
                    2 if !model.is_empty() => {
                        let at = value as usize % model.len();
                        let (key, ..) = model.swap_remove(at);
                        wheel.remove(key);
                    }
                    _ => {
                        now += value;
                        wheel.turn(now, &mut Vec::new());
                        for entry in &mut model {
                            entry.2 = entry.1 <= now;
                        }
                    }
                }
                for (key, _, fired) in &model {
                    prop_assert_eq!(wheel.fired(*key), *fired);
                }
            }
        }
    }

    #[tokio::test(start_paused = true, flavor = "local")]
    async fn timers_follow_the_clock_and_can_be_moved() {
        let deadlines = Deadlines::new();
        tokio::task::spawn_local(deadlines.clone().run());
        let start = Instant::now();
        let timer = deadlines.after(Duration::from_millis(95));
        timer.expired().await;
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(95) && took <= Duration::from_millis(111), "{took:?}");
        timer.reset(Instant::now() + Duration::from_secs(60));
        let short = deadlines.after(Duration::from_millis(1));
        short.expired().await;
        assert!(start.elapsed() < Duration::from_secs(1));
        timer.expired().await;
        assert!(start.elapsed() >= Duration::from_secs(60));
    }
}
