//! The listener by which a request or a connection comes.

use std::net::SocketAddr;

use outrigger_config::model::ServicePort;

use super::{Door, ExplainError, Explainer, Object, Question, resolution};
use crate::{
    decide::{self, ConnectionFacts, Heard, Opening, Silent},
    runtime::snapshot::{ListenerKey, Outbound, OutboundTarget},
};

/// The listener by which something comes.
pub(super) struct Entrance<'a> {
    pub(super) listener: ListenerKey,
    /// The Service behind an inbound listener.
    pub(super) behind: Option<&'a ServicePort>,
    pub(super) door: Object,
    bind: SocketAddr,
}

/// One request on its way: what is known of it so far.
pub(super) struct Way<'a> {
    pub(super) question: &'a Question,
    pub(super) listener: ListenerKey,
    /// The Service behind an inbound listener.
    pub(super) behind: Option<&'a ServicePort>,
    pub(super) door: Object,
}

impl Explainer {
    /// Finds the listener of a request, if it takes requests.
    pub(super) fn way<'a>(&'a self, question: &'a Question) -> Result<Way<'a>, ExplainError> {
        let Entrance { listener, behind, door, bind } =
            self.entrance(question.door, question.original_destination)?;
        let facts = ConnectionFacts {
            original_destination: question.original_destination,
            peer: question.peer,
            identity: self.authenticated(question.from.as_ref(), listener.side),
            heard: Heard::Nothing,
            dice: 0,
        };
        match decide::connection(&self.snapshot, listener, &facts, &mut Silent) {
            Opening::Http | Opening::Detect(_) => Ok(Way { question, listener, behind, door }),
            Opening::ReadHello | Opening::Await(_) | Opening::Pass(_) | Opening::Refuse { .. } => {
                Err(ExplainError::Opaque(bind, format!("tcp://{}", question.destination())))
            }
        }
    }

    /// Finds a listener, by which somebody comes who dialled another address if there is one.
    pub(super) fn entrance(
        &self,
        door: Door,
        dialled: Option<SocketAddr>,
    ) -> Result<Entrance<'_>, ExplainError> {
        let (outbound, inbound) = (&self.snapshot.outbound, &self.snapshot.inbound);
        let by_authority = |one: &&Outbound| matches!(one.target, OutboundTarget::ByAuthority);
        let out = match door {
            Door::Outbound => outbound.iter().find(by_authority).or(outbound.first()),
            Door::Inbound => None,
            Door::At(bind) => outbound.iter().find(|one| one.source.bind == bind),
        };
        if let Some(found) = out {
            let bind = found.source.bind;
            let door = resolution::object(bind, &found.source.origin);
            return Ok(Entrance { listener: found.key, behind: None, door, bind });
        }
        let found = match door {
            Door::Outbound => None,
            Door::Inbound => inbound.first(),
            Door::At(bind) => inbound.iter().find(|one| one.source.bind == bind),
        };
        let found = found.ok_or_else(|| {
            self.no_listener(match door {
                Door::Outbound => "outbound listener; --inbound asks for what comes to the app".to_owned(),
                Door::Inbound => "inbound listener".to_owned(),
                Door::At(bind) => format!("listener on {bind}"),
            })
        })?;
        let bind = found.source.bind;
        let behind = found.source.service(dialled.map(|address| address.port()));
        let door = resolution::object(bind, &found.source.origin);
        Ok(Entrance { listener: found.key, behind, door, bind })
    }

    /// The error of a listener that is not there.
    pub(super) fn no_listener(&self, wanted: String) -> ExplainError {
        let workload = &self.resources.workload;
        let outbound = workload.outbound.iter().map(|one| format!("outbound {}", one.bind));
        let inbound = workload.inbound.iter().map(|one| format!("inbound {}", one.bind));
        let present: Vec<String> = outbound.chain(inbound).collect();
        ExplainError::NoListener {
            sidecar: workload.name.to_string(),
            wanted,
            present: if present.is_empty() { "none".to_owned() } else { present.join(", ") },
        }
    }
}
