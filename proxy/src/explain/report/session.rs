//! What an explanation says of a request's session, where the rule has sessions.

use serde::Serialize;

/// The session of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// The name of the cookie or header.
    pub name: String,
    /// Where the rule asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// `kept`, `new`, `expired`, `idle`, `gone` or `invalid`: what becomes of the request's token.
    pub outcome: &'static str,
    /// The same in words.
    pub why: String,
    /// The Service port that it stays with, whatever the weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// The endpoint that it stays with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The field that the answer gets, with dots for the token; absent: the caller keeps what it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given: Option<(String, String)>,
}
