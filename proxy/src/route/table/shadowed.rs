//! What `check` says of matches that are never chosen (OR145), against the decision itself: no request of a small world
//! reaches one of them.

use std::collections::HashSet;

use http::{HeaderMap, HeaderValue, Method};
use outrigger_config::{Code, SourceFile, check};
use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::select,
    test_runner::{Config, TestRunner},
};

use super::tests::table;
use crate::{
    decide::{Head, NotMatched, Recorder},
    runtime::snapshot::Rule,
};

const MESH: &str = "apiVersion: outrigger.dev/v1alpha1
kind: Sidecar
metadata: {name: app}
spec: {outbound: [{bind: \"127.0.0.1:15001\"}]}
---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {name: s}
spec: {ports: [{port: 80}], endpoints: [{address: \"127.0.0.1:9001\"}]}
";

const PATHS: [&str; 17] = [
    "{type: Exact, value: /a}",
    "{type: Exact, value: /a/b}",
    "{type: PathPrefix, value: /}",
    "{type: PathPrefix, value: /a}",
    "{type: PathPrefix, value: /a/b/}",
    "{type: RegularExpression, value: '/.*'}",
    "{type: RegularExpression, value: '/a.*'}",
    "{type: RegularExpression, value: '/a(/.*)?'}",
    "{type: RegularExpression, value: '/a/.*'}",
    "{type: RegularExpression, value: '/a(/[^/]*)*'}",
    "{type: RegularExpression, value: '/[ab]'}",
    "{type: RegularExpression, value: '/a/[a-z]+'}",
    "{type: RegularExpression, value: '/a'}",
    "{type: RegularExpression, value: '/[^b]*'}",
    "{type: RegularExpression, value: '(/a|/b)(/.*)?'}",
    "{type: RegularExpression, value: '(?i)/A'}",
    "{type: RegularExpression, value: 'a.*'}",
];

const CALLS: [&str; 9] = [
    "{service: a.S, method: M}",
    "{service: a.S}",
    "{method: M}",
    "{type: RegularExpression, service: 'a[.]S', method: '.*'}",
    "{type: RegularExpression, service: '.*', method: 'M.*'}",
    "{type: RegularExpression, service: '.*'}",
    "{type: RegularExpression, service: 'a.*'}",
    "{type: RegularExpression, method: '[MN]'}",
    "{type: RegularExpression, method: '.+'}",
];

const VALUES: [&str; 5] = [
    "value: '1'",
    "value: z",
    "type: RegularExpression, value: '.*'",
    "type: RegularExpression, value: '[0-9]+'",
    "type: RegularExpression, value: '[0-9a-z]+'",
];

fn condition(field: &str, name: &str, value: Option<&str>) -> String {
    value.map(|value| format!(", {field}: [{{name: {name}, {value}}}]")).unwrap_or_default()
}

fn http_match() -> impl Strategy<Value = String> {
    let value = || option::weighted(0.4, select(&VALUES[..]));
    (
        option::weighted(0.9, select(&PATHS[..])),
        value(),
        value(),
        option::weighted(0.3, select(&["GET", "POST"][..])),
    )
        .prop_map(|(path, header, query, method)| {
            let path = path.unwrap_or("{value: /}");
            let method = method.map(|method| format!(", method: {method}")).unwrap_or_default();
            let (header, query) = (condition("headers", "x", header), condition("queryParams", "q", query));
            format!("{{path: {path}{header}{query}{method}}}")
        })
}

fn grpc_match() -> impl Strategy<Value = String> {
    (select(&CALLS[..]), option::weighted(0.4, select(&VALUES[..])))
        .prop_map(|(call, header)| format!("{{method: {call}{}}}", condition("headers", "x", header)))
}

/// Routes of a kind, of rules, of matches.
fn routes(one: impl Strategy<Value = String>) -> impl Strategy<Value = Vec<Vec<Vec<String>>>> {
    vec(vec(vec(one, 1..3), 1..4), 1..4)
}

/// A match by route, rule and place in the rule.
type Place = (String, String, usize);

fn files(kind: &str, routes: &[Vec<Vec<String>>]) -> Vec<SourceFile> {
    let mut files = vec![SourceFile { path: "mesh".to_owned(), text: MESH.into() }];
    for (number, rules) in routes.iter().enumerate() {
        let rules: Vec<String> = rules
            .iter()
            .map(|matches| {
                format!("{{matches: [{}], backendRefs: [{{name: s, port: 80}}]}}", matches.join(", "))
            })
            .collect();
        let text = format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: r{number}}}\nspec:\n  \
             parentRefs: [{{group: \"\", kind: Service, name: s}}]\n  rules: [{}]\n",
            rules.join(", ")
        );
        files.push(SourceFile { path: format!("r{number}"), text: text.into() });
    }
    files
}

/// The matches of which `check` says that they are never chosen.
fn never_chosen(checked: &outrigger_config::Checked, routes: &[Vec<Vec<String>>]) -> HashSet<Place> {
    let mut never = HashSet::new();
    for finding in checked.findings.iter().filter(|finding| finding.kind() == Code::Shadowed) {
        let numbers: Vec<usize> = finding
            .field()
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|number| number.parse().ok())
            .collect();
        let route: usize = finding.file()[1..].parse().unwrap();
        let indices = match numbers[..] {
            [rule] => (0..routes[route][rule].len()).map(|index| (rule, index)).collect(),
            [rule, index] => vec![(rule, index)],
            _ => panic!("{finding}"),
        };
        let place = |(rule, index): (usize, usize)| (format!("default/r{route}"), rule.to_string(), index);
        never.extend(indices.into_iter().map(place));
    }
    never
}

/// Hears which match is taken.
#[derive(Default)]
struct Taken(Option<Place>);

impl Recorder for Taken {
    fn candidate(&mut self, rule: &Rule, match_index: usize, miss: Option<NotMatched<'_>>) {
        if miss.is_none() {
            let id = rule.id.as_ref().unwrap();
            self.0.get_or_insert((id.route.to_string(), id.rule.to_string(), match_index));
        }
    }
}

fn world(
    paths: &[&'static str],
    methods: &[Method],
    grpc: bool,
) -> Vec<(Method, &'static str, Option<&'static str>, HeaderMap)> {
    let mut world = Vec::new();
    for method in methods {
        for path in paths {
            for query in [None, Some("q=1"), Some("q=z"), Some("q")] {
                for header in [None, Some("1"), Some("z"), Some("")] {
                    let mut headers = HeaderMap::new();
                    if grpc {
                        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
                    }
                    headers.extend(
                        header
                            .map(|value| ("x".parse().unwrap(), HeaderValue::from_static(value)))
                            .map(|(name, value): (http::HeaderName, _)| (name, value)),
                    );
                    world.push((method.clone(), *path, query, headers));
                }
            }
        }
    }
    world
}

/// How many matches were said to be never chosen, after no request of the world chose one of them.
fn said(kind: &str, routes: &[Vec<Vec<String>>], grpc: bool) -> usize {
    let checked = check(files(kind, routes));
    let never = never_chosen(&checked, routes);
    let policy = checked.policy.as_ref().unwrap_or_else(|| panic!("{}", checked.render_text(false)));
    let resources = policy.compile(None).unwrap();
    let rules: Vec<_> =
        resources.destinations[0].ports[0].routes.iter().flatten().map(|rule| (**rule).clone()).collect();
    let table = table(&rules);
    let (paths, methods): (&[&str], &[Method]) = match grpc {
        true => (&["/a.S/M", "/a.S/N", "/b.S/M", "/b.S/N", "/a.S/", "//M", "/", "/M"], &[Method::POST]),
        false => (
            &["/", "/a", "/A", "/a/b", "/a/b/c", "/a/x", "/b", "/b/c", "/ab", "/c"],
            &[Method::GET, Method::POST, Method::PUT],
        ),
    };
    for (method, path, query, headers) in world(paths, methods, grpc) {
        let head = Head { method: &method, path, query, host: "s", port: None, headers: &headers };
        let mut taken = Taken::default();
        table.record_all(&head, &mut taken);
        let found = table.find(&head).map(|rule| rule.id.as_ref().unwrap().rule.to_string());
        assert_eq!(found, taken.0.as_ref().map(|(_, rule, _)| rule.clone()));
        if let Some(place) = taken.0 {
            assert!(
                !never.contains(&place),
                "{method} {path} {query:?} {headers:?} chose {place:?}\n{}",
                checked.render_text(false)
            );
        }
    }
    never.len()
}

fn of_random_policies(kind: &str, one: impl Strategy<Value = String>, grpc: bool) {
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    let total = std::cell::Cell::new(0);
    let outcome = runner.run(&routes(one), |routes| {
        total.set(total.get() + said(kind, &routes, grpc));
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    // A check that says nothing would be no lie either.
    assert!(total.get() > 100, "{} matches were said to be never chosen", total.get());
}

#[test]
fn no_request_reaches_what_is_called_shadowed() {
    of_random_policies("HTTPRoute", http_match(), false);
}

#[test]
fn no_call_reaches_what_is_called_shadowed() {
    of_random_policies("GRPCRoute", grpc_match(), true);
}
