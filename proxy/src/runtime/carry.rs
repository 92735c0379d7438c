//! State that outlives a reload, by key. It moves here and nowhere else.
//!
//! Endpoint cells (with the load of every endpoint) and circuit breakers by Service port, endpoint cells of apps by their
//! address, retry budgets by Service port and rule, rate limits by policy and Service, what is known of an app's load by Service, TLS (with its sessions, and its
//! name in the pools) by destination. What a new policy no longer names goes with
//! the last request that uses it.

use std::{net::SocketAddr, sync::Arc};

use outrigger_config::model::{self, Destination, ObjectName, RetryBudget, RuleId, ServicePort};

use super::snapshot::{Backend, Rule, Snapshot};
use crate::{
    balance::EndpointCell,
    policy::{
        budget::Budget,
        concurrency::Level,
        rate_limit::{Counted, LimitKey, RateLimit},
    },
    upstream::tls::Outward,
};

/// What the last snapshot leaves to the next.
#[derive(Default)]
pub(super) struct Carry<'a> {
    backends: foldhash::HashMap<&'a ServicePort, &'a Arc<Backend>>,
    outwards: foldhash::HashMap<&'a ObjectName, &'a Arc<Outward>>,
    apps: foldhash::HashMap<SocketAddr, &'a Arc<Backend>>,
    budgets: foldhash::HashMap<&'a ServicePort, &'a Arc<Budget>>,
    rule_budgets: foldhash::HashMap<(&'a ServicePort, &'a RuleId), &'a Arc<Budget>>,
    rate_limits: foldhash::HashMap<&'a LimitKey, &'a Arc<RateLimit>>,
    levels: foldhash::HashMap<&'a Counted, &'a Arc<Level>>,
}

impl<'a> Carry<'a> {
    pub(super) fn from(snapshot: &'a Snapshot) -> Self {
        let mut carry = Self::default();
        for port in snapshot.ports() {
            carry.backends.insert(&port.name, &port.backend);
            if let Some(tls) = &port.backend.protection.outward {
                carry.outwards.insert(&port.name.service, tls);
            }
            carry.budgets.insert(&port.name, &port.default_rule.budget);
            for rule in port.routes.iter().flat_map(|routes| routes.rules()) {
                if let Some(id) = &rule.id {
                    carry.rule_budgets.insert((&port.name, id), &rule.budget);
                }
            }
        }
        for listener in &snapshot.inbound {
            for app in listener.apps() {
                if let Some((address, backend)) = app.address.zip(app_backend(&app.rule)) {
                    carry.apps.insert(address, backend);
                }
                let limits = app.rule.rate_limits.iter().flat_map(|limits| limits.iter());
                carry.rate_limits.extend(limits.map(|limit| (&limit.key, limit)));
                carry.levels.extend(app.rule.concurrency.iter().map(|one| (&one.level.of, &one.level)));
            }
        }
        carry
    }

    /// The last backend of a Service port.
    pub(super) fn backend(&self, port: &ServicePort) -> Option<&'a Arc<Backend>> {
        self.backends.get(port).copied()
    }

    /// The TLS of a destination: that of the last snapshot where neither policy nor files have changed, and with it its
    /// connections and sessions.
    pub(super) fn outward(&self, destination: &Destination, made: Arc<Outward>) -> Arc<Outward> {
        match self.outwards.get(&destination.name) {
            Some(old) if **old == made => Arc::clone(old),
            _ => made,
        }
    }

    /// The endpoint cell of an app.
    pub(super) fn app(&self, address: SocketAddr) -> Arc<EndpointCell> {
        match self.apps.get(&address) {
            Some(backend) => backend.endpoints.clone(),
            None => Arc::new(EndpointCell::fixed(address)),
        }
    }

    /// The counts of a rate limit. One that allows something else now starts anew.
    pub(super) fn rate_limit(&self, key: &LimitKey, config: &model::RateLimit) -> Option<Arc<RateLimit>> {
        self.rate_limits.get(key).filter(|old| old.is(config)).map(|old| Arc::clone(old))
    }

    /// What is known of an app's load.
    pub(super) fn level(&self, of: &Counted) -> Option<Arc<Level>> {
        self.levels.get(of).map(|level| Arc::clone(level))
    }

    /// The budget of a Service port. One whose configuration changed starts anew.
    pub(super) fn budget(&self, port: &ServicePort, config: &RetryBudget) -> Arc<Budget> {
        keep_or_new(self.budgets.get(port).copied(), config)
    }

    /// The budget of a rule that has one of its own.
    pub(super) fn rule_budget(&self, port: &ServicePort, rule: &RuleId, config: &RetryBudget) -> Arc<Budget> {
        keep_or_new(self.rule_budgets.get(&(port, rule)).copied(), config)
    }
}

fn keep_or_new(old: Option<&Arc<Budget>>, config: &RetryBudget) -> Arc<Budget> {
    match old {
        Some(old) if old.config() == config => old.clone(),
        _ => Arc::new(Budget::new(*config)),
    }
}

fn app_backend(rule: &Rule) -> Option<&Arc<Backend>> {
    rule.backends.first()?.target.as_ref().ok()
}
