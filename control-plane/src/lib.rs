//! The control plane of Outrigger, as a library. What it holds so far: where policy comes from.
//!
//! It never depends on the data plane, nor the data plane on it: both speak through `outrigger-config` alone.

pub mod error;
pub mod source;
