//! Which endpoints requests may go to, as far as policy says: outlier detection, active checks, the panic threshold.

use outrigger_config::{
    format_duration,
    model::{Check, FailurePercent, HealthCheck, SuccessRate, TrafficSettings},
};

use super::{
    report::{Part, Usable},
    settings::setting,
};
use crate::runtime::snapshot::Backend;

/// What the settings of a backend with so many endpoints say; the app behind a listener is always used, and so is the only
/// endpoint that nobody checks.
pub(super) fn told(backend: &Backend, endpoints: usize) -> Option<Usable> {
    let settings = &*backend.settings;
    let choice = endpoints > 1 || settings.health_check.is_some();
    (backend.service.is_some() && choice).then(|| usable(settings))
}

fn usable(settings: &TrafficSettings) -> Usable {
    let panic_below = Some(settings.load_balancer.panic_below.to_string());
    Usable {
        outlier_detection: outlier_detection(settings),
        health_check: settings
            .health_check
            .as_ref()
            .map(|own| health_check(settings, own))
            .unwrap_or_default(),
        panic_below: setting(&settings.origins, "loadBalancer.panicBelow", panic_below),
    }
}

/// A field of a block, by its path in a TrafficPolicy.
fn part(settings: &TrafficSettings, leaf: &'static str, value: Option<String>) -> Part {
    let name = leaf.split_once('.').map_or(leaf, |(_, name)| name);
    Part { name, setting: setting(&settings.origins, leaf, value) }
}

fn outlier_detection(settings: &TrafficSettings) -> Vec<Part> {
    let own = &settings.outlier_detection;
    let run = |count: Option<u32>| count.map(|count| count.to_string());
    let mut parts = vec![
        part(settings, "outlierDetection.consecutive5xx", run(own.consecutive_5xx)),
        part(settings, "outlierDetection.consecutiveGatewayErrors", run(own.consecutive_gateway_errors)),
        part(settings, "outlierDetection.consecutiveLocalErrors", run(own.consecutive_local_errors)),
    ];
    if let Some(SuccessRate { stdev_factor, min_hosts, min_requests }) = own.success_rate {
        let text = format!("{stdev_factor} deviations, {min_hosts} endpoints with {min_requests} requests");
        parts.push(part(settings, "outlierDetection.successRate", Some(text)));
    }
    if let Some(FailurePercent { threshold, min_hosts, min_requests }) = own.failure_percent {
        let text = format!("{threshold} %, {min_hosts} endpoints with {min_requests} requests");
        parts.push(part(settings, "outlierDetection.failurePercent", Some(text)));
    }
    if own.is_off() {
        return parts;
    }
    for (leaf, time) in [
        ("outlierDetection.interval", own.interval),
        ("outlierDetection.baseEjection", own.base_ejection),
        ("outlierDetection.maxEjection", own.max_ejection),
    ] {
        parts.push(part(settings, leaf, Some(format_duration(time))));
    }
    let most = Some(own.max_ejection_percent.to_string());
    parts.push(part(settings, "outlierDetection.maxEjectionPercent", most));
    parts
}

fn health_check(settings: &TrafficSettings, own: &HealthCheck) -> Vec<Part> {
    let asked = match &own.check {
        Check::Http { path, host, statuses } => {
            let host = host.as_ref().map(|host| format!(" of {host}")).unwrap_or_default();
            let range = |(first, last): &(u16, u16)| match first == last {
                true => first.to_string(),
                false => format!("{first}-{last}"),
            };
            let statuses: Vec<String> = statuses.iter().map(range).collect();
            format!("GET {path}{host} for {}", statuses.join(", "))
        }
        Check::Grpc { service } if service.is_empty() => "grpc".to_owned(),
        Check::Grpc { service } => format!("grpc of {service}"),
        Check::Tcp => "tcp".to_owned(),
    };
    let time = |leaf, time| part(settings, leaf, Some(format_duration(time)));
    let count = |leaf, count: u32| part(settings, leaf, Some(count.to_string()));
    vec![
        Part { name: "check", setting: setting(&settings.origins, "healthCheck", Some(asked)) },
        time("healthCheck.interval", own.interval),
        time("healthCheck.unhealthyInterval", own.unhealthy_interval),
        time("healthCheck.timeout", own.timeout),
        count("healthCheck.unhealthyAfter", own.unhealthy_after),
        count("healthCheck.healthyAfter", own.healthy_after),
    ]
}

#[cfg(test)]
mod tests {
    use crate::{
        explain::{Explainer, Question},
        runtime::fixture,
    };

    const POLICY: &str = r#"apiVersion: outrigger.dev/v1alpha1
kind: Sidecar
metadata: {name: web, namespace: shop}
spec: {outbound: [{bind: "127.0.0.1:15001"}]}
---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {name: cart, namespace: shop}
spec: {ports: [{port: 80}], endpoints: [{address: "10.0.0.1:80"}, {address: "10.0.0.2:80"}]}
---
apiVersion: outrigger.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: cart, namespace: shop}
spec:
  targetRefs: [{kind: Service, name: cart}]
  outlierDetection: {consecutive5xx: 2, consecutiveLocalErrors: null, failurePercent: {threshold: 60}}
  healthCheck: {http: {path: /healthz}, interval: 2s}
---
apiVersion: outrigger.dev/v1alpha1
kind: Mesh
metadata: {name: default}
spec: {defaults: {loadBalancer: {panicBelow: 0}}}
"#;

    #[test]
    fn each_setting_stands_with_its_place() {
        let explainer = Explainer::new(fixture::resources(POLICY)).unwrap();
        let report = explainer.explain(&Question::new("GET", "http://cart/").unwrap()).unwrap();
        let text = report.to_text(false);
        for line in [
            "outlierDetection: consecutive5xx 2  TrafficPolicy shop/cart on the Service  (policy.yaml:16:",
            "outlierDetection: consecutiveLocalErrors off  TrafficPolicy shop/cart",
            "outlierDetection: failurePercent 60 %, 5 endpoints with 50 requests  TrafficPolicy shop/cart",
            "consecutiveGatewayErrors 5, interval 10s, baseEjection 30s, maxEjection 5m, maxEjectionPercent 10  built-in",
            "healthCheck: GET /healthz for 200-299  TrafficPolicy shop/cart on the Service  (policy.yaml:17:",
            "what is left out is never used  Mesh defaults",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        let json = serde_json::to_value(&report.shares[0].usable).unwrap();
        assert_eq!(json["outlierDetection"][0]["name"], "consecutive5xx");
        assert_eq!(json["outlierDetection"][0]["value"], "2");
        assert_eq!(json["panicBelow"]["layer"], "meshDefaults");
    }
}
