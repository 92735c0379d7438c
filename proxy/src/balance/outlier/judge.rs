//! Decides about all endpoints of a cell at once: who is ejected, who may be tried again, who is back.

use std::time::{Duration, Instant};

use outrigger_config::model::{FailurePercent, OutlierDetection, SuccessRate};

use super::tally::{Phase, Rate};
use crate::telemetry::metrics::Detector;

/// An endpoint's ejections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sentence {
    /// By how many ejections the next one is lengthened.
    pub(crate) times: u32,
    /// Why it was ejected last.
    pub(crate) why: Option<Detector>,
    /// While it is out, when it may be tried again; while it is in use, when one of `times` is forgotten.
    pub(crate) due: Option<Instant>,
}

/// What there is to know about one endpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) phase: Phase,
    pub(crate) sentence: Sentence,
    /// Active checks say nothing against it.
    pub(crate) healthy: bool,
    /// Its requests of the interval that has ended; `None`: none has.
    pub(crate) rate: Option<Rate>,
}

/// What is decided about an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is out for so long.
    Ejected(Detector, Duration),
    /// It stays in use because too many others are out.
    Withheld(Detector),
    /// It may have one request at a time.
    HalfOpen,
    /// A request has succeeded: it is in use again.
    Returned,
    /// It is in use again without that: nothing else is left, or nobody judges any more.
    Released,
    /// An ejection is forgotten.
    Forgiven,
}

/// One decision; it holds if the endpoint is still in the phase that it was judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    pub(crate) index: usize,
    pub(crate) from: Phase,
    pub(crate) to: Phase,
    pub(crate) sentence: Sentence,
    pub(crate) change: Change,
}

/// Decides about `cases`, which are all endpoints of a cell.
pub(crate) fn judge(cases: &mut [Case], limits: &OutlierDetection, now: Instant) -> Vec<Judged> {
    let mut bench = Bench { cases, limits, now, decisions: Vec::new() };
    if limits.is_off() {
        bench.release(|phase| phase != Phase::InUse);
        return bench.decisions;
    }
    bench.probed();
    bench.suspects();
    bench.rates();
    bench.served();
    if bench.usable() == 0 {
        bench.release(Phase::is_out);
    }
    bench.decisions
}

struct Bench<'a> {
    cases: &'a mut [Case],
    limits: &'a OutlierDetection,
    now: Instant,
    decisions: Vec<Judged>,
}

impl Bench<'_> {
    fn usable(&self) -> usize {
        self.cases.iter().filter(|case| case.healthy && case.phase.is_in_use()).count()
    }

    /// Whether one more may be out.
    fn may_eject(&self, index: usize) -> bool {
        let out = self.cases.iter().filter(|case| case.phase.is_out()).count();
        let most = (self.cases.len() as f64 * self.limits.max_ejection_percent / 100.0) as usize;
        let own = usize::from(self.cases[index].healthy);
        out < most.max(1) && self.usable() > own
    }

    fn decide(&mut self, index: usize, to: Phase, change: Change, sentence: Sentence) {
        let case = &mut self.cases[index];
        self.decisions.push(Judged { index, from: case.phase, to, sentence, change });
        (case.phase, case.sentence) = (to, sentence);
    }

    fn eject(&mut self, index: usize, why: Detector) {
        let times = self.cases[index].sentence.times.saturating_add(1);
        let time = self.limits.base_ejection.saturating_mul(times).min(self.limits.max_ejection);
        let sentence = Sentence { times, why: Some(why), due: Some(self.now + time) };
        self.decide(index, Phase::Ejected, Change::Ejected(why, time), sentence);
    }

    fn eject_or_withhold(&mut self, index: usize, why: Detector) {
        if self.may_eject(index) {
            return self.eject(index, why);
        }
        let last = self.usable() <= usize::from(self.cases[index].healthy);
        self.decide(index, Phase::InUse, Change::Withheld(why), self.cases[index].sentence);
        if last {
            self.try_others();
        }
    }

    /// The last usable endpoint fails: those that are out are tried again before their time.
    fn try_others(&mut self) {
        for index in 0..self.cases.len() {
            let Case { phase, healthy, sentence, .. } = self.cases[index];
            // One that was ejected just now has failed as the last one does.
            let fresh = self.decisions.iter().any(|one| one.index == index && one.to == Phase::Ejected);
            if phase == Phase::Ejected && healthy && !fresh {
                // It has not served its time: if it fails, that makes the next one no longer.
                let sentence = Sentence { due: None, times: sentence.times.saturating_sub(1), ..sentence };
                self.decide(index, Phase::HalfOpen, Change::HalfOpen, sentence);
            }
        }
    }

    fn release(&mut self, which: fn(Phase) -> bool) {
        for index in 0..self.cases.len() {
            if which(self.cases[index].phase) {
                self.decide(index, Phase::InUse, Change::Released, self.served_out(index));
            }
        }
    }

    /// The record of an endpoint that is in use from now on.
    fn served_out(&self, index: usize) -> Sentence {
        let sentence = self.cases[index].sentence;
        Sentence { due: (sentence.times > 0).then(|| self.now + self.limits.interval), ..sentence }
    }

    fn probed(&mut self) {
        for index in 0..self.cases.len() {
            match self.cases[index].phase {
                Phase::Passed => {
                    self.decide(index, Phase::InUse, Change::Returned, self.served_out(index));
                }
                Phase::Failed => self.eject(index, Detector::Probe),
                _ => {}
            }
        }
    }

    fn suspects(&mut self) {
        for index in 0..self.cases.len() {
            if let Phase::Suspect(why) = self.cases[index].phase {
                self.eject_or_withhold(index, why);
            }
        }
    }

    /// At the end of an interval, the worst first.
    fn rates(&mut self) {
        let mut bad: Vec<(usize, f64, Detector)> = Vec::new();
        if let Some(own) = &self.limits.success_rate {
            let rates = self.measured(own.min_requests);
            let floor = floor(own, &rates);
            let below = rates.iter().filter(|(_, success)| floor.is_some_and(|floor| *success < floor));
            bad.extend(below.map(|(index, success)| (*index, *success, Detector::SuccessRate)));
        }
        if let Some(own) = &self.limits.failure_percent {
            let rates = self.measured(own.min_requests);
            let over = rates.iter().filter(|(_, success)| fails(own, rates.len(), *success));
            bad.extend(over.map(|(index, success)| (*index, *success, Detector::FailurePercent)));
        }
        bad.sort_by(|a, b| a.1.total_cmp(&b.1));
        for (index, _, why) in bad {
            if self.cases[index].phase == Phase::InUse {
                self.eject_or_withhold(index, why);
            }
        }
    }

    /// The success rates of endpoints in use with enough requests.
    fn measured(&self, least: u32) -> Vec<(usize, f64)> {
        let numbered = self.cases.iter().enumerate();
        let measured = numbered.filter_map(|(index, case)| {
            let rate = case.rate.filter(|rate| case.phase == Phase::InUse && rate.requests >= least)?;
            Some((index, 1.0 - f64::from(rate.failures) / f64::from(rate.requests)))
        });
        measured.collect()
    }

    /// What time alone changes.
    fn served(&mut self) {
        for index in 0..self.cases.len() {
            let Case { phase, sentence, .. } = self.cases[index];
            let over = sentence.due.is_none_or(|due| due <= self.now);
            match phase {
                Phase::Ejected if over => {
                    self.decide(index, Phase::HalfOpen, Change::HalfOpen, Sentence { due: None, ..sentence });
                }
                Phase::InUse if over && sentence.times > 0 => {
                    self.cases[index].sentence.times -= 1;
                    self.decide(index, phase, Change::Forgiven, self.served_out(index));
                }
                _ => {}
            }
        }
    }
}

/// The success rate below which an endpoint is an outlier.
fn floor(own: &SuccessRate, rates: &[(usize, f64)]) -> Option<f64> {
    if rates.is_empty() || rates.len() < own.min_hosts as usize {
        return None;
    }
    let count = rates.len() as f64;
    let mean = rates.iter().map(|(_, rate)| rate).sum::<f64>() / count;
    let variance = rates.iter().map(|(_, rate)| (rate - mean).powi(2)).sum::<f64>() / count;
    Some(mean - own.stdev_factor * variance.sqrt())
}

fn fails(own: &FailurePercent, hosts: usize, success: f64) -> bool {
    // Some thousandths of rounding must not spare an endpoint that is exactly at the threshold.
    hosts >= own.min_hosts as usize && (1.0 - success) * 100.0 >= own.threshold - 1e-9
}
