//! Several limits of one port, whose requests they count, and what they tell callers.

use std::{net::IpAddr, sync::Arc, time::Instant};

use outrigger_config::model::{Origin, SettingLayer, SettingOrigin};

use super::*;
use crate::telemetry::metrics::Metrics;

fn limit(requests: u32, burst: u32, by: RateLimitBy) -> Arc<RateLimit> {
    let origin = Origin { file: "policy.yaml".into(), line: 1, column: 1 };
    let source = model::RateLimit {
        requests,
        per: Duration::from_secs(10),
        burst,
        by,
        origin: SettingOrigin { layer: SettingLayer::MeshDefaults, policy: None, origin },
    };
    let key = LimitKey { policy: None, of: Counted::App(([127, 0, 0, 1], 80).into()) };
    let metrics = Metrics::new(1).rate_limit("app", "mesh");
    Arc::new(RateLimit::new(key, &source, metrics, Instant::now()).unwrap())
}

struct Caller {
    headers: HeaderMap,
    identity: Option<SpiffeId>,
    peer: IpAddr,
}

impl Caller {
    fn new(peer: &str, user: Option<&str>) -> Self {
        let mut headers = HeaderMap::new();
        headers.extend(user.map(|user| (HeaderName::from_static("x-user"), user.parse().unwrap())));
        Self { headers, identity: None, peer: peer.parse().unwrap() }
    }

    fn is(self, account: &str) -> Self {
        Self { identity: Some(SpiffeId::of_account("cluster.local", "shop", account)), ..self }
    }

    fn comes(&self, limits: &RateLimits, now: Instant) -> Result<Told, Refused> {
        limits
            .admit(&Ask { headers: &self.headers, identity: self.identity.as_ref(), peer: self.peer, now }, 0)
    }
}

fn total(limit: &RateLimit) -> [u64; 3] {
    [RateLimitOutcome::Allowed, RateLimitOutcome::Refused, RateLimitOutcome::Overflow]
        .map(|outcome| limit.metrics.total(outcome))
}

#[test]
fn callers_are_told_apart_as_policy_says() {
    let now = Instant::now();
    let by_user = RateLimitBy::Header("x-user".into());
    for (by, passed) in [
        (RateLimitBy::Service, [true, false, false, false, false]),
        (RateLimitBy::Identity, [true, false, false, false, false]),
        (RateLimitBy::SourceIp, [true, false, true, false, true]),
        (by_user, [true, true, false, true, false]),
    ] {
        let limits = RateLimits::new(vec![limit(1, 1, by.clone())]).unwrap();
        let callers = [
            Caller::new("10.0.0.1", Some("ann")),
            Caller::new("10.0.0.1", Some("bob")),
            Caller::new("10.0.0.2", Some("ann")),
            Caller::new("10.0.0.2", None),
            Caller::new("10.0.0.3", None),
        ];
        assert_eq!(callers.map(|caller| caller.comes(&limits, now).is_ok()), passed, "{by:?}");
    }
}

#[test]
fn identities_are_told_apart_wherever_they_call_from_and_the_anonymous_share_one_count() {
    let now = Instant::now();
    let limits = RateLimits::new(vec![limit(1, 1, RateLimitBy::Identity)]).unwrap();
    let callers = [
        Caller::new("10.0.0.1", None).is("cart"),
        Caller::new("10.0.0.1", None).is("web"),
        Caller::new("10.0.0.2", None).is("cart"),
        Caller::new("10.0.0.1", None),
        Caller::new("10.0.0.3", None),
    ];
    let passed = callers.map(|caller| caller.comes(&limits, now).is_ok());
    assert_eq!(passed, [true, true, false, true, false]);
}

#[test]
fn all_limits_count_and_what_one_refuses_costs_nothing_with_the_others() {
    let now = Instant::now();
    let (all, each) = (limit(4, 4, RateLimitBy::Service), limit(2, 2, RateLimitBy::Header("x-user".into())));
    let limits = RateLimits::new(vec![all.clone(), each.clone()]).unwrap();
    let (ann, bob, eve) = (
        Caller::new("10.0.0.1", Some("ann")),
        Caller::new("10.0.0.1", Some("bob")),
        Caller::new("10.0.0.1", Some("eve")),
    );
    assert_eq!((0..10).filter(|_| ann.comes(&limits, now).is_ok()).count(), 2, "her own limit");
    assert_eq!(
        (0..10).filter(|_| bob.comes(&limits, now).is_ok()).count(),
        2,
        "what she was refused is there"
    );
    assert_eq!((0..10).filter(|_| eve.comes(&limits, now).is_ok()).count(), 0, "the limit of all");
    assert_eq!(total(&all), [4, 18, 0]);
    assert_eq!(total(&each), [4, 16, 0]);
    let refused = ann.comes(&limits, now).unwrap_err();
    assert_eq!(refused.again_in, Duration::from_secs(5), "the longest of those that refuse");
    let [policy, state] = refused.fields.map(|(_, value)| value.to_str().unwrap().to_owned());
    assert_eq!(policy, "\"service\";q=4;w=10, \"header\";q=2;w=10");
    assert_eq!(state, "\"service\";r=0;t=3, \"header\";r=0;t=5");
}

#[test]
fn answers_say_what_is_left_where_it_is_the_callers_own() {
    let now = Instant::now();
    let whole = RateLimits::new(vec![limit(5, 3, RateLimitBy::Service)]).unwrap();
    let ann = Caller::new("10.0.0.1", None);
    assert!(ann.comes(&whole, now).unwrap().0.is_none(), "what all others do is not hers to know");
    let own = RateLimits::new(vec![limit(5, 3, RateLimitBy::SourceIp), limit(9, 9, RateLimitBy::SourceIp)])
        .unwrap();
    let told = ann.comes(&own, now).unwrap().0.unwrap();
    let [policy, state] = told.map(|(_, value)| value.to_str().unwrap().to_owned());
    assert_eq!(policy, "\"source-ip\";q=5;w=10, \"source-ip-2\";q=9;w=10");
    assert_eq!(state, "\"source-ip\";r=2;t=2, \"source-ip-2\";r=8;t=2");
    assert!(RateLimits::new(Vec::new()).is_none());
}

#[test]
fn ten_thousand_callers_have_a_count_of_their_own_until_they_are_idle() {
    let start = Instant::now();
    let limit = limit(1, 1, RateLimitBy::Header("x-user".into()));
    let limits = RateLimits::new(vec![limit.clone()]).unwrap();
    let come =
        |user: usize, now| Caller::new("10.0.0.1", Some(&user.to_string())).comes(&limits, now).is_ok();
    assert!((0..buckets::MOST).all(|user| come(user, start)));
    assert!(come(20_000, start), "the first of the rest");
    assert!(!come(20_001, start), "which share one count");
    assert_eq!(total(&limit), [10_001, 1, 2]);
    assert_eq!(limit.metrics.callers_now(), 10_000);
    let later = start + Duration::from_secs(12);
    limit.forget_idle(later);
    assert_eq!(limit.metrics.callers_now(), 0);
    assert!(come(20_000, later) && come(20_001, later));
}

#[test]
fn seconds_are_rounded_up() {
    for (millis, shown) in [(0, 0), (1, 1), (999, 1), (1000, 1), (1001, 2)] {
        assert_eq!(seconds(Duration::from_millis(millis)), shown);
    }
}
