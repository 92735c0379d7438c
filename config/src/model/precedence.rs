//! Which of the matches on one Service port is asked first: the Gateway API's order, and where it leaves a choice, ours.
//!
//! Of HTTPRoutes: exact path; regular expression; longest prefix; then a method condition; most header conditions; most
//! query conditions. Of GRPCRoutes: service and method, a service, a method, neither; longest service, longest method;
//! most header conditions. Then come the rule's rank and the order of its matches, which are not part of this value.
//!
//! The specification leaves the place of expressions open. Longer patterns come first. Those for paths stand before
//! prefixes, as in Envoy Gateway and Contour, since a catch-all prefix `/` would hide them otherwise. Those for service
//! and method stand behind names of both and, for the same reason, before a service alone.

use std::cmp::Reverse;

use super::{PathMatch, RouteMatch, StringMatch};

/// The place of a match among those of its port; the smaller is asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Precedence<'a> {
    class: u8,
    parts: [Part<'a>; 2],
    method: Reverse<bool>,
    headers: Reverse<usize>,
    query: Reverse<usize>,
}

/// A path, a service or a method: whether it is an expression, its length, and the text of a name, which only keeps
/// equal ones together.
type Part<'a> = (bool, Reverse<usize>, &'a str);

/// What is not asked for.
const OPEN: Part<'_> = (true, Reverse(0), "");

impl RouteMatch {
    /// Its place. Of several conditions on one name the first counts, as the Gateway API has it.
    pub fn precedence(&self) -> Precedence<'_> {
        let headers = distinct(self.headers.iter().map(|header| &*header.name));
        let query = distinct(self.query.iter().map(|parameter| &*parameter.name));
        Precedence::of(&self.path, self.method.is_some(), headers, query)
    }
}

impl<'a> Precedence<'a> {
    /// The place of a match with this path, with a method condition or without, and with so many others.
    pub(crate) fn of(path: &'a PathMatch, method: bool, headers: usize, query: usize) -> Self {
        let (class, parts) = match path {
            PathMatch::Exact(path) => (0, [name(path), OPEN]),
            PathMatch::Regex(pattern) => (1, [expression(pattern), OPEN]),
            PathMatch::Prefix(path) => (2, [name(path), OPEN]),
            PathMatch::Grpc(call) => {
                let class = 2 * u8::from(call.service.is_none()) + u8::from(call.method.is_none());
                (class, [part(call.service.as_ref()), part(call.method.as_ref())])
            }
        };
        Self { class, parts, method: Reverse(method), headers: Reverse(headers), query: Reverse(query) }
    }
}

fn part(of_call: Option<&StringMatch>) -> Part<'_> {
    match of_call {
        Some(StringMatch::Exact(text)) => name(text),
        Some(StringMatch::Regex(pattern)) => expression(pattern),
        None => OPEN,
    }
}

fn name(text: &str) -> Part<'_> {
    (false, Reverse(text.chars().count()), text)
}

fn expression(pattern: &str) -> Part<'_> {
    (true, Reverse(pattern.chars().count()), "")
}

/// How many different names there are. A match has 16 conditions of a kind at most.
fn distinct<'a>(names: impl Iterator<Item = &'a str> + Clone) -> usize {
    let first = |(at, name): &(usize, &str)| names.clone().take(*at).all(|earlier| earlier != *name);
    names.clone().enumerate().filter(first).count()
}
