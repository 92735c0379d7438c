//! What a policy's own answer looks like, and which failures a fallback is for.

use super::*;

#[test]
fn a_written_answer_has_its_length_where_one_may_stand() {
    let fixed = |status, body: &str| {
        let headers = vec![("content-type".into(), "text/plain".into())];
        Fixed::compile(&model::FixedResponse { status, headers, body: body.into() }).expect("valid").answer()
    };
    let answer = fixed(200, "later");
    assert_eq!((answer.status().as_u16(), &answer.headers()["content-length"]), (200, &HeaderValue::from(5)));
    assert_eq!(answer.headers()["content-type"], "text/plain");
    assert!(!fixed(204, "").headers().contains_key("content-length"));
}

#[test]
fn a_fallback_is_for_what_the_service_fails_of() {
    for failure in
        [Failure::CircuitOpen, Failure::PendingLimit, Failure::ConnectFailed, Failure::AttemptTimeout]
    {
        assert!(is_of_service(failure), "{failure:?}");
    }
    for failure in [Failure::Loop, Failure::DownstreamGone, Failure::Internal, Failure::NoBackend] {
        assert!(!is_of_service(failure), "{failure:?}");
    }
}
