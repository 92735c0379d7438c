//! Checks that look at more than one value: references, contradictions, what can never hold.
//!
//! Types and forms are settled before. Objects that were read in part are checked for what is there; nothing is
//! concluded from what is missing in them.

use crate::{diagnostic::Fault, objects::Objects};

/// All checks.
pub(crate) fn all(_objects: &Objects, _faults: &mut Vec<Fault>) {}
