//! One attempt at an endpoint: it counts as open there until this is dropped, and whoever makes it says what came of it.
//!
//! An endpoint that was ejected and is on trial has at most one visit at a time that is a probe. Its verdict decides; a
//! probe that ends without one leaves the endpoint as it was.

use std::{
    cell::Cell,
    ops::Deref,
    sync::Arc,
    time::{Duration, Instant},
};

use outrigger_config::model::OutlierDetection;

use super::{
    Endpoint, OpenRequest,
    keeper::Bell,
    outlier::{Phase, Verdict},
};

/// How the endpoints of a cell are judged by what attempts come to, and who acts on it.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) limits: OutlierDetection,
    pub(super) bell: Bell,
}

/// One attempt at an endpoint.
#[derive(Debug)]
pub struct Visit {
    endpoint: Arc<Endpoint>,
    /// The phase that this visit, as a probe, has put the endpoint into.
    probe: Cell<Option<Phase>>,
    _open: OpenRequest,
}

impl Visit {
    /// Begins an attempt; where the endpoint is on trial and has no probe, this becomes it.
    pub(super) fn begin(endpoint: Arc<Endpoint>, now: Instant) -> Self {
        let probe = claim(&endpoint, Phase::HalfOpen, now);
        Self { _open: endpoint.state.begin(), probe: Cell::new(probe), endpoint }
    }

    /// Begins a probe of an endpoint on trial; `None`: it has one. One whose answer has begun, and has said nothing for as
    /// long as an ejection lasts, stands in nobody's way.
    pub(super) fn probe(endpoint: &Arc<Endpoint>, now: Instant) -> Option<Self> {
        let phase = endpoint.state.tally.phase();
        let free = match phase {
            Phase::HalfOpen => true,
            Phase::Begun(since) => {
                let silent = Duration::from_millis(endpoint.state.stamp(now).saturating_sub(since).into());
                endpoint.watch.as_ref().is_some_and(|watch| silent > watch.limits.base_ejection)
            }
            _ => false,
        };
        let probe = if free { claim(endpoint, phase, now)? } else { return None };
        Some(Self {
            _open: endpoint.state.begin(),
            probe: Cell::new(Some(probe)),
            endpoint: endpoint.clone(),
        })
    }

    /// Says what came of it. Of a probe only the first word counts.
    pub fn tell(&self, verdict: Verdict) {
        let Some(watch) = &self.endpoint.watch else { return };
        let tally = &self.endpoint.state.tally;
        let news = match self.probe.get() {
            None => tally.count(verdict, &watch.limits),
            Some(_) if verdict == Verdict::Nothing => false,
            Some(probing) if verdict == Verdict::Begun => {
                let begun = Phase::Begun(self.endpoint.state.stamp(Instant::now()));
                self.probe.set(tally.advance(probing, begun).then_some(begun));
                false
            }
            Some(probing) => {
                self.probe.set(None);
                let good = matches!(verdict, Verdict::Good | Verdict::Whole);
                tally.advance(probing, if good { Phase::Passed } else { Phase::Failed })
            }
        };
        if news {
            watch.bell.ring();
        }
    }

    /// Something of the answer has come: enough for a probe.
    #[inline]
    pub fn moved(&self) {
        if self.probe.get().is_some() {
            self.tell(Verdict::Good);
        }
    }
}

/// Makes an endpoint in `from` one that has a probe.
fn claim(endpoint: &Endpoint, from: Phase, now: Instant) -> Option<Phase> {
    let tally = &endpoint.state.tally;
    if tally.phase() != from {
        return None;
    }
    let probing = Phase::Probing(endpoint.state.stamp(now));
    tally.advance(from, probing).then_some(probing)
}

impl Deref for Visit {
    type Target = Endpoint;

    fn deref(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if let Some(probing) = self.probe.get() {
            self.endpoint.state.tally.advance(probing, Phase::HalfOpen);
        }
    }
}
