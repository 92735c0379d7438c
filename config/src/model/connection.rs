//! Rules of TCPRoutes and TLSRoutes: where whole connections go, resolved.

use std::sync::Arc;

use super::{BackendTarget, Origin, RuleId, TrafficSettings};

/// One rule of a TCPRoute or TLSRoute.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct ConnectionRule {
    /// Its name in logs, metrics and explanations.
    pub id: RuleId,
    /// Where the rule stands.
    pub origin: Origin,
    /// Rank among the rules of one port that are equally specific: older route first, then namespace/name, then the order
    /// of rules. Lower wins.
    pub rank: u32,
    /// The server names that it holds for, ORed. Empty: every connection, also one that names no server; always so for a
    /// TCPRoute.
    pub server_names: Vec<ServerNameMatch>,
    /// The share of weight 0 is nothing; no backend, or all weights 0: connections are reset.
    pub backends: Vec<ConnectionBackend>,
    /// Settings for connections of this rule, merged over the Service's.
    pub settings: Arc<TrafficSettings>,
}

/// A condition on the server name of a TLS ClientHello. Names are lower-cased and have no trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ServerNameMatch {
    /// This name.
    Exact(Arc<str>),
    /// Every name that ends with a dot and this one, in any number of labels: it is written `*.example.com`.
    Below(Arc<str>),
}

/// As policy files write it.
impl std::fmt::Display for ServerNameMatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Below(parent) => write!(f, "*.{parent}"),
        }
    }
}

/// One backend of a rule.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct ConnectionBackend {
    /// Its share, relative to the rule's others; 0 gets none.
    pub weight: u32,
    /// Where it points.
    pub target: BackendTarget,
    /// Where it stands.
    pub origin: Origin,
}
