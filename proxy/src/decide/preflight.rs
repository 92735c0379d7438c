//! Whose cross-origin policy answers a preflight: that of the rule, or of the backend, which would get the request that
//! the preflight asks about. Where that has none, the preflight is a request like any other.

use std::sync::Arc;

use super::{Decision, Facts, Head, Recorder, choose};
use crate::{
    policy::cors::{self, Cors},
    runtime::snapshot::{Port, Rule},
};

/// A preflight that is answered for its rule.
#[derive(Clone, Debug)]
pub struct Preflight {
    /// The rule that holds.
    pub rule: Arc<Rule>,
    /// The backend whose policy it is; `None`: the rule's own.
    backend: Option<usize>,
}

impl Preflight {
    /// The policy that answers.
    pub(crate) fn cors(&self) -> Option<&Cors> {
        match self.backend {
            Some(index) => self.rule.backends[index].cors.as_deref(),
            None => self.rule.cors.as_deref(),
        }
    }
}

/// The answer to a preflight; `None`: it is none, or nobody answers it.
///
/// The method that it asks about comes first, since it is the other request's rule that counts; then its own, for rules
/// that are written for OPTIONS. Conditions on headers see those of the preflight, which has none of the other's.
pub(super) fn answer<R: Recorder>(
    port: &Port,
    head: &Head<'_>,
    facts: &Facts<'_>,
    recorder: &mut R,
) -> Option<Decision> {
    let method = cors::asked(head)?;
    let routes = port.routes.as_ref()?;
    for head in [&Head { method: &method, ..*head }, head] {
        let Some((rule, backend)) = routes.find(head).and_then(|rule| holder(rule, facts)) else { continue };
        if R::EVERYTHING {
            routes.record_all(head, recorder);
        }
        recorder.rule(rule, backend);
        return Some(Decision::Preflight(Preflight { rule: rule.clone(), backend }));
    }
    None
}

fn holder<'a>(rule: &'a Arc<Rule>, facts: &Facts<'_>) -> Option<(&'a Arc<Rule>, Option<usize>)> {
    if rule.cors.is_some() {
        return Some((rule, None));
    }
    let index = choose(rule, facts)?;
    let backend = &rule.backends[index];
    (backend.cors.is_some() && backend.target.is_ok()).then_some((rule, Some(index)))
}
