//! The mesh as the sources tell it: a snapshot for every proxy that may come.
//!
//! It follows from the objects alone, not from the order of their files nor from what was there before, so that two
//! replicas tell the same in the same bytes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use outrigger_config::{Policy, model::ObjectName};

use crate::{
    scope::Scope,
    snapshot::{Interner, Snapshot},
};

/// What every proxy sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct World {
    snapshots: BTreeMap<ObjectName, Arc<Snapshot>>,
}

impl World {
    /// The world of a policy.
    pub(crate) fn of(policy: &Policy, interner: &mut Interner) -> Self {
        let namespaces: BTreeSet<Arc<str>> =
            policy.sidecars().into_iter().map(|sidecar| sidecar.namespace).collect();
        let mut snapshots = BTreeMap::new();
        for namespace in &namespaces {
            let resources = policy.compile_namespace(namespace);
            let made = Snapshot::of_namespace(&resources, interner);
            for (of, snapshot) in resources.into_iter().zip(made) {
                snapshots.insert(of.workload.name, Arc::new(snapshot));
            }
        }
        Self { snapshots }
    }

    /// What a proxy sees; `None` where no Sidecar describes it.
    pub(crate) fn snapshot(&self, scope: &Scope) -> Option<&Arc<Snapshot>> {
        self.snapshots.get(&scope.sidecar)
    }

    /// How many proxies may come.
    pub(crate) fn len(&self) -> usize {
        self.snapshots.len()
    }

    /// This one, with the endpoints of another.
    pub(crate) fn with_endpoints_of(&self, other: &Self) -> Self {
        let both = self.snapshots.iter().map(|(name, own)| match other.snapshots.get(name) {
            Some(theirs) => (name.clone(), Arc::new(own.with_endpoints_of(theirs))),
            None => (name.clone(), own.clone()),
        });
        Self { snapshots: both.collect() }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use outrigger_config::{SourceFile, check, wire::ResourceType};

    use super::*;

    /// Two Sidecars of one namespace, one of another, and what they call.
    pub(crate) const POLICY: &str = r#"
apiVersion: outrigger.dev/v1alpha1
kind: Sidecar
metadata: {name: cart, namespace: shop}
spec: {outbound: [{bind: "127.0.0.1:15001"}]}
---
apiVersion: outrigger.dev/v1alpha1
kind: Sidecar
metadata: {name: reviews, namespace: shop}
spec: {outbound: [{bind: "127.0.0.1:15001"}]}
---
apiVersion: outrigger.dev/v1alpha1
kind: Sidecar
metadata: {name: web, namespace: front}
spec: {outbound: [{bind: "127.0.0.1:15001"}]}
---
apiVersion: outrigger.dev/v1alpha1
kind: MeshService
metadata: {name: reviews, namespace: shop}
spec: {ports: [{port: 80}], endpoints: [{address: "127.0.0.1:9000"}]}
---
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}
"#;

    pub(crate) fn files(texts: &[(&str, &str)]) -> Vec<SourceFile> {
        let file = |(path, text): &(&str, &str)| SourceFile { path: (*path).into(), text: (*text).into() };
        texts.iter().map(file).collect()
    }

    pub(crate) fn world(files: Vec<SourceFile>) -> World {
        let checked = check(files);
        let report = checked.render_text(false);
        World::of(&checked.policy.unwrap_or_else(|| panic!("{report}")), &mut Interner::default())
    }

    pub(crate) fn snapshot(text: &str, sidecar: &str) -> Arc<Snapshot> {
        let (namespace, name) = sidecar.split_once('/').unwrap();
        let scope = Scope { sidecar: ObjectName::new(namespace, name) };
        world(files(&[("policy.yaml", text)])).snapshot(&scope).unwrap().clone()
    }

    #[test]
    fn the_order_of_files_changes_nothing() {
        let documents: Vec<&str> = POLICY.split("---\n").collect();
        let paths: Vec<String> = (0..documents.len()).map(|at| format!("{at}.yaml")).collect();
        let mut all: Vec<(&str, &str)> =
            paths.iter().zip(&documents).map(|(path, text)| (path.as_str(), *text)).collect();
        let forwards = world(files(&all));
        all.reverse();
        assert_eq!(world(files(&all)), forwards);
        assert_eq!(forwards.len(), 3);
    }

    #[test]
    fn a_namespace_shares_what_its_proxies_see() {
        let world = world(files(&[("policy.yaml", POLICY)]));
        let of = |namespace, name| {
            let scope = Scope { sidecar: ObjectName::new(namespace, name) };
            world.snapshot(&scope).unwrap().clone()
        };
        let (cart, reviews, web) = (of("shop", "cart"), of("shop", "reviews"), of("front", "web"));
        let one = |seen: &Arc<Snapshot>, kind, name: &str| seen.find(kind, name).unwrap().clone();
        for kind in [ResourceType::Destination, ResourceType::MeshConfig] {
            let name = if kind == ResourceType::Destination { "shop/reviews" } else { "default" };
            assert!(Arc::ptr_eq(&one(&cart, kind, name), &one(&reviews, kind, name)));
        }
        let endpoints = ResourceType::Endpoints;
        assert!(Arc::ptr_eq(
            &one(&cart, endpoints, "shop/reviews:80"),
            &one(&web, endpoints, "shop/reviews:80")
        ));
        let destination = ResourceType::Destination;
        let (near, far) = (one(&cart, destination, "shop/reviews"), one(&web, destination, "shop/reviews"));
        assert_ne!(near.version, far.version, "the short name holds in its own namespace alone");
    }

    #[test]
    fn endpoints_change_alone() {
        let old = world(files(&[("policy.yaml", POLICY)]));
        let text = POLICY.replace("9000", "9001").replace("15001", "15002");
        let new = world(files(&[("policy.yaml", &text)]));
        let mixed = old.with_endpoints_of(&new);
        let scope = Scope { sidecar: ObjectName::new("shop", "cart") };
        let (old, new, mixed) =
            (old.snapshot(&scope).unwrap(), new.snapshot(&scope).unwrap(), mixed.snapshot(&scope).unwrap());
        let endpoints = ResourceType::Endpoints;
        assert_eq!(mixed.entries(endpoints), new.entries(endpoints));
        assert_ne!(mixed.entries(endpoints), old.entries(endpoints));
        assert_eq!(mixed.entries(ResourceType::Workload), old.entries(ResourceType::Workload));
    }
}
