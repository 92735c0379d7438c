//! The control plane of Outrigger, as a library: where policy comes from, what each proxy may see of it, and the delta
//! discovery service that tells it.
//!
//! The way of a change, one direction: `source` (files) -> `left_out` (bad objects stay out) -> `world` (resources by
//! scope, versions by content) -> `debounce` -> `snapshot` (what one proxy sees) -> `delta` and `session` (what of it a
//! stream has to be told) -> `server` (sockets). It never depends on the data plane, nor the data plane on it: both speak
//! through `outrigger-config` alone.

pub mod app;
pub mod error;
pub mod source;

mod debounce;
mod delta;
mod left_out;
mod metrics;
mod scope;
mod server;
mod session;
mod snapshot;
mod world;
