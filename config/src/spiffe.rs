//! Trust domains and identities, after the SPIFFE ID specification section 2.

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

/// A SPIFFE ID: who a workload is (SPIFFE ID specification, section 2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SpiffeId {
    text: Arc<str>,
    domain_end: usize,
}

/// What an id looks like.
const EXAMPLE: &str = "spiffe://cluster.local/ns/shop/sa/cart";
/// Characters of a text that are shown of it.
const SHOWN: usize = 80;
/// What every id begins with.
const SCHEME: &str = "spiffe://";
/// Bytes of the longest id (section 2.3).
const LONGEST: usize = 2048;

impl SpiffeId {
    /// The identity of a service account, in the form of Kubernetes and Istio.
    pub fn of_account(trust_domain: &str, namespace: &str, account: &str) -> Self {
        let text = format!("{SCHEME}{trust_domain}/ns/{namespace}/sa/{account}");
        Self { text: text.into(), domain_end: SCHEME.len() + trust_domain.len() }
    }

    /// Reads an id that a person wrote.
    ///
    /// # Errors
    /// What is wrong with the text, and what helps.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::read(text)
            .map_err(|flaw| format!("`{}` is not a SPIFFE ID: {flaw}; such as `{EXAMPLE}`", start(text)))
    }

    /// Reads an id that a machine sent.
    ///
    /// # Errors
    /// The first flaw of the text.
    pub fn read(text: &str) -> Result<Self, SpiffeIdFlaw> {
        let rest = text.strip_prefix(SCHEME).ok_or(SpiffeIdFlaw::Scheme)?;
        if text.len() > LONGEST {
            return Err(SpiffeIdFlaw::TooLong);
        }
        let (domain, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if TrustDomain::parse(domain).is_err() {
            return Err(SpiffeIdFlaw::TrustDomain);
        }
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        for segment in path.split('/').skip(1) {
            match segment {
                "" => return Err(SpiffeIdFlaw::EmptyPart),
                "." | ".." => return Err(SpiffeIdFlaw::Dots),
                _ if segment.contains('%') => return Err(SpiffeIdFlaw::Percent),
                _ if !segment.bytes().all(allowed) => return Err(SpiffeIdFlaw::Path),
                _ => {}
            }
        }
        Ok(Self { text: text.into(), domain_end: SCHEME.len() + domain.len() })
    }

    /// The id as it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What follows the trust domain: empty, or `/` and parts.
    pub fn path(&self) -> &str {
        &self.text[self.domain_end..]
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> &str {
        &self.text[SCHEME.len()..self.domain_end]
    }

    /// Namespace and service account, where the path is `/ns/<namespace>/sa/<account>`.
    pub fn account(&self) -> Option<(&str, &str)> {
        let mut parts = self.text[self.domain_end..].split('/').skip(1);
        match [(); 5].map(|()| parts.next()) {
            [Some("ns"), Some(namespace), Some("sa"), Some(account), None] => Some((namespace, account)),
            _ => None,
        }
    }
}

/// What is wrong with a text that should be a SPIFFE ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeIdFlaw {
    /// Another scheme, or none.
    #[error("it must begin with `spiffe://`")]
    Scheme,
    /// Longer than an id may be.
    #[error("it has more than 2048 bytes")]
    TooLong,
    /// The trust domain has other letters than it may have, or none.
    #[error("a trust domain has lower-case letters, digits, `.`, `_` and `-`")]
    TrustDomain,
    /// The path has other letters than it may have.
    #[error("the parts of its path have letters, digits, `.`, `_` and `-`")]
    Path,
    /// A part of the path is empty, such as what follows a `/` at its end.
    #[error("a part of its path is empty")]
    EmptyPart,
    /// A part of the path is `.` or `..`.
    #[error("its path has no parts `.` and `..`")]
    Dots,
    /// The path has a percent sign.
    #[error("its path has no percent-encoding")]
    Percent,
}

/// The text, or as much of it as a person reads.
fn start(text: &str) -> std::borrow::Cow<'_, str> {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

/// The id of a workload as policy names it: one with a path (X.509-SVID, section 2: that of a leaf has one).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WorkloadId(pub(crate) SpiffeId);

impl WorkloadId {
    fn parse(text: &str) -> Result<Self, Problem> {
        let bad = |why: &dyn std::fmt::Display, help: String| {
            let message = format!("`{}` is not the SPIFFE ID of a workload: {why}", start(text));
            Problem::new(Code::Spiffe, message, help)
        };
        let such_as = || format!("such as `{EXAMPLE}`");
        match SpiffeId::read(text) {
            Ok(id) if !id.path().is_empty() => Ok(Self(id)),
            Ok(_) => Err(bad(&"it names a whole trust domain", such_as())),
            Err(why) => {
                let folded = text.to_ascii_lowercase();
                let help = match SpiffeId::read(&folded).ok() {
                    // Only scheme and trust domain are lower-cased: a path may have upper-case letters.
                    Some(id) => format!("write `{}{}`", &folded[..id.domain_end], &text[id.domain_end..]),
                    None => such_as(),
                };
                Err(bad(&why, help))
            }
        }
    }

    fn schema() -> Schema {
        json_schema!({
            "title": "SPIFFE ID, such as `spiffe://cluster.local/ns/shop/sa/cart`",
            "type": "string",
            "minLength": 1,
            "maxLength": LONGEST,
        })
    }
}

parsed!(WorkloadId);

impl serde::Serialize for SpiffeId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl std::fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::SpiffeId;

    #[test]
    fn ids_are_read_and_taken_apart() {
        let id = SpiffeId::parse("spiffe://cluster.local/ns/shop/sa/cart").unwrap();
        assert_eq!((id.trust_domain(), id.account()), ("cluster.local", Some(("shop", "cart"))));
        assert_eq!(id, SpiffeId::of_account("cluster.local", "shop", "cart"));
        let bare = SpiffeId::parse("spiffe://a_b").unwrap();
        assert_eq!((bare.trust_domain(), bare.account()), ("a_b", None));
        let other = SpiffeId::parse("spiffe://a/ns/x/sa/y/z").unwrap();
        assert_eq!(other.account(), None);
        for text in [
            "",
            "cart",
            "https://a/b",
            "spiffe://",
            "spiffe:///x",
            "spiffe://A/b",
            "spiffe://a/",
            "spiffe://a//b",
            "spiffe://a/../b",
            "spiffe://a/b%20c",
            "spiffe://a:80/b",
            "spiffe://a/b?c",
            "spiffe://a/b#c",
        ] {
            assert!(SpiffeId::parse(text).is_err(), "{text}");
        }
        let long = |bytes: usize| format!("spiffe://a/{}", "b".repeat(bytes - "spiffe://a/".len()));
        assert!(SpiffeId::parse(&long(2048)).is_ok());
        let error = SpiffeId::parse(&long(2049)).unwrap_err();
        assert!(error.len() < 250 && error.contains("more than 2048 bytes"), "{error}");
    }
}
