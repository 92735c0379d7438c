//! Which requests are recorded, and what the next hop is told, without a socket.

use http::Request;

use super::{
    super::metrics::Metrics,
    propagation::{Context, SpanId, TraceId},
    *,
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

fn tracing(percent: f64, propagation: &[model::Propagation]) -> Tracing {
    Tracing::new(&model::Tracing {
        otlp: "http://127.0.0.1:4317".into(),
        sample_percent: percent,
        propagation: propagation.to_vec(),
        resource: Default::default(),
    })
}

fn w3c(percent: f64) -> Tracing {
    tracing(percent, &[model::Propagation::W3c])
}

fn head(fields: &[(&str, &str)]) -> Parts {
    let mut request = Request::get("/a?b=c").header(HOST, "reviews");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn begin(tracing: Tracing, fields: &[(&str, &str)]) -> Trace {
    Trace::begin(Some(tracing), &head(fields), Instant::now())
}

/// The head that the next hop gets.
fn told(trace: &Trace, fields: &[(&str, &str)]) -> HeaderMap {
    let mut head = head(fields);
    trace.tell(&mut head);
    head.headers
}

fn parent(flags: &str) -> String {
    format!("00-{TRACE}-{CALLER}-{flags}")
}

#[test]
fn without_tracing_headers_pass_untouched() {
    let fields = [("traceparent", "anything"), ("tracestate", "=")];
    let trace = Trace::begin(None, &head(&fields), Instant::now());
    assert!(matches!(trace, Trace::Pass));
    assert_eq!(told(&trace, &fields), head(&fields).headers);
    // What is there for every request has the size of a few words.
    assert!(size_of::<Trace>() <= 32);
}

#[test]
fn a_callers_decision_is_kept() {
    for (percent, flags, recorded) in [(0.0, "01", true), (100.0, "00", false)] {
        let parent = parent(flags);
        let fields = [("traceparent", &*parent)];
        let trace = begin(w3c(percent), &fields);
        assert_eq!(trace.id().is_some(), recorded);
        if !recorded {
            assert!(matches!(trace, Trace::Pass));
            assert_eq!(told(&trace, &fields)["traceparent"], parent);
        }
    }
}

#[test]
fn without_a_caller_the_share_decides_and_the_next_hop_is_told() {
    let recorded = begin(w3c(100.0), &[]);
    let told_recorded = told(&recorded, &[]);
    let text = told_recorded["traceparent"].to_str().unwrap();
    assert_eq!(text[3..35], format!("{:032x}", recorded.id().unwrap()));
    assert!(text.ends_with("-03"), "sampled, with a random id: {text}");

    let not = begin(w3c(0.0), &[("tracestate", "a=1")]);
    assert!(matches!(not, Trace::Unrecorded(_)));
    let told_not = told(&not, &[("tracestate", "a=1")]);
    assert!(told_not["traceparent"].to_str().unwrap().ends_with("-02"));
    assert!(!told_not.contains_key("tracestate"), "it belongs to no trace");
    // All attempts are told the same.
    assert_eq!(told(&not, &[]), told_not);
}

#[test]
fn a_context_that_is_broken_is_none() {
    let trace = begin(w3c(100.0), &[("traceparent", &format!("00-{TRACE}-{CALLER}-1"))]);
    assert_ne!(trace.id(), Some(u128::from_str_radix(TRACE, 16).unwrap()));
    assert!(trace.id().is_some());
}

#[test]
fn what_b3_leaves_open_is_decided_by_the_trace() {
    let open = format!("{TRACE}-{CALLER}");
    let b3 = |percent| tracing(percent, &[model::Propagation::B3]);
    let trace = begin(b3(100.0), &[("b3", &open)]);
    assert_eq!(trace.id(), Some(u128::from_str_radix(TRACE, 16).unwrap()));
    let trace = begin(b3(0.0), &[("b3", &open)]);
    assert_eq!(told(&trace, &[("b3", &open)])["b3"], format!("{open}-0"));
    // A decision without a trace.
    assert!(matches!(begin(b3(100.0), &[("b3", "0")]), Trace::Pass));
    let trace = begin(b3(0.0), &[("b3", "1")]);
    assert!(trace.id().is_some());
    // Two proxies with one share agree.
    for _ in 0..200 {
        let open = format!("{:032x}-{CALLER}", rand::random::<u128>() | 1);
        let one = begin(b3(30.0), &[("b3", &open)]).id();
        assert_eq!(one, begin(b3(30.0), &[("b3", &open)]).id());
    }
}

#[test]
fn each_attempt_is_the_parent_of_what_it_causes() {
    let metrics = Metrics::new(1).backend("default/reviews:80");
    let plan = Plan {
        metrics: &metrics,
        protocol: AppProtocol::Http1,
        switch: None,
        security: crate::upstream::security::Means::Plain(crate::upstream::security::Why::NoEndpoint),
        from: None,
        connect: None,
        limits: None,
        at_limit: crate::upstream::attempt::AtLimit::Wait,
        repeatable: true,
    };
    let fields = [("traceparent", parent("01")), ("tracestate", "a=1".to_owned())];
    let fields = fields.each_ref().map(|(name, value)| (*name, value.as_str()));
    let trace = begin(tracing(1.0, &[model::Propagation::W3c, model::Propagation::B3]), &fields);
    let addr = "127.0.0.1:1".parse().unwrap();
    let mut spans = Vec::new();
    for _ in 0..2 {
        trace.attempt(Instant::now(), addr, &plan);
        let headers = told(&trace, &fields);
        assert_eq!(headers["tracestate"], "a=1");
        let text = headers["traceparent"].to_str().unwrap().to_owned();
        assert_eq!(text[..36], format!("00-{TRACE}-"));
        assert!(text.ends_with("-01"), "{text}");
        let span = text[36..52].to_owned();
        // B3 carries the server span too.
        let b3 = headers["b3"].to_str().unwrap();
        let server = recorded(&trace).span.get();
        assert_eq!(b3, format!("{TRACE}-{span}-1-{server:016x}"));
        trace.repeated(RetryReason::Reset);
        spans.push(span);
    }
    assert_ne!(spans[0], spans[1]);
    assert!(!spans.contains(&CALLER.to_owned()));
    let attempts = recorded(&trace).attempts.borrow();
    assert_eq!(attempts[0].reason, None);
    assert_eq!(attempts[1].reason, Some(RetryReason::Reset));
    assert!(attempts.iter().all(|attempt| attempt.ended.is_some()));
}

fn recorded(trace: &Trace) -> &Recorded {
    trace.recorded().expect("the trace is recorded")
}

#[test]
fn what_spans_hold_of_a_request_is_bounded() {
    let long = "x".repeat(10_000);
    let request = Request::get(format!("http://{long}/{long}?{long}")).header(USER_AGENT, &long);
    let head = request.body(()).unwrap().into_parts().0;
    let mut trace = Trace::begin(Some(w3c(100.0)), &head, Instant::now());
    let mut headers = HeaderMap::new();
    headers.insert(REQUEST_ID, HeaderValue::from_bytes(&[0xe9; 200]).unwrap());
    trace.named(&headers);
    let recorded = recorded(&trace);
    assert_eq!(recorded.target.host.len(), MOST_HOST);
    assert_eq!(recorded.target.path.len(), MOST_TARGET);
    assert_eq!(recorded.target.query.as_ref().unwrap().len(), MOST_TARGET);
    assert_eq!(recorded.agent.as_ref().unwrap().len(), MOST_AGENT);
    assert_eq!(recorded.request_id.as_ref().unwrap().chars().count(), MOST_ID);
}

#[test]
fn ids_are_random_and_never_zero() {
    let traces: std::collections::HashSet<u128> = (0..1000).map(|_| random_trace().get()).collect();
    let spans: std::collections::HashSet<u64> = (0..1000).map(|_| random_span().get()).collect();
    assert_eq!((traces.len(), spans.len()), (1000, 1000));
    assert!(TraceId::new(0).is_none() && SpanId::new(0).is_none());
    let _ = size_of::<Context>();
}
