//! `Mesh.spec.telemetry`: forms of trace context that contradict each other, resource attributes that nobody may write.

use super::Checks;
use crate::{
    convert::Setting,
    diagnostic::{Code, Fault},
    schema::{Telemetry, TracingBody},
};

/// Attributes of the resource; each goes out with every batch of spans.
const MOST_ATTRIBUTES: usize = 32;

pub(super) fn check(telemetry: &Telemetry, checks: &mut Checks<'_>) {
    if let Setting::Set(tracing) = &telemetry.tracing {
        collector(tracing, checks);
        propagation(tracing, checks);
        resource(tracing, checks);
    }
}

fn collector(tracing: &TracingBody, checks: &mut Checks<'_>) {
    if tracing.otlp.value.port == 4318 {
        let message = "4318 is the port of OTLP over HTTP, and spans are sent over gRPC";
        let help = "collectors take gRPC on port 4317";
        checks.push(Fault::warning(Code::Address, tracing.otlp.span, message).help(help));
    }
}

fn propagation(tracing: &TracingBody, checks: &mut Checks<'_>) {
    let forms = &tracing.propagation;
    if forms.written && forms.complete && forms.is_empty() {
        let message = "without any form of trace context no trace would reach the next proxy";
        let help = "leave it out for `[w3c]`, or write `tracing: null` for no traces";
        checks.push(Fault::error(Code::Range, tracing.otlp.span, message).help(help));
    }
    for (index, form) in forms.iter().enumerate() {
        if let Some(first) = forms[..index].iter().find(|first| first.value == form.value) {
            let message = format!("`{}` is written twice", form.value.word());
            checks.push(Fault::error(Code::Conflict, form.span, message).related(first.span, "first here"));
        }
    }
}

fn resource(tracing: &TracingBody, checks: &mut Checks<'_>) {
    for (index, (key, value)) in tracing.resource.0.iter().enumerate() {
        let fault = if index >= MOST_ATTRIBUTES {
            Fault::error(Code::Range, value.span, format!("at most {MOST_ATTRIBUTES} attributes are allowed"))
        } else if key.is_empty() || key.trim() != &**key {
            Fault::error(Code::Name, value.span, format!("`{key}` is not the name of an attribute"))
        } else if key.starts_with("telemetry.") {
            let message = format!("`{key}` tells who made the spans, which the proxy says itself");
            Fault::error(Code::Conflict, value.span, message).help("remove it")
        } else if value.value.is_empty() && &**key == "service.name" {
            Fault::error(Code::Name, value.span, "`service.name` may not be empty")
        } else {
            continue;
        };
        checks.push(fault);
    }
}
