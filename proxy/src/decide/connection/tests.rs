//! What becomes of connections: by listener, by address, by server name, by weight.

use std::collections::BTreeMap;

use super::*;
use crate::{
    decide::Silent,
    runtime::fixture::{key, snapshot},
};

const POLICY: &str = r#"
apiVersion: outrigger.dev/v1alpha1
kind: Sidecar
metadata: {name: web, namespace: shop}
spec:
  inbound:
  - {bind: "0.0.0.0:8080", app: "127.0.0.1:3000"}
  - {bind: "0.0.0.0:8081", app: "127.0.0.1:3001", protocol: tcp}
  - {bind: "0.0.0.0:8082", app: "127.0.0.1:3002", service: {name: db, port: 5432}}
  outbound:
  - {bind: "127.0.0.1:15001"}
  - {bind: "127.0.0.1:9000", service: {name: db, port: 5432}}
  - {bind: "127.0.0.1:9001", service: {name: web, port: 80}}
  - {bind: "127.0.0.1:9002", service: {name: split, port: 1}}
  - {bind: "127.0.0.1:9003", service: {name: named, port: 443}}
  - {bind: "127.0.0.1:9004", service: {name: split, port: 2}}
---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {name: db, namespace: shop}
spec: {ports: [{port: 5432, protocol: tcp}], endpoints: [{address: "10.0.0.1:5432"}]}
---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {name: web, namespace: shop}
spec: {hosts: [web.example.com], ports: [{port: 80}, {port: 443}], endpoints: [{address: "10.0.0.2:80"}]}
---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {name: split, namespace: shop}
spec: {ports: [{port: 1}, {port: 2}], endpoints: [{address: "10.0.0.3:1"}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: split, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: split, port: 1}]
  rules: [{backendRefs: [{name: db, port: 5432, weight: 3}, {name: split, port: 1, weight: 1}]}]
---
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TCPRoute
metadata: {name: broken, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: split, port: 2}]
  rules: [{backendRefs: [{name: db, port: 5432, weight: 1}, {name: gone, port: 1, weight: 1}]}]
---
apiVersion: v1
kind: Service
metadata: {name: named, namespace: shop}
spec:
  clusterIP: 10.96.0.7
  ports: [{name: a, port: 443, appProtocol: https}, {name: b, port: 80}, {name: c, port: 6379, appProtocol: redis}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: named-1, namespace: shop, labels: {kubernetes.io/service-name: named}}
addressType: IPv4
ports: [{name: a, port: 8443}, {name: b, port: 8080}, {name: c, port: 6379}]
endpoints: [{addresses: [10.1.0.1]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: {name: exact, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: named, port: 443}]
  hostnames: [a.example.com, "*.example.com"]
  rules: [{backendRefs: [{name: named, port: 443}]}]
---
apiVersion: gateway.networking.k8s.io/v1alpha3
kind: TLSRoute
metadata: {name: longer, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: named, port: 443}]
  hostnames: ["*.b.example.com", a.example.com]
  rules: [{name: only, backendRefs: [{name: db, port: 5432}]}]
---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {name: outside, namespace: shop}
spec: {hosts: [secure.example.org], ports: [{port: 443, protocol: tcp}], endpoints: [{address: "10.0.0.9:443"}]}
"#;

/// An opening in words.
fn shown(opening: &Opening) -> String {
    match opening {
        Opening::Http => "http".to_owned(),
        Opening::ReadHello => "read hello".to_owned(),
        Opening::Detect(other) => format!("http, or {}", shown(other)),
        Opening::Await(other) => format!("mesh, or {}", shown(other)),
        Opening::Refuse { failure, rule } => {
            format!("{} of {} {}", failure.form().reason, rule.service, rule.route)
        }
        Opening::Pass(passage) => {
            let to = match &passage.to {
                PassTo::Backend(_) => passage.backend().label.to_string(),
                PassTo::App(address) => format!("app {address}"),
                PassTo::Address { address, log } => format!("{address} log={log}"),
                PassTo::Host { host, port, log } => format!("{host}:{port} log={log}"),
            };
            format!("{to} by {} {}", passage.rule.service, passage.rule.route)
        }
    }
}

struct Case {
    snapshot: Snapshot,
}

impl Case {
    fn new(policy: &str) -> Self {
        Self { snapshot: snapshot(policy) }
    }

    fn ask(&self, listener: (Side, &str), dialled: Option<&str>, heard: Heard<'_>) -> String {
        let facts = ConnectionFacts {
            original_destination: dialled.map(|address| address.parse().unwrap()),
            peer: [127, 0, 0, 1].into(),
            identity: None,
            heard,
            dice: 7,
        };
        shown(&connection(&self.snapshot, key(listener.0, listener.1), &facts, &mut Silent))
    }

    fn outbound(&self, port: u16, heard: Heard<'_>) -> String {
        self.ask((Side::Outbound, &format!("127.0.0.1:{port}")), None, heard)
    }
}

#[test]
fn a_listener_that_declares_tcp_waits_for_no_byte() {
    let case = Case::new(POLICY);
    let inbound = |bind: &str| case.ask((Side::Inbound, bind), None, Heard::Nothing);
    assert_eq!(inbound("0.0.0.0:8080"), "http");
    assert_eq!(inbound("0.0.0.0:8081"), "app by app default");
    assert_eq!(
        inbound("0.0.0.0:8082"),
        "shop/db:5432 by shop/db:5432 default",
        "auto is what the Service says"
    );
    assert_eq!(case.outbound(9000, Heard::Nothing), "shop/db:5432 by shop/db:5432 default");
    assert_eq!(case.outbound(9001, Heard::Nothing), "http");
    assert_eq!(case.outbound(15001, Heard::Nothing), "http");
    assert_eq!(case.outbound(1, Heard::Nothing), "no_policy of egress default");
}

#[test]
fn a_tcp_route_makes_its_port_one_of_tcp_and_shares_by_weight() {
    let case = Case::new(POLICY);
    let shares = |port: u16| {
        let mut shares = BTreeMap::new();
        for dice in 0..10_000 {
            let facts = ConnectionFacts {
                original_destination: None,
                peer: [127, 0, 0, 1].into(),
                identity: None,
                heard: Heard::Nothing,
                dice,
            };
            let listener = key(Side::Outbound, &format!("127.0.0.1:{port}"));
            let opening = connection(&case.snapshot, listener, &facts, &mut Silent);
            *shares.entry(shown(&opening)).or_insert(0) += 1;
        }
        shares
    };
    let split = shares(9002);
    let db = split["shop/db:5432 by shop/split:1 shop/split/0"];
    assert!((7_300..7_700).contains(&db) && split.len() == 2, "{split:?}");
    let broken = shares(9004);
    let refused = broken["no_backend of shop/split:2 shop/broken/0"];
    assert!((4_800..5_200).contains(&refused) && broken.len() == 2, "{broken:?}");
}

#[test]
fn server_names_choose_the_most_specific_route() {
    let case = Case::new(POLICY);
    assert_eq!(case.outbound(9003, Heard::Nothing), "read hello");
    let exact = "shop/named:443 by shop/named:443 shop/exact/0";
    let longer = "shop/db:5432 by shop/named:443 shop/longer/only";
    for (name, expected) in [
        (Some("a.example.com"), exact),
        (Some("x.example.com"), exact),
        (Some("x.y.example.com"), exact),
        (Some("b.example.com"), exact),
        (Some("x.b.example.com"), longer),
        (Some("x.y.b.example.com"), longer),
        (Some("example.com"), "no_route of shop/named:443 default"),
        (Some("aexample.com"), "no_route of shop/named:443 default"),
        (None, "no_route of shop/named:443 default"),
    ] {
        assert_eq!(case.outbound(9003, Heard::Tls(name)), expected, "{name:?}");
    }
    assert_eq!(case.outbound(9003, Heard::Other), "no_client_hello of shop/named:443 default");
    let open = POLICY.replace("hostnames: [\"*.b.example.com\", a.example.com]\n  ", "");
    let case = Case::new(&open);
    assert_eq!(
        case.outbound(9003, Heard::Tls(Some("other.org"))),
        longer,
        "a route without names takes the rest"
    );
    assert_eq!(case.outbound(9003, Heard::Tls(None)), longer);
    assert_eq!(case.outbound(9003, Heard::Tls(Some("a.example.com"))), exact);
}

#[test]
fn an_address_that_was_dialled_says_which_service_is_meant() {
    let case = Case::new(POLICY);
    let ask = |address: &str, heard| case.ask((Side::Outbound, "127.0.0.1:15001"), Some(address), heard);
    assert_eq!(ask("10.96.0.7:443", Heard::Nothing), "read hello");
    assert_eq!(
        ask("10.96.0.7:443", Heard::Tls(Some("a.example.com"))),
        "shop/named:443 by shop/named:443 shop/exact/0"
    );
    // Nobody has declared what port 80 speaks.
    assert_eq!(ask("10.96.0.7:80", Heard::Nothing), "http, or shop/named:80 by shop/named:80 default");
    assert_eq!(ask("10.96.0.7:80", Heard::Other), "shop/named:80 by shop/named:80 default");
    assert_eq!(ask("10.96.0.7:6379", Heard::Nothing), "shop/named:6379 by shop/named:6379 default");
    // An endpoint's own address bypasses routes.
    assert_eq!(ask("10.1.0.1:8443", Heard::Nothing), "10.1.0.1:8443 log=false by shop/named:443 default");
    assert_eq!(ask("10.0.0.2:80", Heard::Nothing), "http, or 10.0.0.2:80 log=false by shop/web:80 default");
    // Of no Service: HTTP may say more, anything else leaves as egress says.
    assert_eq!(ask("192.0.2.1:25", Heard::Nothing), "http, or 192.0.2.1:25 log=false by egress default");
    assert_eq!(ask("192.0.2.1:25", Heard::Other), "192.0.2.1:25 log=false by egress default");
    assert_eq!(ask("192.0.2.1:443", Heard::Tls(Some("x"))), "192.0.2.1:443 log=false by egress default");
}

#[test]
fn an_intercepted_app_stands_where_its_caller_dialled_it() {
    let intercepted = r#"- bind: "0.0.0.0:15006"
    intercepted: true
    ports:
    - {port: 80, service: {name: web, port: 80}}
    - {port: 81, app: "127.0.0.1:3001", protocol: tcp}
    - {port: 82, protocol: http2}
    - {port: 5432, service: {name: db, port: 5432}}
  - {bind: "0.0.0.0:8080","#;
    let case = Case::new(&POLICY.replacen("- {bind: \"0.0.0.0:8080\",", intercepted, 1));
    let ask = |address, heard| case.ask((Side::Inbound, "0.0.0.0:15006"), address, heard);
    assert_eq!(ask(Some("10.9.9.9:7000"), Heard::Nothing), "http, or app 10.9.9.9:7000 by app default");
    assert_eq!(ask(Some("10.9.9.9:7000"), Heard::Other), "app 10.9.9.9:7000 by app default");
    assert_eq!(ask(Some("[fd00::1]:7000"), Heard::Tls(None)), "app [fd00::1]:7000 by app default");
    assert_eq!(
        ask(Some("10.9.9.9:80"), Heard::Nothing),
        "http, or app 10.9.9.9:80 by shop/web:80 default",
        "neither the Sidecar nor the Service says what it speaks"
    );
    assert_eq!(ask(Some("10.9.9.9:81"), Heard::Nothing), "app by app default");
    assert_eq!(ask(Some("10.9.9.9:82"), Heard::Nothing), "http");
    assert_eq!(ask(Some("10.9.9.9:5432"), Heard::Nothing), "app 10.9.9.9:5432 by shop/db:5432 default");
    // Nobody dials this listener itself, and what is bound to loopback is for nobody.
    assert_eq!(ask(None, Heard::Nothing), "http, or loop of egress default");
    assert_eq!(ask(None, Heard::Other), "loop of egress default");
    assert_eq!(ask(Some("127.0.0.1:81"), Heard::Nothing), "http, or loop of egress default");
}

#[test]
fn a_tls_client_that_dials_the_proxy_means_port_443_of_its_server_name() {
    let case = Case::new(POLICY);
    let ask = |name| case.outbound(15001, Heard::Tls(name));
    assert_eq!(ask(Some("secure.example.org")), "shop/outside:443 by shop/outside:443 default");
    assert_eq!(
        ask(Some("named.shop")),
        "no_route of shop/named:443 default",
        "its own name is in no TLSRoute"
    );
    assert_eq!(ask(Some("web.example.com")), "http", "that port speaks HTTP");
    assert_eq!(ask(Some("db.shop")), "db.shop:443 log=false by egress default", "it has no port 443");
    assert_eq!(ask(Some("example.net")), "example.net:443 log=false by egress default");
    assert_eq!(ask(None), "no_service of egress default");
    assert_eq!(case.outbound(15001, Heard::Other), "http");
    for (mode, expected) in
        [("Deny", "no_service of egress default"), ("Log", "example.net:443 log=true by egress default")]
    {
        let mesh = format!(
            "{POLICY}---\napiVersion: outrigger.dev/v1alpha1\nkind: Mesh\nmetadata: {{name: default}}\n\
             spec: {{egress: {{mode: {mode}}}}}\n"
        );
        assert_eq!(Case::new(&mesh).outbound(15001, Heard::Tls(Some("example.net"))), expected, "{mode}");
    }
}

/// Writes down what it hears.
#[derive(Default)]
struct Listening(Vec<String>);

impl Recorder for Listening {
    fn resolved(&mut self, how: Resolution<'_>) {
        self.0.push(format!("{how:?}").split(['(', ' ', '{']).next().unwrap_or_default().to_owned());
    }

    fn connection_candidate(&mut self, rule: &ConnectionRule, claim: Claim) {
        self.0.push(format!("{} {claim:?}", rule.route));
    }

    fn connection_rule(&mut self, rule: &ConnectionRule, backend: Option<usize>) {
        self.0.push(format!("{} to {backend:?}", rule.route));
    }
}

#[test]
fn a_recorder_hears_every_step() {
    let case = Case::new(POLICY);
    let mut heard = Listening::default();
    let facts = ConnectionFacts {
        original_destination: None,
        peer: [127, 0, 0, 1].into(),
        identity: None,
        heard: Heard::Tls(Some("x.b.example.com")),
        dice: 7,
    };
    connection(&case.snapshot, key(Side::Outbound, "127.0.0.1:9003"), &facts, &mut heard);
    let expected =
        ["Pinned", "shop/longer/only Takes", "shop/exact/0 Outdone", "shop/longer/only to Some(0)"];
    assert_eq!(heard.0, expected);
}

/// A Sidecar with an identity: requests, bytes, and whatever comes to the port that was dialled; in this mode.
fn of_mesh(mode: &str) -> Case {
    Case::new(&format!(
        r#"
apiVersion: outrigger.dev/v1alpha1
kind: Sidecar
metadata: {{name: cart, namespace: shop}}
spec:
  inbound:
  - {{bind: "0.0.0.0:8080", app: "127.0.0.1:3000", protocol: http1}}
  - {{bind: "0.0.0.0:8081", app: "127.0.0.1:3001", protocol: tcp}}
  - {{bind: "0.0.0.0:15006", intercepted: true}}
  identity: {{files: {{certificate: c.pem, privateKey: k.pem, trustBundle: ca.pem}}}}
---
apiVersion: outrigger.dev/v1alpha1
kind: Mesh
metadata: {{name: default}}
spec: {{mtls: {{mode: {mode}}}}}
"#
    ))
}

#[test]
fn who_is_anonymous_is_let_in_as_the_mode_says_and_who_is_known_always() {
    let whole = "app by app default";
    let dialled = "app 10.0.0.5:70 by app default";
    let refused = "no_identity of app default";
    for (mode, http, tcp, either) in [
        ("Permissive", ["http", "http"], whole, dialled),
        ("Disabled", ["http", "http"], whole, dialled),
        ("Strict", ["http", refused], refused, refused),
    ] {
        let case = of_mesh(mode);
        let ask = |bind: &str, heard, identity: Option<&SpiffeId>| {
            let facts = ConnectionFacts {
                original_destination: (bind == "0.0.0.0:15006").then(|| "10.0.0.5:70".parse().unwrap()),
                peer: [10, 0, 0, 1].into(),
                identity,
                heard,
                dice: 7,
            };
            shown(&connection(&case.snapshot, key(Side::Inbound, bind), &facts, &mut Silent))
        };
        // Requests are told one by one why they are refused; foreign TLS cannot be.
        assert_eq!(ask("0.0.0.0:8080", Heard::Nothing, None), http[0], "{mode}");
        assert_eq!(ask("0.0.0.0:8080", Heard::Tls(None), None), http[1], "{mode}");
        assert_eq!(ask("0.0.0.0:8081", Heard::Nothing, None), format!("mesh, or {tcp}"), "{mode}");
        assert_eq!(ask("0.0.0.0:15006", Heard::Nothing, None), format!("http, or {either}"), "{mode}");
        for heard in [Heard::Tls(Some("a.b")), Heard::Other] {
            assert_eq!(ask("0.0.0.0:8081", heard, None), tcp, "{mode}");
            assert_eq!(ask("0.0.0.0:15006", heard, None), either, "{mode}");
        }
        let web = SpiffeId::of_account("cluster.local", "shop", "web");
        assert_eq!(ask("0.0.0.0:8080", Heard::Nothing, Some(&web)), "http");
        assert_eq!(ask("0.0.0.0:8081", Heard::Nothing, Some(&web)), whole, "nothing is waited for");
        assert_eq!(ask("0.0.0.0:15006", Heard::Nothing, Some(&web)), format!("http, or {dialled}"));
    }
}
