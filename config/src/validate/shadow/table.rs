//! The matches of one port in the order in which they are asked, and which of them others always take first.
//!
//! A match is hidden by one that is asked before it and holds whenever it holds itself. Since the more specific match is
//! asked first, only two kinds of match can do that: one with the same path and conditions on the same names, and one
//! whose path is an expression. What takes two others together to hide is not found.

use std::collections::HashMap;

use super::language::{self, Alphabet, COMPARISON, Language, Languages};
use crate::{
    model::{HeaderMatch, PathMatch, Precedence, QueryMatch, StringMatch},
    yaml::Span,
};

/// A match, by its route, rule and place in the rule: the order of age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct MatchId {
    pub(super) route: usize,
    pub(super) rule: usize,
    pub(super) index: usize,
}

/// A match with its conditions; headers and parameters are sorted by name.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) id: MatchId,
    pub(super) span: Span,
    pub(super) conditions: Conditions,
}

/// What a match asks for, in a form in which equal conditions are equal values.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Conditions {
    pub(super) path: PathMatch,
    pub(super) headers: Vec<HeaderMatch>,
    pub(super) query: Vec<QueryMatch>,
    pub(super) method: Option<&'static str>,
}

impl Conditions {
    fn precedence(&self) -> Precedence<'_> {
        Precedence::of(&self.path, self.method.is_some(), self.headers.len(), self.query.len())
    }

    /// The path, the method and the names of the other conditions.
    fn shape(&self) -> Shape<'_> {
        let headers = self.headers.iter().map(|header| &*header.name).collect();
        let query = self.query.iter().map(|parameter| &*parameter.name).collect();
        (&self.path, self.method, headers, query)
    }

    fn has_expression_in_values(&self) -> bool {
        let is_regex = |value: &StringMatch| matches!(value, StringMatch::Regex(_));
        self.headers.iter().any(|header| is_regex(&header.value))
            || self.query.iter().any(|parameter| is_regex(&parameter.value))
    }

    fn has_expression_in_path(&self) -> bool {
        match &self.path {
            PathMatch::Regex(_) => true,
            PathMatch::Exact(_) | PathMatch::Prefix(_) => false,
            PathMatch::Grpc(call) => [&call.service, &call.method]
                .into_iter()
                .any(|name| matches!(name, Some(StringMatch::Regex(_)))),
        }
    }
}

type Shape<'a> = (&'a PathMatch, Option<&'static str>, Vec<&'a str>, Vec<&'a str>);

/// The hidden ones of `candidates`, each with one that hides it.
pub(super) fn hidden(candidates: &[&Candidate], languages: &mut Languages) -> HashMap<MatchId, MatchId> {
    let mut ordered: Vec<&Candidate> = candidates.to_vec();
    ordered.sort_by_cached_key(|candidate| candidate.id);
    ordered.sort_by(|a, b| a.conditions.precedence().cmp(&b.conditions.precedence()));
    let mut equal: HashMap<&Conditions, &Candidate> = HashMap::new();
    let mut alike: HashMap<Shape<'_>, Vec<&Candidate>> = HashMap::new();
    let mut names: HashMap<&str, Vec<&Candidate>> = HashMap::new();
    let mut broad: Vec<&Candidate> = Vec::new();
    let mut found = HashMap::new();
    for candidate in ordered {
        let conditions = &candidate.conditions;
        let name = match &conditions.path {
            PathMatch::Regex(pattern) => language::literal(pattern),
            _ => None,
        };
        let of_name = name.and_then(|name| names.get(&*name)).into_iter().flatten();
        let of_shape = alike.get(&conditions.shape()).into_iter().flatten();
        let mut earlier = of_shape.chain(of_name).chain(&broad).copied();
        let hider = equal.get(conditions).copied().or_else(|| {
            earlier.find(|earlier| {
                languages.spend(COMPARISON) && covers(&earlier.conditions, conditions, languages)
            })
        });
        if let Some(hider) = hider {
            // Whatever it would hide, its hider hides.
            found.insert(candidate.id, hider.id);
            continue;
        }
        equal.insert(conditions, candidate);
        if conditions.has_expression_in_path() {
            broad.push(candidate);
        } else if conditions.has_expression_in_values() {
            alike.entry(conditions.shape()).or_default().push(candidate);
        }
        if let PathMatch::Exact(path) = &conditions.path {
            names.entry(path).or_default().push(candidate);
        }
        if languages.is_spent() {
            (broad, alike, names) = (Vec::new(), HashMap::new(), HashMap::new());
        }
    }
    found
}

/// Whether the first holds for every request for which the second does.
fn covers(outer: &Conditions, inner: &Conditions, languages: &mut Languages) -> bool {
    let of_header = |name: &str| inner.headers.iter().find(|header| *header.name == *name);
    let of_parameter = |name: &str| inner.query.iter().find(|parameter| *parameter.name == *name);
    let names = (outer.method.is_none() || outer.method == inner.method)
        && outer.headers.iter().all(|header| of_header(&header.name).is_some())
        && outer.query.iter().all(|parameter| of_parameter(&parameter.name).is_some());
    let mut value = |outer: &StringMatch, inner: &StringMatch| {
        languages.covers(language_of(outer), language_of(inner), Alphabet::Value)
    };
    names
        && outer
            .headers
            .iter()
            .all(|header| of_header(&header.name).is_some_and(|inner| value(&header.value, &inner.value)))
        && outer.query.iter().all(|parameter| {
            of_parameter(&parameter.name).is_some_and(|inner| value(&parameter.value, &inner.value))
        })
        && covers_path(&outer.path, &inner.path, languages)
}

fn covers_path(outer: &PathMatch, inner: &PathMatch, languages: &mut Languages) -> bool {
    match (outer, inner) {
        (PathMatch::Grpc(outer), PathMatch::Grpc(inner)) => {
            let mut name = |outer: &Option<StringMatch>, inner: &Option<StringMatch>| match (outer, inner) {
                (None, _) => true,
                // Without a condition also a path holds that names nothing, and no expression admits that.
                (Some(_), None) => false,
                (Some(outer), Some(inner)) => {
                    languages.covers(language_of(outer), language_of(inner), Alphabet::Name)
                }
            };
            name(&outer.service, &inner.service) && name(&outer.method, &inner.method)
        }
        (outer, inner) => match (path_language(outer), path_language(inner)) {
            (Some(outer), Some(inner)) => languages.covers(outer, inner, Alphabet::Path),
            _ => false,
        },
    }
}

fn language_of(value: &StringMatch) -> Language<'_> {
    match value {
        StringMatch::Exact(text) => Language::Exact(text),
        StringMatch::Regex(pattern) => Language::Regex(pattern),
    }
}

fn path_language(path: &PathMatch) -> Option<Language<'_>> {
    match path {
        PathMatch::Exact(path) => Some(Language::Exact(path)),
        PathMatch::Prefix(path) => Some(Language::Prefix(path)),
        PathMatch::Regex(pattern) => Some(Language::Regex(pattern)),
        PathMatch::Grpc(_) => None,
    }
}
