//! The endpoints of one Service port at one moment: those that are chosen from, and the others.
//!
//! What is ejected or unhealthy is not among those that are chosen from, unless too few would be left. Immutable: another
//! moment is another set.

use std::{net::SocketAddr, sync::Arc};

use outrigger_config::model::LoadBalancer;

use super::{
    EndpointState, PinnedPeer,
    locality::{self, Split},
    outlier::Phase,
    standing::{Health, Report, State},
    table::Table,
    visit::Watch,
};

/// One address that a request can be sent to.
#[derive(Debug)]
pub struct Endpoint {
    /// Where to connect.
    pub address: SocketAddr,
    /// Its share relative to the others as it is at this moment; never 0.
    pub weight: u32,
    /// The share that policy lists.
    pub listed: u32,
    /// Percent of the listed share that it has so far; 100 but for slow start.
    pub warm: u32,
    /// The zone it stands in.
    pub zone: Option<Arc<str>>,
    /// Who it must prove to be, where it speaks mutual TLS.
    pub peer: Option<Arc<PinnedPeer>>,
    /// Its load, and what is known of its health, kept across changes of the set and reloads.
    pub state: Arc<EndpointState>,
    /// How it is judged by what attempts come to; `None`: it is not.
    pub(super) watch: Option<Arc<Watch>>,
}

impl Endpoint {
    /// Where it stands.
    pub fn stands(&self) -> State {
        State::of(self.state.tally.phase(), self.state.standing.lock().health)
    }

    /// All that is known about it, for people.
    pub fn report(&self, now: std::time::Instant) -> Report {
        let tally = &self.state.tally;
        self.state.standing.lock().report(tally.phase(), tally.runs(), now)
    }

    /// What active checks say of it.
    pub(crate) fn health(&self) -> Health {
        self.state.standing.lock().health
    }

    /// Whether it is one with another in all that a set is made of.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        fn same<T>(one: &Option<Arc<T>>, other: &Option<Arc<T>>) -> bool {
            match (one, other) {
                (Some(one), Some(other)) => Arc::ptr_eq(one, other),
                (one, other) => one.is_none() && other.is_none(),
            }
        }
        let shared = same(&self.watch, &other.watch) && same(&self.peer, &other.peer);
        let key = |of: &Self| (of.address, of.weight, of.listed, of.warm);
        shared && key(self) == key(other) && self.zone == other.zone
    }
}

/// The endpoints at one moment.
#[derive(Debug, Default)]
pub struct EndpointSet {
    version: u64,
    /// Those that are chosen from.
    endpoints: Arc<[Arc<Endpoint>]>,
    /// Each of them in whatever state; the same list where all are usable.
    all: Arc<[Arc<Endpoint>]>,
    /// Ejected ones that get one request at a time.
    on_trial: Box<[Arc<Endpoint>]>,
    /// Ejected ones, on trial or not: what is left for a repeat that has tried all that are chosen from.
    left_out: Box<[Arc<Endpoint>]>,
    /// Too few are usable, so all are chosen from.
    panic: bool,
    /// Weights up to and including each; empty where all are equal, the common case, which needs no search.
    sums: Box<[u64]>,
    total: u64,
    /// What a key is looked up in.
    table: Option<Table>,
    /// What is near and what is not, where that counts.
    split: Option<Box<Split>>,
}

impl EndpointSet {
    /// The set of `all` endpoints, of which the usable ones are chosen from, by `how` and in this zone.
    pub(super) fn of(
        version: u64,
        all: Arc<[Arc<Endpoint>]>,
        how: &LoadBalancer,
        zone: Option<&Arc<str>>,
    ) -> Self {
        let states: Vec<State> = all.iter().map(|endpoint| endpoint.stands()).collect();
        let only = |state| {
            let pairs = all.iter().zip(&states).filter(move |(_, stands)| **stands == state);
            pairs.map(|(endpoint, _)| endpoint.clone())
        };
        let panic = panics(&states, how.panic_below);
        let on_trial = if panic { Box::default() } else { only(State::HalfOpen).collect() };
        let all_usable = states.iter().all(|state| *state == State::Usable);
        let chosen = if panic || all_usable { all.clone() } else { only(State::Usable).collect() };
        let left_out = match panic {
            true => Box::default(),
            false => only(State::Ejected).chain(only(State::HalfOpen)).collect(),
        };
        let mut set = Self { on_trial, left_out, panic, ..Self::new(version, chosen) };
        set.all = all;
        let near = how.locality.zip(zone);
        set.split = near.and_then(|(locality, zone)| {
            let usable = set.all.iter().zip(&states).filter(|(_, state)| **state == State::Usable);
            let usable = locality::weight(usable.map(|(endpoint, _)| endpoint), zone);
            let whole = locality::weight(set.all.iter(), zone);
            let part = |near: bool| set.only(|endpoint| locality::is_near(endpoint, zone) == near);
            let (near, far) = part(true).zip(part(false))?;
            let near_share = locality::near_share(usable, whole, locality.spill_below);
            Some(Box::new(Split { near: near.tabled(how), far: far.tabled(how), near_share }))
        });
        if set.split.is_some() { set } else { set.tabled(how) }
    }

    /// With what its policy looks keys up in.
    fn tabled(self, how: &LoadBalancer) -> Self {
        Self { table: Table::new(how.policy, &self.endpoints), ..self }
    }

    fn new(version: u64, endpoints: Arc<[Arc<Endpoint>]>) -> Self {
        let mut total = 0;
        let sums: Box<[u64]> = endpoints
            .iter()
            .map(|endpoint| {
                total += u64::from(endpoint.weight);
                total
            })
            .collect();
        let equal = endpoints.windows(2).all(|pair| pair[0].weight == pair[1].weight);
        let sums = if equal { Box::default() } else { sums };
        let (all, on_trial, left_out) = (endpoints.clone(), Box::default(), Box::default());
        Self {
            version,
            endpoints,
            all,
            on_trial,
            left_out,
            panic: false,
            sums,
            total,
            table: None,
            split: None,
        }
    }

    /// Grows with every change of its cell.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The endpoints to choose from, each address once: those that are neither ejected nor unhealthy, or all.
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// Every endpoint, whatever its state.
    pub fn all(&self) -> &Arc<[Arc<Endpoint>]> {
        &self.all
    }

    /// Ejected endpoints that get one request at a time, before any of the others gets one.
    pub(super) fn on_trial(&self) -> &[Arc<Endpoint>] {
        &self.on_trial
    }

    /// Whether there is an endpoint that was not tried, be it an ejected one.
    pub fn has_other(&self, tried: &[SocketAddr]) -> bool {
        self.endpoints.iter().chain(&self.left_out).any(|endpoint| !tried.contains(&endpoint.address))
    }

    /// An ejected endpoint for a repeat that has tried every other one: it is a better guess than one that has just
    /// failed.
    pub(super) fn last_resort(&self, tried: &[SocketAddr]) -> Option<&Arc<Endpoint>> {
        let untried = |endpoint: &&Arc<Endpoint>| !tried.contains(&endpoint.address);
        if tried.is_empty() || self.left_out.is_empty() || self.endpoints.iter().any(|one| untried(&one)) {
            return None;
        }
        self.left_out.iter().filter(untried).min_by_key(|endpoint| endpoint.state.open())
    }

    /// Whether too few are usable, so that all are chosen from.
    pub fn panics(&self) -> bool {
        self.panic
    }

    /// Whether one of those to choose from is passed over nevertheless: it is about to be judged, or was ejected after
    /// this set was made.
    pub(super) fn passes_over(&self, endpoint: &Endpoint) -> bool {
        match endpoint.state.tally.phase() {
            Phase::Suspect(_) | Phase::Failed => true,
            Phase::Ejected => !self.panic,
            _ => false,
        }
    }

    /// What a key is looked up in, for policies that hash.
    pub(super) fn table(&self) -> Option<&Table> {
        self.table.as_ref()
    }

    /// What is near and what is not; `None`: it makes no difference.
    pub(super) fn split(&self) -> Option<&Split> {
        self.split.as_deref()
    }

    /// Percent of the requests that stay in the proxy's own zone; `None`: it makes no difference.
    pub fn near_percent(&self) -> Option<f64> {
        self.split.as_ref().map(|split| split.near_share as f64 * 100.0 / locality::WHOLE as f64)
    }

    /// How many there are to choose from.
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
        self.only(|endpoint| !tried.contains(&endpoint.address))
    }

    /// Those to choose from that `keeps` keeps. `None` where that changes nothing, or leaves nothing.
    pub(super) fn only(&self, keeps: impl Fn(&Endpoint) -> bool) -> Option<Self> {
        let rest: Arc<[_]> = self.endpoints.iter().filter(|endpoint| keeps(endpoint)).cloned().collect();
        (!rest.is_empty() && rest.len() < self.len())
            .then(|| Self { panic: self.panic, ..Self::new(self.version, rest) })
    }
}

/// Whether so few are usable that all are chosen from.
pub(super) fn panics(states: &[State], panic_below: f64) -> bool {
    let usable = states.iter().filter(|state| **state == State::Usable).count();
    usable < states.len() && (usable as f64) * 100.0 < panic_below * states.len() as f64
}
