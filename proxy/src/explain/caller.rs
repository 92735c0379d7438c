//! Who calls, what can be known of it, and what depends on it.

use std::net::SocketAddr;

use outrigger_config::{
    SpiffeId,
    model::{MtlsMode, Workload},
};

use super::{Explainer, Identity, door::Way};
use crate::{ctx::Side, exchange::Came, runtime::snapshot::ListenerKey};

impl Explainer {
    /// What the identity of a caller changes.
    pub(super) fn identity(&self, id: &SpiffeId, by: (ListenerKey, Option<SocketAddr>)) -> Identity {
        let Workload { name, .. } = &self.resources.workload;
        let own = self.own_identity();
        let effect = match by.0.side {
            Side::Inbound if self.resources.workload.identity.is_none() => {
                "not looked at: this Sidecar has no identity, so nobody can show it one".to_owned()
            }
            Side::Inbound => match self.mode(by) {
                MtlsMode::Strict => "shown by its certificate; without one it would be refused".to_owned(),
                MtlsMode::Permissive | MtlsMode::Disabled => {
                    "shown by its certificate; without one it would be let in as anonymous".to_owned()
                }
            },
            Side::Outbound if own == *id => {
                format!("this Sidecar's own; it sees the routes of namespace {}", name.namespace)
            }
            Side::Outbound => format!("not looked at: what this Sidecar's app sends comes from {own}"),
        };
        Identity { spiffe_id: id.to_string(), effect }
    }

    /// Who calls, where that can be proved: by callers of the app, to a proxy that has an identity itself.
    pub(super) fn authenticated<'q>(&self, from: Option<&'q SpiffeId>, side: Side) -> Option<&'q SpiffeId> {
        from.filter(|_| side == Side::Inbound && self.resources.workload.identity.is_some())
    }

    /// As whom the proxy before a service sees the caller.
    pub(super) fn seen_as(&self, way: &Way<'_>) -> Option<SpiffeId> {
        match way.listener.side {
            Side::Inbound => self.authenticated(way.question.from.as_ref(), Side::Inbound).cloned(),
            Side::Outbound => self.resources.workload.identity.as_ref().map(|_| self.own_identity()),
        }
    }

    /// How the request of a question comes in.
    pub(super) fn came(&self, way: &Way<'_>) -> Came {
        let Way { question, listener, .. } = *way;
        let authenticated = self.authenticated(question.from.as_ref(), listener.side).is_some();
        Came { listener, body_ended: question.body_ended(), authenticated }
    }

    fn own_identity(&self) -> SpiffeId {
        let Workload { name, service_account, .. } = &self.resources.workload;
        SpiffeId::of_account(&self.resources.mesh.trust_domain, &name.namespace, service_account)
    }

    fn mode(&self, (listener, dialled): (ListenerKey, Option<SocketAddr>)) -> MtlsMode {
        let app = self.snapshot.inbound(listener).and_then(|listener| listener.app(dialled));
        app.map(|app| app.mtls).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use outrigger_config::SpiffeId;

    use crate::{
        explain::{ConnectionQuestion, Door, Explainer, Question, Report},
        runtime::fixture,
    };

    const STRICT: &str = r#"apiVersion: outrigger.dev/v1alpha1
kind: Sidecar
metadata: {name: cart, namespace: shop}
spec:
  inbound: [{bind: "127.0.0.1:8080", app: "127.0.0.1:3000", protocol: http1}, {bind: "127.0.0.1:8081", app: "127.0.0.1:3001", protocol: tcp}]
  identity: {files: {certificate: c.pem, privateKey: k.pem, trustBundle: ca.pem}}
---
apiVersion: outrigger.dev/v1alpha1
kind: Mesh
metadata: {name: default}
spec: {mtls: {mode: Strict}}
"#;

    fn explain(policy: &str, from: Option<&str>) -> Report {
        let mut question = Question::new("GET", "http://cart/").unwrap();
        question.door = Door::Inbound;
        question.from = from.map(|id| SpiffeId::parse(id).unwrap());
        Explainer::new(fixture::resources(policy)).unwrap().explain(&question).unwrap()
    }

    #[test]
    fn who_calls_decides_where_the_mode_is_strict() {
        let web = "spiffe://cluster.local/ns/shop/sa/web";
        let anonymous = explain(STRICT, None);
        let text = anonymous.to_text(false);
        assert!(anonymous.refuses() && text.contains("401") && text.contains("no_identity"), "{text}");
        let known = explain(STRICT, Some(web));
        assert!(!known.refuses());
        let effect = known.request.from.unwrap().effect;
        assert_eq!(effect, "shown by its certificate; without one it would be refused");
        let permissive = STRICT.replace("Strict", "Permissive");
        assert!(!explain(&permissive, None).refuses());
        let effect = explain(&permissive, Some(web)).request.from.unwrap().effect;
        assert_eq!(effect, "shown by its certificate; without one it would be let in as anonymous");
    }

    #[test]
    fn a_connection_is_refused_as_its_protocol_has_it() {
        let explainer = Explainer::new(fixture::resources(STRICT)).unwrap();
        for (url, by) in [("tcp://cart:80", "a reset"), ("tls://cart", "the alert certificate_required")] {
            let mut question = ConnectionQuestion::new(url).unwrap();
            question.door = Some(Door::At("127.0.0.1:8081".parse().unwrap()));
            let report = explainer.explain_connection(&question).unwrap();
            let text = report.to_text(false);
            assert!(report.refuses() && text.contains(by) && text.contains("no_identity"), "{text}");
            question.from = Some(SpiffeId::parse("spiffe://cluster.local/ns/shop/sa/web").unwrap());
            assert!(!explainer.explain_connection(&question).unwrap().refuses());
        }
    }
}
