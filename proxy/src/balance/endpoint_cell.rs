//! The cell that holds the current endpoints of one Service port.
//!
//! Endpoints are live and no part of a pinned policy: every attempt picks from the current set, and a change of endpoints
//! rebuilds nothing else. A cell outlives reloads. Names are listed here and resolved elsewhere: whoever resolves
//! them hands the addresses in; so are endpoints judged and checked. Writers take a lock that no request ever touches.

mod source;

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use arc_swap::ArcSwap;
use outrigger_config::model;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{
    Endpoint, EndpointSet, PinnedPeer,
    keeper::{Bell, Found},
    outlier::{self, Case, Change, Phase},
    standing::{Health, LastCheck, State},
    visit::Watch,
};
use source::{Listed, Place, Resolved, Source, Weighted};

/// Holds the current [`EndpointSet`] of one Service port.
#[derive(Debug)]
pub struct EndpointCell {
    current: ArcSwap<EndpointSet>,
    version: AtomicU64,
    source: Mutex<Source>,
    /// Told of every new set, by its version; for whoever follows the endpoints and is no request.
    told: watch::Sender<u64>,
}

impl Default for EndpointCell {
    fn default() -> Self {
        Self {
            current: ArcSwap::from_pointee(EndpointSet::default()),
            version: AtomicU64::new(0),
            source: Mutex::default(),
            told: watch::Sender::new(0),
        }
    }
}

impl EndpointCell {
    /// A cell with one fixed address: the app behind an inbound listener.
    pub fn fixed(address: SocketAddr) -> Self {
        let cell = Self::default();
        let address = model::EndpointAddress::Ip(address);
        cell.set_listed(vec![Listed { address, weight: 1, zone: None, identity: None }]);
        cell
    }

    /// Told of every new set, by its version.
    pub(crate) fn follow(&self) -> watch::Receiver<u64> {
        self.told.subscribe()
    }

    /// What active checks say of an endpoint; `None`: it is not here.
    pub(crate) fn health(&self, address: SocketAddr) -> Option<Health> {
        let set = self.current.load();
        let endpoint = set.all().iter().find(|endpoint| endpoint.address == address)?;
        Some(endpoint.state.standing.lock().health)
    }

    /// Who an endpoint must prove to be; `None`: it is not here, or it speaks no mutual TLS.
    pub(crate) fn peer(&self, address: SocketAddr) -> Option<Arc<PinnedPeer>> {
        let set = self.current.load();
        set.all().iter().find(|endpoint| endpoint.address == address)?.peer.clone()
    }

    /// From now on the endpoints are checked by who calls this, and gives the number with each check; one that others have
    /// made counts no more.
    pub(crate) fn begin_checks(&self) -> u64 {
        let mut source = self.source.lock();
        source.checks += 1;
        source.checks
    }

    /// An active check of an endpoint has ended, and with it the endpoint's health may have changed.
    pub(crate) fn checked(&self, by: u64, address: SocketAddr, health: Health, last: LastCheck) {
        let mut source = self.source.lock();
        if source.checks != by {
            return;
        }
        let set = self.current.load();
        let Some(endpoint) = set.all().iter().find(|endpoint| endpoint.address == address) else { return };
        let before = {
            let mut standing = endpoint.state.standing.lock();
            standing.last_check = Some(last);
            std::mem::replace(&mut standing.health, health)
        };
        if before == health {
            return;
        }
        if before == Health::Unhealthy {
            // What requests met while it was unwell says nothing any more.
            endpoint.state.tally.forget();
        }
        self.publish(&mut source, now());
        source.ring();
    }

    /// Nobody checks the endpoints any more: nothing is held against them.
    pub(crate) fn forget_checks(&self) {
        let mut source = self.source.lock();
        source.checks += 1;
        for endpoint in self.current.load().all().iter() {
            let mut standing = endpoint.state.standing.lock();
            (standing.health, standing.last_check) = (Health::Unknown, None);
        }
        self.publish(&mut source, now());
        source.ring();
    }

    /// The current set. A worker's [`super::Balancer`] keeps it at hand and asks only for the version.
    pub fn load(&self) -> Arc<EndpointSet> {
        self.current.load_full()
    }

    /// The version of the current set; one atomic load.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Sets what policy lists. Addresses that stay keep their load; names that stay keep their last addresses.
    /// The same list again changes nothing.
    pub fn replace(&self, endpoints: &[model::Endpoint]) {
        self.set_listed(
            endpoints
                .iter()
                .map(|endpoint| Listed {
                    address: endpoint.address.clone(),
                    weight: endpoint.weight.max(1),
                    zone: endpoint.zone.clone(),
                    identity: endpoint.identity.clone(),
                })
                .collect(),
        );
    }

    /// Sets the addresses that a listed name has now. A name that is not listed (any more) is passed over.
    /// Whether to keep the last answer when resolving fails is up to the caller: an empty list means none.
    pub fn set_dns(&self, host: &str, port: u16, mut addresses: Vec<IpAddr>) {
        addresses.sort_unstable();
        addresses.dedup();
        let mut source = self.source.lock();
        let Some(known) = source.resolved.iter_mut().find(|known| &*known.host == host && known.port == port)
        else {
            return;
        };
        if known.addresses != addresses {
            known.addresses = addresses;
            self.publish(&mut source, now());
            source.ring();
        }
    }

    /// The names that must be resolved, with their ports, each once.
    pub fn dns_names(&self) -> Vec<(Arc<str>, u16)> {
        self.source.lock().resolved.iter().map(|known| (known.host.clone(), known.port)).collect()
    }

    fn set_listed(&self, listed: Vec<Listed>) {
        let mut source = self.source.lock();
        if source.listed == listed {
            return;
        }
        let mut old = std::mem::take(&mut source.resolved);
        for endpoint in &listed {
            let model::EndpointAddress::Dns { host, port } = &endpoint.address else { continue };
            if source.resolved.iter().any(|known| known.host == *host && known.port == *port) {
                continue;
            }
            let known = old.iter().position(|known| known.host == *host && known.port == *port);
            source.resolved.push(match known {
                Some(index) => old.swap_remove(index),
                None => Resolved { host: host.clone(), port: *port, addresses: Vec::new() },
            });
        }
        source.listed = listed;
        self.publish(&mut source, now());
        source.ring();
    }

    /// From now on the endpoints are chosen from so, by a proxy that stands in this zone.
    pub(crate) fn arrange(&self, how: &model::LoadBalancer, zone: Option<&Arc<str>>) {
        let mut source = self.source.lock();
        if source.how != *how || source.zone.as_ref() != zone {
            (source.how, source.zone) = (how.clone(), zone.cloned());
            self.publish(&mut source, now());
        }
    }

    /// From now on the endpoints are judged as these settings say; `bell` tells who acts on it.
    pub(super) fn govern(&self, settings: &model::TrafficSettings, bell: Bell) {
        let mut source = self.source.lock();
        let limits = &settings.outlier_detection;
        let same = source.watch.as_ref().is_some_and(|watch| watch.limits == *limits);
        if same && source.how == settings.load_balancer {
            return;
        }
        source.watch = Some(Arc::new(Watch { limits: limits.clone(), bell }));
        (source.how, source.interval_ends) = (settings.load_balancer.clone(), None);
        self.publish(&mut source, now());
    }

    /// Judges the endpoints by what attempts came to, and publishes them anew where that changes something.
    pub(super) fn attend(&self, now: Instant) -> Found {
        let mut source = self.source.lock();
        let Some(watch) = source.watch.clone() else { return Found::default() };
        let all = self.current.load().all().clone();
        let ended = source.interval_ends.is_some_and(|end| end <= now);
        if ended || source.interval_ends.is_none() {
            source.interval_ends = watch.limits.judges_rates().then(|| now + watch.limits.interval);
        }
        let mut cases: Vec<Case> = all.iter().map(|endpoint| case(endpoint, ended)).collect();
        let mut changes = Vec::new();
        for judged in outlier::judge(&mut cases, &watch.limits, now) {
            let state = &all[judged.index].state;
            // A request may have come in between: then the bell has been rung again.
            if !state.tally.advance(judged.from, judged.to) {
                continue;
            }
            state.standing.lock().sentence = judged.sentence;
            if judged.to == Phase::InUse && judged.change != Change::Forgiven {
                state.tally.forget();
            }
            changes.push((all[judged.index].address, judged.change));
        }
        let stepped = source.warms_at.is_some_and(|at| at <= now);
        if stepped
            || changes.iter().any(|(_, change)| !matches!(change, Change::Forgiven | Change::Withheld(_)))
        {
            self.publish(&mut source, now);
        }
        let set = self.current.load();
        let panicked = std::mem::replace(&mut source.panicked, set.panics());
        let dues = all.iter().filter_map(|endpoint| endpoint.state.standing.lock().sentence.due);
        Found {
            changes,
            states: State::ALL.map(|state| all.iter().filter(|endpoint| endpoint.stands() == state).count()),
            panic: set.panics(),
            panicked: set.panics() && !panicked,
            next: dues.chain(source.interval_ends).chain(source.warms_at).min(),
        }
    }

    /// Makes the set of `source` the current one. Called with the lock held, so versions only grow.
    fn publish(&self, source: &mut Source, now: Instant) {
        let old = self.current.load();
        let kept: foldhash::HashMap<SocketAddr, &Arc<Endpoint>> =
            old.all().iter().map(|endpoint| (endpoint.address, endpoint)).collect();
        let version = old.version() + 1;
        let places: Vec<Place> = source
            .weights()
            .into_iter()
            .map(|Weighted { address, weight: listed, zone, identity }| {
                let old = kept.get(&address);
                let state = old.map(|old| old.state.clone()).unwrap_or_default();
                let peer = PinnedPeer::renewed(old.and_then(|old| old.peer.as_ref()), identity);
                Place { address, listed, zone, peer, state }
            })
            .collect();
        let warm = source.warm(&places, &old, now);
        let scaled = warm.iter().any(|percent| *percent < 100);
        let endpoints = places
            .into_iter()
            .zip(warm)
            .map(|(place, warm)| {
                let Place { address, listed, zone, peer, state } = place;
                let weight = if scaled { listed.saturating_mul(warm) } else { listed };
                let watch = source.watch.clone();
                let made = Endpoint { address, weight, listed, warm, zone, peer, state, watch };
                match kept.get(&address) {
                    Some(old) if old.is_same(&made) => Arc::clone(old),
                    _ => Arc::new(made),
                }
            })
            .collect();
        let set = EndpointSet::of(version, endpoints, &source.how, source.zone.as_ref());
        self.current.store(Arc::new(set));
        self.version.store(version, Ordering::Release);
        self.told.send_replace(version);
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// What there is to judge an endpoint by. `ended`: the requests of the interval are taken, and the next one begins.
fn case(endpoint: &Endpoint, ended: bool) -> Case {
    let tally = &endpoint.state.tally;
    let standing = endpoint.state.standing.lock();
    Case {
        phase: tally.phase(),
        sentence: standing.sentence,
        healthy: standing.health != Health::Unhealthy,
        rate: ended.then(|| tally.take_rate()),
    }
}

#[cfg(test)]
mod arranged;
#[cfg(test)]
mod tests;
