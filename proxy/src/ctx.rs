//! What every stage of a request knows about it. It holds names and values only: no decision is made here.

/// Which way a request goes through this proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// To the app that stands behind this proxy.
    Inbound,
    /// From the app to the mesh.
    Outbound,
}

impl Side {
    /// The side as logs and metrics print it.
    pub fn as_str(self) -> &'static str {
        match self {
            Side::Inbound => "inbound",
            Side::Outbound => "outbound",
        }
    }
}
