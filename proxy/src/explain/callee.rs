//! Limits that the proxy before a service holds, and with whose requests this one counts.

use std::sync::Arc;

use outrigger_config::{
    format_duration,
    model::{RateLimitBy, TrafficSettings},
};

use super::{
    Admitted,
    report::{Callee, Concurrency, RateLimit},
    settings::{said, setting},
};
use crate::{ctx::Side, policy::concurrency::share_percent, telemetry::metrics::PriorityClass};

/// What is held for a Service with these settings; `None`: nothing.
pub(super) fn told(settings: &TrafficSettings, admitted: Admitted<'_>) -> Option<Callee> {
    let limits = settings.rate_limits.iter().map(|limit| RateLimit {
        limit: said(
            &limit.origin,
            Some(format!(
                "{} requests per {}, {} at once",
                limit.requests,
                format_duration(limit.per),
                limit.burst
            )),
        ),
        counted_with: counted_with(&limit.by, admitted),
    });
    let callee = Callee {
        here: admitted.from.0 == Side::Inbound,
        rate_limits: limits.collect(),
        concurrency: concurrency(settings, admitted),
    };
    (!callee.rate_limits.is_empty() || callee.concurrency.is_some()).then_some(callee)
}

fn concurrency(settings: &TrafficSettings, admitted: Admitted<'_>) -> Option<Concurrency> {
    let (limit, origins) = (settings.concurrency.as_ref()?, &settings.origins);
    let class = limit.priority.as_ref().map(|priority| {
        let value = admitted.head.headers.get(&*priority.header).map(|value| value.as_bytes());
        let is = |words: &[Arc<str>]| words.iter().any(|word| Some(word.as_bytes()) == value);
        match (is(&priority.high), is(&priority.low)) {
            (true, _) => PriorityClass::High,
            (false, true) => PriorityClass::Low,
            (false, false) => PriorityClass::Default,
        }
    });
    let bound = |leaf: &str, value: u32| match origins.contains_key(leaf) {
        true => setting(origins, leaf, Some(value)),
        // What is built in holds because somebody switched the limit on.
        false => setting(origins, "concurrency.adaptive", Some(value)),
    };
    Some(Concurrency {
        min_limit: bound("concurrency.adaptive.minLimit", limit.min_limit),
        max_limit: bound("concurrency.adaptive.maxLimit", limit.max_limit),
        priority: class
            .map(|class| setting(origins, "concurrency.priority", Some(class.as_str().to_owned()))),
        share_percent: share_percent(class),
    })
}

fn counted_with(by: &RateLimitBy, admitted: Admitted<'_>) -> String {
    let (side, peer) = admitted.from;
    match by {
        RateLimitBy::Service => "all requests".to_owned(),
        RateLimitBy::Identity => match admitted.identity {
            Some(id) => format!("those from {id}"),
            None => "all callers without an identity".to_owned(),
        },
        // Which address the callee sees of this proxy only the network knows.
        RateLimitBy::SourceIp if side == Side::Outbound => "those from this proxy's address".to_owned(),
        RateLimitBy::SourceIp => format!("those from {}", peer),
        RateLimitBy::Header(name) => {
            let values: Vec<_> =
                admitted.head.headers.get_all(&**name).iter().map(|value| format!("{value:?}")).collect();
            match values.is_empty() {
                true => format!("those without {name}"),
                false => format!("those with {name} {}", values.join(", ")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        explain::{Explainer, Question, Report},
        runtime::fixture,
    };

    const POLICY: &str = r#"apiVersion: outrigger.dev/v1alpha1
kind: Sidecar
metadata: {name: web, namespace: shop}
spec:
  inbound: [{bind: "127.0.0.1:8080", app: "127.0.0.1:3000", service: {name: cart, port: 80}}]
  outbound: [{bind: "127.0.0.1:15001"}]
---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {name: cart, namespace: shop}
spec: {ports: [{port: 80}], endpoints: [{address: "10.0.0.2:80"}]}
---
apiVersion: outrigger.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: cart, namespace: shop}
spec:
  targetRefs: [{kind: Service, name: cart}]
  concurrency: {adaptive: {minLimit: 7}, priority: {header: x-class, high: [a], low: [z]}}
  rateLimit: {requests: 10, per: 1m, burst: 3, by: {header: x-user}}
---
apiVersion: outrigger.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: all, namespace: shop}
spec: {rateLimit: {requests: 100, per: 1s, by: sourceIp}}
"#;

    fn explain(url: &str, user: Option<&str>) -> Report {
        let mut question = Question::new("GET", url).unwrap();
        if let Some(user) = user {
            question.header("x-user", user).unwrap();
        }
        Explainer::new(fixture::resources(POLICY)).unwrap().explain(&question).unwrap()
    }

    #[test]
    fn limits_are_told_with_whose_requests_one_counts() {
        let report = explain("http://cart/", Some("ann"));
        let callee = report.shares[0].callee.as_ref().unwrap();
        assert!(!callee.here && !report.refuses());
        let text = report.to_text(false);
        let own = "10 requests per 1m, 3 at once, held by the proxy before it; counts with those with x-user \"ann\"  \
                   TrafficPolicy shop/cart on the Service  (policy.yaml:19:14)";
        assert!(text.contains(own), "{text}");
        let all = "100 requests per 1s, 100 at once, held by the proxy before it; counts with those from this proxy's \
                   address  TrafficPolicy shop/all on its namespace  (policy.yaml:24:19)";
        assert!(text.contains(all), "{text}");
        let at_once = "at once from 7 to 1000 requests, held by the proxy before it; this one is default and may fill 90 % of \
                       it  TrafficPolicy shop/cart on the Service  (policy.yaml:18:38)";
        assert!(text.contains(at_once), "{text}");
        assert!(explain("http://cart/", None).to_text(false).contains("counts with those without x-user"));
    }
}
