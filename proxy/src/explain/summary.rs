//! An explanation in one sentence: what a person wants to know first.

use super::report::{ConnectionReport, Cut, Outcome, Refusal, Report, Share, Taken};

/// The sentence.
pub(super) fn of(report: &Report) -> String {
    let asked = format!("{} {}", report.request.method, report.request.url);
    let by = by(report);
    match &report.outcome {
        Outcome::Forward { backend } if backend == "app" => {
            format!("{asked} goes to the app{}", at_app(&report.shares))
        }
        Outcome::Forward { backend } => format!("{asked} goes to {backend}{by}{}", stays(report)),
        Outcome::Split => format!("{asked} goes to {}{by}", split(&report.shares)),
        Outcome::Direct { to } if report.request.side == "inbound" => {
            format!("{asked} goes to the app at {to}")
        }
        Outcome::Direct { to } => match &report.service {
            Some(service) => format!("{asked} goes straight to {to}, an endpoint of {}", service.name),
            None => {
                format!("{asked} leaves the mesh, to {to}: no Service answers to it{}", near(&report.near))
            }
        },
        Outcome::Redirect { status, location, .. } => {
            format!("{asked} is redirected: {status} to {location}{by}")
        }
        Outcome::Preflight { .. } => format!("{asked} is a browser's preflight, which the proxy answers{by}"),
        Outcome::Refuse(refusal) => {
            format!("{asked} is refused: {}{by}{}", refused(refusal), near(&report.near))
        }
        // Only connections end like this.
        Outcome::Cut(_) | Outcome::Requests => asked,
    }
}

/// The sentence about a connection.
pub(super) fn of_connection(report: &ConnectionReport) -> String {
    let asked = &report.connection.url;
    let by = match &report.rule {
        Some(rule) if rule.kind.is_some() => by_rule(rule),
        Some(_) if report.service.is_some() && report.connection.side == "outbound" => {
            "; no route is attached to it".to_owned()
        }
        _ => String::new(),
    };
    match &report.outcome {
        Outcome::Forward { backend } if backend == "app" => {
            format!("{asked} is passed on to the app{}", at_app(&report.shares))
        }
        Outcome::Forward { backend } => format!("{asked} is passed on to {backend}{by}"),
        Outcome::Split => format!("{asked} is passed on to {}{by}", split(&report.shares)),
        Outcome::Direct { to } if report.connection.side == "inbound" => {
            format!("{asked} is passed on to the app at {to}")
        }
        Outcome::Direct { to } => match &report.service {
            Some(service) => {
                format!("{asked} is passed on straight to {to}, an endpoint of {}", service.name)
            }
            None => {
                format!("{asked} leaves the mesh, to {to}: no Service answers to it{}", near(&report.near))
            }
        },
        Outcome::Cut(cut) => format!("{asked} is ended by {}{by}{}", ended(cut), near(&report.near)),
        Outcome::Requests => format!("{asked} is not passed on: what comes by this listener is read as HTTP"),
        // Only requests end like this.
        Outcome::Redirect { .. } | Outcome::Preflight { .. } | Outcome::Refuse(_) => asked.clone(),
    }
}

/// The rule that is to blame, or thanked.
fn by(report: &Report) -> String {
    match &report.rule {
        Some(rule) if rule.kind.is_some() => by_rule(rule),
        Some(_) if report.request.method == "CONNECT" => "; a tunnel, which no route can match".to_owned(),
        Some(_) if report.service.is_some() && report.request.side == "outbound" => {
            "; no route is attached to it".to_owned()
        }
        _ => String::new(),
    }
}

/// The session that stands above the weights.
fn stays(report: &Report) -> String {
    let endpoint = report.session.as_ref().and_then(|session| session.endpoint.as_ref());
    endpoint.map(|endpoint| format!("; its session stays with {endpoint}")).unwrap_or_default()
}

fn by_rule(rule: &Taken) -> String {
    let place = rule.origin.as_ref().map(|origin| format!(" ({origin})")).unwrap_or_default();
    format!(", by rule {}{place}", rule.name)
}

fn near(hosts: &[String]) -> String {
    let names: Vec<String> = hosts.iter().map(|host| format!("`{host}`")).collect();
    if names.is_empty() { String::new() } else { format!("; did you mean {}?", names.join(" or ")) }
}

fn at_app(shares: &[Share]) -> String {
    let endpoint = shares.first().and_then(|share| share.endpoints.first());
    endpoint.map(|endpoint| format!(" at {}", endpoint.address)).unwrap_or_default()
}

/// `a (90 %) or b (10 %)`; one Service that stands twice is named twice.
fn split(shares: &[Share]) -> String {
    let live = shares.iter().filter(|share| share.percent > 0.0);
    live.map(share).collect::<Vec<_>>().join(" or ")
}

fn share(share: &Share) -> String {
    let percent = percent(share.percent);
    match &share.outcome {
        Outcome::Refuse(refusal) => format!("{} {} ({percent})", refusal.status, refusal.reason),
        Outcome::Cut(cut) => format!("{} ({percent})", cut.reason),
        Outcome::Redirect { status, location, .. } => format!("{status} to {location} ({percent})"),
        _ => format!("{} ({percent})", share.backend),
    }
}

/// `404 no_route`, with gRPC's code where the caller speaks it, and the words.
pub(super) fn refused(refusal: &Refusal) -> String {
    let Refusal { status, grpc_status, flag, reason, text } = refusal;
    let code = match grpc_status {
        Some(code) => format!("grpc-status {code} (HTTP {status})"),
        None => status.to_string(),
    };
    format!("{code} {reason} [{flag}]: {text}")
}

/// `a reset, no_route [NR]`, and the words.
pub(super) fn ended(cut: &Cut) -> String {
    let Cut { by, flag, reason, text } = cut;
    format!("{by}, {reason} [{flag}]: {text}")
}

/// A share with as many decimals as it needs, two at most.
pub(super) fn percent(share: f64) -> String {
    let rounded = (share * 100.0).round() / 100.0;
    if share > 0.0 && rounded == 0.0 { "< 0.01 %".to_owned() } else { format!("{rounded} %") }
}
