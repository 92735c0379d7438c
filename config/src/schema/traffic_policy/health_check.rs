//! `healthCheck`: endpoints are asked whether they are well.

use std::sync::Arc;

use schemars::{Schema, json_schema};

use crate::{
    convert::{Bounded, Empty, Host, List, Problem, Spanned, Strict, Text, object, parsed},
    diagnostic::Code,
    duration::GepDuration,
    model::{Check, HealthCheck},
};

/// What holds where a field is missing.
pub(crate) fn built_in() -> HealthCheck {
    HealthCheck::new(Check::Tcp)
}

object! {
    /// Each endpoint is asked whether it is well, by each proxy that calls the Service, each time on a connection of its own
    /// and with the TLS of the Service. An unhealthy endpoint gets no request, unless too few are usable
    /// (`loadBalancer.panicBelow`). An endpoint is used until its first check, made at once, says otherwise: one failed
    /// check is enough then. Off unless written.
    pub(crate) struct HealthCheckBody {
        /// A GET, in the protocol of the port.
        http("http"): Option<HttpCheckBody>,
        /// The gRPC health protocol, `grpc.health.v1.Health/Check`; SERVING passes.
        grpc("grpc"): Option<GrpcCheckBody>,
        /// A connection, with TLS where the Service has it; nothing is sent.
        tcp("tcp"): Option<Empty>,
        /// From the end of a check to the next of a healthy endpoint, give or take a tenth. At least 10ms (OR116).
        interval("interval"): Strict<Spanned<GepDuration>> = built_in().interval,
        /// The same of an unhealthy endpoint; `interval` where it is missing. At least 10ms (OR116).
        unhealthy_interval("unhealthyInterval"): Strict<Spanned<GepDuration>>,
        /// From the start of a check to the head of its answer; what takes longer has failed. At least 1ms (OR116).
        timeout("timeout"): Strict<Spanned<GepDuration>> = built_in().timeout,
        /// So many failed checks in a row make an endpoint unhealthy.
        unhealthy_after("unhealthyAfter"): Strict<Bounded<1, 1000>> = built_in().unhealthy_after,
        /// So many passed checks in a row make it healthy again.
        healthy_after("healthyAfter"): Strict<Bounded<1, 1000>> = built_in().healthy_after,
    }
    exactly_one ["http", "grpc", "tcp"]
}

object! {
    /// A GET, in the protocol of the port.
    pub(crate) struct HttpCheckBody {
        /// Path and query, such as `/healthz`.
        path("path"): CheckPath,
        /// The Host header; where it is missing, the server name of the Service's TLS, or `name.namespace`.
        host("host"): Option<Host>,
        /// Statuses that pass: `"204"`, or a range, both ends included.
        statuses("statuses"): List<StatusRange, 16> = ["200-299"],
    }
}

object! {
    /// The gRPC health protocol.
    pub(crate) struct GrpcCheckBody {
        /// The service that is asked about; where it is missing, the server as a whole.
        service("service"): Option<Text>,
    }
}

/// Path and query of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CheckPath(pub(crate) Arc<str>);

impl CheckPath {
    fn parse(text: &str) -> Result<Self, Problem> {
        let good = text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        if good && text.len() <= 1024 {
            return Ok(Self(text.into()));
        }
        let help = "`/` first, then printable ASCII without spaces and `#`, at most 1024 characters";
        Err(Problem::new(Code::Path, format!("`{text}` is not a valid path"), help))
    }

    fn schema() -> Schema {
        json_schema!({"title": "path, such as `/healthz`", "type": "string", "pattern": "^/", "maxLength": 1024})
    }
}

parsed!(CheckPath);

/// One status or a range of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StatusRange(pub(crate) u16, pub(crate) u16);

impl StatusRange {
    fn parse(text: &str) -> Result<Self, Problem> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.parse(), last.parse()) {
            (Ok(first), Ok(last)) if 100 <= first && first <= last && last <= 599 => Ok(Self(first, last)),
            _ => {
                let message = format!("`{text}` is not a status or a range of them");
                Err(Problem::new(Code::Range, message, "such as `\"200-299\"`, within 100 and 599"))
            }
        }
    }

    fn schema() -> Schema {
        json_schema!({"title": "status or range, such as `200-299`", "type": "string", "pattern": "^[1-5][0-9]{2}(-[1-5][0-9]{2})?$"})
    }
}

parsed!(StatusRange);
