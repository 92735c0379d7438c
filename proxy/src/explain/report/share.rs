//! What an explanation says of one backend: its share, the request as it gets it, its endpoints, its copies.

use serde::Serialize;

use super::{Callee, Outcome, Setting, Usable};

/// One backend of the rule.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Share {
    /// The Service port; `app` or `egress` where no Service is meant; `none` where the reference resolves to nothing.
    pub backend: String,
    /// Its weight.
    pub weight: u32,
    /// Its share of the rule's requests.
    pub percent: f64,
    /// Whether the dice, or the request's session, choose it; absent without dice and session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chosen: Option<bool>,
    /// Where the reference stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// What happens to its requests.
    pub outcome: Outcome,
    /// The request as an endpoint gets it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent: Option<Sent>,
    /// What the backend changes in the answer's header, before the rule does.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub response_headers: Vec<HeaderChange>,
    /// TLS to its endpoints; absent: plain text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// How one of the endpoints is chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_balancer: Option<Setting<String>>,
    /// What of the request is hashed, and where that leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hashed: Option<Hashed>,
    /// Which endpoints come first, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locality: Option<Setting<String>>,
    /// How long the share of an endpoint that comes into use grows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<Setting<String>>,
    /// The limits of its circuit breaker, and what trips it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub circuit_breaker: Vec<Setting<String>>,
    /// Which of the endpoints requests may go to; absent: there is no choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usable: Option<Usable>,
    /// What the proxy before it holds; absent: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callee: Option<Callee>,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
    /// Where copies of its requests go.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<Mirror>,
}

impl Share {
    /// A share of which nothing else is known yet.
    pub(in crate::explain) fn of(backend: &str, weight: u32, percent: f64) -> Self {
        Self {
            backend: backend.to_owned(),
            weight,
            percent,
            chosen: None,
            origin: None,
            outcome: Outcome::Split,
            sent: None,
            response_headers: Vec::new(),
            tls: None,
            load_balancer: None,
            hashed: None,
            locality: None,
            slow_start: None,
            circuit_breaker: Vec::new(),
            usable: None,
            callee: None,
            endpoints: Vec::new(),
            mirrors: Vec::new(),
        }
    }

    /// Whether the dice, or a session, choose it, if they are known; else whether it has any weight.
    pub(in crate::explain) fn is_possible(&self) -> bool {
        self.chosen.unwrap_or(self.percent > 0.0)
    }
}

/// What the choice of an endpoint hashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hashed {
    /// `header x-user`, `cookie id`, `query q` or `sourceIp`.
    pub on: String,
    /// Whether the request has it; else any endpoint gets it.
    pub is_there: bool,
    /// The endpoint that gets it first, as policy lists them: what DNS knows is not in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
}

/// Where copies of requests go. Their answers are thrown away.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mirror {
    /// The Service port; `none` where the reference resolves to nothing: then nothing is copied.
    pub backend: String,
    /// How many of the requests are copied.
    pub percent: f64,
    /// Whether the dice let this one be copied; absent without dice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copied: Option<bool>,
    /// `rule` or `backend`: whose mirror it is. It gets the request as the changes of that one leave it.
    pub by: &'static str,
    /// Its place.
    pub origin: String,
}

/// TLS to the endpoints of a backend.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// The name that the endpoint's certificate must be for.
    pub server_name: String,
    /// The file of the authorities that are trusted; absent: those that the system trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust_bundle: Option<String>,
    /// The file of the certificate that the proxy shows; absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// Where it was written.
    pub origin: String,
}

/// A request on its way to an endpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sent {
    /// `HTTP/1.1` or `HTTP/2`.
    pub version: &'static str,
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Host or `:authority`.
    pub authority: String,
    /// The other header fields. `x-request-id` is a new one for every request that has none, and zeros here.
    pub headers: Vec<(String, String)>,
    /// What the rule and the backend change in it, in order.
    pub changes: Vec<Change>,
}

/// One change on the way of a request.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// `rule` or `backend`.
    pub by: &'static str,
    /// What it does, in words.
    pub what: String,
}

/// One change of a header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HeaderChange {
    /// `set`, `add` or `remove`.
    pub action: &'static str,
    /// The field.
    pub name: String,
    /// The value; absent where the field is removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// How an endpoint is spoken to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Security {
    /// `mtls`, `tls` or `plaintext`.
    pub by: &'static str,
    /// Who it must be, by mutual TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Why not by mutual TLS, where that is plaintext.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<&'static str>,
    /// That is worth saying: the endpoint or this Sidecar could speak mutual TLS.
    #[serde(skip)]
    pub(in crate::explain) told: bool,
}

/// One endpoint.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// Its address, or the name that is resolved, with its port.
    pub address: String,
    /// Its weight among the endpoints.
    pub weight: u32,
    /// Its zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Its place.
    pub origin: String,
    /// How it is spoken to.
    pub security: Security,
    /// It is one of this proxy's own outbound listeners: an attempt to it is a loop, 508.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_loop: bool,
}
