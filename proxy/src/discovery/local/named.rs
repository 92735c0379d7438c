//! Which files each of the last policies names (certificates, keys), so that a change of one of them is noticed as a
//! change of the policy is.
//!
//! The files of an identity in use are none of them: they are followed by themselves, since they change all the time.

use std::{path::PathBuf, sync::Arc};

use outrigger_config::model::Resources;

use crate::identity::Identity;

/// The files that resources name, in their order, each once.
pub(in crate::discovery) fn paths(resources: &Resources) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = Vec::new();
    let tls = resources.destinations.iter().filter_map(|destination| destination.tls.as_ref());
    for (_, file) in tls.flat_map(|tls| tls.files()) {
        let path = file.located();
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    paths
}

/// What one policy names.
#[derive(Clone, Debug)]
struct Names {
    policy: u64,
    paths: Vec<PathBuf>,
    identity: Option<Arc<Identity>>,
}

/// What the policy in use names, and the one that was looked at last; each policy by its own signature.
#[derive(Debug, Default)]
pub(super) struct Named {
    in_use: Option<Names>,
    judged: Option<Names>,
}

impl Named {
    /// A policy names these files, and makes the proxy this.
    pub(super) fn judge(&mut self, policy: u64, paths: Vec<PathBuf>, identity: Option<Arc<Identity>>) {
        self.judged = Some(Names { policy, paths, identity });
    }

    /// The policy that was judged last is in use.
    pub(super) fn take_up(&mut self) {
        self.in_use.clone_from(&self.judged);
    }

    /// Who the proxy is under the policy in use.
    pub(super) fn identity(&self) -> Option<Arc<Identity>> {
        self.in_use.as_ref()?.identity.clone()
    }

    /// What a policy names, as far as it is known: nothing of one that was not judged.
    pub(super) fn of(&self, policy: u64) -> Vec<PathBuf> {
        let known = [&self.judged, &self.in_use].into_iter().flatten().find(|names| names.policy == policy);
        known.map(|names| names.paths.clone()).unwrap_or_default()
    }

    /// Every file whose change matters.
    pub(super) fn all(&self) -> Vec<PathBuf> {
        [&self.in_use, &self.judged].into_iter().flatten().flat_map(|names| names.paths.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_in_use_is_known_while_others_are_judged() {
        let mut named = Named::default();
        named.judge(1, vec!["a".into()], None);
        named.take_up();
        named.judge(2, vec!["b".into()], None);
        named.judge(3, Vec::new(), None);
        assert_eq!(named.of(1), [PathBuf::from("a")]);
        assert!(named.of(2).is_empty());
        assert_eq!(named.all(), [PathBuf::from("a")]);
    }
}
