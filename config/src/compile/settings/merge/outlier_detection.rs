//! `outlierDetection`.

use std::time::Duration;

use super::Merge;
use crate::{
    convert::{Setting, Spanned},
    duration::GepDuration,
    model::{FailurePercent, OutlierDetection, SuccessRate},
    schema::{FailurePercentBody, OutlierDetectionBody, Run, SuccessRateBody},
    yaml::Span,
};

impl Merge<'_> {
    pub(super) fn outlier_detection(&mut self) -> OutlierDetection {
        let built_in = OutlierDetection::default();
        let base = self.ejection("outlierDetection.baseEjection", |body| &body.base_ejection.0);
        let max = self.ejection("outlierDetection.maxEjection", |body| &body.max_ejection.0);
        let base = base.unwrap_or(built_in.base_ejection);
        let percent = self.detection("outlierDetection.maxEjectionPercent", |body| {
            Some((body.max_ejection_percent.0?.0, body.span))
        });
        OutlierDetection {
            consecutive_5xx: self
                .run("outlierDetection.consecutive5xx", |body| &body.consecutive_5xx)
                .unwrap_or(built_in.consecutive_5xx),
            consecutive_gateway_errors: self
                .run("outlierDetection.consecutiveGatewayErrors", |body| &body.consecutive_gateway_errors)
                .unwrap_or(built_in.consecutive_gateway_errors),
            consecutive_local_errors: self
                .run("outlierDetection.consecutiveLocalErrors", |body| &body.consecutive_local_errors)
                .unwrap_or(built_in.consecutive_local_errors),
            interval: self
                .ejection("outlierDetection.interval", |body| &body.interval.0)
                .unwrap_or(built_in.interval),
            base_ejection: base,
            // Another layer may have raised the other one alone.
            max_ejection: max.unwrap_or(built_in.max_ejection).max(base),
            max_ejection_percent: percent.unwrap_or(built_in.max_ejection_percent),
            success_rate: self.success_rate(),
            failure_percent: self.failure_percent(),
        }
    }

    fn success_rate(&mut self) -> Option<SuccessRate> {
        let on = self.is_on("outlierDetection.successRate", |body| match &body.success_rate {
            Setting::Unset => None,
            Setting::Off => Some((false, body.span)),
            Setting::Set(own) => Some((true, own.span)),
        });
        let read = |body: &'_ OutlierDetectionBody| match &body.success_rate {
            Setting::Set(own) => Some(own.clone()),
            _ => None,
        };
        let built_in = SuccessRate::default();
        on.then(|| SuccessRate {
            stdev_factor: self
                .detection("outlierDetection.successRate.stdevFactor", |body| {
                    let own: SuccessRateBody = read(body)?;
                    Some((own.stdev_factor.0?.0, own.span))
                })
                .unwrap_or(built_in.stdev_factor),
            min_hosts: self
                .detection("outlierDetection.successRate.minHosts", |body| {
                    let own = read(body)?;
                    Some((own.min_hosts.0?.0, own.span))
                })
                .unwrap_or(built_in.min_hosts),
            min_requests: self
                .detection("outlierDetection.successRate.minRequests", |body| {
                    let own = read(body)?;
                    Some((own.min_requests.0?.0, own.span))
                })
                .unwrap_or(built_in.min_requests),
        })
    }

    fn failure_percent(&mut self) -> Option<FailurePercent> {
        let on = self.is_on("outlierDetection.failurePercent", |body| match &body.failure_percent {
            Setting::Unset => None,
            Setting::Off => Some((false, body.span)),
            Setting::Set(own) => Some((true, own.span)),
        });
        let read = |body: &'_ OutlierDetectionBody| match &body.failure_percent {
            Setting::Set(own) => Some(own.clone()),
            _ => None,
        };
        let built_in = FailurePercent::default();
        on.then(|| FailurePercent {
            threshold: self
                .detection("outlierDetection.failurePercent.threshold", |body| {
                    let own: FailurePercentBody = read(body)?;
                    Some((own.threshold.0?.0, own.span))
                })
                .unwrap_or(built_in.threshold),
            min_hosts: self
                .detection("outlierDetection.failurePercent.minHosts", |body| {
                    let own = read(body)?;
                    Some((own.min_hosts.0?.0, own.span))
                })
                .unwrap_or(built_in.min_hosts),
            min_requests: self
                .detection("outlierDetection.failurePercent.minRequests", |body| {
                    let own = read(body)?;
                    Some((own.min_requests.0?.0, own.span))
                })
                .unwrap_or(built_in.min_requests),
        })
    }

    /// Of a detector that is off unless written; a block that is null switches it off too.
    fn is_on(&mut self, leaf: &'static str, read: fn(&OutlierDetectionBody) -> Option<(bool, Span)>) -> bool {
        let written = self.first(leaf, |layer| match layer.blocks.outlier_detection {
            Setting::Unset => None,
            Setting::Off => Some((false, layer.span)),
            Setting::Set(body) => read(body),
        });
        written.unwrap_or(false)
    }

    fn run(&mut self, leaf: &'static str, read: fn(&OutlierDetectionBody) -> &Run) -> Option<Option<u32>> {
        self.first(leaf, |layer| match layer.blocks.outlier_detection {
            Setting::Unset => None,
            Setting::Off => Some((None, layer.span)),
            Setting::Set(body) => match read(body) {
                Setting::Unset => None,
                Setting::Off => Some((None, body.span)),
                Setting::Set(written) => Some((Some(written.value.0), written.span)),
            },
        })
    }

    fn ejection(
        &mut self,
        leaf: &'static str,
        read: fn(&OutlierDetectionBody) -> &Option<Spanned<GepDuration>>,
    ) -> Option<Duration> {
        self.detection(leaf, |body| read(body).as_ref().map(|written| (written.value.0, written.span)))
    }

    /// As `first`, of the blocks that are there.
    fn detection<T>(
        &mut self,
        leaf: &'static str,
        read: impl Fn(&OutlierDetectionBody) -> Option<(T, Span)>,
    ) -> Option<T> {
        self.first(leaf, |layer| match layer.blocks.outlier_detection {
            Setting::Set(body) => read(body),
            Setting::Unset | Setting::Off => None,
        })
    }
}
