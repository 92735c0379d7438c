//! What happened to a request against what its explanation says.

use std::{collections::BTreeMap, net::SocketAddr};

use outrigger_proxy::explain::{HeaderChange, Outcome, Report, Sent, Share};
use outrigger_tests::{backend::Seen, client::Answer};
use serde_json::Value;

/// What became of one request.
pub(crate) struct Happened {
    /// The answer.
    pub(crate) answer: Answer,
    /// Who got the request.
    pub(crate) seen: Vec<(SocketAddr, Seen)>,
    /// Its line of the access log.
    pub(crate) line: Value,
}

/// Fields that belong to a message's framing, and the ones that the test itself adds.
const NOT_COMPARED: [&str; 4] = ["host", "content-length", "transfer-encoding", "x-case"];

/// Compares; the error is what differs.
pub(crate) fn compare(report: &Report, happened: &Happened) -> Result<(), String> {
    let Happened { answer, seen, line } = happened;
    rule(report, line)?;
    match &report.outcome {
        Outcome::Forward { backend } => {
            let share = live(report).ok_or("no share has all of it")?;
            same("backend of the share", &share.backend, backend)?;
            let (address, got) = only(seen)?;
            let endpoint = share.endpoints.iter().any(|endpoint| endpoint.address == address.to_string());
            truth(endpoint, || format!("{address} is no endpoint of {backend}"))?;
            sent(share.sent.as_ref().ok_or("nothing is sent")?, got)?;
            same("status", &answer.status.as_u16(), &200)?;
            let rule = report.rule.iter().flat_map(|rule| &rule.response_headers);
            answered(answer, share.response_headers.iter().chain(rule))
        }
        Outcome::Direct { to } => {
            let (address, got) = only(seen)?;
            same("address", &address.to_string(), to)?;
            same("status", &answer.status.as_u16(), &200)?;
            sent(report.shares[0].sent.as_ref().ok_or("nothing is sent")?, got)
        }
        Outcome::Redirect { status, location, headers } => {
            truth(seen.is_empty(), || "a backend got what is redirected".to_owned())?;
            same("status", &answer.status.as_u16(), status)?;
            same("location", &answer.header("location"), &location.as_str())?;
            headers.iter().try_for_each(|(name, value)| same(name, &answer.header(name), &value.as_str()))
        }
        Outcome::Preflight { status, headers } => {
            truth(seen.is_empty(), || "a backend got a preflight".to_owned())?;
            same("status", &answer.status.as_u16(), status)?;
            headers.iter().try_for_each(|(name, value)| same(name, &answer.header(name), &value.as_str()))
        }
        Outcome::Refuse(refusal) => {
            truth(seen.is_empty(), || "a backend got what is refused".to_owned())?;
            same("status", &answer.status.as_u16(), &refusal.status)?;
            same("reason", &answer.header("x-outrigger-error"), &refusal.reason)?;
            let code = refusal.grpc_status.map(|code| code.to_string()).unwrap_or_default();
            same("grpc-status", &answer.header("grpc-status"), &code.as_str())?;
            same("flag", &line["flags"].as_str(), &Some(refusal.flag))?;
            same("logged reason", &line["reason"].as_str(), &Some(refusal.reason))
        }
        Outcome::Split => Err("with dice, nothing is split".to_owned()),
        Outcome::Cut(_) | Outcome::Requests => Err("requests do not end like this".to_owned()),
    }
}

/// Without dice: whoever got it has a share, and all of it where nobody else has one.
pub(crate) fn possible(report: &Report, happened: &Happened) -> Result<(), String> {
    match (&report.outcome, &*happened.seen) {
        (Outcome::Split, seen) => {
            let fits = |share: &&Share| match (&share.outcome, seen) {
                (Outcome::Refuse(refusal), []) => refusal.status == happened.answer.status.as_u16(),
                (Outcome::Forward { .. }, [(address, _)]) => {
                    share.endpoints.iter().any(|endpoint| endpoint.address == address.to_string())
                }
                _ => false,
            };
            let alive = report.shares.iter().filter(|share| share.percent > 0.0);
            truth(alive.clone().any(|share| fits(&share)), || "no share with a weight fits".to_owned())?;
            let total: f64 = alive.map(|share| share.percent).sum();
            truth((total - 100.0).abs() < 1e-6, || format!("all shares are {total} %"))
        }
        _ => compare(report, happened),
    }
}

/// The rule in the explanation and in the log; and that the first match that holds is the rule's.
fn rule(report: &Report, line: &Value) -> Result<(), String> {
    let taken = report.candidates.iter().find(|candidate| candidate.taken);
    let first = report.candidates.iter().find(|candidate| candidate.holds);
    truth(taken.is_some() == first.is_some(), || "a match holds and is not taken".to_owned())?;
    if let (Some(taken), Some(rule)) = (taken, &report.rule) {
        same("rule of the match", &taken.rule, &rule.name)?;
    }
    match &report.rule {
        Some(rule) => same("logged rule", &line["route"].as_str(), &Some(rule.name.as_str())),
        None => Ok(()),
    }
}

fn live(report: &Report) -> Option<&Share> {
    let mut live = report.shares.iter().filter(|share| share.percent > 0.0 && share.chosen != Some(false));
    live.next().filter(|_| live.next().is_none())
}

fn only(seen: &[(SocketAddr, Seen)]) -> Result<(SocketAddr, &Seen), String> {
    match seen {
        [(address, one)] => Ok((*address, one)),
        _ => Err(format!("{} backends got it", seen.len())),
    }
}

fn sent(sent: &Sent, got: &Seen) -> Result<(), String> {
    same("method", &got.method, &sent.method)?;
    same("path", &got.path, &sent.path)?;
    same("authority", &got.authority, &sent.authority)?;
    truth(got.version.starts_with(sent.version), || format!("{} instead of {}", got.version, sent.version))?;
    let told = fields(sent.headers.iter().map(|(name, value)| (name.as_str(), value.clone())));
    let real = fields(
        got.headers
            .iter()
            .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes()).into_owned())),
    );
    let names = |fields: &BTreeMap<String, Vec<String>>| fields.keys().cloned().collect::<Vec<_>>().join(" ");
    same("names of the header", &names(&real), &names(&told))?;
    for (name, values) in &told {
        match name.as_str() {
            "x-request-id" if values[0].starts_with("00000000-") => {}
            // What is left of it, a moment later.
            "grpc-timeout" => {}
            _ => same(name, &real[name], values)?,
        }
    }
    Ok(())
}

fn fields<'a>(all: impl Iterator<Item = (&'a str, String)>) -> BTreeMap<String, Vec<String>> {
    let mut fields = BTreeMap::<String, Vec<String>>::new();
    for (name, value) in all.filter(|(name, _)| !NOT_COMPARED.contains(name)) {
        fields.entry(name.to_owned()).or_default().push(value);
    }
    fields
}

/// The answer's header after the changes: the backend sends `x-echo`, and none of the other names.
fn answered<'a>(answer: &Answer, changes: impl Iterator<Item = &'a HeaderChange>) -> Result<(), String> {
    let mut fields = BTreeMap::from([("x-echo", "here".to_owned())]);
    let mut named = vec!["x-echo"];
    for change in changes {
        named.push(&change.name);
        match (change.action, &change.value) {
            ("set", Some(value)) => _ = fields.insert(&change.name, value.clone()),
            ("add", Some(value)) => {
                let all = match fields.get(change.name.as_str()) {
                    Some(before) => format!("{before},{value}"),
                    None => value.clone(),
                };
                fields.insert(&change.name, all);
            }
            _ => _ = fields.remove(change.name.as_str()),
        }
    }
    named.iter().try_for_each(|name| {
        let wanted = fields.get(name).map(String::as_str).unwrap_or_default();
        same(&format!("{name} of the answer"), &answer.header(name), &wanted)
    })
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, real: &T, told: &T) -> Result<(), String> {
    truth(real == told, || format!("{what}: it was {real:?}, explained as {told:?}"))
}

fn truth(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}
