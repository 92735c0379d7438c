//! The attempts of one request: pick an endpoint, take a connection, send, look at what came of it, and repeat where
//! the retry law, the policy, the budget and the deadline all allow it.

mod trail;

use std::{
    future::poll_fn,
    net::SocketAddr,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use http::{HeaderMap, Request, Response, header::RETRY_AFTER, request::Parts};
use tokio::time::Instant;

use super::{
    Pinned,
    circuit_breaker::{CircuitBreaker, Entered, Entry, Limit, RetryPermit},
    deadline::{self, Deadline},
    outlier_detection,
    retry::{self, Judgement, Outcome},
    supply::Supply,
    target::{Held, Picked, Target, Wish},
};
use crate::{
    body::{Flow, Key, RequestBody, UpstreamBody},
    decide::{Dice, Purpose},
    error::Failure,
    request::strict::Checked,
    runtime::snapshot::Backend,
    telemetry::{
        metrics::{AttemptOutcome, RetryDenied, RetryReason, TlsFault},
        trace::Trace,
    },
    upstream::{
        attempt::{self, AtLimit, AttemptError, Class, Handover, Plan},
        connect,
        mesh::Told,
    },
    worker::Worker,
};
use trail::{Trail, may_have_started};

/// Without a deadline, a `Retry-After` longer than this is the caller's to wait for.
const PATIENCE: Duration = Duration::from_secs(1);

/// What all attempts of a request share.
pub(crate) struct Attempts<'a> {
    pub(crate) worker: &'a Rc<Worker>,
    pub(crate) pinned: &'a Pinned<'a>,
    pub(crate) deadline: &'a Deadline,
    pub(crate) flow: &'a Rc<Flow>,
    pub(crate) checked: &'a Checked,
    /// The request may be sent again although it may have started.
    pub(crate) repeatable: bool,
    /// Opens the caller's body when the upstream asks for it.
    pub(crate) key: Option<Key>,
    /// Has a span for each attempt, where the request is traced.
    pub(crate) trace: &'a Trace,
}

/// What came of them.
pub(crate) struct Attempted {
    pub(crate) result: Result<(Response<UpstreamBody>, Held), Failure>,
    /// Where the last attempt went.
    pub(crate) upstream: Option<SocketAddr>,
    /// How many were made.
    pub(crate) made: u32,
    /// Whether an endpoint may have begun to work on one of them.
    pub(crate) started: bool,
    /// The failure that another Service was asked for, if it was.
    pub(crate) instead: Option<Instead>,
}

/// Why another Service was asked: the failure, if it is the proxy's own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Instead(pub(crate) Option<Failure>);

impl Attempted {
    /// Attempts at another Service, after those at the request's own.
    pub(crate) fn instead_of(mut self, own: Attempted, failure: Option<Failure>) -> Self {
        self.made += own.made;
        self.upstream = self.upstream.or(own.upstream);
        self.instead = Some(Instead(failure));
        self
    }
}

impl Attempts<'_> {
    /// Makes attempts until one is answered for good or no other may follow.
    pub(crate) async fn run(&self, head: &Parts, supply: &mut Supply) -> Attempted {
        let mut trail = Trail::default();
        let target = &self.pinned.target;
        self.pinned.rule.budget.deposit(Instant::now().into_std());
        loop {
            let entered = match target.circuit_breaker() {
                None => Ok(None),
                Some(breaker) => self.enter(breaker).await.map(Some),
            };
            let wish = Wish { tried: trail.avoid(target), stay: self.pinned.stay, key: self.pinned.key };
            let picked = entered.and_then(|entry| {
                let mut picked = target.pick(self.worker, wish, &mut self.dice(trail.made))?;
                picked.enter(entry);
                Ok(picked)
            });
            let mut picked = match picked {
                Ok(picked) => picked,
                Err(failure) => return trail.ended(Err(failure), None),
            };
            trail.made += 1;
            let addr = picked.addr;
            let result = match supply.next() {
                Some(body) => self.once((&mut picked, trail.made - 1), head, body).await,
                None => Err(AttemptError::new(Failure::Internal, Class::Caller)),
            };
            let dead = matches!(&result, Err(error) if error.class == Class::Connect);
            trail.started |= may_have_started(&result);
            let counted = trail.counted(addr, dead, target);
            let Some((reason, pause)) = self.judge(&result, supply, counted, &mut trail.repeat) else {
                let held = picked.into_held(trail.repeat.take());
                let result = result.map(|answer| (answer, held)).map_err(|error| error.failure);
                return trail.ended(result, Some(addr));
            };
            trail.add(addr, dead);
            if let Ok(answer) = result {
                answer.into_body().discard(self.flow.request_done.get(), &self.worker.deadlines);
            }
            drop(picked);
            target.metrics().retry(self.worker.id, reason);
            self.trace.repeated(reason);
            let least = self.pinned.rule.settings.retry.backoff.least;
            let at_once = self.is_free(reason) && least.is_zero() && target.has_other(&trail.tried);
            if !at_once && let Err(failure) = Box::pin(self.rest(pause)).await {
                return trail.ended(Err(failure), Some(addr));
            }
        }
    }

    /// Makes them at another Service, with the same settings.
    pub(crate) async fn elsewhere(
        &self,
        backend: &Arc<Backend>,
        head: &Parts,
        supply: &mut Supply,
    ) -> Attempted {
        let pinned = Pinned { target: Target::Service(backend.clone()), stay: None, ..*self.pinned };
        Attempts { pinned: &pinned, key: self.key.clone(), ..*self }.run(head, supply).await
    }

    /// Waits until the Service's circuit breaker lets an attempt through.
    async fn enter(&self, breaker: &Arc<CircuitBreaker>) -> Result<Box<Entry>, Failure> {
        let waiter = match breaker.enter(self.worker.id) {
            Entered::In(entry) => return Ok(Box::new(entry)),
            Entered::Refused(failure) => return Err(failure),
            Entered::Waits(waiter) => waiter,
        };
        // Seldom: not worth room in every request's future.
        let waiting = Box::pin(async move { Ok(waiter.await) });
        let limit = self.pinned.rule.settings.timeouts.attempt;
        match self.within(pin!(waiting), limit).await {
            Ok(grant) => breaker.served(grant).map(Box::new),
            Err(AttemptError { class: Class::Timeout, .. }) => Err(breaker.limits().refuse(Limit::Requests)),
            Err(error) => Err(error.failure),
        }
    }

    fn dice(&self, made: u32) -> Dice {
        Dice::split(self.pinned.dice, Purpose::Endpoint { attempt: made })
    }

    fn is_free(&self, reason: RetryReason) -> bool {
        matches!(reason, RetryReason::Unsent | RetryReason::ConnectFailure)
    }

    /// One attempt, inside its own and the request's limits.
    async fn once(
        &self,
        (picked, number): (&mut Picked, u32),
        head: &Parts,
        body: RequestBody,
    ) -> Result<Response<UpstreamBody>, AttemptError> {
        let target = &self.pinned.target;
        let (addr, sidecar) = (picked.addr, picked.sidecar);
        let security = target.security(picked);
        let pool = self.worker.pool.endpoint(addr, security, (target.from(), target.limits()));
        let timeouts = &self.pinned.rule.settings.timeouts;
        let plan = Plan {
            metrics: target.metrics(),
            protocol: security.spoken(target.protocol(self.checked.spoken())),
            security,
            switch: self.checked.switch.as_deref(),
            from: target.from(),
            connect: timeouts.connect,
            limits: target.limits(),
            at_limit: AtLimit::Wait,
            repeatable: self.repeatable,
        };
        let started = Instant::now();
        self.trace.attempt(started, addr, &plan);
        let opened = self.within(pin!(attempt::open(self.worker, &pool, plan)), None).await;
        let result = match opened {
            Ok(opened) => {
                let mut head = copy(head);
                self.tell_far_side(&mut head, sidecar.then_some(number));
                self.trace.tell(&mut head);
                let (key, framing) = (self.key.as_ref(), self.checked.framing);
                let handover = Handover { key, framing, upgrade: plan.upgrade() };
                let request = Request::from_parts(head, body);
                let sent =
                    self.within(pin!(attempt::send(opened, request, handover)), timeouts.attempt).await;
                if matches!(&sent, Err(error) if error.failure == Failure::TlsFailed) {
                    target.metrics().tls_failed(self.worker.id, TlsFault::Refused);
                }
                sent
            }
            Err(error) => Err(error),
        };
        let elapsed = started.elapsed();
        if result.is_ok() {
            picked.observe(elapsed);
        }
        picked.tell(outlier_detection::of_attempt(&result, self, head, elapsed));
        picked.conclude(&result, self.checked);
        let outcome = outcome_of(&result);
        target.metrics().attempt(self.worker.id, outcome, elapsed);
        self.trace.attempted(&result, outcome);
        result
    }

    /// Tells the far side what is left of the request's time; a sidecar also which attempt this is, and of whom.
    fn tell_far_side(&self, head: &mut Parts, of_sidecar: Option<u32>) {
        if !self.checked.grpc && of_sidecar.is_none() {
            return;
        }
        let left = self.deadline.left(Instant::now());
        if let Some(left) = left.filter(|_| self.checked.grpc) {
            deadline::tell(&mut head.headers, left);
        }
        if let Some(attempt) = of_sidecar {
            let without = self.pinned.target.protocol(self.checked.version);
            let version = Told::version(without, self.checked.switch.as_deref());
            Told { version, attempt, left }.write(&mut head.headers);
        }
    }

    /// Runs one step of an attempt until a limit passes.
    async fn within<T>(
        &self,
        mut step: Pin<&mut impl Future<Output = Result<T, AttemptError>>>,
        limit: Option<Duration>,
    ) -> Result<T, AttemptError> {
        let timer = limit.map(|limit| self.worker.deadlines.after(limit));
        poll_fn(|cx| {
            if let Poll::Ready(result) = step.as_mut().poll(cx) {
                return Poll::Ready(result);
            }
            if let Poll::Ready(failure) = self.deadline.poll_passed(cx) {
                return Poll::Ready(Err(AttemptError::new(failure, Class::Caller)));
            }
            match &timer {
                Some(timer) if timer.poll_expired(cx).is_ready() => {
                    Poll::Ready(Err(AttemptError::new(Failure::AttemptTimeout, Class::Timeout)))
                }
                _ => Poll::Pending,
            }
        })
        .await
    }

    /// Whether another attempt follows, why, and after which pause.
    fn judge(
        &self,
        result: &Result<Response<UpstreamBody>, AttemptError>,
        supply: &Supply,
        made: u32,
        repeat: &mut Option<RetryPermit>,
    ) -> Option<(RetryReason, Duration)> {
        let retry = &self.pinned.rule.settings.retry;
        let outcome = match result {
            Err(error) => Outcome::Failed(error.class),
            Ok(_) if self.pinned.last_hop => return None,
            Ok(answer) => self.answered(answer),
        };
        let metrics = self.pinned.target.metrics();
        let (reason, free) =
            match retry::judge(outcome, retry, self.repeatable && !self.pinned.last_hop, made) {
                Judgement::Repeat { reason, free } => (reason, free),
                Judgement::Final => return None,
                Judgement::Denied(denied) => {
                    metrics.retry_denied(self.worker.id, denied);
                    return None;
                }
            };
        let deny = |denied| {
            metrics.retry_denied(self.worker.id, denied);
            None
        };
        if !supply.whole() {
            return deny(RetryDenied::ReplayOverflow);
        }
        let breaker = self.pinned.target.circuit_breaker();
        if breaker.is_some_and(|breaker| breaker.refuses()) {
            return deny(RetryDenied::CircuitOpen);
        }
        let now = Instant::now();
        let dice = Dice::split(self.pinned.dice, Purpose::Backoff { attempt: made }).roll();
        let mut pause = retry::pause(retry.backoff, made, dice);
        let left = self.deadline.left(now);
        if let Some(asked) = result.as_ref().ok().and_then(|answer| asked_pause(answer.headers())) {
            if asked > left.unwrap_or(PATIENCE) {
                return deny(RetryDenied::Deadline);
            }
            pause = pause.max(asked);
        }
        if left.is_some_and(|left| left <= pause) {
            return deny(RetryDenied::Deadline);
        }
        if let Some(breaker) = breaker.filter(|_| repeat.is_none()) {
            *repeat = breaker.limits().retry();
            if repeat.is_none() {
                return deny(RetryDenied::Limit);
            }
        }
        if !free && !self.pinned.rule.budget.withdraw(now.into_std()) {
            return deny(RetryDenied::Budget);
        }
        Some((reason, pause))
    }

    fn answered(&self, answer: &Response<UpstreamBody>) -> Outcome {
        let grpc = answer.headers().get("grpc-status").filter(|_| self.checked.grpc);
        match grpc.and_then(|value| value.to_str().ok()?.parse().ok()) {
            Some(code) => Outcome::Grpc(code),
            None => Outcome::Status(answer.status().as_u16()),
        }
    }

    /// Waits before a repeat, no longer than the request may last.
    async fn rest(&self, pause: Duration) -> Result<(), Failure> {
        let timer = self.worker.deadlines.after(pause);
        poll_fn(|cx| match self.deadline.poll_passed(cx) {
            Poll::Ready(failure) => Poll::Ready(Err(failure)),
            Poll::Pending => timer.poll_expired(cx).map(Ok),
        })
        .await
    }
}

/// The head for one attempt, or for a mirror; the original stays for the next.
pub(super) fn copy(head: &Parts) -> Parts {
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = head.method.clone();
    parts.uri = head.uri.clone();
    parts.headers = head.headers.clone();
    parts
}

fn asked_pause(headers: &HeaderMap) -> Option<Duration> {
    retry::retry_after(headers.get(RETRY_AFTER)?.as_bytes())
}

/// What an attempt came to, in the words of its metric.
pub(super) fn outcome_of(result: &Result<Response<UpstreamBody>, AttemptError>) -> AttemptOutcome {
    let error = match result {
        Ok(answer) if answer.status().is_server_error() => return AttemptOutcome::Http5xx,
        Ok(answer) => {
            let failed = answer.headers().get("grpc-status").is_some_and(|status| status != "0");
            return if failed { AttemptOutcome::GrpcError } else { AttemptOutcome::Success };
        }
        Err(error) => error,
    };
    match (error.class, error.failure) {
        (_, Failure::RequestTimeout) => AttemptOutcome::RequestTimeout,
        (_, Failure::StreamIdle) => AttemptOutcome::StreamIdle,
        (Class::Connect, failure) => connect::outcome(failure),
        (Class::Unsent | Class::Refused, _) => AttemptOutcome::Refused,
        (Class::Reset, _) => AttemptOutcome::Reset,
        (Class::Timeout, _) => AttemptOutcome::AttemptTimeout,
        (Class::Protocol, _) => AttemptOutcome::Protocol,
        (Class::Caller, _) => AttemptOutcome::Cancelled,
        (Class::Limit, _) => AttemptOutcome::Limited,
    }
}
