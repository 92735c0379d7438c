//! `Mesh.spec.telemetry`: what proxies report of requests, and where to.

use std::sync::Arc;

use schemars::{Schema, json_schema};

use crate::{
    convert::{List, Percent, Problem, Setting, Spanned, Strict, TextMap, choice, object, parsed},
    diagnostic::Code,
    model::Tracing,
};

object! {
    /// What is reported.
    pub(crate) struct Telemetry {
        /// One line per request on standard output; none unless set, and none with null.
        access_log("accessLog"): Setting<AccessLogBody>,
        /// Spans of sampled requests, sent to an OpenTelemetry collector; none unless set, and none with null. Then trace
        /// headers pass untouched.
        tracing("tracing"): Setting<TracingBody>,
    }
}

object! {
    /// The access log.
    pub(crate) struct AccessLogBody {
        /// The form of a line.
        format("format"): Strict<AccessLogFormat> = AccessLogFormat::Json.word(),
    }
}

choice! {
    /// The form of an access log line.
    pub(crate) enum AccessLogFormat {
        /// One JSON object a line.
        Json = "json",
    }
}

object! {
    /// Traces: a server span per request and a client span per attempt, by OpenTelemetry's semantic conventions.
    pub(crate) struct TracingBody {
        /// The collector, such as `http://127.0.0.1:4317`: OTLP over gRPC, in plaintext. A change holds at once, for what
        /// waits to be sent too.
        otlp("otlp"): Spanned<Otlp>,
        /// The share of traces, in percent, that are recorded where the caller has not decided; a caller's decision is
        /// kept. It is decided by the trace id alone, so that proxies agree. The next hop is told, recorded or not.
        sample_percent("samplePercent"): Strict<Percent> = Tracing::SAMPLE_PERCENT,
        /// The forms in which trace context travels in headers, each once. The first of them that a request has is read,
        /// all are written; headers of other forms pass untouched.
        propagation("propagation"): List<Spanned<Propagation>, 3> = [Propagation::W3c.word()],
        /// Attributes of the resource, beside or instead of those that the Sidecar gives: `service.name` and
        /// `service.namespace` are its name and namespace, `service.version` is its label `app.kubernetes.io/version`. 32
        /// at most, and none that begins with `telemetry.`.
        resource("resource"): TextMap,
    }
}

choice! {
    /// A form of trace context.
    pub(crate) enum Propagation {
        /// `traceparent` and `tracestate` (W3C Trace Context).
        W3c = "w3c",
        /// `b3`, in one header.
        B3 = "b3",
        /// `X-B3-TraceId` and its kin.
        B3Multi = "b3Multi",
    }
}

/// The address of an OTLP/gRPC collector: `http://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Otlp {
    /// `http://host:port`, without anything behind.
    pub(crate) url: Arc<str>,
    /// The port.
    pub(crate) port: u16,
}

impl Otlp {
    fn parse(text: &str) -> Result<Self, Problem> {
        let problem =
            |help: &str| Problem::new(Code::Address, format!("`{text}` is not a collector's address"), help);
        let uri: http::Uri = text.parse().map_err(|_| problem("such as `http://127.0.0.1:4317`"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                let help = "spans go out in plaintext; put a collector beside the proxy and let it speak TLS onwards";
                return Err(problem(help));
            }
            _ => return Err(problem("begin with `http://`, such as `http://127.0.0.1:4317`")),
        }
        let authority = uri.authority().ok_or_else(|| problem("such as `http://127.0.0.1:4317`"))?;
        if authority.as_str().contains('@') {
            return Err(problem("credentials cannot be sent"));
        }
        let port = authority.port_u16().filter(|port| *port > 0);
        let port = port.ok_or_else(|| problem("add the port; OTLP over gRPC has 4317"))?;
        if authority.host().is_empty() {
            return Err(problem("such as `http://127.0.0.1:4317`"));
        }
        if uri.query().is_some() || !matches!(uri.path(), "" | "/") {
            return Err(problem("OTLP over gRPC has no path; OTLP over HTTP is not spoken here"));
        }
        Ok(Self { url: format!("http://{authority}").into(), port })
    }

    fn schema() -> Schema {
        json_schema!({
            "type": "string",
            "description": "The address of an OTLP/gRPC collector, such as `http://127.0.0.1:4317`.",
        })
    }
}

parsed!(Otlp);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_collectors() {
        for (text, url) in [
            ("http://127.0.0.1:4317", "http://127.0.0.1:4317"),
            ("http://[::1]:4317/", "http://[::1]:4317"),
            ("HTTP://Collector.obs:4317", "http://Collector.obs:4317"),
        ] {
            assert_eq!(&*Otlp::parse(text).unwrap().url, url);
        }
        for (text, word) in [
            ("127.0.0.1:4317", "http://"),
            ("collector", "http://"),
            ("grpc://collector:4317", "http://"),
            ("https://collector:4317", "plaintext"),
            ("http://collector", "4317"),
            ("http://collector:0", "4317"),
            ("http://collector:99999", "4317"),
            ("http://a:b@collector:4317", "credentials"),
            ("http://collector:4318/v1/traces", "no path"),
            ("http://collector:4317?x", "no path"),
            ("http://:4317", ""),
            ("", ""),
            ("http://", ""),
        ] {
            let problem = Otlp::parse(text).unwrap_err().to_string();
            assert!(problem.contains(word), "{text}: {problem}");
        }
    }
}
