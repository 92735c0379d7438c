//! How to talk to a destination.

use super::{
    field::{Fault, Field, named, one_of, record, words},
    proto,
};
use crate::model::{
    AbortWith, Backoff, Balance, Check, CircuitBreaker, Concurrency, FailurePercent, Fallback, FaultAbort,
    FaultDelay, FixedResponse, HashOn, HealthCheck, LoadBalancer, Locality, OpenTime, OutlierDetection,
    Priority, RateLimit, RateLimitBy, Retry, RetryBudget, RetryOn, ServiceLimits, SettingLayer,
    SettingOrigin, SuccessRate, Timeouts, TrafficSettings, Trip,
};

/// The model's; the name alone means what is wrong with a message.
mod injected {
    use crate::{model::Fault, wire::field::record};

    record! {
        Fault { delay, abort, header, max_delay };
    }
}

record! {
    TrafficSettings {
        timeouts, retry, load_balancer, circuit_breaker, rate_limits, concurrency, fault, outlier_detection,
        health_check, origins,
    };
    SettingOrigin { layer, policy, origin };
    Timeouts { request, attempt, connect, stream_idle, stream_idle_set };
    Retry { attempts, on, backoff, budget, idempotent };
    RetryOn { connect_failure, refused_stream, reset, gateway_error, server_error, statuses, grpc_codes };
    Backoff { least, base, max };
    RetryBudget { percent, min_per_second, ttl };
    LoadBalancer { policy, hash_on, locality, slow_start, panic_below };
    Locality { spill_below };
    CircuitBreaker { limits, trip, fallback };
    ServiceLimits { connections, pending_requests, requests, retries };
    Trip { failure_percent, window, min_requests, open, probe_requests };
    OpenTime { initial, max };
    FixedResponse { status, headers, body };
    RateLimit { requests, per, burst, by, origin };
    Concurrency { min_limit, max_limit, priority };
    Priority { header, high, low };
    FaultDelay { percent, duration };
    FaultAbort { percent, with };
    OutlierDetection {
        consecutive_5xx, consecutive_gateway_errors, consecutive_local_errors, interval, base_ejection,
        max_ejection, max_ejection_percent, success_rate, failure_percent,
    };
    SuccessRate { stdev_factor, min_hosts, min_requests };
    FailurePercent { threshold, min_hosts, min_requests };
    HealthCheck { check, interval, unhealthy_interval, timeout, unhealthy_after, healthy_after };
}

words! {
    SettingLayer { Rule, PolicyOnRule, PolicyOnRoute, PolicyOnService, PolicyOnNamespace, MeshDefaults }
    Balance { LeastRequest, PeakEwma, RoundRobin, Random, RingHash, Maglev }
}

one_of! {
    HashOn in hash_on { Header(header), Cookie(cookie), Query(query) }
    bare { SourceIp }
    fields {}
}

one_of! {
    Fallback in fallback { StaleFor(stale_for), Response(response), Service(service) }
    bare {}
    fields {}
}

one_of! {
    RateLimitBy in rate_limit_by { Header(header) }
    bare { Service, Identity, SourceIp }
    fields {}
}

one_of! {
    AbortWith in abort_with { Status(status), GrpcStatus(grpc_status) }
    bare {}
    fields {}
}

one_of! {
    Check in check {}
    bare { Tcp }
    fields { Http(http): HttpCheck { path, host, statuses }, Grpc(grpc): GrpcCheck { service } }
}

impl Field<proto::StatusRange> for (u16, u16) {
    fn put(&self) -> proto::StatusRange {
        proto::StatusRange { first: self.0.put(), last: self.1.put() }
    }

    fn take(wire: proto::StatusRange) -> Result<Self, Fault> {
        Ok((named("first", wire.first)?, named("last", wire.last)?))
    }
}
