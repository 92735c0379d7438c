//! Listeners in front of the app, with what the callee holds for whoever calls.

use std::sync::Arc;

use outrigger_config::model::{InboundListener, InboundProtocol, ServicePort};

use super::{
    super::snapshot::{Backend, Inbound, ListenerKey},
    BuildError, Builder,
};
use crate::ctx::Side;

impl Builder<'_> {
    /// The listener; that of the last snapshot where nothing of it has changed.
    pub(super) fn inbound(
        &self,
        key: ListenerKey,
        from: &InboundListener,
    ) -> Result<Arc<Inbound>, BuildError> {
        let old = self.previous.and_then(|previous| previous.inbound(key));
        if let Some(old) = old
            && old.source == *from
        {
            return Ok(old.clone());
        }
        let label = from.service.as_ref().map_or_else(|| "app".into(), ServicePort::to_string);
        let backend = Arc::new(Backend {
            service: None,
            metrics: self.metrics.backend(&label),
            label: label.into(),
            protocol: from.protocol.into(),
            tls: None,
            settings: from.settings.clone(),
            endpoints: self.carry.app(from.app),
        });
        let rule = self.default_rule(Side::Inbound, &backend, None)?;
        let is_opaque = from.protocol == InboundProtocol::Tcp;
        let opaque = is_opaque.then(|| Arc::new(self.default_connections(Side::Inbound, &backend)));
        Ok(Arc::new(Inbound { key, rule, opaque, source: from.clone() }))
    }
}
