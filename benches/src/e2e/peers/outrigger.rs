//! Outrigger from one policy file: a pinned outbound listener per protocol, a route table, time-outs and retries. In two
//! hops, each of these leads to an inbound listener of the same process, as from one sidecar to the next.

use std::path::Path;

use super::super::ports::{PeerPorts, Ports};
use super::{Kind, PREFIXES, Recipe, locate, version, write};

/// Attempts after the first try, as the policy has it; the proof looks for it in the proxy's own words.
pub(in crate::e2e) const RETRIES: u64 = 2;

pub(super) fn recipe(
    kind: Kind,
    proxy: &Path,
    own: PeerPorts,
    ports: &Ports,
    dir: &Path,
) -> anyhow::Result<Recipe> {
    let program = locate(proxy)?;
    let config = write(dir, "bench.yaml", &policy(kind, own, ports))?;
    let args = ["proxy", "-f", &config, "--workers", "1"].map(str::to_owned);
    let title = match kind {
        Kind::TwoHops | Kind::Stages => kind.name().to_owned(),
        _ => format!("**Outrigger {}**", version(&program, &["--version"])?),
    };
    Ok(Recipe::single(title, own, program, args.into()))
}

/// The whole policy file.
fn policy(kind: Kind, own: PeerPorts, ports: &Ports) -> String {
    let behind = [ports.backend_http1, ports.backend_http2];
    let two_hops = kind != Kind::Outrigger;
    let next = if two_hops { own.inner } else { behind };
    let inbound = |at: usize, protocol: &str| {
        let (bind, app) = (own.inner[at], behind[at]);
        format!(
            "  - {{bind: \"127.0.0.1:{bind}\", app: \"127.0.0.1:{app}\", protocol: {protocol}, service: {{name: {protocol}, port: 80}}}}\n"
        )
    };
    let inbound = match two_hops {
        true => format!("  inbound:\n{}{}", inbound(0, "http1"), inbound(1, "http2")),
        false => String::new(),
    };
    let stages = if kind == Kind::Stages { STAGES } else { "" };
    format!(
        "apiVersion: outrigger.dev/v1alpha1
kind: Sidecar
metadata: {{name: bench, namespace: bench}}
spec:
{inbound}  outbound:
  - {{bind: \"127.0.0.1:{http1}\", service: {{name: http1, port: 80}}}}
  - {{bind: \"127.0.0.1:{http2}\", service: {{name: http2, port: 80}}}}
  admin: {{bind: \"127.0.0.1:{admin}\"}}
{one}{two}",
        http1 = own.http1,
        http2 = own.http2,
        admin = own.admin,
        one = service("http1", next[0], stages),
        two = service("http2", next[1], stages),
    )
}

/// Every stage, with limits that this load does not reach: what is measured is what it costs to keep count.
const STAGES: &str = "  circuitBreaker:
    limits: {connections: 10000, pendingRequests: 10000, requests: 10000, retries: 1000}
    trip: {failurePercent: 90, window: 10s, minRequests: 100000}
    fallback: {staleFor: 1m}
  outlierDetection: {successRate: {}, failurePercent: {}}
  healthCheck: {tcp: {}, interval: 1s}
  rateLimit: {requests: 1000000, per: 1s}
  concurrency: {adaptive: {minLimit: 1000, maxLimit: 10000}, priority: {header: x-priority, high: [critical], low: [batch]}}
  fault: {delay: {percent: 0.0001, duration: 1ms}, abort: {percent: 0, status: 503}}
";

/// A MeshService named after the protocol that its backend speaks, with its route and its traffic policy.
fn service(protocol: &str, backend: u16, stages: &str) -> String {
    let mut text = format!(
        "---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {{name: {protocol}, namespace: bench}}
spec:
  ports: [{{port: 80, protocol: {protocol}}}]
  endpoints: [{{address: \"127.0.0.1:{backend}\"}}]
---
apiVersion: outrigger.dev/v1alpha1
kind: TrafficPolicy
metadata: {{name: {protocol}, namespace: bench}}
spec:
  targetRefs: [{{kind: Service, name: {protocol}}}]
  timeouts: {{request: 10s, attempt: 2s, connect: 1s, streamIdle: 5m}}
  retry:
    attempts: {RETRIES}
    on: [connect-failure, refused-stream, reset, gateway-error]
    backoff: {{base: 25ms, max: 250ms}}
{stages}---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {protocol}, namespace: bench}}
spec:
  parentRefs: [{{kind: Service, group: \"\", name: {protocol}}}]
  rules:
"
    );
    for prefix in PREFIXES {
        let name = prefix.trim_matches('/');
        text += &format!(
            "  - {{name: {name}, matches: [{{path: {{type: PathPrefix, value: {prefix}}}}}], backendRefs: [{{name: {protocol}, port: 80}}]}}\n"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use outrigger_config::{SourceFile, check};

    use super::super::{
        super::{ports::Ports, proof},
        Kind,
    };

    #[test]
    fn the_policy_is_valid_and_holds_what_the_proof_asks_for() {
        let ports = Ports::pick().expect("free ports");
        for kind in [Kind::Outrigger, Kind::TwoHops, Kind::Stages] {
            let text = super::policy(kind, ports.peer[kind as usize], &ports).into_bytes();
            let checked = check(vec![SourceFile { path: "bench.yaml".to_owned(), text }]);
            assert!(checked.findings.is_empty(), "{}", checked.render_text(false));
            let resources = checked.policy.expect("no error").compile(None).expect("one sidecar");
            let dump = serde_json::to_value(&resources).expect("JSON");
            for service in ["http1", "http2"] {
                proof::in_force(&dump, service).expect("in force");
            }
        }
    }
}
