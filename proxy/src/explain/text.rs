//! An explanation as text: the answer in one line, then why, in the order in which it came about.

mod callee;
mod connection;
mod fault;
mod retry;
mod usable;

use std::fmt::Write as _;

use super::{
    report::{
        Candidate, Change, Hashed, HeaderChange, Mirror, Object, Outcome, Report, Sent, Setting, Share, Step,
    },
    shares::security,
    summary::{ended, percent, refused},
};

/// Candidates whose path does not even match are shown up to this number; the JSON form has them all.
const ELSEWHERE: usize = 8;
/// Width of the column of section names.
const LABEL: usize = 11;

impl Report {
    /// The whole explanation for a terminal, with colours where it has them.
    pub fn to_text(&self, color: bool) -> String {
        let mut page = Page { out: String::new(), color };
        page.summary(&self.summary, self.refuses());
        page.request(self);
        page.service(self.service.as_ref(), &self.resolution, self.request.side);
        page.rules(&self.candidates, "404");
        page.session(self);
        page.shares(&self.shares);
        page.requests(&self.shares);
        page.answer(self);
        page.fault(self);
        page.fallback(self);
        page.timeouts(self);
        page.retry(self);
        page.section("note", &self.notes);
        page.out
    }
}

struct Page {
    out: String,
    color: bool,
}

impl Page {
    fn paint(&self, style: &str, text: &str) -> String {
        if self.color && !text.is_empty() { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn place(&self, origin: Option<&String>) -> String {
        origin.map(|origin| format!("  {}", self.paint("2", &format!("({origin})")))).unwrap_or_default()
    }

    /// A section: its name once, its lines in a column.
    fn section(&mut self, label: &str, lines: &[String]) {
        if lines.is_empty() {
            return;
        }
        self.out.push('\n');
        for (at, line) in lines.iter().enumerate() {
            let name = if at == 0 { label } else { "" };
            let name = self.paint("1;36", &format!("{name:LABEL$}"));
            let _ = writeln!(self.out, "{name}{line}");
        }
    }

    fn summary(&mut self, summary: &str, refused: bool) {
        let style = if refused { "1;31" } else { "1;32" };
        let line = self.paint(style, summary);
        let _ = writeln!(self.out, "{line}");
    }

    fn request(&mut self, report: &Report) {
        let asked = &report.request;
        let form = if asked.proxy_form { ", in HTTP-proxy form" } else { "" };
        let place = self.place(asked.listener.origin.as_ref());
        let mut lines = vec![
            format!("{} {} {}{form}", asked.method, asked.url, asked.version),
            format!("by {} {} of Sidecar {}{place}", asked.side, asked.listener.name, report.sidecar.name),
        ];
        lines.extend(asked.original_destination.iter().map(|address| format!("dialled {address}")));
        lines.extend(asked.from.iter().map(|from| format!("from {}: {}", from.spiffe_id, from.effect)));
        lines.extend(asked.dice.iter().map(|dice| format!("dice {dice}")));
        lines.extend(report.check.changes.iter().cloned());
        if !report.check.passed {
            lines.push("the strict check lets no such request further, whatever the policy says".to_owned());
        }
        self.section("request", &lines);
    }

    fn service(&mut self, service: Option<&Object>, resolution: &[Step], side: &str) {
        let mut lines = Vec::new();
        if let Some(service) = service {
            lines.push(format!("{}{}", service.name, self.place(service.origin.as_ref())));
        } else if !resolution.is_empty() && side == "outbound" {
            lines.push("none".to_owned());
        }
        for step in resolution {
            let sign = if step.decides { self.paint("32", "*") } else { "-".to_owned() };
            let shown = if step.decides { None } else { step.origin.as_ref() };
            lines.push(format!("{sign} {}{}", step.why, self.place(shown)));
        }
        self.section("service", &lines);
    }

    /// Candidates; `otherwise` is what becomes of what none of them takes.
    fn rules(&mut self, candidates: &[Candidate], otherwise: &str) {
        let held = candidates.iter().any(|candidate| candidate.taken);
        let elsewhere =
            |candidate: &&Candidate| candidate.miss.as_ref().is_some_and(|miss| miss.what == "path");
        let mut left_out = candidates.iter().filter(elsewhere).count().saturating_sub(ELSEWHERE);
        let hidden = left_out;
        let mut lines = Vec::new();
        let mut shown = 0;
        for candidate in candidates {
            if elsewhere(&candidate) {
                shown += 1;
                if shown > ELSEWHERE && left_out > 0 {
                    left_out -= 1;
                    continue;
                }
            }
            lines.extend(self.candidate(candidate));
        }
        if hidden > 0 {
            lines.push(format!("  and {hidden} more whose path does not match (-o json shows all)"));
        }
        if !held && !candidates.is_empty() {
            lines
                .push(self.paint("31", &format!("none of them holds, and a route is attached: {otherwise}")));
        }
        self.section("rules", &lines);
    }

    fn candidate(&self, candidate: &Candidate) -> Vec<String> {
        let place = self.place(Some(&candidate.origin));
        let sign = match (candidate.taken, candidate.holds) {
            (true, _) => self.paint("1;32", "*"),
            (false, true) => self.paint("33", "+"),
            (false, false) => self.paint("31", "-"),
        };
        let why = match &candidate.miss {
            None if candidate.taken => "taken: the first that holds".to_owned(),
            None => "holds too, but comes after the one that is taken".to_owned(),
            Some(miss) => {
                let found = match &miss.found {
                    Some(found) => format!("it is {found}"),
                    None if miss.what == "server name" => "the ClientHello has none".to_owned(),
                    None if miss.what == "ClientHello" => "the connection has none".to_owned(),
                    None => "the request has none".to_owned(),
                };
                // The wish is in the conditions, on the same line.
                format!("{}: {found}", miss.what)
            }
        };
        let rule = format!("{sign} {}  {}{place}", candidate.rule, candidate.conditions.join(", "));
        vec![rule, format!("    {why}")]
    }

    fn session(&mut self, report: &Report) {
        let Some(session) = &report.session else { return };
        let mut lines = vec![format!("{}{}", session.name, self.place(session.origin.as_ref()))];
        lines.push(format!("{}: {}", session.outcome, session.why));
        lines.extend(session.given.iter().map(|(name, value)| format!("the answer has {name}: {value}")));
        self.section("session", &lines);
    }

    fn shares(&mut self, shares: &[Share]) {
        let several = shares.len() > 1;
        let indent = if several { "           " } else { "  " };
        let mut lines = Vec::new();
        for share in shares {
            lines.push(self.share(share, several));
            let endpoints = share.endpoints.iter();
            lines.extend(endpoints.map(|endpoint| format!("{indent}{}", self.endpoint(endpoint, share))));
            if let Some(tls) = &share.tls {
                let trust = tls.trust_bundle.as_deref().unwrap_or("the system's authorities");
                let own =
                    tls.certificate.as_ref().map(|file| format!(", showing {file}")).unwrap_or_default();
                let place = self.place(Some(&tls.origin));
                lines.push(format!("{indent}by TLS as {}, trusting {trust}{own}{place}", tls.server_name));
            }
            lines.extend(share.mirrors.iter().map(|mirror| format!("{indent}{}", self.mirror(mirror))));
            if let Some(balance) = &share.load_balancer {
                let word = balance.value.as_deref().unwrap_or_default();
                lines.push(format!("{indent}chosen by {word}{}", self.source(balance)));
                lines.extend(share.hashed.iter().map(|hashed| format!("{indent}{}", led(hashed))));
                let more = [("locality", &share.locality), ("slow start", &share.slow_start)];
                lines.extend(more.into_iter().filter_map(|(name, one)| {
                    let one = one.as_ref()?;
                    let words = one.value.as_deref().unwrap_or_default();
                    Some(format!("{indent}{name}: {words}{}", self.source(one)))
                }));
            }
            lines.extend(share.circuit_breaker.iter().map(|one| {
                format!("{indent}{}{}", one.value.as_deref().unwrap_or_default(), self.source(one))
            }));
            lines.extend(self.usable(share).into_iter().map(|line| format!("{indent}{line}")));
            lines.extend(self.callee(share).into_iter().map(|line| format!("{indent}{line}")));
        }
        self.section(if several { "shares" } else { "backend" }, &lines);
    }

    fn share(&self, share: &Share, several: bool) -> String {
        let place = self.place(share.origin.as_ref());
        let to = match &share.outcome {
            Outcome::Refuse(refusal) => {
                let name =
                    if share.backend == "none" { String::new() } else { format!("{}: ", share.backend) };
                format!("{name}{}", self.paint("31", &refused(refusal)))
            }
            Outcome::Cut(cut) => {
                let name =
                    if share.backend == "none" { String::new() } else { format!("{}: ", share.backend) };
                format!("{name}{}", self.paint("31", &ended(cut)))
            }
            Outcome::Direct { to } => to.clone(),
            Outcome::Redirect { status, location, .. } => {
                format!("{}: {status} to {location}", share.backend)
            }
            _ => share.backend.clone(),
        };
        match (several, share.chosen) {
            (false, _) => format!("{to}{place}"),
            (true, None) => format!("{:>7}  {to}, weight {}{place}", percent(share.percent), share.weight),
            (true, Some(chosen)) => {
                let sign = if chosen { self.paint("1;32", "*") } else { " ".to_owned() };
                format!("{sign} {:>7}  {to}, weight {}{place}", percent(share.percent), share.weight)
            }
        }
    }

    fn endpoint(&self, endpoint: &super::Endpoint, share: &Share) -> String {
        let uneven = share.endpoints.iter().any(|one| one.weight != share.endpoints[0].weight);
        let weight = if uneven { format!(", weight {}", endpoint.weight) } else { String::new() };
        let zone = endpoint.zone.as_ref().map(|zone| format!(", zone {zone}")).unwrap_or_default();
        let own = if endpoint.is_loop { ", this proxy's own listener: 508 loop" } else { "" };
        let by = security::words(&endpoint.security);
        format!("{}{weight}{zone}{by}{own}{}", endpoint.address, self.place(Some(&endpoint.origin)))
    }

    fn mirror(&self, mirror: &Mirror) -> String {
        let place = self.place(Some(&mirror.origin));
        let Mirror { backend, percent: share, by, .. } = mirror;
        let drawn = match mirror.copied {
            None => "",
            Some(true) => ", this one too",
            Some(false) => ", not this one",
        };
        match backend.as_str() {
            "none" => format!("nothing is copied: the mirror of the {by} points at nothing{place}"),
            _ => format!("{} copied to {backend} by the {by}{drawn}{place}", percent(*share)),
        }
    }

    /// What endpoints get: once where all shares get the same.
    fn requests(&mut self, shares: &[Share]) {
        let mut told: Vec<&Sent> = Vec::new();
        for share in shares {
            let Some(sent) = share.sent.as_ref().filter(|_| share.chosen != Some(false)) else { continue };
            if told.contains(&sent) {
                continue;
            }
            told.push(sent);
            let same = shares.iter().filter_map(|share| share.sent.as_ref()).all(|other| other == sent);
            let mut lines = vec![format!("{} {} {}", sent.method, sent.path, sent.version)];
            if !same {
                lines[0].push_str(&format!("  to {}", share.backend));
            }
            let host = if sent.version == "HTTP/2" { ":authority" } else { "host" };
            lines.push(format!("{host}: {}", sent.authority));
            lines.extend(sent.headers.iter().map(|(name, value)| match name.as_str() {
                "x-request-id" if value.starts_with("00000000-") => {
                    format!("{name}: (a new one for each request)")
                }
                _ => format!("{name}: {value}"),
            }));
            lines.extend(sent.changes.iter().map(|Change { by, what }| format!("  {by}: {what}")));
            self.section("sent", &lines);
        }
    }

    fn answer(&mut self, report: &Report) {
        let mut lines = Vec::new();
        if let Outcome::Redirect { status, headers, .. } | Outcome::Preflight { status, headers } =
            &report.outcome
        {
            lines.push(format!("status {status}"));
            lines.extend(headers.iter().map(|(name, value)| format!("{name}: {value}")));
            return self.section("answer", &lines);
        }
        let words = |change: &HeaderChange| match &change.value {
            Some(value) => format!("{} {}: {value}", change.action, change.name),
            None => format!("{} {}", change.action, change.name),
        };
        for share in report.shares.iter().filter(|share| share.chosen != Some(false)) {
            lines.extend(
                share.response_headers.iter().map(|change| format!("{}: {}", share.backend, words(change))),
            );
        }
        let rule = report.rule.iter().flat_map(|rule| &rule.response_headers);
        lines.extend(rule.map(|change| format!("rule: {}", words(change))));
        let cors = report.rule.iter().filter_map(|rule| rule.cors.as_deref());
        lines.extend(cors.flatten().map(|(name, value)| format!("cors: {name}: {value}")));
        self.section("answer", &lines);
    }

    fn timeouts(&mut self, report: &Report) {
        let Some(timeouts) = &report.timeouts else { return };
        self.limits(&[
            ("request", &timeouts.request),
            ("attempt", &timeouts.attempt),
            ("connect", &timeouts.connect),
            ("streamIdle", &timeouts.stream_idle),
        ]);
    }

    fn limits(&mut self, limits: &[(&str, &Setting<String>)]) {
        let lines = limits.iter().map(|(name, limit)| {
            let value = limit.value.as_deref().unwrap_or("off");
            format!("{name:11} {value:6}{}", self.source(limit))
        });
        let lines: Vec<String> = lines.collect();
        self.section("timeouts", &lines);
    }

    /// Who says so.
    fn source<T>(&self, setting: &Setting<T>) -> String {
        let policy = setting.policy.as_deref().unwrap_or_default();
        let words = match setting.layer {
            "builtIn" => "built-in".to_owned(),
            "caller" => "the caller's grpc-timeout".to_owned(),
            "meshLimits" => "limits.connectionIdle of the Mesh".to_owned(),
            "rule" => "the rule".to_owned(),
            "policyOnRule" => format!("TrafficPolicy {policy} on the rule"),
            "policyOnRoute" => format!("TrafficPolicy {policy} on the route"),
            "policyOnService" => format!("TrafficPolicy {policy} on the Service"),
            "policyOnNamespace" => format!("TrafficPolicy {policy} on its namespace"),
            _ => "Mesh defaults".to_owned(),
        };
        format!("  {}{}", self.paint("2", &words), self.place(setting.origin.as_ref()))
    }
}

/// Where a hash leads.
fn led(hashed: &Hashed) -> String {
    match (&hashed.endpoint, hashed.is_there) {
        (Some(endpoint), _) => format!("hash of {}: {endpoint}", hashed.on),
        (None, true) => format!("hash of {}", hashed.on),
        (None, false) => format!("hash of {}: the request has none, so any endpoint", hashed.on),
    }
}
