//! Outrigger from one policy file: a pinned outbound listener per protocol, a route table, time-outs and retries. In two
//! hops, each of these leads to an inbound listener of the same process, as from one sidecar to the next. In an mTLS pair that
//! listener is another process's.

use std::path::Path;

use super::super::ports::{PeerPorts, Ports};
use super::certificates::{Certificates, Own, SERVICE};
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
    let start = |name: &str, text: &str| -> anyhow::Result<Vec<String>> {
        let config = write(dir, name, text)?;
        Ok(["proxy", "-f", &config, "--workers", "1"].map(str::to_owned).into())
    };
    if kind == Kind::MtlsPair {
        let certificates = Certificates::make(dir)?;
        let near = start("caller.yaml", &caller(own, &certificates))?;
        let far = start("service.yaml", &callee(own, ports, &certificates))?;
        return Ok(Recipe::pair(kind.name(), own, program, [near, far], certificates));
    }
    let args = start("bench.yaml", &policy(kind, own, ports))?;
    let title = match kind {
        Kind::TwoHops | Kind::Stages => kind.name().to_owned(),
        _ => format!("**Outrigger {}**", version(&program, &["--version"])?),
    };
    Ok(Recipe::single(title, own, program, args))
}

/// The whole policy file.
fn policy(kind: Kind, own: PeerPorts, ports: &Ports) -> String {
    let behind = [ports.backend_http1, ports.backend_http2];
    let two_hops = kind != Kind::Outrigger;
    let next = if two_hops { own.inner } else { behind };
    let inbound = if two_hops { inbound(own, behind) } else { String::new() };
    let stages = if kind == Kind::Stages { STAGES } else { "" };
    let sidecar = sidecar(&format!("{inbound}{}", outbound(own)), own.admin);
    let services = [service("http1", next[0], "", stages), service("http2", next[1], "", stages)];
    format!("{sidecar}{}", services.concat())
}

/// The policy of a pair's first process.
fn caller(own: PeerPorts, certificates: &Certificates) -> String {
    let listeners = format!("{}{}", identity(&certificates.caller, certificates), outbound(own));
    let sidecar = sidecar(&listeners, own.admin);
    let pinned = format!(", identity: \"{SERVICE}\"");
    let services = [service("http1", own.inner[0], &pinned, ""), service("http2", own.inner[1], &pinned, "")];
    format!("{sidecar}{}", services.concat())
}

/// The policy of a pair's second process, which takes nothing but mutual TLS.
fn callee(own: PeerPorts, ports: &Ports, certificates: &Certificates) -> String {
    let behind = [ports.backend_http1, ports.backend_http2];
    let listeners = format!("{}{}", identity(&certificates.service, certificates), inbound(own, behind));
    let sidecar = sidecar(&listeners, own.inner_admin);
    let pinned = format!(", identity: \"{SERVICE}\"");
    let services = [service("http1", own.inner[0], &pinned, ""), service("http2", own.inner[1], &pinned, "")];
    let mesh = "---
apiVersion: outrigger.dev/v1alpha1
kind: Mesh
metadata: {name: default}
spec:
  mtls: {mode: Strict}
";
    format!("{sidecar}{}{mesh}", services.concat())
}

fn sidecar(spec: &str, admin: u16) -> String {
    format!(
        "apiVersion: outrigger.dev/v1alpha1
kind: Sidecar
metadata: {{name: bench, namespace: bench}}
spec:
{spec}  admin: {{bind: \"127.0.0.1:{admin}\"}}
"
    )
}

fn identity(own: &Own, certificates: &Certificates) -> String {
    let (certificate, key, bundle) = (&own.certificate, &own.key, &certificates.authority);
    format!(
        "  identity:
    files: {{certificate: {certificate:?}, privateKey: {key:?}, trustBundle: {bundle:?}}}
"
    )
}

fn inbound(own: PeerPorts, behind: [u16; 2]) -> String {
    let one = |at: usize, protocol: &str| {
        let (bind, app) = (own.inner[at], behind[at]);
        format!(
            "  - {{bind: \"127.0.0.1:{bind}\", app: \"127.0.0.1:{app}\", protocol: {protocol}, service: {{name: {protocol}, port: 80}}}}\n"
        )
    };
    format!("  inbound:\n{}{}", one(0, "http1"), one(1, "http2"))
}

fn outbound(own: PeerPorts) -> String {
    format!(
        "  outbound:
  - {{bind: \"127.0.0.1:{}\", service: {{name: http1, port: 80}}}}
  - {{bind: \"127.0.0.1:{}\", service: {{name: http2, port: 80}}}}
",
        own.http1, own.http2
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

/// A MeshService named after the protocol that its backend speaks, with its route and its traffic policy; `pinned` is more of
/// its endpoint.
fn service(protocol: &str, backend: u16, pinned: &str, stages: &str) -> String {
    let mut text = format!(
        "---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {{name: {protocol}, namespace: bench}}
spec:
  ports: [{{port: 80, protocol: {protocol}}}]
  endpoints: [{{address: \"127.0.0.1:{backend}\"{pinned}}}]
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
        certificates::Certificates,
    };

    #[test]
    fn the_policy_is_valid_and_holds_what_the_proof_asks_for() {
        let ports = Ports::pick().expect("free ports");
        let dir = tempfile::tempdir().expect("a folder");
        let certificates = Certificates::make(dir.path()).expect("certificates");
        let own = ports.peer[Kind::MtlsPair as usize];
        let single = [Kind::Outrigger, Kind::TwoHops, Kind::Stages];
        let single = single.map(|kind| super::policy(kind, ports.peer[kind as usize], &ports));
        let pair = [super::caller(own, &certificates), super::callee(own, &ports, &certificates)];
        for text in single.into_iter().chain(pair) {
            let text = text.into_bytes();
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
