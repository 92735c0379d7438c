//! What a person writes: one file per kind, and which kinds there are.
//!
//! Schema types hold what was written, with places, and nothing more: no default is filled in and no reference is
//! followed here. Foreign kinds take every field of their upstream schema; those without meaning here are read and
//! dropped.

mod cors;
mod endpoint_slice;
mod grpc_route;
mod http_route;
mod mesh;
mod mesh_service;
mod metadata;
mod mirror;
mod mtls;
mod reference;
mod route;
mod service;
mod session;
mod sidecar;
mod tcp_route;
mod telemetry;
mod tls_route;
mod traffic_policy;

pub(crate) use cors::{Cors, CorsMethod, CorsOrigin};
pub(crate) use endpoint_slice::{AddressType, EndpointSlice, SlicePort};
pub(crate) use grpc_route::{CallRule, CallType, GRPCRoute};
pub(crate) use http_route::{
    BackendRef, Filter, FilterType, HTTPRoute, HeaderModifier, HeaderPair, HeaderRule, HttpMatch, Method,
    PathModifier, PathModifierType, PathType, RouteRetry, RouteTimeouts, ValueType,
};
pub(crate) use mesh::{EgressMode, LimitsBody, Mesh};
pub(crate) use mesh_service::{MeshEndpoint, MeshService, Protocol, SubsetBody, TlsBody, TlsMode};
pub(crate) use metadata::Metadata;
pub(crate) use mirror::{MirrorRef, RequestMirror};
pub(crate) use mtls::{IdentityBody, MtlsBody, MtlsMode, MtlsService};
pub(crate) use reference::{ParentRef, ServiceRef, TargetKind, TargetRef};
pub(crate) use route::{Match, Route, Rule};
pub(crate) use service::{ClusterIp, Service, ServicePortBody, ServiceType, Transport};
pub(crate) use session::{CookieLifetime, SessionPersistence, SessionType};
pub(crate) use sidecar::{Inbound, InboundProtocolWord, Sidecar, SidecarSpec};
pub(crate) use tcp_route::TCPRoute;
pub(crate) use telemetry::{AccessLogFormat, Propagation, Telemetry, TracingBody};
pub(crate) use tls_route::{ServerNamePattern, TLSRoute};
pub(crate) use traffic_policy::{
    AdaptiveBody, Balance, Blocks, CircuitBreakerBody, ConcurrencyBody, Condition, FailurePercentBody,
    FallbackBody, FaultBody, HashOnBody, HealthCheckBody, LoadBalancerBody, LocalityBody, OpenBody,
    OutlierDetectionBody, Prefer, RateLimitBody, RateLimitBy, ResponseBody, RetryBody, Run,
    ServiceLimitsBody, SlowStartBody, SuccessRateBody, TimeoutsBody, TrafficBody, TrafficPolicy, TripBody,
};

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};

/// The kinds that policy files may hold, in the order of the reference.
pub const KINDS: &[&str] = &[
    "Sidecar",
    "MeshService",
    "TrafficPolicy",
    "Mesh",
    "Service",
    "EndpointSlice",
    "HTTPRoute",
    "GRPCRoute",
    "TLSRoute",
    "TCPRoute",
];

/// A kind of object, with the API group and version in which it is read.
pub(crate) struct KindName {
    pub(crate) kind: &'static str,
    pub(crate) api_version: &'static str,
    /// Versions of the same fields that clusters still serve.
    pub(crate) former: &'static [&'static str],
}

impl KindName {
    const fn new(kind: &'static str, api_version: &'static str) -> Self {
        Self { kind, api_version, former: &[] }
    }

    /// Whether objects of this version are read.
    pub(crate) fn has(&self, api_version: &str) -> bool {
        self.api_version == api_version || self.former.contains(&api_version)
    }
}

/// Every kind that is read, or will be.
pub(crate) const KNOWN: &[KindName] = &[
    KindName::new("Sidecar", OURS),
    KindName::new("MeshService", OURS),
    KindName::new("TrafficPolicy", OURS),
    KindName::new("Mesh", OURS),
    KindName::new("AuthorizationPolicy", OURS),
    KindName::new("Service", "v1"),
    KindName::new("EndpointSlice", "discovery.k8s.io/v1"),
    KindName {
        former: &["gateway.networking.k8s.io/v1beta1"],
        ..KindName::new("HTTPRoute", "gateway.networking.k8s.io/v1")
    },
    KindName::new("GRPCRoute", "gateway.networking.k8s.io/v1"),
    KindName {
        former: &["gateway.networking.k8s.io/v1alpha3", "gateway.networking.k8s.io/v1alpha2"],
        ..KindName::new("TLSRoute", "gateway.networking.k8s.io/v1")
    },
    KindName {
        former: &["gateway.networking.k8s.io/v1alpha2"],
        ..KindName::new("TCPRoute", "gateway.networking.k8s.io/v1")
    },
];

/// Our own group and version.
pub(crate) const OURS: &str = "outrigger.dev/v1alpha1";

/// The JSON Schema (draft 2020-12) of a kind of [`KINDS`], or `None` for any other word.
///
/// It says what the reader accepts of the structure: fields, types, ranges, allowed words. What it cannot say
/// (references, regular expressions, contradictions) only [`crate::check`] finds.
pub fn json_schema(kind: &str) -> Option<serde_json::Value> {
    let known = KNOWN.iter().find(|known| known.kind == kind)?;
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let schema = match kind {
        "Sidecar" => of::<Sidecar>(&mut generator),
        "MeshService" => of::<MeshService>(&mut generator),
        "TrafficPolicy" => of::<TrafficPolicy>(&mut generator),
        "Mesh" => of::<Mesh>(&mut generator),
        "Service" => of::<Service>(&mut generator),
        "EndpointSlice" => of::<EndpointSlice>(&mut generator),
        "HTTPRoute" => of::<HTTPRoute>(&mut generator),
        "GRPCRoute" => of::<GRPCRoute>(&mut generator),
        "TLSRoute" => of::<TLSRoute>(&mut generator),
        "TCPRoute" => of::<TCPRoute>(&mut generator),
        _ => return None,
    };
    let mut schema = serde_json::Value::from(schema);
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = kind.into();
    schema["properties"]["apiVersion"] = match known.former {
        [] => serde_json::json!({"const": known.api_version}),
        former => {
            let all: Vec<_> = std::iter::once(&known.api_version).chain(former).collect();
            serde_json::json!({"enum": all})
        }
    };
    schema["properties"]["kind"] = serde_json::json!({"const": kind});
    if let Some(required) = schema["required"].as_array_mut() {
        required.extend(["apiVersion".into(), "kind".into()]);
    }
    Some(schema)
}

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> schemars::Schema {
    T::json_schema(generator)
}

#[cfg(test)]
mod tests;
