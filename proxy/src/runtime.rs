//! What a running proxy holds: its status.

pub mod status;
