//! How the matches of HTTPRoutes are found: by the request's path.
//!
//! Those of one exact path, or of one prefix, are neighbours in the list of candidates and found by hash; expressions
//! are tried one after the other. So the cost grows with the segments of the path, the expressions of the table and the
//! matches on the same path, not with the number of rules.

use std::ops::Range;

use super::{Candidate, Index, first, slice};
use crate::{decide::Head, route::matcher::Path};

/// Where in the list of candidates the matches of each path stand.
#[derive(Debug, Default)]
pub(super) struct Paths {
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

impl Paths {
    pub(super) fn index(candidates: &[Candidate]) -> Self {
        let mut paths = Self::default();
        for (at, candidate) in (0u32..).zip(candidates) {
            let range = match &candidate.path {
                Path::Exact(path) => paths.exact.entry(path.clone()).or_insert(at..at),
                Path::Prefix(path) if **path == *"/" => begin(&mut paths.root, at),
                Path::Prefix(path) => {
                    paths.prefix_lengths |= length_bit(path.len());
                    paths.longest = paths.longest.max(path.len());
                    paths.prefix.entry(path.clone()).or_insert(at..at)
                }
                Path::Regex(_) | Path::Call(_) => begin(&mut paths.regex, at),
            };
            range.end = at + 1;
        }
        paths
    }

    #[inline]
    pub(super) fn find<'a>(&self, candidates: &'a [Candidate], head: &Head<'_>) -> Option<&'a Candidate> {
        self.exact
            .get(head.path)
            .and_then(|range| first(candidates, range, head))
            .or_else(|| self.first_regex(candidates, head))
            .or_else(|| self.longest_prefix(candidates, head))
            .or_else(|| first(candidates, &self.root, head))
    }

    fn first_regex<'a>(&self, candidates: &'a [Candidate], head: &Head<'_>) -> Option<&'a Candidate> {
        slice(candidates, &self.regex).iter().find(|candidate| candidate.miss(head).is_none())
    }

    /// Walks from the whole path to its first segment. Never further than the longest prefix of the table, whatever
    /// the caller sent.
    fn longest_prefix<'a>(&self, candidates: &'a [Candidate], head: &Head<'_>) -> Option<&'a Candidate> {
        let path = head.path.as_bytes();
        (1..=path.len().min(self.longest))
            .rev()
            .filter(|end| {
                self.prefix_lengths & length_bit(*end) != 0 && path.get(*end).is_none_or(|next| *next == b'/')
            })
            .filter_map(|end| self.prefix.get(head.path.get(..end)?))
            .find_map(|range| first(candidates, range, head))
    }
}

/// The range, which begins here if it is empty so far.
fn begin(range: &mut Range<u32>, at: u32) -> &mut Range<u32> {
    if range.start == range.end {
        *range = at..at;
    }
    range
}

/// The bit of `Paths::prefix_lengths` for a length.
fn length_bit(length: usize) -> u64 {
    1 << length.min(63)
}
