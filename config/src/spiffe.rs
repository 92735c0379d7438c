//! Trust domains, after the SPIFFE ID specification section 2.1.

use std::sync::Arc;

use schemars::{Schema, json_schema};

use crate::{
    convert::{Problem, parsed},
    diagnostic::Code,
};

/// A trust domain: the authority of every identity `spiffe://<trust domain>/ns/<namespace>/sa/<account>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TrustDomain(pub(crate) Arc<str>);

impl TrustDomain {
    /// The trust domain of a mesh that names none.
    pub(crate) const BUILT_IN: &str = "cluster.local";

    fn parse(text: &str) -> Result<Self, Problem> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
        if (1..=255).contains(&text.len()) && text.bytes().all(allowed) {
            return Ok(Self(text.into()));
        }
        let help = if let Some(rest) = text.strip_prefix("spiffe://") {
            let domain = rest.split('/').next().unwrap_or_default();
            format!("write the trust domain alone: `{domain}`")
        } else if text.bytes().any(|b| b.is_ascii_uppercase()) {
            format!("lower-case letters only: `{}`", text.to_ascii_lowercase())
        } else {
            "lower-case letters, digits, `.`, `_` and `-`, such as `cluster.local`".to_owned()
        };
        Err(Problem::new(Code::Spiffe, format!("`{text}` is not a SPIFFE trust domain"), help))
    }

    fn schema() -> Schema {
        json_schema!({"title": "trust domain, such as `cluster.local`", "type": "string", "minLength": 1, "maxLength": 255})
    }
}

parsed!(TrustDomain);
