//! The Mesh object with its defaults filled in.

use std::time::Duration;

use super::{Scope, mtls};
use crate::{
    convert::{Setting, Spanned, Strict},
    duration::GepDuration,
    model::{self, AccessLog, Egress, Limits, MeshConfig, Tracing},
    schema::{AccessLogFormat, EgressMode, LimitsBody, Propagation, TracingBody},
};

/// Mesh-wide settings; built-in ones where no Mesh is written.
pub(super) fn config(scope: &Scope<'_>) -> MeshConfig {
    let spec = scope.objects.meshes.first().map(|mesh| &mesh.body.spec);
    let egress =
        spec.and_then(|spec| spec.egress.as_ref()).and_then(|egress| egress.mode.0).map(|mode| match mode {
            EgressMode::Allow => Egress::Allow,
            EgressMode::Log => Egress::Log,
            EgressMode::Deny => Egress::Deny,
        });
    let telemetry = spec.and_then(|spec| spec.telemetry.as_ref());
    MeshConfig {
        trust_domain: mtls::trust_domain(scope.objects),
        mtls: scope.modes.mesh().mode,
        egress: egress.unwrap_or(Egress::Allow),
        // An app that takes us for a proxy may reach only what the mesh knows, unless somebody says otherwise.
        proxy_form_egress: egress.unwrap_or(Egress::Deny),
        limits: spec.and_then(|spec| spec.limits.as_ref()).map(limits).unwrap_or_default(),
        defaults: scope.layers.defaults(),
        access_log: match telemetry.map(|telemetry| &telemetry.access_log) {
            Some(Setting::Set(body)) => Some(match body.format.0 {
                None | Some(AccessLogFormat::Json) => AccessLog::Json,
            }),
            None | Some(Setting::Unset | Setting::Off) => None,
        },
        tracing: match telemetry.map(|telemetry| &telemetry.tracing) {
            Some(Setting::Set(body)) => Some(tracing(body)),
            None | Some(Setting::Unset | Setting::Off) => None,
        },
    }
}

fn tracing(body: &TracingBody) -> Tracing {
    let form = |written: &Spanned<Propagation>| match written.value {
        Propagation::W3c => model::Propagation::W3c,
        Propagation::B3 => model::Propagation::B3,
        Propagation::B3Multi => model::Propagation::B3Multi,
    };
    let resource = body.resource.0.iter();
    Tracing {
        otlp: body.otlp.value.url.clone(),
        sample_percent: body.sample_percent.0.map_or(Tracing::SAMPLE_PERCENT, |percent| percent.0),
        propagation: match body.propagation.written {
            true => body.propagation.iter().map(form).collect(),
            false => vec![model::Propagation::W3c],
        },
        resource: resource.map(|(key, value)| (key.clone(), value.value.clone())).collect(),
    }
}

fn limits(body: &LimitsBody) -> Limits {
    let built_in = Limits::default();
    let time = |setting: &Strict<Spanned<GepDuration>>, default: Duration| {
        setting.0.as_ref().map_or(default, |written| written.value.0)
    };
    Limits {
        header_bytes: body.header_bytes.0.map_or(built_in.header_bytes, |n| n.0),
        header_count: body.header_count.0.map_or(built_in.header_count, |n| n.0),
        uri_bytes: body.uri_bytes.0.map_or(built_in.uri_bytes, |n| n.0),
        trailer_bytes: body.trailer_bytes.0.map_or(built_in.trailer_bytes, |n| n.0),
        header_timeout: time(&body.header_timeout, built_in.header_timeout),
        detect_timeout: time(&body.detect_timeout, built_in.detect_timeout),
        max_concurrent_streams: body
            .max_concurrent_streams
            .0
            .map_or(built_in.max_concurrent_streams, |n| n.0),
        connection_idle: time(&body.connection_idle, built_in.connection_idle),
        pool_idle: time(&body.pool_idle, built_in.pool_idle),
        max_connections: body.max_connections.0.map(|n| n.0).or(built_in.max_connections),
        replay_bytes: body.replay_bytes.0.map_or(built_in.replay_bytes, |n| n.0),
    }
}
