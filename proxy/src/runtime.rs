//! What a running proxy holds: the policy that requests read, one immutable snapshot built from resources and swapped
//! as a whole, and its status.

mod build;
mod carry;
#[cfg(test)]
pub(crate) mod fixture;
pub mod inbound;
pub mod opaque;
pub mod snapshot;
pub mod status;
mod store;

pub(crate) use build::build_to_serve;
pub use build::{BuildError, build};
pub use store::{Pinned, SnapshotCache, Store};
