//! How endpoints are spoken to, as the data path's own function decides it: by mutual TLS, to whom; or in plaintext, and why.

use outrigger_config::model::{self, ServicePort};

use super::super::{Explainer, report::Security, resolution};
use crate::upstream::security::{self, Means, Why};

impl Explainer {
    /// How endpoints of a Service port are spoken to.
    pub(in crate::explain) fn security(&self, port: &ServicePort) -> impl Fn(&model::Endpoint) -> Security {
        let own = self.resources.workload.identity.as_ref();
        let of = resolution::destination(&self.resources, port);
        let outward = of.and_then(|of| of.tls.as_ref());
        let mode = of.and_then(|of| of.ports.iter().find(|one| one.port == port.port)).map(|one| one.mtls);
        move |endpoint| {
            let peer = endpoint.identity.as_ref();
            let (by, why) = match security::choose(own, peer, mode.unwrap_or_default(), outward) {
                Means::Mesh { .. } => ("mtls", None),
                Means::Outward(_) => ("tls", None),
                Means::Plain(why) => ("plaintext", Some(why.text())),
            };
            let told = own.is_some() || peer.is_some();
            Security { by, identity: peer.map(ToString::to_string), why, told }
        }
    }

    /// How the app behind this proxy is spoken to.
    pub(in crate::explain) fn to_app() -> Security {
        Security { by: "plaintext", identity: None, why: Some(Why::NoEndpoint.text()), told: false }
    }
}

/// As text, where that is worth saying.
pub(in crate::explain) fn words(security: &Security) -> String {
    match (security.by, &security.identity, security.why) {
        ("mtls", Some(identity), _) => format!(", mTLS to {identity}"),
        ("plaintext", _, Some(why)) if security.told => format!(", plaintext: {why}"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::*;
    use crate::runtime::fixture;

    const POLICY: &str = r#"apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {name: cart, namespace: shop}
spec:
  ports: [{port: 80}]
  endpoints:
  - {address: "10.0.0.2:80", identity: spiffe://cluster.local/ns/shop/sa/cart}
  - {address: "10.0.0.3:80"}
---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {name: old, namespace: shop}
spec: {ports: [{port: 80}], endpoints: [{address: "10.0.0.4:80", identity: spiffe://cluster.local/ns/shop/sa/old}]}
---
apiVersion: outrigger.dev/v1alpha1
kind: Mesh
metadata: {name: default}
spec: {mtls: {ports: [{service: {name: old, namespace: shop}, port: 80, mode: Disabled}]}}
---
apiVersion: outrigger.dev/v1alpha1
kind: Sidecar
metadata: {name: web, namespace: shop}
spec:
  outbound: [{bind: "127.0.0.1:15001"}]
"#;
    const IDENTITY: &str =
        "  identity: {files: {certificate: c.pem, privateKey: k.pem, trustBundle: ca.pem}}\n";

    fn text(policy: &str, url: &str) -> String {
        let question = Question::new("GET", url).unwrap();
        let report = Explainer::new(fixture::resources(policy)).unwrap().explain(&question).unwrap();
        report.to_text(false)
    }

    #[test]
    fn each_endpoint_says_how_it_is_spoken_to() {
        let with_identity = format!("{POLICY}{IDENTITY}");
        for (policy, url, wanted) in [
            (
                &*with_identity,
                "http://cart/",
                "10.0.0.2:80, mTLS to spiffe://cluster.local/ns/shop/sa/cart  (",
            ),
            (&with_identity, "http://cart/", "10.0.0.3:80, plaintext: the endpoint has no identity  ("),
            (
                &with_identity,
                "http://10.0.0.2/",
                "10.0.0.2:80, mTLS to spiffe://cluster.local/ns/shop/sa/cart  (",
            ),
            (&with_identity, "http://old/", "10.0.0.4:80, plaintext: mutual TLS is Disabled for the port  ("),
            (POLICY, "http://cart/", "10.0.0.2:80, plaintext: this Sidecar has no identity  ("),
            // Nobody here could do better: it goes without saying.
            (POLICY, "http://cart/", "10.0.0.3:80  ("),
        ] {
            let text = text(policy, url);
            assert!(text.contains(wanted), "{url}: {wanted}\n{text}");
        }
    }
}
