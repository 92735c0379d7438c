//! A proxy's side of a discovery stream, as a state machine: answers in, acknowledgements and whole policies out. No
//! socket, no clock.
//!
//! It outlives its streams: what a proxy has it names to the next control plane, which tells it what differs. A resource that
//! cannot be used is refused by name and the former one stays; the others of the same answer are taken.

use std::collections::BTreeMap;

use outrigger_config::{
    model::{ObjectName, Resources},
    wire::{DecodeError, DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node, ResourceType, Status},
};

use super::{
    prepare::Came,
    resources::{Former, Held},
};

/// `INVALID_ARGUMENT` of google.rpc.Code.
const INVALID_ARGUMENT: i32 = 3;

/// Errors that one refusal names; there may be thousands.
const NAMED_ERRORS: usize = 20;

/// What came of one answer, until it is acknowledged.
#[derive(Debug)]
pub(super) struct Heard {
    kind: ResourceType,
    nonce: String,
    /// What was replaced, by which it can be put back.
    former: Vec<Former>,
    errors: Vec<DecodeError>,
    /// Whether the proxy has something else than before.
    changed: bool,
}

/// An answer that makes no sense: the stream has to end.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Nonsense {
    /// A type that was not asked for.
    #[error("the control plane sends resources of type `{0}`, for which nobody asked")]
    Type(String),
}

/// What a proxy has and what it has said.
#[derive(Debug)]
pub(super) struct Session {
    sidecar: String,
    held: Held,
    /// What is refused at the moment: the newest of each was of no use.
    refusals: BTreeMap<(ResourceType, String), DecodeError>,
    /// This stream has told everything: its first answer about the Workload is here.
    current: bool,
}

impl Session {
    /// A proxy with what it has from before.
    pub(super) fn new(sidecar: &ObjectName, held: Held) -> Self {
        Self { sidecar: sidecar.to_string(), held, refusals: BTreeMap::new(), current: false }
    }

    /// What the proxy has.
    pub(super) fn held(&self) -> &Held {
        &self.held
    }

    /// Whether this stream has told everything that it had to tell at first.
    pub(super) fn is_current(&self) -> bool {
        self.current
    }

    /// A stream begins: asks for everything of every type, and names what is here.
    pub(super) fn open(&mut self) -> Vec<DeltaDiscoveryRequest> {
        self.current = false;
        let node =
            Node { id: self.sidecar.clone(), user_agent_name: "outrigger".to_owned(), ..Node::default() };
        let ask = |kind: ResourceType| DeltaDiscoveryRequest {
            node: Some(node.clone()),
            type_url: kind.type_url().to_owned(),
            resource_names_subscribe: vec!["*".to_owned()],
            initial_resource_versions: self.held.versions(kind),
            ..DeltaDiscoveryRequest::default()
        };
        ResourceType::ALL.into_iter().map(ask).collect()
    }

    /// The stream has ended.
    pub(super) fn close(&mut self) {
        self.current = false;
    }

    /// Takes an answer.
    ///
    /// # Errors
    /// It is no answer to what was asked.
    pub(super) fn hear(&mut self, answer: DeltaDiscoveryResponse) -> Result<Heard, Nonsense> {
        let Some(kind) = ResourceType::of_type_url(&answer.type_url) else {
            return Err(Nonsense::Type(answer.type_url.chars().take(200).collect()));
        };
        let mut heard =
            Heard { kind, nonce: answer.nonce, former: Vec::new(), errors: Vec::new(), changed: false };
        for resource in &answer.resources {
            match self.held.put(kind, resource) {
                Ok(former) => {
                    self.refusals.remove(&(kind, former.name.clone()));
                    heard.former.push(former);
                }
                Err(error) => {
                    self.refusals.insert((kind, error.resource.clone()), error.clone());
                    heard.errors.push(error);
                }
            }
        }
        for name in &answer.removed_resources {
            // A Sidecar that is gone says nothing about the app that is not: its proxy serves on with what it has.
            if kind == ResourceType::Workload {
                tracing::warn!("no Sidecar `{name}` is left in the mesh; this proxy keeps its policy");
                continue;
            }
            self.held.remove(kind, name);
            self.refusals.remove(&(kind, name.clone()));
            heard.changed = true;
        }
        heard.changed |= !heard.former.is_empty();
        self.current |= kind == ResourceType::Workload;
        Ok(heard)
    }

    /// The policy to use; `None` while it is not whole.
    pub(super) fn whole(&self) -> Option<Resources> {
        let destinations = self.refusals.keys().filter(|(kind, _)| *kind == ResourceType::Destination);
        self.held.whole(&self.sidecar, &destinations.map(|(_, name)| name.as_str()).collect())
    }

    /// What is refused at the moment; the former ones, where there are any, are in use.
    pub(super) fn refusals(&self) -> impl Iterator<Item = &DecodeError> {
        self.refusals.values()
    }

    /// What an answer brought and could be read, to be judged.
    pub(super) fn came(&self, heard: &Heard) -> Option<Came> {
        let names: Vec<&str> = heard.former.iter().map(|former| former.name.as_str()).collect();
        self.held.of_names(heard.kind, &names)
    }

    /// Refuses resources that an answer brought, and puts their former ones back.
    pub(super) fn refuse(&mut self, heard: &mut Heard, errors: Vec<DecodeError>) {
        for error in errors {
            if let Some(former) = heard.former.iter().find(|former| former.name == error.resource) {
                self.held.restore(former);
            }
            self.refusals.insert((error.kind, error.resource.clone()), error.clone());
            heard.errors.push(error);
        }
    }
}

impl Heard {
    /// Their type.
    pub(super) fn kind(&self) -> ResourceType {
        self.kind
    }

    /// Whether the proxy has something else than before it.
    pub(super) fn changed(&self) -> bool {
        self.changed
    }

    /// Says of all that came that it is not in use, and why. It stays, to be tried again.
    pub(super) fn not_in_use(&mut self, why: &str) {
        let (kind, field, reason) = (self.kind, String::new(), why.to_owned());
        let all = self.former.iter().map(|former| former.name.clone());
        let error = |resource| DecodeError { kind, resource, field: field.clone(), reason: reason.clone() };
        self.errors.extend(all.map(error));
    }

    /// What is refused.
    pub(super) fn errors(&self) -> &[DecodeError] {
        &self.errors
    }

    /// The acknowledgement, or the refusal of what is refused.
    pub(super) fn answer(&self) -> DeltaDiscoveryRequest {
        let error_detail = (!self.errors.is_empty()).then(|| {
            let mut named: Vec<String> =
                self.errors.iter().take(NAMED_ERRORS).map(ToString::to_string).collect();
            if let Some(more) = self.errors.len().checked_sub(NAMED_ERRORS).filter(|more| *more > 0) {
                named.push(format!("and {more} more"));
            }
            Status { code: INVALID_ARGUMENT, message: named.join("; "), details: Vec::new() }
        });
        DeltaDiscoveryRequest {
            type_url: self.kind.type_url().to_owned(),
            response_nonce: self.nonce.clone(),
            error_detail,
            ..DeltaDiscoveryRequest::default()
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
