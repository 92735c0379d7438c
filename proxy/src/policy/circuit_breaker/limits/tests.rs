//! Permits, the line before them, and both under threads.

use std::{
    pin::Pin,
    sync::atomic::AtomicUsize,
    task::{Context, Poll, Wake, Waker},
};

use super::*;

const ME: Who = Who { worker: 0, pool: 7 };
const OTHER: Who = Who { worker: 1, pool: 8 };

fn limits(requests: Option<u32>, connections: Option<u32>, pending: Option<u32>) -> Arc<Limits> {
    let limits = Limits::new(4, &Arc::new(CircuitBreakerMetrics::new("shop/cart:80".into())));
    limits.set(&ServiceLimits { requests, connections, pending_requests: pending, retries: Some(1) });
    limits
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

fn poll(waiter: &mut Waiter) -> Option<Grant> {
    match Pin::new(waiter).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(grant) => Some(grant),
        Poll::Pending => None,
    }
}

fn in_line(limits: &Arc<Limits>, wanted: Wanted, who: Who) -> Waiter {
    match limits.wait(wanted, who) {
        Ok(Turn::Later(waiter)) => waiter,
        other => panic!("not in line: {other:?}"),
    }
}

#[test]
fn never_over_the_limit_and_refused_where_nobody_may_wait() {
    let limits = limits(Some(2), None, None);
    let held = [(); 2].map(|()| limits.take(Wanted::Request).expect("free"));
    assert!(limits.take(Wanted::Request).is_none());
    assert_eq!(limits.wait(Wanted::Request, ME).err(), Some(Limit::Requests));
    assert_eq!(limits.usage(Limit::Requests), (2, Some(2)));
    drop(held);
    assert_eq!(limits.usage(Limit::Requests), (0, Some(2)));
    assert!(limits.take(Wanted::Connection).is_some(), "unlimited");
}

#[test]
fn who_came_first_is_served_first_and_nobody_passes_the_line() {
    let limits = limits(Some(1), None, Some(2));
    let held = limits.take(Wanted::Request).expect("free");
    let mut first = in_line(&limits, Wanted::Request, ME);
    let mut second = in_line(&limits, Wanted::Request, OTHER);
    assert_eq!(limits.wait(Wanted::Request, ME).err(), Some(Limit::PendingRequests));
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    assert!(Pin::new(&mut first).poll(&mut Context::from_waker(&waker)).is_pending());
    drop(held);
    assert_eq!(woken.0.load(SeqCst), 1);
    assert!(limits.take(Wanted::Request).is_none(), "it is the first one's, who has yet to look");
    assert!(poll(&mut second).is_none());
    let Some(Grant::Permit(permit)) = poll(&mut first) else { panic!("served") };
    drop(permit);
    assert!(matches!(poll(&mut second), Some(Grant::Permit(_))));
    assert_eq!(limits.usage(Limit::Requests).0, 0);
}

#[test]
fn who_leaves_the_line_takes_nothing_along() {
    let limits = limits(Some(1), None, Some(3));
    let held = limits.take(Wanted::Request).expect("free");
    let gone = in_line(&limits, Wanted::Request, ME);
    let served = in_line(&limits, Wanted::Request, ME);
    let mut last = in_line(&limits, Wanted::Request, ME);
    assert_eq!(limits.usage(Limit::PendingRequests), (3, Some(3)));
    drop(gone);
    assert_eq!(limits.usage(Limit::PendingRequests), (2, Some(3)));
    drop(held);
    drop(served);
    assert!(matches!(poll(&mut last), Some(Grant::Permit(_))));
    assert_eq!((limits.usage(Limit::PendingRequests).0, limits.usage(Limit::Requests).0), (0, 0));
}

#[test]
fn room_on_a_connection_is_offered_to_its_own_worker_and_pool() {
    let limits = limits(None, Some(1), None);
    let held = limits.take(Wanted::Connection).expect("free");
    let mut other = in_line(&limits, Wanted::Connection, OTHER);
    assert!(limits.offer(ME).is_none());
    let mut mine = in_line(&limits, Wanted::Connection, ME);
    assert!(limits.others_first(ME) && !limits.others_first(OTHER));
    assert_eq!(limits.offer(ME), Some(mine.number()));
    assert!(matches!(poll(&mut mine), Some(Grant::Kept(number)) if number == mine.number()));
    drop(held);
    assert!(matches!(poll(&mut other), Some(Grant::Permit(_))));
}

#[test]
fn the_lines_do_not_stand_in_each_others_way_and_share_their_room() {
    let limits = limits(Some(1), Some(1), Some(2));
    let request = limits.take(Wanted::Request).expect("free");
    let connection = limits.take(Wanted::Connection).expect("free");
    let mut begins = in_line(&limits, Wanted::Request, ME);
    let mut goes_on = in_line(&limits, Wanted::Connection, ME);
    assert_eq!(limits.wait(Wanted::Connection, ME).err(), Some(Limit::PendingRequests));
    drop(connection);
    assert!(poll(&mut begins).is_none());
    assert!(matches!(poll(&mut goes_on), Some(Grant::Permit(_))));
    drop(request);
    assert!(matches!(poll(&mut begins), Some(Grant::Permit(_))));
}

#[test]
fn a_reload_changes_limits_and_keeps_what_is_held() {
    let limits = limits(Some(1), None, Some(9));
    let _held = limits.take(Wanted::Request).expect("free");
    let mut waiting = in_line(&limits, Wanted::Request, ME);
    limits.set(&ServiceLimits { requests: Some(2), pending_requests: Some(9), ..ServiceLimits::default() });
    let Some(Grant::Permit(_second)) = poll(&mut waiting) else { panic!("there is room") };
    limits.set(&ServiceLimits { requests: Some(1), ..ServiceLimits::default() });
    assert_eq!(limits.usage(Limit::Requests), (2, Some(1)));
    assert!(limits.take(Wanted::Request).is_none());
}

#[test]
fn repeats_are_counted_and_idle_connections_known() {
    let limits = limits(None, None, None);
    let repeat = limits.retry().expect("free");
    assert!(limits.retry().is_none());
    drop(repeat);
    assert!(limits.retry().is_some());
    assert_eq!(limits.most_idle(0), None);
    let marks = [1, 2, 2].map(|worker| IdleMark::new(&limits, worker));
    assert_eq!((limits.most_idle(0), limits.most_idle(2)), (Some(2), Some(1)));
    drop(marks);
    assert_eq!(limits.most_idle(0), None);
}

#[test]
fn workers_that_race_are_never_over_and_all_are_served() {
    let limits = limits(Some(3), None, Some(1000));
    let (open, most, served) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
    let one = async |who: Who| {
        for round in 0..100 {
            let permit = match limits.take(Wanted::Request) {
                Some(permit) => permit,
                None => match limits.wait(Wanted::Request, who).expect("room in line") {
                    Turn::Now(permit) => permit,
                    // Some lose patience.
                    Turn::Later(waiter) if round % 7 == 0 => {
                        drop(waiter);
                        continue;
                    }
                    Turn::Later(waiter) => match waiter.await {
                        Grant::Permit(permit) => permit,
                        Grant::Kept(_) => panic!("nothing is kept here"),
                    },
                },
            };
            most.fetch_max(open.fetch_add(1, SeqCst) + 1, SeqCst);
            tokio::task::yield_now().await;
            open.fetch_sub(1, SeqCst);
            served.fetch_add(1, SeqCst);
            drop(permit);
        }
    };
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let one = &one;
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                let who = Who { worker, pool: 1 };
                runtime.block_on(async {
                    tokio::join!(one(who), one(who), one(who), one(who), one(who), one(who))
                });
            });
        }
    });
    assert_eq!(most.load(SeqCst), 3);
    assert!(served.load(SeqCst) > 2000);
    assert_eq!((limits.usage(Limit::Requests).0, limits.usage(Limit::PendingRequests).0), (0, 0));
}
