//! What a control plane counts: one list. No label comes from what a proxy wrote.

use std::fmt;

use outrigger_config::wire::ResourceType;
use prometheus::{Encoder as _, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

/// The metrics of one control plane.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Registry,
    /// Open discovery streams.
    pub(crate) streams: IntGauge,
    /// Documents that are left out because they have errors.
    pub(crate) left_out: IntGauge,
    /// Sidecars that the policy describes.
    pub(crate) sidecars: IntGauge,
    /// Rises with each change that was published.
    pub(crate) generation: IntGauge,
    refused: IntCounterVec,
    answers: IntCounterVec,
    resources: IntCounterVec,
    acks: IntCounterVec,
    nacks: IntCounterVec,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    let gauge = IntGauge::with_opts(Opts::new(name, help))?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

fn counter(
    registry: &Registry,
    name: &str,
    help: &str,
    label: &str,
) -> Result<IntCounterVec, prometheus::Error> {
    let counter = IntCounterVec::new(Opts::new(name, help), &[label])?;
    registry.register(Box::new(counter.clone()))?;
    Ok(counter)
}

impl Metrics {
    /// Everything at zero.
    pub(crate) fn new() -> Self {
        Self::register(Registry::new()).expect("the names below are valid and different")
    }

    fn register(registry: Registry) -> Result<Self, prometheus::Error> {
        let r = &registry;
        let by_type = |name: &str, help: &str| -> Result<IntCounterVec, prometheus::Error> {
            let counter = counter(r, name, help, "type")?;
            for kind in ResourceType::ALL {
                counter.with_label_values(&[kind.word()]);
            }
            Ok(counter)
        };
        Ok(Self {
            streams: gauge(r, "outrigger_control_plane_streams", "Open discovery streams.")?,
            left_out: gauge(
                r,
                "outrigger_control_plane_left_out_documents",
                "Policy documents that are left out because they have errors.",
            )?,
            sidecars: gauge(r, "outrigger_control_plane_sidecars", "Sidecars that the policy describes.")?,
            generation: gauge(
                r,
                "outrigger_control_plane_generation",
                "Rises with each change that was published.",
            )?,
            refused: counter(
                r,
                "outrigger_control_plane_refused_streams_total",
                "Streams that were ended because of what the proxy sent.",
                "reason",
            )?,
            answers: by_type("outrigger_control_plane_answers_total", "Answers sent.")?,
            resources: by_type(
                "outrigger_control_plane_resources_total",
                "Resources sent, those that were told to be gone among them.",
            )?,
            acks: by_type("outrigger_control_plane_acks_total", "Answers that a proxy took.")?,
            nacks: by_type(
                "outrigger_control_plane_nacks_total",
                "Answers of which a proxy refused something.",
            )?,
            registry,
        })
    }

    pub(crate) fn answered(&self, kind: ResourceType, resources: usize) {
        self.answers.with_label_values(&[kind.word()]).inc();
        self.resources.with_label_values(&[kind.word()]).inc_by(resources as u64);
    }

    pub(crate) fn acked(&self, kind: ResourceType) {
        self.acks.with_label_values(&[kind.word()]).inc();
    }

    pub(crate) fn nacked(&self, kind: ResourceType) {
        self.nacks.with_label_values(&[kind.word()]).inc();
    }

    pub(crate) fn refused(&self, reason: &str) {
        self.refused.with_label_values(&[reason]).inc();
    }

    /// The text form of Prometheus.
    pub(crate) fn render(&self) -> Vec<u8> {
        let mut text = Vec::new();
        // Writing into memory does not fail.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_type() {
        let metrics = Metrics::new();
        metrics.answered(ResourceType::Endpoints, 3);
        metrics.refused("nonce");
        let text = String::from_utf8(metrics.render()).unwrap();
        assert!(text.contains("outrigger_control_plane_resources_total{type=\"endpoints\"} 3"), "{text}");
        assert!(text.contains("outrigger_control_plane_nacks_total{type=\"workload\"} 0"), "{text}");
        assert!(text.contains("outrigger_control_plane_refused_streams_total{reason=\"nonce\"} 1"), "{text}");
    }
}
