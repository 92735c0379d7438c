//! Tables of contexts, valid and not, for each form; and what is written of them.

use proptest::prelude::*;

use super::*;

const TRACE: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
const SPAN: u64 = 0x00f0_67aa_0ba9_02b7;
const W3C: &[Propagation] = &[Propagation::W3c];
const B3: &[Propagation] = &[Propagation::B3];
const B3_MULTI: &[Propagation] = &[Propagation::B3Multi];
const ALL: &[Propagation] = &[Propagation::W3c, Propagation::B3, Propagation::B3Multi];

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn extract(forms: &[Propagation], fields: &[(&'static str, &str)]) -> Found {
    Forms::new(forms).extract(&headers(fields))
}

fn parent(form: Propagation, sampled: Option<bool>) -> Parent {
    Parent {
        trace: TraceId::new(TRACE).unwrap(),
        span: SpanId::new(SPAN).unwrap(),
        sampled,
        debug: false,
        random: false,
        form,
    }
}

#[test]
fn traceparents_that_hold() {
    for (text, sampled, random) in [
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", true, false),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", false, false),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03", true, true),
        // Bits that nobody has given a meaning yet.
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff", true, true),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-fc", false, false),
        // Later versions: what they have in common with this one.
        ("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", true, false),
        ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-will-be", true, false),
        ("fe-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-", false, false),
    ] {
        let want = Parent { random, ..parent(Propagation::W3c, Some(sampled)) };
        assert_eq!(extract(W3C, &[("traceparent", text)]), Found::Parent(want), "{text}");
    }
}

#[test]
fn traceparents_that_do_not() {
    for text in [
        "",
        "00",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-010",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00F067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0G",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7_01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "FE-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "0x-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.more",
        "00--4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
    ] {
        assert_eq!(extract(W3C, &[("traceparent", text)]), Found::Nothing, "{text}");
    }
    let valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    assert_eq!(extract(W3C, &[("traceparent", valid), ("traceparent", valid)]), Found::Nothing);
}

#[test]
fn b3_in_one_header() {
    const IDS: &str = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";
    let debug = Parent { debug: true, ..parent(Propagation::B3, Some(true)) };
    for (text, want) in [
        (format!("{IDS}-1"), Found::Parent(parent(Propagation::B3, Some(true)))),
        (format!("{IDS}-0"), Found::Parent(parent(Propagation::B3, Some(false)))),
        (format!("{IDS}-d"), Found::Parent(debug)),
        (IDS.to_owned(), Found::Parent(parent(Propagation::B3, None))),
        (format!("{IDS}-1-05e3ac9a4f6e3b90"), Found::Parent(parent(Propagation::B3, Some(true)))),
        ("0".to_owned(), Found::Decision(false)),
        ("1".to_owned(), Found::Decision(true)),
        ("d".to_owned(), Found::Decision(true)),
    ] {
        assert_eq!(extract(B3, &[("b3", &text)]), want, "{text}");
    }
    let half = extract(B3, &[("b3", "a3ce929d0e0e4736-00f067aa0ba902b7-1")]);
    assert!(matches!(half, Found::Parent(parent) if parent.trace.get() == 0xa3ce_929d_0e0e_4736));
    for text in [
        "".to_owned(),
        "2".to_owned(),
        "true".to_owned(),
        "-".to_owned(),
        format!("{IDS}-2"),
        format!("{IDS}-"),
        format!("{IDS}-05e3ac9a4f6e3b90"),
        format!("{IDS}-1-05e3ac9a4f6e3b9"),
        format!("{IDS}-1-05e3ac9a4f6e3b90-1"),
        IDS.to_uppercase(),
        "00000000000000000000000000000000-00f067aa0ba902b7-1".to_owned(),
        "4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-1".to_owned(),
        "4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-1".to_owned(),
    ] {
        assert_eq!(extract(B3, &[("b3", &text)]), Found::Nothing, "{text}");
    }
    assert_eq!(extract(B3, &[("b3", "1"), ("b3", "1")]), Found::Nothing);
}

#[test]
fn b3_in_many_headers() {
    let trace = ("x-b3-traceid", "4bf92f3577b34da6a3ce929d0e0e4736");
    let span = ("x-b3-spanid", "00f067aa0ba902b7");
    let of = |sampled| Found::Parent(parent(Propagation::B3Multi, sampled));
    let debug = Found::Parent(Parent { debug: true, ..parent(Propagation::B3Multi, Some(true)) });
    for (fields, want) in [
        (&[trace, span][..], of(None)),
        (&[trace, span, ("x-b3-sampled", "1")], of(Some(true))),
        (&[trace, span, ("x-b3-sampled", "true")], of(Some(true))),
        (&[trace, span, ("x-b3-sampled", "0")], of(Some(false))),
        (&[trace, span, ("x-b3-flags", "1")], debug),
        (&[trace, span, ("x-b3-flags", "1"), ("x-b3-sampled", "0")], debug),
        (&[trace, span, ("x-b3-flags", "0"), ("x-b3-sampled", "0")], of(Some(false))),
        (&[trace, span, ("x-b3-parentspanid", "05e3ac9a4f6e3b90")], of(None)),
        (&[("x-b3-sampled", "0")], Found::Decision(false)),
        (&[("x-b3-sampled", "1")], Found::Decision(true)),
        (&[("x-b3-flags", "1")], Found::Decision(true)),
        (&[], Found::Nothing),
        (&[trace], Found::Nothing),
        (&[span], Found::Nothing),
        (&[trace, trace, span], Found::Nothing),
        (&[trace, span, ("x-b3-sampled", "2")], Found::Nothing),
        (&[trace, span, ("x-b3-sampled", "1"), ("x-b3-sampled", "0")], Found::Nothing),
        (&[("x-b3-traceid", "4bf9"), span], Found::Nothing),
        (&[trace, ("x-b3-spanid", "00f067aa0ba902b7-1")], Found::Nothing),
    ] {
        assert_eq!(extract(B3_MULTI, fields), want, "{fields:?}");
    }
}

#[test]
fn the_first_listed_form_that_is_valid_counts() {
    let w3c = ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let b3 = ("b3", "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0");
    let form = |forms: &[Propagation], fields: &[(&'static str, &str)]| match extract(forms, fields) {
        Found::Parent(parent) => Some(parent.form),
        _ => None,
    };
    assert_eq!(form(ALL, &[b3, w3c]), Some(Propagation::W3c));
    assert_eq!(form(&[Propagation::B3, Propagation::W3c], &[w3c, b3]), Some(Propagation::B3));
    assert_eq!(form(ALL, &[("traceparent", "00-0"), b3]), Some(Propagation::B3));
    assert_eq!(form(W3C, &[b3]), None);
}

fn context(sampled: bool) -> Context {
    Context {
        trace: TraceId::new(TRACE).unwrap(),
        span: SpanId::new(SPAN).unwrap(),
        parent: SpanId::new(0x05e3_ac9a_4f6e_3b90),
        sampled,
        debug: false,
        random: false,
        keep_state: true,
    }
}

fn inject(
    forms: &[Propagation],
    context: &Context,
    fields: &[(&'static str, &str)],
) -> Vec<(String, String)> {
    let mut headers = headers(fields);
    Forms::new(forms).inject(context, &mut headers);
    let text = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.as_str().to_owned(), value.to_str().unwrap().to_owned())
    };
    let mut fields: Vec<_> = headers.iter().map(text).collect();
    fields.sort();
    fields
}

fn fields(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn every_listed_form_is_written_over_what_stood_there() {
    let stale = [
        ("traceparent", "x"),
        ("traceparent", "y"),
        ("b3", "x"),
        ("x-b3-traceid", "x"),
        ("x-b3-flags", "1"),
        ("x-other", "stays"),
    ];
    assert_eq!(
        inject(ALL, &context(true), &stale),
        fields(&[
            ("b3", "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1-05e3ac9a4f6e3b90"),
            ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            ("x-b3-parentspanid", "05e3ac9a4f6e3b90"),
            ("x-b3-sampled", "1"),
            ("x-b3-spanid", "00f067aa0ba902b7"),
            ("x-b3-traceid", "4bf92f3577b34da6a3ce929d0e0e4736"),
            ("x-other", "stays"),
        ])
    );
    let root = Context { parent: None, random: true, ..context(false) };
    assert_eq!(
        inject(ALL, &root, &[("x-b3-parentspanid", "x")]),
        fields(&[
            ("b3", "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0"),
            ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-02"),
            ("x-b3-sampled", "0"),
            ("x-b3-spanid", "00f067aa0ba902b7"),
            ("x-b3-traceid", "4bf92f3577b34da6a3ce929d0e0e4736"),
        ])
    );
    let debug = Context { debug: true, parent: None, ..context(true) };
    assert_eq!(
        inject(
            &[Propagation::B3Multi, Propagation::B3],
            &debug,
            &[("x-b3-sampled", "0"), ("traceparent", "z")]
        ),
        fields(&[
            ("b3", "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-d"),
            ("traceparent", "z"),
            ("x-b3-flags", "1"),
            ("x-b3-spanid", "00f067aa0ba902b7"),
            ("x-b3-traceid", "4bf92f3577b34da6a3ce929d0e0e4736"),
        ])
    );
}

/// What goes on of these `tracestate` fields.
fn passed(values: &[&str]) -> Vec<String> {
    let fields: Vec<_> = values.iter().map(|value| ("tracestate", *value)).collect();
    let written = inject(W3C, &context(true), &fields);
    written.into_iter().filter(|(name, _)| name == "tracestate").map(|(_, value)| value).collect()
}

#[test]
fn tracestates() {
    let members = |count: usize| (0..count).map(|index| format!("k{index}=v")).collect::<Vec<_>>().join(",");
    for whole in [
        "congo=t61rcWkgMzE",
        "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
        "a=1,, ,b=2\t,\tc=3 ",
        "0tenant@vendor=a b",
        "a@b@c=x",
        "",
        &members(32),
        &format!("{}=1", "a".repeat(256)),
        &format!("a={}", "x".repeat(256)),
    ] {
        assert_eq!(passed(&[whole]), [whole], "{whole}");
    }
    assert_eq!(passed(&["a=1", "b=2"]), ["a=1", "b=2"]);
    for broken in [
        "a",
        "=1",
        "a=",
        "a= ",
        "A=1",
        "a=1=2",
        "a =1",
        "@a=1",
        "a=1,a=2",
        "a=1;b=2,",
        &members(33),
        &format!("{}=1", "a".repeat(257)),
        &format!("a={}", "x".repeat(257)),
    ] {
        let kept = passed(&[broken]);
        assert!(kept.is_empty(), "{broken}: {kept:?}");
    }
    assert!(passed(&["a=1", "a=2"]).is_empty());
    let mut headers = headers(&[]);
    headers.insert("tracestate", HeaderValue::from_bytes(b"a=\xff").unwrap());
    Forms::new(W3C).inject(&context(true), &mut headers);
    assert!(!headers.contains_key("tracestate"));
}

#[test]
fn a_long_tracestate_loses_long_members_first_and_then_the_last() {
    let long = format!("long={}", "x".repeat(200));
    let short: Vec<String> = (0..20).map(|index| format!("k{index:02}={}", "y".repeat(16))).collect();
    let list = format!("{},{long},{}", short[..10].join(","), short[10..].join(","));
    assert_eq!(passed(&[&list]), [short.join(",")]);
    let short: Vec<String> = (0..30).map(|index| format!("k{index:02}={}", "y".repeat(16))).collect();
    // 24 members of 20 characters, and 23 commas, are 503.
    assert_eq!(passed(&[&short.join(",")]), [short[..24].join(",")]);
}

#[test]
fn a_tracestate_without_its_trace_goes() {
    let alien = Context { keep_state: false, ..context(true) };
    let written = inject(W3C, &alien, &[("tracestate", "a=1")]);
    assert!(written.iter().all(|(name, _)| name == "traceparent"), "{written:?}");
    // A form that is not listed is left alone.
    let written = inject(B3, &alien, &[("tracestate", "a=1")]);
    assert!(written.contains(&("tracestate".to_owned(), "a=1".to_owned())), "{written:?}");
}

#[test]
fn a_span_carries_a_valid_tracestate_as_one_text() {
    let text = |values: &[&str]| {
        let fields: Vec<_> = values.iter().map(|value| ("tracestate", *value)).collect();
        state(&headers(&fields)).map(String::from)
    };
    assert_eq!(text(&[]), None);
    assert_eq!(text(&["a=1", "b=2"]).as_deref(), Some("a=1,b=2"));
    assert_eq!(text(&["a"]), None);
}

proptest! {
    #[test]
    fn foreign_bytes_never_panic(
        name in prop::sample::select(vec![
            "traceparent", "tracestate", "b3", "x-b3-traceid", "x-b3-spanid", "x-b3-sampled", "x-b3-flags",
        ]),
        values in prop::collection::vec("[ -~]{0,80}|[0-9a-f]{1,33}(-[0-9a-f]{1,16}){0,3}|\\PC{0,20}", 0..3),
    ) {
        let mut headers = HeaderMap::new();
        for value in values {
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                headers.append(name, value);
            }
        }
        let _ = Forms::new(ALL).extract(&headers);
        let _ = state(&headers);
        Forms::new(ALL).inject(&context(true), &mut headers);
    }

    #[test]
    fn what_is_written_is_read_again(
        trace in 1u128.., span in 1u64.., above in 0u64.., sampled: bool, debug: bool, random: bool,
    ) {
        let debug = debug && sampled;
        let written = Context {
            trace: TraceId::new(trace).unwrap(),
            span: SpanId::new(span).unwrap(),
            parent: SpanId::new(above),
            sampled,
            debug,
            random,
            keep_state: false,
        };
        for form in ALL {
            let mut headers = HeaderMap::new();
            Forms::new(&[*form]).inject(&written, &mut headers);
            let w3c = *form == Propagation::W3c;
            let want = Parent {
                trace: written.trace,
                span: written.span,
                sampled: Some(sampled),
                debug: debug && !w3c,
                random: random && w3c,
                form: *form,
            };
            prop_assert_eq!(Forms::new(&[*form]).extract(&headers), Found::Parent(want));
        }
    }
}
