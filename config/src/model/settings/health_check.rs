//! Active health checks: how endpoints are asked whether they are well.

use std::{sync::Arc, time::Duration};

/// How each endpoint is asked, how often, and what makes it unhealthy and healthy again.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheck {
    /// What is asked.
    pub check: Check,
    /// From one check's end to the next of a healthy endpoint, give or take a tenth. 5 s by default.
    pub interval: Duration,
    /// The same of an unhealthy one. `interval` by default.
    pub unhealthy_interval: Duration,
    /// What takes longer has failed; from the connection to the answer. 1 s by default.
    pub timeout: Duration,
    /// Failed checks in a row that make an endpoint unhealthy. 3 by default.
    pub unhealthy_after: u32,
    /// Passed checks in a row that make it healthy again. 2 by default.
    pub healthy_after: u32,
}

impl HealthCheck {
    /// The defaults around a check.
    pub fn new(check: Check) -> Self {
        let interval = Duration::from_secs(5);
        Self {
            check,
            interval,
            unhealthy_interval: interval,
            timeout: Duration::from_secs(1),
            unhealthy_after: 3,
            healthy_after: 2,
        }
    }
}

/// What an endpoint is asked.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Check {
    /// A GET.
    Http {
        /// Path and query.
        path: Arc<str>,
        /// The authority; `None`: the name of the Service.
        host: Option<Arc<str>>,
        /// Statuses that pass, both ends included. 200 to 299 by default.
        statuses: Vec<(u16, u16)>,
    },
    /// `grpc.health.v1.Health/Check`.
    Grpc {
        /// The service that is asked about; empty: the server as a whole.
        service: Arc<str>,
    },
    /// A connection, no more.
    Tcp,
}

impl Check {
    /// The word of its field.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Http { .. } => "http",
            Self::Grpc { .. } => "grpc",
            Self::Tcp => "tcp",
        }
    }
}
