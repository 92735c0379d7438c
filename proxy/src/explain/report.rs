//! What an explanation says: plain data, whose JSON form is stable.
//!
//! Fields are added here and never change their meaning. Places are `file:line:col`, objects `namespace/name`, Service
//! ports `namespace/name:port`, durations as policy files write them. What is absent does not apply.

mod callee;
mod connection;
mod fault;
mod session;
mod share;
mod usable;

pub use callee::{Callee, Concurrency, RateLimit};
pub use connection::{AskedConnection, ConnectionReport, ConnectionTimeouts, Cut};
pub use fault::{Fault, FaultShare};
pub use session::Session;
pub use share::{Change, Endpoint, Hashed, HeaderChange, Mirror, Security, Sent, Share, Tls};
pub use usable::{Part, Usable};

use serde::Serialize;

/// What happens to one request, and why.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// All of it in one sentence.
    pub summary: String,
    /// Whose policy it is.
    pub sidecar: Object,
    /// The request as it was asked about.
    pub request: Asked,
    /// The strict request check.
    pub check: Check,
    /// What happens.
    pub outcome: Outcome,
    /// The ways to a Service that were tried, in order; the last one decides.
    pub resolution: Vec<Step>,
    /// Hosts that may have been meant, where no Service answers to the one that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub near: Vec<String>,
    /// The Service port that the request means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Object>,
    /// Every match of every rule of that port, in order of precedence.
    pub candidates: Vec<Candidate>,
    /// The rule that is taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<Taken>,
    /// Its session, where the rule has sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
    /// The backends of the rule, with their shares of its requests.
    pub shares: Vec<Share>,
    /// What is done to it on purpose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// What it gets that its Service does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Setting<String>>,
    /// Time limits of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,
    /// What would be repeated, and what not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// What else a reader should know.
    pub notes: Vec<String>,
}

impl Report {
    /// The shares that the request may be of.
    pub fn possible(&self) -> impl Iterator<Item = &Share> {
        self.shares.iter().filter(|share| share.is_possible())
    }

    /// Whether the proxy refuses the request, or some share of such requests.
    pub fn refuses(&self) -> bool {
        self.outcome.is_refusal() || at_risk(&self.shares)
    }
}

/// Whether some share that has any weight, and that the dice may choose, is refused.
fn at_risk(shares: &[Share]) -> bool {
    let mut possible = shares.iter().filter(|share| share.is_possible());
    possible.any(|share| share.outcome.is_refusal())
}

/// A thing that policy names, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Object {
    /// Its name.
    pub name: String,
    /// Its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
}

/// The request that was asked about.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Asked {
    /// The method.
    pub method: String,
    /// The URL as it was written.
    pub url: String,
    /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2`.
    pub version: &'static str,
    /// `inbound` or `outbound`.
    pub side: &'static str,
    /// The listener by which it comes.
    pub listener: Object,
    /// It is in HTTP-proxy form: an absolute URI.
    pub proxy_form: bool,
    /// The address that the caller dialled, where traffic is redirected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original_destination: Option<String>,
    /// Who sends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Identity>,
    /// The number that drives random choices, in hexadecimal. Absent: all shares are shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dice: Option<String>,
}

/// The identity of a caller.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// Its SPIFFE ID.
    pub spiffe_id: String,
    /// What it changes.
    pub effect: String,
}

/// What the strict request check says.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// Whether the request may go on.
    pub passed: bool,
    /// What was brought to one spelling, or taken off.
    pub changes: Vec<String>,
}

/// One way to a Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// `listener`, `originalDestination`, `host`, `egress`, `protocol`, or what decides instead.
    pub way: &'static str,
    /// Whether it is the one that decides.
    pub decides: bool,
    /// Why, in words.
    pub why: String,
    /// Where what it speaks of was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
}

/// One match of one rule.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    /// The rule: `namespace/name/rule`.
    pub rule: String,
    /// Where the match stands; the rule's place where it has no match of its own.
    pub origin: String,
    /// Which match of the rule, from 0.
    pub match_index: usize,
    /// Its conditions, in words.
    pub conditions: Vec<String>,
    /// Whether all of them hold.
    pub holds: bool,
    /// Whether it is the one that counts: the first that holds.
    pub taken: bool,
    /// The first condition that fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub miss: Option<Miss>,
}

/// A condition that fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Miss {
    /// `path`, `method`, `header x-tester`, `query page`, `server name`.
    pub what: String,
    /// What it must be, in words.
    pub wanted: String,
    /// What the request has; absent where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
}

/// The rule that is taken.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Taken {
    /// `namespace/name/rule`, or `default` where no route is attached.
    pub name: String,
    /// Its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Its kind: `HTTPRoute`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Changes to the answer's header, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub response_headers: Vec<HeaderChange>,
    /// What the answer tells browsers of cross-origin use, last of all and whoever makes it, by the policy of the rule or
    /// of the backend that the dice choose. Absent: there is no such policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cors: Option<Vec<(String, String)>>,
}

/// What happens to a request, or to a connection that is passed on whole.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Outcome {
    /// An endpoint of this backend gets it.
    Forward {
        /// The Service port, or `app` for the app behind an inbound listener.
        backend: String,
    },
    /// One of several backends gets it; the dice decide.
    Split,
    /// It goes to one address that no balancing chooses.
    Direct {
        /// The address or authority.
        to: String,
    },
    /// The proxy sends the caller elsewhere.
    Redirect {
        /// The status.
        status: u16,
        /// Where to.
        location: String,
        /// The answer's header.
        headers: Vec<(String, String)>,
    },
    /// The proxy answers a browser's question before the request that it is about.
    Preflight {
        /// The status.
        status: u16,
        /// The answer's header.
        headers: Vec<(String, String)>,
    },
    /// The proxy refuses it.
    Refuse(Refusal),
    /// The proxy ends the connection.
    Cut(Cut),
    /// The connection is read as HTTP: each of its requests is decided by itself.
    Requests,
}

impl Outcome {
    /// Whether whoever called gets nothing of what it asked for.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refuse(_) | Self::Cut(_) | Self::Requests)
    }
}

/// An answer of the proxy itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// The status that the caller gets: 200 in gRPC's form.
    pub status: u16,
    /// `grpc-status` for a gRPC caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc_status: Option<u8>,
    /// The access log's flag.
    pub flag: &'static str,
    /// `x-outrigger-error`, and the access log's reason.
    pub reason: &'static str,
    /// The same in words.
    pub text: String,
}

/// A setting, and who says so.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Setting<T> {
    /// Its value; absent: off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<T>,
    /// `rule`, `policyOnRule`, `policyOnRoute`, `policyOnService`, `policyOnNamespace`, `meshDefaults`, `builtIn`, `caller` where the request
    /// itself asks for it, or `meshLimits` where a limit of the Mesh holds.
    pub layer: &'static str,
    /// The TrafficPolicy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
}

/// The time limits of a request.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Timeouts {
    /// From the complete head to the last byte of the answer.
    pub request: Setting<String>,
    /// From hand-over to the answer's head.
    pub attempt: Setting<String>,
    /// To make a connection.
    pub connect: Setting<String>,
    /// Without a byte either way.
    pub stream_idle: Setting<String>,
}

/// Repeats of a request.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// Whether the request may be sent again although it may have started.
    pub repeatable: bool,
    /// Why, or why not.
    pub why: String,
    /// Repeats after the first try.
    pub attempts: Setting<u32>,
    /// The conditions that policy lists.
    pub on: Setting<Vec<String>>,
    /// What becomes of each way to fail.
    pub cases: Vec<RetryCase>,
    /// The least and the longest pause before a repeat.
    pub backoff: Setting<String>,
    /// What all requests to the Service may spend on repeats.
    pub budget: Setting<String>,
}

/// One way in which an attempt may fail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryCase {
    /// What happened.
    pub when: String,
    /// How many times it is repeated at most.
    pub repeats: u32,
    /// Whether repeats count against the budget.
    pub free: bool,
    /// Why it is not repeated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
}
