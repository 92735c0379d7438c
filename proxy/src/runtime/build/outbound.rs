//! Listeners for the app's own calls.

use outrigger_config::model;

use super::{
    super::snapshot::{ListenerKey, Outbound, OutboundTarget, Snapshot},
    BuildError,
};

pub(super) fn listener(
    snapshot: &Snapshot,
    key: ListenerKey,
    from: &model::OutboundListener,
) -> Result<Outbound, BuildError> {
    let target = match &from.service {
        None => OutboundTarget::ByAuthority,
        Some(name) => OutboundTarget::Pinned(
            snapshot.port(name).cloned().ok_or_else(|| BuildError::UnknownService(name.clone()))?,
        ),
    };
    Ok(Outbound { key, target, source: from.clone() })
}
