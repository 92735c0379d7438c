//! The rules of one port's TLSRoutes by server name.
//!
//! The most specific name wins, as the Gateway API has it: an exact one, then the longest suffix, then a rule without
//! names; of equal ones that with the lower rank. A name costs one look-up, and one per label where no exact one is.

use std::sync::Arc;

use outrigger_config::model::{self, ServerNameMatch};

use crate::{
    decide::{Claim, Recorder},
    runtime::opaque::ConnectionRule,
};

/// A rule and its names.
type Named = (Arc<ConnectionRule>, Box<[ServerNameMatch]>);
type Index = foldhash::HashMap<Arc<str>, Arc<ConnectionRule>>;

/// Finds the rule for a TLS connection.
#[derive(Debug, Default)]
pub struct ServerNames {
    /// By rank, each with its names.
    rules: Box<[Named]>,
    exact: Index,
    /// What follows `*.`.
    below: Index,
    /// Takes every name, and no name.
    any: Option<Arc<ConnectionRule>>,
}

impl ServerNames {
    /// Indexes rules, each with what it was compiled from.
    pub(crate) fn build(mut rules: Vec<(Arc<ConnectionRule>, &model::ConnectionRule)>) -> Self {
        rules.sort_by_key(|(_, from)| from.rank);
        let mut names = Self::default();
        for (rule, from) in &rules {
            if from.server_names.is_empty() {
                names.any.get_or_insert_with(|| rule.clone());
            }
            for name in &from.server_names {
                let (index, name) = match name {
                    ServerNameMatch::Exact(name) => (&mut names.exact, name),
                    ServerNameMatch::Below(name) => (&mut names.below, name),
                };
                index.entry(name.clone()).or_insert_with(|| rule.clone());
            }
        }
        names.rules =
            rules.into_iter().map(|(rule, from)| (rule, from.server_names.as_slice().into())).collect();
        names
    }

    /// The rule for a server name, lower-cased and without trailing dot, if one takes it.
    pub fn find(&self, name: Option<&str>) -> Option<&Arc<ConnectionRule>> {
        let Some(name) = name else { return self.any.as_ref() };
        let exact = self.exact.get(name);
        exact.or_else(|| suffixes(name).find_map(|suffix| self.below.get(suffix))).or(self.any.as_ref())
    }

    /// Every rule, by rank.
    pub(crate) fn rules(&self) -> impl Iterator<Item = &Arc<ConnectionRule>> {
        self.rules.iter().map(|(rule, _)| rule)
    }

    /// Tells of every rule whether it takes the name, the one that is taken first.
    pub(crate) fn record_all<R: Recorder>(&self, name: Option<&str>, recorder: &mut R) {
        let found = self.find(name);
        found.into_iter().for_each(|rule| recorder.connection_candidate(rule, Claim::Takes));
        let others =
            self.rules.iter().filter(|(rule, _)| found.is_none_or(|found| !Arc::ptr_eq(found, rule)));
        for (rule, names) in others {
            let claim = if holds(names, name) { Claim::Outdone } else { Claim::OtherName };
            recorder.connection_candidate(rule, claim);
        }
    }
}

/// Whether some name of a rule is this one; a rule without names takes everything.
fn holds(names: &[ServerNameMatch], name: Option<&str>) -> bool {
    let fits = |name: &str| {
        names.iter().any(|one| match one {
            ServerNameMatch::Exact(exact) => **exact == *name,
            ServerNameMatch::Below(parent) => suffixes(name).any(|suffix| **parent == *suffix),
        })
    };
    names.is_empty() || name.is_some_and(fits)
}

/// What a name is below: of `a.b.c` that is `b.c` and `c`, the longest first.
fn suffixes(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(name.split_once('.'), |(_, rest)| rest.split_once('.')).map(|(_, suffix)| suffix)
}
