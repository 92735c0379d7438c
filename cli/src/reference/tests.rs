//! Makes the pages of `docs/reference/`, and holds the committed ones equal to what this code says.
//!
//! `UPDATE_REFERENCE=1 cargo test -p outrigger --bin outrigger reference` writes them. The pages on hosts, routing,
//! connections, precedence and retries are written by hand, and held true by tests of their own.

mod commands;
mod errors;
mod findings;
mod index;
mod kinds;
mod metrics;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use outrigger_config::SourceFile;

use super::topics;

const RENEW: &str = "UPDATE_REFERENCE=1 cargo test -p outrigger --bin outrigger reference";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every generated page, by its file name.
fn pages() -> Vec<(String, String)> {
    let mut pages = vec![
        ("README.md".to_owned(), index::page()),
        ("findings.md".to_owned(), findings::page()),
        ("errors.md".to_owned(), errors::page()),
        ("metrics.md".to_owned(), metrics::page()),
        ("access-log.md".to_owned(), metrics::access_log()),
        ("commands.md".to_owned(), commands::page()),
    ];
    pages.extend(kinds::pages());
    let mark = format!("<!-- Generated; renew with: {RENEW} -->\n");
    pages.iter_mut().for_each(|(_, text)| *text = format!("{}\n\n{mark}", text.trim_end()));
    pages
}

#[test]
fn the_committed_reference_is_that_of_this_code() {
    let folder = root().join("docs/reference");
    let update = std::env::var_os("UPDATE_REFERENCE").is_some();
    let mut stale = Vec::new();
    for (name, text) in pages() {
        let path = folder.join(&name);
        if fs::read_to_string(&path).unwrap_or_default() != text {
            match update {
                true => fs::write(&path, text).expect("the page can be written"),
                false => stale.push(name),
            }
        }
    }
    assert!(stale.is_empty(), "docs/reference is out of date: {}\nrenew it with: {RENEW}", stale.join(", "));
    let generated: BTreeSet<String> = pages().into_iter().map(|(name, _)| name).collect();
    for entry in fs::read_dir(&folder).expect("the reference is there") {
        let name = entry.expect("a page").file_name().to_string_lossy().into_owned();
        let text = fs::read_to_string(folder.join(&name)).expect("a page is text");
        assert_eq!(text.contains("<!-- Generated"), generated.contains(&name), "{name} is no page any more");
    }
}

#[test]
fn links_lead_somewhere() {
    let folder = root().join("docs/reference");
    let mut links = 0;
    for entry in fs::read_dir(&folder).expect("the reference is there") {
        let path = entry.expect("a page").path();
        let text = fs::read_to_string(&path).expect("a page is text");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { folder.join(file) };
            let there = fs::read_to_string(&target);
            let there = there.unwrap_or_else(|_| panic!("{}: no file {link}", path.display()));
            let known =
                anchor.is_empty() || there.lines().any(|line| anchor_of(line).as_deref() == Some(anchor));
            assert!(known, "{}: no heading {link}", path.display());
            links += 1;
        }
    }
    assert!(links > 20, "{links}");
}

#[test]
fn the_policies_in_the_pages_are_good() {
    let mut policies = 0;
    for entry in fs::read_dir(root().join("docs/reference")).expect("the reference is there") {
        let path = entry.expect("a page").path();
        let text = fs::read_to_string(&path).expect("a page is text");
        for block in text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            let file = SourceFile { path: path.display().to_string(), text: block.into() };
            let checked = outrigger_config::check(vec![file]);
            assert!(checked.findings.is_empty(), "{}", checked.render_text(false));
            policies += 1;
        }
    }
    assert!(policies >= 9, "{policies}");
}

/// The anchor that a heading has on GitHub.
fn anchor_of(line: &str) -> Option<String> {
    let heading = line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#'))?;
    let kept = |c: char| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || matches!(c, '-' | '_') => c.to_lowercase().next(),
        _ => None,
    };
    Some(heading.chars().filter_map(kept).collect())
}

#[test]
fn kinds_fields_findings_and_pages_are_found() {
    for (topic, expected) in [
        ("TrafficPolicy", "How to talk to a Service"),
        (
            "trafficpolicy.spec.retry.budget",
            "spec.retry.budget.percent   number from 0 to 100; 20 unless set",
        ),
        (
            "HTTPRoute.spec.rules[0].matches[1].path",
            "spec.rules[].matches[].path.type   word; PathPrefix unless set",
        ),
        ("HTTPRoute.spec.rules[].matches[].path.type", "RegularExpression: "),
        (
            "TrafficPolicy.spec.timeouts",
            "spec.timeouts.connect   duration, such as 500ms or 1m30s; null is off; 1s unless",
        ),
        ("AuthorizationPolicy", "Not supported yet"),
        ("OR145", "## OR145 "),
        ("or110", "unknown field"),
        ("errors", "`no_backend`"),
        ("metrics", "outrigger_requests_total"),
    ] {
        let text = topics::find(topic).unwrap_or_else(|error| panic!("{topic}: {error}"));
        assert!(text.contains(expected), "{topic}: {expected}\n{text}");
        assert!(text.ends_with('\n'), "{topic}");
    }
    assert!(!topics::find("OR145").unwrap().contains("## OR146"));
    for topic in ["", "Nonsense", "OR999", "TrafficPolicy.spec.nonsense", "TrafficPolicy.spec.ret"] {
        assert!(topics::find(topic).is_err(), "{topic}");
    }
    let overview = topics::overview();
    assert!(overview.contains("  HTTPRoute") && overview.contains("  findings"), "{overview}");
}
