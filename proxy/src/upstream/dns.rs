//! Keeps the addresses of DNS endpoints fresh: one task per name, on the background runtime, never on a request's way.
//!
//! A name is asked for again when its answer's time to live ends. When asking fails, whatever the reason, the last
//! addresses stay in use: an endpoint that answers is better than a name server that does not. A request that meets a
//! name without any address yet is told that there is no endpoint.

mod system;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{runtime::Handle, sync::watch, task::AbortHandle};

use self::system::System;
use crate::{balance::EndpointCell, runtime::snapshot::Snapshot, telemetry::metrics::Metrics};

/// An answer is used for this long at least, whatever its time to live: RELIABILITY's floor.
const SHORTEST: Duration = Duration::from_secs(1);
/// And for this long at most, so that a change of `/etc/hosts` or `/etc/resolv.conf` shows.
const LONGEST: Duration = Duration::from_secs(30);
/// After a failure; doubles up to [`LONGEST`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The addresses of a name, for as long as they hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    addresses: Vec<IpAddr>,
    lifetime: Duration,
}

/// Where names are looked up.
pub(crate) trait Lookup: Send + Sync + 'static {
    /// Looks a name up once. The error is for people.
    fn lookup(&self, host: &str) -> impl Future<Output = Result<Answer, String>> + Send;
}

/// When a name is asked for again. A pure core: chance is an argument, between 0 and 1.
#[derive(Debug, Default)]
struct Pauses {
    failures: u32,
}

impl Pauses {
    fn after_answer(&mut self, lifetime: Duration) -> Duration {
        self.failures = 0;
        lifetime.clamp(SHORTEST, LONGEST)
    }

    /// Half of it is chance, so that the sidecars of a mesh do not ask a recovering server in step.
    fn after_failure(&mut self, chance: f64) -> Duration {
        let longest = FIRST_PAUSE.saturating_mul(1 << self.failures.min(5)).min(LONGEST);
        self.failures += 1;
        longest.mul_f64(0.5 + chance / 2.0)
    }
}

/// A cell that lists a name, and with which port.
type Target = (Weak<EndpointCell>, u16);

/// What is known about a followed name; shared with its task.
#[derive(Debug, Default)]
struct Known {
    targets: Vec<Target>,
    addresses: Option<Vec<IpAddr>>,
}

impl Known {
    fn deliver(&self, host: &str) {
        let Some(addresses) = &self.addresses else { return };
        for (cell, port) in &self.targets {
            if let Some(cell) = cell.upgrade() {
                cell.set_dns(host, *port, addresses.clone());
            }
        }
    }
}

/// A name that is followed.
#[derive(Debug)]
struct Followed {
    known: Arc<Mutex<Known>>,
    asked: watch::Receiver<bool>,
    task: AbortHandle,
}

/// Follows the DNS endpoints of the policy in use.
#[derive(Debug)]
pub(crate) struct Resolver<L = System> {
    lookup: Arc<L>,
    background: Handle,
    metrics: Arc<Metrics>,
    names: Mutex<HashMap<Arc<str>, Followed>>,
}

impl Resolver {
    /// A resolver that works on `background` and looks names up as this machine is configured to.
    pub(crate) fn new(background: Handle, metrics: Arc<Metrics>) -> Self {
        Self::with(System::default(), background, metrics)
    }
}

impl<L: Lookup> Resolver<L> {
    fn with(lookup: L, background: Handle, metrics: Arc<Metrics>) -> Self {
        Self { lookup: Arc::new(lookup), background, metrics, names: Mutex::default() }
    }

    /// Follows the names of this policy, and no others any more. Names that stay keep their addresses.
    pub(crate) fn follow(&self, snapshot: &Snapshot) {
        self.follow_cells(snapshot.ports().map(|port| &port.backend.endpoints));
    }

    fn follow_cells<'a>(&self, cells: impl Iterator<Item = &'a Arc<EndpointCell>>) {
        let mut wanted: HashMap<Arc<str>, Vec<Target>> = HashMap::new();
        for cell in cells {
            for (host, port) in cell.dns_names() {
                wanted.entry(host).or_default().push((Arc::downgrade(cell), port));
            }
        }
        let mut names = self.names.lock();
        names.retain(|host, followed| {
            let stays = wanted.contains_key(host);
            if !stays {
                followed.task.abort();
            }
            stays
        });
        for (host, targets) in wanted {
            match names.get(&host) {
                Some(followed) => {
                    let mut known = followed.known.lock();
                    known.targets = targets;
                    known.deliver(&host);
                }
                None => {
                    let followed = self.begin(host.clone(), targets);
                    names.insert(host, followed);
                }
            }
        }
    }

    fn begin(&self, host: Arc<str>, targets: Vec<Target>) -> Followed {
        let known = Arc::new(Mutex::new(Known { targets, addresses: None }));
        let (told, asked) = watch::channel(false);
        let (lookup, metrics) = (self.lookup.clone(), self.metrics.clone());
        let task = self.background.spawn(keep_fresh(lookup, metrics, host, known.clone(), told));
        Followed { known, asked, task: task.abort_handle() }
    }

    /// Waits until every name that is followed now was asked for once, with or without an answer.
    pub(crate) fn first_answers(&self) -> impl Future<Output = ()> + Send + use<L> {
        let pending: Vec<_> = self.names.lock().values().map(|followed| followed.asked.clone()).collect();
        async move {
            for mut asked in pending {
                // A task that is gone will not ask any more.
                let _ = asked.wait_for(|asked| *asked).await;
            }
        }
    }
}

/// Asks for one name again and again. Aborted when the policy no longer has it.
async fn keep_fresh<L: Lookup>(
    lookup: Arc<L>,
    metrics: Arc<Metrics>,
    host: Arc<str>,
    known: Arc<Mutex<Known>>,
    told: watch::Sender<bool>,
) {
    let mut pauses = Pauses::default();
    loop {
        let pause = match lookup.lookup(&host).await {
            Ok(answer) => {
                metrics.dns_resolved();
                take(&host, &known, answer.addresses, pauses.failures);
                pauses.after_answer(answer.lifetime)
            }
            Err(error) => {
                metrics.dns_failed();
                let kept = known.lock().addresses.as_ref().map_or(0, Vec::len);
                tracing::warn!(%host, error, kept, "a DNS endpoint cannot be looked up; the last addresses stay");
                pauses.after_failure(rand::random())
            }
        };
        told.send_replace(true);
        tokio::time::sleep(pause).await;
    }
}

/// Takes up an answer that came after so many failures.
fn take(host: &str, known: &Mutex<Known>, mut addresses: Vec<IpAddr>, failures: u32) {
    addresses.sort_unstable();
    addresses.dedup();
    let mut known = known.lock();
    if known.addresses.as_ref() != Some(&addresses) || failures > 0 {
        tracing::info!(host, ?addresses, "a DNS endpoint has these addresses");
    }
    known.addresses = Some(addresses);
    known.deliver(host);
}

#[cfg(test)]
mod tests;
