//! Requests that no Service answers for: the endpoint that the caller dialled, or the authority's own address.

use std::{net::SocketAddr, time::Duration};

use crate::{
    decide::{Address, Direct},
    error::Failure,
    exchange::Exchange,
    policy::{Pinned, target::Target},
    request::strict::Checked,
};

/// Looking up a name must not take longer than making the connection may.
const LOOK_UP: Duration = Duration::from_secs(1);

/// Pins a direct request to its address: in the HTTP version that the endpoint's Service says, else the caller's.
pub(crate) async fn pin<'a>(
    exchange: &Exchange,
    direct: &'a Direct,
    checked: &Checked,
) -> Result<Pinned<'a>, Failure> {
    let protocol = direct.backend().protocol.spoken_to(checked.version);
    let addr = match direct.to {
        Address::Endpoint(addr) => addr,
        Address::Authority { log } => {
            if log {
                tracing::info!(
                    host = checked.authority.host(),
                    port = checked.authority.port().unwrap_or(80),
                    peer = %exchange.connection.peer,
                    "request to a destination that no Service names"
                );
            }
            look_up(exchange, checked).await?
        }
    };
    let metrics = direct.backend().metrics.clone();
    Ok(Pinned::direct(direct, Target::Address { addr, protocol, metrics }))
}

async fn look_up(exchange: &Exchange, checked: &Checked) -> Result<SocketAddr, Failure> {
    let port = checked.authority.port().unwrap_or(80);
    if let Some(ip) = checked.authority.ip() {
        return Ok(SocketAddr::new(ip, port));
    }
    let timer = exchange.worker().deadlines.after(LOOK_UP);
    tokio::select! {
        biased;
        found = tokio::net::lookup_host((checked.authority.host(), port)) => {
            found.ok().and_then(|mut addresses| addresses.next()).ok_or(Failure::NoEndpoint)
        }
        () = timer.expired() => Err(Failure::NoEndpoint),
    }
}
