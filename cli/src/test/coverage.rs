//! Which rules, and which of their matches, no case takes.

use std::collections::BTreeMap;

use outrigger_config::model::Resources;
use outrigger_proxy::explain::Report;
use serde::Serialize;

/// The rules of a policy, and what the cases took of them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Coverage {
    /// Rules that some case takes.
    covered: usize,
    /// All rules.
    rules: usize,
    /// The part of the rules that some case takes; 100 where there is no rule.
    pub(super) percent: f64,
    /// Matches that no case takes.
    untouched: Vec<Untouched>,
    /// By rule and its place: each match with its place, and whether it was taken.
    #[serde(skip)]
    all: BTreeMap<(String, String), Vec<(String, bool)>>,
}

/// A match that no case takes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Untouched {
    rule: String,
    origin: String,
    /// No match of its rule was taken.
    whole_rule: bool,
}

impl Coverage {
    /// Of all rules that a Sidecar sees; nothing taken yet.
    pub(super) fn of(resources: &Resources) -> Self {
        let ports = resources.destinations.iter().flat_map(|one| &one.ports);
        let rules = ports.flat_map(|port| port.routes.iter().flatten());
        let all = rules.map(|rule| {
            let matches = rule.matches.iter().map(|one| (one.origin.to_string(), false)).collect();
            ((rule.id.to_string(), rule.origin.to_string()), matches)
        });
        Self { covered: 0, rules: 0, percent: 0.0, untouched: Vec::new(), all: all.collect() }
    }

    /// Counts the match that a request takes.
    pub(super) fn touch(&mut self, report: &Report) {
        for taken in report.candidates.iter().filter(|candidate| candidate.taken) {
            let rule = self.all.iter_mut().filter(|((name, _), _)| *name == taken.rule);
            for (place, touched) in rule.flat_map(|(_, matches)| matches) {
                *touched |= *place == taken.origin;
            }
        }
    }

    /// Sums up.
    pub(super) fn conclude(&mut self) {
        self.rules = self.all.len();
        self.covered = self.all.values().filter(|matches| matches.iter().any(|(_, taken)| *taken)).count();
        self.percent = if self.rules == 0 { 100.0 } else { self.covered as f64 * 100.0 / self.rules as f64 };
        for ((rule, _), matches) in &self.all {
            let whole_rule = matches.iter().all(|(_, taken)| !taken);
            let missing = matches.iter().filter(|(_, taken)| !taken);
            self.untouched.extend(missing.map(|(origin, _)| Untouched {
                rule: rule.clone(),
                origin: origin.clone(),
                whole_rule,
            }));
        }
    }

    /// The sum, and what no case takes.
    pub(super) fn to_text(&self) -> String {
        let percent = self.percent.floor();
        let mut out = format!("rules: {} of {} taken ({percent} %)\n", self.covered, self.rules);
        for one in &self.untouched {
            let what = if one.whole_rule { "no case takes rule" } else { "no case takes a match of rule" };
            out.push_str(&format!("         {what} {}  ({})\n", one.rule, one.origin));
        }
        out
    }
}
