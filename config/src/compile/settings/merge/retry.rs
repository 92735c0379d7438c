//! `retry`, and what a route rule says of repeats itself.

use std::time::Duration;

use super::Merge;
use crate::{
    convert::{Setting, Spanned},
    duration::GepDuration,
    model::{Backoff, Retry, RetryBudget, RetryOn},
    schema::{Condition, RetryBody, RouteRetry},
    yaml::Span,
};

impl Merge<'_> {
    pub(super) fn retry(&mut self) -> Retry {
        let attempts = self.first("retry.attempts", |layer| match layer.blocks.retry {
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
        self.first(leaf, |layer| match layer.blocks.retry {
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
    pub(super) fn on_rule(&mut self, field: &RouteRetry, retry: &mut Retry) {
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
