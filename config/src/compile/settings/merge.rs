//! Policies, route fields and mesh defaults as one value, leaf by leaf, each with the place where it was written.
//!
//! Null switches a leaf, or a whole block, off.

use std::time::Duration;

use super::Layer;
use crate::{
    convert::{Setting, Spanned},
    diagnostic::Sources,
    duration::GepDuration,
    model::{
        Backoff, LoadBalancer, Retry, RetryBudget, RetryOn, SettingLayer, SettingOrigin, SettingOrigins,
        Timeouts, TrafficSettings,
    },
    schema::{Balance, Condition, RetryBody, RouteRetry, RouteTimeouts, Rule, TimeoutsBody},
    yaml::Span,
};

/// The fields of a rule that go before every policy.
#[derive(Clone, Copy, Default)]
pub(super) struct RuleFields<'a> {
    timeouts: Option<&'a RouteTimeouts>,
    retry: Option<&'a RouteRetry>,
}

impl<'a> RuleFields<'a> {
    pub(super) fn of(rule: &'a Rule) -> Self {
        Self { timeouts: rule.timeouts.as_ref(), retry: rule.retry.as_ref() }
    }

    pub(super) fn are_absent(&self) -> bool {
        self.timeouts.is_none() && self.retry.is_none()
    }
}

/// The one value; `layers` go from the most specific to the least.
pub(super) fn merge(layers: &[Layer<'_>], fields: RuleFields<'_>, sources: &Sources) -> TrafficSettings {
    let mut merge = Merge { layers, sources, origins: SettingOrigins::new() };
    let timeouts = merge.timeouts(fields.timeouts);
    let mut retry = merge.retry();
    if let Some(field) = fields.retry {
        merge.on_rule(field, &mut retry);
    }
    let load_balancer = match merge.balance() {
        None | Some(Balance::LeastRequest) => LoadBalancer::LeastRequest,
        Some(Balance::PeakEwma) => LoadBalancer::PeakEwma,
        Some(Balance::RoundRobin) => LoadBalancer::RoundRobin,
        Some(Balance::Random) => LoadBalancer::Random,
    };
    TrafficSettings { timeouts, retry, load_balancer, origins: merge.origins }
}

/// `None` is off; `0s` is off too.
type Limit = Option<Duration>;

struct Merge<'a> {
    layers: &'a [Layer<'a>],
    sources: &'a Sources,
    origins: SettingOrigins,
}

impl Merge<'_> {
    /// The value of the first layer that says something of a leaf, which is noted with its place.
    fn first<T>(&mut self, leaf: &'static str, read: impl Fn(&Layer<'_>) -> Option<(T, Span)>) -> Option<T> {
        let (layer, (value, span)) = self.layers.iter().find_map(|layer| Some((layer, read(layer)?)))?;
        let (on, policy) = (layer.on, layer.policy.cloned());
        self.origins.insert(leaf, SettingOrigin { layer: on, policy, origin: self.sources.origin(&span) });
        Some(value)
    }

    /// Notes a leaf that the rule itself sets.
    fn ruled(&mut self, leaf: &'static str, span: &Span) {
        let origin = self.sources.origin(span);
        self.origins.insert(leaf, SettingOrigin { layer: SettingLayer::Rule, policy: None, origin });
    }

    fn timeouts(&mut self, fields: Option<&RouteTimeouts>) -> Timeouts {
        let request = self.limit("timeouts.request", |body| &body.request);
        let attempt = self.limit("timeouts.attempt", |body| &body.attempt);
        let connect = self.limit("timeouts.connect", |body| &body.connect);
        let stream_idle = self.limit("timeouts.streamIdle", |body| &body.stream_idle);
        let built_in = Timeouts::default();
        let mut timeouts = Timeouts {
            request: request.unwrap_or(built_in.request),
            attempt: attempt.unwrap_or(built_in.attempt),
            connect: connect.unwrap_or(built_in.connect),
            stream_idle: stream_idle.unwrap_or(built_in.stream_idle),
            stream_idle_set: matches!(stream_idle, Some(Some(_))),
        };
        if let Some(written) = fields.and_then(|fields| fields.request.as_ref()) {
            timeouts.request = positive(written);
            self.ruled("timeouts.request", &written.span);
        }
        if let Some(written) = fields.and_then(|fields| fields.backend_request.as_ref()) {
            timeouts.attempt = positive(written);
            self.ruled("timeouts.attempt", &written.span);
        }
        timeouts
    }

    fn limit(
        &mut self,
        leaf: &'static str,
        read: fn(&TimeoutsBody) -> &Setting<Spanned<GepDuration>>,
    ) -> Option<Limit> {
        self.first(leaf, |layer| match layer.timeouts {
            Setting::Unset => None,
            Setting::Off => Some((None, layer.span)),
            Setting::Set(body) => match read(body) {
                Setting::Unset => None,
                Setting::Off => Some((None, body.span)),
                Setting::Set(written) => Some((positive(written), written.span)),
            },
        })
    }

    fn balance(&mut self) -> Option<Balance> {
        self.first("loadBalancer.policy", |layer| {
            let body = layer.load_balancer.0.as_ref()?;
            Some((body.policy.0?, body.span))
        })
    }

    fn retry(&mut self) -> Retry {
        let attempts = self.first("retry.attempts", |layer| match layer.retry {
            Setting::Unset => None,
            Setting::Off => Some((0, layer.span)),
            Setting::Set(body) => match &body.attempts {
                Setting::Unset => None,
                Setting::Off => Some((0, body.span)),
                Setting::Set(written) => Some((written.value.0, written.span)),
            },
        });
        let built_in = Retry::default();
        let pause = built_in.backoff;
        Retry {
            attempts: attempts.unwrap_or(built_in.attempts),
            on: self.retry_on().unwrap_or(built_in.on),
            backoff: Backoff {
                least: pause.least,
                base: self.time(
                    "retry.backoff.base",
                    |body| body.backoff.0.as_ref()?.base.0.as_ref(),
                    pause.base,
                ),
                max: self.time(
                    "retry.backoff.max",
                    |body| body.backoff.0.as_ref()?.max.0.as_ref(),
                    pause.max,
                ),
            },
            budget: self.budget(built_in.budget),
            idempotent: self
                .block("retry.idempotent", |body| Some((body.idempotent.0?.0, body.span)))
                .unwrap_or(built_in.idempotent),
        }
    }

    fn budget(&mut self, built_in: RetryBudget) -> RetryBudget {
        let percent = self.block("retry.budget.percent", |body| {
            let budget = body.budget.0.as_ref()?;
            Some((budget.percent.0?.0, budget.span))
        });
        let floor = self.block("retry.budget.minPerSecond", |body| {
            let budget = body.budget.0.as_ref()?;
            Some((budget.min_per_second.0?.0, budget.span))
        });
        RetryBudget {
            percent: percent.unwrap_or(built_in.percent),
            min_per_second: floor.unwrap_or(built_in.min_per_second),
            ttl: self.time("retry.budget.ttl", |body| body.budget.0.as_ref()?.ttl.0.as_ref(), built_in.ttl),
        }
    }

    /// As `first`, of the `retry` blocks that are there.
    fn block<T>(&mut self, leaf: &'static str, read: impl Fn(&RetryBody) -> Option<(T, Span)>) -> Option<T> {
        self.first(leaf, |layer| match layer.retry {
            Setting::Set(body) => read(body),
            Setting::Unset | Setting::Off => None,
        })
    }

    fn time(
        &mut self,
        leaf: &'static str,
        read: fn(&RetryBody) -> Option<&Spanned<GepDuration>>,
        built_in: Duration,
    ) -> Duration {
        let written = self.block(leaf, |body| read(body).map(|written| (written.value.0, written.span)));
        written.unwrap_or(built_in)
    }

    /// A rule's own `retry`, over that of the policies. A failed connection is a reason whatever the policies list: the
    /// Gateway API has no word for it because it takes it for granted.
    fn on_rule(&mut self, field: &RouteRetry, retry: &mut Retry) {
        match &field.attempts {
            Some(attempts) => {
                retry.attempts = attempts.value.0;
                self.ruled("retry.attempts", &attempts.span);
            }
            None if !self.origins.contains_key("retry.attempts") => {
                retry.attempts = 1;
                self.ruled("retry.attempts", &field.span);
            }
            None => {}
        }
        if field.codes.written {
            retry.on = RetryOn::default();
            retry.on.statuses = field.codes.iter().map(|code| code.value.0 as u16).collect();
            let place = field.codes.first().map_or(field.span, |code| code.span);
            self.origins.remove("retry.statuses");
            self.ruled("retry.on", &place);
        }
        (retry.on.connect_failure, retry.on.refused_stream, retry.on.reset) = (true, true, true);
        if let Some(least) = &field.backoff {
            let base = least.value.0;
            retry.backoff = Backoff { least: base, base, max: retry.backoff.max.max(base) };
            self.ruled("retry.backoff.least", &least.span);
            self.ruled("retry.backoff.base", &least.span);
        }
    }

    /// What the most specific `on` lists, with the statuses of the most specific policy that has some.
    fn retry_on(&mut self) -> Option<RetryOn> {
        let conditions: Vec<Condition> = self.block("retry.on", |body| {
            let place = body.on.first().map_or(body.span, |condition| condition.span);
            let read = || body.on.iter().map(|condition| condition.value).collect();
            body.on.written.then(|| (read(), place))
        })?;
        let statuses = match conditions.contains(&Condition::RetriableStatus) {
            true => self.block("retry.statuses", |body| {
                let place = body.statuses.first().map_or(body.span, |status| status.span);
                let read = || body.statuses.iter().map(|status| status.value.0 as u16).collect();
                body.statuses.written.then(|| (read(), place))
            }),
            false => None,
        };
        Some(RetryOn { statuses: statuses.unwrap_or_default(), ..conditions_met(&conditions) })
    }
}

fn positive(written: &Spanned<GepDuration>) -> Limit {
    Some(written.value.0).filter(|duration| !duration.is_zero())
}

fn conditions_met(conditions: &[Condition]) -> RetryOn {
    let mut result = RetryOn::default();
    for condition in conditions {
        match condition {
            Condition::ConnectFailure => result.connect_failure = true,
            Condition::RefusedStream => result.refused_stream = true,
            Condition::Reset => result.reset = true,
            Condition::GatewayError => result.gateway_error = true,
            Condition::ServerError => result.server_error = true,
            // `statuses` lists them.
            Condition::RetriableStatus => {}
            Condition::Cancelled => result.grpc_codes.push(1),
            Condition::Unknown => result.grpc_codes.push(2),
            Condition::DeadlineExceeded => result.grpc_codes.push(4),
            Condition::ResourceExhausted => result.grpc_codes.push(8),
            Condition::Aborted => result.grpc_codes.push(10),
            Condition::Internal => result.grpc_codes.push(13),
            Condition::Unavailable => result.grpc_codes.push(14),
            Condition::DataLoss => result.grpc_codes.push(15),
        }
    }
    result.grpc_codes.sort_unstable();
    result.grpc_codes.dedup();
    result
}
