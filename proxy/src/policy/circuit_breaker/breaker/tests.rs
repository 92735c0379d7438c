//! The breaker with made-up time.

use outrigger_config::model::OpenTime;
use proptest::prelude::*;

use super::*;

fn trip() -> Trip {
    Trip {
        failure_percent: 50.0,
        window: Duration::from_secs(10),
        min_requests: 10,
        open: OpenTime { initial: Duration::from_secs(5), max: Duration::from_secs(15) },
        probe_requests: 3,
    }
}

fn attempt(breaker: &Breaker, verdict: Verdict, now: Instant) -> Option<Phase> {
    let ticket = breaker.admit(now).ticket.expect("closed");
    breaker.conclude(ticket, verdict, now)
}

fn open(breaker: &Breaker, now: Instant) {
    let changes = (0..10).filter_map(|_| attempt(breaker, Verdict::Failure, now)).collect::<Vec<_>>();
    assert_eq!(changes, [Phase::Open]);
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn half_of_the_attempts_must_fail_and_there_must_be_enough_of_them() {
    let now = Instant::now();
    let breaker = Breaker::new(trip());
    for _ in 0..9 {
        assert_eq!(attempt(&breaker, Verdict::Failure, now), None, "too few to tell");
    }
    assert_eq!(attempt(&breaker, Verdict::Failure, now), Some(Phase::Open));

    let breaker = Breaker::new(trip());
    for _ in 0..100 {
        assert_eq!(attempt(&breaker, Verdict::Success, now), None);
    }
    for _ in 0..99 {
        assert_eq!(attempt(&breaker, Verdict::Failure, now), None, "still more than half are good");
    }
    assert_eq!(attempt(&breaker, Verdict::Failure, now), Some(Phase::Open));
    assert_eq!(breaker.counts(now), (200, 100));
}

#[test]
fn what_is_older_than_the_window_counts_no_more_and_what_says_nothing_counts_never() {
    let start = Instant::now();
    let breaker = Breaker::new(trip());
    for second in 0..60 {
        let now = start + seconds(second * 2);
        assert_eq!(attempt(&breaker, Verdict::Failure, now), None, "five in ten seconds are too few");
        for _ in 0..100 {
            assert_eq!(attempt(&breaker, Verdict::Nothing, now), None);
        }
    }
    assert_eq!(breaker.counts(start + seconds(200)), (0, 0));
}

#[test]
fn open_lets_nothing_through_and_then_exactly_the_probes() {
    let start = Instant::now();
    let breaker = Breaker::new(trip());
    open(&breaker, start);
    let late = start + Duration::from_millis(4900);
    assert_eq!(breaker.admit(late), Admission { ticket: None, change: None });
    assert!(breaker.refuses(late));
    assert_eq!(breaker.open_for(start), Some(seconds(5)));
    let then = start + seconds(5);
    assert!(!breaker.refuses(then));
    let first = breaker.admit(then);
    assert_eq!(first.change, Some(Phase::HalfOpen));
    let rest: Vec<_> = (0..10).filter_map(|_| breaker.admit(then).ticket).collect();
    assert_eq!(rest.len(), 2);
    assert!(breaker.refuses(then));
    assert_eq!(breaker.conclude(first.ticket.unwrap(), Verdict::Success, then), None);
    assert_eq!(breaker.conclude(rest[0], Verdict::Success, then), None);
    assert!(breaker.admit(then).ticket.is_none(), "a probe that has succeeded leaves no room for another");
    assert_eq!(breaker.conclude(rest[1], Verdict::Success, then), Some(Phase::Closed));
    assert_eq!(breaker.counts(then), (0, 0), "it begins anew");
    assert_eq!(attempt(&breaker, Verdict::Failure, then), None);
}

#[test]
fn each_failed_probe_doubles_the_time_and_a_success_forgets_it() {
    let mut now = Instant::now();
    let breaker = Breaker::new(trip());
    open(&breaker, now);
    for expected in [5, 10, 15, 15] {
        assert_eq!(breaker.open_for(now), Some(seconds(expected)));
        now += seconds(expected);
        let probe = breaker.admit(now).ticket.expect("its time is over");
        assert_eq!(breaker.conclude(probe, Verdict::Failure, now), Some(Phase::Open));
    }
    now += seconds(15);
    let probes = [(); 3].map(|()| breaker.admit(now).ticket.expect("room for three"));
    assert_eq!(probes.map(|probe| breaker.conclude(probe, Verdict::Success, now))[2], Some(Phase::Closed));
    open(&breaker, now);
    assert_eq!(breaker.open_for(now), Some(seconds(5)));
}

#[test]
fn a_cancelled_probe_gives_its_place_back_and_one_that_hangs_has_failed() {
    let start = Instant::now();
    let breaker = Breaker::new(trip());
    open(&breaker, start);
    let then = start + seconds(5);
    let probes = [(); 3].map(|()| breaker.admit(then).ticket.expect("room for three"));
    assert!(breaker.refuses(then));
    assert_eq!(breaker.conclude(probes[0], Verdict::Nothing, then), None);
    assert!(!breaker.refuses(then));
    assert!(breaker.admit(then).ticket.is_some());
    let stuck = then + seconds(15);
    assert_eq!(breaker.admit(stuck), Admission { ticket: None, change: Some(Phase::Open) });
    assert_eq!(breaker.conclude(probes[1], Verdict::Success, stuck), None, "it is too late for that");
    assert_eq!(breaker.open_for(stuck), Some(seconds(10)));
}

#[test]
fn what_comes_late_says_nothing_of_another_time() {
    let start = Instant::now();
    let breaker = Breaker::new(trip());
    let old = breaker.admit(start).ticket.expect("closed");
    open(&breaker, start);
    assert_eq!(breaker.conclude(old, Verdict::Success, start), None);
    let then = start + seconds(5);
    let probe = breaker.admit(then).ticket.expect("its time is over");
    assert_eq!(breaker.conclude(old, Verdict::Failure, then), None);
    assert_eq!(breaker.phase(), Phase::HalfOpen);
    assert_eq!(breaker.conclude(probe, Verdict::Failure, then), Some(Phase::Open));
    assert_eq!(breaker.conclude(probe, Verdict::Failure, then), None, "a ticket counts once");
}

#[test]
fn a_failure_behind_the_head_turns_a_success_around() {
    let now = Instant::now();
    let breaker = Breaker::new(trip());
    let tickets = [(); 10].map(|()| breaker.admit(now).ticket.expect("closed"));
    for ticket in tickets {
        assert_eq!(breaker.conclude(ticket, Verdict::Success, now), None);
    }
    let changes: Vec<_> = tickets.iter().map(|ticket| breaker.fail_late(*ticket, now)).collect();
    assert_eq!(changes.iter().position(Option::is_some), Some(4), "five of ten");
}

#[test]
fn a_reload_keeps_what_was_counted() {
    let now = Instant::now();
    let breaker = Breaker::new(trip());
    for _ in 0..9 {
        attempt(&breaker, Verdict::Failure, now);
    }
    let stricter = breaker.renewed(Trip { min_requests: 5, ..trip() });
    assert_eq!(attempt(&stricter, Verdict::Failure, now), Some(Phase::Open));
    assert_eq!(breaker.phase(), Phase::Open, "requests under the old policy see it too");
    let longer = stricter.renewed(Trip { window: seconds(20), ..trip() });
    assert_eq!((longer.phase(), longer.counts(now)), (Phase::Open, (0, 0)));
}

#[test]
fn workers_open_it_once_and_let_no_probe_too_many_through() {
    let start = Instant::now();
    for _ in 0..50 {
        let breaker = Breaker::new(trip());
        let each = |work: &(dyn Fn() -> usize + Sync)| -> usize {
            std::thread::scope(|scope| {
                let workers: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
                workers.into_iter().map(|worker| worker.join().unwrap()).sum()
            })
        };
        let opened = each(&|| {
            let tickets = (0..50).filter_map(|_| breaker.admit(start).ticket);
            tickets.filter_map(|ticket| breaker.conclude(ticket, Verdict::Failure, start)).count()
        });
        assert_eq!(opened, 1);
        let then = start + seconds(5);
        assert_eq!(each(&|| (0..50).filter_map(|_| breaker.admit(then).ticket).count()), 3);
    }
}

proptest! {
    #[test]
    fn the_word_holds_what_is_put_in(
        phase in 0u64..3, doublings in 0..=DOUBLINGS, epoch in 0..=EPOCHS, taken in 0..=PROBES, step in 0..=STEPS
    ) {
        let state =
            State { phase: Phase::of(phase), doublings, epoch, taken, succeeded: PROBES - taken, step };
        prop_assert_eq!(State::of(state.bits()), state);
    }
}
