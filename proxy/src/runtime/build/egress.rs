//! Builds the rule of requests that mean no Service.

use std::sync::Arc;

use outrigger_config::model::TrafficSettings;

use super::{BuildError, Builder};
use crate::{
    ctx::Side,
    runtime::snapshot::{Backend, Rule, UpstreamProtocol},
    upstream::security::Protection,
};

impl Builder<'_> {
    pub(super) fn egress_rule(&self, settings: &Arc<TrafficSettings>) -> Result<Arc<Rule>, BuildError> {
        if let Some(previous) = self.previous
            && previous.egress_rule.settings == *settings
        {
            return Ok(previous.egress_rule.clone());
        }
        // What is counted into a budget stays while the budget itself is the same.
        let budget = self.previous.map(|previous| &previous.egress_rule.budget);
        let kept = budget.filter(|budget| *budget.config() == settings.retry.budget);
        self.default_rule(Side::Outbound, &self.egress_backend(settings), (kept.cloned(), None)).map(Arc::new)
    }

    pub(super) fn egress_backend(&self, settings: &Arc<TrafficSettings>) -> Arc<Backend> {
        Arc::new(Backend {
            service: None,
            label: "egress".into(),
            protocol: UpstreamProtocol::AsCaller,
            protection: Protection::default(),
            settings: settings.clone(),
            endpoints: Arc::default(),
            circuit_breaker: None,
            metrics: self.metrics.backend("egress"),
        })
    }
}
