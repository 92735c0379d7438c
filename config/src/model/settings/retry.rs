//! Repeats.

use std::time::Duration;

/// When a failed attempt is repeated; the retry law stands above it.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Retry {
    /// Repeats after the first try for what `on` lists; 0: only work that provably never started is repeated, once.
    pub attempts: u32,
    /// Conditions.
    pub on: RetryOn,
    /// Pauses between attempts.
    pub backoff: Backoff,
    /// What all requests to the Service may spend on repeats.
    pub budget: RetryBudget,
    /// Any method may be repeated.
    pub idempotent: bool,
}

impl Default for Retry {
    /// No repeats; what counts where a policy asks for some and says no more.
    fn default() -> Self {
        Self {
            attempts: 0,
            on: RetryOn {
                connect_failure: true,
                refused_stream: true,
                reset: true,
                gateway_error: true,
                grpc_codes: vec![14],
                ..RetryOn::default()
            },
            backoff: Backoff::default(),
            budget: RetryBudget::default(),
            idempotent: false,
        }
    }
}

/// The conditions of `retry.on`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct RetryOn {
    /// The connection could not be made.
    pub connect_failure: bool,
    /// A remote REFUSED_STREAM, or GOAWAY below the stream.
    pub refused_stream: bool,
    /// The connection ended before the answer's head.
    pub reset: bool,
    /// 502, 503, 504.
    pub gateway_error: bool,
    /// Any 5xx.
    pub server_error: bool,
    /// Statuses of `retry.statuses` with `retriable-status`.
    pub statuses: Vec<u16>,
    /// gRPC codes (`unavailable`, `cancelled`, ...), by number.
    pub grpc_codes: Vec<u8>,
}

/// Full jitter: a pause is `least` and something uniform between 0 and `min(max, base * 2^n)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Backoff {
    /// No pause is shorter; 0 unless a route's `retry.backoff` says so. Then even another endpoint waits for it.
    pub least: Duration,
    /// 25 ms by default.
    pub base: Duration,
    /// 250 ms by default.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        let millis = Duration::from_millis;
        Self { least: Duration::ZERO, base: millis(25), max: millis(250) }
    }
}

/// Retries may be at most `percent` of the requests of the last `ttl`, plus `min_per_second`.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct RetryBudget {
    /// 20 by default; 0 to 100.
    pub percent: f64,
    /// 10 by default.
    pub min_per_second: u32,
    /// 10 s by default; 1 s to 60 s.
    pub ttl: Duration,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { percent: 20.0, min_per_second: 10, ttl: Duration::from_secs(10) }
    }
}
