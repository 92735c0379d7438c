//! Cross-origin policy of a rule or of one of its backends (CORS, GEP-1767).

use std::{fmt, sync::Arc};

use super::Origin;

/// Which pages of other origins may use the answers of a rule, and how.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Cors {
    /// Who may; nobody where it is empty.
    pub origins: Vec<OriginPattern>,
    /// Whether with cookies and the like.
    pub credentials: bool,
    /// Methods beside GET, HEAD and POST, which are always allowed; case-sensitive.
    pub methods: Names,
    /// Request headers beside those that are always allowed; lower-cased.
    pub headers: Names,
    /// Headers of the answer that a page may read beside those that it always may; lower-cased.
    pub expose: Names,
    /// How long a preflight's answer holds, in seconds; 5 by default.
    pub max_age: u32,
    /// Where it stands.
    pub origin: Origin,
}

impl Cors {
    /// `maxAge` where none is written, in seconds.
    pub const MAX_AGE: u32 = 5;
}

/// Some names, or all.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Names {
    /// `*`.
    Any,
    /// These; may be none.
    Listed(Vec<Arc<str>>),
}

/// Origins that are allowed, shown as they are written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum OriginPattern {
    /// `*`, which is also what has no scheme and host, such as `null`.
    Any,
    /// Those of one scheme and port.
    Web {
        /// `https`; else `http`.
        secure: bool,
        /// The host.
        host: HostPattern,
        /// The port; the scheme's own where none was written.
        port: u16,
    },
}

/// Hosts of an origin, lower-cased.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// `*`.
    Any,
    /// Names with at least one label before this, which begins with a dot: `.example.com`.
    Below(Arc<str>),
    /// This one.
    Exact(Arc<str>),
}

impl OriginPattern {
    /// The port of a scheme that is not shown in an origin.
    pub fn own_port(secure: bool) -> u16 {
        if secure { 443 } else { 80 }
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Web { secure, host, port } = self else { return f.write_str("*") };
        f.write_str(if *secure { "https://" } else { "http://" })?;
        match host {
            HostPattern::Any => f.write_str("*")?,
            HostPattern::Below(suffix) => write!(f, "*{suffix}")?,
            HostPattern::Exact(host) => f.write_str(host)?,
        }
        if *port == Self::own_port(*secure) { Ok(()) } else { write!(f, ":{port}") }
    }
}

impl serde::Serialize for OriginPattern {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
