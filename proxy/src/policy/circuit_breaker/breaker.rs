//! The breaker: closed, open, half-open. Pure: what an attempt came to and `now` in, whether the next may go out.
//!
//! All of its state is one atomic word beside the counts of a sliding window, so workers share it without a lock, and
//! each change is made by exactly one of them. Every change begins a new epoch; what an attempt of an older one comes to
//! says nothing about the present, and is passed over. Open ends by itself: the first attempt after its time is the
//! first probe. A reload keeps word and window by making the next [`Breaker`] out of the last one ([`Breaker::renewed`]).

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use outrigger_config::model::Trip;

use super::super::ring::{self, Ring};

/// Times are kept in steps of this; 35 bits of them last ten years.
const STEP: Duration = Duration::from_millis(10);

/// What an attempt says about the health of its Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was answered.
    Success,
    /// It failed, and the Service is to blame.
    Failure,
    /// It says nothing: its caller went away, or it was never sent.
    Nothing,
}

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Attempts go out.
    Closed,
    /// None goes out.
    Open,
    /// A few go out to find out whether the Service has recovered.
    HalfOpen,
}

impl Phase {
    /// Every phase, in the order of the numbers that metrics show.
    pub(crate) const ALL: [Self; 3] = [Phase::Closed, Phase::Open, Phase::HalfOpen];

    /// The phase as logs and metrics print it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Phase::Closed => "closed",
            Phase::Open => "open",
            Phase::HalfOpen => "half_open",
        }
    }

    fn of(bits: u64) -> Self {
        match bits {
            1 => Phase::Open,
            2 => Phase::HalfOpen,
            _ => Phase::Closed,
        }
    }
}

/// An attempt that was let through. To be given back with what it came to ([`Breaker::conclude`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    epoch: u16,
    probe: bool,
}

/// What becomes of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Admission {
    /// `None`: it does not go out.
    pub(crate) ticket: Option<Ticket>,
    /// The phase that asking has begun.
    pub(crate) change: Option<Phase>,
}

/// A breaker as one policy has it.
#[derive(Debug)]
pub(crate) struct Breaker {
    trip: Trip,
    word: Arc<Word>,
    window: Arc<Window>,
}

/// The state; on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Word {
    bits: AtomicU64,
    start: OnceLock<Instant>,
}

#[derive(Debug)]
struct Window {
    slot: Duration,
    attempts: Ring,
    failures: Ring,
}

/// The word, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    phase: Phase,
    /// How often the time of being open was doubled.
    doublings: u8,
    epoch: u16,
    /// Probes that were let through and have not been cancelled.
    taken: u8,
    succeeded: u8,
    /// Open: until when. Half-open: since when.
    step: u64,
}

const DOUBLINGS: u8 = (1 << 4) - 1;
const EPOCHS: u16 = (1 << 9) - 1;
const PROBES: u8 = (1 << 7) - 1;
const STEPS: u64 = (1 << 35) - 1;

impl State {
    fn of(bits: u64) -> Self {
        let field = |at: u32, most: u64| (bits >> at) & most;
        Self {
            phase: Phase::of(field(0, 3)),
            doublings: field(2, u64::from(DOUBLINGS)) as u8,
            epoch: field(6, u64::from(EPOCHS)) as u16,
            taken: field(15, u64::from(PROBES)) as u8,
            succeeded: field(22, u64::from(PROBES)) as u8,
            step: field(29, STEPS),
        }
    }

    fn bits(self) -> u64 {
        self.phase as u64
            | u64::from(self.doublings.min(DOUBLINGS)) << 2
            | u64::from(self.epoch & EPOCHS) << 6
            | u64::from(self.taken.min(PROBES)) << 15
            | u64::from(self.succeeded.min(PROBES)) << 22
            | (self.step & STEPS) << 29
    }

    /// The first state of another phase.
    fn begin(self, phase: Phase, step: u64) -> Self {
        Self {
            phase,
            doublings: self.doublings,
            epoch: (self.epoch + 1) & EPOCHS,
            taken: 0,
            succeeded: 0,
            step,
        }
    }
}

impl Breaker {
    /// A closed one.
    pub(crate) fn new(trip: Trip) -> Self {
        Self { word: Arc::default(), window: Arc::new(Window::of(&trip)), trip }
    }

    /// The same breaker under another policy. What was counted stays, but for a window of another length.
    pub(crate) fn renewed(&self, trip: Trip) -> Self {
        let same = trip.window == self.trip.window;
        let window = if same { self.window.clone() } else { Arc::new(Window::of(&trip)) };
        Self { trip, word: self.word.clone(), window }
    }

    /// Where it stands; a breaker whose time of being open has passed is open until it is asked.
    pub(crate) fn phase(&self) -> Phase {
        self.seen().phase
    }

    /// Attempts and failures of the window that ends now.
    pub(crate) fn counts(&self, now: Instant) -> (u64, u64) {
        let number = self.number(now);
        (self.window.attempts.sum(number), self.window.failures.sum(number))
    }

    /// How long it will stay open.
    pub(crate) fn open_for(&self, now: Instant) -> Option<Duration> {
        let state = self.seen();
        let left = STEP * u32::try_from(state.step.saturating_sub(self.step(now))).unwrap_or(u32::MAX);
        (state.phase == Phase::Open).then_some(left)
    }

    /// Whether the next attempt would not go out. Changes nothing.
    pub(crate) fn refuses(&self, now: Instant) -> bool {
        let state = self.seen();
        match state.phase {
            Phase::Closed => false,
            Phase::Open => self.step(now) < state.step,
            Phase::HalfOpen => !self.has_room(state) && !self.is_stuck(state, now),
        }
    }

    /// Asks for an attempt.
    pub(crate) fn admit(&self, now: Instant) -> Admission {
        let through = |state: State, change| Admission {
            ticket: Some(Ticket { epoch: state.epoch, probe: state.phase == Phase::HalfOpen }),
            change,
        };
        let refused = |change| Admission { ticket: None, change };
        let mut seen = self.seen();
        loop {
            let next = match seen.phase {
                Phase::Closed => return through(seen, None),
                Phase::Open if self.step(now) < seen.step => return refused(None),
                Phase::Open => State { taken: 1, ..seen.begin(Phase::HalfOpen, self.step(now)) },
                Phase::HalfOpen if self.is_stuck(seen, now) => self.reopened(seen, now),
                Phase::HalfOpen if self.has_room(seen) => State { taken: seen.taken + 1, ..seen },
                Phase::HalfOpen => return refused(None),
            };
            match self.change(seen, next) {
                Ok(()) => {
                    let change = (next.epoch != seen.epoch).then_some(next.phase);
                    return if next.phase == Phase::Open { refused(change) } else { through(next, change) };
                }
                Err(now) => seen = now,
            }
        }
    }

    /// Gives a ticket back. Returns the phase that this has begun.
    pub(crate) fn conclude(&self, ticket: Ticket, verdict: Verdict, now: Instant) -> Option<Phase> {
        if ticket.probe {
            return self.probed(ticket, verdict, now);
        }
        if verdict == Verdict::Nothing || !self.is_closed_since(ticket) {
            return None;
        }
        self.window.attempts.add(self.number(now));
        if verdict == Verdict::Failure { self.failed(ticket, now) } else { None }
    }

    /// An attempt that was concluded as a success has failed after all, behind the head of its answer.
    pub(crate) fn fail_late(&self, ticket: Ticket, now: Instant) -> Option<Phase> {
        if ticket.probe || !self.is_closed_since(ticket) { None } else { self.failed(ticket, now) }
    }

    /// Counts a failure; opens the breaker if it was one too many. Looked at with failures alone: a success makes
    /// nothing worse.
    fn failed(&self, ticket: Ticket, now: Instant) -> Option<Phase> {
        self.window.failures.add(self.number(now));
        let (attempts, failures) = self.counts(now);
        let enough = attempts >= u64::from(self.trip.min_requests);
        let share = failures.min(attempts) as f64 * 100.0 / attempts.max(1) as f64;
        if !enough || share < self.trip.failure_percent {
            return None;
        }
        let seen = self.seen();
        if seen.phase != Phase::Closed || seen.epoch != ticket.epoch {
            return None;
        }
        let until = self.step(now) + steps(self.trip.open.initial);
        let next = State { doublings: 0, ..seen.begin(Phase::Open, until) };
        self.change(seen, next).ok().map(|()| Phase::Open)
    }

    fn probed(&self, ticket: Ticket, verdict: Verdict, now: Instant) -> Option<Phase> {
        let mut seen = self.seen();
        loop {
            if seen.phase != Phase::HalfOpen || seen.epoch != ticket.epoch {
                return None;
            }
            let next = match verdict {
                Verdict::Nothing => State { taken: seen.taken.saturating_sub(1), ..seen },
                Verdict::Failure => self.reopened(seen, now),
                Verdict::Success if u32::from(seen.succeeded) + 1 < self.trip.probe_requests => {
                    State { succeeded: seen.succeeded + 1, ..seen }
                }
                Verdict::Success => {
                    // Nobody counts in this phase: what is forgotten here is what was before it.
                    self.window.attempts.clear();
                    self.window.failures.clear();
                    State { doublings: 0, ..seen.begin(Phase::Closed, 0) }
                }
            };
            match self.change(seen, next) {
                Ok(()) => return (next.epoch != seen.epoch).then_some(next.phase),
                Err(now) => seen = now,
            }
        }
    }

    /// Open again, for twice as long.
    fn reopened(&self, seen: State, now: Instant) -> State {
        let doublings = (seen.doublings + 1).min(DOUBLINGS);
        let open = self.trip.open;
        let time = open.initial.saturating_mul(1 << doublings).min(open.max.max(open.initial));
        State { doublings, ..seen.begin(Phase::Open, self.step(now) + steps(time)) }
    }

    fn has_room(&self, state: State) -> bool {
        u32::from(state.taken) < self.trip.probe_requests
    }

    /// Probes that neither succeed nor fail for as long as a breaker may stay open have failed: a Service that hangs
    /// must not keep everybody out for ever.
    fn is_stuck(&self, state: State, now: Instant) -> bool {
        self.step(now).saturating_sub(state.step) >= steps(self.trip.open.max)
    }

    fn is_closed_since(&self, ticket: Ticket) -> bool {
        let seen = self.seen();
        seen.phase == Phase::Closed && seen.epoch == ticket.epoch
    }

    fn seen(&self) -> State {
        State::of(self.word.bits.load(Ordering::Acquire))
    }

    fn change(&self, seen: State, next: State) -> Result<(), State> {
        let bits = &self.word.bits;
        let changed = bits.compare_exchange(seen.bits(), next.bits(), Ordering::AcqRel, Ordering::Acquire);
        changed.map(drop).map_err(State::of)
    }

    fn start(&self, now: Instant) -> Instant {
        *self.word.start.get_or_init(|| now)
    }

    fn step(&self, now: Instant) -> u64 {
        (now.saturating_duration_since(self.start(now)).as_millis() / STEP.as_millis()) as u64
    }

    fn number(&self, now: Instant) -> u32 {
        ring::number(self.start(now), now, self.window.slot)
    }
}

impl Window {
    fn of(trip: &Trip) -> Self {
        Self { slot: ring::slot_of(trip.window), attempts: Ring::default(), failures: Ring::default() }
    }
}

/// A time in steps, rounded up.
fn steps(time: Duration) -> u64 {
    u64::try_from(time.as_millis().div_ceil(STEP.as_millis())).unwrap_or(STEPS).min(STEPS)
}

#[cfg(test)]
mod tests;
