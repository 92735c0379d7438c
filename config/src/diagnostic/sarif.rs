//! Findings as SARIF 2.1.0, for code scanning: one run, every code as a rule, each finding as a result.

use serde_json::{Value, json};

use super::{Code, Finding, Severity};
use crate::model::Origin;

/// The log of one run (SARIF 2.1.0, section 3.13). Columns count characters, from 1.
pub(crate) fn log(findings: &[Finding]) -> Value {
    let rules: Vec<Value> = Code::ALL.iter().map(|code| rule(*code)).collect();
    let results: Vec<Value> = findings.iter().map(result).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "outrigger check",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

/// A code as a rule (section 3.49).
fn rule(code: Code) -> Value {
    let (meaning, advice) = (code.meaning(), code.advice());
    let page = "https://github.com/outrigger-mesh/outrigger/blob/main/docs/reference/findings.md";
    json!({
        "id": code.as_str(),
        "name": format!("{code:?}"),
        "shortDescription": {"text": meaning},
        "fullDescription": {"text": format!("{meaning} {advice}")},
        "help": {"text": format!("{advice} An example: `outrigger reference {}`.", code.as_str())},
        "helpUri": page,
        "defaultConfiguration": {"level": level(code.severity())},
    })
}

fn result(finding: &Finding) -> Value {
    let place = if finding.field.is_empty() { String::new() } else { format!("{}: ", finding.field) };
    let help = finding.help.as_deref().map(|help| format!("\nhelp: {help}")).unwrap_or_default();
    let index = Code::ALL.iter().position(|code| *code == finding.code);
    let mut result = json!({
        "ruleId": finding.code(),
        "ruleIndex": index,
        "level": level(finding.severity),
        "message": {"text": format!("{place}{}{help}", finding.message)},
        "locations": [{"physicalLocation": location(&finding.origin)}],
    });
    if !finding.related.is_empty() {
        let related = finding.related.iter().enumerate().map(|(id, related)| {
            json!({
                "id": id,
                "message": {"text": related.message},
                "physicalLocation": location(&related.origin),
            })
        });
        result["relatedLocations"] = related.collect();
    }
    result
}

/// The levels of section 3.27.10.
fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}

/// A place in a file (section 3.29). What stands for a whole file begins at its first character.
fn location(origin: &Origin) -> Value {
    json!({
        "artifactLocation": {"uri": uri(&origin.file)},
        "region": {"startLine": origin.line.max(1), "startColumn": origin.column.max(1)},
    })
}

/// A file name as a URI reference (section 3.4.3): a relative one stays relative.
fn uri(file: &str) -> String {
    let mut uri = String::with_capacity(file.len());
    if file.starts_with('/') {
        uri.push_str("file://");
    }
    for byte in file.strip_prefix("./").unwrap_or(file).bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(char::from(byte));
            }
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::uri;

    #[test]
    fn file_names_become_uris() {
        for (file, expected) in [
            ("policy.yaml", "policy.yaml"),
            ("./a/b c.yaml", "a/b%20c.yaml"),
            ("/etc/outrigger/x.yaml", "file:///etc/outrigger/x.yaml"),
            ("ä:%#?.yaml", "%C3%A4%3A%25%23%3F.yaml"),
        ] {
            assert_eq!(uri(file), expected);
        }
    }
}
