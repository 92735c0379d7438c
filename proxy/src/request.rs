//! Everything that happens to a message head before and after policy: the strict check, the canonical path, the
//! hop-by-hop rules, upgrades, the forwarding headers, gRPC deadlines, and the last step before a head goes upstream.
//!
//! All of it is pure: heads and bytes in, a decision out. No socket, no clock, no configuration beyond what is passed.

pub mod forwarded;
pub mod hop;
pub mod path;
pub mod response;
pub mod strict;
pub mod switch;
pub mod target;
pub mod timeout;
pub mod trailers;
pub mod websocket;

mod authority;
mod names;
mod seen;

pub use authority::Authority;
pub(crate) use names::is_grpc;
