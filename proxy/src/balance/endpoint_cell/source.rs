//! What a cell makes its sets of: what policy lists, what names resolve to, how endpoints are chosen from, and how far each
//! has come in a slow start.
//!
//! Read and written with the cell's lock held.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use outrigger_config::{SpiffeId, model};

use crate::balance::{
    EndpointSet, EndpointState, PinnedPeer, endpoint_set::panics, slow_start, standing::State, visit::Watch,
};

/// What the set is made of.
#[derive(Debug, Default)]
pub(super) struct Source {
    pub(super) listed: Vec<Listed>,
    pub(super) resolved: Vec<Resolved>,
    /// How attempts are judged, and who acts on it; `None`: nobody does.
    pub(super) watch: Option<Arc<Watch>>,
    /// How the endpoints are chosen from.
    pub(super) how: model::LoadBalancer,
    /// The proxy's own zone.
    pub(super) zone: Option<Arc<str>>,
    /// When the next step of a slow start is due.
    pub(super) warms_at: Option<Instant>,
    /// When the interval ends in which rates are counted.
    pub(super) interval_ends: Option<Instant>,
    /// Whether the last look found a panic.
    pub(super) panicked: bool,
    /// Which checks count: the last ones that began, by how many began before.
    pub(super) checks: u64,
}

/// An endpoint as policy lists it; a change of any other field does not concern the set.
#[derive(Debug, PartialEq)]
pub(super) struct Listed {
    pub(super) address: model::EndpointAddress,
    pub(super) weight: u32,
    pub(super) zone: Option<Arc<str>>,
    /// Who it is; each address of a name is the same.
    pub(super) identity: Option<SpiffeId>,
}

#[derive(Debug)]
pub(super) struct Resolved {
    pub(super) host: Arc<str>,
    pub(super) port: u16,
    pub(super) addresses: Vec<IpAddr>,
}

/// An endpoint in the making.
pub(super) struct Place {
    pub(super) address: SocketAddr,
    pub(super) listed: u32,
    pub(super) zone: Option<Arc<str>>,
    pub(super) peer: Option<Arc<PinnedPeer>>,
    pub(super) state: Arc<EndpointState>,
}

/// An address of the list, and what the list says of it.
pub(super) struct Weighted {
    pub(super) address: SocketAddr,
    pub(super) weight: u32,
    pub(super) zone: Option<Arc<str>>,
    pub(super) identity: Option<SpiffeId>,
}

impl Source {
    /// Whoever acts on changes has to look.
    pub(super) fn ring(&self) {
        if let Some(watch) = &self.watch {
            watch.bell.ring();
        }
    }

    /// Percent of its share that each endpoint has at this moment. One that comes into use beside others begins with
    /// little of it, where the policy says so.
    pub(super) fn warm(&mut self, places: &[Place], old: &EndpointSet, now: Instant) -> Vec<u32> {
        let window = self.how.slow_start.filter(|_| !self.how.policy.hashes());
        self.warms_at = None;
        let Some(window) = window else { return vec![100; places.len()] };
        let in_use: foldhash::HashSet<SocketAddr> =
            old.endpoints().iter().map(|endpoint| endpoint.address).collect();
        let stands = |place: &Place| State::of(place.state.tally.phase(), place.state.standing.lock().health);
        let states: Vec<State> = places.iter().map(stands).collect();
        let panic = panics(&states, self.how.panic_below);
        let mut warms = false;
        let percents = places.iter().zip(states).map(|(place, state)| {
            let mut standing = place.state.standing.lock();
            if !panic && state != State::Usable {
                standing.warms_since = None;
                return 100;
            }
            if !in_use.is_empty() && !in_use.contains(&place.address) {
                standing.warms_since = Some(now);
            }
            let since = standing.warms_since.map(|since| now.saturating_duration_since(since));
            let percent = since.map_or(100, |since| slow_start::percent(since, window));
            warms |= percent < 100;
            percent
        });
        let percents = percents.collect();
        self.warms_at = warms.then(|| now + slow_start::step(window));
        percents
    }

    /// Every address once, in the order of the list; one that is listed twice has both weights, the first zone, and the
    /// first identity that is written: never plaintext where any of them asks for more.
    pub(super) fn weights(&self) -> Vec<Weighted> {
        let mut all: Vec<Weighted> = Vec::with_capacity(self.listed.len());
        let mut index: foldhash::HashMap<SocketAddr, usize> = foldhash::HashMap::default();
        let mut add = |address: SocketAddr, listed: &Listed| {
            let at = *index.entry(address).or_insert(all.len());
            match all.get_mut(at) {
                Some(entry) => {
                    entry.weight = entry.weight.saturating_add(listed.weight);
                    entry.identity = entry.identity.take().or_else(|| listed.identity.clone());
                }
                None => {
                    let Listed { weight, zone, identity, .. } = listed;
                    let (zone, identity) = (zone.clone(), identity.clone());
                    all.push(Weighted { address, weight: *weight, zone, identity });
                }
            }
        };
        for listed in &self.listed {
            match &listed.address {
                model::EndpointAddress::Ip(address) => add(*address, listed),
                model::EndpointAddress::Dns { host, port } => self
                    .resolved
                    .iter()
                    .filter(|known| known.host == *host && known.port == *port)
                    .flat_map(|known| &known.addresses)
                    .for_each(|ip| add(SocketAddr::new(*ip, *port), listed)),
            }
        }
        all
    }
}
