//! Active health checks: asks the endpoints of the policy in use whether they are well, on the background runtime.
//!
//! Each checked endpoint has one task, and all those of a cell belong to one that follows the cell's endpoints: a check
//! never outlives its endpoint, nor its policy. What the answers make of an endpoint is decided in
//! `balance/health_check.rs`, what follows from that in its cell. Nothing here is counted as traffic.

mod ask;
mod grpc;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Weak},
    time::SystemTime,
};

use outrigger_config::model::{AppProtocol, HealthCheck};
use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::Semaphore,
    task::{AbortHandle, JoinSet},
};

pub(crate) use self::ask::Question;
use crate::{
    balance::{EndpointCell, Health, LastCheck, PinnedPeer, health_check::Course},
    runtime::snapshot::{Port, Service, Snapshot},
    telemetry::metrics::{CheckOutcome, EndpointMetrics, Metrics},
    upstream::security::Protection,
};

/// Checks that are under way at once; the others wait for their turn.
const AT_ONCE: usize = 256;

/// How the endpoints of one cell are checked.
struct Plan {
    service: Arc<str>,
    /// By which the cell knows its checks.
    number: u64,
    check: HealthCheck,
    question: Question,
    metrics: Arc<EndpointMetrics>,
    turns: Arc<Semaphore>,
}

/// A cell whose endpoints are checked.
#[derive(Debug)]
struct Checked {
    check: HealthCheck,
    /// What connections to the endpoints depend on.
    reached: (AppProtocol, Protection),
    cell: Weak<EndpointCell>,
    task: AbortHandle,
}

impl Drop for Checked {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Checks the endpoints of the policy in use.
#[derive(Debug)]
pub(crate) struct Checker {
    background: Handle,
    metrics: Arc<Metrics>,
    turns: Arc<Semaphore>,
    /// By the cell's address, which no other cell gets while this holds on to it.
    cells: Mutex<HashMap<usize, Checked>>,
}

impl Checker {
    /// A checker that works on `background`.
    pub(crate) fn new(background: Handle, metrics: Arc<Metrics>) -> Self {
        Self { background, metrics, turns: Arc::new(Semaphore::new(AT_ONCE)), cells: Mutex::default() }
    }

    /// Checks what this policy wants checked, and nothing else any more. Checks that stay the same go on.
    pub(crate) fn follow(&self, snapshot: &Snapshot) {
        let mut cells = self.cells.lock();
        let mut before = std::mem::take(&mut *cells);
        let ports = snapshot
            .services
            .iter()
            .flat_map(|service| service.ports.iter().map(move |port| (service, port)));
        for (service, port) in ports {
            let Some(check) = &port.backend.settings.health_check else { continue };
            let key = Arc::as_ptr(&port.backend.endpoints) as usize;
            let reached = (protocol(port), port.backend.protection.clone());
            let known = before.remove(&key).filter(|known| known.check == *check && known.reached == reached);
            cells.insert(key, known.unwrap_or_else(|| self.begin(service, port, check, reached)));
        }
        for (_, gone) in before.drain() {
            if let Some(cell) = gone.cell.upgrade() {
                gone.task.abort();
                cell.forget_checks();
            }
        }
    }

    fn begin(
        &self,
        service: &Service,
        port: &Port,
        check: &HealthCheck,
        reached: (AppProtocol, Protection),
    ) -> Checked {
        let label = &port.backend.label;
        let plan = Arc::new(Plan {
            service: label.clone(),
            number: port.backend.endpoints.begin_checks(),
            check: check.clone(),
            question: Question::new(&service.source, &check.check, &reached),
            metrics: self.metrics.endpoints(label),
            turns: self.turns.clone(),
        });
        let cell = Arc::downgrade(&port.backend.endpoints);
        let task = self.background.spawn(follow_endpoints(cell.clone(), plan)).abort_handle();
        Checked { check: check.clone(), reached, cell, task }
    }

    /// Waits until every endpoint that is checked has been so once.
    pub(crate) fn first_answers(&self) -> impl Future<Output = ()> + Send + use<> {
        let cells: Vec<_> = self.cells.lock().values().map(|checked| checked.cell.clone()).collect();
        async move {
            for cell in cells.iter().filter_map(Weak::upgrade) {
                let mut changes = cell.follow();
                let known = |cell: &EndpointCell| {
                    let set = cell.load();
                    set.all().iter().all(|endpoint| endpoint.health() != Health::Unknown)
                };
                while !known(&cell) && changes.changed().await.is_ok() {}
            }
        }
    }
}

/// What the endpoints of a port are spoken to in.
fn protocol(port: &Port) -> AppProtocol {
    port.backend.protocol.spoken_to(http::Version::HTTP_11)
}

/// Keeps one task for each endpoint of the cell; they end with this one.
async fn follow_endpoints(cell: Weak<EndpointCell>, plan: Arc<Plan>) {
    let Some(mut changes) = cell.upgrade().map(|cell| cell.follow()) else { return };
    let mut tasks = JoinSet::new();
    let mut running: HashMap<SocketAddr, AbortHandle> = HashMap::new();
    loop {
        let Some(set) = cell.upgrade().map(|cell| cell.load()) else { return };
        running.retain(|address, task| {
            let stays = set.all().iter().any(|endpoint| endpoint.address == *address);
            if !stays {
                task.abort();
            }
            stays
        });
        for endpoint in set.all().iter() {
            running
                .entry(endpoint.address)
                .or_insert_with(|| tasks.spawn(check_on(cell.clone(), endpoint.address, plan.clone())));
        }
        drop(set);
        // Those that were aborted are gone for good.
        while tasks.try_join_next().is_some() {}
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Asks one endpoint again and again.
async fn check_on(cell: Weak<EndpointCell>, address: SocketAddr, plan: Arc<Plan>) {
    let Some(Some(health)) = cell.upgrade().map(|cell| cell.health(address)) else { return };
    let (mut course, mut before) = (Course::from(health), health);
    loop {
        let Some(peer) = cell.upgrade().map(|cell| cell.peer(address)) else { return };
        let failure = ask_once((address, peer), &plan).await.err();
        let health = course.take(failure.is_none(), &plan.check);
        let Some(cell) = cell.upgrade() else { return };
        if health != before {
            tell(&plan, address, (before, health), failure.as_deref());
            before = health;
        }
        cell.checked(plan.number, address, health, LastCheck { at: SystemTime::now(), failure });
        drop(cell);
        tokio::time::sleep(course.pause(&plan.check, rand::random())).await;
    }
}

/// Asks once, and counts what came of it. The error is for people.
async fn ask_once(endpoint: (SocketAddr, Option<Arc<PinnedPeer>>), plan: &Plan) -> Result<(), String> {
    // The semaphore is never closed.
    let _turn = plan.turns.acquire().await;
    let answer = tokio::time::timeout(plan.check.timeout, plan.question.ask(endpoint)).await;
    let (outcome, result) = match answer {
        Ok(Ok(())) => (CheckOutcome::Passed, Ok(())),
        Ok(Err(failed)) => (failed.outcome, Err(failed.reason)),
        Err(_) => (CheckOutcome::Timeout, Err(format!("no answer within {:?}", plan.check.timeout))),
    };
    plan.metrics.checked(outcome);
    result
}

fn tell(plan: &Plan, endpoint: SocketAddr, (before, health): (Health, Health), failure: Option<&str>) {
    let service = &*plan.service;
    match (before, health) {
        (_, Health::Unhealthy) => {
            tracing::warn!(service, %endpoint, reason = failure.unwrap_or_default(), "endpoint is unhealthy");
        }
        (Health::Unknown, _) => tracing::debug!(service, %endpoint, "endpoint is healthy"),
        _ => tracing::info!(service, %endpoint, "endpoint is healthy again"),
    }
    plan.metrics.turned(health);
}
