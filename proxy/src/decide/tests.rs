//! Which Service a request means, shares, refusals, and what a recorder hears.

use std::collections::BTreeMap;

use outrigger_config::model;

use super::*;
use crate::{
    ctx::Side,
    runtime::{
        fixture::{key, snapshot},
        snapshot::{Mirror, UpstreamProtocol},
    },
};

const POLICY: &str = r#"
apiVersion: outrigger.dev/v1alpha1
kind: Sidecar
metadata: {name: web, namespace: shop}
spec:
  inbound:
  - {bind: "0.0.0.0:8080", app: "127.0.0.1:3000", service: {name: cart, port: 8080}}
  - {bind: "0.0.0.0:8081", app: "127.0.0.1:3001", protocol: http1}
  outbound:
  - {bind: "127.0.0.1:15001"}
  - {bind: "127.0.0.1:9000", service: {name: reviews, port: 80}}
---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {name: cart, namespace: shop}
spec:
  hosts: [cart.example.com]
  ports: [{port: 8080}]
  endpoints: [{address: "10.0.0.1:8080"}]
---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {name: reviews, namespace: shop}
spec:
  ports: [{port: 80}, {port: 443, protocol: http2}]
  endpoints: [{address: "10.0.0.2:80"}]
---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {name: canary, namespace: shop}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: pay, namespace: bank}
spec: {clusterIP: 10.96.0.7, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: pay-1, namespace: bank, labels: {kubernetes.io/service-name: pay}}
addressType: IPv4
ports: [{port: 8080}]
endpoints: [{addresses: [10.1.0.1]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: reviews, namespace: shop}
spec:
  parentRefs: [{kind: Service, group: "", name: reviews, port: 80}]
  rules:
  - name: split
    matches: [{path: {type: PathPrefix, value: /split}}]
    filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-rule, value: "1"}]}}]
    backendRefs:
    - {name: reviews, port: 80, weight: 3}
    - name: canary
      port: 80
      weight: 1
      filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-rule, value: "2"}]}}]
  - name: rest
    matches: [{path: {type: PathPrefix, value: /rest}}]
    backendRefs: [{name: reviews, port: 80}]
"#;

/// A request for `GET http://<authority><path>` by the listener for authorities.
#[derive(Clone)]
struct Asked<'a> {
    authority: &'a str,
    path: &'a str,
    by: ListenerKey,
    /// The request is OPTIONS from another origin, and a preflight unless this is empty.
    asks_about: Option<&'static str>,
    facts: Facts<'static>,
}

fn ask(authority: &'static str, path: &'static str) -> Asked<'static> {
    let facts = Facts {
        original_destination: None,
        form: Form::Origin,
        peer: IpAddr::from([127, 0, 0, 1]),
        identity: None,
        now: Instant::now(),
        clock: SystemTime::now(),
        dice: 1,
    };
    Asked { authority, path, by: key(Side::Outbound, "127.0.0.1:15001"), asks_about: None, facts }
}

impl Asked<'_> {
    fn by(mut self, side: Side, bind: &str) -> Self {
        self.by = key(side, bind);
        self
    }

    fn dialled(mut self, address: &str) -> Self {
        self.facts.original_destination = Some(address.parse().unwrap());
        self
    }

    fn decide(&self, snapshot: &Snapshot, recorder: &mut impl Recorder) -> Decision {
        let (host, port) = match self.authority.split_once(':') {
            Some((host, port)) => (host, Some(port.parse().unwrap())),
            None => (self.authority, None),
        };
        let (headers, method) = match self.asks_about {
            None => (HeaderMap::new(), Method::GET),
            Some(method) => {
                let fields = [("origin", "https://a"), ("access-control-request-method", method)];
                let fields = fields.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
                (
                    fields
                        .into_iter()
                        .filter(|(_, value): &(_, http::HeaderValue)| !value.is_empty())
                        .collect(),
                    Method::OPTIONS,
                )
            }
        };
        let head = Head { method: &method, path: self.path, query: None, host, port, headers: &headers };
        decide(snapshot, self.by, &head, &self.facts, recorder)
    }

    /// The decision in one line.
    fn outcome(&self, snapshot: &Snapshot) -> String {
        match self.decide(snapshot, &mut Silent) {
            Decision::Forward(forward) => {
                format!("{} of {} to {}", forward.rule.route, forward.rule.service, forward.backend().label)
            }
            Decision::Direct(direct) => format!("{:?} as {}", direct.to, direct.backend().label),
            Decision::Redirect(redirected) => format!("redirect of {}", redirected.rule.route),
            Decision::Preflight(preflight) => format!("preflight of {}", preflight.rule.route),
            Decision::Refuse(refusal) => format!("{:?} for {}", refusal.failure, refusal.rule.service),
        }
    }
}

fn mesh(egress: &str) -> String {
    format!(
        "{POLICY}---\napiVersion: outrigger.dev/v1alpha1\nkind: Mesh\nmetadata: {{name: default}}\n\
         spec: {{egress: {{mode: {egress}}}}}\n"
    )
}

#[test]
fn the_authority_names_a_service() {
    let snapshot = snapshot(POLICY);
    let cart = "default of shop/cart:8080 to shop/cart:8080";
    for authority in ["cart", "cart:8080", "cart.shop", "cart.shop.svc.cluster.local", "cart.example.com"] {
        assert_eq!(ask(authority, "/").outcome(&snapshot), cart, "{authority}");
    }
    // Without a port it is 80, where there are several.
    assert_eq!(ask("reviews", "/x").outcome(&snapshot), "NoRoute for shop/reviews:80");
    assert_eq!(
        ask("reviews:443", "/x").outcome(&snapshot),
        "default of shop/reviews:443 to shop/reviews:443"
    );
    assert_eq!(ask("pay.bank", "/").outcome(&snapshot), "default of bank/pay:80 to bank/pay:80");
    // Names of the caller's namespace only.
    assert_eq!(ask("pay", "/").outcome(&snapshot), "Authority { log: false } as egress");
}

#[test]
fn egress_decides_what_no_service_names() {
    let direct = "Authority { log: false } as egress";
    let by_default = snapshot(POLICY);
    assert_eq!(ask("example.com", "/").outcome(&by_default), direct);
    assert_eq!(ask("cart:9999", "/").outcome(&by_default), direct, "a port that the Service does not have");
    let mut proxied = ask("example.com", "/");
    proxied.facts.form = Form::Absolute;
    assert_eq!(proxied.outcome(&by_default), "NoService for egress");
    assert_eq!(proxied.outcome(&snapshot(&mesh("Allow"))), direct);
    let logged = snapshot(&mesh("Log"));
    assert_eq!(ask("example.com", "/").outcome(&logged), "Authority { log: true } as egress");
    let denied = snapshot(&mesh("Deny"));
    assert_eq!(ask("example.com", "/").outcome(&denied), "NoService for egress");
    assert_eq!(ask("cart:9999", "/").outcome(&denied), "NoService for egress");
    assert_eq!(ask("cart", "/").outcome(&denied), "default of shop/cart:8080 to shop/cart:8080");
}

#[test]
fn the_listener_and_the_dialled_address_come_before_the_authority() {
    let snapshot = snapshot(POLICY);
    let rest = "shop/reviews/rest of shop/reviews:80 to shop/reviews:80";
    let pinned = ask("cart", "/rest").by(Side::Outbound, "127.0.0.1:9000");
    assert_eq!(pinned.outcome(&snapshot), rest);
    assert_eq!(pinned.dialled("10.96.0.7:80").outcome(&snapshot), rest);
    let cluster_ip = ask("cart", "/").dialled("10.96.0.7:80");
    assert_eq!(cluster_ip.outcome(&snapshot), "default of bank/pay:80 to bank/pay:80");
    let straight = ask("cart", "/rest").dialled("10.0.0.2:80");
    assert_eq!(straight.outcome(&snapshot), "Endpoint(10.0.0.2:80) as shop/reviews:80");
    let other = ask("cart", "/").dialled("10.9.9.9:80");
    assert_eq!(other.outcome(&snapshot), "default of shop/cart:8080 to shop/cart:8080");
    let both = ask("10.96.0.7", "/").dialled("10.0.0.2:80");
    assert_eq!(both.outcome(&snapshot), "Endpoint(10.0.0.2:80) as shop/reviews:80");
}

#[test]
fn an_authority_that_is_an_address_means_what_dialling_it_would() {
    let denied = snapshot(&mesh("Deny"));
    let pay = "default of bank/pay:80 to bank/pay:80";
    for (authority, outcome) in [
        ("10.96.0.7", pay),
        ("10.96.0.7:80", pay),
        ("10.96.0.7:81", "NoService for egress"),
        ("10.0.0.2", "Endpoint(10.0.0.2:80) as shop/reviews:80"),
        ("10.0.0.1:8080", "Endpoint(10.0.0.1:8080) as shop/cart:8080"),
        ("10.1.0.1:8080", "Endpoint(10.1.0.1:8080) as bank/pay:80"),
        ("10.0.0.1", "NoService for egress"),
    ] {
        assert_eq!(ask(authority, "/rest").outcome(&denied), outcome, "{authority}");
    }
    let allowed = snapshot(POLICY);
    assert_eq!(ask("10.0.0.1", "/").outcome(&allowed), "Authority { log: false } as egress");
}

#[test]
fn inbound_goes_to_the_app() {
    let snapshot = snapshot(POLICY);
    let with_service = ask("whatever", "/").by(Side::Inbound, "0.0.0.0:8080");
    assert_eq!(with_service.outcome(&snapshot), "default of shop/cart:8080 to shop/cart:8080");
    let Decision::Forward(forward) = with_service.decide(&snapshot, &mut Silent) else { panic!() };
    assert_eq!(forward.backend().endpoints.load().endpoints()[0].address, "127.0.0.1:3000".parse().unwrap());
    assert_eq!(
        (forward.backend().protocol, forward.backend().service.clone()),
        (UpstreamProtocol::AsCaller, None)
    );
    let without = ask("cart", "/").by(Side::Inbound, "0.0.0.0:8081");
    assert_eq!(without.outcome(&snapshot), "default of app to app");
}

#[test]
fn a_listener_that_is_gone_has_no_policy() {
    let snapshot = snapshot(POLICY);
    for side in [Side::Inbound, Side::Outbound] {
        assert_eq!(ask("cart", "/").by(side, "127.0.0.1:1").outcome(&snapshot), "NoPolicy for egress");
    }
}

#[test]
fn shares_follow_the_weights_and_the_dice() {
    let snapshot = snapshot(POLICY);
    let mut counts = BTreeMap::<String, u32>::new();
    for dice in 0..4_000 {
        let mut asked = ask("reviews", "/split/x");
        asked.facts.dice = dice;
        let outcome = asked.outcome(&snapshot);
        assert_eq!(outcome, asked.outcome(&snapshot), "the same dice, the same decision");
        *counts.entry(outcome).or_default() += 1;
    }
    let share = |to: &str| counts[&format!("shop/reviews/split of shop/reviews:80 to {to}")];
    assert!((2_850..3_150).contains(&share("shop/reviews:80")), "{counts:?}");
    assert_eq!(share("shop/reviews:80") + share("shop/canary:80"), 4_000);
}

#[test]
fn the_backends_header_changes_follow_the_rules() {
    let snapshot = snapshot(POLICY);
    let canary = (0..).map(|dice| {
        let mut asked = ask("reviews", "/split");
        asked.facts.dice = dice;
        asked.decide(&snapshot, &mut Silent)
    });
    let mut canary = canary.filter_map(|decision| match decision {
        Decision::Forward(forward) if &*forward.backend().label == "shop/canary:80" => Some(forward),
        _ => None,
    });
    let mut headers = HeaderMap::new();
    let forward = canary.next().unwrap();
    for changes in [forward.of_rule(), forward.of_backend()] {
        changes.headers.iter().for_each(|modifier| modifier.apply(&mut headers));
    }
    assert_eq!(headers["x-rule"], "2");
}

const MIRRORS: &str = r#"
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: mirrored, namespace: shop}
spec:
  parentRefs: [{kind: Service, group: "", name: cart}]
  rules:
  - filters:
    - {type: RequestMirror, requestMirror: {backendRef: {name: canary, port: 80}}}
    - {type: RequestMirror, requestMirror: {backendRef: {name: nobody, port: 80}}}
    - {type: RequestMirror, requestMirror: {backendRef: {name: reviews, port: 80}, percent: 25}}
    - {type: RequestMirror, requestMirror: {backendRef: {name: reviews, port: 443}, percent: 0}}
    backendRefs:
    - name: cart
      port: 8080
      filters:
      - {type: RequestMirror, requestMirror: {backendRef: {name: reviews, port: 443}, fraction: {numerator: 1, denominator: 1000}}}
    - {name: canary, port: 80}
"#;

#[test]
fn each_mirror_draws_its_own_share_and_one_that_points_at_nothing_takes_none() {
    let snapshot = snapshot(&format!("{POLICY}{MIRRORS}"));
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    let mut both = 0;
    for dice in 0..40_000 {
        let mut asked = ask("cart.example.com", "/");
        asked.facts.dice = dice;
        let Decision::Forward(forward) = asked.decide(&snapshot, &mut Silent) else { panic!("forwards") };
        let rule: Vec<_> = forward.of_rule().mirrors.iter().map(|to| to.backend.label.to_string()).collect();
        let backend = forward.of_backend().mirrors.iter().map(|to| format!("backend {}", to.backend.label));
        let backend: Vec<_> = backend.collect();
        assert!(backend.is_empty() || &*forward.backend().label == "shop/cart:8080");
        both += u32::from(rule.len() == 2 && &*forward.backend().label == "shop/cart:8080");
        rule.into_iter().chain(backend).for_each(|to| *counts.entry(to).or_default() += 1);
    }
    assert_eq!(counts["shop/canary:80"], 40_000);
    assert!((9_600..10_400).contains(&counts["shop/reviews:80"]), "{counts:?}");
    // A thousandth of the half that goes to this backend.
    assert!((5..50).contains(&counts["backend shop/reviews:443"]), "{counts:?}");
    assert_eq!(counts.len(), 3);
    assert!((4_700..5_300).contains(&both), "the draw does not hang on the choice of backend: {both}");
}

const CORS: &str = r#"
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: cors, namespace: shop}
spec:
  parentRefs: [{kind: Service, group: "", name: cart}]
  rules:
  - name: put
    matches: [{path: {value: /api}, method: PUT}]
    filters: [{type: CORS, cors: {allowOrigins: ["*"]}}]
    backendRefs: [{name: cart, port: 8080}]
  - name: written
    matches: [{path: {value: /written}, method: OPTIONS}]
    filters: [{type: CORS, cors: {allowOrigins: ["*"]}}]
    backendRefs: [{name: cart, port: 8080}]
  - name: backend
    matches: [{path: {value: /backend}}]
    backendRefs:
    - {name: cart, port: 8080, weight: 1, filters: [{type: CORS, cors: {allowOrigins: ["*"]}}]}
    - {name: canary, port: 80, weight: 1}
  - name: rest
    backendRefs: [{name: cart, port: 8080}]
"#;

#[test]
fn preflights_are_answered_for_the_rule_that_they_ask_about() {
    let snapshot = snapshot(&format!("{POLICY}{CORS}"));
    let outcome = |path, asks_about| {
        Asked { asks_about: Some(asks_about), ..ask("cart.example.com", path) }.outcome(&snapshot)
    };
    let rest = "shop/cors/rest of shop/cart:8080 to shop/cart:8080";
    assert_eq!(outcome("/api", "PUT"), "preflight of shop/cors/put");
    assert_eq!(outcome("/api", "DELETE"), rest);
    assert_eq!(outcome("/api", ""), rest, "not a preflight");
    assert_eq!(outcome("/other", "PUT"), rest);
    assert_eq!(outcome("/written", "DELETE"), "preflight of shop/cors/written");
    assert_eq!(ask("cart.example.com", "/api").outcome(&snapshot), rest);
    // No route, no policy: the app's own to answer.
    let own = Asked { asks_about: Some("PUT"), ..ask("canary", "/api") };
    assert_eq!(own.outcome(&snapshot), "default of shop/canary:80 to shop/canary:80");
}

/// A backend's policy answers for its share, as it would tell of its answers.
#[test]
fn preflights_are_answered_for_the_backend_that_would_get_the_request() {
    let snapshot = snapshot(&format!("{POLICY}{CORS}"));
    for dice in 0..50 {
        let mut asked = Asked { asks_about: Some("PUT"), ..ask("cart.example.com", "/backend") };
        asked.facts.dice = dice;
        let expected = match (Asked { asks_about: None, ..asked.clone() }).decide(&snapshot, &mut Silent) {
            Decision::Forward(forward) if &*forward.backend().label == "shop/cart:8080" => {
                "preflight of shop/cors/backend"
            }
            _ => "shop/cors/backend of shop/cart:8080 to shop/canary:80",
        };
        assert_eq!(asked.outcome(&snapshot), expected);
    }
}

/// The policy with other backends of the rule `split`, such as a cluster may hold though `check` refuses them.
fn with_backends(change: impl Fn(&mut Vec<model::Backend>)) -> Snapshot {
    let mut resources = crate::runtime::fixture::resources(POLICY);
    let mut destinations = resources.destinations.iter_mut();
    let reviews = destinations.find(|one| &*one.name.name == "reviews").unwrap();
    let mut changed = (**reviews).clone();
    let mut rule = (*changed.ports[0].routes.as_ref().unwrap()[0]).clone();
    change(&mut rule.backends);
    changed.ports[0].routes = Some(vec![Arc::new(rule)]);
    *reviews = Arc::new(changed);
    crate::runtime::build(&resources, None, &crate::telemetry::metrics::Metrics::new(1)).unwrap()
}

#[test]
fn a_backend_that_does_not_exist_takes_its_share_as_500() {
    let snapshot = with_backends(|backends| {
        backends[0].target = model::BackendTarget::Invalid { reason: "gone".into() };
    });
    let failed = (0..4_000).filter(|dice| {
        let mut asked = ask("reviews", "/split");
        asked.facts.dice = *dice;
        asked.outcome(&snapshot) == "NoBackend for shop/reviews:80"
    });
    assert!((2_850..3_150).contains(&failed.count()));
}

#[test]
fn no_backend_and_no_weight_are_500() {
    let none = with_backends(Vec::clear);
    assert_eq!(ask("reviews", "/split").outcome(&none), "NoBackend for shop/reviews:80");
    let weightless = with_backends(|backends| backends.iter_mut().for_each(|backend| backend.weight = 0));
    assert_eq!(ask("reviews", "/split").outcome(&weightless), "NoBackend for shop/reviews:80");
    let single = with_backends(|backends| {
        backends.truncate(1);
        backends[0].weight = 0;
    });
    assert_eq!(ask("reviews", "/split").outcome(&single), "NoBackend for shop/reviews:80");
}

#[test]
fn a_recorder_hears_every_step() {
    #[derive(Default)]
    struct Steps(Vec<String>);
    impl Recorder for Steps {
        fn resolved(&mut self, how: Resolution<'_>) {
            self.0.push(match how {
                Resolution::Host(port) => format!("host {port}"),
                Resolution::NoSuchPort(service) => format!("no such port of {}", service.source.name),
                other => format!("{other:?}"),
            });
        }
        fn candidate(&mut self, rule: &Rule, match_index: usize, miss: Option<NotMatched<'_>>) {
            self.0.push(format!("{} match {match_index}: {miss:?}", rule.route));
        }
        fn rule(&mut self, rule: &Rule, backend: Option<usize>) {
            let shares: Vec<_> = rule.backends.iter().map(|backend| backend.weight).collect();
            self.0.push(format!("{} {backend:?} of {shares:?}", rule.route));
        }
        fn mirror(&mut self, mirror: &Mirror, taken: bool) {
            let share = mirror.share;
            self.0.push(format!("mirror {}/{} {taken}", share.numerator, share.denominator));
        }
    }
    let snapshot = snapshot(&format!("{POLICY}{MIRRORS}"));
    let heard = |asked: Asked<'_>| {
        let mut steps = Steps::default();
        asked.decide(&snapshot, &mut steps);
        steps.0
    };
    assert_eq!(
        heard(ask("reviews", "/rest")),
        [
            "host shop/reviews:80",
            "shop/reviews/split match 0: Some(Path)",
            "shop/reviews/rest match 0: None",
            "shop/reviews/rest Some(0) of [1]",
        ]
    );
    let mirrored = heard(ask("cart.example.com", "/"));
    assert_eq!(mirrored[2], "shop/mirrored/0 Some(0) of [1, 1]");
    assert_eq!(mirrored[3..5], ["mirror 100/100 true", "mirror 100/100 false"]);
    assert_eq!(mirrored[6..], ["mirror 0/100 false", "mirror 1/1000 false"]);
    assert_eq!(heard(ask("cart:1", "/")), ["no such port of shop/cart", "Outside"]);
    assert_eq!(
        heard(ask("cart", "/").by(Side::Inbound, "0.0.0.0:8081")),
        ["Inbound", "default Some(0) of [1]"]
    );
}
