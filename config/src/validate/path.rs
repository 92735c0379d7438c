//! Paths of exact and prefix matches, as the Gateway API wants them.

use super::Checks;
use crate::{
    convert::{Spanned, Text},
    diagnostic::{Code, Fault},
};

/// Characters of a path.
const LENGTH: usize = 1024;

/// Reports a path that no request can have.
pub(super) fn check(written: &Spanned<Text>, checks: &mut Checks<'_>) {
    if let Some((message, help)) = problem(&written.value.0) {
        checks.push(Fault::error(Code::Path, written.span, message).maybe_help(help));
    }
}

fn problem(path: &str) -> Option<(String, Option<String>)> {
    if !path.starts_with('/') {
        return Some(("the path must begin with `/`".to_owned(), Some(format!("write `/{path}`"))));
    }
    if path.len() > LENGTH {
        return Some((format!("the path has {} bytes, the limit is {LENGTH}", path.len()), None));
    }
    if path.contains('?') {
        let help = "query parameters have a field of their own, `queryParams`";
        return Some(("the path holds a `?`".to_owned(), Some(help.to_owned())));
    }
    if path.contains('*') && path.ends_with('*') {
        let message = "`*` is no wildcard in a path".to_owned();
        let help = format!("write `type: PathPrefix` and `value: {}`", path.trim_end_matches('*'));
        return Some((message, Some(help)));
    }
    let lower = path.to_ascii_lowercase();
    for (part, why) in [
        ("//", "an empty segment"),
        ("/./", "a `.` segment"),
        ("/../", "a `..` segment"),
        ("%2f", "an encoded `/`"),
        ("%5c", "an encoded `\\`"),
        ("%00", "an encoded NUL"),
    ] {
        if lower.contains(part) {
            return Some((format!("the path holds {why}, which no canonical path has"), None));
        }
    }
    if path.ends_with("/.") || path.ends_with("/..") {
        return Some(("the path ends with a dot segment, which no canonical path has".to_owned(), None));
    }
    let bytes = path.as_bytes();
    let bad = (0..bytes.len()).find(|&at| match bytes[at] {
        b'%' => !bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)),
        byte => !byte.is_ascii_alphanumeric() && !b"-/._~!$&'()*+,;=:@".contains(&byte),
    })?;
    let character = path.get(bad..).and_then(|rest| rest.chars().next()).unwrap_or('%');
    let help = "percent-encode it; in regular expressions it needs `type: RegularExpression`";
    Some((format!("the path holds `{character}`, which a URI path cannot"), Some(help.to_owned())))
}
