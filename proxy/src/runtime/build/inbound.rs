//! Listeners in front of the app, with what the callee holds for whoever calls.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use outrigger_config::model::{self, InboundApp, InboundListener, InboundProtocol, ServicePort};

use super::{
    super::{
        inbound::{App, Inbound},
        snapshot::{Backend, ListenerKey, Rule},
    },
    BuildError, Builder,
};
use crate::{
    ctx::Side,
    policy::{
        concurrency::{Concurrency, Level},
        rate_limit::{Counted, LimitKey, RateLimit, RateLimits},
    },
    upstream::security::Protection,
};

/// What listeners of one Service share in a snapshot.
#[derive(Default)]
pub(super) struct Held {
    rate_limits: foldhash::HashMap<LimitKey, Arc<RateLimit>>,
    levels: foldhash::HashMap<Counted, Arc<Level>>,
}

impl Builder<'_> {
    /// The listener; that of the last snapshot where nothing of it has changed.
    pub(super) fn inbound(
        &mut self,
        key: ListenerKey,
        from: &InboundListener,
    ) -> Result<Arc<Inbound>, BuildError> {
        let old = self.previous.and_then(|previous| previous.inbound(key));
        if let Some(old) = old
            && old.source == *from
            && old.app.rule.security.is_some() == self.secure
        {
            return Ok(old.clone());
        }
        let bind = from.bind;
        let app = self.app(&from.to, bind)?;
        let ports = from.ports.iter().map(|port| {
            let counted = SocketAddr::new(bind.ip(), port.port);
            Ok((port.port, self.app(&port.to, counted)?))
        });
        let ports = ports.collect::<Result<_, BuildError>>()?;
        Ok(Arc::new(Inbound { key, app, ports, source: from.clone() }))
    }

    /// One that has no address of its own, and serves no Service, is counted as `counted`.
    fn app(&mut self, from: &InboundApp, counted: SocketAddr) -> Result<App, BuildError> {
        let label = from.service.as_ref().map_or_else(|| "app".into(), ServicePort::to_string);
        let backend = Arc::new(Backend {
            service: None,
            metrics: self.metrics.backend(&label),
            label: label.into(),
            protocol: from.protocol.into(),
            protection: Protection::default(),
            settings: from.settings.clone(),
            endpoints: from.app.map_or_else(Arc::default, |address| self.carry.app(address)),
            // It acts at the caller.
            circuit_breaker: None,
        });
        let security = self.secure.then(|| self.metrics.inbound_security(&backend.label));
        let is_opaque = from.protocol == InboundProtocol::Tcp;
        let (rate_limits, concurrency) = match is_opaque {
            true => (None, None),
            false => (self.rate_limits(from, counted)?, self.concurrency(from, counted)?),
        };
        let rule = Rule {
            rate_limits,
            concurrency,
            security: security.clone(),
            ..self.default_rule(Side::Inbound, &backend, (None, None))?
        };
        let connections = self.app_connections(from.protocol, &backend, security);
        Ok(App {
            address: from.app,
            service: from.service.clone(),
            mtls: from.mtls,
            rule: Arc::new(rule),
            connections,
        })
    }

    fn rate_limits(
        &mut self,
        from: &InboundApp,
        counted: SocketAddr,
    ) -> Result<Option<Box<RateLimits>>, BuildError> {
        let limits = from.settings.rate_limits.iter().map(|limit| self.rate_limit(from, counted, limit));
        Ok(RateLimits::new(limits.collect::<Result<_, _>>()?))
    }

    /// The limit, on what is known of the app's load: by another listener of the Service, or by the last snapshot.
    fn concurrency(
        &mut self,
        from: &InboundApp,
        counted: SocketAddr,
    ) -> Result<Option<Box<Concurrency>>, BuildError> {
        let Some(limit) = &from.settings.concurrency else { return Ok(None) };
        let of = Counted::by(from, counted);
        let level = match (self.held.levels.get(&of), self.carry.level(&of)) {
            (Some(made), _) => made.clone(),
            (None, Some(old)) => old,
            (None, None) => Level::new(limit, of.clone(), self.metrics.concurrency(&of.label())),
        };
        self.held.levels.insert(of, level.clone());
        Concurrency::new(limit, level).map(|made| Some(Box::new(made)))
    }

    /// A limit with its counts: those of another listener of the Service, or of the last snapshot, or none yet.
    fn rate_limit(
        &mut self,
        from: &InboundApp,
        counted: SocketAddr,
        limit: &model::RateLimit,
    ) -> Result<Arc<RateLimit>, BuildError> {
        let policy = limit.origin.policy.clone();
        let key = LimitKey { policy, of: Counted::by(from, counted) };
        if let Some(made) = self.held.rate_limits.get(&key) {
            return Ok(made.clone());
        }
        let made = match self.carry.rate_limit(&key, limit) {
            Some(old) => old,
            None => {
                let policy = key.policy.as_ref().map_or_else(|| "mesh".to_owned(), ToString::to_string);
                let metrics = self.metrics.rate_limit(&key.of.label(), &policy);
                Arc::new(RateLimit::new(key.clone(), limit, metrics, Instant::now())?)
            }
        };
        self.held.rate_limits.insert(key, made.clone());
        Ok(made)
    }
}
