//! Session persistence of a route rule (GEP-1619).

use std::{sync::Arc, time::Duration};

use super::Origin;

/// Keeps a caller with the endpoint that answered it first, by a token.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SessionPersistence {
    /// The name of the cookie or header; `None`: one that follows from the rule's name. That of a header is lower-cased.
    pub name: Option<Arc<str>>,
    /// How the token travels.
    pub carrier: SessionCarrier,
    /// From its first answer; never zero.
    pub absolute: Option<Duration>,
    /// From its last use; never zero.
    pub idle: Option<Duration>,
    /// Where it stands.
    pub origin: Origin,
}

/// How a session's token travels.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum SessionCarrier {
    /// In a cookie.
    Cookie {
        /// `Max-Age` is set; then there is an absolute limit.
        permanent: bool,
        /// What all paths begin with that a match of the rule takes, one for each match that has such a path, the longest
        /// first. A request whose path is below none of them gets `/`.
        paths: Vec<Arc<str>>,
    },
    /// In a header.
    Header,
}
