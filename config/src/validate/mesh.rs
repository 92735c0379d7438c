//! The Mesh object: limits that must be more than nothing, and its default policy.

use super::{
    Checks, faults, health_check, limits, load_balancer, outlier_detection, policies, repeats, telemetry,
    timeouts,
};
use crate::diagnostic::{Code, Fault};

pub(super) fn check(checks: &mut Checks<'_>) {
    let objects = checks.objects;
    for mesh in &objects.meshes {
        let spec = &mesh.body.spec;
        if let Some(limits) = &spec.limits {
            for (limit, why) in [
                (&limits.header_timeout.0, "no request could arrive"),
                (&limits.detect_timeout.0, "nothing could be told from its first bytes"),
                (&limits.connection_idle.0, "no connection could stay open"),
            ] {
                if let Some(zero) = limit.as_ref().filter(|limit| limit.value.0.is_zero()) {
                    let message = format!("the limit must be more than zero: {why}");
                    checks.push(Fault::error(Code::Range, zero.span, message).help("allowed: 1ms and more"));
                }
            }
        }
        if let Some(body) = &spec.telemetry {
            telemetry::check(body, checks);
        }
        if let Some(defaults) = &spec.defaults {
            timeouts::policy(&defaults.timeouts, checks);
            load_balancer::check(&defaults.load_balancer, checks);
            outlier_detection::check(&defaults.outlier_detection, checks);
            health_check::check(&defaults.health_check, checks);
            policies::retry(&defaults.retry, checks);
            repeats::policy(&defaults.timeouts, &defaults.retry, checks);
            faults::policy(&defaults.fault, checks);
            limits::rate_limit(&defaults.rate_limit, checks);
            limits::concurrency(&defaults.concurrency, checks);
        }
    }
}
