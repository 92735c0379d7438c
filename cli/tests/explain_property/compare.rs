//! What happened to a request against what its explanation says.

use std::{collections::BTreeMap, net::SocketAddr};

use outrigger_config::model::{EndpointAddress, Resources};
use outrigger_proxy::explain::{HeaderChange, Mirror, Outcome, Report, Sent, Share};
use outrigger_tests::{backend::Seen, client::Answer};
use serde_json::Value;

use super::world::Addresses;

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

/// What endpoints there are.
#[derive(Clone, Copy)]
pub(crate) struct Known<'a> {
    pub(crate) at: &'a Addresses,
    pub(crate) resources: &'a Resources,
}

impl Known<'_> {
    /// Whether what is sent to this endpoint gets there.
    fn leads(&self, endpoint: &str, to: SocketAddr) -> bool {
        endpoint.parse().is_ok_and(|endpoint| self.at.behind(endpoint) == to)
    }

    /// Who may get what is sent to a Service port, by its name.
    fn of_service(&self, name: &str) -> Vec<SocketAddr> {
        let endpoints = self.resources.endpoints.iter().filter(|of| of.service.to_string() == name);
        let addresses = endpoints.flat_map(|of| &of.endpoints).filter_map(|one| match &one.address {
            EndpointAddress::Ip(address) => Some(self.at.behind(*address)),
            EndpointAddress::Dns { .. } => None,
        });
        addresses.collect()
    }

    /// Who may get each of the copies that are made of a request with these dice.
    pub(crate) fn copies(&self, report: &Report) -> Vec<Vec<SocketAddr>> {
        let sent = live(report).filter(|share| share.sent.is_some());
        let copied = |mirror: &&Mirror| mirror.copied == Some(true);
        let mirrors = sent.into_iter().flat_map(|share| &share.mirrors).filter(copied);
        mirrors.map(|mirror| self.of_service(&mirror.backend)).filter(|all| !all.is_empty()).collect()
    }
}

/// What may be left of what was seen once its copies are taken out: one backend may get both.
fn without_copies(seen: &[(SocketAddr, Seen)], copies: &[Vec<SocketAddr>]) -> Vec<Vec<(SocketAddr, Seen)>> {
    let Some((copy, rest)) = copies.split_first() else { return vec![seen.to_vec()] };
    let mut left = Vec::new();
    for at in (0..seen.len()).filter(|at| copy.contains(&seen[*at].0)) {
        let mut others = seen.to_vec();
        others.remove(at);
        left.extend(without_copies(&others, rest));
    }
    left
}

/// Compares what became of it with dice; the error is what differs.
pub(crate) fn compare(report: &Report, happened: &Happened, known: Known<'_>) -> Result<(), String> {
    let copies = known.copies(report);
    let mut why = format!("a copy is missing: they go to {copies:?}");
    for seen in without_copies(&happened.seen, &copies) {
        let happened = Happened { answer: happened.answer.clone(), seen, line: happened.line.clone() };
        match whole(report, &happened, known) {
            Ok(()) => return Ok(()),
            Err(differs) => why = differs,
        }
    }
    Err(why)
}

/// What pages of other origins are told.
fn shared(report: &Report, answer: &Answer) -> Result<(), String> {
    let told = report.rule.iter().flat_map(|rule| rule.cors.iter().flatten());
    let told: BTreeMap<&str, &str> = told.map(|(name, value)| (name.as_str(), value.as_str())).collect();
    [
        "access-control-allow-origin",
        "access-control-allow-credentials",
        "access-control-expose-headers",
        "vary",
    ]
    .iter()
    .try_for_each(|name| same(name, &answer.header(name), &told.get(name).copied().unwrap_or_default()))
}

fn whole(report: &Report, happened: &Happened, known: Known<'_>) -> Result<(), String> {
    let Happened { answer, seen, line } = happened;
    rule(report, line)?;
    if !matches!(report.outcome, Outcome::Preflight { .. }) {
        shared(report, answer)?;
    }
    match &report.outcome {
        Outcome::Forward { backend } => {
            let share = live(report).ok_or("no share has all of it")?;
            same("backend of the share", &share.backend, backend)?;
            let (address, got) = only(seen)?;
            let endpoint = share.endpoints.iter().any(|endpoint| known.leads(&endpoint.address, address));
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
pub(crate) fn possible(report: &Report, happened: &Happened, known: Known<'_>) -> Result<(), String> {
    if report.shares.iter().any(|share| !share.mirrors.is_empty()) {
        // Only dice tell which copies are made.
        return Ok(());
    }
    match (&report.outcome, &*happened.seen) {
        (Outcome::Split, seen) => {
            let fits = |share: &&Share| match (&share.outcome, seen) {
                (Outcome::Refuse(refusal), []) => refusal.status == happened.answer.status.as_u16(),
                (Outcome::Forward { .. }, [(address, _)]) => {
                    share.endpoints.iter().any(|endpoint| known.leads(&endpoint.address, *address))
                }
                (Outcome::Redirect { status, .. }, []) => *status == happened.answer.status.as_u16(),
                _ => false,
            };
            let alive = report.shares.iter().filter(|share| share.percent > 0.0);
            truth(alive.clone().any(|share| fits(&share)), || "no share with a weight fits".to_owned())?;
            let total: f64 = alive.map(|share| share.percent).sum();
            truth((total - 100.0).abs() < 1e-6, || format!("all shares are {total} %"))
        }
        _ => whole(report, happened, known),
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
