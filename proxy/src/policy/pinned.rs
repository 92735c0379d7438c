//! What was decided for one request, as its stages read it.

use std::{net::SocketAddr, sync::Arc};

use super::target::Target;
use crate::{
    decide::{Direct, Forward},
    runtime::snapshot::Rule,
};

/// What was decided for one request; it holds for all of its attempts.
#[derive(Debug)]
pub(crate) struct Pinned<'a> {
    /// Settings and budget.
    pub(crate) rule: &'a Arc<Rule>,
    /// Where it goes.
    pub(crate) target: Target,
    /// Header changes; a direct request has none.
    pub(crate) forward: Option<&'a Forward>,
    /// The endpoint of its session.
    pub(crate) stay: Option<SocketAddr>,
    /// The hash of what its balancing hashes on.
    pub(crate) key: Option<u64>,
    /// The app stands behind this proxy: whoever called does the repeating.
    pub(crate) last_hop: bool,
    /// Drives its random choices.
    pub(crate) dice: u64,
}

impl<'a> Pinned<'a> {
    /// A request to a backend.
    pub(crate) fn forward(forward: &'a Forward, dice: u64) -> Self {
        let target = Target::Service(forward.backend().clone());
        let stay = forward.session().and_then(|(_, visit, _)| visit.endpoint);
        Self { rule: &forward.rule, target, forward: Some(forward), stay, key: None, last_hop: false, dice }
    }

    /// A request to one address.
    pub(crate) fn direct(direct: &'a Direct, target: Target, dice: u64) -> Self {
        Self { rule: &direct.rule, target, forward: None, stay: None, key: None, last_hop: false, dice }
    }
}
