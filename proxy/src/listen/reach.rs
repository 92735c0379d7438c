//! Makes the upstream connection of one that is passed on whole: picks, dials, and tries another endpoint where one cannot
//! be reached.
//!
//! Nothing has been sent yet, so this repeats no work. What is said on the connection is not this file's affair.

use std::{net::SocketAddr, rc::Rc};

use outrigger_config::model::AppProtocol;
use tokio::time::Instant;

use crate::{
    balance::{Verdict, hash_on},
    decide::{Dice, Heard, PassTo, Passage, Purpose},
    egress,
    error::Failure,
    policy::{
        circuit_breaker::{self, Entry},
        target::{Picked, Target, Wish},
    },
    telemetry::metrics::{AttemptOutcome, RetryReason},
    upstream::{
        attempt::{AtLimit, AttemptError, Plan},
        connect::{self, Connected},
        limited,
    },
    worker::Worker,
};

/// Endpoints that are tried for one connection where the first cannot be reached.
const MOST_ENDPOINTS: usize = 4;

/// What is to be reached, for whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach<'a> {
    pub(super) worker: &'a Rc<Worker>,
    pub(super) passage: &'a Passage,
    pub(super) peer: SocketAddr,
    pub(super) heard: Heard<'a>,
    pub(super) dice: u64,
}

/// A connection to the other side, and the endpoint that it was made to.
#[derive(Debug)]
pub(super) struct Reached {
    pub(super) connected: Connected,
    pub(super) picked: Picked,
    /// Every endpoint that was tried, this one last.
    pub(super) tried: Vec<SocketAddr>,
}

impl Reach<'_> {
    /// Connects to an endpoint, and to another one where that cannot be reached. `tried` gets all of them, also when none
    /// could be.
    pub(super) async fn run(&self, tried: &mut Vec<SocketAddr>) -> Result<Reached, Failure> {
        let Self { worker, passage, .. } = *self;
        let backend = passage.backend();
        let target = self.target().await?;
        let plan = Plan {
            metrics: &backend.metrics,
            protocol: AppProtocol::Tcp,
            switch: None,
            security: passage.security(self.heard, None),
            from: target.from(),
            connect: passage.rule.settings.timeouts.connect,
            limits: target.limits(),
            at_limit: AtLimit::Wait,
            repeatable: true,
        };
        let key = target.hash_on().and_then(|on| hash_on::of_connection(on, self.peer.ip()));
        loop {
            let purpose = Purpose::Endpoint { attempt: tried.len() as u32 };
            let wish = Wish { tried, stay: None, key };
            let picked = target.pick(worker, wish, &mut Dice::split(self.dice, purpose))?;
            let entry = target.circuit_breaker().map(|breaker| breaker.connect()).transpose()?;
            tried.push(picked.addr);
            let plan = Plan { security: passage.security(self.heard, picked.peer()), ..plan };
            let permit = limited::permit(worker, plan).await.map_err(|error| error.failure)?;
            let started = Instant::now();
            let connected = connect::connect(worker, picked.addr, plan, permit).await;
            let elapsed = started.elapsed();
            tell(entry, &connected);
            let failure = match connected {
                Ok(connected) => {
                    picked.observe(elapsed);
                    picked.tell(Verdict::Whole);
                    backend.metrics.attempt(worker.id, AttemptOutcome::Success, elapsed);
                    return Ok(Reached { connected, picked, tried: tried.clone() });
                }
                Err(error) => error.failure,
            };
            picked.tell(Verdict::LocalError);
            backend.metrics.attempt(worker.id, connect::outcome(failure), elapsed);
            if tried.len() == MOST_ENDPOINTS || !target.has_other(tried) {
                return Err(failure);
            }
            backend.metrics.retry(worker.id, RetryReason::ConnectFailure);
        }
    }

    async fn target(&self) -> Result<Target, Failure> {
        let backend = self.passage.backend().clone();
        let address =
            |addr, backend| Target::Address { addr, protocol: AppProtocol::Tcp, backend, from: None };
        Ok(match &self.passage.to {
            PassTo::Backend(_) => Target::Service(backend),
            PassTo::App(addr) => Target::app(*addr, AppProtocol::Tcp, backend),
            PassTo::Address { address: addr, log } => {
                egress::tell(*log, self.peer, addr.ip(), addr.port());
                address(*addr, backend)
            }
            PassTo::Host { host, port, log } => {
                egress::tell(*log, self.peer, host, *port);
                address(egress::look_up(self.worker, host, *port).await?, backend)
            }
        })
    }
}

/// Tells the circuit breaker whether there is a connection.
fn tell(entry: Option<Entry>, connected: &Result<Connected, AttemptError>) {
    if let Some(mut entry) = entry {
        entry.conclude(match connected {
            Ok(_) => circuit_breaker::Verdict::Success,
            Err(_) => circuit_breaker::Verdict::Failure,
        });
    }
}
