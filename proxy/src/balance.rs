//! Choosing an endpoint for one attempt. Pure: set, load, `now` and dice in, endpoint out.
//!
//! Every policy holds two promises: an endpoint that this request has tried is not chosen while there is another, and
//! under equal load shares follow the weights. What is outside (health, ejection) acts on the set before it comes here.

mod endpoint_cell;
mod endpoint_set;
mod ewma;
pub(crate) mod hash_on;
pub(crate) mod health_check;
pub(crate) mod keeper;
mod locality;
mod maglev;
mod outlier;
mod p2c;
mod pinned_peer;
mod random;
mod ring_hash;
mod round_robin;
mod slow_start;
mod standing;
mod table;
mod visit;
mod worker;

pub use endpoint_cell::EndpointCell;
pub use endpoint_set::{Endpoint, EndpointSet};
pub use ewma::{EndpointState, OpenRequest};
pub use outlier::{Change, Verdict};
pub use pinned_peer::PinnedPeer;
pub use round_robin::Turn;
pub use standing::{Health, LastCheck, Report, State};
pub use visit::Visit;
pub use worker::Balancer;

use std::{net::SocketAddr, sync::Arc, time::Instant};

use outrigger_config::model::Balance;

use crate::decide::{Dice, Purpose, mix};

/// What one attempt asks for.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Addresses that this request has tried already.
    pub tried: &'a [SocketAddr],
    /// The endpoint of the request's session, which goes before any policy.
    pub stay: Option<SocketAddr>,
    /// The hash of what the policy hashes on; `None`: the request has no such thing, or nobody hashes.
    pub key: Option<u64>,
    /// For latencies that fade.
    pub now: Instant,
}

/// One worker's round robin state for the two sides of a set that is parted; of one that is not, for the first.
pub type Turns = [Turn; 2];

/// Picks an endpoint; `None` only if the set is empty. `turns` is the worker's state for this set.
pub fn pick(
    set: &EndpointSet,
    policy: Balance,
    turns: &mut Turns,
    ask: Ask<'_>,
    dice: &mut Dice,
) -> Option<Arc<Endpoint>> {
    let stays = |endpoint: &&Arc<Endpoint>| Some(endpoint.address) == ask.stay;
    if let Some(own) = set.endpoints().iter().find(stays).filter(|own| !ask.tried.contains(&own.address)) {
        return Some(own.clone());
    }
    let [near, far] = turns;
    let Some(split) = set.split() else { return among(set, policy, near, ask, dice) };
    // What is hashed chooses the side too, so that a key stays where it is.
    let point = match ask.key {
        Some(key) => mix(key) % locality::WHOLE,
        None => dice.below(locality::WHOLE),
    };
    let mut sides = [(&split.near, near), (&split.far, far)];
    if point >= split.near_share {
        sides.reverse();
    }
    // A repeat that has tried all of one side goes to the other.
    let untried = |side: &EndpointSet| side.endpoints().iter().any(|one| !ask.tried.contains(&one.address));
    let [(first, _), (second, _)] = &sides;
    if !ask.tried.is_empty() && !untried(first) && untried(second) {
        sides.reverse();
    }
    let [(side, turn), _] = sides;
    among(side, policy, turn, ask, dice)
}

/// The endpoint to which a key leads first, by a policy that hashes.
pub(crate) fn led(set: &EndpointSet, policy: Balance, key: u64) -> Option<SocketAddr> {
    let ask = Ask { tried: &[], stay: None, key: Some(key), now: Instant::now() };
    let picked =
        pick(set, policy, &mut Turns::default(), ask, &mut Dice::split(0, Purpose::Endpoint { attempt: 0 }));
    picked.map(|endpoint| endpoint.address)
}

/// Picks one of a set that is not parted.
fn among(
    set: &EndpointSet,
    policy: Balance,
    turn: &mut Turn,
    ask: Ask<'_>,
    dice: &mut Dice,
) -> Option<Arc<Endpoint>> {
    if let Some((key, table)) = ask.key.zip(set.table()) {
        return table.choose(key, set.endpoints(), ask.tried, |endpoint| set.passes_over(endpoint)).cloned();
    }
    // Round robin passes over tried endpoints itself: its credits belong to the whole set.
    let untried = if policy == Balance::RoundRobin { None } else { set.without(ask.tried) };
    let set = untried.as_ref().unwrap_or(set);
    let index = match (set.len(), policy) {
        (0, _) => return None,
        (1, _) => 0,
        (_, Balance::RoundRobin) => turn.next(set, ask.tried, dice),
        // A request without a key.
        (_, Balance::Random | Balance::RingHash | Balance::Maglev) => random::pick(set, dice),
        (_, Balance::LeastRequest) => p2c::least_request(set, dice),
        (_, Balance::PeakEwma) => p2c::peak_ewma(set, ask.now, dice),
    };
    set.endpoints().get(index).cloned()
}

#[cfg(test)]
mod tests;
