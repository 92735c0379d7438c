//! Explanations of one policy: what each part of a report says, and that it is what the data path does.

use super::*;
use crate::runtime::fixture;

const POLICY: &str = r#"apiVersion: outrigger.dev/v1alpha1
kind: Sidecar
metadata: {name: web, namespace: shop}
spec:
  inbound:
  - {bind: "0.0.0.0:8080", app: "127.0.0.1:3000", service: {name: cart, port: 8080}}
  outbound:
  - {bind: "127.0.0.1:15001"}
  - {bind: "127.0.0.1:9000", service: {name: reviews, port: 80}}
---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {name: cart, namespace: shop}
spec: {ports: [{port: 8080, protocol: grpc}], endpoints: [{address: "10.0.0.1:8080"}, {dns: "cart.internal:8080"}]}
---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {name: reviews, namespace: shop}
spec:
  ports: [{port: 80}, {port: 443}]
  endpoints: [{address: "10.0.0.2:80", weight: 3}, {address: "10.0.0.3:80", zone: b}]
---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {name: canary, namespace: shop}
spec: {ports: [{port: 80, protocol: http2}], endpoints: [{address: "127.0.0.1:15001"}]}
---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {name: pay, namespace: bank}
spec: {ports: [{port: 80}], endpoints: [{address: "10.0.0.9:80"}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: reviews, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: reviews, port: 80}]
  rules:
  - name: split
    matches:
    - {path: {value: /split}, headers: [{name: x-a, value: "1"}, {name: x-b, value: "2.*", type: RegularExpression}]}
    - {path: {value: /split, type: Exact}, queryParams: [{name: q, value: z}], method: GET}
    filters:
    - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-rule, value: "1"}]}}
    - {type: ResponseHeaderModifier, responseHeaderModifier: {remove: [server]}}
    timeouts: {request: 7s}
    backendRefs:
    - {name: reviews, port: 80, weight: 3}
    - name: canary
      port: 80
      weight: 1
      filters:
      - {type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: x-rule, value: "2"}]}}
      - {type: URLRewrite, urlRewrite: {hostname: canary.example.com}}
    - {name: reviews, port: 443, weight: 0}
  - name: moved
    matches: [{path: {value: /old}}]
    filters:
    - {type: RequestRedirect, requestRedirect: {scheme: https, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}}
  - name: gone
    matches: [{path: {value: /gone}}]
    backendRefs: [{name: canary, port: 81}]
---
apiVersion: outrigger.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: reviews, namespace: shop}
spec:
  targetRefs: [{kind: Service, name: reviews}]
  timeouts: {request: 10s, attempt: 2s}
  retry: {attempts: 2, on: [gateway-error]}
---
apiVersion: outrigger.dev/v1alpha1
kind: Mesh
metadata: {name: default}
spec: {defaults: {timeouts: {connect: 300ms}}}
"#;

fn explain_as(method: &str, url: &str, change: impl FnOnce(&mut Question)) -> Report {
    let mut question = Question::new(method, url).unwrap();
    change(&mut question);
    Explainer::new(fixture::resources(POLICY)).unwrap().explain(&question).unwrap()
}

fn explain(url: &str) -> Report {
    explain_as("GET", url, |_| {})
}

fn fields(list: &'static [(&'static str, &'static str)]) -> impl FnOnce(&mut Question) {
    |question| list.iter().for_each(|(name, value)| question.header(name, value).unwrap())
}

/// The line of the policy in which a text stands first.
fn line(text: &str) -> usize {
    POLICY.lines().position(|line| line.contains(text)).expect("the policy has it") + 1
}

fn stands_at(origin: &str, text: &str) {
    assert!(
        origin.starts_with(&format!("policy.yaml:{}:", line(text))),
        "{origin} is not the line of {text}"
    );
}

#[test]
fn every_match_says_why_it_does_not_hold() {
    let report = explain_as(
        "POST",
        "http://reviews/split?q=z&r=1",
        fields(&[("x-a", "1"), ("x-b", "3"), ("x-b", "4")]),
    );
    let told: Vec<_> = report
        .candidates
        .iter()
        .map(|one| (one.rule.as_str(), one.match_index, one.holds, one.taken, one.miss.clone()))
        .collect();
    let miss = |what: &str, wanted: &str, found: &str| {
        Some(Miss { what: what.to_owned(), wanted: wanted.to_owned(), found: Some(found.to_owned()) })
    };
    assert_eq!(
        told,
        [
            ("shop/reviews/split", 1, false, false, miss("method", "GET", "POST")),
            ("shop/reviews/split", 0, false, false, miss("header x-b", "matches 2.*", "3,4")),
            ("shop/reviews/gone", 0, false, false, miss("path", "path prefix /gone", "/split")),
            ("shop/reviews/moved", 0, false, false, miss("path", "path prefix /old", "/split")),
        ]
    );
    assert_eq!(
        report.candidates[1].conditions,
        ["path prefix /split", "header x-a = 1", "header x-b matches 2.*"]
    );
    stands_at(&report.candidates[1].origin, "name: x-a");
    let Outcome::Refuse(refusal) = &report.outcome else { panic!("{:?}", report.outcome) };
    assert_eq!((refusal.status, refusal.flag, refusal.reason), (404, "NR", "no_route"));
    assert!(report.rule.is_none() && report.shares.is_empty() && report.refuses());
}

#[test]
fn what_is_absent_is_told_from_what_is_wrong() {
    let report = explain("http://reviews/split");
    let misses: Vec<_> = report.candidates.iter().filter_map(|one| one.miss.as_ref()).collect();
    assert_eq!((misses[0].what.as_str(), &misses[0].found), ("query q", &None));
    assert_eq!((misses[1].what.as_str(), &misses[1].found), ("header x-a", &None));
}

#[test]
fn later_matches_that_hold_too_are_told() {
    let report = explain_as("GET", "http://reviews/split?q=z", fields(&[("x-a", "1"), ("x-b", "2")]));
    let holding: Vec<_> = report.candidates.iter().filter(|one| one.holds).map(|one| one.taken).collect();
    assert_eq!(holding, [true, false]);
}

#[test]
fn shares_have_their_own_requests_and_fates() {
    let report = explain("http://reviews/split?q=z");
    assert_eq!(report.outcome, Outcome::Split);
    let told: Vec<_> =
        report.shares.iter().map(|one| (one.backend.as_str(), one.percent, one.chosen)).collect();
    assert_eq!(
        told,
        [("shop/reviews:80", 75.0, None), ("shop/canary:80", 25.0, None), ("shop/reviews:443", 0.0, None)]
    );
    let sent = |at: usize| report.shares[at].sent.as_ref().unwrap();
    assert_eq!((sent(0).version, sent(0).authority.as_str()), ("HTTP/1.1", "reviews"));
    assert_eq!((sent(1).version, sent(1).authority.as_str()), ("HTTP/2", "canary.example.com"));
    let rule = |at: usize| sent(at).headers.iter().find(|(name, _)| name == "x-rule").unwrap().1.clone();
    assert_eq!((rule(0), rule(1)), ("1".to_owned(), "1,2".to_owned()));
    let changes: Vec<_> = sent(1).changes.iter().map(|one| (one.by, one.what.as_str())).collect();
    assert_eq!(
        changes,
        [
            ("rule", "set x-rule: 1"),
            ("backend", "add x-rule: 2"),
            ("backend", "rewrite host to canary.example.com")
        ]
    );
    // Its only endpoint is the proxy's own listener.
    let Outcome::Refuse(refusal) = &report.shares[1].outcome else {
        panic!("{:?}", report.shares[1].outcome)
    };
    assert_eq!((refusal.status, report.shares[1].endpoints[0].is_loop), (508, true));
    assert!(report.refuses());
    stands_at(report.shares[1].origin.as_ref().unwrap(), "- name: canary");
    assert_eq!(report.rule.as_ref().unwrap().response_headers[0].action, "remove");
}

#[test]
fn dice_choose_as_the_data_path_does() {
    let by_dice = |dice| explain_as("GET", "http://reviews/split?q=z", |question| question.dice = Some(dice));
    let chosen: Vec<_> = (0..40)
        .map(|dice| {
            let report = by_dice(dice);
            let chosen: Vec<_> = report.shares.iter().map(|share| share.chosen == Some(true)).collect();
            assert_eq!(chosen.iter().filter(|one| **one).count(), 1);
            let fate = &report.shares[chosen.iter().position(|one| *one).unwrap()].outcome;
            assert_eq!(report.outcome, *fate);
            chosen[0]
        })
        .collect();
    assert!(chosen.contains(&true) && chosen.contains(&false));
}

#[test]
fn settings_name_who_says_so() {
    let report = explain("http://reviews/split?q=z");
    let timeouts = report.timeouts.unwrap();
    assert_eq!((timeouts.request.value.as_deref(), timeouts.request.layer), (Some("7s"), "rule"));
    stands_at(timeouts.request.origin.as_ref().unwrap(), "request: 7s");
    assert_eq!((timeouts.attempt.value.as_deref(), timeouts.attempt.layer), (Some("2s"), "policyOnService"));
    assert_eq!(timeouts.attempt.policy.as_deref(), Some("shop/reviews"));
    stands_at(timeouts.attempt.origin.as_ref().unwrap(), "attempt: 2s");
    assert_eq!((timeouts.connect.value.as_deref(), timeouts.connect.layer), (Some("300ms"), "meshDefaults"));
    let idle = timeouts.stream_idle;
    assert_eq!((idle.value.as_deref(), idle.layer, idle.origin), (Some("5m"), "builtIn", None));
}

#[test]
fn limits_breaker_and_fallback_are_told_with_who_says_so() {
    let breaker =
        "  circuitBreaker: {limits: {requests: 7}, trip: {minRequests: 5}, fallback: {staleFor: 10m}}\n";
    let policy = POLICY.replace("  retry: {attempts: 2, on: [gateway-error]}\n", breaker);
    let question = Question::new("GET", "http://reviews/split?q=z").unwrap();
    let report = Explainer::new(fixture::resources(&policy)).unwrap().explain(&question).unwrap();
    let fallback = report.fallback.clone().unwrap();
    assert_eq!(fallback.value.as_deref(), Some("the last good answer, if it is no older than 10m"));
    assert_eq!(fallback.policy.as_deref(), Some("shop/reviews"));
    let told: Vec<_> =
        report.shares[0].circuit_breaker.iter().filter_map(|one| one.value.as_deref()).collect();
    assert_eq!(told[0], "at most 7 open requests");
    assert!(
        told[1].starts_with("opens when 50 % of the attempts of the last 10s fail, from 5 attempts on"),
        "{told:?}"
    );
    assert!(report.shares[1].circuit_breaker.is_empty(), "canary has none");
    assert!(report.to_text(false).contains("at most 7 open requests"));
    assert_eq!(explain("http://reviews/split?q=z").fallback, None);
}

#[test]
fn a_grpc_callers_own_deadline_counts_where_it_is_smaller() {
    let grpc = |path: &str, timeout: &'static str| {
        explain_as("POST", &format!("http://reviews:443{path}"), |question| {
            question.header("content-type", "application/grpc").unwrap();
            question.header("grpc-timeout", timeout).unwrap();
        })
    };
    let own = grpc("/", "1S").timeouts.unwrap();
    assert_eq!((own.request.value.as_deref(), own.request.layer), (Some("1s"), "caller"));
    assert_eq!(own.stream_idle.value, None, "gRPC streams may pause");
    let own = grpc("/", "20S").timeouts.unwrap();
    assert_eq!((own.request.value.as_deref(), own.request.layer), (Some("10s"), "policyOnService"));
    let refused = grpc("/..", "1S");
    let Outcome::Refuse(refusal) = refused.outcome else { panic!("{:?}", refused.outcome) };
    assert_eq!((refusal.status, refusal.grpc_status), (200, Some(13)));
}

#[test]
fn repeats_are_what_the_law_says() {
    let cases = |method| {
        let retry = explain_as(method, "http://reviews:443/", |_| {}).retry.unwrap();
        retry.cases.into_iter().map(|case| (case.when, case.repeats, case.free)).collect::<Vec<_>>()
    };
    let find = |cases: &[(String, u32, bool)], when: &str| {
        let case = cases.iter().find(|case| case.0.contains(when)).unwrap();
        (case.1, case.2)
    };
    let get = cases("GET");
    assert_eq!(find(&get, "no connection"), (2, true));
    assert_eq!(find(&get, "status 503"), (2, false));
    assert_eq!(find(&get, "status 500"), (0, false));
    assert_eq!(find(&get, "ends before the answer"), (0, false), "retry.on does not list reset");
    let post = cases("POST");
    assert_eq!(find(&post, "status 503"), (0, false));
    assert_eq!(find(&post, "REFUSED_STREAM"), (2, false));
}

#[test]
fn the_way_to_the_service_is_told_step_by_step() {
    let ways =
        |report: &Report| report.resolution.iter().map(|step| (step.way, step.decides)).collect::<Vec<_>>();
    let (listener, dialled) = (("listener", false), ("originalDestination", false));
    assert_eq!(ways(&explain("http://cart/")), [listener, dialled, ("host", true)]);
    assert_eq!(ways(&explain("http://cart:81/")), [listener, dialled, ("host", false), ("egress", true)]);
    assert!(explain("http://cart:81/").resolution[2].why.contains("no port 81; it has 8080"));
    let pinned = explain_as("GET", "http://cart/old", |question| {
        question.door = Door::At("127.0.0.1:9000".parse().unwrap());
    });
    assert_eq!(ways(&pinned), [("listener", true)]);
    assert_eq!(pinned.service.unwrap().name, "shop/reviews:80");
    let straight = explain_as("GET", "http://cart/", |question| {
        question.original_destination = Some("10.0.0.3:80".parse().unwrap());
    });
    assert_eq!(straight.outcome, Outcome::Direct { to: "10.0.0.3:80".to_owned() });
    assert_eq!(ways(&straight), [listener, ("originalDestination", true)]);
}

#[test]
fn a_host_that_means_nothing_is_answered_with_what_is_near() {
    assert_eq!(explain("http://reveiws/").near, ["reviews"]);
    let elsewhere = explain("http://pay/");
    assert_eq!(elsewhere.near, ["pay.bank"]);
    assert!(elsewhere.resolution[2].why.contains("`pay` alone means a Service of namespace shop"));
    assert!(
        elsewhere.summary.ends_with("no Service answers to it; did you mean `pay.bank`?"),
        "{}",
        elsewhere.summary
    );
    assert_eq!(elsewhere.outcome, Outcome::Direct { to: "pay:80".to_owned() });
}

#[test]
fn requests_to_the_app_are_explained_from_the_other_side() {
    let report = explain_as("POST", "http://cart:8080/x", |question| {
        question.door = Door::Inbound;
        question.peer = "10.1.1.1".parse().unwrap();
        question.from = Some(SpiffeId::parse("spiffe://cluster.local/ns/shop/sa/web").unwrap());
    });
    assert_eq!(report.outcome, Outcome::Forward { backend: "app".to_owned() });
    assert_eq!(report.service.as_ref().unwrap().name, "shop/cart:8080");
    let sent = report.shares[0].sent.as_ref().unwrap();
    assert!(sent.headers.contains(&("x-forwarded-for".to_owned(), "10.1.1.1".to_owned())), "{sent:?}");
    assert_eq!(report.shares[0].endpoints[0].address, "127.0.0.1:3000");
    assert!(report.request.from.unwrap().effect.starts_with("not looked at: this Sidecar has no identity"));
    assert!(!report.retry.unwrap().repeatable);
    assert!(report.summary.ends_with("goes to the app at 127.0.0.1:3000"), "{}", report.summary);
}

#[test]
fn redirects_show_their_whole_answer() {
    let report = explain("http://reviews/old/x?y=1");
    let Outcome::Redirect { status, location, .. } = &report.outcome else { panic!("{:?}", report.outcome) };
    assert_eq!((*status, location.as_str()), (302, "https://reviews/new/x?y=1"));
    assert!(report.timeouts.is_none() && report.retry.is_none() && report.shares.is_empty());
}

const PAGES: &str = r#"---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: pages, namespace: shop}
spec:
  parentRefs: [{group: outrigger.dev, kind: MeshService, name: cart}]
  rules:
  - name: put
    matches: [{path: {value: /pages}, method: PUT}]
    filters:
    - {type: CORS, cors: {allowOrigins: ["https://a"], allowMethods: [PUT]}}
    - {type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-a, value: "1"}]}}
    backendRefs: [{name: reviews, port: 80}]
"#;

#[test]
fn preflights_show_their_whole_answer_and_requests_what_the_answer_tells() {
    let explain = |method, origin, asks: &[(&str, &str)]| {
        let mut question = Question::new(method, "http://cart:8080/pages/1").unwrap();
        question.header("origin", origin).unwrap();
        asks.iter().for_each(|(name, value)| question.header(name, value).unwrap());
        let resources = fixture::resources(&format!("{POLICY}{PAGES}"));
        Explainer::new(resources).unwrap().explain(&question).unwrap()
    };
    let report = explain("OPTIONS", "https://a", &[("access-control-request-method", "PUT")]);
    let Outcome::Preflight { status, headers } = &report.outcome else { panic!("{:?}", report.outcome) };
    let has = |name: &str, value: &str| headers.contains(&(name.to_owned(), value.to_owned()));
    assert!(*status == 200 && has("access-control-allow-methods", "PUT") && has("x-a", "1"), "{headers:?}");
    assert!(report.timeouts.is_none() && report.shares.is_empty());
    assert!(report.summary.contains("preflight, which the proxy answers, by rule shop/pages/put"));
    assert!(report.to_text(false).contains("access-control-allow-origin: https://a"));
    assert!(report.candidates.iter().any(|candidate| candidate.taken));

    let report = explain("PUT", "https://evil", &[]);
    let told = vec![("vary".to_owned(), "Origin".to_owned())];
    assert_eq!(report.rule.as_ref().unwrap().cors, Some(told));
    assert!(report.to_text(false).contains("cors: vary: Origin"));
}

#[test]
fn a_share_that_resolves_to_nothing_says_why() {
    let report = explain("http://reviews/gone");
    let Outcome::Refuse(refusal) = &report.outcome else { panic!("{:?}", report.outcome) };
    assert_eq!((refusal.status, refusal.reason), (500, "no_backend"));
    assert!(refusal.text.contains("81"), "{}", refusal.text);
    assert_eq!(report.rule.as_ref().unwrap().name, "shop/reviews/gone");
}

#[test]
fn the_strict_check_comes_first_and_tells_what_it_did() {
    let report = explain_as(
        "GET",
        "http://reviews/a/../split/%7e?q=z",
        fields(&[("connection", "x-hop"), ("x-hop", "1")]),
    );
    assert_eq!(
        report.check.changes,
        [
            "path /a/../split/%7e is read as /split/~",
            "header connection is taken off",
            "header x-hop is taken off"
        ]
    );
    let report = explain_as("GET", "http://reviews/..", |_| {});
    let Outcome::Refuse(refusal) = &report.outcome else { panic!("{:?}", report.outcome) };
    assert_eq!((refusal.status, refusal.reason, report.check.passed), (400, "invalid_path", false));
    assert!(report.resolution.is_empty());
    assert!(report.to_text(false).contains("the strict check lets no such request further"));
}

#[test]
fn a_listener_that_is_not_there_is_no_answer() {
    let mut question = Question::new("GET", "http://reviews/").unwrap();
    question.door = Door::At("127.0.0.1:1".parse().unwrap());
    let error =
        Explainer::new(fixture::resources(POLICY)).unwrap().explain(&question).unwrap_err().to_string();
    assert_eq!(
        error,
        "the Sidecar shop/web has no listener on 127.0.0.1:1; it has outbound 127.0.0.1:15001, outbound 127.0.0.1:9000, \
         inbound 0.0.0.0:8080"
    );
}

#[test]
fn a_listener_of_tcp_has_no_requests_to_explain() {
    let tcp =
        POLICY.replace("ports: [{port: 80}, {port: 443}]", "ports: [{port: 80, protocol: tcp}, {port: 443}]");
    let tcp =
        tcp.split("---\n").filter(|one| !one.contains("kind: HTTPRoute")).collect::<Vec<_>>().join("---\n");
    let mut question = Question::new("GET", "http://reviews/").unwrap();
    question.door = Door::At("127.0.0.1:9000".parse().unwrap());
    let error = Explainer::new(fixture::resources(&tcp)).unwrap().explain(&question).unwrap_err().to_string();
    let expected = "the listener 127.0.0.1:9000 passes such connections on whole, whatever is in them; ask for tcp://reviews:80";
    assert!(error.starts_with(expected), "{error}");
}

#[test]
fn routes_of_requests_do_not_apply_to_a_tunnel() {
    let report = explain_as("CONNECT", "reviews:80", |_| {});
    let (goes, why) = ("CONNECT reviews:80 goes to shop/reviews:80", "; a tunnel, which no route can match");
    assert_eq!(report.summary, format!("{goes}{why}"));
    assert!(report.candidates.is_empty());
}

#[test]
fn the_text_has_the_answer_first_and_no_colour_where_none_is_wanted() {
    let report = explain("http://reviews/split?q=z");
    let text = report.to_text(false);
    assert!(text.starts_with(&report.summary) && !text.contains('\x1b'), "{text}");
    assert!(
        report.summary.starts_with(
            "GET http://reviews/split?q=z goes to shop/reviews:80 (75 %) or 508 loop (25 %), by rule shop/reviews/split (policy.yaml:"
        ),
        "{}",
        report.summary
    );
    for part in ["request ", "service ", "rules ", "shares ", "sent ", "answer ", "timeouts ", "retry "] {
        assert!(text.contains(&format!("\n{part}")), "{part}:\n{text}");
    }
    assert!(report.to_text(true).contains("\x1b[1;31m"));
}
