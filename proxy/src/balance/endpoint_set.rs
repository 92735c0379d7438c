//! The endpoints of one Service port: an immutable set, and the cell that holds the current one.
//!
//! Endpoints are live and no part of a pinned policy: every attempt picks from the current set, and a change of endpoints
//! rebuilds nothing else. A cell outlives reloads. Names are listed here and resolved elsewhere: whoever resolves
//! them hands the addresses in. Writers take a lock that no request ever touches.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use outrigger_config::model;
use parking_lot::Mutex;

use super::EndpointState;

/// One address that a request can be sent to.
#[derive(Debug)]
pub struct Endpoint {
    /// Where to connect.
    pub address: SocketAddr,
    /// Its share relative to the others; never 0.
    pub weight: u32,
    /// Its load, kept across changes of the set and reloads.
    pub state: Arc<EndpointState>,
}

/// The endpoints at one moment.
#[derive(Debug, Default)]
pub struct EndpointSet {
    version: u64,
    endpoints: Box<[Arc<Endpoint>]>,
    /// Weights up to and including each; empty where all are equal, the common case, which needs no search.
    sums: Box<[u64]>,
    total: u64,
}

impl EndpointSet {
    fn new(version: u64, endpoints: Box<[Arc<Endpoint>]>) -> Self {
        let mut total = 0;
        let sums: Box<[u64]> = endpoints
            .iter()
            .map(|endpoint| {
                total += u64::from(endpoint.weight);
                total
            })
            .collect();
        let equal = endpoints.windows(2).all(|pair| pair[0].weight == pair[1].weight);
        Self { version, endpoints, sums: if equal { Box::default() } else { sums }, total }
    }

    /// Grows with every change of its cell.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The endpoints, each address once.
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.endpoints.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    pub(super) fn total_weight(&self) -> u64 {
        self.total
    }

    /// The index whose weight covers `point`, which is below the total weight.
    pub(super) fn at(&self, point: u64) -> usize {
        match self.sums.is_empty() {
            true => (point / (self.total / self.endpoints.len() as u64)) as usize,
            false => self.sums.partition_point(|sum| *sum <= point),
        }
    }

    /// The weights before `index`.
    pub(super) fn before(&self, index: usize) -> u64 {
        match (index, self.sums.is_empty()) {
            (0, _) => 0,
            (_, true) => self.total / self.endpoints.len() as u64 * index as u64,
            (_, false) => self.sums[index - 1],
        }
    }

    /// The set without `tried`. `None` where that changes nothing, or leaves nothing. Only a repeat comes to the copy.
    pub(super) fn without(&self, tried: &[SocketAddr]) -> Option<Self> {
        if tried.is_empty() {
            return None;
        }
        let rest: Box<[_]> =
            self.endpoints.iter().filter(|endpoint| !tried.contains(&endpoint.address)).cloned().collect();
        (!rest.is_empty() && rest.len() < self.len()).then(|| Self::new(self.version, rest))
    }
}

/// Holds the current [`EndpointSet`] of one Service port.
#[derive(Debug)]
pub struct EndpointCell {
    current: ArcSwap<EndpointSet>,
    version: AtomicU64,
    source: Mutex<Source>,
}

/// What the set is made of.
#[derive(Debug, Default)]
struct Source {
    listed: Vec<Listed>,
    resolved: Vec<Resolved>,
}

/// An endpoint as policy lists it; a change of any other field does not concern the set.
#[derive(Debug, PartialEq)]
struct Listed {
    address: model::EndpointAddress,
    weight: u32,
}

#[derive(Debug)]
struct Resolved {
    host: Arc<str>,
    port: u16,
    addresses: Vec<IpAddr>,
}

impl Default for EndpointCell {
    fn default() -> Self {
        Self {
            current: ArcSwap::from_pointee(EndpointSet::default()),
            version: AtomicU64::new(0),
            source: Mutex::default(),
        }
    }
}

impl EndpointCell {
    /// A cell with one fixed address: the app behind an inbound listener.
    pub fn fixed(address: SocketAddr) -> Self {
        let cell = Self::default();
        cell.set_listed(vec![Listed { address: model::EndpointAddress::Ip(address), weight: 1 }]);
        cell
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
                .map(|endpoint| Listed { address: endpoint.address.clone(), weight: endpoint.weight.max(1) })
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
            self.publish(&source);
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
        self.publish(&source);
    }

    /// Makes the set of `source` the current one. Called with the lock held, so versions only grow.
    fn publish(&self, source: &Source) {
        let old = self.current.load();
        let kept: foldhash::HashMap<SocketAddr, &Arc<Endpoint>> =
            old.endpoints.iter().map(|endpoint| (endpoint.address, endpoint)).collect();
        let version = old.version + 1;
        let endpoints = source
            .weights()
            .into_iter()
            .map(|(address, weight)| match kept.get(&address) {
                Some(old) if old.weight == weight => Arc::clone(old),
                Some(old) => Arc::new(Endpoint { address, weight, state: old.state.clone() }),
                None => Arc::new(Endpoint { address, weight, state: Arc::default() }),
            })
            .collect();
        self.current.store(Arc::new(EndpointSet::new(version, endpoints)));
        self.version.store(version, Ordering::Release);
    }
}

impl Source {
    /// Every address once, in the order of the list; one that is listed twice has both weights.
    fn weights(&self) -> Vec<(SocketAddr, u32)> {
        let mut all: Vec<(SocketAddr, u32)> = Vec::with_capacity(self.listed.len());
        let mut index: foldhash::HashMap<SocketAddr, usize> = foldhash::HashMap::default();
        let mut add = |address: SocketAddr, weight: u32| {
            let at = *index.entry(address).or_insert(all.len());
            match all.get_mut(at) {
                Some(entry) => entry.1 = entry.1.saturating_add(weight),
                None => all.push((address, weight)),
            }
        };
        for listed in &self.listed {
            match &listed.address {
                model::EndpointAddress::Ip(address) => add(*address, listed.weight),
                model::EndpointAddress::Dns { host, port } => self
                    .resolved
                    .iter()
                    .filter(|known| known.host == *host && known.port == *port)
                    .flat_map(|known| &known.addresses)
                    .for_each(|ip| add(SocketAddr::new(*ip, *port), listed.weight)),
            }
        }
        all
    }
}
