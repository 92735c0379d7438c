//! Who stands where in the demo's mesh: seven replicas of four services, each with a sidecar, all on 127.0.0.1.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;

use super::ports;

/// One replica of a toy service and its sidecar.
#[derive(Clone, Debug)]
pub(super) struct Replica {
    /// Name of the replica and of its Sidecar object.
    pub(super) name: &'static str,
    /// The MeshService that it is an endpoint of.
    pub(super) service: &'static str,
    /// Where the toy service listens. Only its sidecar calls it.
    pub(super) app: SocketAddr,
    /// Where its sidecar takes requests from others.
    pub(super) inbound: SocketAddr,
    /// Where its sidecar takes the toy service's own calls.
    pub(super) outbound: SocketAddr,
    /// Its sidecar's admin API.
    pub(super) admin: SocketAddr,
}

/// Name and MeshService of every replica, in the order of a request's way.
pub(super) const REPLICAS: [(&str, &str); 7] = [
    ("frontend", "frontend"),
    ("reviews-v1-a", "reviews-v1"),
    ("reviews-v1-b", "reviews-v1"),
    ("reviews-v2-a", "reviews-v2"),
    ("reviews-v2-b", "reviews-v2"),
    ("ratings-a", "ratings"),
    ("ratings-b", "ratings"),
];

/// Gives every replica its ports; `app` says where the toy service of that index listens already.
///
/// # Errors
/// When there are too few free ports.
pub(super) fn plan(app: &[SocketAddr]) -> Result<Vec<Replica>> {
    let ports = ports::free(REPLICAS.len() * 3)?;
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let replica = |(index, (name, service)): (usize, (&'static str, &'static str))| Replica {
        name,
        service,
        app: app[index],
        inbound: at(ports[index * 3]),
        outbound: at(ports[index * 3 + 1]),
        admin: at(ports[index * 3 + 2]),
    };
    Ok(REPLICAS.into_iter().enumerate().map(replica).collect())
}
