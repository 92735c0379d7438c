//! Who is sent elsewhere, and by what: the redirect of a rule, which has no backends then, or that of the backend which the
//! request drew.

use std::sync::Arc;

use crate::{
    policy::cors::Cors,
    route::{Modifier, Redirection},
    runtime::snapshot::{Rule, WeightedBackend},
};

/// A request that is answered with a redirect.
#[derive(Clone, Debug)]
pub struct Redirected {
    /// The rule that holds.
    pub rule: Arc<Rule>,
    /// The backend whose redirect it is; `None`: the rule's own.
    pub(super) backend: Option<usize>,
}

impl Redirected {
    /// The redirect.
    pub(crate) fn redirection(&self) -> Option<&Redirection> {
        match self.weighted() {
            Some(backend) => backend.redirect.as_deref(),
            None => self.rule.redirect.as_deref(),
        }
    }

    /// Changes to the answer's header: the backend's, then the rule's.
    pub(crate) fn response_headers(&self) -> impl Iterator<Item = &Modifier> {
        let of_backend = self.weighted().into_iter().flat_map(|backend| &backend.response_headers);
        of_backend.chain(&self.rule.response_headers)
    }

    /// Whether it is that of one share of the rule's requests.
    pub(crate) fn is_of_backend(&self) -> bool {
        self.backend.is_some()
    }

    pub(super) fn cors(&self) -> Option<&Cors> {
        let of_backend = self.weighted().and_then(|backend| backend.cors.as_deref());
        of_backend.or(self.rule.cors.as_deref())
    }

    fn weighted(&self) -> Option<&WeightedBackend> {
        self.backend.map(|index| &self.rule.backends[index])
    }
}
