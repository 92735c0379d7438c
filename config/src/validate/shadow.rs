//! Rules and matches that no request ever reaches: because others always take theirs, because they ask for what no request
//! has, or because no caller sees the route.
//!
//! Everything said here is proven; what cannot be proven cheaply is not said. [`table`] finds what hides a match,
//! [`language`] compares expressions, [`callers`] knows whose routes hold.

mod callers;
mod language;
mod table;

use std::collections::HashMap;

use super::{Checks, arenas};
use crate::{
    compile::{everything, headers, query, target},
    diagnostic::{Code, Fault},
    model::{PathMatch, RouteKind},
    objects::Object,
    schema::{Match, Route, Rule},
    yaml::Span,
};
use language::Languages;
use table::{Candidate, Conditions, MatchId};

pub(super) fn check(checks: &mut Checks<'_>) {
    let routes = &checks.objects.routes;
    let arenas = arenas::all(routes, &checks.services);
    callers::check(&arenas, checks);
    let candidates: Vec<Vec<Candidate>> = routes.iter().enumerate().map(candidates_of).collect();
    let empty = impossible(&candidates, checks);
    let mut verdicts = Verdicts::default();
    let mut languages = Languages::default();
    // Ports of a Service mostly have the same routes, and then the same is found.
    let mut done: HashMap<Vec<usize>, HashMap<MatchId, MatchId>> = HashMap::new();
    for attached in arenas.into_values() {
        let holding = arenas::holding(routes, &attached);
        let all = || holding.iter().flat_map(|route| &candidates[*route]);
        let hidden = done.entry(holding.clone()).or_insert_with(|| {
            let here: Vec<&Candidate> = all().filter(|one| !empty.contains_key(&one.id)).collect();
            table::hidden(&here, &mut languages)
        });
        all().for_each(|one| verdicts.add(one.id, hidden.get(&one.id).copied()));
    }
    for (number, route) in routes.iter().enumerate() {
        for (index, rule) in route.body.spec.rules.iter().enumerate() {
            let own = candidates[number].iter().filter(|one| one.id.rule == index);
            let (own, reached): (Vec<&Candidate>, Vec<&Candidate>) =
                own.partition(|one| verdicts.hider(one.id).is_some() || empty.contains_key(&one.id));
            let hidden = own.iter().filter_map(|one| Some((*one, verdicts.hider(one.id)?)));
            let hidden: Vec<(&Candidate, MatchId)> = hidden.collect();
            let shown = |id: MatchId| Some((span_of(&candidates, id)?, name_of(&routes[id.route], id.rule)));
            let whole = reached.is_empty() && rule.matches.complete && hidden.len() == own.len();
            let hidden = hidden.into_iter().filter_map(|(one, by)| Some((one.span, shown(by)?)));
            report(rule, whole, hidden.collect(), checks);
        }
    }
}

/// What is known of each match: reached somewhere, or hidden wherever it was looked at.
#[derive(Default)]
struct Verdicts(HashMap<MatchId, Option<MatchId>>);

impl Verdicts {
    fn add(&mut self, id: MatchId, hider: Option<MatchId>) {
        let known = self.0.entry(id).or_insert(hider);
        if hider.is_none() {
            *known = None;
        }
    }

    fn hider(&self, id: MatchId) -> Option<MatchId> {
        self.0.get(&id).copied().flatten()
    }
}

/// The matches of a route; routes of connections have none that could be compared.
fn candidates_of((number, route): (usize, &Object<Route>)) -> Vec<Candidate> {
    if route.body.kind.is_opaque() {
        return Vec::new();
    }
    let rules = route.body.spec.rules.iter().enumerate();
    rules
        .flat_map(|(rule, body)| {
            let matches = own_matches(route.body.kind, body).into_iter().enumerate();
            matches.map(move |(index, (conditions, span))| Candidate {
                id: MatchId { route: number, rule, index },
                span,
                conditions,
            })
        })
        .collect()
}

fn own_matches(kind: RouteKind, rule: &Rule) -> Vec<(Conditions, Span)> {
    if rule.matches.is_empty() && rule.matches.complete {
        let all = Conditions { path: everything(kind), headers: Vec::new(), query: Vec::new(), method: None };
        return vec![(all, rule.span)];
    }
    rule.matches.iter().map(|one| (conditions(one), one.span())).collect()
}

fn conditions(one: &Match) -> Conditions {
    let mut headers = headers(one);
    headers.sort_by(|a, b| a.name.cmp(&b.name));
    let (mut query, method) = match one {
        Match::Http(one) => (query(one), one.method.map(|method| method.word())),
        Match::Grpc(_) => (Vec::new(), None),
    };
    query.sort_by(|a, b| a.name.cmp(&b.name));
    Conditions { path: target(one), headers, query, method }
}

/// Matches that ask for what no request has, reported; each with its place.
fn impossible(candidates: &[Vec<Candidate>], checks: &mut Checks<'_>) -> HashMap<MatchId, Span> {
    let mut found = HashMap::new();
    let mut known: HashMap<&str, bool> = HashMap::new();
    for one in candidates.iter().flatten() {
        let fault = match &one.conditions.path {
            PathMatch::Regex(pattern)
                if *known.entry(pattern).or_insert_with(|| language::admits_no_path(pattern)) =>
            {
                let message =
                    "the match never holds: every path begins with `/`, and the expression does not";
                let fault = Fault::warning(Code::Shadowed, one.span, message);
                fault.help("an expression must match the whole path, such as `/api/.*`")
            }
            _ => match one.conditions.headers.iter().find(|header| never_seen(&header.name)) {
                Some(header) => {
                    let message = format!(
                        "the match never holds: the proxy takes the header `{}` off before it routes",
                        header.name
                    );
                    Fault::warning(Code::Shadowed, one.span, message)
                }
                None => continue,
            },
        };
        found.insert(one.id, one.span);
        checks.push(fault);
    }
    found
}

/// Headers that hold between two neighbours, and those of the mesh: gone before a route is chosen.
fn never_seen(name: &str) -> bool {
    let hop = ["connection", "keep-alive", "proxy-connection", "http2-settings"];
    let own = name.get(..12).is_some_and(|start| start.replace(['_', '.'], "-") == "x-outrigger-");
    hop.contains(&name) || own
}

fn span_of(candidates: &[Vec<Candidate>], id: MatchId) -> Option<Span> {
    candidates.get(id.route)?.iter().find(|one| one.id == id).map(|one| one.span)
}

fn name_of(route: &Object<Route>, rule: usize) -> String {
    let name = route.body.spec.rules.get(rule).and_then(|rule| rule.name.as_ref());
    let shown = name.map_or_else(|| rule.to_string(), |name| name.value.0.to_string());
    format!("`{}/{shown}`", route.name)
}

/// A hidden match, what hides it and the name of the rule in which that stands.
type Hidden = (Span, (Span, String));

fn report(rule: &Rule, whole: bool, hidden: Vec<Hidden>, checks: &mut Checks<'_>) {
    if !whole {
        for (span, (by, name)) in hidden {
            let message = format!("the match is never chosen: {name} takes its requests first");
            checks.push(Fault::warning(Code::Shadowed, span, message).related(by, "this match hides it"));
        }
        return;
    }
    let mut names: Vec<&str> = hidden.iter().map(|(_, (_, name))| name.as_str()).collect();
    names.dedup();
    let (names, verb) = match names.as_slice() {
        [] => return,
        [one] => ((*one).to_owned(), "takes"),
        [one, two] => (format!("{one} and {two}"), "take"),
        [one, others @ ..] => (format!("{one} and {} others", others.len()), "take"),
    };
    let place = rule.name.as_ref().map_or(rule.span, |name| name.span);
    let message = format!("the rule never matches: {names} {verb} all its requests first");
    let mut fault = Fault::warning(Code::Shadowed, place, message);
    let mut places: Vec<Span> = Vec::new();
    for (_, (by, _)) in &hidden {
        if !places.contains(by) && places.len() < 3 {
            places.push(*by);
            fault = fault.related(*by, "this match hides it");
        }
    }
    checks.push(fault.help("remove one of the two, or add a condition"));
}
