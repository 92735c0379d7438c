//! Large policies are checked in the time of their size: nothing in `check` goes through all pairs of anything.
//!
//! The bounds are wide, for a build without optimisation on a busy machine; what is quadratic would be far beyond them.

use std::{
    fmt::Write,
    time::{Duration, Instant},
};

use outrigger_config::{Checked, Code, SourceFile, check};

const ROUTES: usize = 10_000;
const BOUND: Duration = Duration::from_secs(90);

const SERVICE: &str = "apiVersion: outrigger.dev/v1alpha1\nkind: MeshService\nmetadata: {name: s}\n\
    spec: {ports: [{port: 80}, {port: 81}], endpoints: [{address: \"127.0.0.1:1\"}]}\n";

/// A policy of so many routes, of a rule each, and of these documents.
fn timed(routes: usize, matches: impl Fn(usize) -> String, more: &str) -> Checked {
    let mut text = format!("{SERVICE}{more}");
    for number in 0..routes {
        let _ = write!(
            text,
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: r{number}}}\nspec:\n  \
             parentRefs: [{{group: \"\", kind: Service, name: s}}]\n  rules:\n  - matches: [{}]\n    \
             timeouts: {{request: {}s}}\n    backendRefs: [{{name: s, port: 80}}]\n",
            matches(number),
            number % 50 + 1
        );
    }
    let begin = Instant::now();
    let checked = check(vec![SourceFile { path: "policy.yaml".to_owned(), text: text.into() }]);
    let took = begin.elapsed();
    assert!(took < BOUND, "{took:?}");
    assert_eq!(checked.errors(), 0, "{}", checked.render_text(false));
    checked
}

fn shadowed(checked: &Checked) -> usize {
    checked.findings.iter().filter(|finding| finding.kind() == Code::Shadowed).count()
}

#[test]
fn ten_thousand_routes_below_one_expression_that_hides_them_all() {
    let all = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: all}\nspec:\n  \
        parentRefs: [{group: \"\", kind: Service, name: s}]\n  rules:\n  \
        - matches: [{path: {type: RegularExpression, value: '/.*'}}]\n    backendRefs: [{name: s, port: 80}]\n";
    let checked = timed(ROUTES, |number| format!("{{path: {{value: /a/{number}}}}}"), all);
    assert_eq!(shadowed(&checked), ROUTES);
}

#[test]
fn thousands_of_routes_that_differ_in_an_expression() {
    // More pairs than are looked at: what is said is proven, and the rest is not said.
    let checked = timed(
        2_000,
        |number| {
            format!(
                "{{path: {{value: /a}}, headers: [{{name: x, type: RegularExpression, value: 'v{number}.*'}}]}}"
            )
        },
        "",
    );
    assert!((100..2_000).contains(&shadowed(&checked)));
}

#[test]
fn ten_thousand_limits_inside_one_that_is_longer() {
    let mesh = "---\napiVersion: outrigger.dev/v1alpha1\nkind: Mesh\nmetadata: {name: default}\n\
        spec: {defaults: {timeouts: {attempt: 30s}}}\n";
    let checked = timed(ROUTES, |number| format!("{{path: {{type: Exact, value: /a/{number}}}}}"), mesh);
    let longer: Vec<_> = checked.findings.iter().filter(|finding| finding.kind() == Code::Timeouts).collect();
    assert_eq!(longer.len(), 1);
    assert!(longer[0].message().contains("in 5799 other places"), "{}", longer[0]);
}
