//! What an explanation says of a connection that is passed on whole.

use serde::Serialize;

use super::{Candidate, Identity, Object, Outcome, Setting, Share, Step, Taken, at_risk};

/// What happens to one connection, and why.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionReport {
    /// All of it in one sentence.
    pub summary: String,
    /// Whose policy it is.
    pub sidecar: Object,
    /// The connection as it was asked about.
    pub connection: AskedConnection,
    /// What happens.
    pub outcome: Outcome,
    /// The ways to a Service that were tried, in order; the last one decides.
    pub resolution: Vec<Step>,
    /// Hosts that may have been meant, where no Service answers to the server name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub near: Vec<String>,
    /// The Service port that the connection means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Object>,
    /// Whether the caller's ClientHello is read to decide.
    pub reads_hello: bool,
    /// Every rule of that port, the one that is taken first.
    pub candidates: Vec<Candidate>,
    /// The rule that is taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<Taken>,
    /// The backends of the rule, with their shares of its connections.
    pub shares: Vec<Share>,
    /// Time limits of the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<ConnectionTimeouts>,
    /// What else a reader should know.
    pub notes: Vec<String>,
}

impl ConnectionReport {
    /// Whether the proxy ends the connection, or some share of such connections, or reads it as HTTP, which it is not.
    pub fn refuses(&self) -> bool {
        self.outcome.is_refusal() || at_risk(&self.shares)
    }
}

/// The connection that was asked about.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AskedConnection {
    /// The URL as it was written.
    pub url: String,
    /// `TCP` or `TLS`.
    pub protocol: &'static str,
    /// The server name of its ClientHello.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// `inbound` or `outbound`.
    pub side: &'static str,
    /// The listener by which it comes.
    pub listener: Object,
    /// The address that the caller dialled, where traffic is redirected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original_destination: Option<String>,
    /// Who calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Identity>,
    /// The number that drives random choices, in hexadecimal. Absent: all shares are shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dice: Option<String>,
}

/// How the proxy ends a connection that goes nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cut {
    /// What the caller sees: `a reset`, or `the alert unrecognized_name`.
    pub by: &'static str,
    /// The access log's flag.
    pub flag: &'static str,
    /// The access log's reason.
    pub reason: &'static str,
    /// The same in words.
    pub text: String,
}

/// The time limits of a connection.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionTimeouts {
    /// To connect to an endpoint.
    pub connect: Setting<String>,
    /// Without a byte either way.
    pub stream_idle: Setting<String>,
}
