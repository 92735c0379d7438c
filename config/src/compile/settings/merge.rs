//! Policies, route fields and mesh defaults as one value, leaf by leaf, each with the place where it was written.
//!
//! Null switches a leaf, or a whole block, off.

mod circuit_breaker;
mod concurrency;
mod fault;
mod health_check;
mod load_balancer;
mod outlier_detection;
mod rate_limit;
mod retry;
mod timeouts;

use super::Layer;
use crate::{
    diagnostic::Sources,
    model::{SettingLayer, SettingOrigin, SettingOrigins, TrafficSettings},
    schema::{RouteRetry, RouteTimeouts, Rule},
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
    let load_balancer = merge.load_balancer();
    let circuit_breaker = merge.circuit_breaker();
    let rate_limits = merge.rate_limits();
    let concurrency = merge.concurrency();
    let fault = merge.fault();
    let outlier_detection = merge.outlier_detection();
    let health_check = merge.health_check();
    TrafficSettings {
        timeouts,
        retry,
        load_balancer,
        circuit_breaker,
        rate_limits,
        concurrency,
        outlier_detection,
        health_check,
        fault,
        origins: merge.origins,
    }
}

struct Merge<'a> {
    layers: &'a [Layer<'a>],
    sources: &'a Sources,
    origins: SettingOrigins,
}

impl Merge<'_> {
    /// The value of the first layer that says something of a leaf, which is noted with its place.
    fn first<T>(&mut self, leaf: &'static str, read: impl Fn(&Layer<'_>) -> Option<(T, Span)>) -> Option<T> {
        let (layer, (value, span)) = self.layers.iter().find_map(|layer| Some((layer, read(layer)?)))?;
        self.origins.insert(leaf.into(), self.origin(layer, &span));
        Some(value)
    }

    fn origin(&self, layer: &Layer<'_>, span: &Span) -> SettingOrigin {
        let (on, policy) = (layer.on, layer.policy.cloned());
        SettingOrigin { layer: on, policy, origin: self.sources.origin(span) }
    }

    /// Notes a leaf that the rule itself sets.
    fn ruled(&mut self, leaf: &'static str, span: &Span) {
        let origin = self.sources.origin(span);
        self.origins.insert(leaf.into(), SettingOrigin { layer: SettingLayer::Rule, policy: None, origin });
    }
}
