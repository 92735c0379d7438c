//! The table against a reading of the Gateway API's precedence that knows no index, and the cases worth a name.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use outrigger_config::model::{
    Backoff, HeaderMatch, ObjectName, Origin, PathMatch, QueryMatch, Retry, RetryBudget, RetryOn, RouteKind,
    RouteMatch, RuleId, StringMatch, Timeouts, TrafficSettings,
};
use proptest::{collection::vec, option, prelude::*, sample::select};

use super::*;
use crate::{ctx::Side, policy::budget::Budget, telemetry::metrics::Metrics};

fn settings() -> Arc<TrafficSettings> {
    Arc::new(TrafficSettings {
        timeouts: Timeouts {
            request: None,
            attempt: None,
            connect: None,
            stream_idle: None,
            stream_idle_set: false,
        },
        retry: Retry {
            attempts: 0,
            on: RetryOn::default(),
            backoff: Backoff { least: Duration::ZERO, base: Duration::ZERO, max: Duration::ZERO },
            budget: RetryBudget { percent: 20.0, min_per_second: 10, ttl: Duration::from_secs(10) },
            idempotent: false,
        },
        ..TrafficSettings::default()
    })
}

pub(super) fn origin() -> Origin {
    Origin { file: "policy.yaml".into(), line: 1, column: 1 }
}

pub(super) fn source(name: usize, rank: u32, matches: Vec<RouteMatch>) -> RouteRule {
    RouteRule {
        id: RuleId {
            kind: RouteKind::HTTPRoute,
            route: ObjectName::new("shop", "route"),
            rule: name.to_string().into(),
        },
        origin: origin(),
        rank,
        matches,
        request_headers: vec![],
        response_headers: vec![],
        redirect: None,
        rewrite: None,
        cors: None,
        session: None,
        mirrors: vec![],
        backends: vec![],
        settings: settings(),
    }
}

pub(super) fn table(sources: &[RouteRule]) -> RouteTable {
    let metrics = Metrics::new(1).route(Side::Outbound, "shop/reviews:80", "route");
    let compiled = sources
        .iter()
        .map(|source| {
            let rule = Rule {
                id: Some(source.id.clone()),
                service: "shop/reviews:80".into(),
                route: source.id.to_string().into(),
                origin: None,
                settings: source.settings.clone(),
                request_headers: [].into(),
                response_headers: [].into(),
                redirect: None,
                rewrite: None,
                cors: None,
                rate_limits: None,
                security: None,
                concurrency: None,
                fault: None,
                fallback: None,
                session: None,
                mirrors: [].into(),
                backends: [].into(),
                total_weight: 0,
                budget: Arc::new(Budget::new(source.settings.retry.budget)),
                metrics: metrics.clone(),
            };
            (Arc::new(rule), source)
        })
        .collect();
    RouteTable::build(compiled, &mut Regexes::default()).unwrap()
}

fn on(path: PathMatch) -> RouteMatch {
    RouteMatch { path, headers: vec![], query: vec![], method: None, origin: origin() }
}

fn prefix(path: &str) -> RouteMatch {
    on(PathMatch::Prefix(path.into()))
}

fn exact(path: &str) -> RouteMatch {
    on(PathMatch::Exact(path.into()))
}

fn regex(path: &str) -> RouteMatch {
    on(PathMatch::Regex(path.into()))
}

fn header(mut of: RouteMatch, name: &str, value: &str) -> RouteMatch {
    of.headers.push(HeaderMatch { name: name.into(), value: StringMatch::Exact(value.into()) });
    of
}

fn query(mut of: RouteMatch, name: &str, value: &str) -> RouteMatch {
    of.query.push(QueryMatch { name: name.into(), value: StringMatch::Exact(value.into()) });
    of
}

fn method(mut of: RouteMatch, method: &str) -> RouteMatch {
    of.method = Some(method.into());
    of
}

/// A request of a test.
#[derive(Clone, Debug)]
struct Request {
    method: Method,
    path: String,
    query: Option<String>,
    headers: HeaderMap,
}

impl Request {
    fn get(target: &str) -> Self {
        let (path, query) =
            target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        Self {
            method: Method::GET,
            path: path.into(),
            query: query.map(Into::into),
            headers: HeaderMap::new(),
        }
    }

    fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.append(name, HeaderValue::from_static(value));
        self
    }

    fn head(&self) -> Head<'_> {
        Head {
            method: &self.method,
            path: &self.path,
            query: self.query.as_deref(),
            host: "reviews",
            port: None,
            headers: &self.headers,
        }
    }
}

/// The number of the rule that the table finds.
fn found(table: &RouteTable, request: &Request) -> Option<usize> {
    let rule = table.find(&request.head())?;
    Some(rule.id.as_ref().unwrap().rule.parse().unwrap())
}

/// Rules of one match each, in order; the number of the one that is found.
fn first_of(matches: &[RouteMatch], request: Request) -> Option<usize> {
    let sources: Vec<_> = matches
        .iter()
        .enumerate()
        .map(|(index, one)| source(index, index as u32, vec![one.clone()]))
        .collect();
    found(&table(&sources), &request)
}

#[test]
fn exact_then_expression_then_longest_prefix() {
    let rules = [prefix("/"), prefix("/a"), prefix("/a/b"), regex("/a/.*"), exact("/a/b/c")];
    let get = |path| first_of(&rules, Request::get(path));
    assert_eq!(get("/a/b/c"), Some(4));
    assert_eq!(get("/a/b/d"), Some(3));
    assert_eq!(get("/a"), Some(1));
    assert_eq!(get("/ab"), Some(0));
    let rules = [prefix("/"), prefix("/a"), prefix("/a/b")];
    let get = |path| first_of(&rules, Request::get(path));
    assert_eq!(get("/a/b/d"), Some(2));
    assert_eq!(get("/a/b/"), Some(2));
    assert_eq!(get("/a/bc"), Some(1));
    assert_eq!(get("/"), Some(0));
}

#[test]
fn the_longer_expression_comes_first() {
    assert_eq!(first_of(&[regex("/.*"), regex("/a[0-9]+")], Request::get("/a1")), Some(1));
    assert_eq!(first_of(&[regex("/.*"), regex("/a[0-9]+")], Request::get("/b")), Some(0));
}

#[test]
fn method_before_headers_before_query_before_rank() {
    let all = [
        prefix("/"),
        query(query(prefix("/"), "a", "1"), "b", "2"),
        header(prefix("/"), "x", "1"),
        header(header(prefix("/"), "x", "1"), "y", "2"),
        method(prefix("/"), "GET"),
    ];
    let full = || Request::get("/?a=1&b=2").with("x", "1").with("y", "2");
    for count in (1..=5).rev() {
        let expected = [0, 1, 2, 3, 4][count - 1];
        assert_eq!(first_of(&all[..count], full()), Some(expected));
    }
    assert_eq!(first_of(&[prefix("/"), prefix("/")], full()), Some(0), "rank decides a tie");
    let reversed = [source(0, 9, vec![prefix("/")]), source(1, 3, vec![prefix("/")])];
    assert_eq!(found(&table(&reversed), &full()), Some(1));
}

#[test]
fn a_condition_that_fails_leaves_the_request_to_the_next() {
    let rules = [prefix("/"), header(exact("/a"), "x", "1"), method(prefix("/a"), "POST")];
    assert_eq!(first_of(&rules, Request::get("/a")), Some(0));
    assert_eq!(first_of(&rules, Request::get("/a").with("x", "1")), Some(1));
    assert_eq!(first_of(&rules[1..], Request::get("/a")), None);
    assert_eq!(first_of(&[], Request::get("/a")), None);
}

#[test]
fn the_first_of_equal_names_counts() {
    let twice = header(header(prefix("/"), "x", "1"), "x", "2");
    assert_eq!(first_of(std::slice::from_ref(&twice), Request::get("/").with("x", "1")), Some(0));
    // And it counts once for precedence.
    assert_eq!(first_of(&[header(prefix("/"), "x", "1"), twice], Request::get("/").with("x", "1")), Some(0));
}

#[test]
fn a_path_of_slashes_costs_no_more_than_the_longest_prefix() {
    let long = format!("/{}", "a/".repeat(8_000));
    assert_eq!(first_of(&[prefix("/"), prefix("/a/a")], Request::get(&long)), Some(1));
}

#[test]
fn prefixes_of_any_length() {
    let long = format!("/{}", "segment/".repeat(20));
    let rules = [prefix("/"), prefix("/segment"), prefix(long.trim_end_matches('/')), prefix(&long[..64])];
    assert_eq!(first_of(&rules, Request::get(&long)), Some(2));
    assert_eq!(first_of(&rules, Request::get(&long[..80])), Some(3));
    assert_eq!(first_of(&rules, Request::get(&long[..63])), Some(1));
}

#[test]
fn every_candidate_is_recorded() {
    #[derive(Default)]
    struct Lines(Vec<String>);
    impl Recorder for Lines {
        fn candidate(&mut self, rule: &Rule, match_index: usize, miss: Option<NotMatched<'_>>) {
            let rule = &rule.id.as_ref().unwrap().rule;
            self.0.push(match miss {
                None => format!("{rule}.{match_index} holds"),
                Some(miss) => format!("{rule}.{match_index} {miss:?}"),
            });
        }
    }
    let sources = [
        source(0, 0, vec![prefix("/"), method(exact("/a"), "POST")]),
        source(1, 1, vec![header(regex("/.*"), "x", "1"), query(prefix("/b"), "q", "1")]),
        source(2, 2, vec![query(prefix("/a"), "q", "1"), exact("/b")]),
        source(3, 3, vec![prefix("/")]),
    ];
    let mut lines = Lines::default();
    table(&sources).record_all(&Request::get("/a").head(), &mut lines);
    assert_eq!(
        lines.0,
        [
            "0.1 Method",
            "2.1 Path",
            "1.0 Header(\"x\")",
            "2.0 Query(\"q\")",
            "1.1 Path",
            "0.0 holds",
            "3.0 holds"
        ]
    );
}

/// The specification, read as it stands: all matches that hold, and the best of them.
fn by_the_letter(sources: &[RouteRule], request: &Request) -> Option<usize> {
    let mut holding: Vec<_> = sources
        .iter()
        .enumerate()
        .flat_map(|(number, rule)| {
            rule.matches.iter().enumerate().map(move |(index, one)| (number, rule, index, one))
        })
        .filter(|(_, _, _, one)| holds(one, request))
        .collect();
    holding.sort_by_key(|(_, rule, index, one)| {
        let path = match &one.path {
            PathMatch::Exact(_) => (0, 0),
            PathMatch::Regex(pattern) => (1, usize::MAX - pattern.len()),
            PathMatch::Prefix(path) => (2, usize::MAX - path.len()),
            PathMatch::Grpc(_) => (3, 0),
        };
        (
            path,
            one.method.is_none(),
            usize::MAX - one.headers.len(),
            usize::MAX - one.query.len(),
            rule.rank,
            *index,
        )
    });
    holding.first().map(|(number, ..)| *number)
}

fn holds(one: &RouteMatch, request: &Request) -> bool {
    let whole =
        |pattern: &str, value: &str| regex::Regex::new(&format!("^(?:{pattern})$")).unwrap().is_match(value);
    let value = |wanted: &StringMatch, value: &str| match wanted {
        StringMatch::Exact(exact) => **exact == *value,
        StringMatch::Regex(pattern) => whole(pattern, value),
    };
    let path = match &one.path {
        PathMatch::Grpc(_) => false,
        PathMatch::Exact(path) => **path == *request.path,
        PathMatch::Regex(pattern) => whole(pattern, &request.path),
        PathMatch::Prefix(path) => {
            let wanted = path.split('/').filter(|segment| !segment.is_empty());
            let mut segments = request.path.split('/').filter(|segment| !segment.is_empty());
            wanted.into_iter().all(|segment| segments.next() == Some(segment))
        }
    };
    let joined = |name: &str| {
        let values: Vec<_> =
            request.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
        (!values.is_empty()).then(|| values.join(","))
    };
    let parameter = |name: &str| {
        let query = request.query.as_deref()?;
        query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|pair| pair.0 == name)
            .map(|pair| pair.1)
    };
    path && one.method.as_deref().is_none_or(|method| method == request.method.as_str())
        && one.headers.iter().all(|one| joined(&one.name).is_some_and(|found| value(&one.value, &found)))
        && one.query.iter().all(|one| parameter(&one.name).is_some_and(|found| value(&one.value, found)))
}

fn any_path() -> impl Strategy<Value = String> {
    vec(select(vec!["a", "b", "ab"]), 0..4).prop_map(|segments| format!("/{}", segments.join("/")))
}

fn any_value() -> impl Strategy<Value = StringMatch> {
    prop_oneof![
        select(vec!["1", "2", "1,2"]).prop_map(|value| StringMatch::Exact(value.into())),
        select(vec!["1|2", "1.*", "[2]"]).prop_map(|value| StringMatch::Regex(value.into())),
    ]
}

fn any_names() -> impl Strategy<Value = Vec<(&'static str, StringMatch)>> {
    (option::of(any_value()), option::of(any_value())).prop_map(|(x, y)| {
        x.map(|value| ("x", value)).into_iter().chain(y.map(|value| ("y", value))).collect()
    })
}

fn any_match() -> impl Strategy<Value = RouteMatch> {
    let path = prop_oneof![
        any_path().prop_map(|path| PathMatch::Exact(path.into())),
        any_path().prop_map(|path| PathMatch::Prefix(path.into())),
        select(vec!["/a.*", "/(a|b)/.*", ".*b", "/a/b"]).prop_map(|path| PathMatch::Regex(path.into())),
    ];
    (path, any_names(), any_names(), option::of(select(vec!["GET", "POST"]))).prop_map(
        |(path, headers, query, method)| RouteMatch {
            path,
            headers: headers
                .into_iter()
                .map(|(name, value)| HeaderMatch { name: name.into(), value })
                .collect(),
            query: query.into_iter().map(|(name, value)| QueryMatch { name: name.into(), value }).collect(),
            method: method.map(Into::into),
            origin: origin(),
        },
    )
}

fn any_request() -> impl Strategy<Value = Request> {
    let pairs = || vec((select(vec!["x", "y"]), select(vec!["1", "2"])), 0..4);
    (any_path(), any::<bool>(), pairs(), pairs(), any::<bool>()).prop_map(
        |(path, slash, headers, query, get)| {
            let path = if slash && path != "/" { format!("{path}/") } else { path };
            let query: Vec<_> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            Request {
                method: if get { Method::GET } else { Method::POST },
                path,
                query: (!query.is_empty()).then(|| query.join("&")),
                headers: map,
            }
        },
    )
}

/// Takes note of the first match that holds.
#[derive(Default)]
struct First(Option<usize>);

impl Recorder for First {
    fn candidate(&mut self, rule: &Rule, _: usize, miss: Option<NotMatched<'_>>) {
        if miss.is_none() && self.0.is_none() {
            self.0 = rule.id.as_ref().map(|id| id.rule.parse().unwrap());
        }
    }
}

proptest! {
    #[test]
    fn the_table_finds_what_the_specification_says(
        rules in vec(vec(any_match(), 1..4), 0..12),
        requests in vec(any_request(), 1..12),
        swap in any::<bool>(),
    ) {
        let count = rules.len() as u32;
        let sources: Vec<_> = rules
            .into_iter()
            .enumerate()
            .map(|(index, matches)| {
                let rank = if swap { count - index as u32 } else { index as u32 };
                source(index, rank, matches)
            })
            .collect();
        let table = table(&sources);
        for request in requests {
            let expected = by_the_letter(&sources, &request);
            prop_assert_eq!(found(&table, &request), expected, "{:?}", request);
            let mut first = First::default();
            table.record_all(&request.head(), &mut first);
            prop_assert_eq!(first.0, expected, "what is explained is what happens: {:?}", request);
        }
    }
}
