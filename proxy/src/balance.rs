//! Choosing an endpoint for one attempt. Pure: set, load, `now` and dice in, endpoint out.
//!
//! Every policy holds two promises: an endpoint that this request has tried is not chosen while there is another, and
//! under equal load shares follow the weights. What is outside (health, ejection) acts on the set before it comes here.

mod endpoint_cell;
mod endpoint_set;
mod ewma;
pub(crate) mod health_check;
pub(crate) mod keeper;
mod outlier;
mod p2c;
mod random;
mod round_robin;
mod standing;
mod visit;
mod worker;

pub use endpoint_cell::EndpointCell;
pub use endpoint_set::{Endpoint, EndpointSet};
pub use ewma::{EndpointState, OpenRequest};
pub use outlier::{Change, Verdict};
pub use round_robin::Turn;
pub use standing::{Health, LastCheck, Report, State};
pub use visit::Visit;
pub use worker::Balancer;

use std::{net::SocketAddr, sync::Arc, time::Instant};

use outrigger_config::model::Balance;

use crate::decide::Dice;

/// What one attempt asks for.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Addresses that this request has tried already.
    pub tried: &'a [SocketAddr],
    /// The endpoint of the request's session, which goes before any policy.
    pub stay: Option<SocketAddr>,
    /// For latencies that fade.
    pub now: Instant,
}

/// Picks an endpoint; `None` only if the set is empty. `turn` is the worker's round robin state for this set.
pub fn pick(
    set: &EndpointSet,
    policy: Balance,
    turn: &mut Turn,
    ask: Ask<'_>,
    dice: &mut Dice,
) -> Option<Arc<Endpoint>> {
    let stays = |endpoint: &&Arc<Endpoint>| Some(endpoint.address) == ask.stay;
    if let Some(own) = set.endpoints().iter().find(stays).filter(|own| !ask.tried.contains(&own.address)) {
        return Some(own.clone());
    }
    // Round robin passes over tried endpoints itself: its credits belong to the whole set.
    let untried = if policy == Balance::RoundRobin { None } else { set.without(ask.tried) };
    let set = untried.as_ref().unwrap_or(set);
    let index = match (set.len(), policy) {
        (0, _) => return None,
        (1, _) => 0,
        (_, Balance::RoundRobin) => turn.next(set, ask.tried, dice),
        (_, Balance::Random) => random::pick(set, dice),
        (_, Balance::LeastRequest) => p2c::least_request(set, dice),
        (_, Balance::PeakEwma) => p2c::peak_ewma(set, ask.now, dice),
    };
    set.endpoints().get(index).cloned()
}

#[cfg(test)]
mod tests;
