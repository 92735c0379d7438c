//! `fault`: failures and delays that are made on purpose.

use std::{sync::Arc, time::Duration};

/// What is done to requests on purpose; nothing by default.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// A pause before the request goes on.
    pub delay: Option<FaultDelay>,
    /// An answer instead of the service's.
    pub abort: Option<FaultAbort>,
    /// The request header, lower-cased, by which a request may ask for a fault itself.
    pub header: Option<Arc<str>>,
    /// The longest delay that a request may ask for.
    pub max_delay: Duration,
}

impl Fault {
    /// The share where none is written.
    pub const PERCENT: f64 = 100.0;
    /// `max_delay` where none is written.
    pub const MAX_DELAY: Duration = Duration::from_secs(10);

    /// Whether no request is ever concerned.
    pub fn is_none(&self) -> bool {
        self.delay.is_none() && self.abort.is_none() && self.header.is_none()
    }
}

impl Default for Fault {
    fn default() -> Self {
        Self { delay: None, abort: None, header: None, max_delay: Self::MAX_DELAY }
    }
}

/// A pause before some requests go on.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct FaultDelay {
    /// How many of the requests: 0 to 100.
    pub percent: f64,
    /// How long.
    pub duration: Duration,
}

/// An answer instead of the service's for some requests.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct FaultAbort {
    /// How many of the requests: 0 to 100.
    pub percent: f64,
    /// With what.
    pub with: AbortWith,
}

/// With what a request is aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum AbortWith {
    /// An HTTP status: 400 to 599.
    Status(u16),
    /// A gRPC code: 1 to 16.
    GrpcStatus(u8),
}
