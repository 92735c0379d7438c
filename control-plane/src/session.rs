//! One stream of one proxy, as a state machine: requests and snapshots in, answers out. No socket, no clock.
//!
//! One answer of each type is outstanding at most: a proxy that is slow holds up itself, and gets the newest when it asks
//! again. A proxy's own Workload comes first when everything that it may point at is there, so whoever has a Workload has a
//! whole policy.

use std::collections::BTreeMap;

use outrigger_config::wire::{
    Any, ControlPlane, DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource, ResourceType, Status,
};

use crate::{
    delta::{Delta, Subscriptions, TooMany},
    scope::Scope,
    snapshot::Snapshot,
};

/// Why a stream is ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The first request does not say who asks, or the id is none.
    Node(String),
    /// Not one of our types.
    UnknownType(String),
    /// A nonce that was never given, or was answered before.
    Nonce(String),
    /// More names than a stream may ask for.
    TooManyNames,
}

impl Refusal {
    /// The reason as metrics have it.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Node(_) => "node",
            Self::UnknownType(_) => "unknown_type",
            Self::Nonce(_) => "nonce",
            Self::TooManyNames => "too_many_names",
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Node(why) => f.write_str(why),
            Self::UnknownType(url) => {
                let known: Vec<&str> = ResourceType::ALL.into_iter().map(ResourceType::type_url).collect();
                write!(f, "no resources of type `{url}` here; there are: {}", known.join(", "))
            }
            Self::Nonce(nonce) => {
                write!(f, "response_nonce `{nonce}` is not that of the answer that is outstanding")
            }
            Self::TooManyNames => write!(f, "more than {} names of one type", crate::delta::MOST_NAMES),
        }
    }
}

/// What a request said about the answer before.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Nothing: it asks.
    Asked,
    /// It is taken.
    Acked(ResourceType),
    /// Some of it is not; what was wrong.
    Nacked(ResourceType, String),
}

/// One type on the stream.
#[derive(Debug)]
struct Channel {
    asks: Subscriptions,
    outstanding: Option<String>,
}

/// One stream.
#[derive(Debug)]
pub(crate) struct Session {
    identifier: String,
    scope: Option<Scope>,
    channels: BTreeMap<ResourceType, Channel>,
    answers: u64,
    /// The Workload was sent once: everything before it was there.
    whole: bool,
}

impl Session {
    /// A stream on which nothing was said. `identifier` names this control plane.
    pub(crate) fn new(identifier: String) -> Self {
        Self { identifier, scope: None, channels: BTreeMap::new(), answers: 0, whole: false }
    }

    /// Who is at the other end; `None` until it has said so.
    pub(crate) fn scope(&self) -> Option<&Scope> {
        self.scope.as_ref()
    }

    /// Who a request comes from. It is said once, in the first.
    ///
    /// # Errors
    /// Nobody that may ask.
    pub(crate) fn introduce(&mut self, request: &DeltaDiscoveryRequest) -> Result<&Scope, Refusal> {
        let scope = match (self.scope.take(), &request.node) {
            (Some(known), _) => known,
            (None, Some(node)) => Scope::of(node).map_err(Refusal::Node)?,
            (None, None) => return Err(Refusal::Node("the first request has no node".to_owned())),
        };
        Ok(self.scope.insert(scope))
    }

    /// Takes a request, after [`Session::introduce`].
    ///
    /// # Errors
    /// Why the stream must end.
    pub(crate) fn hear(
        &mut self,
        request: DeltaDiscoveryRequest,
        snapshot: &Snapshot,
    ) -> Result<Heard, Refusal> {
        let kind = ResourceType::of_type_url(&request.type_url);
        let kind = kind.ok_or_else(|| Refusal::UnknownType(shortened(request.type_url)))?;
        let new = || Channel { asks: Subscriptions::new(kind), outstanding: None };
        let channel = self.channels.entry(kind).or_insert_with(new);
        let mut heard = Heard::Asked;
        if !request.response_nonce.is_empty() {
            if channel.outstanding.as_ref() != Some(&request.response_nonce) {
                return Err(Refusal::Nonce(shortened(request.response_nonce)));
            }
            channel.outstanding = None;
            heard = match request.error_detail {
                None => Heard::Acked(kind),
                Some(Status { message, .. }) => Heard::Nacked(kind, shortened(message)),
            };
        }
        let asked = channel.asks.ask(
            request.resource_names_subscribe,
            &request.resource_names_unsubscribe,
            request.initial_resource_versions,
            snapshot,
        );
        asked.map_err(|TooMany| Refusal::TooManyNames)?;
        Ok(heard)
    }

    /// The next answer that may be sent; `None`: there is nothing to say, or what was said waits for its acknowledgement.
    pub(crate) fn next(&mut self, snapshot: &Snapshot) -> Option<DeltaDiscoveryResponse> {
        let scope = self.scope.as_ref()?;
        let mut waits = false;
        for (kind, channel) in &mut self.channels {
            if *kind == ResourceType::Workload && !self.whole && waits {
                return None;
            }
            waits |= channel.outstanding.is_some();
            if channel.outstanding.is_some() {
                continue;
            }
            if let Some(delta) = channel.asks.next(scope, snapshot) {
                self.whole |= *kind == ResourceType::Workload;
                self.answers += 1;
                let nonce = self.answers.to_string();
                channel.outstanding = Some(nonce.clone());
                return Some(answer(*kind, delta, nonce, &self.identifier));
            }
        }
        None
    }
}

fn answer(kind: ResourceType, delta: Delta, nonce: String, identifier: &str) -> DeltaDiscoveryResponse {
    let type_url = kind.type_url();
    let resources = delta.resources.iter().map(|entry| Resource {
        version: entry.version.to_string(),
        resource: Some(Any { type_url: type_url.to_owned(), value: entry.bytes.clone() }),
        name: entry.name.to_string(),
        aliases: if delta.by_name { entry.aliases.clone() } else { Vec::new() },
        ttl: None,
    });
    DeltaDiscoveryResponse {
        system_version_info: String::new(),
        resources: resources.collect(),
        type_url: type_url.to_owned(),
        nonce,
        removed_resources: delta.removed,
        control_plane: Some(ControlPlane { identifier: identifier.to_owned() }),
    }
}

/// What a stranger wrote, as far as it goes into a log.
fn shortened(text: String) -> String {
    const LONGEST: usize = 1000;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests;
