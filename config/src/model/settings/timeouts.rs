//! Time limits.

use std::time::Duration;

/// Time limits; `None` is off.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Timeouts {
    /// From the complete head to the last byte of the answer. Off by default. A Service's own also binds at the callee.
    pub request: Option<Duration>,
    /// From hand-over to the answer's head. Off by default.
    pub attempt: Option<Duration>,
    /// Per connection attempt. 1 s by default.
    pub connect: Option<Duration>,
    /// No byte either way. `None`: off.
    pub stream_idle: Option<Duration>,
    /// Whether `streamIdle` was written by a person: then it also binds gRPC streams and upgrades.
    pub stream_idle_set: bool,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            request: None,
            attempt: None,
            connect: Some(Duration::from_secs(1)),
            stream_idle: Some(Duration::from_secs(300)),
            stream_idle_set: false,
        }
    }
}
