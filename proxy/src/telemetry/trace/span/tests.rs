//! What spans say, by kind of end.

use std::collections::BTreeMap;

use http::{Method, Request};
use opentelemetry_proto::tonic::{common::v1::any_value::Value, trace::v1::status::StatusCode as SpanStatus};
use outrigger_config::model;

use super::{
    super::{Trace, Tracing},
    *,
};
use crate::{
    telemetry::metrics::{Metrics, RetryReason},
    upstream::{
        attempt::{AtLimit, Plan},
        security::{Means, Why},
    },
};

/// A request whose attempts came to what is listed: a status, or a failure.
struct Case {
    request: http::request::Builder,
    attempts: Vec<Result<u16, Failure>>,
    status: Option<u16>,
    grpc_status: Option<u32>,
    failure: Option<Failure>,
}

impl Case {
    fn get(status: u16) -> Self {
        Self {
            request: Request::get("/cart?id=7").header("host", "cart:8080").header("user-agent", "curl/8"),
            attempts: vec![Ok(status)],
            status: Some(status),
            grpc_status: None,
            failure: None,
        }
    }

    fn grpc(code: Option<u32>) -> Self {
        let request = Request::post("/shop.Cart/Get").header("content-type", "application/grpc");
        Self { request: request.header("host", "cart"), grpc_status: code, ..Self::get(200) }
    }

    fn spans(self) -> Vec<Span> {
        let start = Instant::now();
        let settings = model::Tracing {
            otlp: "http://127.0.0.1:4317".into(),
            sample_percent: 100.0,
            propagation: vec![model::Propagation::W3c],
            resource: BTreeMap::new(),
        };
        let (mut head, ()) = self.request.body(()).unwrap().into_parts();
        let mut trace = Trace::begin(Some(Tracing::new(&settings)), &head, start);
        let metrics = Metrics::new(1).backend("shop/cart:80");
        let last = self.attempts.len() - 1;
        for (index, attempt) in self.attempts.iter().enumerate() {
            let plan = Plan {
                metrics: &metrics,
                protocol: AppProtocol::Http1,
                switch: None,
                security: Means::Plain(Why::NoEndpoint),
                from: None,
                connect: None,
                limits: None,
                at_limit: AtLimit::Wait,
                repeatable: true,
            };
            trace.attempt(start, "10.0.0.1:8080".parse().unwrap(), &plan);
            trace.tell(&mut head);
            // As `Trace::attempted` has it, which wants a real answer.
            let Trace::Recorded(recorded) = &trace else { panic!("all traces are recorded") };
            if let Some(made) = recorded.attempts.borrow_mut().last_mut() {
                made.outcome = Some(match attempt {
                    Ok(_) => AttemptOutcome::Success,
                    Err(_) => AttemptOutcome::ConnectFailed,
                });
                made.status = attempt.ok();
                made.failure = attempt.err();
                made.ended = attempt.is_err().then_some(start);
            }
            if index < last {
                trace.repeated(RetryReason::GatewayError);
            }
        }
        if let Some(status) = self.status {
            trace.answered(http::StatusCode::from_u16(status).unwrap());
        }
        let end = End {
            ended: start + Duration::from_millis(5),
            side: Side::Outbound,
            peer: "[::ffff:10.9.9.9]:4000".parse().unwrap(),
            local: "127.0.0.1:15001".parse().unwrap(),
            rule: None,
            grpc_status: self.grpc_status,
            failure: self.failure,
            bytes_in: 0,
            bytes_out: 11,
        };
        trace.finish(|| end).unwrap().spans()
    }
}

/// An attribute as text.
fn field(span: &Span, key: &str) -> Option<String> {
    let mut fields = span.attributes.iter().filter(|field| field.key == key);
    let field = fields.next()?;
    assert!(fields.next().is_none(), "{key} twice");
    Some(match field.value.clone()?.value? {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        other => panic!("{key}: {other:?}"),
    })
}

fn is_error(span: &Span) -> bool {
    let failed = span.status.as_ref().unwrap().code == SpanStatus::Error as i32;
    assert_eq!(failed, field(span, "error.type").is_some(), "{}", span.name);
    failed
}

#[test]
fn a_request_and_its_attempt() {
    let spans = Case::get(200).spans();
    let [server, client] = &spans[..] else { panic!("{spans:#?}") };
    assert_eq!(server.kind, SpanKind::Server as i32);
    assert_eq!(client.kind, SpanKind::Client as i32);
    assert_eq!((&*server.name, &*client.name), ("GET", "GET shop/cart:80"));
    assert_eq!((server.trace_id.len(), server.span_id.len()), (16, 8));
    assert_eq!(server.parent_span_id, b"");
    assert_eq!(client.parent_span_id, server.span_id);
    assert_eq!(client.trace_id, server.trace_id);
    // Sampled, random, and both know whether their parent is remote: it is not.
    assert_eq!((server.flags, client.flags), (0x103, 0x103));
    assert_eq!(server.end_time_unix_nano - server.start_time_unix_nano, 5_000_000);
    assert!(client.start_time_unix_nano >= server.start_time_unix_nano);
    assert!(client.end_time_unix_nano <= server.end_time_unix_nano);
    for (key, value) in [
        ("http.request.method", "GET"),
        ("url.scheme", "http"),
        ("url.path", "/cart"),
        ("url.query", "id=7"),
        ("server.address", "cart"),
        ("server.port", "8080"),
        ("network.protocol.version", "1.1"),
        ("client.address", "10.9.9.9"),
        ("network.peer.address", "10.9.9.9"),
        ("network.peer.port", "4000"),
        ("network.local.port", "15001"),
        ("user_agent.original", "curl/8"),
        ("http.response.status_code", "200"),
        ("http.response.body.size", "11"),
        ("outrigger.side", "outbound"),
        ("outrigger.attempts", "1"),
    ] {
        assert_eq!(field(server, key).as_deref(), Some(value), "{key}");
    }
    for (key, value) in [
        ("http.request.method", "GET"),
        ("url.full", "http://cart:8080/cart?id=7"),
        ("server.address", "cart"),
        ("server.port", "8080"),
        ("network.peer.address", "10.0.0.1"),
        ("network.peer.port", "8080"),
        ("network.protocol.version", "1.1"),
        ("http.response.status_code", "200"),
        ("outrigger.backend", "shop/cart:80"),
        ("outrigger.outcome", "success"),
    ] {
        assert_eq!(field(client, key).as_deref(), Some(value), "{key}");
    }
    for key in ["http.route", "http.request.resend_count", "outrigger.reason", "rpc.system.name"] {
        assert_eq!(field(server, key).or(field(client, key)), None, "{key}");
    }
}

#[test]
fn what_a_caller_did_wrong_is_an_error_of_the_client_alone() {
    for (status, server_failed, client_failed) in
        [(200, false, false), (304, false, false), (404, false, true), (500, true, true), (503, true, true)]
    {
        let spans = Case::get(status).spans();
        assert_eq!((is_error(&spans[0]), is_error(&spans[1])), (server_failed, client_failed), "{status}");
        if client_failed {
            assert_eq!(field(&spans[1], "error.type"), Some(status.to_string()));
        }
    }
}

#[test]
fn failures_of_our_own_are_told_by_their_reason() {
    let failed = |failure: Failure, status, attempts: &[Result<u16, Failure>]| {
        let case = Case { failure: Some(failure), status, attempts: attempts.to_vec(), ..Case::get(200) };
        let spans = case.spans();
        spans.iter().map(|span| field(span, "error.type")).collect::<Vec<_>>()
    };
    let some = |text: &str| Some(text.to_owned());
    let refused = Err(Failure::ConnectFailed);
    assert_eq!(
        failed(Failure::ConnectFailed, Some(503), &[refused]),
        [some("connect_failed"), some("connect_failed")]
    );
    // The caller is to blame, and the answer says so.
    assert_eq!(failed(Failure::NoRoute, Some(404), &[Ok(200)])[0], None);
    // The head had gone out.
    let reason = Failure::UpstreamCut.form().reason;
    assert_eq!(failed(Failure::UpstreamCut, Some(200), &[Ok(200)]), [some(reason), some(reason)]);
    // Nobody got an answer.
    let gone = Failure::DownstreamGone.form().reason;
    assert_eq!(failed(Failure::DownstreamGone, None, &[Ok(200)]), [some(gone), some(gone)]);
}

#[test]
fn repeats_are_counted_and_say_why() {
    let attempts = vec![Err(Failure::ConnectFailed), Ok(503), Ok(200)];
    let spans = Case { attempts, ..Case::get(200) }.spans();
    assert_eq!(spans.len(), 4);
    assert!(!is_error(&spans[0]) && !is_error(&spans[3]));
    assert!(is_error(&spans[1]) && is_error(&spans[2]));
    let counts: Vec<_> = spans.iter().map(|span| field(span, "http.request.resend_count")).collect();
    assert_eq!(counts, [None, None, Some("1".to_owned()), Some("2".to_owned())]);
    let why = spans.iter().filter(|span| field(span, "outrigger.retry.reason").is_some()).count();
    assert_eq!(why, 2);
    assert_eq!(field(&spans[0], "outrigger.attempts").as_deref(), Some("3"));
}

#[test]
fn grpc_has_the_words_of_rpc() {
    for (code, name, server_failed, client_failed) in [
        (0, "OK", false, false),
        (5, "NOT_FOUND", false, true),
        (13, "INTERNAL", true, true),
        (14, "UNAVAILABLE", true, true),
    ] {
        let spans = Case::grpc(Some(code)).spans();
        for span in &spans {
            assert_eq!(span.name, "shop.Cart/Get");
            assert_eq!(field(span, "rpc.system.name").as_deref(), Some("grpc"));
            assert_eq!(field(span, "rpc.method").as_deref(), Some("shop.Cart/Get"));
            assert_eq!(field(span, "rpc.response.status_code").as_deref(), Some(name));
        }
        assert_eq!((is_error(&spans[0]), is_error(&spans[1])), (server_failed, client_failed), "{name}");
    }
    // A method that no server knows does not make a name.
    let spans = Case::grpc(Some(12)).spans();
    assert_eq!(spans[0].name, "grpc");
    assert_eq!(field(&spans[0], "rpc.method").as_deref(), Some("_OTHER"));
    assert_eq!(field(&spans[0], "rpc.method_original").as_deref(), Some("shop.Cart/Get"));
    // The proxy's own answer.
    let failure = Some(Failure::ConnectFailed);
    let case = Case { failure, attempts: vec![Err(Failure::ConnectFailed)], ..Case::grpc(Some(14)) };
    let spans = case.spans();
    assert_eq!(field(&spans[0], "error.type").as_deref(), Some("UNAVAILABLE"));
    assert_eq!(field(&spans[0], "outrigger.reason").as_deref(), Some("connect_failed"));
    assert_eq!(field(&spans[1], "error.type").as_deref(), Some("connect_failed"));
    assert_eq!(spans[0].name, "grpc");
    // No gRPC status at all: what HTTP says counts.
    let case = Case { status: Some(502), attempts: vec![Ok(502)], ..Case::grpc(None) };
    assert!(is_error(&case.spans()[0]));
}

#[test]
fn methods_of_callers_do_not_make_names() {
    let method = Method::from_bytes(b"FROB").unwrap();
    let spans = Case { request: Request::builder().method(method).uri("/"), ..Case::get(200) }.spans();
    assert_eq!((&*spans[0].name, &*spans[1].name), ("HTTP", "HTTP shop/cart:80"));
    assert_eq!(field(&spans[0], "http.request.method").as_deref(), Some("_OTHER"));
    assert_eq!(field(&spans[0], "http.request.method_original").as_deref(), Some("FROB"));
}

#[test]
fn a_remote_parent_is_said_to_be_one() {
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = Request::get("/").header("traceparent", parent).header("tracestate", "a=1");
    let spans = Case { request, ..Case::get(200) }.spans();
    assert_eq!(spans[0].parent_span_id, 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes());
    assert_eq!((spans[0].flags, spans[1].flags), (0x301, 0x101));
    assert!(spans.iter().all(|span| span.trace_state == "a=1"));
}

#[test]
fn names_and_conventions_are_of_one_version() {
    assert!(SCHEMA.starts_with("https://opentelemetry.io/schemas/1."), "{SCHEMA}");
}
