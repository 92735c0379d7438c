//! What every stage of a request knows about it. It holds names and values only: no decision is made here.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The addresses from which the proxy calls an app at the address that its caller dialled. `outrigger intercept` redirects
/// what the proxy sends to an address of its own, unless it comes from here: the one is a call of the app to itself, the
/// other has been through the inbound listener.
pub const APP_CALLER: (Ipv4Addr, Ipv6Addr) = (Ipv4Addr::new(127, 0, 0, 6), Ipv6Addr::LOCALHOST);

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
