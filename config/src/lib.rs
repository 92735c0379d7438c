//! The policy model of Outrigger: policy files in, checked and compiled resources out. No I/O, no clock, no network.

pub mod model;
