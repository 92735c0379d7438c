//! The rules of one Service port, indexed so that finding the rule does not go through all of them.
//!
//! Precedence is the Gateway API's, over all matches of all rules: exact path; regular expression; longest prefix; then
//! a method condition; most header conditions; most query conditions; then the rule's rank, then the order of its
//! matches. The specification leaves the place of expressions open: they stand before prefixes, as in Envoy Gateway
//! and Contour, longer patterns first, since a catch-all prefix `/` would hide them otherwise.
//!
//! All matches stand in one list in that order. Those of one exact path, or of one prefix, are neighbours in it and
//! found by hash; expressions are tried one after the other. So the cost grows with the segments of the path, the
//! expressions of the table and the matches on the same path, not with the number of rules.

use std::{cmp::Reverse, ops::Range, sync::Arc};

use outrigger_config::model::RouteRule;

use super::matcher::{Conditions, Path, Regexes};
use crate::{
    decide::{Head, NotMatched, Recorder},
    runtime::{BuildError, snapshot::Rule},
};

type Index = foldhash::HashMap<Box<str>, Range<u32>>;

/// Finds the rule for a request to one Service port.
#[derive(Debug, Default)]
pub struct RouteTable {
    rules: Box<[Arc<Rule>]>,
    /// Every match of every rule, in precedence order.
    candidates: Box<[Candidate]>,
    exact: Index,
    regex: Range<u32>,
    prefix: Index,
    /// Bit n: there is a prefix of n bytes, the last bit stands for all longer ones. Spares most of the hashing.
    prefix_lengths: u64,
    /// Bytes of the longest prefix.
    longest: usize,
    /// The prefix `/`, which every path has.
    root: Range<u32>,
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
                candidates.push((candidate, source.rank));
            }
        }
        candidates.sort_by(|(a, a_rank), (b, b_rank)| order(a, *a_rank).cmp(&order(b, *b_rank)));
        let mut table = Self {
            rules: rules.into_iter().map(|(rule, _)| rule).collect(),
            candidates: candidates.into_iter().map(|(candidate, _)| candidate).collect(),
            ..Self::default()
        };
        table.index();
        Ok(table)
    }

    fn index(&mut self) {
        for (at, candidate) in self.candidates.iter().enumerate() {
            let at = at as u32;
            let range = match &candidate.path {
                Path::Exact(path) => self.exact.entry(path.clone()).or_insert(at..at),
                Path::Regex(_) if self.regex.is_empty() => {
                    self.regex = at..at;
                    &mut self.regex
                }
                Path::Regex(_) => &mut self.regex,
                Path::Prefix(path) if **path == *"/" && self.root.is_empty() => {
                    self.root = at..at;
                    &mut self.root
                }
                Path::Prefix(path) if **path == *"/" => &mut self.root,
                Path::Prefix(path) => {
                    self.prefix_lengths |= length_bit(path.len());
                    self.longest = self.longest.max(path.len());
                    self.prefix.entry(path.clone()).or_insert(at..at)
                }
            };
            range.end = at + 1;
        }
    }

    /// The rule for a request, if one matches.
    #[inline]
    pub fn find(&self, head: &Head<'_>) -> Option<&Arc<Rule>> {
        self.exact
            .get(head.path)
            .and_then(|range| self.first(range, head))
            .or_else(|| self.first_regex(head))
            .or_else(|| self.longest_prefix(head))
            .or_else(|| self.first(&self.root, head))
            .map(|found| &found.rule)
    }

    /// The rules, in the order of the routes.
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// Reports every match in precedence order, up to the first that holds.
    pub(crate) fn record_all<R: Recorder>(&self, head: &Head<'_>, recorder: &mut R) {
        for candidate in &self.candidates {
            let miss = match candidate.path.holds(head.path) {
                true => candidate.conditions.miss(head),
                false => Some(NotMatched::Path),
            };
            recorder.candidate(&candidate.rule, candidate.match_index as usize, miss);
            if miss.is_none() {
                return;
            }
        }
    }

    fn first(&self, range: &Range<u32>, head: &Head<'_>) -> Option<&Candidate> {
        self.slice(range).iter().find(|candidate| candidate.conditions.miss(head).is_none())
    }

    fn first_regex(&self, head: &Head<'_>) -> Option<&Candidate> {
        self.slice(&self.regex)
            .iter()
            .find(|candidate| candidate.path.holds(head.path) && candidate.conditions.miss(head).is_none())
    }

    /// Walks from the whole path to its first segment. Never further than the longest prefix of the table, whatever
    /// the caller sent.
    fn longest_prefix(&self, head: &Head<'_>) -> Option<&Candidate> {
        let path = head.path.as_bytes();
        (1..=path.len().min(self.longest))
            .rev()
            .filter(|end| {
                self.prefix_lengths & length_bit(*end) != 0 && path.get(*end).is_none_or(|next| *next == b'/')
            })
            .filter_map(|end| self.prefix.get(head.path.get(..end)?))
            .find_map(|range| self.first(range, head))
    }

    fn slice(&self, range: &Range<u32>) -> &[Candidate] {
        &self.candidates[range.start as usize..range.end as usize]
    }
}

/// The bit of `RouteTable::prefix_lengths` for a length.
fn length_bit(length: usize) -> u64 {
    1 << length.min(63)
}

/// The sort key of precedence, most important first. The path's text only keeps equal paths together.
fn order(candidate: &Candidate, rank: u32) -> impl Ord {
    // The pattern's own length is that of the wrapped one but for a constant.
    let (class, length, text) = match &candidate.path {
        Path::Exact(path) => (0, path.chars().count(), &**path),
        Path::Regex(regex) => (1, regex.as_str().chars().count(), ""),
        Path::Prefix(path) => (2, path.chars().count(), &**path),
    };
    let specificity = Reverse(candidate.conditions.specificity());
    (class, Reverse(length), text, specificity, rank, candidate.match_index)
}

#[cfg(test)]
mod tests;
