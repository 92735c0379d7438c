//! What can be looked up, and where its text comes from.

use anyhow::{Result, bail};
use outrigger_config::{Code, KINDS, reference, referenced_kinds};

use super::kind;

/// A page of `docs/reference/` that is no kind's.
struct Page {
    name: &'static str,
    text: &'static str,
}

macro_rules! pages {
    ($($name:literal),+ $(,)?) => {
        &[$( Page { name: $name, text: include_str!(concat!("../../../docs/reference/", $name, ".md")) } ),+]
    };
}

const PAGES: &[Page] = pages![
    "hosts",
    "routing",
    "connections",
    "load-balancing",
    "interception",
    "mtls",
    "precedence",
    "retries",
    "circuit-breaking",
    "outlier-detection",
    "health-checks",
    "sessions",
    "rate-limits",
    "concurrency",
    "fault-injection",
    "errors",
    "metrics",
    "access-log",
    "findings",
    "commands"
];

impl Page {
    /// What its first heading says.
    fn title(&self) -> &str {
        let heading = self.text.lines().find_map(|line| line.strip_prefix("# "));
        heading.unwrap_or(self.name)
    }
}

/// The list of topics.
pub(super) fn overview() -> String {
    let mut text =
        "outrigger reference TOPIC\n\nKinds, and their fields (TrafficPolicy.spec.retry):\n".to_owned();
    for kind in referenced_kinds() {
        let about = match reference(kind) {
            Some(reference) if KINDS.contains(&kind) => first_sentence(&reference.description).to_owned(),
            _ => "(not supported yet)".to_owned(),
        };
        text.push_str(&format!("  {kind:<20} {about}\n"));
    }
    text.push_str("\nPages:\n");
    for page in PAGES {
        text.push_str(&format!("  {:<20} {}\n", page.name, page.title()));
    }
    let codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    if let (Some(first), Some(last)) = (codes.first(), codes.last()) {
        text.push_str(&format!("\nFindings of `outrigger check`: {first} to {last}\n"));
    }
    text
}

/// The first sentence, without what follows a colon: it has to fit on a line.
fn first_sentence(text: &str) -> &str {
    let line = text.lines().next().unwrap_or_default();
    let end = line.find(": ").or_else(|| line.find(". ")).unwrap_or(line.len());
    line[..end].trim_end_matches('.')
}

/// The text of a topic.
///
/// # Errors
/// When there is none.
pub(super) fn find(topic: &str) -> Result<String> {
    let page = |name: &str| PAGES.iter().find(|page| page.name.eq_ignore_ascii_case(name));
    if let Some(page) = page(topic) {
        return Ok(page.text.to_owned());
    }
    if let Some(section) = page("findings").and_then(|page| section(page.text, topic)) {
        return Ok(section.to_owned());
    }
    let (name, path) = topic.split_once('.').unwrap_or((topic, ""));
    if let Some(reference) =
        referenced_kinds().find(|kind| kind.eq_ignore_ascii_case(name)).and_then(reference)
    {
        return match kind::text(&reference, path) {
            Some(text) => Ok(text),
            None => bail!(
                "{} has no field `{path}`; see `outrigger reference {}`",
                reference.kind,
                reference.kind
            ),
        };
    }
    bail!("there is no kind, finding or page `{topic}`; `outrigger reference` lists what there is")
}

/// The section of a finding's code, with its heading.
fn section<'a>(page: &'a str, code: &str) -> Option<&'a str> {
    let code = code.to_ascii_uppercase();
    let starts =
        |line: &str| line.strip_prefix("## ").is_some_and(|rest| rest.split(' ').next() == Some(&code));
    let start = page.lines().find(|line| starts(line))?.as_ptr() as usize - page.as_ptr() as usize;
    let rest = &page[start..];
    let end = rest[3..].find("\n## ").map_or(rest.len(), |end| end + 4);
    Some(&rest[..end])
}
