//! How the matches of GRPCRoutes are found: by the service and method that are called.
//!
//! Matches on one service and method, and those on one service alone, are neighbours in the list of candidates and found
//! by hash. Those that name no service, or have expressions, are tried one after the other.

use std::ops::Range;

use super::{Candidate, Index, first, slice};
use crate::{
    decide::Head,
    route::{
        call::{is_call, named},
        matcher::{Path, Value},
    },
};

/// Where in the list of candidates the matches of each call stand.
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// By the path of the call.
    exact: Index,
    /// On service and method, by expressions.
    both: Range<u32>,
    /// By the service, of those on a service alone.
    services: Index,
    /// All others, up to the end of the list.
    rest: Range<u32>,
}

impl Calls {
    pub(super) fn index(candidates: &[Candidate]) -> Self {
        let end = candidates.len() as u32;
        let mut calls = Self { both: end..end, rest: end..end, ..Self::default() };
        for (at, candidate) in (0u32..).zip(candidates) {
            let parts = match &candidate.path {
                Path::Call(call) => call.parts(),
                _ => [None, None],
            };
            let range = match parts {
                [Some(service @ Value::Exact(_)), Some(method @ Value::Exact(_))] => {
                    let path = format!("/{}/{}", service.text(), method.text());
                    calls.exact.entry(path.into()).or_insert(at..at)
                }
                [Some(_), Some(_)] => &mut calls.both,
                [Some(service @ Value::Exact(_)), None] => {
                    calls.services.entry(service.text().into()).or_insert(at..at)
                }
                _ => &mut calls.rest,
            };
            *range = range.start.min(at)..at + 1;
        }
        calls
    }

    pub(super) fn find<'a>(&self, candidates: &'a [Candidate], head: &Head<'_>) -> Option<&'a Candidate> {
        if !is_call(head) {
            return None;
        }
        let walk = |range: &Range<u32>| {
            slice(candidates, range).iter().find(|candidate| candidate.miss_of_call(head).is_none())
        };
        let of_service = || self.services.get(named(head.path)?.0).and_then(walk);
        let exact = self.exact.get(head.path).and_then(|range| first(candidates, range, head));
        exact.or_else(|| walk(&self.both)).or_else(of_service).or_else(|| walk(&self.rest))
    }
}

#[cfg(test)]
mod tests;
