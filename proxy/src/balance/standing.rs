//! What is known about one endpoint beside its load: its ejections, and what active checks say of it. Only who holds its
//! cell's writer lock changes it; no request reads it.

use std::time::{Duration, Instant, SystemTime};

use super::outlier::{Phase, Sentence};
use crate::telemetry::metrics::Detector;

/// What active checks say of an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// No check has come to an end, or there is none.
    #[default]
    Unknown,
    /// Checks pass.
    Healthy,
    /// Checks fail.
    Unhealthy,
}

/// What came of the last active check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastCheck {
    /// When it ended.
    pub at: SystemTime,
    /// Why it failed; `None`: it passed.
    pub failure: Option<String>,
}

/// The record of one endpoint.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    pub(super) sentence: Sentence,
    pub(super) health: Health,
    pub(super) last_check: Option<LastCheck>,
    /// When it came into use, where its share grows from then on.
    pub(super) warms_since: Option<Instant>,
}

/// Where an endpoint stands, in the words of the admin API and of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It gets its share.
    Usable,
    /// It is left out because requests to it failed.
    Ejected,
    /// It was ejected and gets one request at a time.
    HalfOpen,
    /// It is left out because active checks fail.
    Unhealthy,
}

impl State {
    /// Every state, in the order of their numbers.
    pub const ALL: [State; 4] = [State::Usable, State::Ejected, State::HalfOpen, State::Unhealthy];

    /// As metrics print it.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Usable => "usable",
            State::Ejected => "ejected",
            State::HalfOpen => "half_open",
            State::Unhealthy => "unhealthy",
        }
    }

    pub(super) fn of(phase: Phase, health: Health) -> Self {
        match phase {
            _ if health == Health::Unhealthy => State::Unhealthy,
            Phase::InUse | Phase::Suspect(_) => State::Usable,
            Phase::Ejected | Phase::Failed => State::Ejected,
            Phase::HalfOpen | Phase::Probing(_) | Phase::Begun(_) | Phase::Passed => State::HalfOpen,
        }
    }
}

/// All that is known about an endpoint, for people.
#[derive(Clone, Debug)]
pub struct Report {
    /// Where it stands.
    pub state: State,
    /// What ejected it last, if anything has.
    pub why: Option<Detector>,
    /// How long it is still out.
    pub back_in: Option<Duration>,
    /// By how many ejections its next one is lengthened.
    pub ejections: u32,
    /// Failures in a row: 5xx, gateway errors, local errors.
    pub runs: [u32; 3],
    /// What active checks say.
    pub health: Health,
    /// What came of the last one.
    pub last_check: Option<LastCheck>,
}

impl Standing {
    pub(super) fn report(&self, phase: Phase, runs: [u32; 3], now: Instant) -> Report {
        let due = self.sentence.due.filter(|_| phase == Phase::Ejected);
        Report {
            state: State::of(phase, self.health),
            why: self.sentence.why,
            back_in: due.map(|due| due.saturating_duration_since(now)),
            ejections: self.sentence.times,
            runs,
            health: self.health,
            last_check: self.last_check.clone(),
        }
    }
}
