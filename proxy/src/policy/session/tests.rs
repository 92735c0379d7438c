//! Sessions with made-up time: what a request brings, where it goes, and what its answer gives.

use http::Method;

use super::*;
use crate::{
    ctx::Side,
    decide::{Decision, Facts, Form, Silent, decide},
    runtime::{
        fixture::{key, next, snapshot},
        snapshot::Snapshot,
    },
};

const HOUR: u64 = 3600;

fn policy(rules: &str) -> String {
    let service = |name: &str, endpoints: &str| {
        format!(
            "---\napiVersion: outrigger.dev/v1alpha1\nkind: MeshService\nmetadata: {{name: {name}, namespace: shop}}\n\
             spec: {{ports: [{{port: 80}}], endpoints: [{endpoints}]}}\n"
        )
    };
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: Sidecar\nmetadata: {{name: web, namespace: shop}}\n\
         spec: {{outbound: [{{bind: \"127.0.0.1:15001\"}}]}}\n{}{}---\n\
         apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: cart, namespace: shop}}\n\
         spec:\n  parentRefs: [{{group: \"\", kind: Service, name: cart}}]\n  rules:\n{rules}",
        service("cart", "{address: \"10.0.0.1:80\"}, {address: \"10.0.0.2:80\"}"),
        service("canary", "{address: \"10.0.1.1:80\"}")
    )
}

/// One rule for everything under `/cart` with these sessions, and these weights of `cart` and `canary`.
fn sessions(body: &str, weights: [u32; 2]) -> String {
    policy(&format!(
        "  - name: all\n    matches: [{{path: {{value: /cart}}}}, {{path: {{value: /cart/deep}}}}, {{path: {{value: \"/a/b.*\", type: RegularExpression}}}}]\n    \
         backendRefs: [{{name: cart, port: 80, weight: {}}}, {{name: canary, port: 80, weight: {}}}]\n    \
         sessionPersistence: {{{body}}}\n",
        weights[0], weights[1]
    ))
}

/// A moment, in seconds and a half after some other one.
fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_500) + Duration::from_secs(seconds)
}

fn decided(snapshot: &Snapshot, path: &str, fields: &[(&str, &str)], now: SystemTime, dice: u64) -> Decision {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
    }
    let head = Head { method: &Method::GET, path, query: None, host: "cart", port: None, headers: &headers };
    let facts = Facts {
        original_destination: None,
        form: Form::Origin,
        peer: [127, 0, 0, 1].into(),
        identity: None,
        now: std::time::Instant::now(),
        clock: now,
        dice,
    };
    decide(snapshot, key(Side::Outbound, "127.0.0.1:15001"), &head, &facts, &mut Silent)
}

/// A request on the way, and what its answer will get.
struct Went {
    outcome: SessionOutcome,
    backend: String,
    endpoint: Option<String>,
    forward: Forward,
}

fn go(snapshot: &Snapshot, path: &str, fields: &[(&str, &str)], now: SystemTime) -> Went {
    went(decided(snapshot, path, fields, now, 7))
}

fn went(decision: Decision) -> Went {
    let Decision::Forward(forward) = decision else { panic!("not forwarded") };
    let (_, visit, _) = forward.session().expect("the rule has sessions");
    Went {
        outcome: visit.outcome,
        backend: forward.backend().label.to_string(),
        endpoint: visit.endpoint.map(|endpoint| endpoint.to_string()),
        forward,
    }
}

impl Went {
    /// The fields that an answer of this endpoint gets.
    fn answered(&self, endpoint: &str) -> Vec<(String, String)> {
        let (mut head, ()) = http::Response::new(()).into_parts();
        head.headers.insert(SET_COOKIE, HeaderValue::from_static("app=1"));
        on_answer(&mut head, &Pinned::forward(&self.forward, 9), endpoint.parse().unwrap(), 0);
        let fields =
            head.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
        let fields: Vec<_> = fields.filter(|(_, value)| value != "app=1").collect();
        assert!(head.headers.get_all(SET_COOKIE).iter().any(|value| value == "app=1"), "{fields:?}");
        fields
    }

    /// The cookie that a caller sends from then on; `None`: it keeps what it has.
    fn cookie(&self, endpoint: &str) -> Option<String> {
        let fields = self.answered(endpoint);
        fields.first().map(|(_, value)| value.split(';').next().unwrap().to_owned())
    }
}

/// The cookie of a session that begins with this endpoint; some dice choose its backend.
fn begun(snapshot: &Snapshot, endpoint: &str, now: SystemTime) -> String {
    let backend = if endpoint.starts_with("10.0.1.") { "shop/canary:80" } else { "shop/cart:80" };
    let all = (0..100).map(|dice| went(decided(snapshot, "/cart", &[], now, dice)));
    let went = all.into_iter().find(|went| went.backend == backend).expect("it has weight");
    went.cookie(endpoint).unwrap()
}

#[test]
fn a_session_stays_with_its_endpoint_whatever_the_weights() {
    let snapshot = snapshot(&sessions("", [1, 1]));
    let other = next(&sessions("", [1, 0]), &snapshot);
    for endpoint in ["10.0.0.1:80", "10.0.0.2:80", "10.0.1.1:80"] {
        let cookie = begun(&snapshot, endpoint, at(0));
        for snapshot in [&snapshot, &other] {
            let went = go(snapshot, "/cart/1", &[("cookie", &format!("a=b; {cookie}; c=d"))], at(HOUR));
            assert_eq!((went.outcome, went.endpoint.as_deref()), (SessionOutcome::Kept, Some(endpoint)));
            let canary = endpoint == "10.0.1.1:80";
            assert_eq!(went.backend, if canary { "shop/canary:80" } else { "shop/cart:80" });
            assert_eq!(went.cookie(endpoint), None, "the caller keeps what it has");
        }
    }
}

#[test]
fn a_caller_without_a_token_is_shared_out_by_weight() {
    let snapshot = snapshot(&sessions("", [3, 1]));
    let canary = |dice| match decided(&snapshot, "/cart", &[], at(0), dice) {
        Decision::Forward(forward) => &*forward.backend().label == "shop/canary:80",
        other => panic!("{other:?}"),
    };
    let share = (0..4000).filter(|dice| canary(*dice)).count();
    assert!((900..1100).contains(&share), "{share}");
}

#[test]
fn limits_are_held_by_the_times_in_the_token() {
    let snapshot = snapshot(&sessions("absoluteTimeout: 2h, idleTimeout: 30m", [1, 0]));
    let first = begun(&snapshot, "10.0.0.2:80", at(0));
    let after = |cookie: &str, seconds| go(&snapshot, "/cart", &[("cookie", cookie)], at(seconds));
    assert_eq!(after(&first, 1800).outcome, SessionOutcome::Kept);
    assert_eq!(after(&first, 1801).outcome, SessionOutcome::Idle);
    assert_eq!(after(&first, 7201).outcome, SessionOutcome::Expired);
    // A clock that is behind that of the proxy which made the token.
    let behind = at(0) - Duration::from_secs(100);
    assert_eq!(go(&snapshot, "/cart", &[("cookie", &first)], behind).outcome, SessionOutcome::Kept);
    let mut cookie = first.clone();
    for hour in 1..=4 {
        let went = after(&cookie, hour * 1800);
        assert_eq!(went.outcome, SessionOutcome::Kept, "used in time");
        cookie = went.cookie("10.0.0.2:80").expect("its use is told");
    }
    let over = after(&cookie, 7201);
    assert_eq!((over.outcome, over.endpoint.as_deref()), (SessionOutcome::Expired, None));
    let anew = over.cookie("10.0.0.1:80").unwrap();
    assert_eq!(after(&anew, 7201 + 1800).outcome, SessionOutcome::Kept, "a new session");
}

#[test]
fn use_is_told_no_more_often_than_the_limit_needs() {
    let told = |body: &str, millis| {
        let snapshot = snapshot(&sessions(body, [1, 0]));
        let cookie = begun(&snapshot, "10.0.0.1:80", at(0));
        let later = at(0) + Duration::from_millis(millis);
        go(&snapshot, "/cart", &[("cookie", &cookie)], later).cookie("10.0.0.1:80").is_some()
    };
    assert!(!told("idleTimeout: 30m", 999) && told("idleTimeout: 30m", 1000));
    assert!(!told("idleTimeout: 2s", 199) && told("idleTimeout: 2s", 200));
    assert!(!told("absoluteTimeout: 2h", 7_000_000), "nobody asks for it");
    assert!(!told("idleTimeout: 0s", 7_000_000), "no limit");
}

#[test]
fn cookies_have_the_path_of_their_match_and_an_age_where_they_are_kept() {
    let given = |body: &str, path: &str, seconds| {
        let snapshot = snapshot(&sessions(body, [1, 0]));
        let cookie = begun(&snapshot, "10.0.0.1:80", at(0));
        let brought = [("cookie", cookie.as_str())];
        let fields = go(&snapshot, path, if seconds == 0 { &[] } else { &brought }, at(seconds));
        let mut fields = fields.answered("10.0.0.1:80");
        let (name, value) = fields.pop().unwrap();
        assert!(fields.is_empty() && name == "set-cookie");
        let (cookie, attributes) = value.split_once("; ").unwrap();
        (cookie.split('=').next().unwrap().to_owned(), attributes.to_owned())
    };
    let plain = "Path=/cart; HttpOnly; SameSite=Lax";
    assert_eq!(given("sessionName: Cart", "/cart", 0), ("Cart".to_owned(), plain.to_owned()));
    assert_eq!(given("", "/cart/1", 0).1, plain);
    assert_eq!(given("", "/cart/deep/1", 0).1, "Path=/cart/deep; HttpOnly; SameSite=Lax");
    assert_eq!(given("", "/a/bc", 0).1, "Path=/a; HttpOnly; SameSite=Lax");
    assert_eq!(given("absoluteTimeout: 2h", "/cart", 0).1, plain, "held by the proxy alone");
    let permanent = "absoluteTimeout: 2h, idleTimeout: 1h, cookieConfig: {lifetimeType: Permanent}";
    assert_eq!(given(permanent, "/cart", 0).1, "Path=/cart; Max-Age=7200; HttpOnly; SameSite=Lax");
    assert_eq!(given(permanent, "/cart", 1200).1, "Path=/cart; Max-Age=6000; HttpOnly; SameSite=Lax");
}

#[test]
fn a_name_that_is_not_written_is_the_rules_own() {
    let rule = |name: &str| {
        format!(
            "  - name: {name}\n    matches: [{{path: {{value: /{name}}}}}]\n    \
             backendRefs: [{{name: cart, port: 80}}]\n    sessionPersistence: {{}}\n"
        )
    };
    let text = policy(&format!("{}{}", rule("a"), rule("b")));
    let (snapshot, again) = (snapshot(&text), snapshot(&text));
    let cookie = |snapshot, path| go(snapshot, path, &[], at(0)).cookie("10.0.0.1:80").unwrap();
    let name = |cookie: String| cookie.split('=').next().unwrap().to_owned();
    let (a, b) = (name(cookie(&snapshot, "/a")), name(cookie(&snapshot, "/b")));
    assert!(a != b && a.len() == 16 && a.starts_with("session-"), "{a} {b}");
    assert_eq!(name(cookie(&again, "/a")), a);
    // Proxies of one policy read each other's tokens, and no rule another's.
    let of_a = cookie(&snapshot, "/a");
    assert_eq!(go(&again, "/a", &[("cookie", &of_a)], at(1)).outcome, SessionOutcome::Kept);
    let under_b = of_a.replace(&a, &b);
    assert_eq!(go(&snapshot, "/b", &[("cookie", &under_b)], at(1)).outcome, SessionOutcome::Invalid);
    assert_eq!(go(&snapshot, "/b", &[("cookie", &of_a)], at(1)).outcome, SessionOutcome::New);
}

#[test]
fn headers_carry_tokens_too() {
    let snapshot = snapshot(&sessions("sessionName: X-Cart, type: Header", [1, 0]));
    let fields = go(&snapshot, "/cart", &[], at(0)).answered("10.0.0.2:80");
    let [(name, token)] = &*fields else { panic!("{fields:?}") };
    assert_eq!((name.as_str(), token.len()), ("x-cart", 90));
    let went = go(&snapshot, "/cart", &[("x-cart", token)], at(HOUR));
    assert_eq!((went.outcome, went.endpoint.as_deref()), (SessionOutcome::Kept, Some("10.0.0.2:80")));
    assert!(went.answered("10.0.0.2:80").is_empty());
    let mut damaged = token.clone();
    damaged.replace_range(40..41, if &token[40..41] == "x" { "y" } else { "x" });
    let went = go(&snapshot, "/cart", &[("x-cart", &damaged)], at(1));
    assert_eq!((went.outcome, went.endpoint), (SessionOutcome::Invalid, None));
}

#[test]
fn of_several_cookies_of_one_name_the_first_that_opens_counts() {
    let snapshot = snapshot(&sessions("sessionName: c", [1, 0]));
    let (one, two) = (begun(&snapshot, "10.0.0.1:80", at(0)), begun(&snapshot, "10.0.0.2:80", at(0)));
    let went = |cookies: &str| go(&snapshot, "/cart", &[("cookie", cookies)], at(1));
    assert_eq!(went(&format!("c=x; xc=y;c=; {two}; {one}")).endpoint.as_deref(), Some("10.0.0.2:80"));
    assert_eq!(went(&format!("c=x; {one}; {two}")).endpoint.as_deref(), Some("10.0.0.1:80"));
    assert_eq!(
        went(&format!("c=1; c=2; c=3; c=4; {one}")).outcome,
        SessionOutcome::Invalid,
        "four are tried"
    );
    assert_eq!(went("C=1; cc=2").outcome, SessionOutcome::New);
}

#[test]
fn an_endpoint_that_is_gone_ends_the_session() {
    let before = snapshot(&sessions("", [1, 1]));
    let (cart, canary) = (begun(&before, "10.0.0.2:80", at(0)), begun(&before, "10.0.1.1:80", at(0)));
    let fewer = |weights| {
        let text = sessions("", weights).replace(", {address: \"10.0.0.2:80\"}", "");
        next(&text.replace("{address: \"10.0.1.1:80\"}", "{address: \"10.0.1.9:80\"}"), &before)
    };
    let went = go(&fewer([1, 1]), "/cart", &[("cookie", &canary)], at(1));
    assert_eq!((went.outcome, went.endpoint.as_deref()), (SessionOutcome::Gone, None));
    assert_eq!(went.backend, "shop/canary:80", "the version stays while new callers get it too");
    assert!(went.cookie("10.0.1.9:80").is_some());
    let went = go(&fewer([1, 0]), "/cart", &[("cookie", &canary)], at(1));
    assert_eq!((went.outcome, went.backend.as_str()), (SessionOutcome::Gone, "shop/cart:80"));
    let went = go(&fewer([1, 0]), "/cart", &[("cookie", &cart)], at(1));
    assert_eq!((went.outcome, went.endpoint), (SessionOutcome::Gone, None));
    // A backend that the rule no longer has.
    let without = sessions("", [1, 1]).replace(", {name: canary, port: 80, weight: 1}", "");
    let went = go(&next(&without, &before), "/cart", &[("cookie", &canary)], at(1));
    assert_eq!((went.outcome, went.backend.as_str()), (SessionOutcome::Gone, "shop/cart:80"));
    // Backends may change their places.
    let turned = "{name: canary, port: 80, weight: 1}, {name: cart, port: 80, weight: 1}";
    let text = sessions("", [1, 1])
        .replace("{name: cart, port: 80, weight: 1}, {name: canary, port: 80, weight: 1}", turned);
    let went = go(&next(&text, &before), "/cart", &[("cookie", &canary)], at(1));
    assert_eq!((went.outcome, went.endpoint.as_deref()), (SessionOutcome::Kept, Some("10.0.1.1:80")));
}

#[test]
fn an_answer_from_elsewhere_moves_the_session() {
    let snapshot = snapshot(&sessions("absoluteTimeout: 2h", [1, 0]));
    let cookie = begun(&snapshot, "10.0.0.1:80", at(0));
    let went = go(&snapshot, "/cart", &[("cookie", &cookie)], at(HOUR));
    assert_eq!(went.outcome, SessionOutcome::Kept);
    let moved = went.cookie("10.0.0.2:80").unwrap();
    let went = go(&snapshot, "/cart", &[("cookie", &moved)], at(3 * HOUR));
    assert_eq!((went.outcome, went.endpoint.as_deref()), (SessionOutcome::Kept, Some("10.0.0.2:80")));
    let (session, visit, backend) = went.forward.session().unwrap();
    let answered = |endpoint: &str| session.answered(visit, backend, endpoint.parse().unwrap()).0;
    assert_eq!(answered("10.0.0.2:80"), SessionOutcome::Kept);
    assert_eq!(answered("10.0.0.1:80"), SessionOutcome::Moved);
}
