//! What a person writes: one file per kind, and which kinds there are.
//!
//! Schema types hold what was written, with places, and nothing more: no default is filled in and no reference is
//! followed here. Foreign kinds take every field of their upstream schema; those without meaning here are read and
//! dropped.

mod endpoint_slice;
mod grpc_route;
mod http_route;
mod mesh;
mod mesh_service;
mod metadata;
mod mirror;
mod reference;
mod route;
mod service;
mod sidecar;
mod telemetry;
mod traffic_policy;

pub(crate) use endpoint_slice::{AddressType, EndpointSlice, SlicePort};
pub(crate) use grpc_route::{CallRule, CallType, GRPCRoute};
pub(crate) use http_route::{
    BackendRef, Filter, FilterType, HTTPRoute, HeaderModifier, HeaderPair, HeaderRule, HttpMatch,
    PathModifier, PathModifierType, PathType, RouteRetry, RouteTimeouts, ValueType,
};
pub(crate) use mesh::{EgressMode, LimitsBody, Mesh};
pub(crate) use mesh_service::{MeshService, Protocol, TlsBody, TlsMode};
pub(crate) use metadata::Metadata;
pub(crate) use mirror::{MirrorRef, RequestMirror};
pub(crate) use reference::{ParentRef, ServiceRef, TargetKind, TargetRef};
pub(crate) use route::{Match, Route, Rule};
pub(crate) use service::{ClusterIp, Service, ServicePortBody, ServiceType, Transport, WireProtocol};
pub(crate) use sidecar::{Inbound, InboundProtocolWord, Sidecar, SidecarSpec};
pub(crate) use telemetry::{AccessLogFormat, Propagation, Telemetry, TracingBody};
pub(crate) use traffic_policy::{
    Balance, Condition, LoadBalancerBody, RetryBody, TimeoutsBody, TrafficBody, TrafficPolicy,
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
];

/// A kind of object, with the API group and version in which it is read.
pub(crate) struct KindName {
    pub(crate) kind: &'static str,
    pub(crate) api_version: &'static str,
}

/// Every kind that is read, or will be.
pub(crate) const KNOWN: &[KindName] = &[
    KindName { kind: "Sidecar", api_version: OURS },
    KindName { kind: "MeshService", api_version: OURS },
    KindName { kind: "TrafficPolicy", api_version: OURS },
    KindName { kind: "Mesh", api_version: OURS },
    KindName { kind: "AuthorizationPolicy", api_version: OURS },
    KindName { kind: "Service", api_version: "v1" },
    KindName { kind: "EndpointSlice", api_version: "discovery.k8s.io/v1" },
    KindName { kind: "HTTPRoute", api_version: "gateway.networking.k8s.io/v1" },
    KindName { kind: "GRPCRoute", api_version: "gateway.networking.k8s.io/v1" },
    KindName { kind: "TCPRoute", api_version: "gateway.networking.k8s.io/v1alpha2" },
    KindName { kind: "TLSRoute", api_version: "gateway.networking.k8s.io/v1alpha3" },
];

/// Our own group and version.
pub(crate) const OURS: &str = "outrigger.dev/v1alpha1";

/// The JSON Schema (draft 2020-12) of a kind of [`KINDS`], or `None` for any other word.
///
/// It says what the reader accepts of the structure: fields, types, ranges, allowed words. What it cannot say
/// (references, regular expressions, contradictions) only [`crate::check`] finds.
pub fn json_schema(kind: &str) -> Option<serde_json::Value> {
    let api_version = KNOWN.iter().find(|known| known.kind == kind)?.api_version;
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
        _ => return None,
    };
    let mut schema = serde_json::Value::from(schema);
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = kind.into();
    schema["properties"]["apiVersion"] = serde_json::json!({"const": api_version});
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
