//! What `outrigger explain` says is what the proxy does: random policies and random requests, each sent over a real socket
//! through the real binary to a service that takes note of it, and explained with the dice that the access log has.
//!
//! `OUTRIGGER_EXPLAIN_SEED` repeats a run, `OUTRIGGER_EXPLAIN_CASES` makes it longer. The seed is printed.

#[path = "explain_property/compare.rs"]
mod compare;
#[path = "explain_property/connection.rs"]
mod connection;
#[path = "explain_property/luck.rs"]
mod luck;
#[path = "explain_property/policy.rs"]
mod policy;
#[path = "explain_property/request.rs"]
mod request;
#[path = "explain_property/world.rs"]
mod world;

use std::{collections::BTreeMap, net::SocketAddr};

use http::{Request, Uri};
use outrigger_proxy::explain::{Explainer, Outcome, Report};
use outrigger_tests::client::{Answer, Client, full};
use serde_json::Value;

use compare::{Happened, Known, compare, possible};
use luck::Luck;
use request::{Asked, Way};
use world::{Addresses, Backends, Proxy, valid_policy};

/// Cases without a wish for more.
const CASES: usize = 2_400;
/// Requests through one policy.
const PER_POLICY: usize = 100;
/// Requests of one policy that the binary explains too; the others are the library's.
const BY_THE_BINARY: usize = 3;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[tokio::test]
async fn an_explanation_is_what_happens() {
    let seed = number("OUTRIGGER_EXPLAIN_SEED").unwrap_or_else(rand::random);
    let cases =
        number("OUTRIGGER_EXPLAIN_CASES").map_or(CASES, |cases| usize::try_from(cases).expect("fits"));
    println!("OUTRIGGER_EXPLAIN_SEED={seed} OUTRIGGER_EXPLAIN_CASES={cases}");
    let backends = Backends::start().await;
    let mut tally = BTreeMap::<String, usize>::new();
    let mut done = 0;
    for policy in 0.. {
        if done >= cases {
            break;
        }
        done += one_policy(seed, policy, &backends, &mut tally).await;
    }
    println!("{done} cases: {tally:?}");
    // A generator that lost its variety would prove nothing.
    for (kind, least) in [
        ("forward", cases / 4),
        ("split", cases / 100),
        ("direct", cases / 400),
        ("redirect", cases / 400),
        ("no_route", cases / 100),
        ("no_backend", cases / 800),
        ("no_endpoint", cases / 400),
        ("no_service", cases / 400),
        ("invalid_path", cases / 200),
        ("gRPC", cases / 50),
        ("inbound", cases / 50),
        ("HTTP/2", cases / 10),
        ("HTTP/1.0", cases / 100),
        ("preflight", cases / 800),
        ("CORS", cases / 50),
        ("mirrors", cases / 20),
        ("TLS upstream", cases / 50),
        ("a share that redirects", cases / 100),
    ] {
        let many = tally.get(kind).copied().unwrap_or_default();
        assert!(many >= least, "only {many} of {cases} cases are {kind}: {tally:?}");
    }
}

/// Sends and explains the requests of one policy; gives their number.
async fn one_policy(
    seed: u64,
    policy: u64,
    backends: &Backends,
    tally: &mut BTreeMap<String, usize>,
) -> usize {
    let mut luck = Luck::new(seed, policy);
    let at = Addresses::new(backends);
    let (text, resources) = valid_policy(&mut luck, &at);
    let explainer = Explainer::new(resources).expect("a checked policy builds");
    let proxy = Proxy::start(&text, at.admin).await;
    let mut clients = Clients::default();
    let mut sent = Vec::new();
    while sent.len() < PER_POLICY {
        let asked = Asked::any(&mut luck, &at);
        let before = explainer.explain(&asked.question(None, &at)).expect("an explanation");
        if leaves(&before, &at) {
            continue;
        }
        let case = format!("{policy}-{}", sent.len());
        let answer = clients.send(&asked, &case, &at).await;
        sent.push((asked, before, answer, case));
    }
    let log = proxy.log(sent.len()).await;
    for (number, ((asked, before, answer, case), line)) in sent.into_iter().zip(log).enumerate() {
        let known = Known { at: &at, resources: explainer.resources() };
        if let Some(dice) = dice(&line) {
            let report = explainer.explain(&asked.question(Some(dice), &at)).expect("an explanation");
            backends.wait_for(&case, known.copies(&report).len()).await;
        }
        let seen = backends.of_case(&case);
        let happened = Happened { answer, seen, line };
        let outcome = judge(&explainer, (&asked, &before), &happened, known);
        if let Err(why) = outcome {
            let repeat = format!("OUTRIGGER_EXPLAIN_SEED={seed}, policy {policy}, request {number}");
            panic!("{why}\n{asked:#?}\n{}\n{}\n{text}\n{repeat}", before.to_text(false), happened.line);
        }
        count(&asked, &before, tally);
        if number < BY_THE_BINARY && before.check.passed {
            let dice = dice(&happened.line).expect("a request that was decided has dice");
            let report = explainer.explain(&asked.question(Some(dice), &at)).expect("an explanation");
            by_the_binary(&proxy, &asked.arguments(dice, &at), &report);
        }
    }
    proxy.end().await;
    PER_POLICY
}

/// Whether a request would go to something that is not of this test, or that does not speak its version.
fn leaves(report: &Report, at: &Addresses) -> bool {
    let Outcome::Direct { to } = &report.outcome else { return false };
    let version = report.shares[0].sent.as_ref().map(|sent| sent.version);
    !to.parse().is_ok_and(|address| version.is_some() && version == at.version(address))
}

fn judge(
    explainer: &Explainer,
    (asked, before): (&Asked, &Report),
    happened: &Happened,
    known: Known<'_>,
) -> Result<(), String> {
    let line = &happened.line;
    let path = asked.path.as_str();
    let logged = line["path"].as_str().unwrap_or_default();
    if logged != path || line["method"] != asked.method {
        return Err(format!("this is another request's line: {line}"));
    }
    // Which backend's policy answers a preflight, only dice tell.
    let certain = !asked.is_preflight();
    let before_dice = if certain { possible(before, happened, known) } else { Ok(()) };
    before_dice.map_err(|why| format!("by shares: {why}"))?;
    let Some(dice) = dice(line) else {
        return if before.check.passed { Err("no dice in the log".to_owned()) } else { Ok(()) };
    };
    let report = explainer.explain(&asked.question(Some(dice), known.at)).expect("an explanation");
    compare(&report, happened, known)
        .map_err(|why| format!("with dice {dice:#x}: {why}\n{}", report.to_text(false)))
}

fn dice(line: &Value) -> Option<u64> {
    let digits = line["dice"].as_str()?.strip_prefix("0x")?;
    Some(u64::from_str_radix(digits, 16).expect("hexadecimal digits"))
}

/// The binary says what the library says.
fn by_the_binary(proxy: &Proxy, arguments: &[String], report: &impl serde::Serialize) {
    let mut told = proxy.explain(arguments);
    let mut expected = serde_json::to_value(report).expect("JSON");
    // The binary knows the file by its whole path.
    without_places(&mut told);
    without_places(&mut expected);
    assert_eq!(told, expected, "{arguments:?}");
}

fn without_places(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| name != "origin" && name != "summary");
            fields.values_mut().for_each(without_places);
        }
        Value::Array(items) => items.iter_mut().for_each(without_places),
        _ => {}
    }
}

fn count(asked: &Asked, report: &Report, tally: &mut BTreeMap<String, usize>) {
    let mut add = |kind: &str| *tally.entry(kind.to_owned()).or_default() += 1;
    match &report.outcome {
        Outcome::Forward { .. } => add("forward"),
        Outcome::Split => add("split"),
        Outcome::Direct { .. } => add("direct"),
        Outcome::Redirect { .. } => add("redirect"),
        Outcome::Preflight { .. } => add("preflight"),
        Outcome::Refuse(refusal) => add(refusal.reason),
        Outcome::Cut(_) | Outcome::Requests => {}
    }
    if asked.http2 {
        add("HTTP/2");
    }
    if asked.http10 {
        add("HTTP/1.0");
    }
    if report.shares.iter().any(|share| !share.mirrors.is_empty()) {
        add("mirrors");
    }
    if report.shares.iter().any(|share| share.tls.is_some()) {
        add("TLS upstream");
    }
    if report.shares.iter().any(|share| matches!(share.outcome, Outcome::Redirect { .. })) {
        add("a share that redirects");
    }
    if report.rule.as_ref().is_some_and(|rule| rule.cors.is_some()) {
        add("CORS");
    }
    if asked.headers.iter().any(|(name, _)| *name == "content-type") {
        add("gRPC");
    }
    if asked.way == Way::Inbound {
        add("inbound");
    }
}

/// Connections, by listener and version.
#[derive(Default)]
struct Clients(BTreeMap<(SocketAddr, bool), Client>);

impl Clients {
    async fn send(&mut self, asked: &Asked, case: &str, at: &Addresses) -> Answer {
        let to = match asked.way {
            Way::ByAuthority | Way::ProxyForm => at.outbound,
            Way::Pinned => at.pinned,
            Way::Inbound => at.inbound,
        };
        let key = (to, asked.http2);
        // Some refusals close the connection.
        // A caller of HTTP/1.0 has one request a connection.
        if asked.http10 || self.0.get(&key).is_none_or(Client::is_closed) {
            let client = match asked.http2 {
                true => Client::http2(to, "unused").await,
                false => Client::http1(to, "unused").await,
            };
            self.0.insert(key, client);
        }
        let whole = asked.http2 || asked.way == Way::ProxyForm;
        let uri: Uri = if whole { asked.url() } else { asked.path.clone() }.parse().expect("a URI");
        let mut request = Request::builder().method(asked.method).uri(uri).version(asked.version());
        if !asked.http2 {
            request = request.header("host", &asked.authority);
        }
        for (name, value) in
            asked.headers.iter().map(|(name, value)| (*name, value.as_str())).chain([("x-case", case)])
        {
            request = request.header(name, value);
        }
        let request = request.body(full("")).expect("a request");
        let client = self.0.get_mut(&key).expect("it was just made");
        let answer = client.call(request).await.unwrap_or_else(|error| panic!("{asked:#?}: {error:?}"));
        if asked.http10 {
            self.0.remove(&key);
        }
        answer
    }
}
