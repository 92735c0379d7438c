//! Connections to a Service whose number is limited: who opens one, who waits, and how one that others wait for comes to
//! them.
//!
//! Each worker has a pool of its own, so a connection that one keeps can be what another one waits for. While nobody
//! waits, pools work as they do without a limit. While somebody does, no connection stays idle: it is handed to the first
//! of its own worker that waits ([`Kept`]), or closed, so that its permit goes to the first in line. A worker that begins
//! to wait asks one that keeps an idle connection to give it up ([`Peers`]). While a worker's own requests keep a connection
//! busy, it yields after [`TURN`]; streams of HTTP/2 that then do not end keep it from yielding for [`DRAIN`] at most,
//! and it serves its own worker again. What may be open is for `policy/circuit_breaker/limits.rs` to say.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{sync::mpsc, time::Instant};

use super::{
    attempt::{AtLimit, AttemptError, Class, Plan},
    connect::within,
    http1::{self, Idle, Lease},
    http2::{self, Place},
    pool::EndpointPool,
};
use crate::{
    policy::circuit_breaker::{self as breaker, Grant, Limit, Limits, Permit, Waiter, Wanted, Who},
    worker::Worker,
};

/// How long a connection goes on serving its own worker while another one waits. Long enough that making connections
/// does not become the work, short enough that nobody notices.
const TURN: Duration = Duration::from_millis(20);

/// How long a connection that yields takes no new stream while it has old ones.
const DRAIN: Duration = Duration::from_secs(1);

/// Whose requests a connection serves next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Its own worker's.
    Own,
    /// Nobody's: it is to end, for others wait.
    Nobody,
}

/// Since when others have been seen to wait for a connection.
#[derive(Debug, Default)]
pub(super) struct Others(Cell<Option<Instant>>);

impl Others {
    /// Whose turn it is, while somebody waits.
    fn next(&self, limits: &Limits, who: Who) -> Next {
        if !limits.others_first(who) {
            self.0.set(None);
            return Next::Own;
        }
        let now = Instant::now();
        let (since, next) = turn(self.0.get(), now);
        self.0.set(Some(since));
        next
    }

    fn none_wait(&self) {
        self.0.set(None);
    }
}

/// The pure core of [`Others::next`].
fn turn(since: Option<Instant>, now: Instant) -> (Instant, Next) {
    let since = since.unwrap_or(now);
    match now.saturating_duration_since(since) {
        waited if waited < TURN => (since, Next::Own),
        waited if waited < TURN + DRAIN => (since, Next::Nobody),
        _ => (now, Next::Own),
    }
}

/// Room on a connection that is kept for one who waits.
#[derive(Debug)]
pub(super) enum Kept {
    Http1(Idle),
    Http2(Place),
}

/// What is kept of a pool, by the number of who waits for it.
pub(super) type AllKept = RefCell<HashMap<u64, Kept>>;

/// What a worker that needs a connection gets.
enum Got {
    /// May make one.
    Permit(Permit),
    /// Has one with room.
    Kept(Kept),
}

/// A place in line, with the pool in which something may be kept for it.
struct InLine<'a> {
    waiter: Waiter,
    pool: Option<&'a Rc<EndpointPool>>,
}

impl Future for InLine<'_> {
    type Output = Result<Option<Got>, AttemptError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.waiter).poll(cx).map(|grant| {
            Ok(match grant {
                Grant::Permit(permit) => Some(Got::Permit(permit)),
                Grant::Kept(number) => self.take(number).map(Got::Kept),
            })
        })
    }
}

impl InLine<'_> {
    fn take(&self, number: u64) -> Option<Kept> {
        self.pool.and_then(|pool| pool.kept.borrow_mut().remove(&number))
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        // What was kept for who has left goes to the next.
        if let (Some(kept), Some(pool)) = (self.take(self.waiter.number()), self.pool) {
            kept.release(pool);
        }
    }
}

impl Kept {
    fn release(self, pool: &Rc<EndpointPool>) {
        match self {
            Kept::Http1(idle) => put_back(pool, idle),
            // Its own end offers the room again.
            Kept::Http2(place) => drop(place),
        }
    }
}

/// Asks for a connection of its own: one that no pool has.
pub(crate) async fn permit(worker: &Worker, plan: Plan<'_>) -> Result<Option<Permit>, AttemptError> {
    let Some(limits) = plan.limits else { return Ok(None) };
    if let Some(permit) = limits.take(Wanted::Connection) {
        return Ok(Some(permit));
    }
    let who = Who { worker: worker.id, pool: 0 };
    loop {
        match Box::pin(got(worker, plan, limits, (who, None))).await? {
            Some(Got::Permit(permit)) => return Ok(Some(permit)),
            Some(Got::Kept(_)) | None => {}
        }
    }
}

async fn got(
    worker: &Worker,
    plan: Plan<'_>,
    limits: &Arc<Limits>,
    (who, pool): (Who, Option<&Rc<EndpointPool>>),
) -> Result<Option<Got>, AttemptError> {
    let refused = |limit| AttemptError::new(limits.refuse(limit), Class::Limit);
    if let Some(permit) = limits.take(Wanted::Connection) {
        return Ok(Some(Got::Permit(permit)));
    }
    if plan.at_limit == AtLimit::GiveUp {
        return Err(refused(Limit::Connections));
    }
    let waiter = match limits.wait(Wanted::Connection, who).map_err(refused)? {
        breaker::Turn::Now(permit) => return Ok(Some(Got::Permit(permit))),
        breaker::Turn::Later(waiter) => waiter,
    };
    ask_for_one(worker, limits);
    let in_line = InLine { waiter, pool };
    // Not made before it is known that the time has passed: it counts.
    match within(worker, plan.connect, async { Ok(in_line.await) }, ()).await {
        Ok(got) => got,
        Err(()) => Err(refused(Limit::Connections)),
    }
}

/// Somebody keeps an idle connection, perhaps: then it is wanted.
fn ask_for_one(worker: &Worker, limits: &Arc<Limits>) {
    if worker.pool.give_up_one(limits) {
        return;
    }
    if let Some(other) = limits.most_idle(worker.id) {
        worker.peers.ask(other, limits);
    }
}

/// A pooled HTTP/1 connection, or a new one.
pub(super) async fn http1(
    worker: &Rc<Worker>,
    pool: &Rc<EndpointPool>,
    plan: Plan<'_>,
    limits: &Arc<Limits>,
) -> Result<Lease, AttemptError> {
    loop {
        if limits.wait_for_connections() == 0
            && let Some(lease) = http1::pooled(worker, pool, plan).await
        {
            return Ok(lease);
        }
        match got(worker, plan, limits, (pool.who, Some(pool))).await? {
            Some(Got::Permit(permit)) => return http1::open(worker, pool, plan, Some(permit)).await,
            Some(Got::Kept(Kept::Http1(idle))) => {
                if let Some(lease) = http1::woken(idle, pool, plan).await {
                    return Ok(lease);
                }
            }
            Some(Got::Kept(Kept::Http2(_))) | None => {}
        }
    }
}

/// An HTTP/1 connection has served its request.
pub(super) fn put_back(pool: &Rc<EndpointPool>, idle: Idle) {
    let Some(limits) = &pool.limits else { return pool.keep(idle) };
    if limits.too_many_connections() {
        return idle.retire();
    }
    let mut idle = idle;
    if limits.wait_for_connections() == 0 {
        idle.others.none_wait();
        pool.keep(idle);
        if limits.wait_for_connections() == 0 {
            return;
        }
        // Somebody has begun to wait, and may have looked around before it was kept.
        let Some(kept) = pool.http1.borrow_mut().pop() else { return };
        idle = kept;
    }
    if idle.others.next(limits, pool.who) == Next::Own
        && let Some(number) = limits.offer(pool.who)
    {
        pool.kept.borrow_mut().insert(number, Kept::Http1(idle));
        return;
    }
    // Closed by this, it frees its permit.
    idle.retire();
}

/// A place on a shared HTTP/2 connection, or on a new one.
pub(super) async fn http2(
    worker: &Rc<Worker>,
    pool: &Rc<EndpointPool>,
    plan: Plan<'_>,
    limits: &Arc<Limits>,
) -> Result<Place, AttemptError> {
    let until = plan.connect.map(|limit| Instant::now() + limit);
    loop {
        if let Some(place) = in_turn(pool, limits) {
            return Ok(place);
        }
        if pool.http2.connection_is_made(until).await? {
            continue;
        }
        // Where our certificate has changed there is perhaps no room for a link made with the new one: an old one does.
        let got = match limits.take(Wanted::Connection) {
            Some(permit) => Some(Got::Permit(permit)),
            None => match pool.http2.free(|link| link.others.next(limits, pool.who) == Next::Own) {
                Some(place) => return Ok(place),
                None => got(worker, plan, limits, (pool.who, Some(pool))).await?,
            },
        };
        match got {
            // While it waited, another one of this worker's may have got further.
            Some(Got::Permit(permit)) if !pool.http2.is_connecting() => {
                if let Some(place) = in_turn(pool, limits) {
                    return Ok(place);
                }
                let place = http2::connected(worker, pool, plan, Some(permit)).await?;
                offer_room(pool, limits);
                return Ok(place);
            }
            Some(Got::Kept(Kept::Http2(place))) if !place.has_ended() => return Ok(place),
            Some(_) | None => {}
        }
    }
}

/// A place, unless others wait who come first.
fn in_turn(pool: &Rc<EndpointPool>, limits: &Arc<Limits>) -> Option<Place> {
    if limits.wait_for_connections() == 0 {
        return pool.http2.free(|link| link.generation() == pool.generation());
    }
    offer_room(pool, limits);
    let own = |link: &http2::Connection| link.others.next(limits, pool.who) == Next::Own;
    pool.http2.free(|link| link.generation() == pool.generation() && own(link))
}

/// Gives the room on a pool's HTTP/2 connections to those of its worker that wait.
pub(super) fn offer_room(pool: &Rc<EndpointPool>, limits: &Arc<Limits>) {
    while limits.wait_for_connections() > 0 {
        let next = |connection: &http2::Connection| connection.others.next(limits, pool.who) == Next::Own;
        // Those on which our last certificate was shown come after all others.
        let current = |link: &http2::Connection| link.generation() == pool.generation() && next(link);
        let room = pool.http2.with_room(current).or_else(|| pool.http2.with_room(next));
        let Some(connection) = room else { return };
        let Some(number) = limits.offer(pool.who) else { return };
        pool.kept.borrow_mut().insert(number, Kept::Http2(Place::take(&connection)));
    }
}

/// A stream of a shared connection has ended.
pub(super) fn stream_ended(connection: &Rc<http2::Connection>, pool: &Rc<EndpointPool>) {
    let Some(limits) = &pool.limits else { return };
    if connection.is_idle() && connection.generation() != pool.generation() {
        // Its permit is for a link with our new certificate.
        return pool.http2.let_go(connection);
    }
    if limits.wait_for_connections() == 0 && !limits.too_many_connections() {
        connection.others.none_wait();
        if connection.is_idle() {
            connection.mark_idle(limits, pool.who.worker);
            if limits.wait_for_connections() > 0 {
                pool.http2.let_go(connection);
            }
        }
        return;
    }
    offer_room(pool, limits);
    if connection.is_idle() {
        pool.http2.let_go(connection);
    }
}

/// The mailboxes of all workers.
#[derive(Clone, Debug)]
pub(crate) struct Peers(Arc<[mpsc::UnboundedSender<Arc<Limits>>]>);

/// Where a worker hears what others want of it.
pub(crate) type Mailbox = mpsc::UnboundedReceiver<Arc<Limits>>;

impl Peers {
    /// For so many workers, with the mailbox of each.
    pub(crate) fn new(workers: usize) -> (Self, Vec<Mailbox>) {
        let (senders, mailboxes): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::unbounded_channel()).unzip();
        (Self(senders.into()), mailboxes)
    }

    fn ask(&self, worker: usize, limits: &Arc<Limits>) {
        if let Some(mailbox) = self.0.get(worker) {
            // A worker that has ended keeps nothing.
            let _ = mailbox.send(limits.clone());
        }
    }
}

/// Gives up idle connections that other workers ask for.
pub(crate) async fn give_up(worker: Rc<Worker>, mut mailbox: Mailbox) {
    while let Some(limits) = mailbox.recv().await {
        if limits.wait_for_connections() > 0 {
            // Those that it kept may have ended by themselves: then the next worker is asked.
            ask_for_one(&worker, &limits);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_yields_after_its_turn_and_not_for_ever() {
        let start = Instant::now();
        assert_eq!(turn(None, start), (start, Next::Own));
        let short = start + TURN / 2;
        assert_eq!(turn(Some(start), short), (start, Next::Own));
        assert_eq!(turn(Some(start), start + TURN), (start, Next::Nobody));
        let late = start + TURN + DRAIN;
        assert_eq!(turn(Some(start), late), (late, Next::Own), "its streams do not end");
    }
}
