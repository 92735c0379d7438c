//! What one proxy may see: its own Workload, and what its namespace may call. Nothing of other proxies.

use outrigger_config::{
    model::ObjectName,
    wire::{Node, ResourceType},
};

/// Who a proxy is, which decides what it may see.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Scope {
    /// The Sidecar that describes the proxy. Its namespace is the caller namespace.
    pub(crate) sidecar: ObjectName,
}

/// Bytes of the longest node id: two names of Kubernetes and a slash.
const LONGEST: usize = 2 * 253 + 1;

impl Scope {
    /// The scope of a node: its id is `namespace/name` of a Sidecar.
    ///
    /// # Errors
    /// What is wrong with the id.
    pub(crate) fn of(node: &Node) -> Result<Self, String> {
        let id = node.id.get(..LONGEST.min(node.id.len())).unwrap_or_default();
        match id.split_once('/') {
            Some((namespace, name))
                if id == node.id && !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
            {
                Ok(Self { sidecar: ObjectName::new(namespace, name) })
            }
            _ => Err("node.id must be NAMESPACE/NAME of a Sidecar, such as shop/cart".to_owned()),
        }
    }

    /// Whether a resource is this proxy's to see, as far as the type and the name alone tell.
    pub(crate) fn may_see(&self, kind: ResourceType, name: &str) -> bool {
        match kind {
            ResourceType::Workload => name == self.sidecar.to_string(),
            ResourceType::MeshConfig | ResourceType::Destination | ResourceType::Endpoints => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(id: &str) -> Result<Scope, String> {
        Scope::of(&Node { id: id.to_owned(), ..Node::default() })
    }

    #[test]
    fn a_node_is_a_sidecar_of_a_namespace() {
        let scope = of("shop/cart").unwrap();
        assert_eq!(scope.sidecar, ObjectName::new("shop", "cart"));
        for id in ["", "cart", "/cart", "shop/", "a/b/c", &format!("a/{}", "é".repeat(600))] {
            assert!(of(id).is_err(), "{id}");
        }
    }

    #[test]
    fn a_proxy_sees_no_other_workload() {
        let scope = of("shop/cart").unwrap();
        assert!(scope.may_see(ResourceType::Workload, "shop/cart"));
        assert!(!scope.may_see(ResourceType::Workload, "shop/reviews"));
        assert!(scope.may_see(ResourceType::Destination, "shop/reviews"));
    }
}
