//! The test harness: backends, clients, a fault proxy and proxies under test, all in one process, all on free ports.
//!
//! One file per thing that a test stands up. Waiting is always waiting for something, with a bound ([`wait`]): no test
//! sleeps and hopes. Tests that run the real binary live in `cli/tests/`, where Cargo gives its path.

pub mod authority;
pub mod backend;
pub mod client;
pub mod collector;
pub mod conformance;
pub mod control_plane;
pub mod examples;
pub mod fault;
pub mod grpc;
pub mod mesh;
pub mod mesh_callee;
pub mod mesh_caller;
pub mod metrics;
pub mod namespace;
pub mod outside;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod raw;
pub mod skip;
pub mod switching;
pub mod tap;
pub mod unreachable;
pub mod verbatim;
pub mod wait;
