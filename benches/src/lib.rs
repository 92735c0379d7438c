//! Benches of Outrigger: what the proxy costs, beside what its peers and its own building blocks cost.
//!
//! Each bench is a thin binary in `src/bin/` over one module here, so that the figures and the code that made them stand
//! side by side. Nothing here is part of the product, and nothing in the product may depend on it.

pub mod decide_scale;
pub mod e2e;
pub mod floor;
