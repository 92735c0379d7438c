//! What is expected of a request against its explanation.

use std::collections::BTreeMap;

use outrigger_config::Expected;
use outrigger_proxy::explain::{Outcome, Report, Sent, Setting, Share};
use serde::Serialize;

/// A field that is not as expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Difference {
    /// The field, as the case names it.
    pub(super) field: String,
    /// What the case expects.
    pub(super) expected: String,
    /// What it is.
    pub(super) actual: String,
}

/// Every field that is not as expected.
pub(super) fn differences(report: &Report, expect: &[(String, Expected)]) -> Vec<Difference> {
    let differs = |(field, expected): &(String, Expected)| {
        let (expected, actual) = match expected {
            Expected::Text(text) => (text.clone(), actual(report, field)),
            Expected::Shares(shares) => (written(shares), written(&real_shares(report))),
        };
        let shown = |text: String| if text.is_empty() { "absent".to_owned() } else { text };
        (expected != actual).then(|| Difference {
            field: field.clone(),
            expected: shown(expected),
            actual: shown(actual),
        })
    };
    expect.iter().filter_map(differs).collect()
}

fn actual(report: &Report, field: &str) -> String {
    if let Some(name) = field.strip_prefix("headers.") {
        return sent(report, |sent| {
            let values = sent.headers.iter().filter(|(one, _)| one == name).map(|(_, value)| value.clone());
            values.collect::<Vec<_>>().join(",")
        });
    }
    let timeouts = report.timeouts.as_ref();
    let time = |setting: Option<&Setting<String>>| {
        setting.map_or_else(String::new, |one| one.value.clone().unwrap_or_else(|| "off".to_owned()))
    };
    match field {
        "rule" => report.rule.as_ref().map(|rule| rule.name.clone()).unwrap_or_default(),
        "backend" => each(live(report).map(|share| share.backend.clone())),
        "status" => match &report.outcome {
            Outcome::Refuse(refusal) => refusal.status.to_string(),
            Outcome::Redirect { status, .. } => status.to_string(),
            _ => each(live(report).filter_map(|share| match &share.outcome {
                Outcome::Refuse(refusal) => Some(refusal.status.to_string()),
                _ => None,
            })),
        },
        "reason" => match &report.outcome {
            Outcome::Refuse(refusal) => refusal.reason.to_owned(),
            _ => String::new(),
        },
        "location" => match &report.outcome {
            Outcome::Redirect { location, .. } => location.clone(),
            _ => String::new(),
        },
        "path" => sent(report, |sent| sent.path.clone()),
        "host" => sent(report, |sent| sent.authority.clone()),
        "timeouts.request" => time(timeouts.map(|one| &one.request)),
        "timeouts.attempt" => time(timeouts.map(|one| &one.attempt)),
        "timeouts.connect" => time(timeouts.map(|one| &one.connect)),
        "timeouts.streamIdle" => time(timeouts.map(|one| &one.stream_idle)),
        _ => {
            let attempts = report.retry.as_ref().and_then(|retry| retry.attempts.value);
            attempts.map(|attempts| attempts.to_string()).unwrap_or_default()
        }
    }
}

fn live(report: &Report) -> impl Iterator<Item = &Share> {
    report.possible()
}

fn sent(report: &Report, read: impl Fn(&Sent) -> String) -> String {
    each(live(report).filter_map(|share| share.sent.as_ref()).map(read))
}

/// The values, each once.
fn each(values: impl Iterator<Item = String>) -> String {
    let mut all: Vec<String> = Vec::new();
    for value in values {
        if !all.contains(&value) {
            all.push(value);
        }
    }
    all.join(" or ")
}

fn real_shares(report: &Report) -> Vec<(String, f64)> {
    live(report).map(|share| (share.backend.clone(), share.percent)).collect()
}

/// Shares by backend, in one spelling: one that stands twice has both.
fn written(shares: &[(String, f64)]) -> String {
    let mut sums = BTreeMap::<&str, f64>::new();
    for (backend, percent) in shares {
        *sums.entry(backend).or_default() += percent;
    }
    let shown =
        sums.iter().map(|(backend, percent)| format!("{backend} {} %", (percent * 100.0).round() / 100.0));
    shown.collect::<Vec<_>>().join(", ")
}
