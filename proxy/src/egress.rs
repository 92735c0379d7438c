//! Requests and connections that go to an address which no balancing chooses: the endpoint, the app or the stranger that
//! the caller dialled, or an authority of its own choice.

use std::{fmt::Display, net::SocketAddr, time::Duration};

use outrigger_config::model::AppProtocol;

use crate::{
    decide::{Address, Direct},
    error::Failure,
    exchange::Exchange,
    policy::{Pinned, target::Target},
    request::strict::Checked,
    worker::Worker,
};

/// Looking up a name must not take longer than making the connection may.
const LOOK_UP: Duration = Duration::from_secs(1);

/// Pins a direct request to its address: in the HTTP version that the endpoint's Service says, else the caller's.
pub(crate) async fn pin<'a>(
    exchange: &Exchange,
    direct: &'a Direct,
    checked: &Checked,
    dice: u64,
) -> Result<Pinned<'a>, Failure> {
    let protocol = direct.backend().protocol.spoken_to(checked.spoken());
    let addr = match direct.to {
        Address::Endpoint(addr) => addr,
        Address::App(addr) => return Ok(app(direct, addr, protocol, dice)),
        Address::Dialled { address, log } => {
            tell(log, exchange.connection.peer, address.ip(), address.port());
            address
        }
        Address::Authority { log } => {
            let port = checked.authority.port().unwrap_or(80);
            tell(log, exchange.connection.peer, checked.authority.host(), port);
            match checked.authority.ip() {
                Some(ip) => SocketAddr::new(ip, port),
                None => look_up(exchange.worker(), checked.authority.host(), port).await?,
            }
        }
    };
    let backend = direct.backend().clone();
    Ok(Pinned::direct(direct, Target::Address { addr, protocol, backend, from: None }, dice))
}

/// Pins a request to the app that its caller dialled. Who called does the repeating.
fn app(direct: &Direct, addr: SocketAddr, protocol: AppProtocol, dice: u64) -> Pinned<'_> {
    let target = Target::app(addr, protocol, direct.backend().clone());
    Pinned { last_hop: true, ..Pinned::direct(direct, target, dice) }
}

/// One log line where egress is in `Log` mode.
pub(crate) fn tell(log: bool, peer: SocketAddr, host: impl Display, port: u16) {
    if log {
        tracing::info!(%host, port, %peer, "call to a destination that no Service names");
    }
}

/// The address of a name.
pub(crate) async fn look_up(worker: &Worker, host: &str, port: u16) -> Result<SocketAddr, Failure> {
    let timer = worker.deadlines.after(LOOK_UP);
    tokio::select! {
        biased;
        found = tokio::net::lookup_host((host, port)) => {
            found.ok().and_then(|mut addresses| addresses.next()).ok_or(Failure::NoEndpoint)
        }
        () = timer.expired() => Err(Failure::NoEndpoint),
    }
}
