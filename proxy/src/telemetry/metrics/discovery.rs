//! What a proxy counts of its control plane: for how long it has been away, and what of its resources was refused.

use std::{
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use outrigger_config::wire::ResourceType;
use parking_lot::Mutex;

use super::{super::shard::Shared, Metrics};

/// Counters of discovery; nothing in a proxy without a control plane.
#[derive(Debug, Default)]
pub(super) struct Discovery {
    used: OnceLock<()>,
    /// Since when it is away; `None`: it is there.
    away: Mutex<Option<SystemTime>>,
    refused: [Shared; ResourceType::ALL.len()],
}

impl Discovery {
    /// For how long the control plane has been away, in seconds; `None`: the proxy has none.
    pub(super) fn stale(&self, now: SystemTime) -> Option<f64> {
        self.used.get()?;
        let since = |away: SystemTime| now.duration_since(away).unwrap_or(Duration::ZERO).as_secs_f64();
        Some(self.away.lock().map_or(0.0, since))
    }

    /// Refused resources by type.
    pub(super) fn refused(&self) -> impl Iterator<Item = (ResourceType, u64)> {
        ResourceType::ALL.into_iter().zip(&self.refused).map(|(kind, count)| (kind, count.get()))
    }
}

impl Metrics {
    /// Since when the control plane is away; `None`: it is there and has told everything.
    pub(crate) fn discovery_away(&self, since: Option<SystemTime>) {
        self.counters.discovery.used.get_or_init(|| ());
        *self.counters.discovery.away.lock() = since;
    }

    /// Resources of a type were refused.
    pub(crate) fn discovery_refused(&self, kind: ResourceType, count: u64) {
        self.counters.discovery.refused[kind as usize].add(count);
        self.config_rejected();
    }
}
