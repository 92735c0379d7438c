//! The data plane of Outrigger, as a library: listeners, the request's way, policy stages, upstream pools.
//!
//! Read `inbound.rs` and `outbound.rs` first: they are the tables of contents of a request's way.

pub mod admin;
pub mod balance;
pub mod ctx;
pub mod decide;
pub mod error;
pub mod fuzzing;
pub mod listen;
mod policy;
pub mod request;
pub mod route;
pub mod runtime;
pub mod telemetry;
