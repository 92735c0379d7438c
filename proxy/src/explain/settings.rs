//! Settings with who says so, and what the retry law makes of them for one request.

use std::time::Duration;

use http::Method;
use outrigger_config::{
    format_duration,
    model::{self, Limits, SettingLayer, SettingOrigin, SettingOrigins, TrafficSettings},
};

use super::report::{ConnectionTimeouts, Retry, RetryCase, Setting, Timeouts};
use crate::{
    listen::tcp,
    policy::{
        deadline,
        retry::{self, Judgement, Outcome},
    },
    request::strict::Checked,
    telemetry::metrics::RetryDenied,
    upstream::attempt::Class,
};

/// A setting by its path in a TrafficPolicy.
pub(super) fn setting<T>(origins: &SettingOrigins, leaf: &str, value: Option<T>) -> Setting<T> {
    match origins.get(leaf) {
        None => Setting { value, layer: "builtIn", policy: None, origin: None },
        Some(origin) => said(origin, value),
    }
}

/// A setting that stands at one place.
pub(super) fn said<T>(origin: &SettingOrigin, value: Option<T>) -> Setting<T> {
    Setting {
        value,
        layer: match origin.layer {
            SettingLayer::Rule => "rule",
            SettingLayer::PolicyOnRule => "policyOnRule",
            SettingLayer::PolicyOnRoute => "policyOnRoute",
            SettingLayer::PolicyOnService => "policyOnService",
            SettingLayer::PolicyOnNamespace => "policyOnNamespace",
            SettingLayer::MeshDefaults => "meshDefaults",
        },
        policy: origin.policy.as_ref().map(ToString::to_string),
        origin: Some(origin.origin.to_string()),
    }
}

/// The time limits of a request that itself asks for `asked`.
pub(super) fn timeouts(settings: &TrafficSettings, asked: Option<Duration>, checked: &Checked) -> Timeouts {
    let (timeouts, origins) = (&settings.timeouts, &settings.origins);
    let deadline::Limits { request, idle } = deadline::limits(timeouts, asked, checked);
    let time = |leaf: &str, value: Option<Duration>| setting(origins, leaf, value.map(format_duration));
    let callers = |value: Option<Duration>| Setting {
        value: value.map(format_duration),
        layer: "caller",
        policy: None,
        origin: None,
    };
    Timeouts {
        request: match asked {
            Some(_) if request != timeouts.request => callers(request),
            _ => time("timeouts.request", request),
        },
        attempt: time("timeouts.attempt", timeouts.attempt),
        connect: time("timeouts.connect", timeouts.connect),
        // A gRPC stream may pause for as long as it likes, unless a person says otherwise.
        stream_idle: time("timeouts.streamIdle", idle),
    }
}

/// The time limits of a connection that is passed on whole.
pub(super) fn connection(settings: &TrafficSettings, limits: &Limits) -> ConnectionTimeouts {
    let (timeouts, origins) = (&settings.timeouts, &settings.origins);
    let idle = tcp::idle(settings, limits).map(format_duration);
    ConnectionTimeouts {
        connect: setting(origins, "timeouts.connect", timeouts.connect.map(format_duration)),
        stream_idle: match timeouts.stream_idle {
            Some(_) if !timeouts.stream_idle_set => {
                Setting { value: idle, layer: "meshLimits", policy: None, origin: None }
            }
            _ => setting(origins, "timeouts.streamIdle", idle),
        },
    }
}

/// How an endpoint of a backend with these settings is chosen.
pub(super) fn load_balancer(settings: &TrafficSettings) -> Setting<String> {
    let word = settings.load_balancer.policy.word();
    setting(&settings.origins, "loadBalancer.policy", Some(word.to_owned()))
}

/// Who repeats a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hop {
    /// This proxy.
    Here,
    /// The app stands behind this proxy: whoever called.
    Last,
}

/// What would be repeated of a request.
pub(super) fn retry(settings: &TrafficSettings, method: &Method, hop: Hop, grpc: bool) -> Retry {
    let (own, origins) = (&settings.retry, &settings.origins);
    let repeatable = hop == Hop::Here && retry::is_repeatable(own, method);
    let why = match (hop, own.idempotent, retry::is_idempotent(method)) {
        (Hop::Last, _, _) => {
            "the last hop repeats only what provably never started; the caller's proxy does the rest"
        }
        (_, true, _) => "retry.idempotent lets any method be repeated",
        (_, _, true) => "its method may be repeated by its own definition (RFC 9110, section 9.2.2)",
        (_, _, false) => "its method may do something twice",
    };
    let backoff = [own.backoff.base, own.backoff.max].map(format_duration);
    let least = match own.backoff.least.is_zero() {
        true => String::new(),
        false => format!("{} and ", format_duration(own.backoff.least)),
    };
    let budget = own.budget;
    let spend = format!(
        "{} % of the requests of the last {}, and {} a second",
        budget.percent,
        format_duration(budget.ttl),
        budget.min_per_second
    );
    let first = |leaves: &[&'static str]| {
        leaves.iter().copied().find(|leaf| origins.contains_key(*leaf)).unwrap_or(leaves[0])
    };
    Retry {
        repeatable,
        why: why.to_owned(),
        attempts: setting(origins, "retry.attempts", Some(own.attempts)),
        on: setting(origins, "retry.on", Some(listed(own))),
        cases: cases(own, repeatable, hop, grpc),
        backoff: setting(
            origins,
            first(&["retry.backoff.base", "retry.backoff.max"]),
            Some(format!("{least}up to {}, doubled each time, at most {}", backoff[0], backoff[1])),
        ),
        budget: setting(
            origins,
            first(&["retry.budget.percent", "retry.budget.minPerSecond", "retry.budget.ttl"]),
            Some(spend),
        ),
    }
}

/// The conditions as `retry.on` writes them.
fn listed(retry: &model::Retry) -> Vec<String> {
    let on = &retry.on;
    let words = [
        (on.connect_failure, "connect-failure"),
        (on.refused_stream, "refused-stream"),
        (on.reset, "reset"),
        (on.gateway_error, "gateway-error"),
        (on.server_error, "5xx"),
    ];
    let words = words.iter().filter(|(set, _)| *set).map(|(_, word)| (*word).to_owned());
    let statuses = on.statuses.iter().map(u16::to_string);
    let codes = on.grpc_codes.iter().map(|code| format!("grpc {code}"));
    words.chain(statuses).chain(codes).collect()
}

/// Every way to fail, judged by the law itself.
fn cases(retry: &model::Retry, repeatable: bool, hop: Hop, grpc: bool) -> Vec<RetryCase> {
    let mut ways = vec![
        ("no connection".to_owned(), Outcome::Failed(Class::Connect)),
        ("a dead pooled connection, nothing sent".to_owned(), Outcome::Failed(Class::Unsent)),
        ("the stream refused (REFUSED_STREAM, GOAWAY)".to_owned(), Outcome::Failed(Class::Refused)),
        ("the connection ends before the answer".to_owned(), Outcome::Failed(Class::Reset)),
        ("the attempt times out".to_owned(), Outcome::Failed(Class::Timeout)),
    ];
    // The last hop passes every answer on.
    if hop == Hop::Here && grpc {
        ways.extend(
            (1..=16)
                .filter(|code| retry.on.grpc_codes.contains(code))
                .map(|code| (format!("gRPC status {code}"), Outcome::Grpc(code))),
        );
    } else if hop == Hop::Here {
        let mut statuses: Vec<u16> =
            [500, 502, 503, 504].into_iter().chain(retry.on.statuses.iter().copied()).collect();
        statuses.sort_unstable();
        statuses.dedup();
        ways.extend(statuses.into_iter().map(|status| (format!("status {status}"), Outcome::Status(status))));
    }
    ways.into_iter().map(|(when, outcome)| case(when, outcome, retry, repeatable)).collect()
}

fn case(when: String, outcome: Outcome, retry: &model::Retry, repeatable: bool) -> RetryCase {
    let mut repeats = 0;
    let mut free = false;
    loop {
        match retry::judge(outcome, retry, repeatable, repeats + 1) {
            Judgement::Repeat { free: costs_nothing, .. } => {
                repeats += 1;
                free = costs_nothing;
            }
            Judgement::Denied(RetryDenied::Attempts) if repeats > 0 => {
                return RetryCase { when, repeats, free, why_not: None };
            }
            judgement => {
                let why_not = match judgement {
                    Judgement::Denied(RetryDenied::Law) => "it may have started",
                    Judgement::Denied(_) => "retry.attempts is 0",
                    _ => "retry.on does not list it",
                };
                return RetryCase { when, repeats, free: false, why_not: Some(why_not.to_owned()) };
            }
        }
    }
}
