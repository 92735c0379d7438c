//! The session of a request in words. What its token says is what the decision read in it.

use outrigger_config::model::RouteRule;

use super::report::Session;
use crate::{decide::Decision, telemetry::metrics::SessionOutcome};

/// The session, where the rule has sessions and some backend gets the request.
pub(super) fn told(decision: &Decision, source: Option<&RouteRule>) -> Option<Session> {
    let Decision::Forward(forward) = decision else { return None };
    let (session, visit, _) = forward.session()?;
    let backend = visit.backend.and_then(|index| forward.rule.backends[index].target.as_ref().ok());
    let backend = backend.map(|backend| backend.label.to_string());
    let endpoint = visit.endpoint.map(|endpoint| endpoint.to_string());
    let why = match (visit.outcome, &backend, &endpoint) {
        (SessionOutcome::Kept, Some(backend), Some(endpoint)) => {
            format!("it stays with {endpoint} of {backend}, whatever the weights")
        }
        (SessionOutcome::Expired, ..) => "it has lasted for absoluteTimeout, so a new one begins".to_owned(),
        (SessionOutcome::Idle, ..) => "it was unused for idleTimeout, so a new one begins".to_owned(),
        (SessionOutcome::Gone, Some(backend), _) => {
            format!("its endpoint is gone, so a new one begins with another endpoint of {backend}")
        }
        (SessionOutcome::Gone, ..) => "its endpoint is gone, so a new one begins".to_owned(),
        (SessionOutcome::Invalid, ..) => "its token is none of this rule, so a new one begins".to_owned(),
        _ => "the request has no token, so a new one begins".to_owned(),
    };
    Some(Session {
        name: session.name().to_owned(),
        origin: source.and_then(|rule| rule.session.as_ref()).map(|session| session.origin.to_string()),
        outcome: visit.outcome.as_str(),
        why,
        backend,
        endpoint,
        given: session.shown(visit, "...").map(|(name, value)| (name.to_string(), value)),
    })
}
