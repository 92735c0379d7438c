//! The retry law as a table, and the properties of pauses.

use outrigger_config::model::{RetryBudget, RetryOn};
use proptest::prelude::*;

use super::*;

fn policy(attempts: u32, on: RetryOn) -> Retry {
    Retry {
        attempts,
        on,
        backoff: Backoff {
            least: Duration::ZERO,
            base: Duration::from_millis(25),
            max: Duration::from_millis(250),
        },
        budget: RetryBudget { percent: 20.0, min_per_second: 10, ttl: Duration::from_secs(10) },
        idempotent: false,
    }
}

fn everything() -> RetryOn {
    RetryOn {
        connect_failure: true,
        refused_stream: true,
        reset: true,
        gateway_error: true,
        server_error: true,
        statuses: (400..600).collect(),
        grpc_codes: (1..17).collect(),
    }
}

#[test]
fn work_that_never_started_is_repeated_once_without_any_policy() {
    let none = policy(0, RetryOn::default());
    for (class, reason, free) in [
        (Class::Unsent, RetryReason::Unsent, true),
        (Class::Connect, RetryReason::ConnectFailure, true),
        (Class::Refused, RetryReason::RefusedStream, false),
    ] {
        let first = judge(Outcome::Failed(class), &none, false, 1);
        assert_eq!(first, Judgement::Repeat { reason, free });
        assert_eq!(judge(Outcome::Failed(class), &none, false, 2), Judgement::Denied(RetryDenied::Attempts));
    }
}

#[test]
fn listing_everything_never_repeats_a_post_that_may_have_started() {
    let all = policy(5, everything());
    for outcome in [
        Outcome::Failed(Class::Reset),
        Outcome::Failed(Class::Timeout),
        Outcome::Failed(Class::Protocol),
        Outcome::Status(503),
        Outcome::Status(429),
        Outcome::Grpc(14),
    ] {
        assert_eq!(judge(outcome, &all, false, 1), Judgement::Denied(RetryDenied::Law), "{outcome:?}");
        assert!(matches!(judge(outcome, &all, true, 1), Judgement::Repeat { free: false, .. }));
    }
}

#[test]
fn conditions_hold_for_what_they_name() {
    let only = |on: RetryOn| policy(1, on);
    let gateway = only(RetryOn { gateway_error: true, ..RetryOn::default() });
    assert!(matches!(judge(Outcome::Status(502), &gateway, true, 1), Judgement::Repeat { .. }));
    assert_eq!(judge(Outcome::Status(500), &gateway, true, 1), Judgement::Final);
    assert_eq!(judge(Outcome::Status(200), &policy(1, everything()), true, 1), Judgement::Final);
    let reset = only(RetryOn { reset: true, ..RetryOn::default() });
    assert!(matches!(judge(Outcome::Failed(Class::Reset), &reset, true, 1), Judgement::Repeat { .. }));
    assert_eq!(judge(Outcome::Failed(Class::Timeout), &reset, true, 1), Judgement::Final);
    assert_eq!(judge(Outcome::Failed(Class::Caller), &policy(9, everything()), true, 1), Judgement::Final);
}

#[test]
fn retry_after_is_seconds_only() {
    assert_eq!(retry_after(b" 2 "), Some(Duration::from_secs(2)));
    assert_eq!(retry_after(b"Wed, 21 Oct 2015 07:28:00 GMT"), None);
}

proptest! {
    #[test]
    fn attempts_end(made in 1u32..100, attempts in 0u32..10, status in 400u16..600) {
        let retry = policy(attempts, everything());
        if made > attempts.max(1) {
            for outcome in [Outcome::Status(status), Outcome::Failed(Class::Connect), Outcome::Failed(Class::Reset)] {
                prop_assert!(matches!(judge(outcome, &retry, true, made), Judgement::Denied(_)));
            }
        }
    }

    #[test]
    fn pauses_stay_below_their_top(repeat in 1u32..80, dice: u64) {
        let backoff = Backoff { least: Duration::ZERO,  base: Duration::from_millis(25), max: Duration::from_millis(250) };
        let top = Duration::from_millis(25).saturating_mul(1 << (repeat - 1).min(10)).min(backoff.max);
        prop_assert!(pause(backoff, repeat, dice) < top);
    }
}

#[test]
fn a_limit_that_passed_and_garbage_count_as_the_statuses_that_the_caller_would_see() {
    for (class, status) in [(Class::Timeout, 504), (Class::Protocol, 502)] {
        let listed = policy(1, RetryOn { statuses: vec![status], ..RetryOn::default() });
        let repeat = Judgement::Repeat { reason: RetryReason::GatewayError, free: false };
        assert_eq!(judge(Outcome::Failed(class), &listed, true, 1), repeat);
        let other = policy(1, RetryOn { statuses: vec![500], ..RetryOn::default() });
        assert_eq!(judge(Outcome::Failed(class), &other, true, 1), Judgement::Final);
    }
}

#[test]
fn the_least_pause_comes_on_top() {
    let least = Duration::from_millis(60);
    let backoff = Backoff { least, base: least, max: Duration::from_millis(250) };
    assert_eq!(pause(backoff, 1, 0), least);
    assert!(pause(backoff, 9, u64::MAX) <= least + Duration::from_millis(250));
}
