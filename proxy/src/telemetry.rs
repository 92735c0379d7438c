//! What the proxy tells about itself: metrics, the access log, traces, its own log.
//!
//! Nothing here may slow or stop a request: counters are written by one worker each, log lines are dropped and counted
//! before anything waits.

pub mod access_log;
pub mod logging;
pub mod metrics;
pub(crate) mod record;

mod histogram;
mod shard;
pub(crate) mod timestamp;
pub(crate) mod trace;
pub(crate) mod trickle;
