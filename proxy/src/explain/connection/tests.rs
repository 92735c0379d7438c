//! Explanations of connections: what each part of a report says.

use serde_json::json;

use super::*;
use crate::runtime::fixture;

const POLICY: &str = r#"apiVersion: outrigger.dev/v1alpha1
kind: Sidecar
metadata: {name: web, namespace: shop}
spec:
  inbound:
  - {bind: "0.0.0.0:8081", app: "127.0.0.1:3001", protocol: tcp}
  - {bind: "0.0.0.0:8080", app: "127.0.0.1:3000"}
  outbound:
  - {bind: "127.0.0.1:15001"}
  - {bind: "127.0.0.1:9000", service: {name: db, port: 5432}}
  - {bind: "127.0.0.1:9001", service: {name: web, port: 80}}
---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {name: db, namespace: shop}
spec: {ports: [{port: 5432, protocol: tcp}], endpoints: [{address: "10.0.0.1:5432", weight: 2}, {address: "10.0.0.2:5432"}]}
---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {name: web, namespace: shop}
spec: {hosts: [web.example.com], ports: [{port: 80}], endpoints: [{address: "10.0.0.3:80"}]}
---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {name: secret, namespace: shop}
spec:
  ports: [{port: 7, protocol: tcp}]
  endpoints: [{address: "10.0.0.4:7"}]
  tls: {mode: Simple, serverName: secret.example.com}
---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: db, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: db}]
  rules:
  - {name: split, backendRefs: [{name: db, port: 5432, weight: 3}, {name: secret, port: 7, weight: 1}, {name: gone, port: 1, weight: 0}]}
---
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TCPRoute
metadata: {name: late, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: db}]
  rules: [{backendRefs: [{name: web, port: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: named, namespace: shop}
spec: {clusterIP: 10.96.0.7, ports: [{name: a, port: 443, appProtocol: https}, {name: c, port: 6379, appProtocol: redis}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: named-1, namespace: shop, labels: {kubernetes.io/service-name: named}}
addressType: IPv4
ports: [{name: a, port: 8443}, {name: c, port: 6379}]
endpoints: [{addresses: [10.1.0.1]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: {name: exact, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: named, port: 443}]
  hostnames: [a.example.com]
  rules: [{backendRefs: [{name: named, port: 443}]}]
---
apiVersion: gateway.networking.k8s.io/v1alpha3
kind: TLSRoute
metadata: {name: wild, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: named, port: 443}]
  hostnames: ["*.example.com"]
  rules: [{backendRefs: [{name: gone, port: 1}]}]
---
apiVersion: outrigger.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: db, namespace: shop}
spec:
  targetRefs: [{kind: Service, name: db}]
  timeouts: {connect: 2s}
  loadBalancer: {policy: random}
---
apiVersion: outrigger.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: db-route, namespace: shop}
spec:
  targetRefs: [{kind: TCPRoute, name: db}]
  timeouts: {streamIdle: 24h}
---
apiVersion: outrigger.dev/v1alpha1
kind: Mesh
metadata: {name: default}
spec: {limits: {connectionIdle: 30m}, egress: {mode: Deny}}
"#;

fn explain_as(url: &str, change: impl FnOnce(&mut ConnectionQuestion)) -> ConnectionReport {
    let mut question = ConnectionQuestion::new(url).unwrap();
    change(&mut question);
    Explainer::new(fixture::resources(POLICY)).unwrap().explain_connection(&question).unwrap()
}

fn explain(url: &str) -> ConnectionReport {
    explain_as(url, |_| {})
}

/// The place of the first line with this text.
fn at(text: &str) -> String {
    let line = POLICY.lines().position(|line| line.contains(text)).expect("the policy has it") + 1;
    format!("policy.yaml:{line}:")
}

#[test]
fn a_tcp_route_takes_every_connection_by_weight_and_its_settings_have_places() {
    let report = explain("tcp://db:5432");
    assert!(
        report.summary.starts_with(
            "tcp://db:5432 is passed on to shop/db:5432 (75 %) or shop/secret:7 (25 %) or no_backend"
        ) || report.summary.starts_with(
            "tcp://db:5432 is passed on to shop/db:5432 (75 %) or shop/secret:7 (25 %), by rule shop/db/split"
        ),
        "{}",
        report.summary
    );
    assert_eq!(report.connection.listener.name, "127.0.0.1:9000", "the one that is pinned to it");
    let told: Vec<_> =
        report.candidates.iter().map(|one| (one.rule.as_str(), one.holds, one.taken)).collect();
    assert_eq!(told, [("shop/db/split", true, true), ("shop/late/0", true, false)]);
    assert!(report.candidates[1].origin.starts_with(&at("name: web, port: 80}]}]")));
    let shares: Vec<_> =
        report.shares.iter().map(|one| (one.backend.as_str(), one.percent, one.tls.is_some())).collect();
    assert_eq!(shares, [("shop/db:5432", 75.0, false), ("shop/secret:7", 25.0, true), ("none", 0.0, false)]);
    let timeouts = report.timeouts.as_ref().unwrap();
    let connect = serde_json::to_value(&timeouts.connect).unwrap();
    assert_eq!((&connect["value"], &connect["layer"]), (&json!("2s"), &json!("policyOnService")));
    assert!(connect["origin"].as_str().unwrap().starts_with(&at("timeouts: {connect")), "{connect}");
    let idle = &timeouts.stream_idle;
    assert_eq!((idle.value.as_deref(), idle.layer), (Some("24h"), "policyOnRoute"));
    let balance = report.shares[0].load_balancer.as_ref().unwrap();
    assert_eq!(balance.value.as_deref(), Some("random"));
    assert!(!report.refuses() && !report.reads_hello);
}

#[test]
fn dice_choose_as_they_do_for_the_connection() {
    let chosen: Vec<usize> = (0..8)
        .map(|dice| {
            let report = explain_as("tcp://db:5432", |question| question.dice = Some(dice));
            report.shares.iter().position(|share| share.chosen == Some(true)).expect("one is chosen")
        })
        .collect();
    let expected: Vec<usize> = (0..8)
        .map(|dice| {
            decide::Dice::split(dice, decide::Purpose::Weight).share([3, 1, 0].into_iter(), 4).unwrap()
        })
        .collect();
    assert_eq!(chosen, expected);
    assert!(chosen.contains(&0) && chosen.contains(&1), "{chosen:?}");
}

#[test]
fn a_server_name_says_which_rule_and_why_not_the_others() {
    let dialled = |question: &mut ConnectionQuestion| {
        question.original_destination = Some("10.96.0.7:443".parse().unwrap());
    };
    let report = explain_as("tls://a.example.com", dialled);
    assert!(report.reads_hello);
    assert_eq!(report.service.as_ref().unwrap().name, "shop/named:443");
    let told: Vec<_> = report
        .candidates
        .iter()
        .map(|one| (one.rule.as_str(), &*one.conditions[0], one.holds, one.taken))
        .collect();
    assert_eq!(
        told,
        [
            ("shop/exact/0", "server name a.example.com", true, true),
            ("shop/wild/0", "server name *.example.com", true, false),
        ]
    );
    let report = explain_as("tls://b.example.com", dialled);
    let miss = report.candidates[1].miss.as_ref().unwrap();
    assert_eq!((miss.wanted.as_str(), miss.found.as_deref()), ("a.example.com", Some("b.example.com")));
    let Outcome::Cut(cut) = &report.outcome else { panic!("{:?}", report.outcome) };
    assert_eq!((cut.by, cut.reason), ("a reset", "no_backend"));
    assert!(cut.text.contains("gone"), "{}", cut.text);
    let report = explain_as("tls://elsewhere.org", dialled);
    let Outcome::Cut(cut) = &report.outcome else { panic!("{:?}", report.outcome) };
    assert_eq!((cut.by, cut.flag, cut.reason), ("the alert unrecognized_name", "NR", "no_route"));
    assert!(report.refuses() && report.rule.is_none() && report.timeouts.is_none());
    let report = explain_as("tcp://10.96.0.7:443", |_| {});
    let Outcome::Cut(cut) = &report.outcome else { panic!("{:?}", report.outcome) };
    assert_eq!((cut.by, cut.reason), ("a reset", "no_client_hello"));
    let text = report.to_text(false);
    assert!(text.matches("ClientHello: the connection has none").count() == 2, "{text}");
}

#[test]
fn a_cluster_ip_and_an_endpoint_are_as_dialled() {
    let report = explain("tcp://named:6379");
    assert_eq!(report.connection.original_destination.as_deref(), Some("10.96.0.7:6379"));
    assert!(report.notes[0].contains("redirected"), "{:?}", report.notes);
    assert_eq!(
        report.summary,
        "tcp://named:6379 is passed on to shop/named:6379; no route is attached to it"
    );
    let report = explain("tcp://10.1.0.1:6379");
    assert_eq!(
        report.summary,
        "tcp://10.1.0.1:6379 is passed on straight to 10.1.0.1:6379, an endpoint of shop/named:6379"
    );
    let report = explain("tls://10.1.0.1:8443");
    assert_eq!(report.outcome, Outcome::Direct { to: "10.1.0.1:8443".to_owned() });
}

#[test]
fn what_nothing_takes_says_why() {
    let report = explain("tls://wbe.example.com");
    assert!(
        report.summary.contains("no_service") && report.summary.contains("did you mean `web.example.com`?"),
        "{}",
        report.summary
    );
    let why =
        |report: &ConnectionReport| report.resolution.iter().map(|step| step.why.clone()).collect::<Vec<_>>();
    let report = explain("tls://web.example.com");
    assert!(why(&report).iter().any(|why| why.contains("no port 443; it has 80")), "{:?}", why(&report));
    let report = explain("tcp://web:80");
    assert_eq!(
        (report.connection.listener.name.as_str(), &report.outcome),
        ("127.0.0.1:9001", &Outcome::Requests)
    );
    assert!(report.refuses() && report.summary.contains("is read as HTTP"), "{}", report.summary);
    let report = explain_as("tls://10.0.0.9", |question| {
        question.door = Some(Door::At("127.0.0.1:15001".parse().unwrap()));
    });
    assert!(why(&report).last().unwrap().contains("names no server"), "{:?}", why(&report));
}

#[test]
fn what_comes_to_the_app_goes_to_the_app() {
    let report = explain_as("tcp://app:1", |question| question.door = Some(Door::Inbound));
    assert_eq!(report.summary, "tcp://app:1 is passed on to the app at 127.0.0.1:3001");
    let idle = &report.timeouts.as_ref().unwrap().stream_idle;
    assert_eq!((idle.value.as_deref(), idle.layer), (Some("30m"), "meshLimits"));
}

#[test]
fn a_request_by_such_a_listener_is_told_to_ask_for_a_connection() {
    let mut question = crate::explain::Question::new("GET", "http://db:5432/").unwrap();
    let explainer = Explainer::new(fixture::resources(POLICY)).unwrap();
    question.door = Door::At("127.0.0.1:9000".parse().unwrap());
    let error = explainer.explain(&question).unwrap_err().to_string();
    assert!(error.contains("ask for tcp://db:5432"), "{error}");
    question.door = Door::Outbound;
    question.original_destination = Some("10.96.0.7:6379".parse().unwrap());
    assert!(matches!(explainer.explain(&question), Err(ExplainError::Opaque(..))));
}

#[test]
fn the_text_has_every_part() {
    let report = explain("tcp://db:5432");
    let text = report.to_text(false);
    for part in ["connection ", "service ", "rules ", "shares ", "timeouts "] {
        assert!(text.contains(&format!("\n{part}")), "{part}:\n{text}");
    }
    assert!(text.contains("holds too, but comes after the one that is taken"), "{text}");
    assert!(text.contains("by TLS as secret.example.com"), "{text}");
    assert!(text.contains("chosen by random"), "{text}");
}
