//! Builds the fallbacks of rules.

use outrigger_config::model::{self, BackendTarget};

use super::{BuildError, Builder};
use crate::policy::fallback::{Fallback, Fixed, Way};

impl Builder<'_> {
    /// The fallback of requests that are counted under `service`.
    pub(super) fn fallback(
        &self,
        service: &str,
        from: &model::CircuitBreaker,
    ) -> Result<Option<Box<Fallback>>, BuildError> {
        let Some(from) = &from.fallback else { return Ok(None) };
        let way = match from {
            model::Fallback::StaleFor(age) => Way::Stale(*age),
            model::Fallback::Response(fixed) => Way::Response(Fixed::compile(fixed)?),
            model::Fallback::Service(name) => {
                Way::Service(self.target(&BackendTarget::Service(name.clone())))
            }
        };
        Ok(Some(Box::new(Fallback { way, metrics: self.metrics.fallback(service) })))
    }
}
