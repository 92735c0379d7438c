//! The listener by which a request comes.

use outrigger_config::model::ServicePort;

use super::{Door, ExplainError, Explainer, Object, Question, resolution};
use crate::runtime::snapshot::{ListenerKey, Outbound, OutboundTarget};

/// One request on its way: what is known of it so far.
pub(super) struct Way<'a> {
    pub(super) question: &'a Question,
    pub(super) listener: ListenerKey,
    /// The Service behind an inbound listener.
    pub(super) behind: Option<&'a ServicePort>,
    pub(super) door: Object,
}

impl Explainer {
    /// Finds it.
    pub(super) fn way<'a>(&'a self, question: &'a Question) -> Result<Way<'a>, ExplainError> {
        let (outbound, inbound) = (&self.snapshot.outbound, &self.snapshot.inbound);
        let by_authority = |one: &&Outbound| matches!(one.target, OutboundTarget::ByAuthority);
        let out = match question.door {
            Door::Outbound => outbound.iter().find(by_authority).or(outbound.first()),
            Door::Inbound => None,
            Door::At(bind) => outbound.iter().find(|one| one.source.bind == bind),
        };
        if let Some(found) = out {
            if matches!(&found.target, OutboundTarget::Pinned(port) if port.opaque.is_some()) {
                return Err(ExplainError::Opaque(found.source.bind));
            }
            let door = resolution::object(found.source.bind, &found.source.origin);
            return Ok(Way { question, listener: found.key, behind: None, door });
        }
        let found = match question.door {
            Door::Outbound => None,
            Door::Inbound => inbound.first(),
            Door::At(bind) => inbound.iter().find(|one| one.source.bind == bind),
        };
        let found = found.ok_or_else(|| self.no_listener(question.door))?;
        if found.opaque.is_some() {
            return Err(ExplainError::Opaque(found.source.bind));
        }
        let door = resolution::object(found.source.bind, &found.source.origin);
        Ok(Way { question, listener: found.key, behind: found.source.service.as_ref(), door })
    }

    fn no_listener(&self, door: Door) -> ExplainError {
        let workload = &self.resources.workload;
        let outbound = workload.outbound.iter().map(|one| format!("outbound {}", one.bind));
        let inbound = workload.inbound.iter().map(|one| format!("inbound {}", one.bind));
        let present: Vec<String> = outbound.chain(inbound).collect();
        ExplainError::NoListener {
            sidecar: workload.name.to_string(),
            wanted: match door {
                Door::Outbound => "outbound listener; --inbound asks for requests to the app".to_owned(),
                Door::Inbound => "inbound listener".to_owned(),
                Door::At(bind) => format!("listener on {bind}"),
            },
            present: if present.is_empty() { "none".to_owned() } else { present.join(", ") },
        }
    }
}
