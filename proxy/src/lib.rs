//! The data plane of Outrigger, as a library: listeners, the request's way, policy stages, upstream pools.
//!
//! Read `inbound.rs` and `outbound.rs` first: they are the tables of contents of a request's way.

pub mod admin;
pub mod app;
pub mod balance;
pub mod ctx;
pub mod decide;
pub mod discovery;
pub mod drain;
pub mod error;
pub mod explain;
pub mod fuzzing;
pub mod listen;
pub mod request;
pub mod route;
pub mod runtime;
pub mod telemetry;

mod body;
mod bootstrap;
mod egress;
mod exchange;
mod identity;
mod inbound;
mod outbound;
mod pem;
mod policy;
mod switched;
mod tunnel;
mod upstream;
mod worker;
