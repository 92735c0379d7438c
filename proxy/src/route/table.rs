//! The rules of one Service port, indexed so that finding the rule does not go through all of them.
//!
//! Precedence is the Gateway API's, over all matches of all rules: `outrigger_config::model::Precedence` has it, then come
//! the rule's rank and the order of its matches.
//!
//! All matches stand in one list in that order, in which those that are looked up together are neighbours.

mod calls;
mod paths;

use std::{ops::Range, sync::Arc};

use outrigger_config::model::RouteRule;

use super::{
    call::is_call,
    matcher::{Conditions, Path, Regexes},
};
use crate::{
    decide::{Head, NotMatched, Recorder},
    runtime::{BuildError, snapshot::Rule},
};
use calls::Calls;
use paths::Paths;

type Index = foldhash::HashMap<Box<str>, Range<u32>>;

/// Finds the rule for a request to one Service port.
#[derive(Debug)]
pub struct RouteTable {
    rules: Box<[Arc<Rule>]>,
    /// Every match of every rule, in precedence order.
    candidates: Box<[Candidate]>,
    by: By,
}

/// What candidates are looked up by: routes of one port are of one kind.
#[derive(Debug)]
enum By {
    Path(Paths),
    Call(Calls),
}

/// One match. It holds its rule itself: in a large policy every step to another place in memory costs as much as all
/// the comparing.
#[derive(Debug)]
struct Candidate {
    rule: Arc<Rule>,
    conditions: Conditions,
    match_index: u32,
    path: Path,
}

impl Candidate {
    /// The first condition that fails.
    fn miss(&self, head: &Head<'_>) -> Option<NotMatched<'_>> {
        match self.path {
            Path::Call(_) if !is_call(head) => Some(NotMatched::NotGrpc),
            _ => self.miss_of_call(head),
        }
    }

    /// The same for a request that is a call where one is asked for.
    fn miss_of_call(&self, head: &Head<'_>) -> Option<NotMatched<'_>> {
        self.path.miss(head.path).or_else(|| self.conditions.miss(head))
    }
}

impl RouteTable {
    /// Indexes `rules`, each with what it was compiled from.
    pub(crate) fn build(
        rules: Vec<(Arc<Rule>, &RouteRule)>,
        regexes: &mut Regexes,
    ) -> Result<Self, BuildError> {
        let mut candidates = Vec::new();
        for (rule, source) in &rules {
            for (match_index, from) in source.matches.iter().enumerate() {
                let candidate = Candidate {
                    conditions: Conditions::compile(from, regexes)?,
                    rule: rule.clone(),
                    match_index: match_index as u32,
                    path: Path::compile(&from.path, regexes)?,
                };
                candidates.push((candidate, (from.precedence(), source.rank, match_index)));
            }
        }
        candidates.sort_by_key(|(_, order)| *order);
        let candidates: Box<[Candidate]> = candidates.into_iter().map(|(candidate, _)| candidate).collect();
        let by = match candidates.iter().any(|candidate| matches!(candidate.path, Path::Call(_))) {
            true => By::Call(Calls::index(&candidates)),
            false => By::Path(Paths::index(&candidates)),
        };
        Ok(Self { rules: rules.into_iter().map(|(rule, _)| rule).collect(), candidates, by })
    }

    /// The rule for a request, if one matches.
    #[inline]
    pub fn find(&self, head: &Head<'_>) -> Option<&Arc<Rule>> {
        let found = match &self.by {
            By::Path(paths) => paths.find(&self.candidates, head),
            By::Call(calls) => calls.find(&self.candidates, head),
        };
        found.map(|found| &found.rule)
    }

    /// The rules, in the order of the routes.
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// Reports every match in precedence order.
    pub(crate) fn record_all<R: Recorder>(&self, head: &Head<'_>, recorder: &mut R) {
        for candidate in &self.candidates {
            let miss = candidate.miss(head);
            recorder.candidate(&candidate.rule, candidate.match_index as usize, miss);
        }
    }
}

/// The first of the candidates in a range that holds; their paths are known to.
#[inline]
fn first<'a>(candidates: &'a [Candidate], range: &Range<u32>, head: &Head<'_>) -> Option<&'a Candidate> {
    slice(candidates, range).iter().find(|candidate| candidate.conditions.miss(head).is_none())
}

#[inline]
fn slice<'a>(candidates: &'a [Candidate], range: &Range<u32>) -> &'a [Candidate] {
    &candidates[range.start as usize..range.end as usize]
}

#[cfg(test)]
mod shadowed;
#[cfg(test)]
mod tests;
