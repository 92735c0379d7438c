//! The downstream side of a connection: what it speaks, how long its heads may take, and the answers made here.

pub mod answer;
pub mod detect;
pub mod header_watch;
