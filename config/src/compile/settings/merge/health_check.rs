//! `healthCheck`.

use std::time::Duration;

use super::Merge;
use crate::{
    convert::{Empty, Setting, Spanned},
    duration::GepDuration,
    model::{Check, HealthCheck},
    schema::HealthCheckBody,
    yaml::Span,
};

impl Merge<'_> {
    pub(super) fn health_check(&mut self) -> Option<HealthCheck> {
        let check = self.first("healthCheck", |layer| match layer.blocks.health_check {
            Setting::Unset => None,
            Setting::Off => Some((None, layer.span)),
            Setting::Set(body) => Some((Some(check(body)), body.span)),
        });
        let built_in = HealthCheck::new(check??);
        let interval = self.pause("healthCheck.interval", |body| &body.interval.0);
        let interval = interval.unwrap_or(built_in.interval);
        Some(HealthCheck {
            interval,
            unhealthy_interval: self
                .pause("healthCheck.unhealthyInterval", |body| &body.unhealthy_interval.0)
                .unwrap_or(interval),
            timeout: self.pause("healthCheck.timeout", |body| &body.timeout.0).unwrap_or(built_in.timeout),
            unhealthy_after: self
                .checking("healthCheck.unhealthyAfter", |body| Some((body.unhealthy_after.0?.0, body.span)))
                .unwrap_or(built_in.unhealthy_after),
            healthy_after: self
                .checking("healthCheck.healthyAfter", |body| Some((body.healthy_after.0?.0, body.span)))
                .unwrap_or(built_in.healthy_after),
            check: built_in.check,
        })
    }

    fn pause(
        &mut self,
        leaf: &'static str,
        read: fn(&HealthCheckBody) -> &Option<Spanned<GepDuration>>,
    ) -> Option<Duration> {
        self.checking(leaf, |body| read(body).as_ref().map(|written| (written.value.0, written.span)))
    }

    /// As `first`, of the blocks that are there.
    fn checking<T>(
        &mut self,
        leaf: &'static str,
        read: impl Fn(&HealthCheckBody) -> Option<(T, Span)>,
    ) -> Option<T> {
        self.first(leaf, |layer| match layer.blocks.health_check {
            Setting::Set(body) => read(body),
            Setting::Unset | Setting::Off => None,
        })
    }
}

/// What is asked; a body has one of the three.
fn check(body: &HealthCheckBody) -> Check {
    if let Some(http) = &body.http {
        let written = http.statuses.iter().map(|range| (range.0, range.1));
        return Check::Http {
            path: http.path.0.clone(),
            host: http.host.as_ref().map(|host| host.0.clone()),
            statuses: if http.statuses.is_empty() { vec![(200, 299)] } else { written.collect() },
        };
    }
    match (&body.grpc, &body.tcp) {
        (Some(grpc), _) => Check::Grpc {
            service: grpc.service.as_ref().map_or_else(|| "".into(), |service| service.0.clone()),
        },
        (None, Some(Empty) | None) => Check::Tcp,
    }
}
