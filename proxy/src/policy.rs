//! The policy stages that act on a decision, and their pure cores.

pub(crate) mod budget;
