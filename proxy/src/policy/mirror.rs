//! Copies of requests that go to mirrors. A copy never delays, fails or touches the request that it is of.
//!
//! It is sent beside the request, in a task of its own, once: no retry, no fallback. It goes to one endpoint of the
//! mirror, by the mirror's own balancing, protocol and time limits, with the Host that the request has then (no
//! `-shadow` behind it: the Gateway API knows of none, and hosts are what apps route by). Its answer is read and thrown
//! away. Its body is copied as the original is read, and given up where the mirror falls behind. What it may cost is
//! bounded: copies that are open, bytes that are kept, time, bytes of the answer.

use std::{
    future::poll_fn,
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Version, header::EXPECT, request::Parts};
use http_body::Body;
use tokio::time::Instant;

use super::{
    attempts, outlier_detection,
    target::{Picked, Target, Wish},
};
use crate::{
    balance::Verdict,
    body::{Fate, Inlet, ReadOut, RequestBody, Watch, copied},
    decide::{Dice, Purpose, Taken},
    error::Failure,
    request::strict::{Checked, Framing},
    runtime::snapshot::MirrorTarget,
    telemetry::metrics::{AttemptOutcome, MirrorOutcome},
    upstream::{
        attempt::{self, AtLimit, AttemptError, Class, Handover, Plan},
        mesh::Told,
        security::Security,
    },
    worker::{
        Worker,
        deadline::{Deadlines, Timer},
    },
};

/// Copies that one mirror may have open on one worker; a mirror that hangs must not eat up the descriptors.
const OPEN: u64 = 256;

/// What is left to a copy once the original's body has been read: nobody waits for it.
const LINGER: Duration = Duration::from_secs(15);

/// What is read of one answer.
const ANSWER: usize = 16 * 1024 * 1024;

/// The copies of one request that are to be sent; nothing is allocated where there is none.
#[derive(Debug, Default)]
pub(crate) struct Copies(Vec<Copy>);

#[derive(Debug)]
struct Copy {
    to: MirrorTarget,
    head: Parts,
}

impl Copies {
    /// Takes a copy of the head, as it is now, for each of the mirrors.
    pub(crate) fn take(&mut self, mirrors: Taken<'_>, head: &Parts) {
        for to in mirrors.iter() {
            let mut head = attempts::copy(head);
            // Its body comes when the original's does.
            head.headers.remove(EXPECT);
            self.0.push(Copy { to: to.clone(), head });
        }
    }

    /// Sends them, with what will be read of the body. A request that becomes a tunnel has no copy: its other side would
    /// have nobody to talk to.
    pub(crate) fn send(self, worker: &Rc<Worker>, checked: &Checked, inlet: &mut Inlet) {
        if checked.switch.is_some() {
            return;
        }
        for copy in self.0 {
            copy.to.metrics.begun(worker.id);
            if copy.to.metrics.open_on(worker.id) > OPEN {
                copy.to.metrics.ended(worker.id, MirrorOutcome::Shed);
                continue;
            }
            let (body, watch) = if inlet.is_end_stream() {
                (RequestBody::Empty, None)
            } else {
                let (inflow, body, watch) = copied(inlet.size_hint().exact(), &worker.kept_for_mirrors);
                inlet.copy_to(inflow);
                (RequestBody::Copied(body), Some(watch))
            };
            let way = Way { version: checked.version, framing: checked.framing, grpc: checked.grpc };
            let request = Request::from_parts(copy.head, body);
            tokio::task::spawn_local(send(worker.clone(), copy.to, request, way, watch));
        }
    }
}

/// What of the original's own way the copy's depends on.
#[derive(Clone, Copy)]
struct Way {
    version: Version,
    framing: Framing,
    grpc: bool,
}

/// Sends one copy and counts what became of it.
async fn send(
    worker: Rc<Worker>,
    to: MirrorTarget,
    request: Request<RequestBody>,
    way: Way,
    watch: Option<Watch>,
) {
    let outcome = {
        let whole = to.backend.settings.timeouts.request;
        let mut limits = Limits::start(&worker.deadlines, whole, watch.as_ref());
        let mut exchange = pin!(exchange(&worker, &to, request, way, watch.as_ref()));
        poll_fn(|cx| match limits.poll_over(cx) {
            Poll::Ready(outcome) => Poll::Ready(outcome),
            Poll::Pending => exchange.as_mut().poll(cx),
        })
        .await
    };
    to.metrics.ended(worker.id, outcome);
}

/// What ends a copy early.
struct Limits<'a> {
    deadlines: &'a Rc<Deadlines>,
    watch: Option<&'a Watch>,
    /// The mirror's own limit for the whole.
    whole: Option<Timer>,
    linger: Option<Timer>,
}

impl<'a> Limits<'a> {
    fn start(deadlines: &'a Rc<Deadlines>, whole: Option<Duration>, watch: Option<&'a Watch>) -> Self {
        let whole = whole.map(|limit| deadlines.after(limit));
        let linger = watch.is_none().then(|| deadlines.after(LINGER));
        Self { deadlines, watch, whole, linger }
    }

    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<MirrorOutcome> {
        match self.watch.map(|watch| watch.fate(cx)) {
            Some(Fate::Abandoned) => return Poll::Ready(MirrorOutcome::Abandoned),
            Some(Fate::BrokenOff) => return Poll::Ready(MirrorOutcome::Cancelled),
            Some(Fate::Ended | Fate::Unwanted) if self.linger.is_none() => {
                self.linger = Some(self.deadlines.after(LINGER));
            }
            Some(Fate::Open | Fate::Ended | Fate::Unwanted) | None => {}
        }
        let mut over =
            |timer: &Option<Timer>| timer.as_ref().is_some_and(|timer| timer.poll_expired(cx).is_ready());
        if over(&self.whole) || over(&self.linger) {
            return Poll::Ready(MirrorOutcome::Timeout);
        }
        Poll::Pending
    }
}

async fn exchange(
    worker: &Rc<Worker>,
    to: &MirrorTarget,
    mut request: Request<RequestBody>,
    way: Way,
    watch: Option<&Watch>,
) -> MirrorOutcome {
    let target = Target::Service(to.backend.clone());
    let mut dice = Dice::split(worker.dice(), Purpose::Endpoint { attempt: 0 });
    let picked = match target.pick(worker, Wish::default(), &mut dice) {
        Ok(picked) => picked,
        Err(Failure::Loop) => return MirrorOutcome::Loop,
        Err(_) => return MirrorOutcome::NoEndpoint,
    };
    let timeouts = &to.backend.settings.timeouts;
    let security = target.security(&picked);
    let plan = plan(&target, security, timeouts.connect, way);
    let pool = worker.pool.endpoint(picked.addr, security, (target.from(), target.limits()));
    // A copy never waits, and never finds out whether a Service has recovered.
    let permit = target.circuit_breaker().map(|breaker| breaker.pass());
    if matches!(permit, Some(None)) {
        return MirrorOutcome::Shed;
    }
    let opened = match attempt::open(worker, &pool, plan).await {
        Ok(opened) => opened,
        Err(error) => {
            let failed = Err(error);
            picked.tell(outlier_detection::verdict(&failed, way.grpc));
            return outcome_of(attempts::outcome_of(&failed));
        }
    };
    if picked.sidecar {
        // Its own limit, where it has one, ends a copy that takes too long.
        let version = Told::version(target.protocol(way.version), None);
        Told { version, attempt: 0, left: timeouts.request }.write(request.headers_mut());
    }
    let (started, attempt) = (Instant::now(), timeouts.attempt.map(|limit| worker.deadlines.after(limit)));
    let mut answer =
        pin!(attempt::send(opened, request, Handover { key: None, framing: way.framing, upgrade: None }));
    let answer = poll_fn(|cx| {
        if attempt.as_ref().is_some_and(|timer| timer.poll_expired(cx).is_ready()) {
            return Poll::Ready(Err(AttemptError::new(Failure::AttemptTimeout, Class::Timeout)));
        }
        answer.as_mut().poll(cx)
    });
    let result = answer.await;
    let outcome = outcome_of(attempts::outcome_of(&result));
    picked.tell(outlier_detection::verdict(&result, way.grpc));
    let Ok(answer) = result else { return outcome };
    picked.observe(started.elapsed());
    let request_done = || watch.is_none_or(Watch::is_taken);
    let read = answer.into_body().read_out(ANSWER, request_done).await;
    after(read, &picked).unwrap_or(outcome)
}

/// What the answer's body makes of a copy; `None`: nothing, it has come whole.
fn after(read: ReadOut, picked: &Picked) -> Option<MirrorOutcome> {
    match read {
        ReadOut::Whole => {
            picked.tell(Verdict::Whole);
            None
        }
        ReadOut::Cut => {
            picked.tell(Verdict::LocalError);
            Some(MirrorOutcome::Reset)
        }
        ReadOut::TooLong => Some(MirrorOutcome::AnswerTooLong),
    }
}

fn plan<'a>(target: &'a Target, security: Security<'a>, connect: Option<Duration>, way: Way) -> Plan<'a> {
    Plan {
        metrics: target.metrics(),
        protocol: security.spoken(target.protocol(way.version)),
        switch: None,
        from: target.from(),
        connect,
        limits: target.limits(),
        at_limit: AtLimit::GiveUp,
        security,
        repeatable: false,
    }
}

fn outcome_of(attempt: AttemptOutcome) -> MirrorOutcome {
    match attempt {
        AttemptOutcome::Success => MirrorOutcome::Success,
        AttemptOutcome::Http5xx => MirrorOutcome::Http5xx,
        AttemptOutcome::GrpcError => MirrorOutcome::GrpcError,
        AttemptOutcome::ConnectFailed | AttemptOutcome::ConnectTimeout | AttemptOutcome::TlsFailed => {
            MirrorOutcome::ConnectFailed
        }
        AttemptOutcome::AttemptTimeout | AttemptOutcome::RequestTimeout | AttemptOutcome::StreamIdle => {
            MirrorOutcome::Timeout
        }
        AttemptOutcome::Reset | AttemptOutcome::Refused | AttemptOutcome::Protocol => MirrorOutcome::Reset,
        AttemptOutcome::Cancelled => MirrorOutcome::Cancelled,
        AttemptOutcome::Limited => MirrorOutcome::Shed,
        AttemptOutcome::NoEndpoint => MirrorOutcome::NoEndpoint,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::body::Kept;

    /// When these limits end a copy, if nothing else does; and why.
    async fn over(limits: &mut Limits<'_>) -> (Duration, MirrorOutcome) {
        let start = Instant::now();
        let outcome = poll_fn(|cx| limits.poll_over(cx)).await;
        (start.elapsed(), outcome)
    }

    async fn paused(test: impl AsyncFnOnce(Rc<Deadlines>)) {
        let local = tokio::task::LocalSet::new();
        let deadlines = Deadlines::new();
        local.spawn_local(deadlines.clone().run());
        local.run_until(test(deadlines)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_copy_may_linger_for_so_long_and_not_longer_than_its_own_limit() {
        paused(async |deadlines| {
            assert_eq!(
                over(&mut Limits::start(&deadlines, None, None)).await,
                (LINGER, MirrorOutcome::Timeout)
            );
            let short = Duration::from_secs(3);
            let limited = over(&mut Limits::start(&deadlines, Some(short), None)).await;
            assert_eq!(limited, (short, MirrorOutcome::Timeout));
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_of_a_copy_with_a_body_begins_when_the_body_has_ended() {
        paused(async |deadlines| {
            let (inflow, _body, watch) = copied(None, &Kept::default());
            let feeding = async {
                for _ in 0..5 {
                    tokio::time::sleep(Duration::from_secs(100)).await;
                    inflow.data(&Bytes::from_static(b"more"));
                }
                inflow.end();
            };
            let mut limits = Limits::start(&deadlines, None, Some(&watch));
            let ((), ended) = tokio::join!(feeding, over(&mut limits));
            assert_eq!(ended, (Duration::from_secs(500) + LINGER, MirrorOutcome::Timeout));

            let (inflow, _body, watch) = copied(None, &Kept::default());
            let mut limits = Limits::start(&deadlines, Some(Duration::from_secs(9)), Some(&watch));
            assert_eq!(over(&mut limits).await, (Duration::from_secs(9), MirrorOutcome::Timeout));
            let mut limits = Limits::start(&deadlines, None, Some(&watch));
            let breaking = async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                drop(inflow);
            };
            let ((), ended) = tokio::join!(breaking, over(&mut limits));
            assert_eq!(ended, (Duration::from_secs(1), MirrorOutcome::Cancelled));
        })
        .await;
    }
}
