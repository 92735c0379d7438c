//! The checked policy as others hold it: which Sidecars it has, and the resources for one of them.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    compile,
    diagnostic::Sources,
    model::{ObjectName, Resources},
    objects::Objects,
    suggest,
};

/// The objects of all files, without an error among them.
#[derive(Clone, Debug)]
pub struct Policy {
    objects: Objects,
    sources: Sources,
}

/// Why there are no resources.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// The files hold no Sidecar, so nothing says where to listen.
    #[error("the policy files hold no Sidecar object, which says where to listen")]
    NoSidecar,
    /// The files hold several Sidecars, and none was chosen.
    #[error("the policy files hold several Sidecars; choose one of {}", names(.0))]
    SeveralSidecars(Vec<ObjectName>),
    /// No Sidecar has the name.
    #[error("the policy files hold no Sidecar `{name}`{}; there are: {}", meant(.nearest), names(.present))]
    UnknownSidecar {
        /// The name that was asked for.
        name: ObjectName,
        /// The nearest name that exists.
        nearest: Option<ObjectName>,
        /// Every Sidecar of the files.
        present: Vec<ObjectName>,
    },
}

fn names(names: &[ObjectName]) -> String {
    let shown: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    if shown.is_empty() { "none".to_owned() } else { shown.join(", ") }
}

fn meant(nearest: &Option<ObjectName>) -> String {
    nearest.as_ref().map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default()
}

impl Policy {
    pub(crate) fn new(objects: Objects, sources: Sources) -> Self {
        Self { objects, sources }
    }

    /// The Sidecars, sorted by name.
    pub fn sidecars(&self) -> Vec<ObjectName> {
        let mut names: Vec<_> = self.objects.sidecars.iter().map(|sidecar| sidecar.name.clone()).collect();
        names.sort();
        names
    }

    /// The namespaces in which Services or routes stand, sorted: whoever calls from there may be told something else.
    pub fn namespaces(&self) -> Vec<Arc<str>> {
        let services = self.objects.services.iter().map(|one| &one.name);
        let mesh_services = self.objects.mesh_services.iter().map(|one| &one.name);
        let routes = self.objects.routes.iter().map(|one| &one.name);
        let all = services.chain(mesh_services).chain(routes).map(|name| name.namespace.clone());
        all.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// How many objects of each kind there are; kinds that do not occur are left out.
    pub fn counts(&self) -> Vec<(&'static str, usize)> {
        self.objects.counts()
    }

    /// Everything that the proxy of one Sidecar needs. Without a name, the files must hold exactly one.
    pub fn compile(&self, sidecar: Option<&ObjectName>) -> Result<Resources, CompileError> {
        let all = &self.objects.sidecars;
        let chosen = match (sidecar, all.as_slice()) {
            (None, []) => return Err(CompileError::NoSidecar),
            (None, [only]) => only,
            (None, _) => return Err(CompileError::SeveralSidecars(self.sidecars())),
            (Some(name), _) => {
                all.iter().find(|sidecar| sidecar.name == *name).ok_or_else(|| self.unknown(name))?
            }
        };
        Ok(compile::resources(&self.objects, &self.sources, chosen))
    }

    /// Everything that the proxies of one namespace need, by Sidecar: their destinations are compiled once.
    pub fn compile_namespace(&self, namespace: &Arc<str>) -> Vec<Resources> {
        let shared = compile::Shared::new(&self.objects, &self.sources, namespace);
        let own = self.objects.sidecars.iter().filter(|sidecar| sidecar.name.namespace == *namespace);
        own.map(|sidecar| shared.resources(sidecar)).collect()
    }

    fn unknown(&self, name: &ObjectName) -> CompileError {
        let present = self.sidecars();
        let shown: Vec<String> = present.iter().map(ToString::to_string).collect();
        let near = suggest::nearest(&name.to_string(), shown.iter().map(String::as_str)).map(str::to_owned);
        let nearest = present.iter().find(|candidate| Some(candidate.to_string()) == near).cloned();
        CompileError::UnknownSidecar { name: name.clone(), nearest, present }
    }
}
