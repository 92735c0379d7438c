//! Precedence of gRPC matches, what is a call, and the same table against the specification read as it stands.

use http::{HeaderMap, HeaderValue, Method};
use outrigger_config::model::{CallMatch, HeaderMatch, PathMatch, RouteMatch, RouteRule, StringMatch};
use proptest::{collection::vec, option, prelude::*, sample::select};

use crate::{
    decide::{Head, NotMatched, Recorder},
    route::{
        RouteTable,
        table::tests::{origin, source, table},
    },
    runtime::snapshot::Rule,
};

fn exact(text: &str) -> Option<StringMatch> {
    Some(StringMatch::Exact(text.into()))
}

fn regex(text: &str) -> Option<StringMatch> {
    Some(StringMatch::Regex(text.into()))
}

fn call(service: Option<StringMatch>, method: Option<StringMatch>) -> RouteMatch {
    let path = PathMatch::Grpc(CallMatch { service, method });
    RouteMatch { path, headers: vec![], query: vec![], method: None, origin: origin() }
}

fn header(mut of: RouteMatch, name: &str, value: &str) -> RouteMatch {
    of.headers.push(HeaderMatch { name: name.into(), value: StringMatch::Exact(value.into()) });
    of
}

/// A request of a test.
#[derive(Clone, Debug)]
struct Call {
    method: Method,
    path: String,
    headers: HeaderMap,
}

impl Call {
    fn to(path: &str) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        Self { method: Method::POST, path: path.to_owned(), headers }
    }

    fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    fn head(&self) -> Head<'_> {
        let (method, headers) = (&self.method, &self.headers);
        Head { method, path: &self.path, query: None, host: "cart", port: None, headers }
    }
}

fn found(table: &RouteTable, call: &Call) -> Option<usize> {
    table.find(&call.head()).map(|rule| rule.id.as_ref().unwrap().rule.parse().unwrap())
}

/// Rules of one match each, in order.
fn rules(matches: &[RouteMatch]) -> Vec<RouteRule> {
    let rule = |(index, one): (usize, &RouteMatch)| source(index, index as u32, vec![one.clone()]);
    matches.iter().enumerate().map(rule).collect()
}

fn first_of(matches: &[RouteMatch], call: Call) -> Option<usize> {
    found(&table(&rules(matches)), &call)
}

#[test]
fn service_and_method_then_service_then_method_then_anything() {
    let all = [
        call(None, None),
        call(None, regex("A.*")),
        call(None, exact("Add")),
        call(regex("shop\\..*"), None),
        call(exact("shop.Cart"), None),
        call(regex("shop\\.Cart"), regex("A.*")),
        call(regex("shop\\.Cart|x"), regex("A.*")),
        call(exact("shop.Cart"), exact("Add")),
    ];
    for count in (1..=all.len()).rev() {
        assert_eq!(first_of(&all[..count], Call::to("/shop.Cart/Add")), Some(count - 1));
    }
    assert_eq!(first_of(&all, Call::to("/shop.Cart/Ask")), Some(6));
    assert_eq!(first_of(&all, Call::to("/shop.Cart/Remove")), Some(4));
    assert_eq!(first_of(&all, Call::to("/shop.Stock/Add")), Some(3));
    assert_eq!(first_of(&all, Call::to("/bank.Pay/Add")), Some(2));
    assert_eq!(first_of(&all, Call::to("/bank.Pay/Ask")), Some(1));
    assert_eq!(first_of(&all, Call::to("/bank.Pay/Refund")), Some(0));
    assert_eq!(first_of(&all[1..], Call::to("/bank.Pay/Refund")), None);
}

#[test]
fn more_headers_then_rank() {
    let to = || Call::to("/shop.Cart/Add").with("x", "1").with("y", "2");
    let add = || call(exact("shop.Cart"), exact("Add"));
    let all = [add(), header(add(), "x", "1"), header(header(add(), "x", "1"), "y", "2")];
    assert_eq!(first_of(&all, to()), Some(2));
    assert_eq!(first_of(&all[..2], to()), Some(1));
    assert_eq!(first_of(&[add(), add()], to()), Some(0));
    // A header does not make up for a method.
    let service = header(header(call(exact("shop.Cart"), None), "x", "1"), "y", "2");
    assert_eq!(first_of(&[service.clone(), add()], to()), Some(1));
    // What fails leaves the call to the next: another header, then the service alone.
    let other = header(add(), "x", "other");
    assert_eq!(first_of(&[service, other], to()), Some(0));
}

#[test]
fn only_grpc_calls_match() {
    let all = [call(None, None)];
    assert_eq!(first_of(&all, Call::to("/a.B/C")), Some(0));
    for content_type in ["application/grpc+proto", "application/grpc;a=b", "Application/GRPC"] {
        assert_eq!(first_of(&all, Call::to("/a.B/C").with("content-type", content_type)), Some(0));
    }
    for content_type in ["application/json", "application/grpc-web", "application/grpcx", ""] {
        assert_eq!(first_of(&all, Call::to("/a.B/C").with("content-type", content_type)), None);
    }
    let get = Call { method: Method::GET, ..Call::to("/a.B/C") };
    assert_eq!(first_of(&all, get), None);
}

#[test]
fn a_path_that_names_no_method_meets_no_condition() {
    for path in ["/", "/Cart", "/Cart/", "/shop.Cart/"] {
        assert_eq!(first_of(&[call(exact("shop.Cart"), regex(".*"))], Call::to(path)), None, "{path}");
        assert_eq!(first_of(&[call(None, regex(".*"))], Call::to(path)), None, "{path}");
        assert_eq!(first_of(&[call(None, None)], Call::to(path)), Some(0), "{path}");
    }
    // The last slash divides, as servers read it.
    assert_eq!(first_of(&[call(exact("a"), None)], Call::to("/a/b/c")), None);
    assert_eq!(first_of(&[call(regex("a/b"), exact("c"))], Call::to("/a/b/c")), Some(0));
}

#[test]
fn letter_case_counts() {
    assert_eq!(first_of(&[call(exact("shop.Cart"), None)], Call::to("/shop.cart/Add")), None);
    assert_eq!(first_of(&[call(None, exact("Add"))], Call::to("/shop.Cart/add")), None);
}

/// Takes note of every candidate.
#[derive(Default)]
struct Lines(Vec<String>);

impl Recorder for Lines {
    fn candidate(&mut self, rule: &Rule, _: usize, miss: Option<NotMatched<'_>>) {
        let rule = &rule.id.as_ref().unwrap().rule;
        self.0.push(miss.map_or(format!("{rule} holds"), |miss| format!("{rule} {miss:?}")));
    }
}

#[test]
fn a_recorder_hears_what_is_not_met() {
    let all = rules(&[
        call(None, None),
        call(exact("shop.Cart"), exact("Add")),
        call(exact("shop.Cart"), exact("Remove")),
        header(call(exact("shop.Cart"), None), "x", "1"),
        call(regex("bank.*"), None),
    ]);
    let heard = |call: &Call| {
        let mut lines = Lines::default();
        table(&all).record_all(&call.head(), &mut lines);
        lines.0
    };
    let expected = ["2 GrpcMethod", "1 GrpcMethod", "3 Header(\"x\")", "4 GrpcService", "0 holds"];
    assert_eq!(heard(&Call::to("/shop.Cart/List")), expected);
    let get = Call { method: Method::GET, ..Call::to("/shop.Cart/List") };
    assert_eq!(heard(&get), ["2 NotGrpc", "1 NotGrpc", "3 NotGrpc", "4 NotGrpc", "0 NotGrpc"]);
}

/// The specification, read as it stands: all matches that hold, and the best of them.
fn by_the_letter(sources: &[RouteRule], call: &Call) -> Option<usize> {
    let matches = sources.iter().enumerate().flat_map(|(number, rule)| {
        rule.matches.iter().enumerate().map(move |(index, one)| (number, rule.rank, index, one))
    });
    let mut holding: Vec<_> = matches.filter(|(.., one)| holds(one, call)).collect();
    holding.sort_by_key(|(_, rank, index, one)| {
        let PathMatch::Grpc(path) = &one.path else { unreachable!() };
        let part = |part: &Option<StringMatch>| match part {
            Some(StringMatch::Exact(name)) => (0, usize::MAX - name.len()),
            Some(StringMatch::Regex(pattern)) => (1, usize::MAX - pattern.len()),
            None => (2, 0),
        };
        let open = (path.service.is_none(), path.method.is_none());
        let parts = (part(&path.service), part(&path.method));
        (open, parts, usize::MAX - one.headers.len(), *rank, *index)
    });
    holding.first().map(|(number, ..)| *number)
}

fn holds(one: &RouteMatch, call: &Call) -> bool {
    let PathMatch::Grpc(path) = &one.path else { unreachable!() };
    let (service, method) = call.path[1..].split_once('/').unwrap();
    let value = |wanted: &StringMatch, found: &str| match wanted {
        StringMatch::Exact(exact) => **exact == *found,
        StringMatch::Regex(pattern) => {
            regex::Regex::new(&format!("^(?:{pattern})$")).unwrap().is_match(found)
        }
    };
    call.method == Method::POST
        && path.service.as_ref().is_none_or(|wanted| value(wanted, service))
        && path.method.as_ref().is_none_or(|wanted| value(wanted, method))
        && one.headers.iter().all(|one| {
            let found = call.headers.get(&*one.name);
            found.is_some_and(|found| value(&one.value, found.to_str().unwrap()))
        })
}

fn any_name() -> impl Strategy<Value = Option<StringMatch>> {
    option::of(prop_oneof![
        select(vec!["a", "b", "a.b", "a.bc"]).prop_map(|name| StringMatch::Exact(name.into())),
        select(vec!["a.*", "(a|b)", "[^.]*b", "a"]).prop_map(|name| StringMatch::Regex(name.into())),
    ])
}

fn any_match() -> impl Strategy<Value = RouteMatch> {
    let headers = vec((select(vec!["x", "y"]), select(vec!["1", "2"])), 0..2);
    (any_name(), any_name(), headers).prop_map(|(service, method, headers)| {
        headers.into_iter().fold(call(service, method), |one, (name, value)| header(one, name, value))
    })
}

fn any_call() -> impl Strategy<Value = Call> {
    let name = || select(vec!["a", "b", "a.b", "a.bc", "c"]);
    (name(), name(), option::of(select(vec!["1", "2"])), prop::bool::weighted(0.9)).prop_map(
        |(service, method, x, post)| {
            let call = Call::to(&format!("/{service}/{method}"));
            let call = x.map_or(call.clone(), |x| call.with("x", x));
            Call { method: if post { Method::POST } else { Method::GET }, ..call }
        },
    )
}

proptest! {
    #[test]
    fn the_table_finds_what_the_specification_says(
        matches in vec(vec(any_match(), 1..4), 0..12),
        calls in vec(any_call(), 1..12),
        swap in any::<bool>(),
    ) {
        let count = matches.len() as u32;
        let rank = |index: usize| if swap { count - index as u32 } else { index as u32 };
        let sources: Vec<_> = matches
            .into_iter()
            .enumerate()
            .map(|(index, matches)| source(index, rank(index), matches))
            .collect();
        let table = table(&sources);
        for call in calls {
            let expected = by_the_letter(&sources, &call);
            prop_assert_eq!(found(&table, &call), expected, "{:?}", call);
            let mut lines = Lines::default();
            table.record_all(&call.head(), &mut lines);
            let held = lines.0.iter().find_map(|line| line.strip_suffix(" holds"));
            prop_assert_eq!(held.map(|rule| rule.parse().unwrap()), expected, "{:?}", call);
        }
    }
}
